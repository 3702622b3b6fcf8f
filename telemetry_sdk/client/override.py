"""What connects one `Telemetry` with the world, and the one seam where tests step in between.

Clock, ids, randomness, the environment and the sender are no arguments of `Telemetry`: a program has no use for them,
and whoever shows a signature with its defaults would show the whole environment. They enter here, in two ways:

- `supplied` gives them to each object that is made within a block, for a test of one object;
- `redirect` has every object of the process work by another `Setup`, those made long before included, for a whole test
  run (`telemetry_sdk.testing`).

In a program neither is called. No variable and no file can change that: only code in the process.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from telemetry_sdk.identity.install_id import uuid_of
from telemetry_sdk.model import LAST_NS, MILLISECOND, to_millisecond

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from telemetry_sdk.client.config import Config
    from telemetry_sdk.sender.endpoint import Settings
    from telemetry_sdk.sender.wire_gate import Sender

E_co = TypeVar("E_co", covariant=True)


def _new_id() -> str:
    return uuid_of(os.urandom(16), version=4)


def _draw() -> float:
    return int.from_bytes(os.urandom(6)) / 2**48


class Providers:
    """What an object takes from the world. No tuple, for whoever shows the variables of a failed call unfolds those.

    Args:
        environ: The environment, looked at again for every decision.
        clock: Nanoseconds since 1970 UTC.
        new_id: Makes a random UUID4, as text.
        draw: Makes a random number in [0, 1).
        sender: Sends instead of the sink's own sender, or None.
        elsewhere: Where no sink is named here, what `Settings` says of it by that name.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.time_ns,
        new_id: Callable[[], str] = _new_id,
        draw: Callable[[], float] = _draw,
        sender: Sender | None = None,
        elsewhere: str | None = None,
    ) -> None:
        self.environ = environ
        self.clock = clock
        self.new_id = new_id
        self.draw = draw
        self.sender = sender
        self.elsewhere = elsewhere

    def but(self, **parts: Any) -> Providers:
        """Return the same with these parts instead."""
        return Providers(**{**vars(self), **parts})

    def now_ns(self) -> int:
        """Return the time as records carry it; see `to_millisecond`."""
        return to_millisecond(self.clock())

    def moment_ns(self) -> int:
        """Return the time as exactly as the clock tells it, for what stays on this machine."""
        return min(max(self.clock(), MILLISECOND), LAST_NS)


_supplied = Providers()


def providers() -> Providers:
    """Return what an object that is made now takes from the world."""
    return _supplied


@contextlib.contextmanager
def supplied(**parts: Any) -> Iterator[None]:
    """Give each `Telemetry` that is made in this block these parts of `Providers`, for good. For tests.

    One made in another thread meanwhile gets them too.

    Raises:
        TypeError: There is no such part.
    """
    global _supplied  # noqa: PLW0603 - what is made in the block must find it
    before, _supplied = _supplied, _supplied.but(**parts)
    try:
        yield
    finally:
        _supplied = before


class Setup(NamedTuple):
    """What one `Telemetry` works by.

    Attributes:
        config: What the integrator chose.
        find_sink: Finds the sink in an environment.
        state_dir: Where state is kept, or None for the default.
        providers: What it takes from the world.
    """

    config: Config
    find_sink: Callable[[Mapping[str, str]], Settings]
    state_dir: str | os.PathLike[str] | None
    providers: Providers


class Overridable(Protocol):
    """An object that works by a setup."""

    def _connect(self) -> None:
        """Work by the setup that holds now, and let go of the one before."""
        ...


class _HasEngine(Protocol[E_co]):
    @property
    def _engine(self) -> E_co: ...


_watched: Final[weakref.WeakSet[Overridable]] = weakref.WeakSet()
_redirection: Callable[[Setup], Setup] | None = None


def watch(it: Overridable) -> None:
    """Have *it* told when other setups hold."""
    _watched.add(it)


def engine_of(telemetry: _HasEngine[E_co]) -> E_co:
    """Return the engine behind a `Telemetry`, opened if need be. For tests and for ``doctor``."""
    return telemetry._engine


def current(setup: Setup) -> Setup:
    """Return the setup to work by instead of *setup*: outside of test runs the same."""
    return setup if _redirection is None else _redirection(setup)


def redirect(to: Callable[[Setup], Setup] | None) -> Callable[[Setup], Setup] | None:
    """Have every `Telemetry` of this process, made or yet to be made, work by *to* of its setup; None: by its own.

    Each object starts afresh, also when *to* is what held before: it closes what it has open and sends nothing more of
    what waited.

    Returns:
        What held before.
    """
    global _redirection
    before, _redirection = _redirection, to
    for it in _all():
        it._connect()
    return before


def _all() -> list[Overridable]:
    while True:
        try:
            return list(_watched)
        except RuntimeError:
            continue  # another thread has just made one
