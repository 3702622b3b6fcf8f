"""What happens to every live object at a fork and at the end of the program. One hook each for the whole process.

The registry is weak: an object that nobody holds any more is not kept alive by it.
"""

from __future__ import annotations

import atexit
import functools
import os
import time
import weakref
from typing import Final, Protocol

__all__ = ["Living", "watch"]


class Living(Protocol):
    """An object with files, threads and locks to look after. Its methods must not raise."""

    @property
    def exit_timeout(self) -> float:
        """Seconds it may take at the end of the program; zero when it has nothing to deliver."""
        ...

    def close(self, timeout: float) -> None:
        """Deliver what waits within *timeout* seconds, and stop."""
        ...

    def shut(self) -> None:
        """Close files and connections for good."""
        ...

    def at_fork(self, moment: str) -> None:
        """Get ready for a fork (*moment* is ``before``), or go on after it in the ``parent`` or the ``child``."""
        ...


_living: Final[weakref.WeakSet[Living]] = weakref.WeakSet()


def watch(living: Living) -> None:
    """Have *living* told of forks and of the end of the program."""
    _living.add(living)


def _all() -> list[Living]:
    while True:
        try:
            return list(_living)
        except RuntimeError:
            continue  # another thread has just made one


def _at_exit() -> None:
    """Close everything, all together within the longest of their exit timeouts."""
    begun = time.monotonic()
    bound = max((living.exit_timeout for living in _all()), default=0.0)
    for living in _all():
        if living.exit_timeout:
            living.close(min(living.exit_timeout, max(begun + bound - time.monotonic(), 0.0)))
        living.shut()


def _at_fork(moment: str) -> None:
    for living in _all():
        living.at_fork(moment)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=functools.partial(_at_fork, "before"),
        after_in_parent=functools.partial(_at_fork, "parent"),
        after_in_child=functools.partial(_at_fork, "child"),
    )
