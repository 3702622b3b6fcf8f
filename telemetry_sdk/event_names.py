"""The names of the events that are ours."""

from __future__ import annotations

from typing import Final

__all__ = ["DELETION_REQUESTED", "FIRST_SEEN", "HEARTBEAT", "IDENTIFY", "INSTALL", "PAGE_VIEW"]

FIRST_SEEN: Final = "base_telemetry.first_seen"
HEARTBEAT: Final = "base_telemetry.heartbeat"
PAGE_VIEW: Final = "analytics.page_view"
IDENTIFY: Final = "analytics.identify"
INSTALL: Final = "analytics.install"
DELETION_REQUESTED: Final = "analytics.deletion_requested"
