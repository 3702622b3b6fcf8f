"""What stands between the host and us: no bug of ours gets out, no odd object of the host's does harm in here.

An integrator's object may lie about its class, and may raise when it is compared, counted or read. So its real type
alone is asked, and unbound methods of the built-in types read it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeGuard, TypeVar

from telemetry_sdk.host.quiet import logger
from telemetry_sdk.model import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable


class HasStrict(Protocol):
    """An object that says whether its bugs may be seen."""

    @property
    def strict(self) -> bool:
        """Whether bugs and invalid events are raised."""
        ...


S = TypeVar("S", bound=HasStrict)
P = ParamSpec("P")
T = TypeVar("T")


def guarded(
    fallback: Callable[[str], T],
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """Return a decorator for methods that must not raise: they return *fallback* of the reason instead.

    Under ``strict`` they raise. The reason names the kind of error, never a value; the log likewise, at DEBUG.
    """

    def decorate(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @functools.wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                if self.strict:
                    raise
                if isinstance(error, InvalidEventError):
                    return fallback(error.problem)
                try:  # noqa: SIM105 - who swallows everything is found by its except
                    logger().debug("%s failed (%s)", method.__name__, type(error).__name__)
                except Exception:  # noqa: BLE001, S110 - logging may be what cannot be loaded
                    pass
                return fallback(f"internal error ({type(error).__name__})")

        return call

    return decorate


def is_loop_running() -> bool:
    """Tell whether this thread runs an event loop now: whoever waits here holds up all of its tasks."""
    asyncio = sys.modules.get("asyncio.events")  # not imported: a program without it has no loop
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class LoopWarning:
    """Warns once, for each object, that a call waits for the sink within an event loop."""

    def __init__(self) -> None:
        self._said = False

    def check(self, timeout: float) -> None:
        """Log a warning if this thread runs an event loop, for the first time only. *timeout* is the longest wait."""
        if not self._said and is_loop_running():
            self._said = True
            logger().warning(
                'delivery="sync" within a running event loop blocks it for up to %g seconds: use delivery="background"',
                timeout,
            )


def is_a(value: object, kind: type) -> TypeGuard[Any]:
    """Tell whether *value* is of *kind*, without asking it."""
    return issubclass(type(value), kind)


def text_of(value: object) -> str | None:
    """Return *value* as a plain string; None if it is no text."""
    return str.__str__(value) if is_a(value, str) else None


def number_of(value: object) -> float | None:
    """Return *value* as a plain int or float; None if it is neither."""
    if is_a(value, int) and not is_a(value, bool):
        return int.__index__(value)
    return float.__float__(value) if is_a(value, float) else None


def pairs_of(value: object) -> list[tuple[object, object]] | None:
    """Return the pairs of a mapping; None if it is none, or cannot be read."""
    if not is_a(value, Mapping):
        return None
    try:
        return [(key, item) for key, item in value.items()]
    except Exception:  # noqa: BLE001 - an integrator's mapping may raise anything
        return None


def path_of(value: object) -> str:
    """Return a path, given as text or a `pathlib.Path`, as plain text; empty, which is no path, if it is none."""
    convert = getattr(type(value), "__fspath__", None)
    try:
        return text_of(convert(value) if convert else value) or ""
    except Exception:  # noqa: BLE001 - so may its path
        return ""
