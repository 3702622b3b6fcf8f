"""How a record gets into the outbox: stored at once, or spilled to a file while another program holds the file."""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING

from telemetry_sdk.outbox.spill import Spill, uid_of
from telemetry_sdk.outbox.store_errors import InterruptedStoreError, LockedError, StoreError
from telemetry_sdk.outbox.tables import (
    drop,
    envelope_id,
    has_newest,
    insert,
    insert_if_room,
    is_known,
    make_room,
    note_taken_in,
    taken_in,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from telemetry_sdk.model import Limits, Record
    from telemetry_sdk.outbox.database import Database


class Put(enum.Enum):
    """Where a record went: the outbox, a spill file until the outbox is free, or nowhere, for it is known."""

    STORED = "stored"
    SPILLED = "spilled"
    KNOWN = "known"


class Enqueuer:
    """Takes records in, for one process; the folder of spilled ones is shared by all."""

    def __init__(self, database: Database, directory: Path | None, limits: Limits) -> None:
        self.spill = Spill(directory)
        self._database = database
        self._limits = limits
        self._numbers: dict[bytes, int] = {}  # of the envelopes, as they were when last seen

    def put(self, record: Record, *, replaces: bool = False) -> Put:
        """Store *record* unless its derived uid was accepted before. With *replaces* an older waiting one goes.

        When this returns the record survives a kill of this process; in a signal handler that interrupted the outbox,
        as soon as the handler has returned. Where another program holds the file the record is spilled after a
        quarter of a second, and so are those of the next second at once.

        Raises:
            StoreError: It can be stored nowhere; among others, there is no room for it beside records that matter
                more.
        """
        try:
            if not record.derived and not replaces and self._put_plainly(record):
                return Put.STORED
            return self._database.run_soon(lambda db: self.insert(db, record, replaces=replaces)) or Put.STORED
        except LockedError:
            if not self.spill.keep(record, replaces=replaces):
                raise
            return Put.SPILLED

    def _put_plainly(self, record: Record) -> bool:
        """Store *record* by a single statement; False when that will not do, because the outbox is full say."""
        number, limits = self._numbers.get(record.envelope), self._limits
        if number is None:
            return False

        def work(db: sqlite3.Connection) -> bool:
            return insert_if_room(db, record, number, records=limits.records, size=limits.bytes)

        try:
            return self._database.run(work, alone=True, patience=0.0)
        except InterruptedStoreError:
            return False

    def insert(self, db: sqlite3.Connection, record: Record, *, replaces: bool = False) -> Put:
        """Store *record* within the caller's transaction; see `put`."""
        if record.derived and is_known(db, record.uid):
            return Put.KNOWN
        if replaces:
            older = "SELECT seq FROM records WHERE name = ? AND derived"
            drop(db, "replaced", [row[0] for row in db.execute(older, (record.name,))])
        number = self._numbers[record.envelope] = envelope_id(db, record.envelope)
        pending, size = insert(db, record, number)
        if pending > self._limits.records or size > self._limits.bytes:
            make_room(db, records=self._limits.records, size=self._limits.bytes)
            if not has_newest(db):
                raise StoreError("there is no room for it")
        return Put.STORED

    def take_in(self, db: sqlite3.Connection, names: Sequence[str]) -> None:
        """Store what was spilled, each once: a kill may come between this transaction and the deletion of a file."""
        if not names:
            return
        before = taken_in(db)
        now = before & {uid_of(name) for name in names}
        for name in names:
            found = self.spill.load(name)
            if found is None or found[0].uid in before:
                continue
            record, replaces = found
            with contextlib.suppress(StoreError):
                self.insert(db, record, replaces=replaces)
            if not record.derived:
                now.add(record.uid)
        note_taken_in(db, before, now)
