"""What a host pays: for import and construction next to nothing, for a call what it needs, after a no no more.

What is loaded is pinned by name. It is most of the cost, and unlike time the same on every machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_sdk import Telemetry

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = (
    *("requests", "urllib3", "sqlite3", "filelock", "tzlocal", "platformdirs", "asyncio", "importlib.metadata"),
    *("http.client", "http.cookiejar", "http.server", "email", "ssl", "socket", "locale", "ctypes", "subprocess"),
    *("multiprocessing", "concurrent.futures", "argparse", "tomllib", "telemetry_sdk.receiver", "telemetry_sdk.cli"),
)
# What the program uses that only imports and constructs us, and nothing else of Python's library.
SLOW = (
    *("dataclasses", "inspect", "ast", "tokenize", "logging", "json", "sqlite3", "pathlib", "uuid", "platform"),
    *("datetime", "decimal", "hashlib", "base64", "queue", "signal", "tempfile"),
)
# What the first call needs of those, when it is an ordinary one that is only stored.
FOR_A_CALL = {"json", "pathlib", "datetime"}
OURS_AT_CONSTRUCTION = {
    "_version",
    "analytics",
    "analytics.scope",
    "client",
    "client.config",
    "client.override",
    "consent",
    "consent.policy",
    "host",
    "host.background",
    "host.guard",
    "host.lifecycle",
    "host.quiet",
    "identity",
    "identity.directory",
    "identity.install_id",
    "model",
    "sender",
    "sender.endpoint",
    "telemetry",
}
CONSTRUCT = 'telemetry = Telemetry("acme-notes", version="1", endpoint="http://127.0.0.1:9", strict=True)'

# Every public method, called as a host would.
CALLS = {
    "start": "()",
    "send_base_first_seen": "()",
    "send_base_heartbeat": "()",
    "heartbeat_if_due": "()",
    "send_analytics_event": '("timer.started", {"source": "cli"}, user_id=42, context={"path": "/"})',
    "track_event": '("timer.started", {"source": "cli"})',
    "track_page_view": '("/notes")',
    "identify_user": '("u-17")',
    "request_context": '("/notes").run(telemetry.track_event, "timer.started")',
    "is_detailed_analytics_enabled": "()",
    "should_ask": "()",
    "ask": "()",
    "opt_in": "()",
    "check_and_send_telemetry": "()",
    "flush": "(0.1)",
    "sent_log": "()",
    "preview": '("timer.started", {"source": "cli"})',
    "status": "()",
    "opt_out": "()",
    "reset_install_id": "()",
    "forget": "()",
    "close": "()",
}
REPORT = """
import sys
modules = sorted(sys.modules)
import json, threading
print(json.dumps({"modules": modules, "threads": threading.active_count(), "answers": answers}))
"""


def run(program: str, home: Path, **environ: str) -> dict[str, Any]:
    """Run *program* in a fresh, isolated interpreter whose home is empty, and return what it reports."""
    home.mkdir(exist_ok=True)
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"answers = {{}}\n{program}{REPORT}"],
        env={**keep, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "APPDATA": str(home), **environ},
        cwd=home,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == b""
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def heavy_in(report: dict[str, Any]) -> list[str]:
    return [name for name in HEAVY if name in report["modules"]]


def test_the_measure_is_true(tmp_path: Path) -> None:
    """An interpreter that does nothing has loaded none of the heavy modules, and one that sends has loaded some."""
    assert heavy_in(run("", tmp_path / "a")) == []

    sent = run(
        f"from telemetry_sdk import Telemetry\n{CONSTRUCT}\ntelemetry.start()\ntelemetry.flush(1)\ntelemetry.close(0)",
        tmp_path / "b",
    )
    assert {"requests", "urllib3", "sqlite3", "filelock", "tzlocal", "platformdirs"} <= set(sent["modules"])
    assert list((tmp_path / "b").rglob("installation.json"))


STORE = """
telemetry = Telemetry(
    "acme-notes", version="2.4.0", endpoint="http://127.0.0.1:9", token="id:token", delivery="manual", state_dir="state"
)
"""
ORDINARY = '{"source": "cli", "duration_ms": 1234, "premium": True, "left": None}, user_id=17'


def loaded(report: dict[str, Any], of: tuple[str, ...] = SLOW) -> set[str]:
    return set(of) & set(report["modules"])


@pytest.mark.parametrize("program", ["", CONSTRUCT, STORE], ids=["import", "construct", "with a token"])
def test_importing_and_constructing_load_only_this(tmp_path: Path, program: str) -> None:
    """Import and construction load these modules of ours, and none of Python's that take long."""
    report = run(f"from telemetry_sdk import Limits, Telemetry\n{program}", tmp_path / "home")

    ours = {name.removeprefix("telemetry_sdk.") for name in report["modules"] if name.startswith("telemetry_sdk.")}
    assert ours == OURS_AT_CONSTRUCTION
    assert loaded(report) == set()


def test_a_stored_event_loads_only_this(tmp_path: Path) -> None:
    """The first call of a program that stores an ordinary event loads what an append needs: no database, no network."""
    run(f"from telemetry_sdk import Telemetry\n{STORE}\ntelemetry.opt_in()", tmp_path / "home")
    call = f'assert telemetry.track_event("timer.started", {ORDINARY})'
    report = run(f"from telemetry_sdk import Telemetry\n{STORE}\n{call}\ntelemetry.close()", tmp_path / "home")

    assert heavy_in(report) == []
    assert loaded(report) == FOR_A_CALL
    names = ("analytics.catalog.format", "analytics.request", "consent.notice")
    late = {f"telemetry_sdk.{name}" for name in names}
    assert all(map(find_spec, late))
    assert late & set(report["modules"]) == set()


def test_a_no_loads_even_less(tmp_path: Path) -> None:
    """Where the user has said no, a call opens no database."""
    run(f"from telemetry_sdk import Telemetry\n{STORE}\ntelemetry.opt_out()", tmp_path / "home")
    call = f'assert not telemetry.track_event("timer.started", {ORDINARY})'
    report = run(f"from telemetry_sdk import Telemetry\n{STORE}\n{call}\ntelemetry.close()", tmp_path / "home")

    assert heavy_in(report) == []
    assert loaded(report) - FOR_A_CALL == set()


@pytest.mark.parametrize("program", ["", CONSTRUCT], ids=["import", "construct"])
def test_importing_and_constructing_are_cheap(tmp_path: Path, program: str) -> None:
    """``import telemetry_sdk`` and ``Telemetry(...)`` load nothing heavy, start no thread and make no file."""
    home = tmp_path / "empty"
    report = run(f"from telemetry_sdk import Telemetry\n{program}", home)

    assert heavy_in(report) == []
    assert report["threads"] == 1
    assert list(home.iterdir()) == []


def test_the_calls_are_all_there_are() -> None:
    """The table above misses no public method, so that a new one is held to the same promise."""
    assert set(CALLS) == {name for name in dir(Telemetry) if not name.startswith("_")}


OFF = [
    {"DO_NOT_TRACK": "1"},
    {"ACME_NOTES_TELEMETRY": "off"},
    {"ACME_NOTES_TELEMETRY": "perhaps"},
    {"TELEMETRY_SDK_DISABLED": "1"},
    {"OTEL_SDK_DISABLED": "true"},
]


@pytest.mark.parametrize("switch", OFF, ids=lambda switch: "=".join(*switch.items()))
def test_off_means_nothing_happens(tmp_path: Path, switch: dict[str, str]) -> None:
    """Under an off-switch no method loads anything heavy, starts a thread, makes a file or accepts a record."""
    lines = [f'answers["{name}"] = repr(telemetry.{name}{arguments})' for name, arguments in CALLS.items()]
    # Whoever opts out, or asks what he decided, must find the place where an earlier yes may be stored.
    lines.insert(list(CALLS).index("status"), 'answers["before status"] = sorted(__import__("sys").modules)')
    home = tmp_path / "empty"
    report = run("\n".join(["from telemetry_sdk import Telemetry", CONSTRUCT, *lines]), home, **switch)

    answers = report["answers"]
    assert heavy_in({"modules": answers.pop("before status")}) == []
    assert heavy_in(report) in ([], ["platformdirs"])
    assert report["threads"] == 1
    assert list(home.iterdir()) == []
    assert not [name for name, answer in answers.items() if "DELIVERED" in answer or "QUEUED" in answer]
    assert answers["is_detailed_analytics_enabled"] == "False"
    assert answers["should_ask"] == answers["ask"] == "False"
    assert "uid='" not in json.dumps(answers)
