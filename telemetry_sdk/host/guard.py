"""The one place where our own bugs are kept out of the host program."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

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
