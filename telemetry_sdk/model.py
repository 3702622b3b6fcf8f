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
import functools
from typing import Final, NamedTuple

__all__ = [
    "NANOSECONDS",
    "Answer",
    "Circuit",
    "Layer",
    "Level",
    "Limits",
    "Outcome",
    "Receipt",
    "Record",
    "timestamp",
]

NANOSECONDS: Final = 1_000_000_000

_LAST_US: Final = 253_402_300_799_999_999  # the last microsecond of the year 9999, the last that has a text


def timestamp(ns: int, precision: str = "seconds") -> str:
    """Return *ns* (nanoseconds since 1970) as RFC 3339 in UTC, cut to ``seconds``, ``milliseconds``, ``microseconds``.

    A clock outside the years 1970 to 9999 is shown as the nearest end of that range.
    """
    seconds, microseconds = divmod(min(max(ns // 1000, 0), _LAST_US), 1_000_000)
    if precision == "seconds":
        return f"{_second(seconds)}Z"
    digits = 3 if precision == "milliseconds" else 6
    return f"{_second(seconds)}.{microseconds:06d}"[: 20 + digits] + "Z"


@functools.lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    # Kept, because the calls of one second share it.
    from datetime import datetime, timedelta

    return (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat()


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


class Receipt(NamedTuple):
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


class Record(NamedTuple):
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


class Answer(NamedTuple):
    """What came back from one attempt to reach the sink.

    Attributes:
        status: HTTP status, or None when no complete answer arrived.
        body: The answer's body, at most `sender.ANSWER_LIMIT` bytes; None when it was longer than that, or encoded.
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


class Circuit(NamedTuple):
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


class Limits(NamedTuple):
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
