"""What connects one `Telemetry` with the world, and the one place where a test run steps in between.

A `Telemetry` describes its connections as a `Wiring` and works by the one that `current` returns. In a program that
is the same value. A test run (`telemetry_sdk.testing`, the only caller of `redirect`) has every object of the process
work by another one, those made long before included. No variable and no file can do that: only code in the process.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from telemetry_sdk.client.config import Options
    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.sender.endpoint import Settings
    from telemetry_sdk.sender.wire_gate import Sender

__all__ = ["Wired", "Wiring", "current", "engine_of", "redirect", "watch"]


class Wiring(NamedTuple):
    """The connections of one `Telemetry`.

    Attributes:
        options: What the integrator chose.
        find_sink: Finds the sink in an environment.
        environ: The environment.
        clock: Nanoseconds since 1970 UTC.
        new_id: Makes random UUIDs as text.
        draw: Makes random numbers in [0, 1).
        state_dir: Where state is kept, or None for the default.
        sender: Sends instead of the sink's own sender, or None.
    """

    options: Options
    find_sink: Callable[[Mapping[str, str]], Settings]
    environ: Mapping[str, str]
    clock: Callable[[], int]
    new_id: Callable[[], str]
    draw: Callable[[], float]
    state_dir: str | os.PathLike[str] | None
    sender: Sender | None


class Wired(Protocol):
    """An object that works by a wiring."""

    @property
    def _engine(self) -> Engine:
        """What does its work."""
        ...

    def _connect(self) -> None:
        """Work by the wiring that holds now, and let go of the one before."""
        ...


_wired: Final[weakref.WeakSet[Wired]] = weakref.WeakSet()
_redirection: Callable[[Wiring], Wiring] | None = None


def watch(wired: Wired) -> None:
    """Have *wired* told when other wirings hold."""
    _wired.add(wired)


def engine_of(telemetry: Wired) -> Engine:
    """Return the engine behind a `Telemetry`, opened if need be. For tests and for ``doctor``."""
    return telemetry._engine


def current(wiring: Wiring) -> Wiring:
    """Return the wiring to work by instead of *wiring*: outside of test runs the same."""
    return wiring if _redirection is None else _redirection(wiring)


def redirect(to: Callable[[Wiring], Wiring] | None) -> Callable[[Wiring], Wiring] | None:
    """Have every `Telemetry` of this process, made or yet to be made, work by *to* of its wiring; None: by its own.

    Each object starts afresh, also when *to* is what held before: it closes what it has open and sends nothing more of
    what waited.

    Returns:
        What held before.
    """
    global _redirection
    before, _redirection = _redirection, to
    for wired in _all():
        wired._connect()
    return before


def _all() -> list[Wired]:
    while True:
        try:
            return list(_wired)
        except RuntimeError:
            continue  # another thread has just made one
