"""Sinks on this machine: a file of OTLP JSON lines, and standard error."""

from __future__ import annotations

import errno
import json
import os
import stat
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
_NO_PLACE: Final = "not a regular file with one name"
_APPENDING: Final = (
    (os.O_RDWR | os.O_APPEND | os.O_CREAT)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


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

    Only to a regular file with one name, never by way of a link: what that leads to is not ours to write to, and a FIFO
    or a device keeps nothing. It is opened anew for each line, so it may be renamed or deleted meanwhile.

    A torn line that a kill or a full disk left behind is closed off by the next one. It is not taken back: whoever
    else appends to the file may have written behind it.
    """

    def __init__(self, sink: Sink) -> None:
        from urllib.request import url2pathname

        self._path = Path(url2pathname(urlsplit(sink.url).path))

    def _write(self, body: bytes) -> Answer:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(self._path, _APPENDING, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return Answer(None, error=_NO_PLACE)
            raise
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                return Answer(None, error=_NO_PLACE)
            is_whole = _append(descriptor, body + b"\n")
        finally:
            os.close(descriptor)
        return Answer(200) if is_whole else Answer(None, error="short write")


def _append(descriptor: int, line: bytes) -> bool:
    """Append *line* so that it stands alone, and tell whether it is there as a whole."""
    for lead in (b"\n" if _is_torn(descriptor) else b"", b"\n"):
        if os.write(descriptor, lead + line) != len(lead + line):
            return False
        # Another writer may have been killed since the look: then this line is joined to a torn one, and written again.
        if _is_line_start(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR) - len(line)):
            return True
    return False


def _is_torn(descriptor: int) -> bool:
    """Tell whether a file ends in the middle of a line, and goes on doing so: somebody may be writing one now."""
    for _ in range(_LOOKS):
        if _is_line_start(descriptor, os.lseek(descriptor, 0, os.SEEK_END)):
            return False
        time.sleep(_BETWEEN_LOOKS)
    return True


def _is_line_start(descriptor: int, position: int) -> bool:
    if not position:
        return True
    os.lseek(descriptor, position - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


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
