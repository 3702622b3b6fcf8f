"""The words every part of this package speaks.

    record       the stored unit: one OTLP log record, already serialized
    event        what an analytics record reports (`timer.started`)
    heartbeat    the daily base record
    layer        which of the two kinds a record is: base or analytics
    level        how much may leave this machine: off, base, full
    decision     the level that holds at this moment, and who decided it
    grant        the consent an analytics record was made under; it is sent only while that consent holds
    answer       what came back from one attempt to reach the sink
    verdict      what an answer means for the records that were sent
    receipt      what a sending call tells the host
    day          a day in UTC, as ``YYYY-MM-DD``

Frozen values, the errors this package raises, and arithmetic on time. Nothing here reads a clock, a file or the
environment. What a call falls back on must be here: it is there when nothing can be loaded any more.

    TelemetryError
    ├── ConfigError         the integrator passed something impossible (always raised, at construction)
    └── InvalidEventError   an event does not fit the rules (raised only under ``strict=True``)

No error describes a failed delivery: a sink that cannot be reached is a value (`Receipt`), not an exception.
"""

from __future__ import annotations

import enum
import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

NANOSECONDS: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000
LAST_NS: Final = 9_214_646_400 * NANOSECONDS - 1
OPERATOR_GRANT: Final = "operator"  # the consent that <APP>_TELEMETRY=full stands for

_LAST_US: Final = 253_402_300_799_999_999  # the last microsecond of the year 9999, the last that has a text


def to_millisecond(ns: int) -> int:
    """Return *ns*, nanoseconds since 1970 by the clock, as records carry it: a finer time says nothing about use.

    Records of one millisecond are told apart by their uids, which count up. A clock outside the years 1970 to 2261 is
    read as the nearest end: OTLP has no time before 1970, and 0 means that there is none.
    """
    return min(max(ns, MILLISECOND), LAST_NS) // MILLISECOND * MILLISECOND


def timestamp(ns: int, precision: str = "seconds") -> str:
    """Return *ns* (nanoseconds since 1970) as RFC 3339 in UTC, cut to ``seconds``, ``milliseconds``, ``microseconds``.

    A clock outside the years 1970 to 9999 is shown as the nearest end of that range.
    """
    seconds, microseconds = divmod(min(max(ns // 1000, 0), _LAST_US), 1_000_000)
    if precision == "milliseconds":
        return f"{_second(seconds)}.{microseconds // 1000:03d}Z"
    return f"{_second(seconds)}Z" if precision == "seconds" else f"{_second(seconds)}.{microseconds:06d}Z"


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


@dataclass_transform(frozen_default=True)
class Value:
    """A public result: fields by name, none of which changes once it was made.

    No tuple: it is neither unpacked nor compared with one, so a later field breaks nobody. No dataclass: loading
    those costs a program more than making all results of a run.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _required: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, object]] = {}

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls._defaults = {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}
        cls._required = cls._fields[: len(cls._fields) - len(cls._defaults)]

    def __init__(self, *values: object, **named: object) -> None:
        fields, positional = self.__dict__, self._fields[: len(values)]
        missing = self._required[len(values) :]
        is_whole = not missing or named.keys() >= {*missing}
        if not is_whole or len(values) > len(positional) or named.keys() & {*positional}:
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}")
        fields.update(self._defaults)
        fields.update(zip(positional, values, strict=True), **named)
        if len(fields) != len(self._fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dict(self.__dict__)

    def replace(self, **changes: object) -> Self:
        """Return the same with these fields instead."""
        return type(self)(**{**self.__dict__, **changes})


class Receipt(Value):
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

    def __init__(self, outcome: Outcome, uid: str | None = None, reason: str = "") -> None:
        # Written out, for every call makes one.
        self.__dict__.update(outcome=outcome, uid=uid, reason=reason)

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
        chain: Which records name their predecessor in time in ``last_seen_at``: heartbeats, those of their install.
        seen_ns: For one of a chain: the moment of its predecessor as far as is known without the outbox; zero if none.
    """

    uid: str
    layer: Layer
    name: str
    made_ns: int
    envelope: bytes
    body: bytes
    derived: bool = False
    grant: str | None = None
    chain: str | None = None
    seen_ns: int = 0


class Decision(NamedTuple):
    """The level that holds now.

    Attributes:
        level: How much may leave.
        decided_by: The input that spoke: a variable's name, ``sink`` or ``consent``.
        reason: Why, in plain words.
        grants: The consents under which an analytics record may leave now; empty below FULL.
        destroys_others: Whether waiting analytics records of any other consent must be destroyed, not merely kept
            back: they were made under a consent that no longer holds.
        hold: Why nothing may leave in this process although records may be made; empty otherwise.
    """

    level: Level
    decided_by: str
    reason: str
    grants: frozenset[str] = frozenset()
    destroys_others: bool = False
    hold: str = ""

    @property
    def grant(self) -> str | None:
        """The consent a record made now belongs to: the user's own before the operator's."""
        return _grant_of(self.grants)


@functools.lru_cache(maxsize=8)
def _grant_of(grants: frozenset[str]) -> str | None:
    own = grants - {OPERATOR_GRANT}
    return next(iter(own or grants), None)


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
        failing_since: When the first of these failures was that might be the records' doing; zero if none.
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
    failing_since: float = 0.0


class Limits(Value):
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
        late_minutes: Minutes after which the time that a record carries counts as late; at most 50.
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


class TelemetryError(Exception):
    """Base of every exception raised by this package. Never raised itself."""


class ConfigError(TelemetryError, ValueError):
    """The integrator passed something impossible.

    Raised while a `Telemetry` is constructed, never later. The message says what to do next and never carries a
    token or another setting's secret value.

    Attributes:
        setting: Name of the argument or environment variable that is wrong.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class InvalidEventError(TelemetryError, ValueError):
    """An event does not fit the rules of `event`.

    Without ``strict=True`` the same fact is the reason of a ``REFUSED`` receipt.

    Attributes:
        event: The name of the event, as given, shortened.
    """

    def __init__(self, event: str, problem: str) -> None:
        super().__init__(f"{event}: {problem}")
        self.event = event
        self.problem = problem


FIRST_SEEN: Final = "base_telemetry.first_seen"
HEARTBEAT: Final = "base_telemetry.heartbeat"
PAGE_VIEW: Final = "analytics.page_view"
IDENTIFY: Final = "analytics.identify"
INSTALL: Final = "analytics.install"
DELETION_REQUESTED: Final = "analytics.deletion_requested"


DAY_SECONDS: Final = 86_400
STOPPED: Final = "the sink asked this version to stop"


def utc_day(now: float) -> str:
    """Return the UTC day of *now* (seconds since 1970), as ``YYYY-MM-DD``."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(now, UTC).date().isoformat()


def moment_of(text: str | None) -> int:
    """Return the moment that `timestamp` wrote, in nanoseconds since 1970; zero when *text* is none."""
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(text or "").timestamp()) * NANOSECONDS
    except (ValueError, OverflowError, OSError):
        return 0


def is_due(now: float, last_day: str | None) -> bool:
    """Tell whether a heartbeat is still to be made on the UTC day of *now*.

    *last_day* is the day of the newest heartbeat. One up to two days ahead is believed, for the moments of an install
    never go backwards; one further ahead was written by a broken clock and is not, or it would silence the install.
    """
    return last_day not in [utc_day(now + days * DAY_SECONDS) for days in (0, 1, 2)]


def seconds_until_phase(now: float, phase_s: float) -> float:
    """Return the seconds from *now* to the install's next moment of the day, always more than zero.

    *phase_s* is that moment in seconds after midnight UTC. Each install has its own, so that a fleet of long-running
    programs does not fire in one minute.
    """
    return (phase_s - now % DAY_SECONDS) % DAY_SECONDS or float(DAY_SECONDS)


class FlushReport(Value):
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


class SentRequest(Value):
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
        headers: Its headers by name, in order; the values of those that may be secrets are hidden.
    """

    at: str
    sink: str
    body: bytes
    records: int
    status: int | None
    verdict: str
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


class Preview(Value):
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
        declared: Whether the program has a catalogue, so that *events* are all that may ever leave.
        events: Every event that the program may ever send, as its catalogue declares it, and the SDK's own: ``name``,
            ``description``, ``purpose``, ``agreed`` (whether it may leave now) and ``properties``, each of these with
            ``name``, ``type``, ``description``, the allowed ``values`` and ``properties`` of its own. Without a
            catalogue the SDK's own alone: what the program names is not known before.
    """

    level: Level
    reason: str
    base: bytes = b""
    analytics: bytes = b""
    next_request: bytes = b""
    removed: Mapping[str, int] = MappingProxyType({})
    left_out: tuple[str, ...] = ()
    declared: bool = False
    events: tuple[Mapping[str, Any], ...] = ()


class Forgotten(Value):
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


class Status(Value):
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
        vendor: Who makes the program, if it says so.
        purpose: What it collects this for, in his words.
        privacy_url: Where he says more.
        refused: Why events of this process did not fit the rules, and how often; the first hundred reasons.
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
    delivery: str = "background"
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
    refused: tuple[tuple[str, int], ...] = ()
    vendor: str | None = None
    purpose: str | None = None
    privacy_url: str | None = None
