"""A lock for one thread at a time that an interrupt cannot leave taken."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Turn"]


class Turn:
    """A re-entrant lock with a bounded wait.

    A Ctrl-C may come between the moment a lock is taken and the moment its taker knows of it; nobody would give it
    back then. Here the taking itself undoes what it cannot hand over. Nothing between `take` and the ``try`` after
    it can be interrupted: CPython looks for signals at calls and jumps back only.
    """

    give: Callable[[], None]
    """Give it back, once for each `take` that succeeded."""

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()
        # The lock's own method: a function of ours could be interrupted before its first statement.
        self.give = self._lock.release

    def take(self, wait_s: float) -> bool:
        """Take it, waiting at most *wait_s* seconds; whether that succeeded."""
        wait_s = min(max(wait_s, 0.0), threading.TIMEOUT_MAX)
        mine = self.is_mine()
        try:
            # As it is, not made a bool: a call more would be a place to be interrupted at.
            return self._lock.acquire(timeout=wait_s)  # type: ignore[no-any-return]
        except BaseException:
            # One that was ours already never waits, so it was taken once more for certain.
            if mine or self.is_mine():
                self._lock.release()
            raise

    def is_mine(self) -> bool:
        """Tell whether this thread has it."""
        return bool(self._lock._is_owned())

    def __enter__(self) -> None:
        self.take(threading.TIMEOUT_MAX)

    def __exit__(self, *exception: object) -> None:
        self.give()
