"""The durable queue: records wait here until the sink has them, shared by all threads and processes of the app.

Two doors lead in: `Outbox.append` through the spool, for events, and `Outbox.put` straight into the database. Each
takes what the other refuses.

The outbox does not know what a record means. It knows

- a closed ledger: accepted = delivered + pending + rejected + dropped, by reason;
- the circuit (how long to leave the sink alone, and why), persisted so that no restart hammers a sick sink;
- the sent log: the newest requests byte for byte, with their outcome.
"""

from __future__ import annotations

import enum
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host.guard import ignoring
from telemetry_sdk.model import NANOSECONDS, Circuit, Layer
from telemetry_sdk.outbox import StoreError, batch, sent_log, tables
from telemetry_sdk.outbox.batch import Batch
from telemetry_sdk.outbox.database import BUSY_WAIT, Database, FullError
from telemetry_sdk.outbox.spool import Spool
from telemetry_sdk.outbox.tables import SCHEMA, VERSION, Counts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from telemetry_sdk.model import Limits, Record, SentRequest
    from telemetry_sdk.outbox.batch import Terms
    from telemetry_sdk.outbox.sent_log import Request
    from telemetry_sdk.outbox.spool import Segment
    from telemetry_sdk.outbox.tables import Fate, Pending

FILE_NAME: Final = "outbox.sqlite3"
_SETTLING: Final = 0.25


class Put(enum.Enum):
    """Where a record went: the database, the spool, or nowhere, for it is known."""

    STORED = "stored"
    SPOOLED = "spooled"
    KNOWN = "known"


class Outbox:
    """The queue of one app. Every method may raise `StoreError` and then has changed nothing."""

    def __init__(self, directory: Path | None, limits: Limits, spool: Spool | None = None) -> None:
        self.database = Database(directory / FILE_NAME if directory else None, SCHEMA, VERSION)
        self._limits = limits
        self._spool = spool or Spool(directory, limits)
        self._cleared_for: frozenset[str] | None = None

    def append(self, record: Record) -> None:
        """Store *record* by one append; it is taken in with the next delivery. Through the database if need be.

        When this returns the record survives a kill of this process; in a signal handler that interrupted the outbox,
        as soon as the handler has returned.
        """
        if not self._spool.append(record):
            self.store_refused(record)

    def store_refused(self, *records: Record) -> None:
        """Store what the spool refused: *records*, and what a signal handler made meanwhile."""
        if records:
            self._insert(records, takes_in=self._spool.is_full)
        refused = self._spool.refused
        # Taken out when it is stored: another handler may raise in the middle. One may have come in between, too.
        with ignoring(StoreError, IndexError, ValueError):
            while refused:
                record = refused[0]
                self._insert([record])
                refused.remove(record)

    def put(self, records: Sequence[Record]) -> list[Put]:
        """Store *records* in one transaction, each unless its derived uid was accepted before; else as `append`.

        Raises:
            StoreError: They can be stored nowhere; among others, there is no room beside records that matter more.
        """
        try:
            return [Put.STORED if it else Put.KNOWN for it in self._insert(records)]
        except FullError:
            raise
        except StoreError:
            if not all(map(self._spool.append, records)):
                raise
            return [Put.SPOOLED] * len(records)

    def _insert(self, records: Sequence[Record], *, takes_in: bool = False) -> list[bool]:
        limits = self._limits
        names: list[str] = []

        def work(db: sqlite3.Connection) -> list[bool]:
            names[:] = self._take_in(db) if takes_in else ()
            were_accepted = tables.insert(db, records)
            tables.make_room(db, records=limits.records, size=limits.bytes)
            if were_accepted and were_accepted[-1] and not tables.has_newest(db):
                raise FullError("there is no room for it")
            return were_accepted

        were_accepted = self.database.run(work, patience=0.0)
        self._spool.remove(names)
        return were_accepted

    def _take_in(self, db: sqlite3.Connection) -> list[str]:
        """Store what waits in the spool, and return the segments that may be deleted after the transaction.

        Memory is no place for it: there a segment stays until all that was read of it has left.
        """
        self._spool.cut()
        on_disk = self._spool.segments()
        taken = tables.taken_segments(db)
        if not on_disk:
            if taken:
                tables.note_taken_segments(db, ())
            return []
        found = [segment for name in on_disk if name not in taken and (segment := self._spool.read(name)) is not None]
        is_settled = self.database.durable or not tables.totals(db)[1]
        for segment in found:
            tables.insert(db, segment.records)
            tables.count_torn(db, segment.torn)
        if found:
            tables.make_room(db, records=self._limits.records, size=self._limits.bytes)
        known, fresh = taken & set(on_disk), {segment.name for segment in found}
        tables.note_taken_segments(db, known | fresh)
        if not self.database.durable:
            return sorted(known) if is_settled else []
        return sorted(known | fresh)

    def take(
        self, terms: Callable[[Circuit], Terms], *, now: float, lock: str = "", patience: float = BUSY_WAIT
    ) -> Batch:
        """Take in what was spooled, and take the oldest records that may leave now, up to the batch limits.

        For the holder of the delivery *lock*.

        Args:
            terms: Tells what may leave. Asked inside the transaction: a record that is there was stored after its
                consent was, so terms asked for now know that consent, and terms asked for earlier may not.
            now: Seconds since 1970.
            lock: Which file it is whose lock the caller holds.
            patience: Seconds to wait while another program holds the file.
        """
        try:
            work = partial(self._take, terms, now, lock)
            taken, names, self._cleared_for = self.database.run(work, patience=min(patience, BUSY_WAIT))
        finally:
            self._spool.catch_up()
        self._spool.remove(names)
        self.store_refused()
        return taken

    def _take(
        self, terms: Callable[[Circuit], Terms], now: float, lock: str, db: sqlite3.Connection
    ) -> tuple[Batch, list[str], frozenset[str] | None]:
        """Return the batch, the segments that may be deleted, and the consents that all analytics have now."""
        limits = self._limits
        names = self._take_in(db)
        sent_log.end_cut_off(db, lock)
        circuit = sent_log.read_circuit(db)
        agreed = terms(circuit)
        if agreed.destroys_all:
            tables.drop_all(db, agreed.blocked)
        elif agreed.destroys_others and (not agreed.grants or agreed.grants != self._cleared_for or names):
            tables.drop(db, "consent withdrawn", tables.foreign(db, agreed.grants))
        cleared_for = agreed.grants if agreed.destroys_others else None
        if agreed.blocked:
            return Batch((), circuit, agreed.blocked), names, cleared_for
        tables.expire(db, made_before_ns=max(int((now - limits.age_days * 86_400) * NANOSECONDS), 0))
        records, damaged = tables.waiting(db, agreed.grants, now=now, limit=limits.batch_records)
        tables.drop(db, "damaged", damaged)
        if not records:
            if agreed.destroys_others:  # stored by a call that had asked the gate before the consent changed
                tables.drop(db, "consent withdrawn", tables.foreign(db, agreed.grants))
            tables.check_count(db)
        chosen = batch.fitting(records, limits.batch_bytes) if records else ()
        has_more = len(records) + len(damaged) == limits.batch_records or len(chosen) < len(records)
        return Batch(chosen, circuit, has_more=has_more), names, cleared_for

    def begin(
        self,
        records: Sequence[Pending],
        fresh: Sequence[Pending],
        encode: Callable[[Sequence[Pending]], bytes],
        request: Request,
        *,
        patience: float = BUSY_WAIT,
    ) -> tuple[tuple[Pending, ...], bytes, int]:
        """Write down what is about to be sent; *patience* as in `take`.

        The bodies of *fresh*, which are some of *records*, replace the stored ones, so that a retry is byte-identical.
        Records that are gone (withdrawn by another process) are left out.

        Returns:
            The records that remain, the request's body, and its number in the sent log. Without records the body is
            empty.
        """
        while records:
            # Before the transaction: it takes long, and whoever stores a record would wait for it.
            body = encode(records)
            log = partial(self._log, records, fresh, body, request)
            number = self.database.run(log, patience=min(patience, BUSY_WAIT))
            if isinstance(number, int):
                return tuple(records), body, number
            records, fresh = number, [record for record in fresh if record in number]
        return (), b"", 0

    def _log(
        self,
        records: Sequence[Pending],
        fresh: Sequence[Pending],
        body: bytes,
        request: Request,
        db: sqlite3.Connection,
    ) -> int | list[Pending]:
        """Return the number of the request's line in the sent log, or the records that remain when not all do."""
        there = tables.still_waiting(db, records)
        if len(there) < len(records):
            return there
        tables.rewrite(db, [it._replace(has_left=it.has_left or it.before_ns is not None) for it in fresh])
        number = sent_log.log_request(db, request, body, records)
        sent_log.trim_log(db, requests=self._limits.sent_log_requests, size=self._limits.sent_log_bytes)
        return number

    def settle(
        self,
        number: int,
        fates: Sequence[Fate],
        *,
        status: int | None,
        verdict: str,
        reason: str,
        circuit: Circuit,
        rejected: int = 0,
        patience: float = BUSY_WAIT,
    ) -> None:
        """Write down how request *number* ended: the fate of its records, the circuit, the sent log, in one step.

        *rejected* of the delivered ones are counted as rejected (``partialSuccess`` does not say which). At least a
        quarter of a second is waited for another program that holds the file, and at most *patience* seconds.
        """

        def work(db: sqlite3.Connection) -> set[str]:
            delivered, refused = tables.settle(db, fates, int(circuit.last_at * NANOSECONDS))
            lost = min(rejected, delivered)
            ended = (delivered - lost, refused + lost)
            db.execute("UPDATE totals SET delivered = delivered + ?, rejected = rejected + ?", ended)
            sent_log.write_circuit(db, circuit)
            has_left = all(fate.fate != "unsent" for fate in fates)
            sent_log.end_request(db, number, status=status, verdict=verdict, reason=reason, has_left=has_left)
            # What was read into memory stays on disk until all of it has left; see `_take_in`.
            is_over = not self.database.durable and not tables.totals(db)[1]
            return tables.taken_segments(db) if is_over else set()

        self._spool.remove(self.database.run(work, patience=min(max(patience, _SETTLING), BUSY_WAIT)))

    def circuit(self, *, patience: float | None = None) -> Circuit:
        """Return how long the sink is to be left alone. Makes no file."""
        if not self._has_database():
            return Circuit()
        return self.database.run(sent_log.read_circuit, write=False, patience=patience)

    def has_sent_analytics(self) -> bool:
        """Tell whether the sent log has a request with analytics that may have left."""
        query = "SELECT 1 FROM sent WHERE analytics AND has_left"
        return self.database.run(lambda db: tables.has_row(db, query), write=False)

    def has_analytics_in_flight(self, now_ns: int, lock: str) -> bool:
        """Tell whether a request with analytics may be under way that the holder of *lock* keeps from nothing."""
        look = partial(sent_log.has_analytics_in_flight, now_ns=now_ns, lock=lock)
        return self.database.run(look, write=False)

    def is_done(self, uid: str) -> bool:
        """Tell whether the record with this derived uid was delivered."""
        return self.database.run(lambda db: tables.is_done(db, uid), write=False)

    def is_deleting(self, since_ns: int) -> bool:
        """Tell whether a request to delete waits, or ended since then. Makes no file."""
        return self._has_database() and self.database.run(lambda db: tables.is_deleting(db, since_ns), write=False)

    def purge(self, reason: str) -> int:
        """Destroy everything that waits and return how much; the bytes leave the disk too. See `destroy_withdrawn`."""
        return self._destroy(reason, frozenset)

    def destroy_withdrawn(self, grants: Callable[[], frozenset[str]]) -> int:
        """Destroy the waiting analytics records of every consent but *grants*, as `purge` does; base records stay.

        The spool first, without SQLite. *grants* is asked inside the transaction; see `take`. Where that cannot be done
        (the disk is full, another program holds the file) the whole file is deleted: what was withdrawn must not stay.
        """
        return self._destroy("consent withdrawn", grants, keeps=True)

    def _destroy(self, reason: str, grants: Callable[[], frozenset[str]], *, keeps: bool = False) -> int:
        """Destroy what waits, counted under *reason*; with *keeps* base records and those under *grants* stay."""
        spooled = self._spool.empty(BUSY_WAIT)

        def work(db: sqlite3.Connection) -> int:
            agreed, found = grants(), _not_taken(db, spooled or ())
            kept = [it for it in found if keeps and (it.layer is Layer.BASE or it.grant in agreed)]
            tables.insert(db, kept)
            tables.count_dropped(db, reason, len(found) - len(kept), were_accepted=False)
            stored = tables.drop(db, reason, tables.foreign(db, agreed)) if keeps else tables.drop_all(db, reason)
            tables.make_room(db, records=self._limits.records, size=self._limits.bytes)
            return stored + len(found) - len(kept)

        try:
            count = self.database.run(work)
            self.database.shrink()
        except StoreError:
            self.database.discard()
            count = 0
        if spooled is None:
            raise StoreError("the spool cannot be emptied")
        return count

    def forget(self, reason: str, last: Record | None) -> None:
        """Destroy everything: records, sent log, memory of what was delivered; then store *last*, in the same step.

        Where that cannot be done the whole file is deleted instead, and *last* goes into a new one.
        """
        is_empty = self._spool.empty(BUSY_WAIT) is not None

        def work(db: sqlite3.Connection) -> None:
            tables.drop_all(db, reason)
            for table in ("sent", "done", "envelopes", "taken_segments"):
                db.execute(f"DELETE FROM {table}")
            tables.insert(db, [last] if last is not None else ())

        try:
            self.database.run(work)
            self.database.shrink()
        except StoreError:
            self.database.discard()
            if last is not None:
                self.put([last])
        self.database.remove_set_aside()
        if not is_empty:
            raise StoreError("the spool cannot be emptied")

    def is_there(self) -> bool:
        """Tell whether there is a database, or its stand-in in memory, or something in the spool. Opens nothing."""
        return self._has_database() or not self._spool.is_empty()

    def _has_database(self) -> bool:
        path = self.database.path
        return self.database.generation > 0 or (path is not None and os.path.exists(path))

    def has_waiting(self) -> bool:
        """Tell whether records wait, or may: it cannot always be found out. Makes no file."""
        try:
            return not self._spool.is_empty() or (self.is_there() and self.stored(patience=0.0) > 0)
        except StoreError:
            return True

    def stored(self, *, patience: float | None = None) -> int:
        """Return how many records wait in the database."""
        return self.database.run(lambda db: tables.totals(db)[1], write=False, patience=patience)

    def is_durable(self) -> bool:
        """Tell whether records survive this process, opening the file if need be."""
        self.database.run(lambda _: None, write=False, patience=0.0)
        return self.database.durable

    def peek(self, grants: frozenset[str], now: float) -> tuple[list[Pending], Sequence[Pending]]:
        """Return the records that wait, oldest first, and those that the next request would carry. Changes nothing."""

        def work(db: sqlite3.Connection) -> tuple[list[Pending], Sequence[Pending]]:
            spooled = [tables.as_pending(it) for it in _not_taken(db, self._spool.waiting())]
            due, _ = tables.waiting(db, grants, now=now, limit=self._limits.batch_records)
            due += [it for it in spooled if it.layer is Layer.BASE or it.grant in grants]
            first = batch.fitting(due[: self._limits.batch_records], self._limits.batch_bytes) if due else ()
            return [*tables.all_waiting(db), *spooled], first

        if not self._has_database():
            spooled = [tables.as_pending(it) for it in _records(self._spool.waiting())]
            due = [it for it in spooled if it.layer is Layer.BASE or it.grant in grants][: self._limits.batch_records]
            return spooled, batch.fitting(due, self._limits.batch_bytes) if due else ()
        return self.database.run(work, write=False)

    def counts(self, *, patience: float | None = None) -> Counts:
        """Return the ledger; what lies in the spool counts as accepted, and as pending.

        Where more waits than may, in both together, the spool is taken in before.
        """
        found, limits = self._count(patience), self._limits
        if found.pending > limits.records or found.pending_bytes > limits.bytes:
            self._insert([], takes_in=True)
            found = self._count(patience)
        return found

    def _count(self, patience: float | None) -> Counts:
        if not self._has_database():
            return _with(Counts(0, 0, 0, 0, 0, {}), _records(self._spool.waiting()))

        def work(db: sqlite3.Connection) -> Counts:
            return _with(tables.ledger(db), _not_taken(db, self._spool.waiting()))

        return self.database.run(work, write=False, patience=patience)

    def sent_log(self) -> list[SentRequest]:
        """Return the newest requests, oldest first. Makes no file."""
        if not self._has_database():
            return []
        return self.database.run(sent_log.read_log, write=False)


def _with(ledger: Counts, spooled: Sequence[Record]) -> Counts:
    """Return *ledger* with what lies in the spool as accepted, and as pending."""
    return ledger._replace(
        accepted=ledger.accepted + len(spooled),
        pending=ledger.pending + len(spooled),
        pending_bytes=ledger.pending_bytes + sum([len(record.body) for record in spooled]),
    )


def _records(segments: Sequence[Segment]) -> list[Record]:
    return [record for segment in segments for record in segment.records]


def _not_taken(db: sqlite3.Connection, segments: Sequence[Segment]) -> list[Record]:
    """Return the records of those *segments* that are not in the database."""
    taken = tables.taken_segments(db) if segments else ()
    return _records([segment for segment in segments if segment.name not in taken])
