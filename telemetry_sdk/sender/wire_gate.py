"""What a sender is: something that makes one attempt, asking for permission right before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.model import Answer


class NotPermittedError(Exception):
    """The permit says that this request may not leave."""


class Sender(Protocol):
    """Makes one attempt at a time. Never raises for what the world does.

    One that has a true attribute ``takes_packed`` is given bodies as `otlp.packed` makes them.
    One that answers at once, without network or disk, may say ``waits = False``: then no event loop is warned of it.
    """

    def send(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:
        """Send *body* and return the answer; *permit* is called right before its first byte is written."""
        ...

    def abandon(self) -> None:
        """Break off an attempt from another thread; the sender stays usable."""
        ...

    def close(self) -> None:
        """Close idle connections; the sender stays usable."""
        ...
