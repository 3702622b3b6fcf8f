"""A program packed into one file by PyInstaller reports like any other."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_tools import GUARD
from sink_server import attributes

from telemetry_sdk import Telemetry
from telemetry_sdk.base_payload.platform import detect_deployment

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("PyInstaller") is None, reason="needs PyInstaller"),
    pytest.mark.skipif(sys.platform == "linux" and not shutil.which("objdump"), reason="needs binutils"),
    pytest.mark.timeout(400),
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "command_line_app.py"
BASE = ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
BUILD_GUARD = 300.0  # seconds; only against hanging
# Runs in the packed program before the example: writes down each start of it, and shows what it is made of on demand.
HOOK = """
import os, sys
with open(os.environ["STARTS"], "a") as starts:
    starts.write(f"{os.getpid()}\\n")
if "PROBE" in os.environ:
    import certifi
    from telemetry_sdk.base_payload.platform import detect_deployment
    print(sys.frozen, detect_deployment({}, os.environ["PROBE"]), os.path.isfile(certifi.where()))
    sys.exit()
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as one file, built once."""
    work = tmp_path_factory.mktemp("frozen")
    (work / "hook.py").write_text(HOOK)
    folders = [f"--{name}path={work / name}" for name in ("dist", "work", "spec")]
    build = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--onefile", "--log-level=WARN", "--noconfirm",
         f"--runtime-hook={work / 'hook.py'}", *folders, str(EXAMPLE)],
        capture_output=True, text=True, timeout=BUILD_GUARD, cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(work), "PYINSTALLER_CONFIG_DIR": str(work / "config")},
    )  # fmt: skip
    assert build.returncode == 0, build.stderr
    return work / "dist" / ("command_line_app.exe" if os.name == "nt" else "command_line_app")


@pytest.fixture
def environ(tmp_path: Path, sink: Any, state_dir: Path) -> dict[str, str]:
    """The environment of the packed program; it has no Python to find."""
    return {
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "STARTS": str(tmp_path / "starts"),
        "ACME_TODO_TELEMETRY_ENDPOINT": sink.url,
        "ACME_TODO_TELEMETRY_DIR": str(state_dir),
    }


@pytest.fixture
def run(packed: Path, tmp_path: Path, environ: dict[str, str]) -> Callable[..., str]:
    """Run the packed program to its end and return what it printed."""

    def run_packed(*arguments: str, **extra: str) -> str:
        done = subprocess.run(
            [str(packed), *arguments], env=environ | extra, cwd=tmp_path, capture_output=True, text=True, timeout=GUARD
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run_packed


def test_it_is_frozen_and_complete(run, tmp_path):
    """Outside of containers the packed program calls itself frozen, and it has the certificates that https needs."""
    root = tmp_path / "root"
    root.mkdir()

    assert run(PROBE=str(root)) == "True frozen True\n"


def test_its_events_arrive(run, environ, sink, state_dir, tmp_path):
    """Base and analytics records of the packed program arrive once, and it starts no process but itself."""
    assert run("add", "buy milk") == "1. buy milk\n"
    assert "Stored: you agreed to detailed analytics" in run("telemetry", "on")
    assert run("add", "call Ada") == "1. buy milk\n2. call Ada\n"
    assert run("done", "1") == "1. call Ada\n"
    telemetry = Telemetry("acme-todo", version="1.3.0", endpoint=sink.url, state_dir=state_dir, delivery="manual")
    telemetry.flush(30)
    ledger = telemetry.status().ledger
    telemetry.close()

    records = {uid: attributes(record) for uid, record in zip(sink.uids, sink.accepted, strict=True)}.values()
    assert sorted(it["event_name"] for it in records) == sorted([*BASE, "analytics.install", *["todo.used"] * 2])
    here = detect_deployment(environ)
    assert {it["deployment_type"] for it in records} == {"frozen" if here == "native" else here}
    assert ledger is not None
    assert (ledger["accepted"], ledger["pending"]) == (5, 0)
    starts = (tmp_path / "starts").read_text().split()
    assert len(starts) == len(set(starts)) == 4


def test_do_not_track_holds(run, sink, state_dir):
    """An off-switch holds in the packed program as everywhere."""
    assert "DO_NOT_TRACK is set" in run("telemetry", "status", DO_NOT_TRACK="1")
    run("add", "buy milk", DO_NOT_TRACK="1")

    assert sink.requests == []
    assert not state_dir.exists()
