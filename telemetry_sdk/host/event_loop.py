"""Notices calls that would block an asyncio event loop. Does not import asyncio: a program without it has no loop."""

from __future__ import annotations

import sys

from telemetry_sdk.host.quiet import logger


def is_loop_running() -> bool:
    """Tell whether this thread runs an event loop now: whoever waits here holds up all of its tasks."""
    asyncio = sys.modules.get("asyncio.events")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class LoopWarning:
    """Warns once, for each object, that a call waits for the sink within an event loop."""

    def __init__(self) -> None:
        self._said = False

    def check(self, timeout: float) -> None:
        """Log a warning if this thread runs an event loop, for the first time only. *timeout* is the longest wait."""
        if not self._said and is_loop_running():
            self._said = True
            logger().warning(
                'delivery="sync" within a running event loop blocks it for up to %g seconds: use delivery="background"',
                timeout,
            )
