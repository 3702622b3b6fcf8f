"""The words every room of this package speaks.

    record       the stored unit: one OTLP log record, already serialized
    event        what an analytics record reports (`timer.started`)
    heartbeat    the daily base record
    layer        which of the two kinds a record is: base or analytics
    level        how much may leave this machine: off, base, full
    grant        the consent an analytics record was made under; it is sent only while that consent holds
    answer       what came back from one attempt to reach the sink
    verdict      what an answer means for the records that were sent
    receipt      what a sending call tells the host

Frozen values only. Nothing here reads a clock, a file or the environment.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

__all__ = [
    "NANOSECONDS",
    "Answer",
    "Circuit",
    "FlushReport",
    "Layer",
    "Level",
    "Limits",
    "Outcome",
    "Receipt",
    "Record",
    "SentRequest",
    "Status",
    "timestamp",
]

NANOSECONDS: Final = 1_000_000_000

_EPOCH: Final = datetime(1970, 1, 1)  # in UTC, which `timestamp` writes itself
_LAST: Final = datetime.max - _EPOCH


def timestamp(ns: int, precision: str = "seconds") -> str:
    """Return *ns* (nanoseconds since 1970) as RFC 3339 in UTC, cut to ``seconds``, ``milliseconds``, ``microseconds``.

    A clock outside the years 1970 to 9999 is shown as the nearest end of that range.
    """
    microseconds = min(max(ns // 1000, 0), _LAST // timedelta(microseconds=1))
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return f"{moment.isoformat(timespec=precision)}Z"


class Level(enum.IntEnum):
    """How much may leave this machine."""

    OFF = 0
    BASE = 1
    FULL = 2


class Layer(enum.Enum):
    """The two kinds of record. The values appear on the wire as ``telemetry.layer``."""

    BASE = "base"
    ANALYTICS = "analytics"


class Outcome(enum.Enum):
    """What became of one sending call."""

    DELIVERED = "delivered"
    QUEUED = "queued"
    SUPPRESSED = "suppressed"
    REFUSED = "refused"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer of every sending call.

    Attributes:
        outcome: ``DELIVERED`` (the sink acknowledged it), ``QUEUED`` (it is stored and will be sent),
            ``SUPPRESSED`` (a rule said no: consent, an off-switch, no sink, already sent), ``REFUSED`` (the record
            is not valid, or the sink rejected it for good), ``DROPPED`` (it could not be stored).
        uid: The record's ``log.record.uid``, or None when no record was made.
        reason: Why, in plain words. Names only, never values.

    A receipt is true when the record was accepted, that is for ``DELIVERED`` and ``QUEUED``.
    """

    outcome: Outcome
    uid: str | None = None
    reason: str = ""

    def __bool__(self) -> bool:
        return self.outcome in (Outcome.DELIVERED, Outcome.QUEUED)


@dataclass(frozen=True, slots=True)
class Record:
    """One record on its way to the outbox.

    Attributes:
        uid: ``log.record.uid``, unchanged over retries, crashes and processes.
        layer: Base or analytics.
        name: The event's name.
        made_ns: When it was made, nanoseconds since 1970 UTC.
        envelope: What stands before it in a request: the serialized OTLP resource and scope.
        body: The OTLP log record, serialized: exactly the bytes that will be sent.
        derived: True when the uid is derived from the install (first_seen, heartbeat, install ping), so that a
            second record with this uid must never be accepted.
        grant: The consent it was made under; None for base records.
    """

    uid: str
    layer: Layer
    name: str
    made_ns: int
    envelope: bytes
    body: bytes
    derived: bool = False
    grant: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from one attempt to reach the sink.

    Attributes:
        status: HTTP status, or None when no complete answer arrived.
        body: The answer's body, at most `sender.ANSWER_LIMIT` bytes; None when it was longer than that.
        content_type: The answer's ``Content-Type``, lower case, or empty.
        retry_after: The ``Retry-After`` header as sent, or None.
        date: The ``Date`` header as sent, or None.
        error: Class name of what went wrong when `status` is None.
    """

    status: int | None
    body: bytes | None = b""
    content_type: str = ""
    retry_after: str | None = None
    date: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Circuit:
    """How long to leave the sink alone. Times are seconds since 1970.

    Attributes:
        failures: Failed attempts in a row.
        not_before: No attempt before this moment.
        held_until: The sink refused this configuration; no attempt before this moment
        held_for: ... while the configuration is this one.
        stopped_for: The sink told this app version to stop for good.
        last_status: HTTP status of the newest answer.
        last_at: When the newest attempt ended.
        last_reason: What went wrong in it; empty when nothing did.
        skew: Seconds the sink's clock is ahead of ours, where that is too much to ignore; else zero.
    """

    failures: int = 0
    not_before: float = 0.0
    held_until: float = 0.0
    held_for: str = ""
    stopped_for: str = ""
    last_status: int | None = None
    last_at: float = 0.0
    last_reason: str = ""
    skew: float = 0.0


@dataclass(frozen=True, slots=True)
class FlushReport:
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


@dataclass(frozen=True, slots=True)
class SentRequest:
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


@dataclass(frozen=True, slots=True)
class Status:
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


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of what is kept and sent. The defaults suit most programs.

    Attributes:
        records: Records kept in the outbox.
        bytes: Serialized bytes kept in the outbox.
        age_days: Days an analytics record is kept.
        batch_records: Records in one request.
        batch_bytes: Bytes in one request, before compression.
        properties: Properties of one event.
        string_bytes: UTF-8 bytes of one string value; longer ones are cut and marked.
        record_bytes: Serialized bytes of one event's properties.
        late_minutes: Minutes after which an unsent record counts as late.
        sent_log_requests: Requests kept in the sent log.
        sent_log_bytes: Bytes of request bodies kept in the sent log.
    """

    records: int = 10_000
    bytes: int = 16 * 1024 * 1024
    age_days: float = 30.0
    batch_records: int = 512
    batch_bytes: int = 1024 * 1024
    properties: int = 64
    string_bytes: int = 1024
    record_bytes: int = 16 * 1024
    late_minutes: float = 30.0
    sent_log_requests: int = 100
    sent_log_bytes: int = 2 * 1024 * 1024
