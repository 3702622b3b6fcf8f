"""What one hook for all objects of the process must not leave behind."""

from __future__ import annotations

import threading

import pytest

from telemetry_sdk import lifetime


class Interrupted:
    """An object in whose part of a fork a Ctrl-C comes."""

    def at_fork(self, moment: str) -> None:
        if moment == "parent":
            raise KeyboardInterrupt


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    """An interrupted object, and no other."""
    interrupted = Interrupted()
    monkeypatch.setattr(lifetime, "_all", lambda: [interrupted])
    return interrupted


def loads_in_another_thread() -> bool:
    """Tell whether another thread gets the right to load."""
    had: list[bool] = []

    def load() -> None:
        with lifetime.loading():
            had.append(lifetime._loading.is_mine())

    thread = threading.Thread(target=load)
    thread.start()
    thread.join(20)
    return had == [True]


@pytest.mark.usefixtures("alone")
def test_a_ctrl_c_in_a_fork_leaves_no_lock_taken() -> None:
    """Threads of the parent can load what they need after a fork that was interrupted."""
    lifetime._at_fork("before")
    with pytest.raises(KeyboardInterrupt):
        lifetime._at_fork("parent")

    assert loads_in_another_thread()


def test_who_cannot_have_the_lock_loads_without_it() -> None:
    """Its holder may itself wait for a module that this thread is loading: nobody waits for ever."""
    with lifetime.loading():
        assert not loads_in_another_thread()

    assert loads_in_another_thread()


def test_loading_within_loading() -> None:
    """A thread that loads may come to load again, in a finalizer say; it gives the lock back at the outer end."""
    with lifetime.loading():
        with lifetime.loading():
            pass
        assert lifetime._loading.is_mine()

    assert not lifetime._loading.is_mine()
