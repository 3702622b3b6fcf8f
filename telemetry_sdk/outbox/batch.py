"""The records of one request: under which terms they leave, which fit into it, and how they are sent now."""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, NamedTuple

from telemetry_sdk.host.background import politely
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry_sdk.model import Circuit
    from telemetry_sdk.outbox.tables import Pending


def fitting(records: Sequence[Pending], limit: int) -> tuple[Pending, ...]:
    """Return the first of *records*, oldest first, that fit into one request of *limit* bytes."""
    sizes = itertools.accumulate([len(record.envelope) + len(record.body) + 8 for record in records])
    return tuple(records[: max(bisect.bisect_right(list(sizes), limit), 1)])


def as_sent(
    records: Sequence[Pending], now_ns: int, *, late_ns: int | None, skew_ns: int = 0
) -> tuple[list[Pending], list[Pending]]:
    """Return *records* as they are to be sent now, and those that changed.

    Late ones carry a new time; one of a chain names the one before it, and counts as changed until it has left.
    """
    sent, fresh = [], []
    for it in politely(records):
        named = it.body if it.before_ns is None else otlp.with_last_seen(it.body, it.before_ns)
        body = otlp.retimed(named, now_ns, late_ns=late_ns, skew_ns=skew_ns, has_left=it.has_left)
        if body is not it.body:
            it = it._replace(body=body)  # noqa: PLW2901
            fresh.append(it)
        sent.append(it)
    return sent, fresh


def in_order(records: Sequence[Pending]) -> list[Pending]:
    """Return *records* in the order of the times they carry: a store may refuse what is older than what it has seen."""
    return sorted(records, key=lambda record: otlp.time_of(record.body))


def encode(records: Sequence[Pending], *, packs: bool) -> bytes:
    """Return the body of a request with *records*, compressed where the sink takes that."""
    body = otlp.encode_request([(record.envelope, record.body) for record in records])
    return otlp.packed(body) if packs else body


class Terms(NamedTuple):
    """What may leave now.

    Attributes:
        grants: The consents under which analytics records may leave.
        destroys_others: Whether records of any other consent are destroyed rather than kept back.
        blocked: Why nothing may be sent at all; empty when something may.
        destroys_all: Whether all is destroyed then.
    """

    grants: frozenset[str]
    destroys_others: bool = False
    blocked: str = ""
    destroys_all: bool = False


class Batch(NamedTuple):
    """Records to send now, oldest first. For the holder of the delivery lock.

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
