"""What you see is what is sent: preview, sent log and the body a real server received are the same bytes."""

from __future__ import annotations

import json

import pytest
from sink_server import Reply, attributes

from telemetry_sdk import InvalidEventError, Level
from telemetry_sdk.client.diagnostics import NO_ID

DOWN = Reply(503)


def records(body: bytes) -> list[dict]:
    if not body:
        return []
    return [
        record
        for resource in json.loads(body)["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def names(body: bytes) -> list[str]:
    return [record["eventName"] for record in records(body)]


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_preview_sent_log_and_body_are_the_same_bytes(make, sink, clock, mode):
    """The next request as previewed, as received by a real server and as logged: one and the same."""
    telemetry = make(delivery="manual", clock=clock)
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started", {"source": "gui", "größe": 1.5, "tags": ["a", "b"]}, user_id=42)
    seen = telemetry.preview()
    assert sink.requests == []

    sender = make(delivery=mode, clock=clock)
    sender.start()
    sender.flush(20)
    sender.close()

    assert seen.next_request
    assert sink.requests[0].body == seen.next_request
    assert [entry.body for entry in make().sent_log()] == [request.body for request in sink.requests]
    assert names(seen.next_request) == names(seen.base) + names(seen.analytics)


def test_preview_by_layer_is_what_each_layer_sends(make, sink, clock):
    """Without consent the previewed base body is the request; the events follow after the yes, as previewed."""
    telemetry = make(delivery="manual", clock=clock)
    telemetry.start()
    before = telemetry.preview()
    telemetry.flush(5)

    assert before.level is Level.BASE
    assert sink.requests[-1].body == before.base == before.next_request
    assert names(before.base) == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    assert names(before.analytics) == ["analytics.install"]

    telemetry.opt_in()
    telemetry.track_event("timer.started")
    after = telemetry.preview()
    telemetry.flush(5)

    assert after.level is Level.FULL
    assert after.base == b""
    assert sink.requests[-1].body == after.analytics == after.next_request


def test_preview_before_anything_makes_nothing(make, sink, state_dir):
    """A look before the first start makes no file, no id and no request; a row of zeros stands for the id."""
    telemetry = make()

    seen = telemetry.preview("timer.started", {"source": "cli"}, user_id="ada")

    assert names(seen.base) == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    assert names(seen.analytics) == ["analytics.install", "timer.started"]
    assert seen.next_request == b""
    assert attributes(records(seen.base)[0])["install_id"] == NO_ID
    assert attributes(records(seen.analytics)[1])["identity"] == "ada"
    assert sink.requests == []
    assert not state_dir.exists()


def test_a_previewed_event_is_what_would_be_sent(make, sink, clock):
    """The event asked for looks, but for its uid, like the one that is sent later, and says what is left out."""
    telemetry = make(clock=clock)
    telemetry.opt_in()

    seen = telemetry.preview("timer.started", {"source": "cli", "x y": 1})
    telemetry.track_event("timer.started", {"source": "cli", "x y": 1})

    shown, sent = records(seen.analytics)[-1], sink.accepted[-1]
    for record in (shown, sent):
        for attribute in record["attributes"]:
            if attribute["key"] == "log.record.uid":
                attribute["value"] = {}
        record["body"] = {}
        record["timeUnixNano"] = record["observedTimeUnixNano"] = ""
    assert shown == sent
    assert seen.left_out == ("x y",)


def test_preview_under_a_switch_shows_nothing(make, sink, state_dir):
    """Under an off-switch there is nothing to show, nothing is read, and the reason says why."""
    telemetry = make(environ={"DO_NOT_TRACK": "1"})

    seen = telemetry.preview("timer.started")

    assert (seen.level, seen.base, seen.analytics, seen.next_request) == (Level.OFF, b"", b"", b"")
    assert seen.reason == "DO_NOT_TRACK is set"
    assert not state_dir.exists()


def test_preview_without_a_sink_shows_what_there_would_be(make, state_dir):
    """Somebody who has no sink yet sees the records all the same."""
    seen = make(endpoint=None).preview("timer.started")

    assert seen.level is Level.OFF
    assert names(seen.base) == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    assert names(seen.analytics)[-1] == "timer.started"
    assert not state_dir.exists()


def test_an_event_that_does_not_fit_is_said(make):
    """Under strict it raises; else the reason says what is wrong."""
    with pytest.raises(InvalidEventError):
        make().preview("Timer Started")
    assert "lower snake case" in make(strict=False).preview("Timer Started").reason


def test_what_an_outage_holds_back_is_previewed(make, sink, clock):
    """Records that wait are shown as they will be sent, late ones with the time of the look."""
    sink.reply = DOWN
    telemetry = make(clock=clock)
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    clock.move(hours=7)
    seen = telemetry.preview()
    assert {record["timeUnixNano"] for record in records(seen.next_request)} == {str(clock() // 10**6 * 10**6)}

    sink.reply = Reply()
    telemetry.flush(5)

    assert sink.requests[-1].body.count(b"eventName") == len(records(seen.next_request))
    assert names(sink.requests[-1].body) == names(seen.next_request)


def test_the_sent_log_tells_refusals_with_their_reason(make, sink):
    """Each request stands there with its status, its verdict and the sink's words."""
    telemetry = make()
    telemetry.opt_in()
    sink.script = [Reply(400, b"label name is empty", {"Content-Type": "text/plain"})]
    telemetry.track_event("timer.started")

    entry = telemetry.sent_log()[-1]

    assert (entry.status, entry.verdict, entry.records) == (400, "rejected", 1)
    assert "label name is empty" in entry.reason
    assert entry.body == sink.requests[-1].body
    assert entry.sink == sink.url.removeprefix("http://")


CATALOG = """
version = 2
[events."note.created"]
description = "A note was made."
purpose = "usage"
[events."note.created".properties.kind]
type = "string"
description = "what it is"
values = ["text", "list"]
[events."note.shared"]
description = "A note was shared."
purpose = "usage"
since = 2
"""


def test_every_event_that_may_ever_be_sent_is_listed_before_consent(make, tmp_path):
    """With description, purpose and properties; ours beside the program's; and which of them may leave now."""
    file = tmp_path / "telemetry.toml"
    file.write_text(CATALOG)
    telemetry = make(catalog=file)

    found = {event["name"]: event for event in telemetry.preview().events}
    assert telemetry.preview().declared
    assert list(found)[:2] == ["note.created", "note.shared"]
    assert set(found) > {"analytics.install", "analytics.page_view", "analytics.identify"}
    assert found["note.created"]["properties"] == [
        {"name": "kind", "type": "string", "description": "what it is", "values": ["text", "list"], "properties": []}
    ]
    assert not any(event["agreed"] for event in found.values())
    telemetry.opt_in()
    assert all(event["agreed"] for event in telemetry.preview().events)


def test_without_a_catalogue_the_list_does_not_claim_to_be_whole(make):
    """The SDK's own events are known; what the program names is not."""
    assert not make().preview().declared
    assert {event["name"].split(".")[0] for event in make().preview().events} == {"analytics"}


def test_under_a_switch_the_events_are_listed_all_the_same(make, state_dir):
    """What a program may send is no secret of its state, of which nothing is read."""
    preview = make(environ={"DO_NOT_TRACK": "1"}).preview()

    assert (preview.level, preview.base, preview.analytics) == (Level.OFF, b"", b"")
    assert preview.events
    assert not state_dir.exists()
