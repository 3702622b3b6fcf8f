"""When a heartbeat is due, and how long an install sleeps until its own moment of the day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.model import DAY_SECONDS, is_due, seconds_until_phase, utc_day

NOON = 1_780_056_000.0  # 2026-05-29T12:00:00Z
MIDNIGHT = NOON - DAY_SECONDS / 2


@pytest.mark.parametrize(
    ("now", "day"),
    [
        (NOON, "2026-05-29"),
        (MIDNIGHT, "2026-05-29"),
        (MIDNIGHT - 0.001, "2026-05-28"),
        (0.0, "1970-01-01"),
        (1_709_164_800.0, "2024-02-29"),
    ],
)
def test_utc_day(now: float, day: str) -> None:
    """A day begins at midnight UTC, wherever the machine stands."""
    assert day == utc_day(now)


@pytest.mark.parametrize(
    ("last_day", "due"),
    [
        (None, True),  # never yet
        ("2026-05-28", True),
        ("2026-05-29", False),
        ("2026-05-30", False),  # made just before the clock was stepped back over midnight
        ("2026-05-31", False),  # nor do the moments of an install go back by days
        ("2026-06-01", True),  # but a clock that was wrong must not silence it
        ("2099-01-01", True),
        ("1999-01-01", True),
        ("", True),
        ("yesterday", True),
        ("2026-5-29", True),  # not as we write it
    ],
)
@pytest.mark.parametrize("now", [MIDNIGHT, NOON, MIDNIGHT + DAY_SECONDS - 0.001])
def test_one_heartbeat_a_day(now: float, last_day: str | None, due: bool) -> None:
    """A heartbeat is due once per UTC day, at any time of it, and a strange last day never prevents it."""
    assert due is is_due(now, last_day)


@given(
    now=st.floats(0, 4e9, allow_nan=False),
    phase=st.floats(0, DAY_SECONDS, exclude_max=True),
)
@examples(200)
def test_the_next_moment_lies_ahead_by_at_most_a_day(now: float, phase: float) -> None:
    """The sleep is more than nothing and at most a day, and it ends at the install's moment."""
    wait = seconds_until_phase(now, phase)

    assert 0 < wait <= DAY_SECONDS
    distance = (now + wait - phase) % DAY_SECONDS
    assert min(distance, DAY_SECONDS - distance) < 1e-3


@pytest.mark.parametrize(
    ("now", "phase", "wait"),
    [
        (NOON, 13 * 3600.0, 3600.0),
        (NOON, 11 * 3600.0, 23 * 3600.0),
        (NOON, 12 * 3600.0, 24 * 3600.0),  # it is that moment now: the next one is tomorrow's
        (MIDNIGHT, 0.0, 24 * 3600.0),
    ],
)
def test_seconds_until_phase(now: float, phase: float, wait: float) -> None:
    """An install sleeps until its own moment, today's if it is still to come."""
    assert wait == seconds_until_phase(now, phase)


@pytest.mark.parametrize("phase", [-1.0, 1e9, DAY_SECONDS])
def test_a_phase_outside_the_day_is_taken_into_it(phase: float) -> None:
    """A file edited by hand cannot make the thread spin or sleep for years."""
    assert 0 < seconds_until_phase(NOON, phase) <= DAY_SECONDS
