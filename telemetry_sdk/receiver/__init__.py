"""A small OTLP/HTTP JSON log receiver for development: what a Collector would answer, on this machine.

Standard library only, and never imported by `telemetry_sdk` itself.
"""

from __future__ import annotations

from telemetry_sdk.receiver.server import Counts, Receiver
from telemetry_sdk.receiver.validation import InvalidRequest, ReceivedRecord

__all__ = ["Counts", "InvalidRequest", "ReceivedRecord", "Receiver"]
