"""Sinks on this machine: a file of OTLP JSON lines, and standard error."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from telemetry_sdk.host import terminal
from telemetry_sdk.model import Answer
from telemetry_sdk.sender.wire_gate import NotPermittedError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from telemetry_sdk.sender.endpoint import Sink

_LOOKS: Final = 5
_BETWEEN_LOOKS: Final = 0.005


class FileSender:
    """Appends request bodies to a file, one line each: the OpenTelemetry file exporter's format."""

    def __init__(self, sink: Sink) -> None:
        from urllib.request import url2pathname

        self._path = Path(url2pathname(urlsplit(sink.url).path))

    def send(self, body: bytes, permit: AbstractContextManager[None], timeout: float) -> Answer:  # noqa: ARG002
        """Append *body* in one write. A torn line that a kill or a full disk left behind is closed off first."""
        try:
            with permit:
                return self._append(body)
        except NotPermittedError as error:
            return Answer(None, error=str(error) or "not permitted")
        except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
            return Answer(None, error=type(error).__name__)

    def _append(self, body: bytes) -> Answer:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            line = (b"\n" if _is_torn(descriptor) else b"") + body + b"\n"
            end = os.lseek(descriptor, 0, os.SEEK_END)
            written = os.write(descriptor, line)
            if written != len(line):
                if os.fstat(descriptor).st_size == end + written:
                    os.ftruncate(descriptor, end)
                return Answer(None, error="short write")
        finally:
            os.close(descriptor)
        return Answer(200)

    def abandon(self) -> None:
        """Nothing to break off: a write to a file ends by itself."""

    def close(self) -> None:
        """Nothing is kept open."""


def _is_torn(descriptor: int) -> bool:
    """Tell whether a file ends in the middle of a line, and goes on doing so: somebody may be writing one now."""
    for _ in range(_LOOKS):
        end = os.lseek(descriptor, 0, os.SEEK_END)
        if not end:
            return False
        os.lseek(descriptor, end - 1, os.SEEK_SET)
        if os.read(descriptor, 1) == b"\n":
            return False
        time.sleep(_BETWEEN_LOOKS)
    return True


class LogSender:
    """Writes request bodies to standard error, one line each, as they would be sent."""

    waits: Final = False

    def send(self, body: bytes, permit: AbstractContextManager[None], timeout: float) -> Answer:  # noqa: ARG002
        """Write *body*. A program without a standard error shows it to nobody."""
        try:
            with permit:
                terminal.write(f"{body.decode()}\n")
        except NotPermittedError as error:
            return Answer(None, error=str(error) or "not permitted")
        return Answer(200)

    def abandon(self) -> None:
        """Nothing to break off."""

    def close(self) -> None:
        """Nothing is kept open."""
