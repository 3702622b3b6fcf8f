"""What the outbox keeps of its requests: the sent log, and the circuit that the newest answer left.

Bodies are kept as they were sent, gzipped where they were sent so; whoever reads them gets them as they were before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from telemetry_sdk.host.guard import pass_on
from telemetry_sdk.model import Circuit, SentRequest, timestamp
from telemetry_sdk.outbox.database import DamagedError
from telemetry_sdk.outbox.tables import has_row, mark_left, one
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from telemetry_sdk.outbox.tables import Pending

_IN_FLIGHT: Final = "in flight"


def no_headers(_: bytes) -> dict[str, str]:
    """Return the headers of what is no request of HTTP."""
    return {}


class Request(NamedTuple):
    """What is written of a request before its first byte.

    Attributes:
        at_ns: When it was begun.
        until_ns: When its time is up, so that it has ended for certain.
        sink: Host of the sink.
        lock: Which file it is whose lock its delivery holds.
        headers: Returns the headers that its body has, as they may be shown.
    """

    at_ns: int
    until_ns: int
    sink: str
    lock: str
    headers: Callable[[bytes], Mapping[str, str]] = no_headers


def log_request(db: sqlite3.Connection, request: Request, body: bytes, records: Sequence[Pending]) -> int:
    """Begin a line of the sent log and return its number."""
    numbers = [record.seq for record in records]
    values = {
        **request._asdict(),
        "headers": json.dumps(list(request.headers(body).items())),
        "body": body,
        "records": len(records),
        "first": min(numbers),
        "last": max(numbers),
        "analytics": any(record.grant is not None for record in records),
        "verdict": _IN_FLIGHT,
        "reason": "",
    }
    query = f"INSERT INTO sent ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
    return int(db.execute(query, tuple(values.values())).lastrowid or 0)


def end_cut_off(db: sqlite3.Connection, lock: str) -> None:
    """End the requests whose delivery was killed, which shows in that the caller holds their *lock* now.

    Their bytes may have reached the sink.
    """
    for number, first, last in db.execute(
        "SELECT id, first, last FROM sent WHERE verdict = ? AND lock = ?", (_IN_FLIGHT, lock)
    ).fetchall():
        mark_left(db, first, last)
        end_request(db, number, status=None, verdict="cut off", reason="the program ended in the middle of it")


def has_analytics_in_flight(db: sqlite3.Connection, now_ns: int, lock: str) -> bool:
    """Tell whether a request with analytics may be under way, as far as was written.

    What was begun under *lock*, which the caller holds, has ended: with its process, if nobody wrote it down.
    """
    query = "SELECT 1 FROM sent WHERE verdict = ? AND analytics AND until_ns > ? AND lock <> ?"
    return has_row(db, query, _IN_FLIGHT, now_ns, lock)


def end_request(
    db: sqlite3.Connection, number: int, *, status: int | None, verdict: str, reason: str, has_left: bool = True
) -> None:
    """End line *number* of the sent log; *has_left* says whether a byte of it may have left this machine."""
    outcome = (status, verdict, reason, has_left, number)
    db.execute("UPDATE sent SET status = ?, verdict = ?, reason = ?, has_left = ? WHERE id = ?", outcome)


def read_log(db: sqlite3.Connection) -> list[SentRequest]:
    """Return the sent log, oldest first; a line that is no longer what was written is left out."""
    rows = db.execute("SELECT at_ns, sink, body, records, status, verdict, reason, headers FROM sent ORDER BY id")
    found = []
    for at_ns, sink, body, records, status, verdict, reason, headers in rows:
        plain = otlp.unpacked(body) if isinstance(body, bytes) else None
        if isinstance(at_ns, int) and plain is not None:
            at = timestamp(at_ns, "milliseconds")
            found.append(SentRequest(at, sink, plain, records, status, verdict, reason, _pairs(headers)))
    return found


def _pairs(text: object) -> tuple[tuple[str, str], ...]:
    try:
        return tuple((name, value) for name, value in json.loads(str(text)))
    except (ValueError, TypeError) as error:
        pass_on(error)
        return ()


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
    except (ValueError, TypeError) as error:
        pass_on(error)
        raise DamagedError from None


def write_circuit(db: sqlite3.Connection, circuit: Circuit) -> None:
    """Store the circuit."""
    text = json.dumps({name: getattr(circuit, name) for name in Circuit._fields})
    db.execute("UPDATE circuit SET state = ?", (text,))
