"""The outbox's tables, and the steps on them that must stay together.

A record never leaves the table without being counted: `delete` and `drop` are the only two ways out, and both keep
the totals right inside the caller's transaction.
"""

from __future__ import annotations

import itertools
from binascii import crc32
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from telemetry_sdk.host.background import politely
from telemetry_sdk.model import DAY_SECONDS, DELETION_REQUESTED, NANOSECONDS, Layer
from telemetry_sdk.outbox.database import DamagedError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from telemetry_sdk.model import Record

_MOST_DONE: Final = 10_000  # 27 years of heartbeats: a first_seen that was delivered must not be forgotten
_LONGEST_PUT_OFF: Final = 2 * 86_400.0
_LAST: Final = 2**63 - 1
_DAY_NS: Final = DAY_SECONDS * NANOSECONDS
_DAYS_BEHIND: Final = 2  # a clock further behind what it showed before is believed
_LAYERS: Final = {layer.value: layer for layer in Layer}
_COLUMNS: Final = (
    "seq, uid, layer, name, made_ns, derived, grant_id, envelope, body, has_left, chain, seen_ns, checksum"
)


class Pending(NamedTuple):
    """One stored record, as delivery sees it.

    Attributes:
        has_left: Whether its bytes may have reached the sink, so that they stay as they are.
        before_ns: For a record of a chain that has not left: the moment of the newest one before it.
    """

    seq: int
    uid: str
    layer: Layer
    name: str
    made_ns: int
    derived: bool
    grant: str | None
    envelope: bytes
    body: bytes
    has_left: bool = False
    before_ns: int | None = None


class Fate(NamedTuple):
    """What became of some records.

    ``delivered``; ``rejected``; ``put off`` until *not_before*; ``unsent``, for no byte of them left: they are as they
    were before; ``unanswered``, so that they may have arrived; ``not taken``, as the sink said: they name their
    predecessor anew.
    """

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
    torn: int = 0  # lines of the spool that nobody was told are stored


def one(
    db: sqlite3.Connection, query: str, parameters: Sequence[object] = (), *, kinds: type = object
) -> tuple[Any, ...]:
    """Return the row a query must find, of values of *kinds*: SQLite reads anything out of a damaged page."""
    row: tuple[Any, ...] | None = db.execute(query, parameters).fetchone()
    if row is None or not all(isinstance(value, kinds) for value in row):
        raise DamagedError
    return row


def totals(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Return how many records were accepted, and how many, with how many bytes, wait."""
    accepted, pending, size = one(db, "SELECT accepted, pending, bytes FROM totals", kinds=int)
    return accepted, pending, size


def ledger(db: sqlite3.Connection) -> Counts:
    """Return the ledger."""
    query = "SELECT accepted, delivered, rejected, pending, bytes, torn FROM totals"
    accepted, delivered, rejected, pending, size, torn = one(db, query, kinds=int)
    dropped = db.execute("SELECT reason, n FROM dropped ORDER BY reason").fetchall()
    if not all(isinstance(reason, str) and isinstance(n, int) for reason, n in dropped):
        raise DamagedError
    return Counts(accepted, delivered, rejected, pending, size, dict(dropped), torn)


def has_row(db: sqlite3.Connection, query: str, *parameters: object) -> bool:
    """Tell whether a query finds a row."""
    return db.execute(query, parameters).fetchone() is not None


def insert(db: sqlite3.Connection, records: Iterable[Record]) -> list[bool]:
    """Store and count *records*; return which of them were accepted: not one whose derived uid is known.

    Nor one of a chain whose day is not after the newest of the chain, unless its clock is days behind that.
    """
    accepted, _, _ = totals(db)
    envelopes: dict[bytes, int] = {}
    were_accepted, rows, size = [], [], 0
    for it in politely(records):
        if it.derived and not _is_next(db, it):
            were_accepted.append(False)
            continue
        if it.envelope not in envelopes:
            envelopes[it.envelope] = _envelope_id(db, it.envelope)
        accepted, size = accepted + 1, size + len(it.body)
        origin = (accepted, it.uid, it.layer.value, it.name, it.made_ns, it.derived, it.grant)
        rows.append((*origin, envelopes[it.envelope], it.body, False, it.chain, it.seen_ns, _checksum(it)))
        if it.derived:  # at once, for the next one may be its like
            _store(db, rows)
            rows = []
        were_accepted.append(True)
    _store(db, rows)
    count = sum(were_accepted)
    db.execute("UPDATE totals SET accepted = ?, pending = pending + ?, bytes = bytes + ?", (accepted, count, size))
    return were_accepted


def _store(db: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        db.executemany(f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _is_next(db: sqlite3.Connection, record: Record) -> bool:
    if has_row(db, "SELECT 1 FROM records WHERE derived AND uid = ?", record.uid) or is_done(db, record.uid):
        return False
    newest = _newest(db, record.chain, before_ns=None) if record.chain else None
    return newest is None or not 0 <= newest // _DAY_NS - record.made_ns // _DAY_NS <= _DAYS_BEHIND


def is_done(db: sqlite3.Connection, uid: str) -> bool:
    """Tell whether the record with this derived uid was delivered."""
    return has_row(db, "SELECT 1 FROM done WHERE uid = ?", uid)


def _newest(db: sqlite3.Connection, chain: str | None, *, before_ns: int | None) -> int | None:
    """Return the moment of the newest record of *chain* that waits or was delivered, made before *before_ns*."""
    bound = before_ns if before_ns is not None else _LAST
    moments = [
        db.execute(f"SELECT max(made_ns) FROM {table} WHERE chain = ? AND made_ns < ?", (chain, bound)).fetchone()[0]
        for table in ("records", "done")
    ]
    return max((moment for moment in moments if moment is not None), default=None)


def _envelope_id(db: sqlite3.Connection, data: bytes) -> int:
    """Return the number of the envelope *data*, which is stored once for all its records."""
    known = "SELECT id FROM envelopes WHERE data = ?"
    if not has_row(db, known, data):
        db.execute("INSERT INTO envelopes (data) VALUES (?)", (data,))
    return int(one(db, known, (data,), kinds=int)[0])


def waiting(
    db: sqlite3.Connection, grants: frozenset[str], *, now: float, limit: int
) -> tuple[list[Pending], list[int]]:
    """Return the records that may leave now, oldest first: base ones, and analytics ones made under *grants*.

    And the numbers of those that are no longer what was stored. Such a one would spoil its whole request, or take with
    it what somebody else had on that disk.
    """
    marks = ", ".join("?" * len(grants))
    # One put off for longer than anything is put off was so before the clock was set back.
    due = f"(not_before <= ? OR not_before > ?) AND (layer = 'base' OR grant_id IN ({marks}))"
    query = f"SELECT {_COLUMNS} FROM records WHERE {due} ORDER BY seq LIMIT ?"
    return _checked(db, db.execute(query, (now, now + _LONGEST_PUT_OFF, *sorted(grants), limit)).fetchall())


def all_waiting(db: sqlite3.Connection) -> list[Pending]:
    """Return all records, oldest first."""
    return _checked(db, db.execute(f"SELECT {_COLUMNS} FROM records ORDER BY seq").fetchall())[0]


def _checked(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> tuple[list[Pending], list[int]]:
    envelopes = dict(db.execute("SELECT id, data FROM envelopes"))
    found, damaged = [], []
    for seq, uid, layer, name, made_ns, derived, grant, envelope, body, has_left, chain, seen_ns, stored in politely(
        rows
    ):
        try:
            origin = (seq, uid, _LAYERS[layer], name, made_ns, bool(derived), grant, envelopes[envelope], body)
            record = Pending(*origin, bool(has_left))
            if stored != _checksum(record):
                raise DamagedError
            if chain and not has_left:
                record = record._replace(before_ns=_before(db, chain, made_ns, seen_ns))
            found.append(record)
        except (KeyError, TypeError, DamagedError):
            damaged.append(seq)
    return found, damaged


def _checksum(record: Record | Pending) -> int:
    origin = f"{record.uid} {record.layer.value} {record.name} {record.made_ns} {record.derived} {record.grant}"
    return crc32(record.body, crc32(record.envelope, crc32(origin.encode("utf-8", "replace"))))


def _before(db: sqlite3.Connection, chain: str, made_ns: int, seen_ns: int) -> int:
    """Return what a record of *chain* has before it; its own moment where there is nothing."""
    known = seen_ns if 0 < seen_ns < made_ns else 0
    return max(_newest(db, chain, before_ns=made_ns) or 0, known) or made_ns


def as_pending(record: Record) -> Pending:
    """Return *record*, which is in the spool, as it will be stored."""
    uid, layer, name, made_ns, envelope, body, derived, grant, *_ = record
    return Pending(_LAST, uid, layer, name, made_ns, derived, grant, envelope, body)


def still_waiting(db: sqlite3.Connection, records: Sequence[Pending]) -> list[Pending]:
    """Return those of *records* that are still there."""
    if not records:
        return []
    numbers = [record.seq for record in records]
    query = "SELECT seq, uid FROM records WHERE seq BETWEEN ? AND ?"
    uids = dict(db.execute(query, (min(numbers), max(numbers))))
    return [record for record in records if uids.get(record.seq) == record.uid]


def foreign(db: sqlite3.Connection, grants: frozenset[str]) -> list[int]:
    """Return the analytics records made under none of *grants*."""
    rows = db.execute("SELECT seq, grant_id FROM records WHERE layer <> 'base'")
    return [seq for seq, grant in rows if grant not in grants]


def check_count(db: sqlite3.Connection) -> None:
    """Look whether as many records can be found as were counted.

    Raises:
        DamagedError: There are more or fewer: some were lost with a page of the file.
    """
    if one(db, "SELECT count(*) FROM records") != totals(db)[1:2]:
        raise DamagedError


def rewrite(db: sqlite3.Connection, records: Sequence[Pending]) -> None:
    """Make the stored bytes of *records*, which are there, and whether they have left, what they are now."""
    for record in records:
        before = one(db, "SELECT length(body) FROM records WHERE seq = ?", (record.seq,), kinds=int)[0]
        values = (record.body, record.has_left, _checksum(record), record.seq)
        db.execute("UPDATE records SET body = ?, has_left = ?, checksum = ? WHERE seq = ?", values)
        if len(record.body) != before:
            db.execute("UPDATE totals SET bytes = bytes + ?", (len(record.body) - before,))


def mark_left(db: sqlite3.Connection, first: int, last: int) -> None:
    """Note that the records from number *first* to *last* may have reached the sink."""
    db.execute("UPDATE records SET has_left = 1 WHERE seq BETWEEN ? AND ? AND NOT has_left", (first, last))


def settle(db: sqlite3.Connection, fates: Iterable[Fate], now_ns: int) -> tuple[int, int]:
    """Carry out *fates*; return how many records were delivered and how many refused."""
    delivered = refused = 0
    for fate in fates:
        there = still_waiting(db, fate.records)
        if fate.fate == "put off":
            put_off(db, there, fate.not_before)
        elif fate.fate == "unsent":
            rewrite(db, there)
        elif fate.fate == "unanswered":
            for first, last in _runs([it.seq for it in there if not it.has_left]):
                mark_left(db, first, last)
        elif fate.fate == "not taken":
            db.executemany("UPDATE records SET has_left = 0 WHERE seq = ?", [(it.seq,) for it in there])
        elif fate.fate == "delivered":
            for record in [it for it in there if it.derived]:
                mark_done(db, record, now_ns)
            delivered += delete(db, there)
        else:
            for record in [it for it in there if it.name == DELETION_REQUESTED]:
                mark_done(db, record, now_ns)  # given up: see `is_deleting`
            refused += delete(db, there)
    return delivered, refused


def is_deleting(db: sqlite3.Connection, since_ns: int) -> bool:
    """Tell whether a request to delete waits, or was delivered or given up since then."""
    waits = has_row(db, "SELECT 1 FROM records WHERE name = ?", DELETION_REQUESTED)
    return waits or has_row(db, "SELECT 1 FROM done WHERE name = ? AND at_ns >= ?", DELETION_REQUESTED, since_ns)


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
        _, pending, total = totals(db)
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


def delete(db: sqlite3.Connection, records: Sequence[Pending]) -> int:
    """Delete *records*, which are there and which the sink has decided about; return how many they are."""
    for first, last in _runs([record.seq for record in records]):
        db.execute("DELETE FROM records WHERE seq BETWEEN ? AND ?", (first, last))
    _count_out(db, len(records), sum([len(record.body) for record in records]))
    return len(records)


def drop(db: sqlite3.Connection, reason: str, numbers: Sequence[int]) -> int:
    """Delete the records with these numbers and count them under *reason*."""
    for first, last in _runs(numbers):
        query = "SELECT count(*), ifnull(sum(length(body)), 0) FROM records WHERE seq BETWEEN ? AND ?"
        found, size = one(db, query, (first, last), kinds=int)
        if found != last - first + 1:
            raise DamagedError
        db.execute("DELETE FROM records WHERE seq BETWEEN ? AND ?", (first, last))
        _count_out(db, found, size)
    count_dropped(db, reason, len(numbers))
    return len(numbers)


def drop_all(db: sqlite3.Connection, reason: str) -> int:
    """Delete all records and count them under *reason*."""
    return drop(db, reason, [row[0] for row in db.execute("SELECT seq FROM records").fetchall()])


def count_torn(db: sqlite3.Connection, number: int) -> None:
    """Count lines of the spool that are no records."""
    if number:
        db.execute("UPDATE totals SET torn = torn + ?", (number,))


def count_dropped(db: sqlite3.Connection, reason: str, number: int, *, were_accepted: bool = True) -> None:
    """Count *number* records as dropped; those that were not accepted here before as accepted too."""
    if number:
        count = "INSERT INTO dropped VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET n = n + excluded.n"
        db.execute(count, (reason, number))
        if not were_accepted:
            db.execute("UPDATE totals SET accepted = accepted + ?", (number,))


def _count_out(db: sqlite3.Connection, records: int, size: int) -> None:
    db.execute("UPDATE totals SET pending = pending - ?, bytes = bytes - ?", (records, size))


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of neighbouring numbers."""
    ordered = sorted(numbers)
    ends = [it for it in range(1, len(ordered)) if ordered[it] != ordered[it - 1] + 1]
    for begin, end in itertools.pairwise([0, *ends, len(ordered)] if ordered else []):
        yield ordered[begin], ordered[end - 1]


def mark_done(db: sqlite3.Connection, record: Pending, at_ns: int) -> None:
    """Remember that *record*, whose uid is derived, was delivered. Before it is deleted, for its chain stands there."""
    known = "SELECT uid, ?, chain, made_ns, name FROM records WHERE seq = ? AND uid = ?"
    db.execute(f"INSERT OR REPLACE INTO done {known}", (at_ns, record.seq, record.uid))
    oldest = "SELECT uid FROM done ORDER BY at_ns DESC, uid LIMIT -1 OFFSET ?"
    db.execute(f"DELETE FROM done WHERE uid IN ({oldest})", (_MOST_DONE,))


def taken_segments(db: sqlite3.Connection) -> set[str]:
    """Return the names of the spool's segments that were taken in, and may be on disk still."""
    return {row[0] for row in db.execute("SELECT name FROM taken_segments")}


def note_taken_segments(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """Remember these names, and no others."""
    db.execute("DELETE FROM taken_segments")
    db.executemany("INSERT INTO taken_segments VALUES (?)", [(name,) for name in names])


VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE envelopes (id INTEGER PRIMARY KEY, data BLOB NOT NULL UNIQUE);
CREATE TABLE records (
  seq INTEGER PRIMARY KEY, uid TEXT NOT NULL, layer TEXT NOT NULL, name TEXT NOT NULL, made_ns INTEGER NOT NULL,
  derived INTEGER NOT NULL, grant_id TEXT, not_before REAL NOT NULL DEFAULT 0, envelope INTEGER NOT NULL,
  body BLOB NOT NULL, has_left INTEGER NOT NULL, chain TEXT, seen_ns INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE UNIQUE INDEX derived_uid ON records (uid) WHERE derived;
CREATE INDEX chained ON records (chain, made_ns) WHERE chain IS NOT NULL;
CREATE TABLE done (
  uid TEXT PRIMARY KEY, at_ns INTEGER NOT NULL, chain TEXT, made_ns INTEGER NOT NULL, name TEXT NOT NULL);
CREATE INDEX done_chained ON done (chain, made_ns) WHERE chain IS NOT NULL;
CREATE TABLE taken_segments (name TEXT PRIMARY KEY);
CREATE TABLE totals (
  id INTEGER PRIMARY KEY CHECK (id = 1), accepted INTEGER NOT NULL, pending INTEGER NOT NULL, bytes INTEGER NOT NULL,
  delivered INTEGER NOT NULL, rejected INTEGER NOT NULL, torn INTEGER NOT NULL);
CREATE TABLE dropped (reason TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE circuit (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);
CREATE TABLE sent (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ns INTEGER NOT NULL, until_ns INTEGER NOT NULL, sink TEXT NOT NULL,
  body BLOB NOT NULL, records INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  analytics INTEGER NOT NULL, lock TEXT NOT NULL, headers TEXT NOT NULL,
  status INTEGER, verdict TEXT NOT NULL, reason TEXT NOT NULL, has_left INTEGER NOT NULL DEFAULT 1);
INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0, 0);
INSERT INTO circuit VALUES (1, '{}');
"""
