"""Who may send: a lease is taken from the dead alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from telemetry_sdk.outbox.lease import process_is_gone


@pytest.mark.skipif(os.name != "posix", reason="process ids mean nothing elsewhere")
def test_process_is_gone() -> None:
    """A dead process and a zombie are gone; a living one, one of another user and an impossible id are not."""
    assert not process_is_gone(os.getpid())
    assert not process_is_gone(1)
    assert not process_is_gone(2**80)

    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    if Path("/proc/self/stat").exists():
        assert process_is_gone(child)
    os.waitpid(child, 0)
    assert process_is_gone(child)


@pytest.mark.skipif(os.name != "posix", reason="process ids mean nothing elsewhere")
def test_without_proc_a_process_that_takes_signals_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, whoever can be signalled counts as alive."""

    def missing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)

    assert not process_is_gone(os.getpid())


def test_nobody_is_gone_where_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off POSIX, signal 0 would end the process that is asked about, so it is not sent."""
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    monkeypatch.setattr(os, "name", "nt")

    assert not process_is_gone(os.getpid())


@pytest.mark.parametrize("error", [PermissionError(), OverflowError()], ids=lambda error: type(error).__name__)
def test_a_doubt_is_no_death(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A lease is not taken from a process that may live."""

    def kill(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "kill", kill)

    assert not process_is_gone(4711)
