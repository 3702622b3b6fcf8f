"""Every test is sealed: loopback only, no real home, no telemetry variable of this machine, everything strict."""

from __future__ import annotations

import functools
import os
import re
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import profiles
import pytest
from process_tools import end_all
from sink_server import SinkServer

from telemetry_sdk import Telemetry
from telemetry_sdk.client import override

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
PROVIDED = ("environ", "clock", "new_id", "draw", "sender")
_SWITCHES = ("DO_NOT_TRACK", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "TF_BUILD", "http_proxy", "HTTP_PROXY")

# What a run must have: a test that would be skipped with "needs Xvfb" fails when Xvfb is named here.
_MUST_RUN = frozenset(os.environ.get("MUST_RUN", "").split())

profiles.register()


def pytest_configure() -> None:
    """Hear a Ctrl-C also where the shell that started us in the background said to ignore it, for the tests of one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Start no workers for what is named file by file or test by test: they would take longer than the tests."""
    names = [name.partition("::")[0] for name in config.option.file_or_dir]
    return 0 if names and all(name.endswith(".py") for name in names) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files marked `alone` at the end."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the files marked `alone` to one worker, as if they were one file: they run when all else is done."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "alone" if _is_alone(config.rootpath / file) else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@functools.cache
def _is_alone(file: Path) -> bool:
    # Which tests there are only the workers know, by their names.
    return "\npytestmark = pytest.mark.alone\n" in file.read_text("utf-8")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped for want of something that `MUST_RUN` names."""
    return _insist((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that was skipped for want of something that `MUST_RUN` names."""
    return _insist((yield))


def _insist(report: Report) -> Report:
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if (found := re.fullmatch(r"Skipped: needs (\S+)", reason)) and found[1] in _MUST_RUN:
        report.outcome, report.longrepr = "failed", f"{reason}, and MUST_RUN says that it is here"
    return report


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
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than the shortest time, a quarter of a second, for another program that holds the outbox."""
    monkeypatch.setattr("telemetry_sdk.outbox.database.BUSY_WAIT", 0.1)
    monkeypatch.setattr("telemetry_sdk.outbox.queue.BUSY_WAIT", 0.1)


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
