"""Sinks on this machine: a file of OTLP JSON lines, and standard error."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from telemetry_sdk.host import terminal
from telemetry_sdk.model import Answer
from telemetry_sdk.sender.wire_gate import NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.sender.endpoint import Sink

_LOOKS: Final = 5
_BETWEEN_LOOKS: Final = 0.005


class _LocalSender:
    """What both have in common: they write at once, so there is nothing to break off and nothing to close."""

    def send(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:  # noqa: ARG002
        """Write *body* as one line."""
        try:
            permit()
            return self._write(body)
        except NotPermittedError as error:
            return Answer(None, error=str(error) or "not permitted")
        except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
            return Answer(None, error=type(error).__name__)

    def _write(self, body: bytes) -> Answer:
        raise NotImplementedError

    def abandon(self) -> None:
        """Nothing to break off: a write ends by itself."""

    def close(self) -> None:
        """Nothing is kept open."""


class FileSender(_LocalSender):
    """Appends request bodies to a file, one line each: the OpenTelemetry file exporter's format.

    A torn line that a kill or a full disk left behind is closed off first.
    """

    def __init__(self, sink: Sink) -> None:
        from urllib.request import url2pathname

        self._path = Path(url2pathname(urlsplit(sink.url).path))

    def _write(self, body: bytes) -> Answer:
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


class LogSender(_LocalSender):
    """Writes request bodies to standard error, one line each. A program without one shows them to nobody."""

    waits: Final = False

    def _write(self, body: bytes) -> Answer:
        terminal.write(f"{_visible(body.decode())}\n")
        return Answer(200)


def _visible(text: str) -> str:
    """Return JSON *text* with what could drive a terminal, or hide and turn around its letters, as JSON escapes."""
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() else json.dumps(it)[1:-1] for it in text)
