"""``python -m telemetry_sdk catalog``, run as a developer or a CI job runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import telemetry_sdk
from telemetry_sdk.cli import program

ROOT = Path(telemetry_sdk.__file__).parents[1]
PATIENCE_S = 60  # guards against a hang, asserts no speed
CATALOG = """\
version = 2
app = "acme-notes"

[events."note.created"]
description = "A note was created."
purpose = "usage"
[events."note.created".properties]
source = { type = "string", description = "Where.", values = ["cli", "gui"] }

[events."note.deleted"]
description = "A note was deleted."
purpose = "usage"
since = 2
"""
SOURCE = """\
telemetry.track_event("note.created", {"source": "cli"})
telemetry.track_event("note.deleted")
"""


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    """A project with a catalogue and a source that fit together, and nothing else."""
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    monkeypatch.chdir(project)
    Path("telemetry.toml").write_text(CATALOG, "utf-8")
    Path("src/app.py").write_text(SOURCE, "utf-8")


def run(*arguments, **extra):
    """Run the command in a process of its own; returns exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "telemetry_sdk", "catalog", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **extra},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


def call(capsys, *arguments):
    """Run the command in this process; returns exit code, stdout and stderr."""
    code = program.main(["catalog", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_page_is_written_and_found_current():
    """``docs`` writes the page, and ``docs --check`` finds it current until the catalogue changes."""
    assert run("docs", "telemetry.toml") == (0, "wrote all_tracked_events.md\n", "")
    assert run("docs", "telemetry.toml", "--check") == (0, "all_tracked_events.md is up to date\n", "")
    page = Path("all_tracked_events.md").read_bytes()
    assert b"### `note.created`\n\nA note was created.\n" in page
    assert b"\r" not in page

    Path("telemetry.toml").write_text(CATALOG.replace("A note was created.", "A note was made."), "utf-8")
    code, out, err = run("docs", "telemetry.toml", "--check")
    assert (code, err) == (
        1,
        "error: all_tracked_events.md is not what telemetry.toml says; run catalog docs without --check\n",
    )
    assert "\n-A note was created.\n+A note was made.\n" in out
    assert Path("all_tracked_events.md").read_bytes() == page


def test_a_project_that_fits():
    """``check`` says that there is nothing to say."""
    assert run("check", "telemetry.toml", "src/") == (0, "0 errors, 0 warnings\n", "")


def test_a_project_that_does_not_fit():
    """``check`` names file, line, trouble and kind of each finding, and fails."""
    Path("src/app.py").write_text(
        'telemetry.track_event("note.creatd")\ntelemetry.track_event(f"note.c{x}")\n', "utf-8"
    )

    assert run("check", "telemetry.toml", "src") == (
        1,
        (
            'src/app.py:1: error: "note.creatd" is not declared; did you mean note.created? [undeclared-event]\n'
            "src/app.py:2: warning: the event's name is only known while running [unchecked]\n"
            "telemetry.toml: warning: note.created is declared, and no call that could be checked sends it [unchecked]\n"
            "telemetry.toml: warning: note.deleted is declared, and no call that could be checked sends it [unchecked]\n"
            "1 error, 3 warnings\n"
        ),
        "",
    )


@pytest.mark.skipif(os.name != "posix", reason="needs FIFOs")
def test_no_command_waits_for_a_fifo(capsys):
    """A FIFO as the catalogue, the released one or the page to compare with is an error that says so, at once."""
    os.mkfifo("fifo")
    said = "fifo cannot be read: it is not a regular file"

    assert call(capsys, "docs", "fifo") == (1, "", f"error: catalog: {said}\n")
    assert call(capsys, "check", "telemetry.toml", "src", "--released", "fifo") == (1, "", f"error: catalog: {said}\n")
    assert call(capsys, "docs", "telemetry.toml", "--check", "--output", "fifo") == (
        1,
        "",
        "error: cannot read fifo: it is not a regular file\n",
    )


def test_without_astroid(capsys, monkeypatch):
    """Where the extra is not installed, ``check`` says what to install, and the other commands work."""
    monkeypatch.setitem(sys.modules, "astroid", None)
    monkeypatch.delitem(sys.modules, "telemetry_sdk.catalog_tools.source_check", raising=False)
    monkeypatch.delattr("telemetry_sdk.catalog_tools.source_check", raising=False)

    said = "error: catalog check needs astroid: pip install 'telemetry-sdk[catalog]'\n"
    assert call(capsys, "check", "telemetry.toml", "src") == (1, "", said)
    assert call(capsys, "docs", "telemetry.toml")[0] == 0


def test_warnings_fail_only_when_strict(capsys):
    """A warning is shown and forgiven, and fails with ``--strict``."""
    Path("src/more.py").write_text("telemetry.track_event(name)\n", "utf-8")

    code, out, _ = call(capsys, "check", "telemetry.toml", "src")
    assert (code, out.splitlines()[-1]) == (0, "0 errors, 1 warning")
    assert call(capsys, "check", "telemetry.toml", "src", "--strict") == (1, out, "")


def test_findings_as_json(capsys):
    """With ``--json`` the findings are a list for a program to read; an empty one when there are none."""
    assert call(capsys, "check", "telemetry.toml", "src", "--json") == (0, "[]\n", "")
    Path("src/app.py").write_text('t.track_event("note.created", {"source": "wéb"})\n', "utf-8")
    code, out, err = call(capsys, "check", "telemetry.toml", "src", "--json")

    assert (code, err) == (1, "")
    assert json.loads(out) == [
        {
            "path": os.path.join("src", "app.py"),
            "line": 1,
            "kind": "wrong-value",
            "message": 'note.created: source: "wéb" is not one of cli, gui',
            "is_warning": False,
        },
        {
            "path": "telemetry.toml",
            "line": 0,
            "kind": "dead-event",
            "message": "note.deleted is declared, and no call sends it",
            "is_warning": False,
        },
    ]


def test_news_beside_the_released_catalogue(capsys):
    """What the released catalogue did not have must say so by its version."""
    released = Path("released.toml")
    released.write_text(CATALOG.partition('[events."note.deleted"]')[0].replace("version = 2", "version = 1"), "utf-8")
    assert call(capsys, "check", "telemetry.toml", "src", "--released", "released.toml")[0] == 0

    Path("telemetry.toml").write_text(CATALOG.replace("since = 2\n", ""), "utf-8")
    assert call(capsys, "check", "telemetry.toml", "src", "--released", "released.toml") == (
        1,
        (
            "telemetry.toml: error: note.deleted is not in version 1: write since = 2, raise version [unmarked]\n"
            "1 error, 0 warnings\n"
        ),
        "",
    )
    released.write_text(CATALOG.replace("version = 2", "version = 3"), "utf-8")
    Path("telemetry.toml").write_text(CATALOG, "utf-8")
    out = call(capsys, "check", "telemetry.toml", "src", "--released", "released.toml")[1]
    assert out.startswith("telemetry.toml: error: version 2 is older than the released 3 [unmarked]\n")


WRONG = [
    ("", "telemetry.toml: version is missing: write version = 1 on the first line"),
    ("version = ", "telemetry.toml: not TOML: Invalid value (at end of document)"),
    (CATALOG + "sinc = 2\n", 'telemetry.toml: events."note.deleted".sinc: unknown key; did you mean since?'),
    ("version = 1\n[events.a.b]\n", None),
    ("\x1b[2J = 1\n", None),
    ("[" * 10_000, None),
]


@pytest.mark.parametrize(
    "command", [["docs", "telemetry.toml"], ["docs", "telemetry.toml", "--check"], ["check", "telemetry.toml", "src"]]
)
@pytest.mark.parametrize(("text", "problem"), WRONG, ids=range(len(WRONG)))
def test_a_broken_catalogue(capsys, text, problem, command):
    """A catalogue that cannot be read is one line on stderr that names the place, exit code 1, and no page."""
    Path("telemetry.toml").write_text(text, "utf-8")
    code, out, err = call(capsys, *command)

    assert (code, out) == (1, "")
    assert err.startswith("error: telemetry.toml: ")
    assert err.count("\n") == 1
    assert err.removesuffix("\n").isprintable()
    assert problem is None or err == f"error: {problem}\n"
    assert not Path("all_tracked_events.md").exists()


def test_a_broken_released_catalogue(capsys):
    """So is one of the released catalogue."""
    Path("released.toml").write_text("version = 0", "utf-8")
    code, out, err = call(capsys, "check", "telemetry.toml", "src", "--released", "released.toml")

    assert (code, out) == (1, "")
    assert err.startswith("error: released.toml: version: ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["docs", "no.toml"], "there is no file no.toml"),
        (["docs", "src"], "src cannot be read: "),
        (["docs", "telemetry.toml", "--output", "src"], "cannot write src: "),
        (["docs", "telemetry.toml", "--output", "no/page.md"], "cannot write no/page.md: "),
        (["docs", "telemetry.toml", "--check"], "cannot read all_tracked_events.md: "),
        (["docs", "telemetry.toml", "--check", "--output", "src"], "cannot read src: "),
        (["docs", "telemetry.toml", "--output", "a\0b"], "cannot write a\\x00b: "),
        (["docs", ""], "must be the path of a telemetry.toml"),
        (["check", "no.toml", "src"], "there is no file no.toml"),
    ],
)
def test_files_that_cannot_be_used(capsys, arguments, problem):
    """A missing or impossible file is one line on stderr and exit code 1."""
    code, out, err = call(capsys, *arguments)

    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert problem in err
    assert err.count("\n") == 1


def test_a_source_that_cannot_be_used(capsys):
    """A missing source is a finding like others, and fails."""
    code, out, err = call(capsys, "check", "telemetry.toml", "src", "no.py")

    assert (code, err) == (1, "")
    assert out.startswith("no.py: error: cannot be read: ")


@pytest.mark.parametrize(
    "damage",
    [
        lambda page: page.replace(b"| `cli`", b"| `web`"),
        lambda page: page + b"\n",
        lambda page: page[:-1],
        lambda page: page.replace(b"note.deleted", b"note.\xff\xfe"),
        lambda page: b"\xef\xbb\xbf" + page,
        lambda page: b"",
        lambda page: page * 50,
        lambda page: page.replace(b"A note", b"\x1b[2JA note"),
    ],
)
def test_a_stale_page(capsys, damage):
    """Any difference makes the page stale; some lines of it are shown, and none can drive the terminal."""
    assert call(capsys, "docs", "telemetry.toml")[0] == 0
    page = Path("all_tracked_events.md")
    page.write_bytes(damage(page.read_bytes()))
    stale = page.read_bytes()
    code, out, err = call(capsys, "docs", "telemetry.toml", "--check")

    assert code == 1
    assert err.startswith("error: all_tracked_events.md is not what telemetry.toml says")
    assert 0 < len(out.splitlines()) <= 21
    assert all(line.isprintable() for line in out.splitlines())
    assert page.read_bytes() == stale


def test_line_ends_do_not_make_a_page_stale(capsys):
    """A checkout with the line ends of Windows is current."""
    call(capsys, "docs", "telemetry.toml")
    page = Path("all_tracked_events.md")
    page.write_bytes(page.read_bytes().replace(b"\n", b"\r\n"))

    assert call(capsys, "docs", "telemetry.toml", "--check")[0] == 0


def test_the_page_does_not_depend_on_where_the_command_runs(capsys, monkeypatch):
    """From another directory, by another path, the same page is made, and no path of this machine is in it."""
    call(capsys, "docs", "telemetry.toml", "--output", "src/page.md")
    here = Path.cwd()
    monkeypatch.chdir("src")

    assert call(capsys, "docs", str(here / "telemetry.toml"), "--output", "page.md", "--check")[0] == 0
    assert str(here) not in Path("page.md").read_text("utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_finding_cannot_drive_the_terminal(encoding):
    """Whatever a source is called and sends, a finding is one printable line, on a terminal of any encoding."""
    nasty = Path("src/\x1b[2J\nü.py")
    nasty.write_text(
        't.track_event("\x1b[2J\\n\\x07\\u202eü")\nt.track_event("note.created", {"\x1bü": "\x9b"})\n', "utf-8"
    )
    code, out, err = run("check", "telemetry.toml", "src", PYTHONIOENCODING=encoding)

    assert (code, err) == (1, "")
    lines = out.removesuffix("\n").split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert ("ü" in out) is (encoding == "utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["doc"],
        ["docs"],
        ["docs", "telemetry.toml", "src"],
        ["check"],
        ["check", "telemetry.toml"],
        ["docs", "--chek", "x"],
    ],
)
def test_usage_errors(capsys, arguments):
    """What cannot be understood exits with 2, and shows the usage."""
    with pytest.raises(SystemExit) as caught:
        program.main(["catalog", *arguments])

    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m telemetry_sdk")
