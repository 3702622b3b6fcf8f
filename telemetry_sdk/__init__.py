"""Privacy-aware usage telemetry for any Python program.

What can be imported from here is supported; everything else may change.
"""

from telemetry_sdk._version import __version__
from telemetry_sdk.errors import ConfigError, InvalidEventError, TelemetryError
from telemetry_sdk.model import Level, Limits, Outcome, Receipt
from telemetry_sdk.notice import Notice
from telemetry_sdk.reports import FlushReport, Forgotten, Preview, SentRequest, Status
from telemetry_sdk.telemetry import Telemetry

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
