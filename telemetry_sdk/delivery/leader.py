"""Which of several processes that run at once delivers what all of them store."""

from __future__ import annotations

from typing import Final

__all__ = ["LEAD", "Leader"]

LEAD: Final = 0.5  # twice the rest between two deliveries in the background: who delivers steadily goes on


class Leader:
    """Tells one process whether to leave what waits to another one, which delivered a moment ago.

    So of many processes few ever load what a request needs, and what all have stored leaves together.
    """

    def __init__(self) -> None:
        self.mine = 0.0  # when our own newest attempt ended, seconds since 1970
        self._theirs = 0.0
        self._since = 0.0

    def wait(self, last_at: float, now: float, moment: float) -> float:
        """Return for how many seconds.

        Args:
            last_at: When the newest attempt of any process ended, seconds since 1970.
            now: The same clock now. It may have been set: at most one turn is waited for each attempt.
            moment: The monotonic clock now.
        """
        if last_at == self.mine or not 0 <= now - last_at < LEAD:
            return 0.0
        if last_at != self._theirs:
            self._theirs, self._since = last_at, moment
        return max(self._since + LEAD - moment, 0.0)
