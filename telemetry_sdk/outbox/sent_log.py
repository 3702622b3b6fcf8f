"""What the outbox keeps of its requests: the sent log, and the circuit that the newest answer left.

Bodies are kept as they were sent, gzipped where they were sent so; whoever reads them gets them as they were before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from telemetry_sdk.model import Circuit, SentRequest, timestamp
from telemetry_sdk.outbox.store_errors import DamagedError
from telemetry_sdk.outbox.tables import has_row, one
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    import sqlite3


def log_request(
    db: sqlite3.Connection, *, at_ns: int, sink: str, body: bytes, records: int, has_analytics: bool, lock: str
) -> int:
    """Begin a line of the sent log and return its number."""
    columns = "at_ns, sink, body, records, analytics, lock, verdict, reason"
    query = f"INSERT INTO sent ({columns}) VALUES (?, ?, ?, ?, ?, ?, 'in flight', '')"
    return int(db.execute(query, (at_ns, sink, body, records, has_analytics, lock)).lastrowid or 0)


def has_analytics_in_flight(db: sqlite3.Connection, since_ns: int, lock: str) -> bool:
    """Tell whether a request with analytics was begun after *since_ns* and has not ended, as far as was written.

    What was begun under *lock*, which the caller holds, has ended: with its process, if nobody wrote it down.
    """
    query = "SELECT 1 FROM sent WHERE verdict = 'in flight' AND analytics AND at_ns > ? AND lock <> ?"
    return has_row(db, query, since_ns, lock)


def end_request(db: sqlite3.Connection, number: int, *, status: int | None, verdict: str, reason: str) -> None:
    """End line *number* of the sent log."""
    outcome = (status, verdict, reason, number)
    db.execute("UPDATE sent SET status = ?, verdict = ?, reason = ? WHERE id = ?", outcome)


def read_log(db: sqlite3.Connection) -> list[SentRequest]:
    """Return the sent log, oldest first; a line that is no longer what was written is left out."""
    rows = db.execute("SELECT at_ns, sink, body, records, status, verdict, reason FROM sent ORDER BY id")
    found = []
    for at_ns, sink, body, *rest in rows:
        plain = otlp.unpacked(body) if isinstance(body, bytes) else None
        if isinstance(at_ns, int) and plain is not None:
            found.append(SentRequest(timestamp(at_ns, "milliseconds"), sink, plain, *rest))
    return found


def trim_log(db: sqlite3.Connection, *, requests: int, size: int) -> None:
    """Keep the newest *requests* requests of at most *size* bytes together; the newest stays, whatever its size."""
    newest_first = "FROM sent ORDER BY id DESC"
    db.execute(f"DELETE FROM sent WHERE id <= (SELECT id {newest_first} LIMIT 1 OFFSET ?)", (max(requests, 1),))
    if one(db, "SELECT ifnull(sum(length(body)), 0) FROM sent")[0] <= size:
        return
    total = 0
    for position, (number, length) in enumerate(db.execute(f"SELECT id, ifnull(length(body), 0) {newest_first}")):
        total += length
        if position and total > size:
            db.execute("DELETE FROM sent WHERE id <= ?", (number,))
            return


def read_circuit(db: sqlite3.Connection) -> Circuit:
    """Return the circuit."""
    try:
        state = json.loads(one(db, "SELECT state FROM circuit")[0])
        return Circuit(**{name: state[name] for name in Circuit._fields if name in state})
    except (ValueError, TypeError):
        raise DamagedError from None


def write_circuit(db: sqlite3.Connection, circuit: Circuit) -> None:
    """Store the circuit."""
    text = json.dumps({name: getattr(circuit, name) for name in Circuit._fields})
    db.execute("UPDATE circuit SET state = ?", (text,))
