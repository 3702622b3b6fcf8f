"""Real child processes for the tests: a program in a string, run by this Python, in a sealed environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

GUARD = 60.0  # seconds; only against hanging, never a claim about speed

PRELUDE = """
import json, os, sys, threading, time
from pathlib import Path
from telemetry_sdk import Limits, Outcome, Telemetry

SETTINGS = json.loads(sys.argv[1])
GO = SETTINGS.pop("go", None)
ARGUMENT = SETTINGS.pop("argument", None)

def make(**options):
    app = options.pop("app", "acme-notes")
    return Telemetry(app, **{"version": "2.4.0", "strict": True, "delivery": "sync", **SETTINGS, **options})

def say(*words):
    print(*words, flush=True)

def wait_for_go():
    say("ready")
    while not os.path.exists(GO):
        time.sleep(0.001)
"""


living: list[subprocess.Popen[str]] = []


def end_all() -> None:
    """Kill what a failed test left running, so that it costs the next ones neither time nor a warning."""
    while living:
        process = living.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


class Program:
    """A child process that runs *source* after the prelude (`make`, `say`, `wait_for_go`, `ARGUMENT`).

    With *measured* False its coverage is not measured: coverage's tracer takes a lock that is not safe in a signal
    handler.
    """

    def __init__(
        self,
        source: str,
        home: Path,
        *,
        environ: dict[str, str] | None = None,
        measured: bool = True,
        **settings: Any,
    ) -> None:
        keep = ("PATH", "SYSTEMROOT", "PYTHONPATH", "LANG")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        if measured:
            environment |= {name: value for name, value in os.environ.items() if name.startswith("COV")}
        environment |= {"HOME": str(home), "PYTHONWARNINGS": "error"} | (environ or {})
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(source), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=home,
        )
        living.append(self.process)

    def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait_for(self, word: str) -> str:
        """Read lines up to and including one that begins with *word*."""
        while line := self.line():
            if line.startswith(word):
                return line
        raise AssertionError(f"the program ended without {word!r}: {self.process.communicate()[1]}")

    def finish(self, code: int | None = 0, answer: str | None = None) -> str:
        """Give it *answer*, wait for its end and return what is left of its output; *code* None accepts any exit code."""
        try:
            out, err = self.process.communicate(answer, timeout=GUARD)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the program hangs: {self.process.communicate()}") from None
        assert code is None or self.process.returncode == code, err
        if code == 0:
            assert err == "", err
        return out

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.process.kill()
        self.process.communicate(timeout=GUARD)
