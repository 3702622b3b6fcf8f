"""The daily schedule: when the background thread beats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk.host.background import LONGEST_SLEEP
from telemetry_sdk.model import DAY_SECONDS, seconds_until_phase

if TYPE_CHECKING:
    from collections.abc import Callable


def heartbeat_step(now: float, phase_s: float, beat: Callable[[], object]) -> float:
    """Beat if this install's moment of the UTC day has come, and return the seconds to sleep.

    *beat* suppresses itself when today's heartbeat was made already.
    """
    if now % DAY_SECONDS >= phase_s:
        beat()
    return min(seconds_until_phase(now, phase_s), LONGEST_SLEEP)
