"""The records of one request: under which terms they leave, which fit into it, and how they are sent now."""

from __future__ import annotations

import bisect
import itertools
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry_sdk.model import Circuit
    from telemetry_sdk.outbox.tables import Pending


def fitting(records: Sequence[Pending], limit: int) -> tuple[Pending, ...]:
    """Return the first of *records*, oldest first, that fit into one request of *limit* bytes, in order of time."""
    sizes = itertools.accumulate([len(record.envelope) + len(record.body) + 8 for record in records])
    count = max(bisect.bisect_right(list(sizes), limit), 1)
    return tuple(sorted(records[:count], key=attrgetter("made_ns")))


def retimed(
    records: Sequence[Pending], now_ns: int, *, late_ns: int | None, skew_ns: int
) -> tuple[Sequence[Pending], Sequence[Pending]]:
    """Return *records*, which are in order of time, as they are to be sent now, and those of them with a new time."""
    ends = (records[0].made_ns, records[-1].made_ns)
    if all(otlp.is_timely(made_ns, now_ns, late_ns=late_ns, skew_ns=skew_ns) for made_ns in ends):
        return records, ()
    bodies = [otlp.timed(it.body, it.made_ns, now_ns, late_ns=late_ns, skew_ns=skew_ns) for it in records]
    pairs = list(zip(records, bodies, strict=True))
    sent = [it if body is it.body else it._replace(body=body) for it, body in pairs]
    return sent, [new for new, (old, _) in zip(sent, pairs, strict=True) if new is not old]


def encode(records: Sequence[Pending], *, packs: bool) -> bytes:
    """Return the body of a request with *records*, compressed where the sink takes that."""
    body = otlp.encode_request([(record.envelope, record.body) for record in records])
    return otlp.packed(body) if packs else body


class Terms(NamedTuple):
    """What may leave now.

    Attributes:
        grants: The consents under which analytics records may leave.
        destroy_others: Whether records of any other consent are destroyed rather than kept back.
        blocked: Why nothing may be sent at all; empty when something may.
    """

    grants: frozenset[str]
    destroy_others: bool = False
    blocked: str = ""


class Batch(NamedTuple):
    """Records to send now, ordered by time. For the holder of the delivery lock.

    Attributes:
        records: The records.
        circuit: The circuit as it is.
        blocked: Why there are no records although some may wait; empty when the outbox has none to send.
        has_more: Whether more records may leave now than fit into the request.
    """

    records: tuple[Pending, ...]
    circuit: Circuit
    blocked: str = ""
    has_more: bool = False
