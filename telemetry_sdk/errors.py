"""Errors this package raises.

    TelemetryError
    ├── ConfigError         the integrator passed something impossible (always raised, at construction)
    └── InvalidEventError   an event does not fit the rules (raised only under ``strict=True``)

Nothing here describes a failed delivery: a sink that cannot be reached is a value (`model.Receipt`), not an
exception.
"""

from __future__ import annotations

__all__ = ["ConfigError", "InvalidEventError", "TelemetryError"]


class TelemetryError(Exception):
    """Base of every exception raised by this package. Never raised itself."""


class ConfigError(TelemetryError, ValueError):
    """The integrator passed something impossible.

    Raised while a `Telemetry` is constructed, never later. The message says what to do next and never carries a
    token or another setting's secret value.

    Attributes:
        setting: Name of the argument or environment variable that is wrong.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class InvalidEventError(TelemetryError, ValueError):
    """An event does not fit the rules of `analytics_event`.

    Without ``strict=True`` the same fact is the reason of a ``REFUSED`` receipt.

    Attributes:
        event: The name of the event, as given, shortened.
    """

    def __init__(self, event: str, problem: str) -> None:
        super().__init__(f"{event}: {problem}")
        self.event = event
        self.problem = problem
