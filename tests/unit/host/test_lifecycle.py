"""What one hook for all objects of the process must not leave behind."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from telemetry_sdk.host import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator


class Interrupted:
    """An object in whose part of a fork a Ctrl-C comes."""

    def at_fork(self, moment: str) -> None:
        if moment == "parent":
            raise KeyboardInterrupt


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    """An interrupted object, and no other."""
    interrupted = Interrupted()
    monkeypatch.setattr(lifecycle, "_all", lambda: [interrupted])
    return interrupted


def loads_in_another_thread() -> bool:
    """Tell whether another thread gets the right to load."""
    had: list[bool] = []

    def load() -> None:
        with lifecycle.loading():
            had.append(lifecycle._loading.is_mine())

    thread = threading.Thread(target=load)
    thread.start()
    thread.join(20)
    return had == [True]


@pytest.mark.usefixtures("alone")
def test_a_ctrl_c_in_a_fork_leaves_no_lock_taken() -> None:
    """Threads of the parent can load what they need after a fork that was interrupted."""
    lifecycle._at_fork("before")
    with pytest.raises(KeyboardInterrupt):
        lifecycle._at_fork("parent")

    assert loads_in_another_thread()


def test_who_cannot_have_the_lock_loads_without_it() -> None:
    """Its holder may itself wait for a module that this thread is loading: nobody waits for ever."""
    with lifecycle.loading():
        assert not loads_in_another_thread()

    assert loads_in_another_thread()


def test_loading_within_loading() -> None:
    """A thread that loads may come to load again, in a finalizer say; it gives the lock back at the outer end."""
    with lifecycle.loading():
        with lifecycle.loading():
            pass
        assert lifecycle._loading.is_mine()

    assert not lifecycle._loading.is_mine()


class Ending:
    """An object that ends its thread before a fork; the system keeps the thread for as long as *lingering* is unset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lingering = threading.Event()
        self.thread = threading.Thread(target=self.lingering.wait, args=(20,), daemon=True)
        self.thread.start()
        self._monkeypatch = monkeypatch
        self.pauses = 0

    def at_fork(self, _moment: str) -> None:
        others = [thread for thread in threading.enumerate() if thread is not self.thread]
        self._monkeypatch.setattr(lifecycle, "threading", SimpleNamespace(enumerate=lambda: others))

    @property
    def is_gone(self) -> bool:
        return not lifecycle.is_there(self.thread)


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ending]:
    """An object whose thread is still there for the system when it has ended for Python, and no other object."""
    ending = Ending(monkeypatch)
    if ending.is_gone:
        pytest.skip("this system does not tell which threads there are")
    monkeypatch.setattr(lifecycle, "_all", lambda: [ending])
    yield ending
    ending.lingering.set()
    ending.thread.join(20)


def test_a_fork_waits_until_the_system_has_ended_a_thread_too(ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was joined is counted by the system for a moment longer, and Python warns by that count."""

    def pause(_seconds: float) -> None:
        ending.lingering.set()
        ending.pauses += 1

    monkeypatch.setattr(lifecycle, "time", SimpleNamespace(sleep=pause, monotonic=lambda: 0.0))
    lifecycle._at_fork("before")
    lifecycle._at_fork("parent")

    assert ending.is_gone
    assert ending.pauses


def test_a_fork_does_not_wait_long_for_a_thread_that_stays(ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded, whatever the system says of a thread."""

    def pause(_seconds: float) -> None:
        ending.pauses += 1

    seconds = itertools.count()
    monkeypatch.setattr(lifecycle, "time", SimpleNamespace(sleep=pause, monotonic=lambda: next(seconds) / 40))
    lifecycle._at_fork("before")
    lifecycle._at_fork("parent")

    assert not ending.is_gone
    assert 0 < ending.pauses < 10
