"""A program that runs for long: 200,000 events in the profile `thorough`, the sink going and coming, and nothing grows that has a bound."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from process_tools import Program
from profiles import soak

pytestmark = pytest.mark.alone

CYCLES = 8

SOURCE = """
import logging
logging.disable()
EVENTS, CYCLES, ROOM = ARGUMENT["events"], ARGUMENT["cycles"], ARGUMENT["room"]
PER_CYCLE = EVENTS // CYCLES
STATE = Path(SETTINGS["state_dir"])
telemetry = make(limits=Limits(records=ROOM))
asked = 0

def ask(word):
    say(word)
    assert sys.stdin.readline().strip() == "done"

def measure():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    status = telemetry.status()
    say("measure", json.dumps({
        "rss": pages * os.sysconf("SC_PAGE_SIZE"), "fds": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(), "files": {p.name: p.stat().st_size for p in STATE.iterdir()},
        "ledger": status.ledger, "log": len(telemetry.sent_log())}))

ask("down")
telemetry.start()
telemetry.opt_in()
accepted = 0
for cycle in range(CYCLES):
    ask("down" if cycle % 2 == 0 else "up")
    for n in range(PER_CYCLE):
        if telemetry.track_event("timer.started", {"cycle": cycle, "n": n, "text": "x" * 60}):
            accepted += 1
        if SETTINGS["delivery"] == "manual" and n % (PER_CYCLE // 25) == 0:
            telemetry.flush(30)
    measure()
ask("up")
guard = time.monotonic() + 60
while telemetry.flush(30).kept and time.monotonic() < guard:
    pass
measure()
say("accepted", accepted)
telemetry.close()
"""


class CountingSink(ThreadingHTTPServer):
    """Counts uids and remembers nothing else; answers 503 while it is down."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.up = True
        self.uids = Counter()
        self.names = Counter()
        self.newest = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, request, client_address):
        """A connection the program closed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        import gzip

        data = self.rfile.read(int(self.headers["Content-Length"]))
        data = gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data
        up = self.server.up
        if up:
            with self.server.lock:
                for part in data.split(b'{"stringValue":"')[1:]:
                    if part.startswith((b"timer.", b"base_", b"analytics.")) and b" " in part[:90].split(b'"', 1)[0]:
                        name, uid = part.split(b'"', 1)[0].split(b" ")
                        self.server.uids[uid] += 1
                        self.server.names[name.decode()] += 1
        self.send_response_only(200 if up else 503)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format, *args):
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="measures through /proc")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("mode", "events"),
    [("manual", soak(200_000, 4_000)), ("background", soak(80_000, 4_000))],
    ids=["manual", "background"],
)
def test_nothing_grows_over_a_long_life(tmp_path, mode, events):
    """Memory, files, threads and descriptors stay flat over many events and eight turns of the sink; all is counted."""
    room = soak(4_000, 200)  # of the outbox: each time the sink is down there are more events than that
    sink = CountingSink()
    program = Program(
        SOURCE,
        tmp_path,
        delivery=mode,
        endpoint=f"http://127.0.0.1:{sink.server_address[1]}",
        state_dir=tmp_path / "state",
        argument={"events": events, "cycles": CYCLES, "room": room},
        timeout=30,
    )
    measures, accepted = [], 0
    while line := program.line():
        word, _, rest = line.partition(" ")
        if word == "measure":
            measures.append(json.loads(rest))
        elif word == "accepted":
            accepted = int(rest)
        else:
            sink.up = word == "up"
            program.process.stdin.write("done\n")
            program.process.stdin.flush()
    program.finish()
    sink.shutdown()
    sink.server_close()

    last, ledger = measures[-1], measures[-1]["ledger"]
    print(json.dumps(measures))  # the figures of docs/reliability.md: run with -s
    for one in measures:
        counted = one["ledger"]
        gone = sum(n for name, n in counted.items() if name.startswith("dropped"))
        assert counted["accepted"] == counted["delivered"] + counted["pending"] + counted["rejected"] + gone
        assert counted["pending"] <= room
        assert one["log"] <= 100
        assert sum(one["files"].values()) < 48 * 1024 * 1024  # half of it the log, which is folded in at 24 MiB
        assert one["threads"] <= 4
    early = measures[1]
    assert last["rss"] < early["rss"] + 12 * 1024 * 1024
    assert last["fds"] <= early["fds"] + 2
    # The outbox was full with no way out, so the oldest analytics had to go; they are counted, and base was kept.
    assert accepted == events
    assert ledger["accepted"] == events + 3
    assert ledger["dropped: no room"] >= events // 8
    assert ledger["pending"] == ledger["rejected"] == 0
    assert sum(sink.uids.values()) == len(sink.uids)
    # One dropped for want of room while it was on its way counts as dropped, although it arrived.
    assert ledger["delivered"] <= len(sink.uids) <= ledger["delivered"] + (0 if mode == "manual" else 512 * CYCLES)
    assert sink.names["base_telemetry.first_seen"] == sink.names["base_telemetry.heartbeat"] == 1


def test_the_oldest_analytics_go_first_and_base_stays(make, sink):
    """A full outbox drops the oldest analytics records, counts them, and keeps first_seen and the heartbeat."""
    from sink_server import Reply

    from telemetry_sdk import Limits

    sink.reply = Reply(503)
    telemetry = make(delivery="manual", limits=Limits(records=50))
    telemetry.start()
    telemetry.opt_in()
    receipts = [telemetry.track_event("timer.started", {"n": n}) for n in range(200)]
    sink.reply = Reply()
    telemetry.flush()

    assert all(receipts)
    kept = [uid for uid in sink.uids if uid in {receipt.uid for receipt in receipts}]
    assert kept == [receipt.uid for receipt in receipts[-48:]]
    assert sink.names.count("base_telemetry.first_seen") == sink.names.count("base_telemetry.heartbeat") == 1
    assert telemetry.status().ledger["dropped: no room"] == 153
