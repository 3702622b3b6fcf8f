"""A first-time user, with commands alone, against a real server: see, agree, check, withdraw, delete."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from sink_server import SinkServer, attributes

if sys.platform == "win32":
    pytest.skip("needs a terminal as POSIX has them", allow_module_level=True)

from command_tools import Notes

BASE = ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
PING = "analytics.install"
DELETION = "analytics.deletion_requested"


def names_in(body: str) -> list[str]:
    if not body:
        return []
    return [
        record["eventName"]
        for resource in json.loads(body)["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def kept(notes: Notes, text: bytes) -> bool:
    """Whether a file of the state holds *text*."""
    return any(text in path.read_bytes() for path in notes.state.rglob("*") if path.is_file())


def test_a_first_time_user_sees_agrees_checks_withdraws_and_deletes(sink: SinkServer, tmp_path: Path) -> None:
    """Each step is done by a command and is what the server saw of it."""
    notes = Notes(tmp_path, sink.url)

    # Before agreeing: what would be sent can be seen, and neither a request nor a file comes of it.
    shown = json.loads(notes.run("preview", "--event", "note.created", "-p", "words=3", "--json").out)
    assert (shown["level"], names_in(shown["base"])) == ("BASE", BASE)
    assert names_in(shown["analytics"]) == [PING, "note.created"]
    in_words = notes.run("preview", "--event", "note.created", "-p", "words=3").out
    assert "Detailed analytics to 127.0.0.1" in in_words
    assert "only after you agree:" in in_words
    assert "not decided" in notes.run("status").out
    assert notes.run("log").out == "No request is in the log.\n"
    assert (sink.requests, notes.files()) == ([], [])

    # Using the program without agreeing sends the base layer alone.
    notes.use(3)
    assert sink.names == BASE

    # Agreeing sends one install ping; from then on events are sent.
    assert "Stored: you agreed" in notes.run("on").out
    assert sink.names == [*BASE, PING]
    notes.use(4)
    assert sink.names == [*BASE, PING, "note.created"]
    assert attributes(sink.accepted[-1])["words"] == 4

    # What was sent is what was shown before, but for ids and times.
    def form(record: dict[str, object]) -> list[str]:
        return list(attributes(record))

    previewed = {
        record["eventName"]: form(record)
        for layer in ("base", "analytics")
        for resource in json.loads(shown[layer])["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    }
    assert {record["eventName"]: form(record) for record in sink.accepted} == previewed

    # The log holds every request byte for byte as the server got it.
    log = json.loads(notes.run("log", "--json").out)
    assert [entry["body"].encode("utf-8", "surrogateescape") for entry in log] == [it.body for it in sink.requests]
    assert [(entry["verdict"], entry["status"]) for entry in log] == [("delivered", 200)] * len(log)
    assert sink.requests[-1].body.decode() in notes.run("log", "--bodies").out

    # Withdrawing destroys what waits, and nothing more is sent.
    notes.use(515151, OPTIONS='{"delivery": "manual"}')
    assert kept(notes, b"515151")
    assert json.loads(notes.run("status", "--json").out)["ledger"]["pending"] == 1
    seen = len(sink.requests)
    assert "what waited of them is destroyed" in notes.run("off").out
    status = json.loads(notes.run("status", "--json").out)
    assert (status["consent"], status["ledger"]["pending"]) == (False, 0)
    assert status["ledger"]["dropped: consent withdrawn"] == 1
    notes.use(6)
    assert notes.run("flush").out == "0 delivered, 0 kept, 0 rejected, 0 dropped\n"
    assert len(sink.requests) == seen
    assert not kept(notes, b"515151")

    # Deleting removes everything but the no, and asks the server to delete by the old id alone.
    install_id = status["install_id"]
    with notes.on_terminal("forget") as terminal:
        terminal.wait_for("[y/N]")
        terminal.type("y\n")
        code, said = terminal.end()
    assert code == 0
    assert "was asked to delete what it has of this install" in said
    assert len(sink.requests) == seen + 1
    assert sink.names[-1] == DELETION
    asked = attributes(sink.accepted[-1])
    assert {asked["identity"], asked["install_id"]} == {install_id}
    assert set(asked) == {"event_name", "identity", "log.record.uid", "occurred_at", "install_id"}
    left = json.loads((notes.state / "installation.json").read_bytes())
    assert left == {"schema": 1, "telemetry_enabled": False}
    status = json.loads(notes.run("status", "--json").out)
    assert (status["install_id"], status["consent"]) == (None, False)
    # Of what was sent the log knows the request to delete, and nothing from before it.
    log = json.loads(notes.run("log", "--json").out)
    assert [entry["body"].encode() for entry in log] == [sink.requests[-1].body]


def test_a_user_whose_program_is_gone_can_do_the_same(sink: SinkServer, tmp_path: Path) -> None:
    """Without the program, by its name alone, its state can be read, its analytics refused and all of it deleted."""
    notes = Notes(tmp_path, sink.url)
    notes.run("on")
    notes.use(3)
    notes.program.unlink()
    sent = [request.body for request in sink.requests]

    assert [it["body"].encode() for it in json.loads(notes.alone("log", "--json").out)] == sent
    status = json.loads(notes.alone("status", "--json").out)
    assert (status["level"], status["state_dir"]) == ("FULL", str(notes.state))
    assert "Stored: you declined" in notes.alone("off").out
    assert "was asked to delete" in notes.alone("forget", "--yes").out
    assert (len(sink.requests), sink.names[-1]) == (len(sent) + 1, DELETION)

    # What the sink answers holds for a version, and nothing here knows one any more.
    assert notes.alone("flush", code=2).err.startswith("error: --app-version: ")
