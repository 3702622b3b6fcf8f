"""What the program does is noted beside the user's decision, never in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sink_server import Reply, attributes

from telemetry_sdk import Outcome

DECISION = {
    *("schema", "install_id", "first_seen_at", "heartbeat_phase_s"),
    *("telemetry_enabled", "consent_decided_at", "consent_catalog_version", "notice_version_shown", "user_id_secret"),
}


def read(state_dir: Path, name: str) -> dict[str, Any]:
    return json.loads((state_dir / name).read_text())


def test_bookkeeping_never_writes_a_decision(make, sink, state_dir, clock):
    """From the user's word on the file that holds it is not written again, whatever is sent, noted and restarted."""
    telemetry = make(delivery="manual", hash_user_ids=True, clock=clock)
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started", user_id="ada")
    path = state_dir / "installation.json"
    before, seen = path.read_bytes(), path.stat()
    for _ in range(3):
        telemetry.flush(20)
        telemetry.close()
        clock.move(days=1)
        telemetry = make(delivery="manual", hash_user_ids=True, clock=clock, version="2.5.0")
        telemetry.start()
        telemetry.check_and_send_telemetry()
        telemetry.track_event("timer.started", user_id="ada")
    telemetry.flush(20)

    assert path.read_bytes() == before
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns)
    assert set(json.loads(before)) <= DECISION
    assert sink.names.count("base_telemetry.heartbeat") == 4


def test_what_is_noted(make, sink, state_dir):
    """Each note has its key; the newest acknowledged base record's moment is that record's own."""
    telemetry = make(delivery="manual")
    telemetry.start()
    telemetry.opt_in()
    noted = read(state_dir, "progress.json")
    assert set(noted) == {"schema", "install_id", "last_heartbeat_on", "sink_host", "app_version"}
    telemetry.flush(20)
    telemetry.close()

    noted = read(state_dir, "progress.json")
    assert set(noted) == {
        *("schema", "install_id", "first_seen_sent_at", "last_heartbeat_on", "last_seen_at"),
        *("install_ping_sent_at", "analytics_sent_at", "sink_host", "app_version"),
    }
    assert noted["install_id"] == read(state_dir, "installation.json")["install_id"]
    assert (noted["sink_host"], noted["app_version"]) == (telemetry.status().sink, "2.4.0")
    moments = [attributes(it)["heartbeat_at"] for it in sink.accepted if it["eventName"].startswith("base_")]
    assert noted["last_seen_at"] == max(moments)
    make(delivery="manual", version="2.5.0").start()
    assert read(state_dir, "progress.json")["app_version"] == "2.5.0"


def test_losing_it_counts_nobody_twice(make, sink, state_dir):
    """Where the notes are lost or damaged, what is sent again has the uids it had before, or is not sent."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    telemetry.close()
    once = {it["log.record.uid"] for it in map(attributes, sink.accepted)}
    for damage in (Path.unlink, lambda path: path.write_bytes(b"{"), lambda path: path.write_bytes(b"")):
        damage(state_dir / "progress.json")
        telemetry = make()
        telemetry.start()
        telemetry.check_and_send_telemetry()
        telemetry.close()

    assert {it["log.record.uid"] for it in map(attributes, sink.accepted)} == once


def test_a_reset_forgets_what_was_done(make, sink, state_dir):
    """The new install sends a first_seen, a heartbeat and an install ping of its own, also if the old notes are back."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    old = (state_dir / "progress.json").read_bytes()

    telemetry.reset_install_id()
    assert not (state_dir / "progress.json").exists()
    (state_dir / "progress.json").write_bytes(old)  # a process that noted it a moment later
    telemetry.start()
    telemetry.check_and_send_telemetry()

    sent = [(it["event_name"], it["install_id"]) for it in map(attributes, sink.accepted)]
    assert len(set(sent)) == len(sent) == 6
    assert old not in (state_dir / "progress.json").read_bytes()


@pytest.mark.parametrize("answer", [200, 503])
def test_forget_leaves_nothing_of_it(make, sink, state_dir, answer):
    """After `forget` no note is left, nor is one made when the request to delete has arrived."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    sink.reply = Reply(answer)

    assert telemetry.forget().complete
    assert not list(state_dir.glob("progress.json*"))
    sink.reply = Reply(200)
    telemetry.flush(20)
    telemetry.close()

    assert sink.names.count("analytics.deletion_requested") == 1
    assert not list(state_dir.glob("progress.json*"))


def test_a_no_by_hand_while_the_program_writes(make, sink, state_dir, monkeypatch):
    """An editor that takes no lock writes a no in the middle of whatever the program writes: it stays a no."""
    telemetry = make(delivery="manual")
    telemetry.start()
    telemetry.opt_in()
    path, real, said = state_dir / "installation.json", os.fsync, []

    def fsync(descriptor: int) -> None:
        real(descriptor)
        if not said:
            said.append(path.with_name("by hand").write_text(json.dumps(read(state_dir, path.name) | NO)))
            path.with_name("by hand").replace(path)

    (state_dir / "progress.json").unlink()
    monkeypatch.setattr(os, "fsync", fsync)
    telemetry.track_event("timer.started", {})
    telemetry.flush(20)

    assert said
    assert read(state_dir, path.name)["telemetry_enabled"] is False
    assert telemetry.track_event("timer.started").outcome is Outcome.SUPPRESSED


NO = {"telemetry_enabled": False}
