"""The thread that sleeps until it is due or woken: its pauses hold up nobody who ends it."""

from __future__ import annotations

import threading

import pytest
from process_tools import GUARD

from telemetry_sdk.host.background import Ticker


def test_a_ticker_that_gathers_can_be_stopped_at_once() -> None:
    """Whoever stops it does not wait for the pause before a step, and the step is not begun: the end has its own."""
    steps: list[int] = []
    ticker = Ticker("ticker", lambda: steps.append(1), gather_s=300.0)
    ticker.wake()
    thread = ticker._thread

    ticker.stop()
    ticker.join(GUARD)

    assert thread is not None
    assert not thread.is_alive()
    assert steps == []


@pytest.mark.parametrize("pauses", [{}, {"gather_s": 0.01}])
def test_a_woken_ticker_takes_its_step(pauses: dict[str, float]) -> None:
    """The step is called after the pause, and again for each wake-up that came after it."""
    steps = threading.Semaphore(0)
    ticker = Ticker("ticker", steps.release, **pauses)

    for _ in range(3):
        ticker.wake()
        assert steps.acquire(timeout=GUARD)

    ticker.stop()
    ticker.join(GUARD)
    assert not ticker.running
