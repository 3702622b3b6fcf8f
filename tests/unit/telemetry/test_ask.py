"""The question on a terminal: asked when it is due and somebody can answer, never else, and the answer is kept."""

from __future__ import annotations

import json
import os

import pytest
from command_tools import Notes

CATALOG = """
version = {version}
[events."note.created"]
description = "A note was made."
purpose = "usage"
[events."note.shared"]
description = "A note was shared."
purpose = "usage"
since = {version}
"""
WORDS = {
    "vendor": "Acme GmbH",
    "purpose": "to know which functions are used",
    "privacy_url": "https://acme.example/privacy",
    "command": "acme-notes telemetry",
}


@pytest.fixture
def notes(sink, tmp_path):
    return Notes(tmp_path, sink.url)


def asked(notes, answer="", **environ):
    """Run the program that asks, answer if it is to, and return all that was shown."""
    with notes.on_terminal("ask", **environ) as terminal:
        if answer:
            terminal.wait_for("] ")
            terminal.type(answer)
        code, _ = terminal.end()
    assert code == 0
    return terminal.shown


def decided(notes, **environ):
    return json.loads(notes.run("status", "--json", **environ).out)["consent"]


@pytest.mark.parametrize(
    ("answer", "consent"), [("y\n", True), ("YES\n", True), ("n\n", False), ("no\n", False), ("\n", False)]
)
def test_an_answer_is_stored_and_ends_the_asking(notes, answer, consent):
    """Enter is the no that the question says it is; neither answer is asked for again."""
    assert f"asked: {consent}" in asked(notes, answer)
    assert decided(notes) is consent
    assert "Agree?" not in asked(notes)


@pytest.mark.parametrize("answers", [("\x04",), ("perhaps\n", "who knows\n"), ("what\n", "\x04")])
def test_no_answer_decides_nothing(notes, answers):
    """The end of input, and another word twice: the user is undecided as before, and asked the next time."""
    with notes.on_terminal("ask") as terminal:
        terminal.wait_for("Agree? [y/N] ")
        terminal.type(answers[0])
        if answers[1:]:
            terminal.wait_for("Please answer y or n: ")
            terminal.type(answers[1])
        assert terminal.end()[0] == 0

    assert decided(notes) is None
    assert "asked: True" in asked(notes, "y\n")


def test_the_question_says_who_asks_for_what_and_where_it_goes(notes, sink):
    """Vendor, purpose, sink, events, how to see it first and to take it back, and where to read more."""
    (notes.home / "telemetry.toml").write_text(CATALOG.format(version=1))
    said = asked(notes, "n\n", OPTIONS=json.dumps({**WORDS, "catalog": str(notes.home / "telemetry.toml")}))

    host = sink.url.removeprefix("http://")
    assert f"May acme-notes (Acme GmbH) send how you use it, with a random install id, to {host}?" in said
    assert "For: to know which functions are used" in said
    assert "That is: note.created, note.shared." in said
    assert "See it first: acme-notes telemetry preview" in said
    assert "To take it back: acme-notes telemetry off" in said
    assert "More: https://acme.example/privacy" in said


@pytest.mark.parametrize(
    ("answer", "consent", "again"), [("y\n", True, False), ("\n", True, True), ("n\n", False, False)]
)
def test_what_came_after_a_yes_is_asked_for(notes, answer, consent, again):
    """A yes covers the new events too, Enter leaves all as it is, a no ends everything; each is said before."""
    catalog = notes.home / "telemetry.toml"
    environ = {"OPTIONS": json.dumps({"catalog": str(catalog)})}
    catalog.write_text(CATALOG.format(version=1))
    assert "asked: True" in asked(notes, "y\n", **environ)
    catalog.write_text(CATALOG.format(version=2))

    said = asked(notes, answer, **environ)
    assert "New since then: note.shared." in said
    assert "n: stop all of it, Enter: leave it as it is" in said
    assert decided(notes, **environ) is consent
    unagreed = json.loads(notes.run("status", "--json", **environ).out)["unagreed"]
    assert unagreed == (["note.shared"] if again else [])


def test_the_programs_own_words_can_be_asked(make, monkeypatch):
    """The prompt takes the place of all of ours."""
    from telemetry_sdk.host import terminal

    shown = []
    monkeypatch.setattr(terminal, "can_answer", lambda: True)
    monkeypatch.setattr(terminal, "question", lambda text: shown.append(text) or "y\n")

    assert make().ask("May we? ") is True
    assert shown == ["May we? "]


def test_without_a_terminal_nobody_is_asked(notes):
    """Nothing is written, nobody is waited for, and nothing is decided."""
    done = notes.end(notes.command("ask"))

    assert (done.out, done.err) == ("asked: False\n", "")
    assert decided(notes) is None


@pytest.mark.parametrize("switch", ["DO_NOT_TRACK", "OTEL_SDK_DISABLED"])
def test_under_a_switch_nobody_is_asked(notes, switch):
    """The answer would change nothing."""
    assert asked(notes, **{switch: "true"}).strip() == "asked: False"


def test_the_generic_command_works_as_it_is_shown(notes):
    """Without commands of its own the question names one that a shell takes, for the directory that is meant."""
    import re
    import subprocess

    said = asked(notes, "y\n", OPTIONS=json.dumps({"state_dir": str(notes.home / "my state")}))
    (command,) = re.findall(r"To take it back: (.*)\r", said)
    subprocess.run(command, shell=True, check=True, env={**notes.environ}, capture_output=True, timeout=60)

    assert json.loads((notes.home / "my state" / "installation.json").read_text())["telemetry_enabled"] is False
    assert os.listdir(notes.home).count("state") == 0
