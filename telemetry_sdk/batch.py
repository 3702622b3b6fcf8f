"""The records of one request: which fit into it, how they are sent now, and what an answer makes of them."""

from __future__ import annotations

import bisect
import itertools
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from telemetry_sdk import otlp
from telemetry_sdk.event_names import FIRST_SEEN
from telemetry_sdk.tables import Fate
from telemetry_sdk.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry_sdk.tables import Pending

__all__ = ["Tally", "encode", "fates", "fitting", "retimed"]

_LEAST: Final = 0.1
_FIRST_SEEN_WAIT: Final = 86_400.0


class Tally:
    """What one supervision did, in records, why it ended with some left, and what is left of its *budget* seconds."""

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


def fitting(records: Sequence[Pending], limit: int) -> tuple[Pending, ...]:
    """Return the first of *records*, oldest first, that fit into one request of *limit* bytes, in order of time."""
    sizes = itertools.accumulate([len(record.envelope) + len(record.body) + 8 for record in records])
    count = max(bisect.bisect_right(list(sizes), limit), 1)
    return tuple(sorted(records[:count], key=attrgetter("made_ns")))


def retimed(
    records: Sequence[Pending], now_ns: int, *, late_ns: int | None, skew_ns: int
) -> tuple[Sequence[Pending], Sequence[Pending]]:
    """Return *records*, which are in order of time, as they are to be sent now, and those of them with a new time."""
    ends = (records[0].made_ns, records[-1].made_ns)
    if all(otlp.is_timely(made_ns, now_ns, late_ns=late_ns, skew_ns=skew_ns) for made_ns in ends):
        return records, ()
    bodies = [otlp.timed(it.body, it.made_ns, now_ns, late_ns=late_ns, skew_ns=skew_ns) for it in records]
    pairs = list(zip(records, bodies, strict=True))
    sent = [it if body is it.body else it._replace(body=body) for it, body in pairs]
    return sent, [new for new, (old, _) in zip(sent, pairs, strict=True) if new is not old]


def encode(records: Sequence[Pending], *, packs: bool) -> bytes:
    """Return the body of a request with *records*, compressed where the sink takes that."""
    body = otlp.encode_request([(record.envelope, record.body) for record in records])
    return otlp.packed(body) if packs else body


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
