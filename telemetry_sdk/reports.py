"""What a host is told when it asks.

Loaded with the facade: what a call falls back on must be there when nothing can be loaded any more.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry_sdk.model import Level, Receipt

__all__ = ["FlushReport", "Forgotten", "Preview", "SentRequest", "Status"]


class FlushReport(NamedTuple):
    """What a flush did, counted in records.

    Attributes:
        delivered: Acknowledged by the sink during this flush.
        kept: Still stored when it ended; sent later.
        rejected: Refused for good by the sink.
        dropped: Lost or withdrawn here during this flush (no room, too old, consent withdrawn, stop signal).
        reason: What stood in the way, in plain words; empty when nothing did.

    It is true when nothing was kept back, rejected or dropped, and nothing stood in the way.
    """

    delivered: int = 0
    kept: int = 0
    rejected: int = 0
    dropped: int = 0
    reason: str = ""

    def __bool__(self) -> bool:
        return not (self.kept or self.rejected or self.dropped or self.reason)


class SentRequest(NamedTuple):
    """One line of the sent log.

    Attributes:
        at: When the request was begun, RFC 3339 UTC.
        sink: Host of the sink, or ``file``.
        body: The request's body, byte for byte, before compression.
        records: How many records it carried.
        status: HTTP status, or None while in flight or when no answer came.
        verdict: What the answer meant (``delivered``, ``retry``, ``split``, ``rejected``, ``hold``, ``stop``,
            ``withheld``, ``cut off``), or ``in flight``.
        reason: Why, when it was not delivered.
    """

    at: str
    sink: str
    body: bytes
    records: int
    status: int | None
    verdict: str
    reason: str


class Preview(NamedTuple):
    """What would be sent, byte for byte: OTLP/JSON request bodies before compression, made as the sender's are.

    Attributes:
        level: How much may leave now.
        reason: Why, in plain words.
        base: The base records that wait or are due; empty when none are.
        analytics: The events that wait, the install ping unless it was sent, and the event asked for. With a level
            below ``FULL`` they would be sent after an opt-in only, and not if they were made before it.
        next_request: The body of the next request as things stand; empty when nothing that waits may leave. A record
            that is late by then carries the time of that request.
        removed: What scrubbing took out of the event asked for, counted by kind.
        left_out: Names of that event's properties that would not be sent.
    """

    level: Level
    reason: str
    base: bytes = b""
    analytics: bytes = b""
    next_request: bytes = b""
    removed: Mapping[str, int] = MappingProxyType({})
    left_out: tuple[str, ...] = ()


class Forgotten(NamedTuple):
    """What became of a wish to be forgotten. It is true when everything on this machine is gone for certain.

    Attributes:
        complete: Whether it is.
        deletion_request: What became of the request to the sink's owner to delete what he has; ``SUPPRESSED`` when
            no detailed analytics had been sent, or nothing may be sent.
    """

    complete: bool
    deletion_request: Receipt

    def __bool__(self) -> bool:
        return self.complete


class Status(NamedTuple):
    """Everything a user may ask about telemetry on this machine. Never carries a token.

    Attributes:
        level: How much may leave now.
        decided_by: The input that decided it: a variable's name, ``sink`` or ``consent``.
        reason: Why, in plain words.
        inputs: Every input of the decision, as it is.
        consent: The user's decision on detailed analytics; None while undecided or not looked at.
        consent_decided_at: When it was made, RFC 3339 UTC.
        install_id: The id of this install, if there is one.
        state_dir: Where state is kept, or None.
        state_problem: Why state cannot be kept there; empty when it can.
        sink: Host of the sink, or ``file``, or None.
        sink_problem: Why the configured sink cannot be used; empty when it can.
        notes: Settings that were seen and not used.
        delivery: The delivery mode.
        durable: Whether waiting records survive this process; None when nothing was looked at.
        ledger: ``accepted, delivered, rejected, pending`` and ``dropped: <reason>`` counts of this machine's outbox.
        last_status: HTTP status of the newest answer.
        last_attempt_at: When the newest attempt ended, RFC 3339 UTC.
        waiting: Why nothing is sent at the moment; empty when records would be.
        last_outcome: What went wrong in the newest attempt; empty when nothing did.
        failures: Failed attempts in a row.
        next_attempt_at: When the next attempt may be made, RFC 3339 UTC; None when at any time.
        catalog_version: The version of the catalogue the program has; None without one.
        consent_catalog_version: The version the user's consent is about.
        unagreed: Events and properties of the catalogue that are newer than the user's consent; ask him again.
    """

    level: Level
    decided_by: str
    reason: str
    inputs: dict[str, str]
    consent: bool | None = None
    consent_decided_at: str | None = None
    install_id: str | None = None
    state_dir: str | None = None
    state_problem: str = ""
    sink: str | None = None
    sink_problem: str = ""
    notes: tuple[str, ...] = ()
    delivery: str = "sync"
    durable: bool | None = None
    ledger: dict[str, int] | None = None
    last_status: int | None = None
    last_attempt_at: str | None = None
    waiting: str = ""
    last_outcome: str = ""
    failures: int = 0
    next_attempt_at: str | None = None
    catalog_version: int | None = None
    consent_catalog_version: str | None = None
    unagreed: tuple[str, ...] = ()
