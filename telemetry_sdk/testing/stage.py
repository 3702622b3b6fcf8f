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
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.client import override
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.sender.endpoint import Settings, Sink
from telemetry_sdk.telemetry import Telemetry
from telemetry_sdk.testing.stand_ins import FakeClock, MemorySink, seeded_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.client.override import Setup

CHILD_SWITCH: Final = "TELEMETRY_SDK_DISABLED"

# A value of its own, so that a worker process of a test run knows it from a developer's switch.
_BY_TEST_RUN: Final = "test run"
_MEMORY: Final = Sink("memory:", "memory")


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
