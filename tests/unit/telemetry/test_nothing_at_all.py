"""A stored no to everything: nothing leaves, base telemetry neither, until a yes."""

from __future__ import annotations

import json
import os
import stat

import pytest
from sink_server import Reply

from telemetry_sdk import Level, Outcome

WHY = "the user wants nothing at all to be sent"


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_nothing_leaves_after_a_no_to_everything(make, sink, state_dir, mode):
    """What waited is destroyed, base records too; this process and the next make and send nothing."""
    telemetry = make(delivery=mode)
    sink.reply = Reply(503)
    telemetry.start()
    telemetry.opt_in()
    waited = telemetry.track_event("timer.started").uid

    assert telemetry.opt_out(everything=True) is True

    sink.reply = Reply()
    seen = len(sink.requests)
    for program in (telemetry, make(delivery=mode)):
        program.start()
        assert program.send_base_heartbeat().outcome is Outcome.SUPPRESSED
        assert program.track_event("timer.started").reason == WHY
        assert program.flush(5).reason == WHY
        program.close(5)
        status = program.status()
        assert (status.level, status.decided_by, status.reason) == (Level.OFF, "consent", WHY)
        assert status.inputs["consent"] == "nothing at all"
    assert len(sink.requests) == seen
    assert json.loads((state_dir / "installation.json").read_text())["base_enabled"] is False

    telemetry.opt_in()
    telemetry.flush(5)
    assert set(sink.names) == {"analytics.install"}  # first_seen and heartbeat went with the rest
    assert waited not in sink.uids


@pytest.mark.parametrize("switch", ["", "base", "full", "log"])
def test_no_word_of_the_operator_overrules_it(make, switch):
    """It stands above the words that raise the level, and above the log."""
    make().opt_out(everything=True)

    assert make(environ={"ACME_NOTES_TELEMETRY": switch}).status().level is Level.OFF


def test_a_yes_takes_it_back_and_a_plain_no_does_not(make, sink):
    """The narrower no leaves the wider one as it is; an opt-in clears both."""
    telemetry = make()
    telemetry.opt_out(everything=True)
    assert telemetry.opt_out() is True
    assert telemetry.status().level is Level.OFF

    assert telemetry.opt_in().outcome is Outcome.DELIVERED
    assert make().status().level is Level.FULL
    telemetry.opt_out()
    assert telemetry.status().level is Level.BASE


def test_it_outlasts_being_forgotten(make, sink, state_dir):
    """Of everything on disk the noes stay, and no request to delete leaves either: it is told instead."""
    telemetry = make()
    telemetry.opt_in()
    telemetry.opt_out(everything=True)
    seen = len(sink.requests)

    forgotten = telemetry.forget()

    assert forgotten
    assert forgotten.deletion_request.outcome is Outcome.SUPPRESSED
    assert "ask the sink's owner yourself" in forgotten.deletion_request.reason
    content = {"schema": 1, "telemetry_enabled": False, "base_enabled": False}
    assert json.loads((state_dir / "installation.json").read_text()) == content
    make().start()
    assert len(sink.requests) == seen


def test_one_that_cannot_be_written_holds_for_this_process(make, sink, monkeypatch):
    """It is not certain then, and this process sends nothing all the same."""
    telemetry = make(delivery="manual")
    telemetry.start()

    def no(*_, **__):
        raise PermissionError

    monkeypatch.setattr("telemetry_sdk.identity.installation.replace_file", no)
    assert telemetry.opt_out(everything=True) is False

    assert telemetry.flush(5).reason == WHY
    assert not sink.requests


def test_a_yes_that_is_not_kept_is_no_success(make, state_dir):
    """Where somebody else may write, `opt_in` is false and says why; events are accepted in this process only."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a directory away")
    telemetry = make(delivery="manual")
    telemetry.start()
    os.chown(state_dir, 12345, 12345)

    receipt = telemetry.opt_in()

    assert not receipt
    assert receipt.reason == "a yes is not kept: installation.json belongs to another user"
    assert telemetry.track_event("timer.started")
    other = make(delivery="manual").status()
    assert (other.level, other.consent) == (Level.BASE, None)
    assert "not believed: installation.json belongs to another user" in other.reason
    assert other.state_problem.startswith("a stored yes is not believed: ")
    assert telemetry.opt_out() is True


def test_a_no_over_a_yes_that_nobody_believes_is_certain(make, state_dir, monkeypatch):
    """Where it cannot be written either, no process of this user sends any analytics: that is what was asked."""
    make().opt_in()
    (state_dir / "installation.json").chmod(0o666)

    def no(*_, **__):
        raise PermissionError

    monkeypatch.setattr("telemetry_sdk.identity.installation.replace_file", no)
    assert make().opt_out() is True


def test_modes_and_owners_are_set_on_what_is_open(make, sink, state_dir, monkeypatch):
    """Never by name, behind which somebody else may have put another file meanwhile."""

    def by_name(*_, **__):
        raise AssertionError

    for name in ("chmod", "chown", "lchown"):
        monkeypatch.setattr(os, name, by_name)
    before = os.umask(0o700)
    try:
        telemetry = make()
        telemetry.start()
        assert telemetry.opt_in()
        assert telemetry.opt_out()
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in state_dir.iterdir()} == {0o600}
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
