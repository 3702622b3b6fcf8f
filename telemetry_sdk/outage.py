"""One line in the log for each outage of the sink, however many requests fail in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk.host.quiet import logger
from telemetry_sdk.verdict import Verdict

if TYPE_CHECKING:
    from telemetry_sdk.verdict import Judgement

__all__ = ["OutageLog"]


class OutageLog:
    """Remembers whether the sink took records last."""

    def __init__(self) -> None:
        self._is_on = False

    def note(self, judgement: Judgement, *, loud: bool) -> None:
        """Log the begin of an outage: at WARNING if *loud*, for a host that chose the sink itself, else at DEBUG."""
        failed = judgement.verdict in (Verdict.RETRY, Verdict.HOLD, Verdict.STOP)
        if failed and not self._is_on:
            fate = "dropped" if judgement.verdict is Verdict.STOP else "kept"
            words = "the telemetry sink does not take records now (%s); they are %s"
            (logger().warning if loud else logger().debug)(words, judgement.reason, fate)
        if judgement.verdict is not Verdict.SPLIT:
            self._is_on = failed
