"""A daemon thread that sleeps until it is due or woken, and the daily schedule that runs on it.

No polling: the thread wakes for its step, and at least once an hour to look at the wall clock again, because a
computer that slept or whose clock was set cannot be told otherwise.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from telemetry_sdk.schedule import DAY_SECONDS, seconds_until_phase

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORK_WAIT", "LONGEST_SLEEP", "Ticker", "heartbeat_step"]

LONGEST_SLEEP: Final = 3600.0
FORK_WAIT: Final = 0.1


class Ticker:
    """Calls *step* in a daemon thread: once at `start`, when woken, and after the seconds the step returned.

    The step must not raise. A step that returns None is called again only when woken.
    """

    def __init__(self, name: str, step: Callable[[], float | None]) -> None:
        self._name = name
        self._step = step
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False
        self._resumes = False

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread unless it runs; nothing happens while the interpreter shuts down."""
        with self._changed:
            if self.running and not self._stopping:
                return
            self._stopping = False
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return
            self._thread = thread

    def wake(self) -> None:
        """Have the step called soon; starts the thread if need be."""
        with self._changed:
            self._woken = True
            self._changed.notify()
        self.start()

    def stop(self) -> None:
        """Let the thread end, at once if it sleeps, else after its current step. Does not wait for it."""
        with self._changed:
            self._stopping = True
            if self._thread is not None:
                self._ending, self._thread = self._thread, None
            self._changed.notify()

    def join(self, wait_s: float) -> None:
        """Wait at most *wait_s* seconds for the end of a thread that was told to stop."""
        thread = self._ending
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(wait_s, 0.0))

    def before_fork(self) -> None:
        """End the thread if it sleeps, so that a host without threads of its own forks without any."""
        self._resumes = self.running and not self._stopping
        if self._resumes and self._thread is not threading.current_thread():
            self.stop()
            self.join(FORK_WAIT)

    def after_fork_in_parent(self) -> None:
        """Start again what `before_fork` ended."""
        if self._resumes:
            self.start()

    def after_fork_in_child(self) -> None:
        """Start afresh in a forked child, where the parent's thread does not exist."""
        self._thread = self._ending = None
        self._changed = threading.Condition()
        if self._resumes:
            self.start()

    def _run(self) -> None:
        changed = self._changed
        me = threading.current_thread()
        while True:
            delay = self._step()
            with changed:
                if not self._woken and not self._is_over(me):
                    changed.wait(delay)
                if self._is_over(me):
                    return
                self._woken = False

    def _is_over(self, me: threading.Thread) -> bool:
        return self._stopping or self._thread is not me


def heartbeat_step(now: float, phase_s: float, beat: Callable[[], object]) -> float:
    """Beat if this install's moment of the UTC day has come, and return the seconds to sleep.

    *beat* suppresses itself when today's heartbeat was made already.
    """
    if now % DAY_SECONDS >= phase_s:
        beat()
    return min(seconds_until_phase(now, phase_s), LONGEST_SLEEP)
