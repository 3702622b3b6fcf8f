"""What the outbox is asked for, and what it hands out to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from telemetry_sdk.model import Circuit
    from telemetry_sdk.tables import Pending

__all__ = ["Claim", "Terms"]


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


class Claim(NamedTuple):
    """Records to send now, ordered by time. With records the lease is held, until `Outbox.release` or its expiry.

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
