"""What the parts cost that no SDK of this kind can do without: the least a durable, structured call can take."""

from __future__ import annotations

from bench import Bench, Column, Table

__all__ = ["measure"]

_PROGRAM = """
import gzip, http.client, json, os, sqlite3, zlib
import requests
os.makedirs(STATE, exist_ok=True)
RECORD = {"timeUnixNano": "1780000000123456789", "observedTimeUnixNano": "1780000000123456789", "severityNumber": 9,
    "eventName": "timer.started", "body": {"stringValue": "timer.started 2ab2916d-a51f-4ac8-80ee-45ac31a28092"},
    "attributes": [{"key": f"attribute_{number}", "value": {"stringValue": "some value or other"}}
        for number in range(12)]}
BODY = json.dumps(RECORD, separators=(",", ":")).encode()

def best(call, count=COUNT, rounds=5):
    for _ in range(10):
        call()
    return min(_once(call, count) for _ in range(rounds))

def _once(call, count):
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begun) * 1e6)
    return rank(taken, 0.5)

def database(name, synchronous):
    held = sqlite3.connect(os.path.join(STATE, name), isolation_level=None)
    held.execute("PRAGMA journal_mode=WAL")
    held.execute(f"PRAGMA synchronous={synchronous}")
    held.execute("PRAGMA secure_delete=ON")
    held.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, uid TEXT, made INTEGER, body BLOB)")
    return held

held, synced, counted = database("normal", "NORMAL"), database("full", "FULL"), database("counted", "NORMAL")
counted.executescript('CREATE TABLE totals (n INTEGER, bytes INTEGER); INSERT INTO totals VALUES (0, 0);'
    'CREATE TRIGGER counted AFTER INSERT ON records BEGIN'
    ' UPDATE totals SET n = n + 1, bytes = bytes + length(new.body); END;')
insert = "INSERT INTO records (uid, made, body) VALUES (?, ?, ?)"
row = ("2ab2916d-a51f-4ac8-80ee-45ac31a28092", 1, BODY)
def drain():
    held.executemany(insert, [row] * 512)
    begun = time.perf_counter()
    held.execute("BEGIN IMMEDIATE")
    rows = held.execute("SELECT * FROM records ORDER BY seq DESC LIMIT 512").fetchall()
    held.execute("DELETE FROM records WHERE seq BETWEEN ? AND ?", (rows[-1][0], rows[0][0]))
    held.execute("COMMIT")
    return (time.perf_counter() - begun) * 1e6 / 512
log = os.open(os.path.join(STATE, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
state = os.path.join(STATE, "state")
open(state, "w").close()
switches = ("DO_NOT_TRACK", "ACME_NOTES_TELEMETRY", "OTEL_SDK_DISABLED", "TELEMETRY_SDK_DISABLED")
host, _, port = URL.removeprefix("http://").partition(":")
line = http.client.HTTPConnection(host, int(port))
session = requests.Session()
session.trust_env = False

def look():
    os.stat(state)
    for switch in switches:
        os.environ.get(switch)

def by_http_client():
    line.request("POST", "/bare", BODY)
    line.getresponse().read()

def varied(number):
    '''One of many records of a program: its times, its uid and two of its attributes are its own.'''
    changes = ((b"0000123456789", b"%013d" % (123_000_000 + number // 10 * 1_000_000)), (b"28092", b"2%04x" % number))
    body = BODY
    for old, new in changes:
        body = body.replace(old, new)
    body = body.replace(b"some value or other", b"%d" % (1234 + number), 1)
    return body.replace(b"some value or other", b"mk%07dmk" % number, 1)
records = [varied(number) for number in range(512)]
many = b",".join(records)
origin = ("2ab2916d-a51f-4ac8-80ee-45ac31a28092", "analytics", "timer.started", 1, 0, "2026-05-28T20:26:40.123456Z")
def check(body=BODY):
    return zlib.crc32(body, zlib.crc32(BODY, zlib.crc32(repr(origin).encode())))
say(
    sqlite=best(lambda: held.execute(insert, row)),
    counted=best(lambda: counted.execute(insert, row)),
    synced=best(lambda: synced.execute(insert, row), COUNT // 10, 1),
    drain=rank([drain() for _ in range(20)], 0.5),
    append=best(lambda: os.write(log, BODY)),
    stat=best(lambda: os.stat(state)),
    look=best(look),
    json=best(lambda: json.dumps(RECORD, separators=(",", ":")).encode()),
    socket=best(by_http_client, COUNT // 4),
    requests=best(lambda: session.post(URL + "/bare", data=BODY).content, COUNT // 4),
    gzip=best(lambda: gzip.compress(many, 8), 10) / 512,
    check=best(check),
)
"""


def measure(bench: Bench) -> list[Table]:
    """Measure the parts alone, each in the same process with nothing around it."""

    def once() -> dict[str, float]:
        with bench.directory() as state:
            return dict(bench.run(_PROGRAM, state, bench.scale(2000, 100)))

    rows: dict[str, dict[str, list[float]]] = {}
    for _ in range(bench.rounds):
        for key, value in once().items():
            rows.setdefault(_NAMES[key], {}).setdefault("p50", []).append(value)
    text = "Each alone in a loop, with nothing around it: the median call, the best of five loops."
    return [Table("limits", "What the parts alone cost", text, (Column("p50", "p50", "us"),), rows)]


_NAMES = {
    "sqlite": "SQLite: one row inserted and committed, WAL, synchronous=NORMAL, connection held",
    "counted": "SQLite: the same, counted by a trigger in a row of another table",
    "synced": "SQLite: the same with synchronous=FULL (fsync)",
    "drain": "SQLite: 512 rows read, deleted, overwritten and committed at once, per row",
    "append": "one record appended to a file by os.write",
    "stat": "os.stat of one file",
    "look": "os.stat of the state file and four variables looked up in os.environ",
    "json": "json.dumps of one record with twelve attributes",
    "socket": "one loopback POST by http.client, kept alive",
    "requests": "one loopback POST by requests, kept alive",
    "gzip": "gzip level 8 of 512 records, per record",
    "check": "checksum of one record, by which a damaged one is told",
}
