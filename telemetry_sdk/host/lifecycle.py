"""What happens to every live object at a fork and at the end of the program. One hook each for the whole process.

The registry is weak: an object that nobody holds any more is not kept alive by it.

Most of our modules are loaded by the first call that needs them. A child that is forked while another thread loads
them could never load them itself, so a fork waits for that.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, Protocol

from telemetry_sdk.host.background import Mutex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from threading import Thread

RESERVE: Final = 0.2
_LONGEST_LOADING: Final = 1.0
_LONGEST_VANISHING: Final = 0.1
_PAUSE: Final = 0.000_05


class Living(Protocol):
    """An object with files, threads and locks to look after. Its methods must not raise."""

    @property
    def exit_timeout(self) -> float:
        """Seconds it may take at the end of the program; zero when it has nothing to deliver."""
        ...

    def halt(self) -> None:
        """Tell the threads to end; wait for none."""
        ...

    def drain(self, timeout: float) -> None:
        """Deliver what waits within *timeout* seconds."""
        ...

    def break_off(self) -> None:
        """Break off what is still under way; wait for nothing."""
        ...

    def shut(self, deadline: float, *, for_good: bool) -> None:
        """Wait for the threads until *deadline* (monotonic), and close files and connections."""
        ...

    def at_fork(self, moment: str) -> None:
        """Get ready for a fork (*moment* is ``before``), or go on after it in the ``parent`` or the ``child``."""
        ...


_living: Final[weakref.WeakSet[Living]] = weakref.WeakSet()
_loading = Mutex()


def loading() -> AbstractContextManager[object]:
    """Return what to enter while modules of ours are loaded late."""
    return _Loading(_loading)


class _Loading:
    """Holds *mutex*. Who cannot have it within a second goes on without: its holder may wait for a module of ours."""

    def __init__(self, mutex: Mutex) -> None:
        self._mutex = mutex
        self._has = False

    def __enter__(self) -> None:
        self._has = self._mutex.take(_LONGEST_LOADING)

    def __exit__(self, *_: object) -> None:
        if self._has:
            self._mutex.give()


def watch(living: Living) -> None:
    """Have *living* told of forks and of the end of the program."""
    _living.add(living)


def _all() -> list[Living]:
    while True:
        try:
            return list(_living)
        except RuntimeError:
            continue  # another thread has just made one


def end(bounds: Sequence[tuple[Living, float]], *, for_good: bool) -> None:
    """Close every object of *bounds*, each delivering within its seconds.

    All together take the longest of these, and `RESERVE` seconds for threads that must be waited for.
    """
    deadline = time.monotonic() + max((seconds for _, seconds in bounds), default=0.0)
    for living, _ in bounds:
        living.halt()
    for living, seconds in bounds:
        left = min(seconds, deadline - time.monotonic())
        if left > 0:
            living.drain(left)
    for living, _ in bounds:
        living.break_off()
    deadline = time.monotonic() + RESERVE
    for living, _ in bounds:
        living.shut(deadline, for_good=for_good)


def _at_exit() -> None:
    end([(living, living.exit_timeout) for living in _all()], for_good=True)


def _at_fork(moment: str) -> None:
    if moment != "parent":
        _loading_at_fork(moment)
    threads = threading.enumerate() if moment == "before" else []
    try:
        for living in _all():
            living.at_fork(moment)
        _wait_until_gone(threads)
    finally:
        if moment == "parent":
            _loading_at_fork(moment)


def after_unseen_fork() -> None:
    """Do in a child what a hook would have done, for all objects: they share files and locks."""
    _at_fork("child")


def _wait_until_gone(threads: list[Thread]) -> None:
    """Wait until those of *threads* that have ended meanwhile are gone from the process too.

    A thread that was joined may still be there for a moment, and Python 3.12 warns of a fork by the system's count.
    """
    ended = set(threads).difference(threading.enumerate()) if threads else ()
    deadline = time.monotonic() + _LONGEST_VANISHING
    for thread in ended:
        while is_there(thread) and time.monotonic() < deadline:
            time.sleep(_PAUSE)


def is_there(thread: Thread) -> bool:
    """Tell whether the system still counts *thread* among those of the process; False where it does not tell."""
    return os.access(f"/proc/self/task/{thread.native_id}", os.F_OK)


def _loading_at_fork(moment: str) -> None:
    global _loading  # noqa: PLW0603 - a lock that another thread held is of no use to a child
    if moment == "before":
        _loading.take(_LONGEST_LOADING)
    elif moment == "child":
        _loading = Mutex()
    else:
        with contextlib.suppress(RuntimeError):  # it was not had in time
            _loading.give()


@functools.cache
def wait_first() -> None:
    """Let a fork wait for what is being loaded before hooks that were registered until now take locks of theirs."""
    _register(_loading_at_fork)


def _register(hook: Callable[[str], None]) -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=functools.partial(hook, "before"),
            after_in_parent=functools.partial(hook, "parent"),
            after_in_child=functools.partial(hook, "child"),
        )


atexit.register(_at_exit)
_register(_at_fork)
