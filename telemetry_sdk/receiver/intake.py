"""What becomes of an accepted request: it is stored, counted and shown.

Knows files and locks, but no HTTP: whoever calls it says what a failure means to the client.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from telemetry_sdk.receiver.validation import InvalidRequest, ReceivedRecord, received_records

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Counts", "Intake"]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a receiver has done so far.

    Attributes:
        requests: Requests accepted, empty ones included.
        records: Records in them.
        refused: Requests answered with anything but 200.
    """

    requests: int = 0
    records: int = 0
    refused: int = 0


class Intake:
    """Stores requests as OTLP JSON lines, one at a time whatever the number of threads."""

    def __init__(self, on_record: Callable[[ReceivedRecord], object] | None) -> None:
        self.counts = Counts()
        self._on_record = on_record
        self._file: int | None = None
        self._closed = False
        self._storing = threading.Lock()
        self._showing = threading.Lock()

    def open(self, file: str | os.PathLike[str] | None) -> None:
        """Append to *file* from now on; None keeps nothing.

        Raises:
            OSError: It cannot be opened for writing.
        """
        if file is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(file, flags, 0o600)

    def store(self, request: dict[str, Any]) -> list[ReceivedRecord]:
        """Append a valid *request* as one line, if it has records, and return them.

        When this returns, the line survives a kill of this process, though not a power cut.

        Raises:
            OSError: The line was not written, or the intake is closed.
            InvalidRequest: Fields we do not know nest too deep to be written down.
        """
        records = received_records(request)
        try:
            line = json.dumps(request, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
        except RecursionError:
            raise InvalidRequest("request", "nested too deep") from None
        with self._storing:
            if self._closed:
                raise OSError(errno.EBADF, "closed")
            if records and self._file is not None:
                _append(self._file, line)
            done = self.counts
            self.counts = replace(done, requests=done.requests + 1, records=done.records + len(records))
        return records

    def show(self, records: list[ReceivedRecord]) -> None:
        """Call `on_record` for each of *records*, never twice at a time. What it raises leaves here."""
        if self._on_record is None:
            return
        with self._showing:
            for record in records:
                self._on_record(record)

    def count_refusal(self) -> None:
        """Count a request that was not accepted."""
        with self._storing:
            self.counts = replace(self.counts, refused=self.counts.refused + 1)

    def close(self) -> None:
        """Let go of the file. Nothing is stored after this returns."""
        with self._storing:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None


def _append(file: int, line: bytes) -> None:
    written = os.write(file, line)
    if written < len(line):
        # A full disk takes part of a line; left there, it would spoil the next line too.
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
