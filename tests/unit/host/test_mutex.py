"""A lock that an interrupt cannot leave taken."""

from __future__ import annotations

import threading

import pytest

from telemetry_sdk.host.background import Mutex

GUARD = 20.0


def in_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(GUARD)
    return found[0]


def test_one_thread_has_it_and_others_wait_no_longer_than_they_said():
    """While one thread has it another is refused in its time; afterwards it is free."""
    mutex = Mutex()
    assert mutex.take(0.0)
    assert mutex.is_mine()
    assert in_thread(lambda: mutex.take(0.01)) is False
    assert in_thread(mutex.is_mine) is False

    mutex.give()

    assert in_thread(lambda: mutex.take(0.0) and mutex.give() is None) is True


def test_the_same_thread_may_take_it_again():
    """It is free only when it was given back as often as it was taken."""
    mutex = Mutex()
    with mutex:
        assert mutex.take(0.0)
        mutex.give()
        assert in_thread(lambda: mutex.take(0.0)) is False

    assert in_thread(lambda: mutex.take(0.0)) is True


class Interrupted:
    """A lock during whose taking a Ctrl-C comes: after it was taken, before anybody knows."""

    def __init__(self, lock):
        self._lock = lock
        self.armed = True

    def acquire(self, **options):
        taken = self._lock.acquire(**options)
        if self.armed:
            raise KeyboardInterrupt
        return taken

    def release(self):
        self._lock.release()

    def _is_owned(self):
        return self._lock._is_owned()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_an_interrupt_while_it_is_taken_gives_it_back(depth):
    """Nobody holds it after an interrupted take but who held it before."""
    mutex = Mutex()
    for _ in range(depth):
        mutex.take(0.0)
    plain, mutex._lock = mutex._lock, Interrupted(mutex._lock)
    with pytest.raises(KeyboardInterrupt):
        mutex.take(0.0)
    mutex._lock = plain
    for _ in range(depth):
        assert mutex.is_mine()
        mutex.give()

    assert not mutex.is_mine()
    assert in_thread(lambda: mutex.take(0.0)) is True
