"""A new identity, and oblivion."""

from __future__ import annotations

import json

import pytest
from sink_server import Reply, attributes

from telemetry_sdk import Outcome

DOWN = Reply(503)


def everything_in(directory) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_a_new_identity_has_nothing_of_the_old(make, sink, state_dir):
    """After a reset the consent stays; the id, first_seen, heartbeat and install ping are those of a new install."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    sink.reply = DOWN
    waiting = telemetry.track_event("timer.started")
    sink.reply = Reply()
    old = telemetry.status().install_id

    new = telemetry.reset_install_id()

    assert new == telemetry.status().install_id
    assert new != old
    assert telemetry.is_detailed_analytics_enabled()
    assert telemetry.status().ledger["dropped: identity reset"] == 1
    seen = len(sink.accepted)
    telemetry.start()
    telemetry.check_and_send_telemetry()
    telemetry.flush(5)
    later = sink.accepted[seen:]
    assert sorted(record["eventName"] for record in later) == [
        "analytics.install",
        "base_telemetry.first_seen",
        "base_telemetry.heartbeat",
    ]
    assert {attributes(record)["install_id"] for record in later} == {new}
    assert waiting.uid not in sink.uids


def test_a_reset_under_a_switch_makes_no_new_id(make, state_dir):
    """With telemetry off the old id goes and none is made."""
    make(delivery="manual").start()
    telemetry = make(environ={"DO_NOT_TRACK": "1"})

    assert telemetry.reset_install_id() is None

    assert make().status().install_id is None


def test_what_was_sent_is_known_though_a_kill_kept_it_from_being_noted(make, sink, state_dir):
    """The sent log alone, without the note in progress.json, is enough to ask the sink's owner to delete."""
    telemetry = make()
    telemetry.opt_in()
    assert telemetry.track_event("timer.started").outcome is Outcome.DELIVERED
    (state_dir / "progress.json").unlink()

    assert make().forget().deletion_request


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_forget_deletes_everything_and_asks_the_sink_to(make, sink, state_dir, mode):
    """Nothing of the user stays on this machine but the request to delete, which carries the old id alone."""
    telemetry = make(delivery=mode)
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started", {"secret": "swordfish"}, user_id="ada-lovelace")
    telemetry.flush(10)
    old = telemetry.status().install_id
    seen = len(sink.accepted)

    forgotten = telemetry.forget()

    assert forgotten
    assert forgotten.deletion_request
    status = telemetry.status()
    assert (status.install_id, status.consent) == (None, None)
    assert not telemetry.track_event("timer.started")
    telemetry.flush(10)
    (request,) = sink.accepted[seen:]
    assert request["eventName"] == "analytics.deletion_requested"
    carried = attributes(request)
    assert carried["install_id"] == carried["identity"] == old
    assert set(carried) == {"event_name", "identity", "log.record.uid", "occurred_at", "install_id"}
    assert b"telemetry.layer" in sink.requests[-1].body
    assert b'"stringValue":"analytics"' in sink.requests[-1].body
    telemetry.close()
    left = everything_in(state_dir)
    assert b"swordfish" not in left
    assert b"ada-lovelace" not in left

    telemetry.start()
    assert telemetry.status().install_id is None  # not on the day of the request


def test_the_deletion_request_is_durable_and_outlasts_a_no(make, sink, state_dir):
    """With the sink down it waits, through a restart and an opt-out, until it arrives."""
    telemetry = make()
    telemetry.opt_in()
    old = telemetry.status().install_id
    sink.reply = DOWN
    assert telemetry.forget().deletion_request.outcome.value == "queued"
    telemetry.close()
    later = make()
    later.opt_out()
    sink.reply = Reply()

    later.flush(10)

    assert sink.names[-1] == "analytics.deletion_requested"
    assert attributes(sink.accepted[-1])["install_id"] == old


def test_without_events_sent_there_is_nothing_to_ask_for(make, sink):
    """Base telemetry alone was no opt-in data: no request to delete is made."""
    telemetry = make()
    telemetry.start()

    forgotten = telemetry.forget()

    assert forgotten
    assert not forgotten.deletion_request
    assert "analytics.deletion_requested" not in sink.names


@pytest.mark.parametrize("environ", [{"DO_NOT_TRACK": "1"}, {"ACME_NOTES_TELEMETRY": "off"}])
def test_off_switches_win_over_the_request(make, sink, state_dir, environ):
    """Under an off-switch everything here is deleted, and nothing is sent or left to be sent."""
    telemetry = make()
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    seen = len(sink.requests)

    assert make(environ=environ).forget()

    assert not (state_dir / "installation.json").exists()
    make().flush(5)
    assert len(sink.requests) == seen


def test_an_off_switch_says_what_is_left_to_do(make, sink):
    """Who deletes under a switch is told the id to name to the sink's owner, for it is gone from here."""
    telemetry = make()
    telemetry.opt_in()
    old = telemetry.status().install_id

    reason = make(environ={"DO_NOT_TRACK": "1"}).forget().deletion_request.reason

    assert "DO_NOT_TRACK is set" in reason
    assert old in reason


@pytest.mark.parametrize("method", ["forget", "reset_install_id"])
def test_the_log_does_not_stand_in_the_way(make, sink, state_dir, method):
    """Under ``<APP>_TELEMETRY=log`` the real state is forgotten or renewed, and the request waits for its end."""
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    waiting = telemetry.track_event("timer.started", {"secret": "swordfish"})
    telemetry.flush(5)
    later = telemetry.track_event("timer.started", {"secret": "swordfish"})
    old, seen = telemetry.status().install_id, len(sink.requests)
    logging = make(environ={"ACME_NOTES_TELEMETRY": "log"})
    logging.track_event("timer.started")

    result = getattr(logging, method)()

    assert logging.status().install_id != old
    assert b"swordfish" not in b"".join(path.read_bytes() for path in state_dir.glob("installation*"))
    assert len(sink.requests) == seen
    if method == "forget":
        assert result
        assert result.deletion_request.outcome.value == "queued"
        assert "log" in result.deletion_request.reason
    telemetry.flush(5)
    assert make().status().install_id != old
    assert later.uid not in sink.uids
    assert waiting.uid in sink.uids
    assert ("analytics.deletion_requested" in sink.names) is (method == "forget")


def test_a_no_is_not_forgotten(make, state_dir):
    """Who declined is not asked again because he wanted to be forgotten; nothing else is kept."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_out()

    assert telemetry.forget()

    assert json.loads((state_dir / "installation.json").read_text()) == {"schema": 1, "telemetry_enabled": False}


def test_forgetting_twice_or_where_nothing_is_does_nothing(make, sink, state_dir):
    """Without state there is nothing to do, and no file is made for it."""
    assert make().forget()
    assert not state_dir.exists()
    telemetry = make()
    telemetry.opt_in()
    assert telemetry.forget()
    assert telemetry.forget()
    assert sink.names.count("analytics.deletion_requested") == 1


def test_files_set_aside_are_deleted_too(make, state_dir):
    """Damaged copies of the state and the outbox may hold what is to be forgotten."""
    telemetry = make()
    telemetry.opt_in()
    telemetry.close()
    for name in ("installation.json.corrupt-1", "outbox.sqlite3.corrupt-1", "outbox.sqlite3-wal.corrupt-1"):
        (state_dir / name).write_bytes(b"swordfish")
    (state_dir / "installation.json").write_bytes(b"{ swordfish")

    assert make().forget()

    assert b"swordfish" not in everything_in(state_dir)


def test_the_host_may_not_send_the_request_itself(make, sink):
    """The name of the deletion request is the SDK's own."""
    telemetry = make(strict=False)
    telemetry.opt_in()

    assert "forget" in telemetry.track_event("analytics.deletion_requested").reason


REASON = "a request to delete an older install id is on its way: a new id is made the day after it ended"


@pytest.mark.parametrize("ends", [Reply(), Reply(404), Reply(400)], ids=["acknowledged", "held for a day", "given up"])
def test_the_old_id_and_a_new_one_never_meet(make, sink, clock, ends):
    """While the request to delete waits, and on the day it ended, no new id is made; then, over another connection."""
    telemetry = make(clock=clock)
    telemetry.start()
    telemetry.opt_in()
    old = telemetry.status().install_id
    sink.reply = DOWN
    telemetry.forget()
    sink.reply = ends
    clock.move(hours=1)

    again = make(clock=clock)
    again.start()
    assert again.opt_in().reason == REASON
    assert again.track_event("timer.started").reason == REASON
    assert again.send_base_first_seen().reason == REASON
    assert again.status().install_id is None
    again.flush(5)
    again.start()
    assert again.status().install_id is None
    sink.reply = Reply()
    for _ in range(2):
        clock.move(days=1)
        again.flush(5)
        again.start()

    assert again.track_event("timer.started").outcome is Outcome.DELIVERED
    ids = [{attributes(record)["install_id"] for record in request.records} for request in sink.requests]
    assert all(len(found) == 1 for found in ids)
    assert again.status().install_id not in (None, old)
    carriers = {request.connection: set() for request in sink.requests}
    for request, found in zip(sink.requests, ids, strict=True):
        carriers[request.connection] |= found
    assert all(len(found) == 1 for found in carriers.values())


def test_no_deletion_is_asked_for_an_id_that_never_left(make, sink):
    """Attempts that wrote no byte told the sink of nothing."""
    telemetry = make(endpoint="http://127.0.0.1:9")
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    telemetry.flush(5)
    assert telemetry.sent_log()

    forgotten = telemetry.forget()

    assert forgotten.deletion_request.outcome is Outcome.SUPPRESSED
    assert forgotten.deletion_request.reason == "no detailed analytics had been sent"
    make().start()
    assert "analytics.deletion_requested" not in sink.names
