"""The user's commands in a host's program and stand-alone, as real processes against a real server."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import HostileSink
from sink_server import Reply, SinkServer

if sys.platform == "win32":
    pytest.skip("needs terminals and signals as POSIX has them", allow_module_level=True)

from command_tools import GUARD, Notes

from telemetry_sdk import ConfigError, Telemetry
from telemetry_sdk.cli import add_telemetry_commands

COMMANDS = ["status", "on", "off", "preview", "log", "flush", "reset", "forget", "doctor"]
TOKEN = "glc_c2VjcmV0LXRva2Vu"
MANUAL = '{"delivery": "manual"}'


@pytest.fixture
def notes(sink: SinkServer, tmp_path: Path) -> Notes:
    return Notes(tmp_path, sink.url)


def status_of(notes: Notes, **environ: str):
    return json.loads(notes.run("status", "--json", **environ).out)


# -- what a host writes


def test_building_the_parser_makes_and_loads_nothing(tmp_path):
    """Adding the commands calls no function of the host's and loads neither the network nor the database."""
    source = """
import argparse, sys
from telemetry_sdk.cli import add_telemetry_commands
parser = argparse.ArgumentParser()
add_telemetry_commands(parser.add_subparsers(), lambda: 1 / 0)
parser.parse_args(["telemetry", "status"])
print([name for name in ("requests", "sqlite3", "filelock", "http.server", "ssl", "socket") if name in sys.modules])
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # which loads some
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def parse(parser, *words):
    arguments = parser.parse_args(words)
    return arguments.func(arguments) if hasattr(arguments, "func") else arguments.run_telemetry(arguments)


def test_a_host_dispatches_as_it_likes(make, capsys):
    """The chosen command is a function in the arguments, under the name that the host's own dispatch uses."""
    parser = argparse.ArgumentParser(prog="acme")
    add_telemetry_commands(parser.add_subparsers(dest="command"), make(), name="privacy", dest="func")

    assert parse(parser, "privacy", "status") == 0
    assert "Turn it off: acme privacy off" in capsys.readouterr().out


def test_a_parser_of_their_own(make, capsys):
    """A parser without commands takes the nine themselves, for frameworks that pass on the words of a command."""
    parser = argparse.ArgumentParser(prog="acme telemetry")
    add_telemetry_commands(parser, make)

    assert parse(parser, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["level"] == "BASE"
    assert set(parser._subparsers._group_actions[0].choices) == set(COMMANDS)


def test_the_hosts_own_options_are_left_alone(make):
    """Everything that is added to the arguments begins with a name of our own."""
    parser = argparse.ArgumentParser()
    for option in ("--json", "--event", "--limit", "--timeout", "--yes", "--layer"):
        parser.add_argument(option, default="theirs")
    add_telemetry_commands(parser.add_subparsers(dest="command"), make())

    for command in COMMANDS:
        arguments = vars(parser.parse_args(["telemetry", command]))
        theirs = {name: value for name, value in arguments.items() if "telemetry" not in name}
        assert set(theirs.values()) == {"theirs", "telemetry"}


def test_a_mistake_of_the_host_is_told_and_not_raised(capsys):
    """When the host's function cannot make its Telemetry, the command says why and returns 2."""

    def make_badly():
        raise ConfigError("app", "is odd")

    parser = argparse.ArgumentParser()
    add_telemetry_commands(parser, make_badly)

    assert parse(parser, "status") == 2
    assert capsys.readouterr().err == "error: app: is odd\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_the_exit_codes(capsys, command):
    """Each command's help says which exit codes it has."""
    parser = argparse.ArgumentParser()
    add_telemetry_commands(parser, lambda: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        parse(parser, command, "--help")

    assert ended.value.code == 0
    assert re.search(r"Exit codes: 0 \S.+, 1 .+, 2\s", " ".join(capsys.readouterr().out.split()))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["stop"],
        ["log", "--limit", "0"],
        ["flush", "--timeout", "nan"],
        ["flush", "--timeout", "-1"],
        ["preview", "--event", "a.b", "-p", "words"],
        ["preview", "--layer", "third"],
        ["preview", "--event", "NotAName"],
        ["preview", "--event", "NotAName", "--json"],
    ],
)
def test_what_was_not_asked_properly(notes, sink, words):
    """A command that was not asked properly returns 2, says why on stderr alone, and does nothing."""
    done = notes.run(*words, code=2)

    assert done.out == ""
    assert "error: " in done.err
    assert "Traceback" not in done.err
    assert (sink.requests, notes.files()) == ([], [])


def test_an_invalid_event_is_told_under_strict_too(notes):
    """A strict host, whose preview raises, has the same answer."""
    done = notes.run("preview", "--event", "NotAName", code=2, OPTIONS='{"strict": true}')

    assert done.err == notes.run("preview", "--event", "NotAName", code=2).err


# -- reading changes nothing


@pytest.mark.parametrize(
    "words", [["status"], ["preview"], ["log"], ["doctor"], ["status", "--json"], ["log", "--json"]]
)
def test_reading_makes_nothing(notes, sink, words):
    """On a new machine the reading commands make no file and no id, and no record is sent."""
    notes.run(*words)
    assert "no program named acme-notes has kept state here" in notes.alone(*words, code=2).err

    assert notes.files() == []
    assert sink.accepted == []


@pytest.mark.parametrize("words", [["status"], ["preview"], ["log"], ["doctor"]])
def test_reading_sends_nothing_that_waits(notes, sink, words):
    """What waits is not sent by looking at it."""
    notes.use(3, OPTIONS=MANUAL)
    before = status_of(notes)["ledger"]
    notes.run(*words)
    notes.alone("--app-version", "2.4.0", *words)

    assert sink.accepted == []
    assert (status_of(notes)["ledger"], before["pending"]) == (before, 2)


@pytest.mark.parametrize("words", [["status"], ["preview"], ["log"], ["doctor"]])
def test_json_is_all_there_is_on_stdout(notes, words):
    """With --json the output is one JSON document in plain ASCII, before anything happened and after."""
    for _ in range(2):
        done = notes.run(*words, "--json")
        json.loads(done.out)
        assert done.out.isascii()
        assert done.err == ""
        notes.run("on")


# -- what each says


def test_status_says_what_holds_and_who_decided(notes, sink):
    """Level, reason, every input, consent, place, sink, ledger, last try, and how to turn it off."""
    sink.reply = Reply(503)
    notes.run("on")
    said = notes.run("status", OTEL_SDK_DISABLED="").out

    assert "Level        FULL: base telemetry and detailed analytics\n" in said
    assert "Because      the user agreed to detailed analytics (decided by consent)\n" in said
    assert re.search(r"DO_NOT_TRACK +not set\n", said)
    assert re.search(rf"Consent      yes, since {LOCAL} ", said)
    assert "State        ~/state\n" in said
    assert "Waiting      1 record, kept on this machine\n" in said
    assert re.search(rf"Last try     {LOCAL}, HTTP 503, 1 failure in a row\n", said)
    assert re.search(rf"Held back    waiting after a failed attempt: HTTP 503, until {LOCAL}\n", said)
    assert "Turn it off: acme-notes telemetry off  " in said
    assert "ACME_NOTES_TELEMETRY=off " in said


LOCAL = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"

CATALOGUE = """
version = {version}
[events."note.created"]
description = "A note was made."
purpose = "usage"
since = 1
[events."note.shared"]
description = "A note was shared."
purpose = "usage"
since = {version}
"""


def test_status_names_what_is_newer_than_the_yes(notes):
    """After an update with new events the user sees which ones his yes does not cover, and how to agree to them."""
    catalogue = notes.home / "telemetry.toml"
    environ = {"OPTIONS": json.dumps({"catalog": str(catalogue)})}
    catalogue.write_text(CATALOGUE.format(version=1))
    notes.run("on", **environ)
    assert ", to version 1 of the list of events" in notes.run("status", **environ).out
    catalogue.write_text(CATALOGUE.format(version=2))

    words = "Not sent     newer than your yes: note.shared ('acme-notes telemetry on' agrees to them)"
    assert words in notes.run("status", **environ).out
    notes.alone("on")
    assert words in notes.run("status", **environ).out
    notes.run("on", **environ)
    said = notes.run("status", **environ).out
    assert ", to version 2 of the list of events" in said
    assert "newer than your yes" not in said
    notes.alone("on")
    assert notes.run("status", **environ).out == said


@pytest.mark.parametrize(
    ("switch", "value"), [("DO_NOT_TRACK", "1"), ("ACME_NOTES_TELEMETRY", "off"), ("TELEMETRY_SDK_DISABLED", "1")]
)
def test_a_switch_is_named_everywhere(notes, sink, switch, value):
    """Under a switch every command that shows says so and why, and none reads, sends or stores anything."""
    environ = {switch: value}
    assert f"Because      {switch} " in notes.run("status", **environ).out
    assert "Consent      not decided (detailed analytics)" in notes.run("status", **environ).out
    assert f"because {switch} " in notes.run("preview", **environ).out
    assert "Nothing would be sent now" in notes.run("preview", "--event", "note.created", **environ).out
    assert f"not looked at: {switch} " in notes.run("log", **environ).out
    assert f"In the way: {switch} " in notes.run("flush", code=1, **environ).out
    assert switch in notes.run("on", code=1, **environ).err
    assert f"Nothing else is sent either: {switch} " in notes.run("off", **environ).out
    assert f"No new one is made now: {switch} " in notes.run("reset", "--yes", **environ).out

    assert (sink.requests, notes.files()) == ([], [])


def test_log_mode_stores_nothing_and_says_so(notes, sink):
    """Where records are shown instead of sent, a yes would be lost, so it is refused."""
    assert "=log stores nothing" in notes.run("on", code=1, ACME_NOTES_TELEMETRY="log").err
    assert "Stored" not in notes.run("off", ACME_NOTES_TELEMETRY="log").out

    assert (sink.requests, notes.files()) == ([], [])


def test_preview_shows_a_layer_and_an_event(notes):
    """One layer alone, the event that was asked for with values of their JSON types, and what would be left out."""
    shown = json.loads(notes.run("preview", "--layer", "base", "--json").out)
    assert "analytics" not in shown
    assert notes.run("preview", "--layer", "base").out.count("base_telemetry.") == 2

    words = ["--event", "note.created", "-p", "words=3", "-p", 'tags=["a"]', "-p", "who=al=ice", "-p", "none=null"]
    analytics = json.loads(notes.run("preview", *words, "--json").out)["analytics"]
    assert '{"key":"words","value":{"intValue":"3"}}' in analytics
    assert '{"key":"tags","value":{"arrayValue":{"values":[{"stringValue":"a"}]}}}' in analytics
    assert '{"key":"who","value":{"stringValue":"al=ice"}}' in analytics
    in_words = notes.run("preview", *words, "--layer", "analytics").out
    assert re.search(r"\n    words +3\n", in_words)
    assert "zeros stands for a random one" in in_words
    assert "base_telemetry" not in in_words


def test_preview_without_a_sink(tmp_path):
    """Without a sink it says that nothing is sent, and what would be."""
    said = Notes(tmp_path).run("preview").out

    assert said.startswith("Level OFF: nothing is sent, because no usable sink is configured.\nWithout that, ")
    assert "base_telemetry.first_seen" in said


def test_log_shows_how_each_request_ended(notes, sink):
    """Newest last, as many as asked for, with status and reason."""
    sink.script = [Reply(), Reply(400, b"Line too long")]
    notes.use(3)
    notes.run("on")
    said = notes.run("log").out
    lines = [line for line in said.splitlines() if not line.startswith(" ")]

    assert len(lines) == 2
    assert re.search(r"^  base_telemetry.first_seen\n    identity +[0-9a-f-]{36} ", said, re.MULTILINE)
    assert re.search(r"^    platform +\w+ +operating system$", said, re.MULTILINE)
    assert "  delivered, HTTP 200  2 records: base_telemetry.first_seen, base_telemetry.heartbeat" in lines[0]
    assert "  rejected, HTTP 400: HTTP 400: Line too long  1 record: analytics.install" in lines[1]
    newest = notes.run("log", "--limit", "1").out.splitlines()
    assert (newest[0], newest[-1]) == (lines[1], "1 older ones are not shown: --limit 2 shows them too.")
    assert len(json.loads(notes.run("log", "--limit", "1", "--json").out)) == 1


def test_on_says_what_became_of_the_ping(notes, sink):
    """Delivered, kept for later, or held back by the operator: each is told."""
    assert "One install ping was sent" in notes.run("on").out
    assert "Stored: you agreed" in notes.run("on").out

    notes.run("reset", "--yes")
    sink.reply = Reply(503)
    assert "One install ping is stored and leaves later" in notes.run("on").out
    assert "Nothing of them is sent now: ACME_NOTES_TELEMETRY=base" in notes.run("on", ACME_NOTES_TELEMETRY="base").out


def test_on_after_forget_says_that_nothing_is_sent_yet(notes):
    """Not on the day of the request to delete, which would meet the new id."""
    notes.run("on")
    notes.run("forget", "--yes")

    assert "Nothing of them is sent yet: a request to delete an older install id is on its way" in notes.run("on").out


def test_on_fails_where_nothing_can_be_stored(notes, sink):
    """A yes that is not on disk is no success."""
    notes.state.write_text("in the way")

    assert "cannot be created" in notes.run("on", code=1).err
    assert "cannot be created" in notes.run("off", code=1).err


def test_off_fails_against_the_operators_word(notes):
    """While the operator's word allows analytics, a no alone does not stop them, and that is told."""
    assert "ACME_NOTES_TELEMETRY=full" in notes.run("off", code=1, ACME_NOTES_TELEMETRY="full").err
    assert status_of(notes)["consent"] is False


def test_flush_counts_honestly(notes, sink):
    """What left, what did not and why; only a flush that left nothing behind succeeds."""
    notes.use(3, OPTIONS=MANUAL)
    sink.script = [Reply(503)]

    assert notes.run("flush", code=1).out == "0 delivered, 2 kept, 0 rejected, 0 dropped\nIn the way: HTTP 503.\n"
    assert notes.run("flush").out == "2 delivered, 0 kept, 0 rejected, 0 dropped\n"


def test_reset_gives_a_new_id(notes, sink):
    """The old id is gone, what waited under it too, and the decision stays."""
    notes.run("on")
    old = status_of(notes)["install_id"]
    said = notes.run("reset", "--yes").out

    status = status_of(notes)
    assert f"New install id: {status['install_id']}. " in said
    assert status["install_id"] != old
    assert status["consent"] is True


def test_reset_fails_where_nothing_can_be_stored(notes):
    """An id that cannot be kept is no success."""
    notes.state.write_text("in the way")

    assert "cannot be created" in notes.run("reset", "--yes", code=1).err


def test_forget_must_be_meant(notes):
    """Without a terminal nothing is deleted unless --yes is said."""
    notes.run("on")
    before = notes.files()

    assert notes.run("forget", code=2).err == "error: without a terminal to ask on, say --yes\n"
    assert notes.files() == before
    assert "Deleted from this machine" in notes.run("forget", "--yes").out
    assert status_of(notes)["install_id"] is None


@pytest.mark.parametrize("answer", ["n\n", "\n", "maybe\n", "\x04"])
def test_forget_asks_and_takes_no_for_an_answer(notes, answer):
    """On a terminal anything but a yes, an end of input too, deletes nothing."""
    notes.run("on")
    before = status_of(notes)
    with notes.on_terminal("forget") as terminal:
        terminal.wait_for("[y/N] ")
        terminal.type(answer)
        code, said = terminal.end()

    assert code == 1
    assert "Nothing was deleted." in said
    assert status_of(notes) == before


# -- terminals


def test_a_flush_prints_its_counts_alone(notes):
    """The flush prints its counts and nothing else, on a terminal too."""
    notes.use(3, OPTIONS=MANUAL)
    done = notes.run("flush")

    assert (done.out, done.err) == ("2 delivered, 0 kept, 0 rejected, 0 dropped\n", "")
    with notes.on_terminal("flush") as terminal:
        assert terminal.end() == (0, "0 delivered, 0 kept, 0 rejected, 0 dropped\r\n")


@pytest.mark.parametrize(
    "words", [["status"], ["preview"], ["log", "--bodies"], ["doctor"], ["on"], ["flush"], ["off"]]
)
def test_no_colours_even_on_a_terminal(notes, words):
    """No command sends an escape code, whatever the terminal."""
    notes.use(3)
    with notes.on_terminal(*words, TERM="xterm-256color", FORCE_COLOR="1") as terminal:
        _, said = terminal.end()

    assert said
    assert "\x1b" not in said


def test_what_is_shown_cannot_drive_a_terminal(notes, sink):
    """Control characters in names of directories and in what the sink said come out escaped."""
    sink.reply = Reply(400, b"\x1b]0;title\x07 bad")
    state = notes.home / "st\x1b[2Jate"
    environ = {"ACME_NOTES_TELEMETRY_DIR": str(state)}
    notes.run("on", **environ)

    for words in (["status"], ["log"], ["log", "--bodies"], ["status", "--json"], ["doctor"]):
        done = notes.run(*words, code=None, **environ)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.out)
    assert r"State        ~/st\x1b[2Jate" in notes.run("status", **environ).out


def test_an_interrupt_ends_a_flush(tmp_path):
    """Ctrl-C ends a flush that waits for the sink; what waits is kept."""
    hanging = HostileSink("hang")
    notes = Notes(tmp_path, hanging.url)
    notes.use(3, OPTIONS=MANUAL)
    with subprocess.Popen(
        notes.command("telemetry", "flush"),
        env={**notes.environ, "OPTIONS": '{"timeout": 60}'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        while b"POST " not in hanging.received and child.poll() is None:
            os.sched_yield()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=GUARD)
    hanging.stop()

    assert (child.returncode, out, err) == (1, "", "interrupted\n")
    assert status_of(notes)["ledger"]["pending"] == 2


# -- secrets


def test_no_command_shows_a_secret(notes, sink):
    """Neither the token nor the user's name is shown by any command, though the sink says in its answers what it got."""
    environ = {"ACME_NOTES_TELEMETRY_TOKEN": f"4711:{TOKEN}", "USER": "alice", "LOGNAME": "alice"}
    sink.reply = lambda request: Reply(401, f"bad {request.headers['Authorization']} {TOKEN}".encode())
    notes.use(3, **environ)
    assert sink.requests
    secrets = [TOKEN, sink.requests[0].headers["Authorization"].split()[1]]

    for words in (["doctor"], ["doctor", "--json"], ["status"], ["preview"], ["on"], ["off"], ["forget", "--yes"]):
        done = notes.run(*words, code=None, **environ)
        said = done.out + done.err
        assert not [secret for secret in secrets if secret in said], words
        assert "alice" not in said, words


# -- stand-alone


def test_stand_alone_needs_the_name(notes):
    """Without the program's name a user's command says what is missing; so do the commands of a developer not."""
    done = notes.end([sys.executable, "-m", "telemetry_sdk", "status"], code=2)

    assert done.err.startswith("error: --app: status needs it: python -m telemetry_sdk --app NAME status. ")
    assert notes.end([sys.executable, "-m", "telemetry_sdk", "receive", "--help"]).code == 0
    assert notes.alone("status", "--app", "x", code=2).err
    assert notes.end([sys.executable, "-m", "telemetry_sdk", "--app", "no/name", "status"], code=2).err.startswith(
        "error: --app: no program named no/name "
    )


def test_stand_alone_finds_the_state_of_the_program(notes, tmp_path):
    """By the program's variable, by --state-dir, or in the usual place, as the program itself."""
    notes.run("on")
    assert status_of(notes)["consent"] is True

    for words, variable in ((["--state-dir", str(notes.state)], ""), ([], str(notes.state))):
        found = json.loads(notes.alone(*words, "status", "--json", ACME_NOTES_TELEMETRY_DIR=variable).out)
        assert (found["state_dir"], found["consent"]) == (str(notes.state), True)
    notes.run("on", ACME_NOTES_TELEMETRY_DIR="")
    usual = json.loads(notes.alone("status", "--json", ACME_NOTES_TELEMETRY_DIR="").out)["state_dir"]
    assert usual == status_of(notes, ACME_NOTES_TELEMETRY_DIR="")["state_dir"] != str(notes.state)
    hint = notes.alone("--state-dir", str(notes.state), "status").out
    assert "python -m telemetry_sdk --app acme-notes --state-dir ~/state off" in hint


def test_stand_alone_on_stores_the_decision_and_no_record(notes, sink):
    """A yes is stored for the program to act on: no record is made for it by somebody who does not know its version."""
    notes.use(3)
    notes.run("off")
    before, sent = status_of(notes), len(sink.requests)
    said = notes.alone("on").out
    assert "The program itself sends them" in said
    status = status_of(notes)
    assert (status["consent"], status["ledger"], len(sink.requests)) == (True, before["ledger"], sent)

    notes.use(3)
    assert sink.names[-1] == "note.created"
    assert b"unknown" not in b"".join(re.findall(rb'"service.version","value":\{[^}]+', sink.requests[-1].body))


def test_stand_alone_leaves_a_hold_as_it_is(notes, sink):
    """What the sink refused to the program stays refused, whatever is looked at without its version."""
    sink.reply = Reply(401)
    notes.use(3)
    held = status_of(notes)
    assert held["waiting"].startswith("held since the sink answered: HTTP 401")
    sink.reply = Reply()

    assert "held since the sink answered: HTTP 401" in notes.alone("flush", code=1).out
    for words in (["status"], ["preview"], ["log"], ["doctor"], ["on"], ["off"]):
        notes.alone(*words, code=None)
    after = status_of(notes)
    assert sink.accepted == []
    assert [after[name] for name in ("waiting", "next_attempt_at")] == [
        held[name] for name in ("waiting", "next_attempt_at")
    ]


def test_stand_alone_sends_what_the_program_stored(notes, sink):
    """With the version, and the sink by an option, what the program stored leaves as the program made it."""
    notes.use(3, OPTIONS=MANUAL)
    words = ["--app-version", "2.4.0", "--endpoint", sink.url, "flush"]

    assert notes.alone(*words, ACME_NOTES_TELEMETRY_ENDPOINT="").out.startswith("2 delivered, 0 kept")
    assert b'"service.version","value":{"stringValue":"2.4.0"}' in sink.requests[0].body


def test_stand_alone_reset_without_a_sink(notes, sink):
    """Where the program alone knows its sink the old id goes all the same, and a new one is there."""
    notes.use(3)
    old = status_of(notes)["install_id"]

    assert "New install id: " in notes.alone("reset", "--yes", ACME_NOTES_TELEMETRY_ENDPOINT="").out
    assert status_of(notes)["install_id"] not in (None, old)


def test_list_shows_the_programs_that_have_kept_state(notes):
    """By name, decision, version, sink and place; one whose directory a variable names too; nothing is made."""
    none = {"ACME_NOTES_TELEMETRY_DIR": ""}
    listing = [sys.executable, "-m", "telemetry_sdk", "list"]
    assert notes.end(listing, **none).out == "No program has kept state in the usual places.\n"
    assert notes.files() == []

    notes.run("on", **none)
    notes.use(3, **none)
    notes.run("off", "--all")
    (usual, named) = json.loads(notes.end([*listing, "--json"]).out)
    assert (usual["app"], usual["consent"], usual["app_version"]) == ("acme-notes", True, "2.4.0")
    assert usual["sink"].startswith("127.0.0.1:")
    assert (named["app"], named["base_enabled"], named["state_dir"]) == (None, False, str(notes.state))
    said = notes.end(listing).out
    assert "acme-notes 2.4.0\n" in said
    assert re.search(rf"  consent    yes, since {LOCAL} ", said)
    assert "  consent    nothing at all, since " in said
    assert str(notes.home) not in said


@pytest.mark.parametrize("command", ["status", "on", "off", "preview", "log", "flush", "reset", "forget", "doctor"])
def test_a_name_mistyped_is_an_error_and_makes_nothing(notes, command):
    """A no to nobody would be believed."""
    notes.run("on")
    before = notes.files()
    done = notes.end(
        [sys.executable, "-m", "telemetry_sdk", "--app", "acme-nots", command], code=2, ACME_NOTS_TELEMETRY_DIR=""
    )

    assert done.err.startswith("error: --app: no program named acme-nots has kept state here")
    assert notes.files() == before


def test_stand_alone_knows_the_last_sink_or_says_that_it_does_not(notes, sink):
    """A sink that is in the program's code: never "nothing is sent", never "nothing is configured"."""
    none = {"ACME_NOTES_TELEMETRY_ENDPOINT": ""}
    notes.run("on", OPTIONS=json.dumps({"endpoint": sink.url}), **none)
    said = notes.alone("status", **none).out
    assert "Level        FULL: base telemetry and detailed analytics" in said
    assert "Note         whether the program has a sink is not known here: it may name one in its code" in said

    notes.use(3, OPTIONS=json.dumps({"endpoint": sink.url}), **none)
    requests = len(sink.requests)
    said = notes.alone("status", **none).out
    assert f"Sink         {sink.url.removeprefix('http://')}\n" in said
    assert "Note         the sink is the one the program last sent to" in said
    assert "app_version      2.4.0" in notes.alone("preview", "--event", "note.read", **none).out
    assert "not known here; the program sends what waits when it runs" in notes.alone("flush", code=1, **none).out
    assert "the program names it, the last one was 127.0.0.1:" in notes.alone("doctor", **none).out
    assert "Base telemetry (installs, versions, platforms) is still sent." in notes.alone("off", **none).out
    for words in (["status"], ["preview"], ["log"], ["doctor"]):
        assert "nothing is sent" not in notes.alone(*words, **none).out
    assert len(sink.requests) == requests
    notes.alone("forget", "--yes", **none)
    assert status_of(notes)["ledger"]["pending"] == 1


def test_what_the_state_says_of_the_program_stands_in_the_way_of_nothing(notes):
    """A version that is none, a host that would drive the terminal: a no is stored all the same."""
    notes.run("on")
    notes.use(3)
    file = notes.state / "progress.json"
    progress = json.loads(file.read_text())
    file.write_text(json.dumps({**progress, "app_version": "x" * 99, "sink_host": "\x1b[2Jevil\u202e"}))
    none = {"ACME_NOTES_TELEMETRY_ENDPOINT": ""}

    said = notes.alone("status", **none).out
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "Stored: you declined" in notes.alone("off", **none).out
    file.unlink()
    assert "is still sent if the program has a sink" in notes.alone("off", **none).out


@pytest.mark.parametrize("switch", ["DO_NOT_TRACK", "ACME_NOTES_TELEMETRY"])
def test_a_switch_does_not_hide_the_stored_answer(notes, switch):
    """The user sees what he decided, for the day when the switch is gone."""
    notes.run("on")

    said = notes.run("status", **{switch: "off" if switch != "DO_NOT_TRACK" else "1"}).out
    assert "Level        OFF: nothing is sent" in said
    assert re.search(rf"Consent      yes, since {LOCAL} \(detailed analytics\)", said)


def test_status_names_the_vendor_his_purpose_and_address(notes):
    """As the program says them, on a line each."""
    words = {"vendor": "Acme GmbH", "purpose": "to fix what breaks", "privacy_url": "https://acme.example/privacy"}
    said = notes.run("status", OPTIONS=json.dumps(words)).out

    for line in (
        "Vendor       Acme GmbH",
        "Purpose      to fix what breaks",
        "Read more    https://acme.example/privacy",
    ):
        assert f"{line}\n" in said


def test_preview_lists_the_catalogue(notes):
    """Before any consent: each event with its description, each property with type, description and values."""
    catalogue = notes.home / "telemetry.toml"
    catalogue.write_text(
        CATALOGUE.format(version=1)
        + '[events."note.shared".properties.how]\ntype = "string"\ndescription = "by what"\nvalues = ["link", "mail"]\n'
    )
    said = notes.run("preview", OPTIONS=json.dumps({"catalog": str(catalogue)})).out

    assert "  note.created: A note was made. [usage]\n" in said
    assert "  note.shared: A note was shared. [usage]\n    how  string: by what (link, mail)\n" in said
    assert "keeps no list" not in said


def test_reset_must_be_meant(notes):
    """As forget: asked on a terminal, refused without one."""
    notes.use(3)
    old = status_of(notes)["install_id"]

    assert notes.run("reset", code=2).err == "error: without a terminal to ask on, say --yes\n"
    with notes.on_terminal("reset") as terminal:
        terminal.wait_for("[y/N] ")
        terminal.type("\n")
        assert terminal.end()[0] == 1
    assert status_of(notes)["install_id"] == old
    with notes.on_terminal("reset") as terminal:
        terminal.wait_for("[y/N] ")
        terminal.type("y\n")
        assert terminal.end()[0] == 0
    assert status_of(notes)["install_id"] != old


def test_doctor_tells_of_an_event_that_was_refused(notes):
    """In a process of its own, days later: which rule it broke, without what it was called."""
    notes.run("on")
    assert "one was refused" not in notes.run("doctor").out
    notes.end(notes.command("break", "Secret Name"), code=None)

    found = notes.run("doctor").out
    assert re.search(rf"warning  events +one was refused on {LOCAL}: ", found)
    assert "Secret" not in found


def test_a_given_object_is_used(sink, tmp_path, capsys):
    """A host may pass the Telemetry it has; the command works on that very object."""
    telemetry = Telemetry(
        "acme-notes", version="1", endpoint=sink.url, state_dir=tmp_path / "state", delivery="sync", strict=True
    )
    parser = argparse.ArgumentParser()
    add_telemetry_commands(parser, telemetry)

    assert parse(parser, "on") == 0
    assert telemetry.is_detailed_analytics_enabled()
    assert sink.names == ["analytics.install"]
    telemetry.close()
