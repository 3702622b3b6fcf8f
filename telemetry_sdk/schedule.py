"""When the next heartbeat is due. Arithmetic on dates and seconds; no clock, no thread."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["DAY_SECONDS", "is_due", "seconds_until_phase", "utc_day"]

DAY_SECONDS: Final = 86_400


def utc_day(now: float) -> str:
    """Return the UTC day of *now* (seconds since 1970), as ``YYYY-MM-DD``."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def is_due(now: float, last_day: str | None) -> bool:
    """Tell whether a heartbeat is still to be made on the UTC day of *now*.

    *last_day* is the day of the newest heartbeat. A day that lies just ahead is a clock stepped back over midnight
    and is believed; one further ahead was written by a broken clock and is not, or it would silence the install.
    """
    today = utc_day(now)
    tomorrow = (datetime.fromtimestamp(now, UTC).date() + timedelta(days=1)).isoformat()
    return last_day not in (today, tomorrow)


def seconds_until_phase(now: float, phase_s: float) -> float:
    """Return the seconds from *now* to the install's next moment of the day, always more than zero.

    *phase_s* is that moment in seconds after midnight UTC. Each install has its own, so that a fleet of long-running
    programs does not fire in one minute.
    """
    return (phase_s - now % DAY_SECONDS) % DAY_SECONDS or float(DAY_SECONDS)
