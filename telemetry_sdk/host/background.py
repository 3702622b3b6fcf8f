"""Our daemon threads, and a lock for one thread at a time that an interrupt cannot leave taken.

The one place where threads that go on are made. No polling: a thread wakes for its step, and at least once an hour to
look at the wall clock again, because a computer that slept or whose clock was set cannot be told otherwise.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from telemetry_sdk.host.guard import pass_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from queue import SimpleQueue

T = TypeVar("T")
LONGEST_SLEEP: Final = 3600.0
FORK_WAIT: Final = 0.1
GATHERING: Final = 0.05  # before a delivery in the background: what a short program tracks leaves together
_AT_ONCE: Final = 32
# A fault of the program is told where it happens, in whichever thread.
_OF_THE_MACHINE: Final = frozenset({"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"})
REST: Final = 0.25  # after it: a busy program makes few requests


class _Bell:
    """Wakes and ends one thread: a lock that whoever rings gives free.

    May be rung from anywhere, also by a signal handler or the garbage collector in the middle of a ring.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.has_rung = self._has_ended = False

    def wake(self) -> None:
        if not self.has_rung:
            self.has_rung = True
            self._release()

    def end(self) -> None:
        self._has_ended = True
        self._release()

    def _release(self) -> None:
        with contextlib.suppress(RuntimeError):  # it rings already
            self._lock.release()

    def rest(self, seconds: float) -> bool:
        """Sleep *seconds* whoever wakes; False when it rang to end."""
        deadline = time.monotonic() + seconds
        while not self._has_ended and (left := deadline - time.monotonic()) > 0:
            self._lock.acquire(timeout=left)
        if self.has_rung:  # for the sleep after it
            self._release()
        return not self._has_ended

    def sleep(self, delay: float | None) -> bool:
        """Sleep until it rings or the *delay* is over; False when it rang to end. Many rings count as one."""
        self._lock.acquire(timeout=-1 if delay is None else max(delay, 0.0))
        self.has_rung = False
        return not self._has_ended


class Ticker:
    """Calls *step* in a daemon thread: once after `start`, when woken, and after the seconds the step returned.

    The step must not raise. A step that returns None is called again only when woken. Before each step lie at least
    *gather_s* seconds, and *rest_s* after it; whoever stops the ticker does not wait for either. The thread keeps
    nothing alive while it sleeps, and ends when its ticker is forgotten.
    """

    def __init__(
        self, name: str, step: Callable[[], float | None], *, gather_s: float = 0.0, rest_s: float = 0.0
    ) -> None:
        self._name = name
        self._pauses = (gather_s, rest_s)
        self._step = step
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._lock = new_lock()
        self._bell: _Bell | None = None
        self._resumes = False

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread unless it runs; nothing happens where the interpreter starts no threads."""
        with self._lock:
            if self.running:
                return
            bell = _Bell()
            try:
                thread = new_thread(self._name, _run, weakref.ref(self), bell, *self._pauses)
                # Told first: a signal handler may come here too, and then this thread is one too many and ends.
                self._thread, self._bell = thread, bell
                start_thread(thread)
            except RuntimeError as error:
                pass_on(error)
                if self._bell is bell:
                    self._thread = self._bell = None

    def wake(self) -> bool:
        """Have the step called soon; starts the thread if need be. False when it was to be called soon already."""
        bell = self._bell
        if bell is not None and bell.has_rung and self.running:
            return False
        if bell is not None:
            bell.wake()
        if not self.running:
            self.start()
        return True

    def stop(self) -> None:
        """Let the thread end, at once if it sleeps, else after its current step. Does not wait for it."""
        with self._lock:
            if self._thread is not None:
                self._ending, self._thread = self._thread, None
            bell, self._bell = self._bell, None
        if bell is not None:
            bell.end()

    def __del__(self) -> None:
        """End the thread of a forgotten ticker."""
        if self._bell is not None:
            self._bell.end()

    def join(self, wait_s: float) -> None:
        """Wait at most *wait_s* seconds for the end of a thread that was told to stop."""
        thread = self._ending
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(max(wait_s, 0.0))

    def before_fork(self) -> None:
        """End the thread if it sleeps, so that a host without threads of its own forks without any."""
        self._resumes = self.running
        if self._resumes and self._thread is not threading.current_thread():
            self.stop()
            self.join(FORK_WAIT)

    def after_fork_in_parent(self) -> None:
        """Start again what `before_fork` ended."""
        if self._resumes:
            self.start()

    def after_fork_in_child(self) -> None:
        """Start afresh in a forked child, where the parent's thread does not exist."""
        self._thread = self._ending = self._bell = None
        self._lock = new_lock()
        if self._resumes:
            self.start()

    def _tick(self, bell: _Bell) -> tuple[bool, float | None]:
        """Call the step for the thread of *bell* unless that is to end; return whether it is, and how long to sleep."""
        delay = self._step() if self._bell is bell else None
        return self._bell is not bell, delay


def _run(ticker: weakref.ref[Ticker], bell: _Bell, gather_s: float, rest_s: float) -> None:
    while bell.rest(gather_s) and (alive := ticker()) is not None:
        is_over, delay = alive._tick(bell)
        del alive  # asleep it must not keep the ticker, and all behind it, from being forgotten
        if is_over or not bell.rest(rest_s) or not bell.sleep(delay):
            return


def politely(items: Iterable[T]) -> Iterator[T]:
    """Yield *items*, and let other threads run after every few dozen.

    Python's own turn lasts 5 ms, and a call of the host gives the interpreter up at each of its looks at a file: with
    work of ours beside it, it would wait so long for each.
    """
    for number, item in enumerate(items, 1):
        yield item
        if not number % _AT_ONCE:
            time.sleep(0)


# Each is asked for when it is needed, and looked up then: of the family that the program's threads are of by now.


def new_lock() -> Any:
    """Return a re-entrant lock."""
    return threading.RLock()


def new_event() -> threading.Event:
    """Return an event."""
    return threading.Event()


def new_queue() -> SimpleQueue[Any]:
    """Return a queue that may be put into from anywhere, also by a signal handler in the middle of a put."""
    import queue

    return queue.SimpleQueue()


def new_thread(name: str, work: Callable[..., object], *arguments: object) -> threading.Thread:
    """Return a daemon thread, not started."""
    return threading.Thread(target=work, args=arguments, name=name, daemon=True)


def start_thread(thread: threading.Thread) -> None:
    """Start *thread*, deaf to signals, which are the host's to hear.

    None is heard here either meanwhile: what a handler raised in the middle of a start would leave half a thread, of
    which Python complains. In the thread a sink that hangs up ends no host that lets SIGPIPE end it. Where the "thread"
    is a greenlet of the host's thread, that hears as before.

    Raises:
        RuntimeError: The interpreter starts no thread.
    """
    import signal

    if not hasattr(signal, "pthread_sigmask"):
        thread.start()
        return
    deaf_to = {it for it in signal.valid_signals() if getattr(it, "name", "") not in _OF_THE_MACHINE}
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


class Mutex:
    """A re-entrant lock with a bounded wait.

    A Ctrl-C may come between the moment a lock is taken and the moment its taker knows of it; nobody would give it
    back then. Here the taking itself undoes what it cannot hand over. Nothing between `take` and the ``try`` after
    it can be interrupted: CPython looks for signals at calls and jumps back only.
    """

    give: Callable[[], None]
    """Give it back, once for each `take` that succeeded."""

    def __init__(self) -> None:
        self._lock = new_lock()
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
