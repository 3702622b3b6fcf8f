"""Pythons that lack a part: a program works in them, or one plain sentence says what does not; a decision is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from process_tools import GUARD

PROGRAM = """
import importlib, json, sys

endpoint, state_dir, delivery, missing = sys.argv[1:5]
for name in missing.split():
    module, _, attribute = name.partition(".")
    if not attribute:
        sys.modules[name] = None
    elif hasattr(importlib.import_module(module), attribute):
        delattr(importlib.import_module(module), attribute)

from pathlib import Path
from telemetry_sdk import Telemetry

def stored():
    return json.loads(Path(state_dir, "installation.json").read_text())["telemetry_enabled"]

telemetry = Telemetry("acme", version="1", endpoint=endpoint, state_dir=state_dir, delivery=delivery)
telemetry.start()
telemetry.opt_in()
agreed = stored()
receipt = telemetry.track_event("timer.started")
report = telemetry.flush(20)
status = telemetry.status()
certain = telemetry.opt_out()
telemetry.close()
print(json.dumps([agreed, bool(receipt), report.reason, status.state_problem, certain, stored()]))

sys.argv = ["doctor", "--app", "acme", "--state-dir", state_dir, "--endpoint", endpoint, "doctor"]
from telemetry_sdk.cli.program import main
main()
"""
WORKS = [
    "os.link",
    "os.link fcntl",
    "os.fork os.register_at_fork",
    "os.geteuid os.getuid",
    "os.fchmod os.fchown",
    "os.O_NOFOLLOW os.O_DIRECTORY os.O_CLOEXEC os.O_NOCTTY",
    "os.uname os.symlink os.statvfs os.ftruncate",
    "signal.SIGPIPE signal.pthread_sigmask signal.SIG_BLOCK signal.setitimer signal.SIGHUP",
    "socket.AF_UNIX socket.AF_INET6 socket.SO_KEEPALIVE socket.socketpair",
    "fcntl",
    "pwd grp",
    "ctypes _ctypes",
    "ssl _ssl",
    "zoneinfo tzlocal",
    "_locale _uuid resource",
    "multiprocessing _multiprocessing _posixshmem",
    "bz2 lzma _bz2 _lzma",
    "subprocess _posixsubprocess",
    "readline curses termios tty",
]


def run(missing, delivery, sink, tmp_path):
    kept = {name: os.environ[name] for name in os.environ if name in ("PATH", "PYTHONPATH") or name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, sink.url, str(tmp_path / "state"), delivery, missing],
        env={**kept, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.stderr == ""
    first, _, doctor = done.stdout.partition("\n")
    return json.loads(first), doctor


@pytest.mark.parametrize("delivery", ["sync", "background"])
@pytest.mark.parametrize("missing", WORKS)
def test_what_works_without(sink, tmp_path, missing, delivery):
    """Everything arrives, and a yes and a no are on disk."""
    found, doctor = run(missing, delivery, sink, tmp_path)

    assert found == [True, True, "", "", True, False]
    assert sorted(sink.names) == [
        "analytics.install",
        "base_telemetry.first_seen",
        "base_telemetry.heartbeat",
        "timer.started",
    ]
    assert "problem " not in doctor


@pytest.mark.parametrize("delivery", ["sync", "background"])
def test_without_sqlite_events_wait_and_the_reason_is_said(sink, tmp_path, delivery):
    """Nothing can be sent; what is accepted lies in the spool; `status` and ``doctor`` name the part that is missing."""
    (agreed, accepted, reason, problem, certain, declined), doctor = run("sqlite3 _sqlite3", delivery, sink, tmp_path)

    assert (agreed, accepted, certain, declined) == (True, True, True, False)
    assert reason == problem == "this Python has no sqlite3, which sending needs: records wait for one that has it"
    assert f"problem  outbox             {problem}\n" in doctor
    assert sink.names == []


@pytest.mark.parametrize("missing", ["zlib gzip", "requests", "urllib3"])
def test_without_a_part_of_the_http_client_the_reason_is_said(sink, tmp_path, missing):
    """An installation that lacks a library keeps what it cannot send, and names what it lacks."""
    (agreed, accepted, reason, _, certain, declined), doctor = run(missing, "background", sink, tmp_path)

    assert (agreed, accepted, certain, declined) == (True, True, True, False)
    assert reason == f"this Python has no {missing.split()[0]}"
    assert reason in doctor
