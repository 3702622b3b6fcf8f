"""Privacy-aware usage telemetry for any Python program.

What can be imported from here is supported; everything else may change.
"""

import typing as _typing

from telemetry_sdk._version import __version__
from telemetry_sdk.model import (
    ConfigError,
    FlushReport,
    Forgotten,
    InvalidEventError,
    Level,
    Limits,
    Outcome,
    Preview,
    Receipt,
    SentRequest,
    Status,
    TelemetryError,
)
from telemetry_sdk.telemetry import Telemetry

if _typing.TYPE_CHECKING:
    from telemetry_sdk.consent.notice import Notice

__all__ = [
    "ConfigError",
    "FlushReport",
    "Forgotten",
    "InvalidEventError",
    "Level",
    "Limits",
    "Notice",
    "Outcome",
    "Preview",
    "Receipt",
    "SentRequest",
    "Status",
    "Telemetry",
    "TelemetryError",
    "__version__",
]


def _late(name: str) -> object:
    """Load what most programs never name; see PEP 562."""
    if name != "Notice":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from telemetry_sdk.consent.notice import Notice

    globals()[name] = Notice
    return Notice


if not _typing.TYPE_CHECKING:  # or type checkers would take any name for one of ours
    __getattr__ = _late


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
