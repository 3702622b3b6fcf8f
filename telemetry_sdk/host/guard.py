"""What stands between the host and us: no bug of ours gets out, no odd object of the host's does harm in here.

An integrator's object may lie about its class, and may raise when it is compared, counted or read. So its real type
alone is asked, and unbound methods of the built-in types read it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeGuard, TypeVar

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

    What the host raised into our call passes, see `is_hosts`; under ``strict`` everything does. The reason names the
    kind of error, never a value; the log likewise, at DEBUG.
    """

    def decorate(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @functools.wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                if self.strict or is_hosts(error):
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


# Where our own errors, and those of what we call, come from.
_OURS: Final = frozenset(
    {"builtins", "telemetry_sdk", "requests", "urllib3", "filelock", "platformdirs", "tzlocal", "charset_normalizer"}
    | {"idna", "certifi", "ua_parser", "gevent", "eventlet", "greenlet"}
)


def is_hosts(error: BaseException) -> bool:
    """Tell whether the host raised *error* into our call: a time limit, a cancelled job. Not what its callbacks raise.

    That is what a signal handler of Python's raised; and an error of a class that neither Python nor we nor our
    libraries have, raised in the middle of our own code, as `PyThreadState_SetAsyncExc` and greenlets do.
    """
    trace, innermost, foreign = error.__traceback__, "", set()
    while trace is not None:
        innermost = trace.tb_frame.f_globals.get("__name__", "")
        if not _is_known(innermost):
            foreign.add(trace.tb_frame.f_code)
        trace = trace.tb_next
    if foreign and not foreign.isdisjoint(_handlers()):
        return True
    return not _is_known(type(error).__module__) and _is_known(innermost)


def _handlers() -> set[object]:
    """Return the code of the program's signal handlers."""
    import signal

    found = map(signal.getsignal, signal.valid_signals())
    return {getattr(getattr(it, "__func__", it), "__code__", None) for it in found}


def _is_known(module: str) -> bool:
    top = module.partition(".")[0]
    return top in _OURS or top in sys.stdlib_module_names


def pass_on(error: BaseException) -> None:
    """Raise *error* again if it is the host's, for it only looks like what the world does to a file."""
    if is_hosts(error):
        raise error


class ignoring:  # noqa: N801 - it is used as contextlib.suppress is
    """Ignore errors of these *kinds* in a block, as `contextlib.suppress` does, but the host's."""

    __slots__ = ("_kinds",)

    def __init__(self, *kinds: type[Exception]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        """Tell whether the error is ignored."""
        return error is not None and isinstance(error, self._kinds) and not is_hosts(error)


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
    except Exception as error:  # an integrator's mapping may raise anything
        if is_hosts(error):
            raise
        return None


def path_of(value: object) -> str:
    """Return a path, given as text or a `pathlib.Path`, as plain text; empty, which is no path, if it is none."""
    convert = getattr(type(value), "__fspath__", None)
    try:
        return text_of(convert(value) if convert else value) or ""
    except Exception as error:  # so may its path
        if is_hosts(error):
            raise
        return ""
