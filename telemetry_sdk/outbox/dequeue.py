"""Reading the records that wait, and telling sound ones from damaged ones."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.model import Layer
from telemetry_sdk.outbox.store_errors import DamagedError
from telemetry_sdk.outbox.tables import Pending, checksum, drop, has_row, present

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from telemetry_sdk.outbox.database import Database

_LONGEST_PUT_OFF: Final = 2 * 86_400.0
_LAYERS: Final = {layer.value: layer for layer in Layer}
_WHOLE: Final = "SELECT seq, uid, layer, name, made_ns, derived, grant_id, envelope, body, checksum FROM records"
_BEFORE_ALL: Final = -math.inf
_AT_ONCE: Final = 64  # records read by one transaction: a fraction of a millisecond


def read(database: Database, grants: frozenset[str], *, now: float, limit: int) -> list[Pending]:
    """Return the oldest records that may leave, sound ones alone; the others are dropped.

    Read and checked bit by bit, and without the right to write: it takes long, and whoever stores a record would wait
    for it.
    """
    whole: list[Pending] = []
    last, left, count = _BEFORE_ALL, limit, _AT_ONCE
    while left > 0 and count == _AT_ONCE:
        next_rows = partial(rows_waiting, grants=grants, now=now, limit=min(left, _AT_ONCE), after=last)
        rows = database.run(next_rows, write=False)
        records, damaged = checked(rows)
        if damaged:
            database.run(partial(_drop_damaged, damaged))
        whole += records
        count = len(rows)
        last, left = rows[-1][0] if rows else last, left - count
    return whole


def rows_waiting(
    db: sqlite3.Connection, grants: frozenset[str], *, now: float, limit: int, after: float = _BEFORE_ALL
) -> list[tuple[Any, ...]]:
    """Return the rows with a number above *after* that may leave now, oldest first.

    These are base ones, and analytics ones made under *grants*.

    Raises:
        DamagedError: Their numbers do not rise: one of them is not what was stored.
    """
    may_leave, values = _may_leave(grants, now)
    query = f"{_WHOLE} WHERE {may_leave} AND seq > ? ORDER BY seq LIMIT ?"
    rows = db.execute(query, (*values, after, limit)).fetchall()
    if any(earlier >= later for earlier, later in itertools.pairwise([after, *(row[0] for row in rows)])):
        raise DamagedError
    return _with_envelopes(db, rows)


def has_some(db: sqlite3.Connection, grants: frozenset[str], *, now: float) -> bool:
    """Tell whether `rows_waiting` would find a row."""
    may_leave, values = _may_leave(grants, now)
    return has_row(db, f"SELECT 1 FROM records WHERE {may_leave} LIMIT 1", *values)


def _may_leave(grants: frozenset[str], now: float) -> tuple[str, tuple[object, ...]]:
    marks = ", ".join("?" * len(grants))
    # One whose envelope was lost with a page of the file is left out: `check_count` will say so.
    whole = "envelope IN (SELECT id FROM envelopes)"
    condition = f"(not_before <= ? OR not_before > ?) AND (layer = 'base' OR grant_id IN ({marks})) AND {whole}"
    # One put off for longer than anything is put off was so before the clock was set back.
    return condition, (now, now + _LONGEST_PUT_OFF, *sorted(grants))


def all_rows(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Return all rows, oldest first."""
    return _with_envelopes(db, db.execute(f"{_WHOLE} ORDER BY seq").fetchall())


def _with_envelopes(db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    envelopes = dict(db.execute("SELECT id, data FROM envelopes"))
    return [(*row[:7], envelopes[row[7]], *row[8:]) for row in rows if row[7] in envelopes]


def checked(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Pending], list[int]]:
    """Return the records in *rows*, and the numbers of those that are no longer what was stored.

    Such a one would spoil its whole request, or pass for what it is not.
    """
    whole, damaged = [], []
    for seq, uid, layer, name, made_ns, derived, grant, envelope, body, stored in rows:
        origin = (uid, layer, name, made_ns, derived, grant)
        if isinstance(body, bytes) and stored == checksum(envelope, body, origin):
            whole.append(Pending(seq, uid, _LAYERS[layer], name, made_ns, bool(derived), grant, envelope, body))
        else:
            damaged.append(seq)
    return whole, damaged


def _drop_damaged(numbers: Sequence[int], db: sqlite3.Connection) -> None:
    drop(db, "damaged", present(db, numbers))
