"""A small host program with telemetry's commands, run as a user runs it: a process, perhaps on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GUARD = 60.0  # seconds; only against hanging, never a claim about speed

NOTES = """
import argparse, json, os, sys
from telemetry_sdk import Limits, Notice, Telemetry
from telemetry_sdk.cli import add_telemetry_commands

def make():
    options = json.loads(os.environ.get("OPTIONS", "{}"))
    if "limits" in options:
        options["limits"] = Limits(**options["limits"])
    if "notice" in options:
        options["notice"] = Notice(options["notice"])
    return Telemetry("acme-notes", **{"version": "2.4.0", "delivery": "sync", **options})

parser = argparse.ArgumentParser(prog="acme-notes")
commands = parser.add_subparsers(dest="command", required=True)
commands.add_parser("write").add_argument("words", type=int)
commands.add_parser("ask")
commands.add_parser("break").add_argument("name")
add_telemetry_commands(commands, make)
arguments = parser.parse_args()
if arguments.command == "telemetry":
    sys.exit(arguments.run_telemetry(arguments))
with make() as telemetry:
    if arguments.command == "ask":
        print("asked:", telemetry.ask())
    elif arguments.command == "break":
        telemetry.track_event(arguments.name)
    else:
        telemetry.track_event("note.created", {"words": arguments.words})
"""


class Done:
    """A command that has ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Notes:
    """Runs ``acme-notes`` and ``python -m telemetry_sdk`` in a sealed home below *directory*."""

    def __init__(self, directory: Path, endpoint: str | None = None) -> None:
        self.home = directory / "alice"
        self.home.mkdir()
        self.state = self.home / "state"
        self.program = directory / "notes.py"
        self.program.write_text(NOTES)
        keep = ("PATH", "SYSTEMROOT", "LANG")
        self.environ = {name: os.environ[name] for name in keep if name in os.environ}
        self.environ |= {name: value for name, value in os.environ.items() if name.startswith("COV")}
        self.environ |= {"HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        self.environ |= {"PYTHONIOENCODING": "utf-8", "ACME_NOTES_TELEMETRY_DIR": str(self.state)}
        if endpoint:
            self.environ["ACME_NOTES_TELEMETRY_ENDPOINT"] = endpoint

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(self.program), *words]

    def run(self, *words: str, code: int | None = 0, **environ: str) -> Done:
        """Run ``acme-notes telemetry *words*``; *code* None accepts any exit code."""
        return self.end(self.command("telemetry", *words), code=code, **environ)

    def use(self, words: int, **environ: str) -> None:
        """Use the program itself."""
        done = self.end(self.command("write", str(words)), **environ)
        assert (done.out, done.err) == ("", "")

    def alone(self, *words: str, code: int | None = 0, **environ: str) -> Done:
        """Run ``python -m telemetry_sdk --app acme-notes *words*``."""
        return self.end([sys.executable, "-m", "telemetry_sdk", "--app", "acme-notes", *words], code=code, **environ)

    def end(self, command: list[str], *, code: int | None = 0, **environ: str) -> Done:
        done = subprocess.run(
            command,
            env={**self.environ, **environ},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=GUARD,
            check=False,
        )
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return Done(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def on_terminal(self, *words: str, **environ: str) -> Iterator[Terminal]:
        """Run ``acme-notes telemetry *words*`` (or ``acme-notes ask``) on a terminal of its own until the block ends."""
        outer, inner = pty.openpty()
        child = subprocess.Popen(
            self.command(*(words if words == ("ask",) else ("telemetry", *words))),
            env={**self.environ, **environ},
            cwd=self.home,
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)
        try:
            yield Terminal(outer, child)
        finally:
            child.kill()
            child.wait()
            os.close(outer)

    def files(self) -> list[str]:
        """The names of all files and directories below the home."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))


class Terminal:
    """The other side of a child's terminal."""

    def __init__(self, descriptor: int, child: subprocess.Popen[Any]) -> None:
        self._descriptor = descriptor
        self._child = child
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read until *text* was shown."""
        while text not in self.shown:
            assert self._read(), f"{text!r} was not shown: {self.shown!r}"

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the child's end; returns its exit code and all that was shown."""
        while self._read():
            pass
        return self._child.wait(GUARD), self.shown

    def _read(self) -> bool:
        assert select.select([self._descriptor], [], [], GUARD)[0], f"the program hangs: {self.shown!r}"
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # Linux says so when the child's side is closed
            data = b""
        self.shown += data.decode("utf-8", "replace")
        return bool(data)
