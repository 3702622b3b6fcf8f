"""The outbox's tables, and the steps on them that must stay together.

A record never leaves the table without being counted: `delete` and `drop` are the only two ways out, and both keep
the totals right inside the caller's transaction.

They are counted by a trigger on their way in, so that storing one takes one statement.
"""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from telemetry_sdk.model import Layer
from telemetry_sdk.outbox.store_errors import DamagedError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence, Set

    from telemetry_sdk.model import Record

_MOST_DONE: Final = 10_000  # 27 years of heartbeats: a first_seen that was delivered must not be forgotten
_TAKEN_IN: Final = -1  # the moment of what was not delivered but taken in
# Numbered in the statement that stores it, and counted by its trigger.
_INSERT: Final = (
    "INSERT INTO records SELECT accepted + 1, ?, ?, ?, ?, ?, ?, 0.0, envelopes.id, ?, ? FROM totals "
    "JOIN envelopes ON envelopes.id = ? AND +data = ? WHERE typeof(accepted) = 'integer'"
)
_INSERT_IF_ROOM: Final = f"{_INSERT} AND pending < ? AND bytes + ? <= ?"


class Pending(NamedTuple):
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


class Fate(NamedTuple):
    """What became of some records: ``delivered``, ``rejected``, or ``put off`` until *not_before*."""

    records: Sequence[Pending]
    fate: str
    not_before: float = 0.0


class Counts(NamedTuple):
    """The ledger. ``accepted == delivered + pending + rejected + sum(dropped.values())``, always."""

    accepted: int
    delivered: int
    rejected: int
    pending: int
    pending_bytes: int
    dropped: dict[str, int]


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


def ledger(db: sqlite3.Connection) -> Counts:
    """Return the ledger."""
    dropped = db.execute("SELECT reason, n FROM dropped ORDER BY reason").fetchall()
    if not all(isinstance(reason, str) and isinstance(n, int) for reason, n in dropped):
        raise DamagedError
    return Counts(*totals(db), dropped=dict(dropped))


def has_row(db: sqlite3.Connection, query: str, *parameters: object) -> bool:
    """Tell whether a query finds a row."""
    return db.execute(query, parameters).fetchone() is not None


def is_known(db: sqlite3.Connection, uid: str) -> bool:
    """Tell whether a derived uid was accepted before."""
    waiting = "SELECT 1 FROM records WHERE derived AND uid = ?"
    return has_row(db, waiting, uid) or has_row(db, "SELECT 1 FROM done WHERE uid = ?", uid)


def still_waiting(db: sqlite3.Connection, records: Sequence[Pending]) -> list[Pending]:
    """Return those of *records* that are still there.

    Raises:
        DamagedError: One is found by reading the whole table, but not by its number: it could never be settled.
    """
    numbers = [record.seq for record in records]
    if not numbers:
        return []
    first, last = min(numbers), max(numbers)
    if last - first + 1 == len(numbers) and _are_there(db, first, records[numbers.index(last)]):
        return list(records)
    uids = dict(db.execute("SELECT seq, uid FROM records WHERE seq BETWEEN ? AND ?", (first, last)))
    there: list[Pending] = []
    gone: list[Pending] = []
    for record in records:
        (there if uids.get(record.seq) == record.uid else gone).append(record)
    if any(has_row(db, "SELECT 1 FROM records WHERE +seq = ? AND uid = ?", record.seq, record.uid) for record in gone):
        raise DamagedError
    return there


def _are_there(db: sqlite3.Connection, first: int, newest: Pending) -> bool:
    """Tell whether all records from number *first* to *newest* are there.

    In a file begun anew, or an older copy of this one, other records may have their numbers: then *newest* is another.
    """
    query = "SELECT count(*), (SELECT uid FROM records WHERE seq = ?) FROM records WHERE seq BETWEEN ? AND ?"
    return one(db, query, (newest.seq, first, newest.seq)) == (newest.seq - first + 1, newest.uid)


def present(db: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Return those of *numbers* under which a record is found."""
    return [number for number in numbers if has_row(db, "SELECT 1 FROM records WHERE seq = ?", number)]


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
    if db.execute(_INSERT, _row(record, envelope)).rowcount != 1:
        raise DamagedError
    _, _, _, pending, size = totals(db)
    return pending, size


def insert_if_room(db: sqlite3.Connection, record: Record, envelope: int, *, records: int, size: int) -> bool:
    """Store and count a record by one statement.

    Returns:
        Whether that was done: not when more than *records* or *size* bytes would wait then, nor when its envelope no
        longer has the number *envelope*.
    """
    limits = (records, len(record.body), size)
    return db.execute(_INSERT_IF_ROOM, (*_row(record, envelope), *limits)).rowcount == 1


def _row(record: Record, envelope: int) -> tuple[object, ...]:
    origin = (record.uid, record.layer.value, record.name, record.made_ns, int(record.derived), record.grant)
    return (*origin, record.body, checksum(record.envelope, record.body, origin), envelope, record.envelope)


def checksum(envelope: bytes, body: bytes, origin: tuple[object, ...]) -> int:
    """Return what is stored beside a record, so that one that was damaged is known."""
    return zlib.crc32(body, zlib.crc32(envelope, zlib.crc32(repr(origin).encode("utf-8", "backslashreplace"))))


def check_count(db: sqlite3.Connection) -> None:
    """Look whether as many records can be found as were counted.

    Raises:
        DamagedError: There are more or fewer: some were lost with a page of the file.
    """
    readable = "records JOIN envelopes ON envelopes.id = envelope WHERE layer IN ('base', 'analytics')"
    if one(db, f"SELECT count(*) FROM {readable}") != totals(db)[3:4]:
        raise DamagedError


def replace_bodies(db: sqlite3.Connection, records: Sequence[Pending]) -> None:
    """Make the stored bytes of *records*, which are there, those they have now (see `otlp.as_late`)."""
    for record in records:
        before = one(db, "SELECT length(body) FROM records WHERE seq = ?", (record.seq,), kinds=int)[0]
        origin = (record.uid, record.layer.value, record.name, record.made_ns, int(record.derived), record.grant)
        fresh = (record.body, checksum(record.envelope, record.body, origin), record.seq)
        db.execute("UPDATE records SET body = ?, checksum = ? WHERE seq = ?", fresh)
        db.execute("UPDATE totals SET bytes = bytes + ?", (len(record.body) - before,))


def put_off(db: sqlite3.Connection, records: Sequence[Pending], until: float) -> None:
    """Let *records* wait until then (seconds since 1970)."""
    for record in records:
        db.execute("UPDATE records SET not_before = ? WHERE seq = ?", (until, record.seq))


def expire(db: sqlite3.Connection, *, made_before_ns: int) -> None:
    """Drop old analytics records, some hundreds at a time.

    Only the head of the queue is looked at: the oldest stand there.
    """
    head = "SELECT seq, layer, made_ns FROM records ORDER BY seq LIMIT 64"
    old = f"SELECT seq FROM ({head}) WHERE layer = 'analytics' AND made_ns < ?"
    for _ in range(8):
        if not drop(db, "too old", [row[0] for row in db.execute(old, (made_before_ns,)).fetchall()]):
            return


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


def delete(db: sqlite3.Connection, records: Sequence[Pending]) -> list[Pending]:
    """Delete the records that the sink has decided about; return those that were still there."""
    gone = still_waiting(db, records)
    for first, last in _runs([record.seq for record in gone]):
        db.execute("DELETE FROM records WHERE seq BETWEEN ? AND ?", (first, last))
    _count_out(db, len(gone), sum([len(record.body) for record in gone]))
    return gone


def drop(db: sqlite3.Connection, reason: str, numbers: Sequence[int]) -> int:
    """Delete the records with these numbers and count them under *reason*."""
    for first, last in _runs(numbers):
        query = "SELECT count(*), ifnull(sum(length(body)), 0) FROM records WHERE seq BETWEEN ? AND ?"
        found, size = one(db, query, (first, last), kinds=int)
        if found != last - first + 1:
            raise DamagedError
        db.execute("DELETE FROM records WHERE seq BETWEEN ? AND ?", (first, last))
        _count_out(db, found, size)
    if numbers:
        count = "INSERT INTO dropped VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET n = n + excluded.n"
        db.execute(count, (reason, len(numbers)))
    return len(numbers)


def _count_out(db: sqlite3.Connection, records: int, size: int) -> None:
    db.execute("UPDATE totals SET pending = pending - ?, bytes = bytes - ?", (records, size))


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of neighbouring numbers."""
    ordered = sorted(numbers)
    ends = [it for it in range(1, len(ordered)) if ordered[it] != ordered[it - 1] + 1]
    for begin, end in itertools.pairwise([0, *ends, len(ordered)] if ordered else []):
        yield ordered[begin], ordered[end - 1]


def mark_done(db: sqlite3.Connection, uid: str, at_ns: int) -> None:
    """Remember that the record with this derived uid was delivered."""
    db.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (uid, at_ns))
    oldest = "SELECT uid FROM done ORDER BY at_ns DESC, uid LIMIT -1 OFFSET ?"
    db.execute(f"DELETE FROM done WHERE uid IN ({oldest})", (_MOST_DONE,))


def taken_in(db: sqlite3.Connection) -> set[str]:
    """Return the uids of records that were spilled, and may be there still although they were stored; see below."""
    return {row[0] for row in db.execute("SELECT uid FROM done WHERE at_ns = ?", (_TAKEN_IN,))}


def note_taken_in(db: sqlite3.Connection, before: Set[str], now: Set[str]) -> None:
    """Remember the uids *now* in the place of *before*, for as long as their files may be there.

    No longer, for what was delivered is remembered in the same table, and the oldest of it must not be forgotten.
    """
    db.executemany("DELETE FROM done WHERE uid = ?", [(uid,) for uid in before - now])
    db.executemany("INSERT OR REPLACE INTO done VALUES (?, ?)", [(uid, _TAKEN_IN) for uid in now - before])


VERSION: Final = 1
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
CREATE TRIGGER counted AFTER INSERT ON records BEGIN
  UPDATE totals SET accepted = new.seq, pending = pending + 1, bytes = bytes + length(new.body); END;
CREATE TABLE dropped (reason TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE circuit (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);
CREATE TABLE sent (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ns INTEGER NOT NULL, sink TEXT NOT NULL, body BLOB NOT NULL,
  records INTEGER NOT NULL,
  analytics INTEGER NOT NULL, lock TEXT NOT NULL, status INTEGER, verdict TEXT NOT NULL, reason TEXT NOT NULL);
INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0);
INSERT INTO circuit VALUES (1, '{}');
"""
