"""docs/commands.md cannot drift from the commands: the page is run from top to bottom.

``python tests/contract/test_commands_doc.py`` writes the output of the commands into the page anew.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the page was written on POSIX", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parents[1]))

from command_tools import GUARD, ROOT
from sink_server import Reply, SinkServer

from telemetry_sdk.cli.program import main

PAGE = ROOT / "docs" / "commands.md"
DOCUMENT = PAGE.read_text("utf-8")
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", DOCUMENT, re.DOTALL))
COMMANDS = ["status", "preview", "on", "off", "log", "flush", "reset", "forget", "doctor"]
FACTS = {
    "platform": "linux",
    "os_version": "6.1.0",
    "architecture": "amd64",
    "locale": "en-US",
    "timezone": "Europe/Vienna",
    "deployment_type": "native",
}


class Runner:
    """Runs the commands of the page, in order, below *directory*."""

    def __init__(self, directory: Path, sink: SinkServer) -> None:
        self._home = directory / "ada"
        self._home.mkdir()
        for name, source in PROGRAMS.items():
            (self._home / name).write_text(source, "utf-8")
        keep = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG") or name.startswith("COV")}
        self._environ = {
            **keep,
            "HOME": str(self._home),
            "XDG_DATA_HOME": "",
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8",
            "ACME_NOTES_TELEMETRY_ENDPOINT": sink.url,
        }

    def raw(self, command: str) -> tuple[int, str]:
        """Run *command*; returns its exit code and all that it printed."""
        words = shlex.split(command)
        if words[0] == "acme-notes":
            words[:1] = ["python", "notes.py"]
        words[0] = sys.executable
        done = subprocess.run(
            words,
            cwd=self._home,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=GUARD,
            check=False,
        )
        return done.returncode, done.stdout

    def shown(self, block: str) -> str:
        """Return *block* with the output that its commands have now."""
        commands = [line for line in block.splitlines() if line.startswith("$ ")]
        return "".join(f"{line}\n{same_everywhere(self.raw(line[2:])[1])}" for line in commands)


def same_everywhere(text: str) -> str:
    """Return *text* with what differs from run to run and from machine to machine replaced."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:4318", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6}|\.\d{3})?Z", _moment, text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", "2026-03-01 08:12:45+01:00", text)
    text = re.sub(r"\b(?!0{8})[0-9a-f]{8}-[0-9a-f-]{27}\b", "2ab2916d-a51f-4ac8-80ee-45ac31a28092", text)
    text = re.sub(r"^(    (\w+) +)\S+ +(.*)$", _fact, text, flags=re.MULTILINE)
    text = re.sub(r"^State .*$", "State        ~/.local/share/acme-notes/telemetry", text, flags=re.MULTILINE)
    text = re.sub(r"^(\w+ +directory +).*$", r"\1~/.local/share/acme-notes/telemetry", text, flags=re.MULTILINE)
    return re.sub(r"^0 problems, \d warnings?\.$", "All is well.", text, flags=re.MULTILINE)


def _moment(found: re.Match[str]) -> str:
    return f"2026-03-01T07:12:45{'.' + '123456'[: len(found[1]) - 1] if found[1] else ''}Z"


def _fact(found: re.Match[str]) -> str:
    return f"{found[1]}{FACTS[found[2]]:36}  {found[3]}" if found[2] in FACTS else found[0]


def rewritten(directory: Path, sink: SinkServer) -> str:
    """Return the page with the output that its commands have now."""
    sink.reply = lambda _: Reply(headers={"Content-Type": "application/json", "Date": formatdate(usegmt=True)})
    runner = Runner(directory, sink)
    return re.sub(
        r"```console\n(.*?)```", lambda block: f"```console\n{runner.shown(block[1])}```", DOCUMENT, flags=re.DOTALL
    )


def test_the_page_shows_what_the_commands_print(sink: SinkServer, tmp_path: Path) -> None:
    """Every command of the page, run in order, prints what the page says."""
    assert rewritten(tmp_path, sink) == DOCUMENT
    assert "base_telemetry.first_seen" in DOCUMENT


@pytest.mark.parametrize("program", ["click_notes.py", "typer_notes.py"])
def test_other_frameworks_have_the_same_commands(sink: SinkServer, tmp_path: Path, program: str) -> None:
    """Under Click and Typer the same words do the same, options and exit codes included."""
    if importlib.util.find_spec(program.partition("_")[0]) is None:
        pytest.skip(f"needs {program.partition('_')[0]}")
    runner = Runner(tmp_path, sink)
    for words, code in (
        ("status", 0),
        ("preview --event note.created -p words=4 --layer analytics", 0),
        ("status --json", 0),
        ("forget", 2),
        ("stop", 2),
        ("--help", 0),
    ):
        expected = runner.raw(f"acme-notes telemetry {words}")
        assert expected[0] == code
        found = runner.raw(f"python {program} telemetry {words}")
        assert (found[0], same_everywhere(found[1])) == (code, same_everywhere(expected[1]))


def test_every_command_and_code_is_listed() -> None:
    """The tables name the nine commands, and the three exit codes."""
    rows = re.findall(r"^\| `?(\w+)`? \|", DOCUMENT, re.MULTILINE)

    assert [row for row in rows if row in COMMANDS] == COMMANDS
    assert [row for row in rows if row.isdigit()] == ["0", "1", "2"]


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m telemetry_sdk --help`` lists the nine commands, the options for them, and the exit codes."""
    with contextlib.suppress(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out

    assert all(re.search(rf"^ +{command} ", said, re.MULTILINE) for command in [*COMMANDS, "receive"])
    assert all(option in said for option in ("--app ", "--app-version", "--state-dir", "--endpoint", "Exit codes: 0"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        server = SinkServer()
        PAGE.write_text(rewritten(Path(scratch), server), "utf-8")
        server.stop()
