"""A sink in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from telemetry_sdk.model import Answer, Layer
from telemetry_sdk.sender.wire_gate import NotPermittedError
from telemetry_sdk.testing.record import read_records

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from telemetry_sdk.testing.record import SentRecord

__all__ = ["MemorySink"]


class MemorySink:
    """Takes what would be sent, keeps it for the test to look at, and answers from a script.

    It is a `sender.Sender`, so `Telemetry` takes it as its ``sender``; the right to send is asked for as with a real
    sink. Safe to share between threads and objects.

    Args:
        answers: What it answers to the next requests, one each: an HTTP status, an `Answer`, or None for a sink that
            cannot be reached. After them it accepts everything.

    Attributes:
        answers: Those that are left; a test may change them at any time.
    """

    waits: Final = False

    def __init__(self, answers: Iterable[int | Answer | None] = ()) -> None:
        self.answers: list[int | Answer | None] = list(answers)
        self._lock = threading.Lock()
        self._requests: list[tuple[bytes, bool]] = []

    def send(self, body: bytes, permit: AbstractContextManager[None], timeout: float) -> Answer:  # noqa: ARG002
        """Keep *body*, if *permit* allows it, and return the next answer."""
        try:
            with permit, self._lock:
                answer = self._next_answer()
                is_accepted = answer.status is not None and 200 <= answer.status < 300
                self._requests.append((body, is_accepted))
                return answer
        except NotPermittedError as error:
            return Answer(None, error=str(error) or "not permitted")

    def _next_answer(self) -> Answer:
        answer = self.answers.pop(0) if self.answers else 200
        if answer is None:
            return Answer(None, error="ConnectionError")
        return Answer(answer) if isinstance(answer, int) else answer

    def abandon(self) -> None:
        """Nothing to break off: it answers at once."""

    def close(self) -> None:
        """Nothing is kept open."""

    def __repr__(self) -> str:
        return f"<MemorySink: {', '.join(self.names) or 'nothing was sent'}>"

    @property
    def requests(self) -> list[bytes]:
        """The body of every request, byte for byte and in order, whatever was answered."""
        with self._lock:
            return [body for body, _ in self._requests]

    @property
    def records(self) -> list[SentRecord]:
        """The records of both layers that were accepted (answered with 2xx), in order."""
        with self._lock:
            accepted = [body for body, is_accepted in self._requests if is_accepted]
        return [record for body in accepted for record in read_records(body)]

    @property
    def names(self) -> list[str]:
        """The names of `records`, in order."""
        return [record.name for record in self.records]

    def events(self, name: str | None = None) -> list[SentRecord]:
        """Return the accepted records of detailed analytics, or those of them that are called *name*."""
        events = [record for record in self.records if record.layer == Layer.ANALYTICS.value]
        return [event for event in events if name is None or event.name == name]

    def only(self, name: str) -> SentRecord:
        """Return the one accepted record called *name*.

        Raises:
            AssertionError: There is none, or more than one; the message lists what was sent.
        """
        found = [record for record in self.records if record.name == name]
        if len(found) != 1:
            raise AssertionError(f"{name} was sent {len(found)} times, not once; sent were: {self.names}")
        return found[0]

    def clear(self) -> None:
        """Forget what was sent; the answers that are left stay."""
        with self._lock:
            self._requests.clear()
