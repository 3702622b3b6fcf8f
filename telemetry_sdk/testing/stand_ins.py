"""What a test hands to `Telemetry` in place of the world: a sink in memory, and a clock and ids that it decides on.

Records are read back from the body of a request, as they were sent, into values that tests compare.
"""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.values import is_reserved
from telemetry_sdk.model import Answer, Layer
from telemetry_sdk.sender.wire_gate import NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_START: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class MemorySink:
    """Takes what would be sent, keeps it for the test to look at, and answers from a script.

    It is a `sender.Sender`, so `Telemetry` takes it as its ``sender``; the right to send is asked for as with a real
    sink. Safe to share between threads and objects.

    Args:
        answers: What it answers to the next requests, one each: an HTTP status, an `Answer`, or None for a sink that
            cannot be reached. After them it accepts everything.

    Attributes:
        answers: Those that are left; a test may change them at any time.
    """

    waits: Final = False

    def __init__(self, answers: Iterable[int | Answer | None] = ()) -> None:
        self.answers: list[int | Answer | None] = list(answers)
        self._lock = threading.Lock()
        self._requests: list[tuple[bytes, bool]] = []

    def send(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:  # noqa: ARG002
        """Keep *body*, if *permit* allows it, and return the next answer."""
        try:
            permit()
            with self._lock:
                answer = self._next_answer()
                is_accepted = answer.status is not None and 200 <= answer.status < 300
                self._requests.append((body, is_accepted))
                return answer
        except NotPermittedError as error:
            return Answer(None, error=str(error) or "not permitted")

    def _next_answer(self) -> Answer:
        answer = self.answers.pop(0) if self.answers else 200
        if answer is None:
            return Answer(None, error="ConnectionError")
        return Answer(answer) if isinstance(answer, int) else answer

    def abandon(self) -> None:
        """Nothing to break off: it answers at once."""

    def close(self) -> None:
        """Nothing is kept open."""

    def __repr__(self) -> str:
        return f"<MemorySink: {', '.join(self.names) or 'nothing was sent'}>"

    @property
    def requests(self) -> list[bytes]:
        """The body of every request, byte for byte and in order, whatever was answered."""
        with self._lock:
            return [body for body, _ in self._requests]

    @property
    def records(self) -> list[SentRecord]:
        """The records of both layers that were accepted (answered with 2xx), in order."""
        with self._lock:
            accepted = [body for body, is_accepted in self._requests if is_accepted]
        return [record for body in accepted for record in read_records(body)]

    @property
    def names(self) -> list[str]:
        """The names of `records`, in order."""
        return [record.name for record in self.records]

    def events(self, name: str | None = None) -> list[SentRecord]:
        """Return the accepted records of detailed analytics, or those of them that are called *name*."""
        events = [record for record in self.records if record.layer == Layer.ANALYTICS.value]
        return [event for event in events if name is None or event.name == name]

    def only(self, name: str) -> SentRecord:
        """Return the one accepted record called *name*.

        Raises:
            AssertionError: There is none, or more than one; the message lists what was sent.
        """
        found = [record for record in self.records if record.name == name]
        if len(found) != 1:
            raise AssertionError(f"{name} was sent {len(found)} times, not once; sent were: {self.names}")
        return found[0]

    def clear(self) -> None:
        """Forget what was sent; the answers that are left stay."""
        with self._lock:
            self._requests.clear()


@dataclass(frozen=True, slots=True)
class SentRecord:
    """One record as a sink gets it.

    Attributes:
        name: The event's name, for example ``timer.started``.
        layer: ``base`` or ``analytics``.
        identity: The user id, else the install id.
        uid: ``log.record.uid``, as in the `Receipt`.
        attributes: Everything else it carries, in order; what the SDK adds included.
        occurred_at: When it was made, in UTC, to the millisecond.
        service_name: The ``app`` argument.
        service_version: The ``version`` argument.
    """

    name: str
    layer: str
    identity: str
    uid: str
    attributes: dict[str, Any]
    occurred_at: datetime
    service_name: str
    service_version: str

    @property
    def properties(self) -> dict[str, Any]:
        """The attributes that the program itself gave: those without what the SDK adds to every event."""
        return {name: value for name, value in self.attributes.items() if not is_reserved(name)}


def read_records(body: bytes) -> list[SentRecord]:
    """Return the records in the body of a request, or in one line of a ``file://`` sink, in order."""
    return list(_records(json.loads(body)))


def _records(request: dict[str, Any]) -> Iterator[SentRecord]:
    for logs in request["resourceLogs"]:
        resource = _values(logs["resource"]["attributes"])
        for record in (record for scope in logs["scopeLogs"] for record in scope["logRecords"]):
            attributes = _values(record["attributes"])
            yield SentRecord(
                name=attributes.pop("event_name"),
                layer=resource["telemetry.layer"],
                identity=attributes.pop("identity"),
                uid=attributes.pop("log.record.uid"),
                occurred_at=datetime.fromisoformat(attributes.pop("occurred_at")),
                attributes=attributes,
                service_name=resource["service.name"],
                service_version=resource["service.version"],
            )


def _values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {attribute["key"]: _value(attribute["value"]) for attribute in attributes}


def _value(any_value: dict[str, Any]) -> Any:
    ((kind, content),) = any_value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_value(item) for item in content["values"]]
    return _values(content["values"]) if kind == "kvlistValue" else content


class FakeClock:
    """A clock that stands still until it is moved; `Telemetry` takes it as its ``clock``.

    Args:
        start: The time it shows first, with a time zone; default 2026-01-31 09:30 UTC.
    """

    def __init__(self, start: datetime = _START) -> None:
        self._ns = 0
        self.set(start)

    def __call__(self) -> int:
        """Return the nanoseconds since 1970."""
        return self._ns

    def __repr__(self) -> str:
        return f"<FakeClock: {self.now.isoformat()}>"

    @property
    def now(self) -> datetime:
        """The time it shows, in UTC."""
        return _EPOCH + timedelta(microseconds=self._ns // 1000)

    def set(self, moment: datetime) -> None:
        """Show *moment*, which may lie in the past.

        Raises:
            ValueError: It has no time zone, so it is not one moment.
        """
        if moment.tzinfo is None:
            raise ValueError("give the moment a time zone, for example datetime(2026, 1, 31, tzinfo=UTC)")
        self._ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000

    def move(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Let time pass; less than zero turns the clock back."""
        passed = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        self._ns += passed // timedelta(microseconds=1) * 1000


def seeded_ids(seed: int = 0) -> Callable[[], str]:
    """Return a function that makes valid UUID4 texts, the same ones in each run, for `Telemetry`'s ``new_id``."""
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):08x}-0000-4000-8000-{seed:012x}"
