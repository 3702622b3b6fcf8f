"""Which sender reaches which sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.sender.endpoint import Sink
from telemetry_sdk.sender.file import FileSender, LogSender
from telemetry_sdk.sender.http import HttpSender

if TYPE_CHECKING:
    from telemetry_sdk.sender.wire_gate import Sender
__all__ = ["LOG_SINK", "make_sender"]

LOG_SINK: Final = Sink("log:", "stderr")  # where records go under <APP>_TELEMETRY=log


def make_sender(sink: Sink) -> Sender:
    """Return the sender for *sink*."""
    if sink is LOG_SINK:
        return LogSender()
    return FileSender(sink) if sink.is_file else HttpSender(sink)
