"""The outbox's tables, and the steps on them that must stay together.

A record never leaves the table without being counted: `delete` and `drop` are the only two ways out, and both keep
the totals right inside the caller's transaction.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.model import Circuit, Layer
from telemetry_sdk.store_errors import DamagedError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from telemetry_sdk.model import Record

__all__ = [
    "SCHEMA",
    "VERSION",
    "Counts",
    "Fate",
    "Pending",
    "check_count",
    "delete",
    "drop",
    "envelope_id",
    "everything",
    "expire",
    "foreign",
    "has_newest",
    "has_row",
    "insert",
    "is_known",
    "is_waiting",
    "ledger",
    "log_request",
    "make_room",
    "mark_done",
    "one",
    "read_circuit",
    "replace_body",
    "totals",
    "trim_sent_log",
    "waiting",
    "write_circuit",
]

VERSION: Final = 1
_MOST_DONE: Final = 10_000  # 27 years of heartbeats: a first_seen that was delivered must not be forgotten
_LONGEST_PUT_OFF: Final = 2 * 86_400.0
_WHOLE: Final = (
    "SELECT seq, uid, layer, name, made_ns, derived, grant_id, envelopes.data, body, checksum FROM records "
    "JOIN envelopes ON envelopes.id = envelope"
)
SCHEMA: Final = """
CREATE TABLE envelopes (id INTEGER PRIMARY KEY, data BLOB NOT NULL UNIQUE);
CREATE TABLE records (
  seq INTEGER PRIMARY KEY, uid TEXT NOT NULL, layer TEXT NOT NULL, name TEXT NOT NULL, made_ns INTEGER NOT NULL,
  derived INTEGER NOT NULL, grant_id TEXT, not_before REAL NOT NULL DEFAULT 0, envelope INTEGER NOT NULL,
  body BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE UNIQUE INDEX derived_uid ON records (uid) WHERE derived;
CREATE TABLE done (uid TEXT PRIMARY KEY, at_ns INTEGER NOT NULL);
CREATE TABLE totals (
  id INTEGER PRIMARY KEY CHECK (id = 1), accepted INTEGER NOT NULL, pending INTEGER NOT NULL, bytes INTEGER NOT NULL,
  delivered INTEGER NOT NULL, rejected INTEGER NOT NULL);
CREATE TABLE dropped (reason TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE circuit (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);
CREATE TABLE lease (id INTEGER PRIMARY KEY CHECK (id = 1), owner TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE sent (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ns INTEGER NOT NULL, sink TEXT NOT NULL, body BLOB NOT NULL,
  records INTEGER NOT NULL, status INTEGER, verdict TEXT NOT NULL, reason TEXT NOT NULL);
INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0);
INSERT INTO circuit VALUES (1, '{}');
INSERT INTO lease VALUES (1, '', 0);
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """One stored record, as delivery sees it."""

    seq: int
    uid: str
    layer: Layer
    name: str
    made_ns: int
    derived: bool
    grant: str | None
    envelope: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one record: ``delivered``, ``rejected``, or put off until *not_before*."""

    record: Pending
    fate: str
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The ledger. ``accepted == delivered + pending + rejected + sum(dropped.values())``, always."""

    accepted: int
    delivered: int
    rejected: int
    pending: int
    pending_bytes: int
    dropped: dict[str, int]


def ledger(db: sqlite3.Connection) -> Counts:
    """Return the ledger."""
    dropped = db.execute("SELECT reason, n FROM dropped ORDER BY reason").fetchall()
    if not all(isinstance(reason, str) and isinstance(n, int) for reason, n in dropped):
        raise DamagedError
    return Counts(*totals(db), dropped=dict(dropped))


def one(
    db: sqlite3.Connection, query: str, parameters: Sequence[object] = (), *, kinds: type = object
) -> tuple[Any, ...]:
    """Return the row a query must find, of values of *kinds*: SQLite reads anything out of a damaged page."""
    row: tuple[Any, ...] | None = db.execute(query, parameters).fetchone()
    if row is None or not all(isinstance(value, kinds) for value in row):
        raise DamagedError
    return row


def totals(db: sqlite3.Connection) -> tuple[int, int, int, int, int]:
    """Return how many records were accepted, delivered and rejected, and how many, with how many bytes, wait."""
    accepted, delivered, rejected, pending, size = one(
        db, "SELECT accepted, delivered, rejected, pending, bytes FROM totals", kinds=int
    )
    return accepted, delivered, rejected, pending, size


def has_row(db: sqlite3.Connection, query: str, *parameters: object) -> bool:
    """Tell whether a query finds a row."""
    return db.execute(query, parameters).fetchone() is not None


def is_known(db: sqlite3.Connection, uid: str) -> bool:
    """Tell whether a derived uid was accepted before."""
    waiting = "SELECT 1 FROM records WHERE derived AND uid = ?"
    return has_row(db, waiting, uid) or has_row(db, "SELECT 1 FROM done WHERE uid = ?", uid)


def is_waiting(db: sqlite3.Connection, record: Pending) -> bool:
    """Tell whether a record is still there.

    Raises:
        DamagedError: It is found by reading the whole table, but not by its number: it could never be settled.
    """
    if has_row(db, "SELECT 1 FROM records WHERE seq = ? AND uid = ?", record.seq, record.uid):
        return True
    if has_row(db, "SELECT 1 FROM records WHERE +seq = ?", record.seq):
        raise DamagedError
    return False


def foreign(db: sqlite3.Connection, grants: frozenset[str]) -> list[int]:
    """Return the analytics records made under none of *grants*."""
    rows = db.execute("SELECT seq, grant_id FROM records WHERE layer = 'analytics'")
    return [seq for seq, grant in rows if grant not in grants]


def envelope_id(db: sqlite3.Connection, data: bytes) -> int:
    """Return the number of the envelope *data*, which is stored once for all its records."""
    # "+": by the bytes themselves, for a damaged file may still have them in its index alone.
    known = "SELECT id FROM envelopes WHERE +data = ?"
    if not has_row(db, known, data):
        db.execute("INSERT INTO envelopes (data) VALUES (?)", (data,))
    return int(one(db, known, (data,), kinds=int)[0])


def insert(db: sqlite3.Connection, record: Record, envelope: int) -> tuple[int, int]:
    """Store and count a record; return how many records and bytes wait now."""
    size = len(record.body)
    db.execute("UPDATE totals SET accepted = accepted + 1, pending = pending + 1, bytes = bytes + ?", (size,))
    number, _, _, pending, total = totals(db)
    origin = (number, record.uid, record.layer.value, record.name, record.made_ns)
    fate = (int(record.derived), record.grant, 0.0, envelope, record.body, _checksum_of(record))
    db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*origin, *fate))
    return pending, total


def waiting(db: sqlite3.Connection, grants: frozenset[str], *, now: float, limit: int) -> list[Pending]:
    """Return the records that may leave now, oldest first: base ones, and analytics ones made under *grants*.

    One that is no longer what was stored is dropped: it would spoil its whole request, or pass for what it is not.
    """
    whole, damaged = _sorted_out(_select(db, grants, now, limit))
    drop(db, "damaged", damaged)
    return whole


def everything(
    db: sqlite3.Connection, grants: frozenset[str], *, now: float, limit: int
) -> tuple[list[Pending], list[Pending]]:
    """Return all that waits, and what `waiting` would return, without changing anything."""
    stored = db.execute(f"{_WHOLE} ORDER BY seq").fetchall()
    return _sorted_out(stored)[0], _sorted_out(_select(db, grants, now, limit))[0]


def _select(db: sqlite3.Connection, grants: frozenset[str], now: float, limit: int) -> list[tuple[Any, ...]]:
    # One put off for longer than anything is put off was so before the clock was set back.
    marks = ", ".join("?" * len(grants))
    return db.execute(
        f"{_WHOLE} WHERE (not_before <= ? OR not_before > ?) "
        f"AND (layer = 'base' OR grant_id IN ({marks})) ORDER BY seq LIMIT ?",
        (now, now + _LONGEST_PUT_OFF, *sorted(grants), limit),
    ).fetchall()


def _sorted_out(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Pending], list[int]]:
    whole, damaged = [], []
    for seq, uid, layer, name, made_ns, derived, grant, envelope, body, checksum in rows:
        if checksum == _checksum(uid, layer, name, made_ns, derived, grant, envelope, body):
            whole.append(Pending(seq, uid, Layer(layer), name, made_ns, bool(derived), grant, envelope, body))
        else:
            damaged.append(seq)
    return whole, damaged


def _checksum(*fields: object) -> int:
    return zlib.crc32(repr(fields).encode("utf-8", "backslashreplace"))


def _checksum_of(record: Record | Pending) -> int:
    origin = (record.uid, record.layer.value, record.name, record.made_ns, int(record.derived), record.grant)
    return _checksum(*origin, record.envelope, record.body)


def check_count(db: sqlite3.Connection) -> None:
    """Look whether as many records can be found as were counted.

    Raises:
        DamagedError: There are more or fewer: some were lost with a page of the file.
    """
    readable = "records JOIN envelopes ON envelopes.id = envelope WHERE layer IN ('base', 'analytics')"
    if one(db, f"SELECT count(*) FROM {readable}") != totals(db)[3:4]:
        raise DamagedError


def replace_body(db: sqlite3.Connection, record: Pending) -> None:
    """Make the stored bytes of a record those of *record* (see `otlp.as_late`)."""
    stored = one(db, "SELECT body FROM records WHERE seq = ?", (record.seq,), kinds=bytes)[0]
    if stored != record.body:
        fresh = (record.body, _checksum_of(record), record.seq)
        db.execute("UPDATE records SET body = ?, checksum = ? WHERE seq = ?", fresh)
        db.execute("UPDATE totals SET bytes = bytes + ?", (len(record.body) - len(stored),))


def expire(db: sqlite3.Connection, *, made_before_ns: int) -> None:
    """Drop old analytics records. Only the head of the queue is looked at: the oldest stand there."""
    head = "SELECT seq, layer, made_ns FROM records ORDER BY seq LIMIT 512"
    old = f"SELECT seq FROM ({head}) WHERE layer = 'analytics' AND made_ns < ?"
    drop(db, "too old", [row[0] for row in db.execute(old, (made_before_ns,)).fetchall()])


def make_room(db: sqlite3.Connection, *, records: int, size: int) -> None:
    """Drop records until the bounds hold: the oldest analytics first, base ones last."""
    while True:
        _, _, _, pending, total = totals(db)
        excess = max(pending - records, 0)
        if not excess and total <= size:
            return
        # By layer one after the other: sorting the whole table would make every call slow once the outbox is full.
        oldest = "SELECT seq FROM records WHERE layer = ? ORDER BY seq LIMIT ?"
        rows: list[tuple[int]] = []
        for layer in (Layer.ANALYTICS, Layer.BASE):
            rows = rows or db.execute(oldest, (layer.value, max(excess, 1))).fetchall()
        if not rows:
            return
        drop(db, "no room", [row[0] for row in rows])


def has_newest(db: sqlite3.Connection) -> bool:
    """Tell whether the record that was accepted last is still there."""
    return has_row(db, "SELECT 1 FROM totals JOIN records ON seq = accepted")


def log_request(db: sqlite3.Connection, *, at_ns: int, sink: str, body: bytes, records: int) -> int:
    """Begin a line of the sent log and return its number."""
    query = "INSERT INTO sent (at_ns, sink, body, records, verdict, reason) VALUES (?, ?, ?, ?, 'in flight', '')"
    return int(db.execute(query, (at_ns, sink, body, records)).lastrowid or 0)


def delete(db: sqlite3.Connection, record: Pending) -> bool:
    """Delete a record that the sink has decided about; False when it was gone already."""
    gone = db.execute("DELETE FROM records WHERE seq = ? AND uid = ?", (record.seq, record.uid)).rowcount == 1
    if gone:
        db.execute("UPDATE totals SET pending = pending - 1, bytes = bytes - ?", (len(record.body),))
    return gone


def drop(db: sqlite3.Connection, reason: str, numbers: Sequence[int]) -> int:
    """Delete the records with these numbers and count them under *reason*."""
    for number in numbers:
        size = one(db, "SELECT length(body) FROM records WHERE seq = ?", (number,))[0]
        db.execute("DELETE FROM records WHERE seq = ?", (number,))
        db.execute("UPDATE totals SET pending = pending - 1, bytes = bytes - ?", (size,))
    if numbers:
        count = "INSERT INTO dropped VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET n = n + excluded.n"
        db.execute(count, (reason, len(numbers)))
    return len(numbers)


def read_circuit(db: sqlite3.Connection) -> Circuit:
    """Return the circuit."""
    try:
        state = json.loads(one(db, "SELECT state FROM circuit")[0])
        return Circuit(**{name: state[name] for name in Circuit.__slots__ if name in state})
    except (ValueError, TypeError):
        raise DamagedError from None


def write_circuit(db: sqlite3.Connection, circuit: Circuit) -> None:
    """Store the circuit."""
    text = json.dumps({name: getattr(circuit, name) for name in Circuit.__slots__})
    db.execute("UPDATE circuit SET state = ?", (text,))


def trim_sent_log(db: sqlite3.Connection, *, requests: int, size: int) -> None:
    """Keep the newest *requests* requests of at most *size* bytes together; the newest stays, whatever its size."""
    total = 0
    for position, (number, length) in enumerate(
        db.execute("SELECT id, ifnull(length(body), 0) FROM sent ORDER BY id DESC")
    ):
        total += length
        if position and (position >= requests or total > size):
            db.execute("DELETE FROM sent WHERE id <= ?", (number,))
            return


def mark_done(db: sqlite3.Connection, uid: str, at_ns: int) -> None:
    """Remember that the record with this derived uid was delivered."""
    db.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (uid, at_ns))
    oldest = "SELECT uid FROM done ORDER BY at_ns DESC, uid LIMIT -1 OFFSET ?"
    db.execute(f"DELETE FROM done WHERE uid IN ({oldest})", (_MOST_DONE,))
