"""Time and ids that a test decides on."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FakeClock", "seeded_ids"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_START: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is moved; `Telemetry` takes it as its ``clock``.

    Args:
        start: The time it shows first, with a time zone; default 2026-01-31 09:30 UTC.
    """

    def __init__(self, start: datetime = _START) -> None:
        self._ns = 0
        self.set(start)

    def __call__(self) -> int:
        """Return the nanoseconds since 1970."""
        return self._ns

    def __repr__(self) -> str:
        return f"<FakeClock: {self.now.isoformat()}>"

    @property
    def now(self) -> datetime:
        """The time it shows, in UTC."""
        return _EPOCH + timedelta(microseconds=self._ns // 1000)

    def set(self, moment: datetime) -> None:
        """Show *moment*, which may lie in the past.

        Raises:
            ValueError: It has no time zone, so it is not one moment.
        """
        if moment.tzinfo is None:
            raise ValueError("give the moment a time zone, for example datetime(2026, 1, 31, tzinfo=UTC)")
        self._ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000

    def move(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Let time pass; less than zero turns the clock back."""
        self._ns += (
            timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds) // timedelta(microseconds=1) * 1000
        )


def seeded_ids(seed: int = 0) -> Callable[[], str]:
    """Return a function that makes valid UUID4 texts, the same ones in each run, for `Telemetry`'s ``new_id``."""
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):08x}-0000-4000-8000-{seed:012x}"
