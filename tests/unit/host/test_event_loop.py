"""Noticing that a call would block an event loop."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading

import pytest

from telemetry_sdk.host.guard import LoopWarning, is_loop_running


def test_a_loop_runs_in_its_thread_only() -> None:
    """A running loop is seen in its own thread, from a coroutine and a callback, and not in an executor's thread."""

    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        loop.call_soon(lambda: called.set_result(is_loop_running()))
        return [is_loop_running(), await called, await loop.run_in_executor(None, is_loop_running)]

    assert not is_loop_running()
    assert asyncio.run(main()) == [True, True, False]
    assert not is_loop_running()


def test_a_program_without_asyncio_does_not_get_it() -> None:
    """Asking does not import asyncio."""
    program = """
import sys
from telemetry_sdk.host.guard import LoopWarning, is_loop_running
LoopWarning().check(5.0)
print(is_loop_running(), "asyncio" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]


def test_the_warning_comes_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first call within a loop warns and says what to do; no other does, and none outside a loop."""
    caplog.set_level(logging.DEBUG, "telemetry_sdk")
    warning = LoopWarning()
    warning.check(5.0)
    assert caplog.records == []

    async def main() -> None:
        for _ in range(3):
            warning.check(5.0)

    asyncio.run(main())
    asyncio.run(main())
    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()

    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "telemetry_sdk")
    assert 'up to 5 seconds: use delivery="background"' in record.getMessage()
