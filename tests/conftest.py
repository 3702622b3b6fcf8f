"""Every test is sealed: loopback only, no real home, no telemetry variable of this machine, everything strict."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from process_tools import end_all
from sink_server import SinkServer

from telemetry_sdk import Telemetry
from telemetry_sdk.client import override

PROVIDED = ("environ", "clock", "new_id", "draw", "sender")
_SWITCHES = ("DO_NOT_TRACK", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "TF_BUILD", "http_proxy", "HTTP_PROXY")


def pytest_configure() -> None:
    """Hear a Ctrl-C also where the shell that started us in the background said to ignore it, for the tests of one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _sealed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point every default at tmp_path, and refuse sockets that leave this machine."""
    for name in list(os.environ):
        if name in _SWITCHES or "TELEMETRY" in name or name.startswith(("OTEL_", "GRAFANA_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert address[0] in ("127.0.0.1", "::1"), "a test tried to leave this machine"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


@pytest.fixture(autouse=True)
def _no_program_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def sink() -> Iterator[SinkServer]:
    """A real HTTP server that accepts everything unless told otherwise."""
    server = SinkServer()
    yield server
    server.stop()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """The state directory of `make`; not created."""
    return tmp_path / "state"


class Clock:
    """A clock that stands still until it is moved. Nanoseconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_780_000_000_123_456_789  # 2026-05-28T20:26:40Z

    def __call__(self) -> int:
        return self.now

    def move(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        self.now += int((days * 86_400 + hours * 3600 + minutes * 60 + seconds) * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(sink: SinkServer, state_dir: Path) -> Iterator[Callable[..., Telemetry]]:
    """Make strict `Telemetry` objects that send to *sink* within the call and keep state in *state_dir*.

    Parts of the world (`override.Providers`) may be given too. Closed after the test.
    """
    made: list[Telemetry] = []

    def factory(**options: Any) -> Telemetry:
        defaults = {
            "version": "2.4.0",
            "endpoint": sink.url,
            "state_dir": state_dir,
            "strict": True,
            "delivery": "sync",
        }
        app = options.pop("app", "acme-notes")
        provided = {name: options.pop(name) for name in PROVIDED if name in options}
        with override.supplied(**provided):
            telemetry = Telemetry(app, **{**defaults, **options})
        made.append(telemetry)
        return telemetry

    yield factory
    for telemetry in made:
        telemetry.close(0)
        override.engine_of(telemetry).scope.bind_user(None)  # it would be the next test's too
