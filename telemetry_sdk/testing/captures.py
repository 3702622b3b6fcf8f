"""Captures for a block of code: of every `Telemetry` in the process, or of one made for the test."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telemetry_sdk.client import override
from telemetry_sdk.telemetry import Telemetry
from telemetry_sdk.testing.clock import FakeClock, seeded_ids
from telemetry_sdk.testing.sink import MemorySink
from telemetry_sdk.testing.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Captured", "capture", "capture_all"]


@dataclass(frozen=True, slots=True)
class Captured:
    """One `Telemetry` made for a test.

    Attributes:
        telemetry: To be handed to the code under test.
        sink: What it sent, and would have sent to the real sink.
        clock: The clock it goes by.
    """

    telemetry: Telemetry
    sink: MemorySink
    clock: FakeClock


@contextlib.contextmanager
def capture(
    app: str = "app-under-test",
    *,
    consent: bool | None = True,
    clock: FakeClock | None = None,
    environ: Mapping[str, str] | None = None,
    new_id: Callable[[], str] | None = None,
    **options: Any,
) -> Iterator[Captured]:
    """Make a strict `Telemetry` that sends to memory, for the block.

    Its state is in a temporary directory, its ids are the same in each run, and it sends within each call.

    Args:
        app: Name of the program.
        consent: Whether the user agreed to detailed analytics; None: has not decided. Nothing of that is in the sink.
        clock: The clock; default a `FakeClock` that shows its default start.
        environ: The environment; empty unless given.
        new_id: Makes the ids; the same ones in each run unless given.
        options: Further arguments of `Telemetry`, instead of these.

    Raises:
        ConfigError: An argument is impossible.
    """
    clock, sink = clock or FakeClock(), MemorySink()
    with tempfile.TemporaryDirectory(prefix="telemetry-sdk-", ignore_cleanup_errors=True) as directory:
        settings: dict[str, Any] = {
            "version": "0.0.0",
            "endpoint": "https://telemetry.invalid",
            "state_dir": directory,
            "strict": True,
            "delivery": "sync",
        }
        with override.supplied(
            clock=clock, sender=sink, environ=environ or {}, new_id=new_id or seeded_ids(), draw=lambda: 0.5
        ):
            telemetry = Telemetry(app, **(settings | options))
        with contextlib.closing(telemetry):
            if consent is not None:
                _ = telemetry.opt_in() if consent else telemetry.opt_out()
                telemetry.flush()
                sink.clear()
            yield Captured(telemetry, sink, clock)


@contextlib.contextmanager
def capture_all() -> Iterator[MemorySink]:
    """Send what every `Telemetry` of this process would send to one sink in memory, for the block.

    What pytest's plugin does for each test; for other test runners. Objects made before count too. Each starts
    without state, and goes on with its own when the block ends. See `stage` for what exactly is replaced.
    """
    stage = Stage(os.environ)
    stage.enter()
    try:
        yield stage.sink
    finally:
        stage.leave(silent=False)
