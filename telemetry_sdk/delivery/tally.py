"""What one delivery did, and what an answer makes of the records that were sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from telemetry_sdk.delivery.retry import Verdict
from telemetry_sdk.model import FIRST_SEEN
from telemetry_sdk.outbox.tables import Fate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry_sdk.outbox.tables import Pending

__all__ = ["Tally", "fates"]

_LEAST: Final = 0.1
_FIRST_SEEN_WAIT: Final = 86_400.0


class Tally:
    """What one delivery did, in records, why it ended with some left, and what is left of its *budget* seconds."""

    def __init__(self, budget: float = 0.0, reason: str = "") -> None:
        self.delivered = 0
        self.rejected = 0
        self.reason = reason
        self._deadline = time.monotonic() + budget
        self._least = 0.0

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(self._deadline - time.monotonic(), 0.0)

    def is_up(self) -> bool:
        """Tell whether there is no time for another attempt; of the first one nobody knows what it takes."""
        return self.left() <= self._least

    def note_attempt(self, took: float) -> None:
        """Begin no other attempt that is likely to be broken off: that would count as the sink's failure."""
        self._least = max(2 * took, _LEAST)


def fates(records: Sequence[Pending], judged: Verdict, now: float) -> list[Fate]:
    """Return what becomes of *records*, all judged alike; nothing of those that are to be sent again."""
    if judged is Verdict.DELIVERED:
        return [Fate(records, "delivered")]
    if judged is Verdict.REJECTED:
        # A first_seen stays due: it is offered again the next day, under the same uid.
        due = [record for record in records if record.name == FIRST_SEEN]
        gone = [record for record in records if record.name != FIRST_SEEN]
        return [Fate(due, "put off", now + _FIRST_SEEN_WAIT), Fate(gone, "rejected")]
    return []
