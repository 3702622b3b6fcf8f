"""Which of several processes delivers: the one that did a moment ago, for as long as it goes on."""

from __future__ import annotations

import pytest

from telemetry_sdk.delivery.leader import LEAD, Leader

NOW = 1_780_000_000.0


def test_another_process_that_delivered_a_moment_ago_goes_on() -> None:
    """What waits is left to it for one turn, and for a new one each time it delivers."""
    rota = Leader()

    assert rota.wait(NOW, NOW + 0.1, 50.0) == LEAD
    assert rota.wait(NOW, NOW + 0.3, 50.2) == pytest.approx(LEAD - 0.2)
    assert rota.wait(NOW + 0.4, NOW + 0.45, 50.4) == LEAD


def test_one_that_stopped_is_followed_after_a_turn() -> None:
    """When it has not delivered again for a turn, this process does, whatever the wall clock says meanwhile."""
    rota = Leader()
    rota.wait(NOW, NOW, 50.0)

    assert rota.wait(NOW, NOW, 50.0 + LEAD) == 0.0


@pytest.mark.parametrize("age", [LEAD, 3600.0, -0.1, -3600.0])
def test_a_delivery_of_another_time_is_not_waited_for(age: float) -> None:
    """Neither one of long ago, say of the program's last run, nor one from before the clock was set back counts."""
    assert Leader().wait(NOW, NOW + age, 50.0) == 0.0


def test_our_own_delivery_is_not_waited_for() -> None:
    """A process does not wait for itself."""
    rota = Leader()
    rota.mine = NOW

    assert rota.wait(NOW, NOW + 0.1, 50.0) == 0.0
