"""What takes the place of the world: for every `Telemetry` of a test run or a block, or for one made for a test.

For every one of them:

| an object's                 | is replaced by                                                                         |
|-----------------------------|----------------------------------------------------------------------------------------|
| sink, http or file          | a `MemorySink`, also where none is configured; a ``sender`` that it was given stays    |
| state directory             | a temporary one, anew for each test; one in a directory of the test's own stays        |
| environment                 | the same without telemetry's variables as they were outside of the test run            |
| ``delivery="background"``   | ``sync``, so that what was tracked is there to be looked at                            |

Objects are replaced while they live, so it does not matter whether the host made its own at import, at start or in
the middle of a test. Child processes that inherit the environment are silenced by ``TELEMETRY_SDK_DISABLED``.

The sink in memory, the clock and the ids stand here too, for a test to hand over. Records are read back from the
body of a request, as they were sent, into values that tests compare.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.values import is_reserved
from telemetry_sdk.client import override
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.model import Answer, Layer
from telemetry_sdk.sender.endpoint import Settings, Sink
from telemetry_sdk.sender.wire_gate import NotPermittedError
from telemetry_sdk.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from telemetry_sdk.client.override import Setup

CHILD_SWITCH: Final = "TELEMETRY_SDK_DISABLED"

# A value of its own, so that a worker process of a test run knows it from a developer's switch.
_BY_TEST_RUN: Final = "test run"
_MEMORY: Final = Sink("memory:", "memory")
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


@dataclass(frozen=True, slots=True)
class Captured:
    """One `Telemetry` made for a test.

    Attributes:
        telemetry: To be handed to the code under test.
        sink: What it sent, and would have sent to the real sink.
        clock: The clock it goes by.
    """

    telemetry: Telemetry
    sink: MemorySink
    clock: FakeClock


@contextlib.contextmanager
def capture(
    app: str = "app-under-test",
    *,
    consent: bool | None = True,
    clock: FakeClock | None = None,
    environ: Mapping[str, str] | None = None,
    new_id: Callable[[], str] | None = None,
    **options: Any,
) -> Iterator[Captured]:
    """Make a strict `Telemetry` that sends to memory, for the block.

    Its state is in a temporary directory, its ids are the same in each run, and it sends within each call.

    Args:
        app: Name of the program.
        consent: Whether the user agreed to detailed analytics; None: has not decided. Nothing of that is in the sink.
        clock: The clock; default a `FakeClock` that shows its default start.
        environ: The environment; empty unless given.
        new_id: Makes the ids; the same ones in each run unless given.
        options: Further arguments of `Telemetry`, instead of these.

    Raises:
        ConfigError: An argument is impossible.
    """
    clock, sink = clock or FakeClock(), MemorySink()
    with tempfile.TemporaryDirectory(prefix="telemetry-sdk-", ignore_cleanup_errors=True) as directory:
        settings: dict[str, Any] = {
            "version": "0.0.0",
            "endpoint": "https://telemetry.invalid",
            "state_dir": directory,
            "strict": True,
            "delivery": "sync",
        }
        with override.supplied(
            clock=clock, sender=sink, environ=environ or {}, new_id=new_id or seeded_ids(), draw=lambda: 0.5
        ):
            telemetry = Telemetry(app, **(settings | options))
        with contextlib.closing(telemetry):
            if consent is not None:
                _ = telemetry.opt_in() if consent else telemetry.opt_out()
                telemetry.flush()
                sink.clear()
            yield Captured(telemetry, sink, clock)


@contextlib.contextmanager
def capture_all() -> Iterator[MemorySink]:
    """Send what every `Telemetry` of this process would send to one sink in memory, for the block.

    What pytest's plugin does for each test; for other test runners. Objects made before count too. Each starts
    without state, and goes on with its own when the block ends. See `stage` for what exactly is replaced.
    """
    stage = Stage(os.environ)
    stage.enter()
    try:
        yield stage.sink
    finally:
        stage.leave(silent=False)


class Stage:
    """Stands between every `Telemetry` of this process and the world, from `enter` to `leave`.

    Args:
        outside: The environment outside of the test run.

    Attributes:
        sink: Takes what would be sent, until `renew`.
        clock: The clock of every object, or None for their own.
        kept: Directories of the test's own.
    """

    def __init__(self, outside: Mapping[str, str]) -> None:
        self.sink = MemorySink()
        self.clock: FakeClock | None = None
        self.kept: list[Path] = []
        self._outside = {name: value for name, value in outside.items() if _is_ours(name)}
        self._root: Path | None = None
        self._before: Callable[[Setup], Setup] | None = None
        self._switch_before: str | None = None

    def enter(self) -> None:
        """Take the place of the world."""
        self._before = override.redirect(self.replace)
        self._switch_before = os.environ.get(CHILD_SWITCH)
        _switch(_BY_TEST_RUN)

    def renew(self) -> None:
        """Let every object start afresh: nothing sent, no state, no consent, its own clock."""
        self.sink = MemorySink()
        self.clock = None
        used, self._root = self._root, None
        override.redirect(self.replace)
        _remove(used)

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Let the world through until the block ends."""
        override.redirect(self._before)
        own = self._outside.get(CHILD_SWITCH)
        _switch(None if own == _BY_TEST_RUN else own)
        try:
            yield
        finally:
            _switch(_BY_TEST_RUN)
            self.renew()

    def leave(self, *, silent: bool) -> None:
        """Give its place back.

        With *silent*, unless somebody else had it before, nothing is sent or stored by this process any more: what a
        program does at its exit still belongs to the test run.
        """
        override.redirect(_silent if silent and self._before is None else self._before)
        _switch(self._switch_before)
        _remove(self._root)

    def replace(self, mine: Setup) -> Setup:
        """Return the setup to work by instead of *mine*."""
        own = mine.providers
        is_given = own.sender is not None
        becomes_sync = mine.config.delivery == "background" and not is_given
        environ = self._environ(own.environ)
        return mine._replace(
            config=mine.config._replace(delivery="sync") if becomes_sync else mine.config,
            find_sink=partial(_find_sink, mine.find_sink),
            state_dir=self._directory(mine, environ),
            providers=own.but(
                environ=environ, clock=partial(self._now, own.clock), sender=own.sender if is_given else self.sink
            ),
        )

    def _environ(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        # Any other mapping was made by the test, and means what it says.
        outside = self._outside if environ is os.environ else {}
        return _Inside(environ, {**outside, CHILD_SWITCH: _BY_TEST_RUN})

    def _now(self, own: Callable[[], int]) -> int:
        return (self.clock or own)()

    def _directory(self, mine: Setup, environ: Mapping[str, str]) -> Path:
        named = environ.get(f"{switch_prefix(mine.config.app)}_TELEMETRY_DIR", "").strip()
        chosen = mine.state_dir or named
        if not chosen:
            return self._scratch() / mine.config.app
        wanted = Path(os.path.abspath(chosen))
        real = os.path.realpath(wanted)
        if any(Path(real).is_relative_to(os.path.realpath(kept)) for kept in self.kept):
            return wanted
        # By its name, so that two objects that share a directory outside share one here.
        return self._scratch() / hashlib.sha256(os.fsencode(real)).hexdigest()[:16]

    def _scratch(self) -> Path:
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="telemetry-sdk-"))
        return self._root


class _Inside(Mapping[str, str]):
    """An environment without those of its variables that are as they were outside."""

    def __init__(self, environ: Mapping[str, str], outside: Mapping[str, str]) -> None:
        self._environ = environ
        self._outside = outside

    def __getitem__(self, name: str) -> str:
        value = self._environ[name]
        if self._outside.get(name) == value:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._environ.items() if self._outside.get(name) != value)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _switch(word: str | None) -> None:
    """Set the switch that child processes inherit, or unset it."""
    os.environ.pop(CHILD_SWITCH, None)
    if word is not None:
        os.environ[CHILD_SWITCH] = word


def _remove(directory: Path | None) -> None:
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)


def _is_ours(name: str) -> bool:
    is_apps = name.endswith("_TELEMETRY") or "_TELEMETRY_" in name
    return is_apps or name in ("DO_NOT_TRACK", CHILD_SWITCH) or name.startswith(("OTEL_", "GRAFANA_OTLP_"))


def _find_sink(own: Callable[[Mapping[str, str]], Settings], environ: Mapping[str, str]) -> Settings:
    """Return what *own* finds, or a sink where none is configured; a setting that is wrong stays wrong."""
    found = own(environ)
    return found if found.sink or found.problem else found._replace(sink=_MEMORY)


def _silent(mine: Setup) -> Setup:
    return mine._replace(providers=mine.providers.but(environ={CHILD_SWITCH: "1"}))
