"""The durable queue: records wait here until the sink has them, shared by all threads and processes of the app.

The outbox does not know what a record means. It knows

- a closed ledger: accepted = delivered + pending + rejected + dropped, by reason;
- the circuit (how long to leave the sink alone, and why), persisted so that no restart hammers a sick sink;
- the sent log: the newest requests byte for byte, with their outcome.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.model import NANOSECONDS
from telemetry_sdk.outbox import batch, dequeue, sent_log, tables
from telemetry_sdk.outbox.batch import Batch, Terms
from telemetry_sdk.outbox.database import BUSY_WAIT, Database
from telemetry_sdk.outbox.enqueue import Enqueuer, Put
from telemetry_sdk.outbox.store_errors import StoreError
from telemetry_sdk.outbox.tables import SCHEMA, VERSION

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from telemetry_sdk.model import Circuit, Limits, Record, SentRequest
    from telemetry_sdk.outbox.tables import Counts, Fate, Pending

FILE_NAME: Final = "outbox.sqlite3"
_MOST_ROUNDS: Final = 10
_SETTLING: Final = 0.25


class Outbox:
    """The queue of one app. Every method may raise `StoreError` and then has changed nothing."""

    def __init__(self, directory: Path | None, limits: Limits) -> None:
        self._database = Database(directory / FILE_NAME if directory else None, SCHEMA, VERSION)
        self._limits = limits
        self._enqueuer = Enqueuer(self._database, directory, limits)
        self._cleared_for: frozenset[str] | None = None

    @property
    def database(self) -> Database:
        """The file, for closing it and for its fate over a fork."""
        return self._database

    def has_waiting(self) -> bool:
        """Tell whether records wait, or may: it cannot always be found out. Makes no file."""
        try:
            return self.spilled_count() > 0 or (self.is_there() and self.counts(patience=0.0).pending > 0)
        except StoreError:
            return True

    def spilled_count(self) -> int:
        """Return how many records are spilled until the file is free."""
        return len(self._enqueuer.spill.names())

    def is_there(self) -> bool:
        """Tell whether there is a file, or its stand-in in memory, without opening one."""
        path = self._database.path
        return self._database.generation > 0 or (path is not None and os.path.exists(path))

    def is_durable(self) -> bool:
        """Tell whether records survive this process, opening the file if need be."""
        self._database.run(lambda _: None, write=False, patience=0.0)
        return self._database.durable

    def after_fork(self) -> None:
        """Start afresh in a forked child."""
        self._database.after_fork_in_child()

    def put(self, record: Record, *, replaces: bool = False) -> Put:
        """Store *record*; see there."""
        return self._enqueuer.put(record, replaces=replaces)

    def is_done(self, uid: str) -> bool:
        """Tell whether the record with this derived uid was delivered."""
        return self._database.run(lambda db: tables.has_row(db, "SELECT 1 FROM done WHERE uid = ?", uid), write=False)

    def take(self, terms: Callable[[Circuit], Terms], *, now: float, patience: float = BUSY_WAIT) -> Batch:
        """Take the oldest records that may leave now, up to the batch limits. For the holder of the delivery lock.

        Args:
            terms: Tells what may leave. Asked inside the transaction: a record that is there was stored after its
                consent was, so terms asked for now know that consent, and terms asked for earlier may not.
            now: Seconds since 1970.
            patience: Seconds to wait while another program holds the file.
        """
        for _ in range(_MOST_ROUNDS):
            spilled = self._enqueuer.spill.names()
            take = partial(self._take, terms, now, spilled)
            grants, circuit, blocked, self._cleared_for = self._database.run(take, patience=min(patience, BUSY_WAIT))
            self._enqueuer.spill.remove(spilled)
            if grants is None:
                return Batch((), circuit, blocked)
            if records := dequeue.read(self._database, grants, now=now, limit=self._limits.batch_records):
                chosen = batch.fitting(records, self._limits.batch_bytes)
                has_more = len(records) == self._limits.batch_records or len(chosen) < len(records)
                return Batch(chosen, circuit, has_more=has_more)
        raise StoreError("the outbox cannot be read")

    def _take(
        self, terms: Callable[[Circuit], Terms], now: float, spilled: Sequence[str], db: sqlite3.Connection
    ) -> tuple[frozenset[str] | None, Circuit, str, frozenset[str] | None]:
        """Take in what was spilled, and destroy what may not stay.

        Returns:
            The consents under which records may leave, or None when there is nothing; the circuit; why nothing may
            leave; and the consents that all analytics have now.
        """
        self._enqueuer.take_in(db, spilled)
        circuit = sent_log.read_circuit(db)
        agreed = terms(circuit)
        if agreed.destroy_others and (not agreed.grants or agreed.grants != self._cleared_for or spilled):
            tables.drop(db, "consent withdrawn", tables.foreign(db, agreed.grants))
        cleared_for = agreed.grants if agreed.destroy_others else None
        if agreed.blocked:
            return None, circuit, agreed.blocked, cleared_for
        tables.expire(db, made_before_ns=max(int((now - self._limits.age_days * 86_400) * NANOSECONDS), 0))
        has_some = dequeue.has_some(db, agreed.grants, now=now)
        if not has_some:
            tables.check_count(db)
        return agreed.grants if has_some else None, circuit, "", cleared_for

    def begin(
        self,
        records: Sequence[Pending],
        encode: Callable[[Sequence[Pending]], bytes],
        *,
        fresh: Sequence[Pending] = (),
        sink: str,
        now: float,
        lock: str = "",
        patience: float = BUSY_WAIT,
    ) -> tuple[tuple[Pending, ...], bytes, int]:
        """Write down what is about to be sent, and under which *lock*; *patience* as in `take`.

        The bodies of *fresh*, which are some of *records*, replace the stored ones, so that a retry is byte-identical.
        Records that are gone (withdrawn by another process) are left out.

        Returns:
            The records that remain, the request's body, and its number in the sent log. Without records the body is
            empty.
        """
        while True:
            # Before the transaction: it takes long, and whoever stores a record would wait for it.
            body = encode(records)
            log = partial(self._log, records, fresh, body, sink, lock, now)
            number = self._database.run(log, patience=min(patience, BUSY_WAIT))
            if isinstance(number, int):
                return tuple(records), body, number
            if not number:
                return (), b"", 0
            records, fresh = number, [record for record in fresh if record in number]

    def _log(
        self,
        records: Sequence[Pending],
        fresh: Sequence[Pending],
        body: bytes,
        sink: str,
        lock: str,
        now: float,
        db: sqlite3.Connection,
    ) -> int | list[Pending]:
        """Return the number of the request's line in the sent log, or the records that remain when not all do."""
        there = tables.still_waiting(db, records)
        if len(there) < len(records) or not there:
            return there
        tables.replace_bodies(db, fresh)
        has_analytics = any(record.grant is not None for record in there)
        number = sent_log.log_request(
            db,
            at_ns=int(now * NANOSECONDS),
            sink=sink,
            body=body,
            records=len(there),
            has_analytics=has_analytics,
            lock=lock,
        )
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

        def work(db: sqlite3.Connection) -> None:
            delivered = refused = 0
            for fate in fates:
                if fate.fate == "put off":
                    tables.put_off(db, fate.records, fate.not_before)
                    continue
                gone = tables.delete(db, fate.records)
                if fate.fate == "rejected":
                    refused += len(gone)
                    continue
                delivered += len(gone)
                for uid in [record.uid for record in gone if record.derived]:
                    tables.mark_done(db, uid, int(circuit.last_at * NANOSECONDS))
            lost = min(rejected, delivered)
            ended = (delivered - lost, refused + lost)
            db.execute("UPDATE totals SET delivered = delivered + ?, rejected = rejected + ?", ended)
            sent_log.write_circuit(db, circuit)
            sent_log.end_request(db, number, status=status, verdict=verdict, reason=reason)

        self._database.run(work, patience=min(max(patience, _SETTLING), BUSY_WAIT))

    def circuit(self, *, patience: float | None = None) -> Circuit:
        """Return how long the sink is to be left alone."""
        return self._database.run(sent_log.read_circuit, write=False, patience=patience)

    def has_sent_analytics(self) -> bool:
        """Tell whether the sent log has a request with analytics that may have left."""
        query = "SELECT 1 FROM sent WHERE analytics AND verdict <> 'withheld'"
        return self._database.run(lambda db: tables.has_row(db, query), write=False)

    def has_analytics_in_flight(self, since_ns: int, lock: str) -> bool:
        """Tell whether a request with analytics may be under way that the holder of *lock* keeps from nothing."""
        look = partial(sent_log.has_analytics_in_flight, since_ns=since_ns, lock=lock)
        return self._database.run(look, write=False)

    def purge(self, reason: str) -> int:
        """Destroy everything that waits and return how much; the bytes leave the disk too. See `destroy_withdrawn`."""
        self._enqueuer.spill.remove(self._enqueuer.spill.names())
        return self._destroy(reason, lambda db: [row[0] for row in db.execute("SELECT seq FROM records").fetchall()])

    def destroy_withdrawn(self, grants: Callable[[], frozenset[str]]) -> int:
        """Destroy the waiting analytics records of every consent but *grants*, as `purge` does.

        *grants* is asked inside the transaction; see `take`. Where that cannot be done (the disk is full, another
        program holds the file) the whole file is deleted instead: what was withdrawn must not stay.
        """
        is_aside_clear = self._enqueuer.spill.remove_withdrawn(grants())
        count = self._destroy("consent withdrawn", lambda db: tables.foreign(db, grants()))
        if not is_aside_clear:
            raise StoreError("what was spilled cannot be deleted")
        return count

    def _destroy(self, reason: str, chosen: Callable[[sqlite3.Connection], Sequence[int]]) -> int:
        try:
            count = self._database.run(lambda db: tables.drop(db, reason, chosen(db)))
        except StoreError:
            self._database.discard()
            return 0
        self._database.shrink()
        return count

    def withdraw(self, uid: str, reason: str) -> int:
        """Destroy one waiting record and return how many that were."""

        def work(db: sqlite3.Connection) -> int:
            return tables.drop(
                db, reason, [row[0] for row in db.execute("SELECT seq FROM records WHERE uid = ?", (uid,))]
            )

        spill = self._enqueuer.spill
        spill.remove([name for name in spill.names() if uid in name])
        return self._database.run(work)

    def forget(self, reason: str, last: Record | None) -> None:
        """Destroy everything: records, sent log, memory of what was delivered; then store *last*, in the same step.

        Where that cannot be done the whole file is deleted instead, and *last* goes into a new one.
        """

        def work(db: sqlite3.Connection) -> None:
            tables.drop(db, reason, [row[0] for row in db.execute("SELECT seq FROM records").fetchall()])
            for table in ("sent", "done", "envelopes"):
                db.execute(f"DELETE FROM {table}")
            if last is not None:
                self._enqueuer.insert(db, last)

        self._enqueuer.spill.remove(self._enqueuer.spill.names())
        try:
            self._database.run(work)
            self._database.shrink()
        except StoreError:
            self._database.discard()
            if last is not None:
                self.put(last)
        self._database.remove_set_aside()

    def peek(self, grants: frozenset[str], now: float) -> tuple[list[Pending], tuple[Pending, ...]]:
        """Return the records that wait, oldest first, and those that the next request would carry."""

        def work(db: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
            return dequeue.all_rows(db), dequeue.rows_waiting(db, grants, now=now, limit=self._limits.batch_records)

        stored, first = self._database.run(work, write=False)
        return dequeue.checked(stored)[0], batch.fitting(dequeue.checked(first)[0], self._limits.batch_bytes)

    def counts(self, *, patience: float | None = None) -> Counts:
        """Return the ledger."""
        return self._database.run(tables.ledger, write=False, patience=patience)

    def sent_log(self) -> list[SentRequest]:
        """Return the newest requests, oldest first."""
        return self._database.run(sent_log.read_log, write=False)
