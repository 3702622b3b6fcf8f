"""Shows on a terminal how far a long flush is."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from telemetry_sdk.telemetry import Telemetry

__all__ = ["progress"]

_LARGE: Final = 100
_BETWEEN_S: Final = 0.2


@contextlib.contextmanager
def progress(telemetry: Telemetry) -> Iterator[None]:
    """Show on standard error how many records wait, until the block ends: only on a terminal, and if many wait."""
    if not terminal.is_terminal() or _pending(telemetry) <= _LARGE:
        yield
        return
    over = threading.Event()

    def run() -> None:
        begun, width = _pending(telemetry), 0
        while not over.is_set():
            line = f"sending: {_pending(telemetry)} of {begun} records wait"
            width = max(width, len(line))
            terminal.write(f"\r{line:{width}}")
            over.wait(_BETWEEN_S)
        terminal.write(f"\r{'':{width}}\r")

    thread = threading.Thread(target=run, name="telemetry-sdk-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _pending(telemetry: Telemetry) -> int:
    return (telemetry.status().ledger or {}).get("pending", 0)
