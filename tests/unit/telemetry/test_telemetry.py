"""The whole road, through the facade, to a real HTTP server."""

from __future__ import annotations

import json
import logging
import re
import threading
from types import SimpleNamespace

import pytest
from sink_server import Reply, Request, attributes

from telemetry_sdk import ConfigError, InvalidEventError, Level, Limits, Outcome
from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.client.override import engine_of
from telemetry_sdk.model import Answer

OWN = ["event_name", "identity", "log.record.uid", "occurred_at"]


def resource_of(request) -> dict:
    return {a["key"]: a["value"] for a in json.loads(request.body)["resourceLogs"][0]["resource"]["attributes"]}


def test_start_sends_first_seen_and_heartbeat_once_over_any_number_of_starts(make, sink):
    """First_seen arrives once per install and the heartbeat once per day, however often the program starts."""
    for _ in range(3):
        with make():
            pass

    assert sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]


def test_base_record_is_exact(make, sink):
    """A base record carries the twelve fields and no thirteenth, all of them non-empty strings."""
    make().start()

    first, heartbeat = sink.accepted
    for record in (first, heartbeat):
        assert list(attributes(record)) == OWN + [field.name for field in FIELDS]
        assert all(isinstance(v, str) and v for v in attributes(record).values())
        assert record["eventName"] == attributes(record)["event_name"]
        assert record["body"]["stringValue"] == f"{record['eventName']} {attributes(record)['log.record.uid']}"
        assert record["severityNumber"] == 9
        assert attributes(record)["identity"] == attributes(record)["install_id"]
    assert attributes(first)["heartbeat_at"] == attributes(first)["first_seen_at"]


def test_request_is_exact(make, sink):
    """The request has exactly the headers and the resource that receivers need, and never an instance id."""
    make(environment="production").start()

    request = sink.requests[0]
    assert request.path == "/v1/logs"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("telemetry-sdk-python/")
    assert list(resource_of(request)) == [
        "service.name",
        "service.namespace",
        "service.version",
        "telemetry.sdk.name",
        "telemetry.sdk.language",
        "telemetry.sdk.version",
        "deployment.environment.name",
        "telemetry.layer",
    ]
    assert b"service.instance.id" not in request.body
    assert b"null" not in request.body


def test_second_heartbeat_of_a_day_is_suppressed(make, sink, clock):
    """A second heartbeat on one UTC day is SUPPRESSED; the next day's is sent."""
    telemetry = make(clock=clock)

    outcomes = [telemetry.send_base_heartbeat().outcome, telemetry.send_base_heartbeat().outcome]
    clock.move(days=1)
    outcomes.append(telemetry.heartbeat_if_due().outcome)

    assert outcomes == [Outcome.DELIVERED, Outcome.SUPPRESSED, Outcome.DELIVERED]
    assert len(set(sink.uids)) == 2


def test_event_before_consent_does_not_leave(make, sink, state_dir):
    """Without consent an event is SUPPRESSED and nothing of it is stored or sent."""
    telemetry = make()

    receipt = telemetry.track_event("timer.started", {"source": "cli"})

    assert (receipt.outcome, receipt.uid, bool(receipt)) == (Outcome.SUPPRESSED, None, False)
    assert sink.requests == []
    assert not (state_dir / "outbox.sqlite3").exists()


def test_opt_in_sends_one_install_ping_ever(make, sink):
    """Opting in sends analytics.install once per install, also after opting out and in again."""
    telemetry = make()

    first = telemetry.opt_in()
    telemetry.opt_out()
    second = telemetry.opt_in()

    assert first.outcome is Outcome.DELIVERED
    assert second.outcome is Outcome.SUPPRESSED
    assert telemetry.is_detailed_analytics_enabled()
    assert sink.names == ["analytics.install"]


def test_event_carries_identity_and_own_attributes(make, sink):
    """An event is about the given user, else the bound one, else the install; our attributes ride along."""
    telemetry = make(release_channel="beta", deployment_type="native")
    telemetry.opt_in()

    telemetry.track_event("timer.started", {"source": "cli"}, user_id=42)
    telemetry.identify_user("u-7", {"plan": "pro"})
    telemetry.track_event("timer.stopped")
    telemetry.send_analytics_event("timer.reset")
    telemetry.track_page_view("https://example.org/notes/list?token=1#top")
    telemetry.identify_user(None)
    telemetry.track_event("timer.idle")

    events = {record["eventName"]: attributes(record) for record in sink.accepted}
    install = events["analytics.install"]["install_id"]
    assert [(name, found["identity"]) for name, found in events.items()] == [
        ("analytics.install", install),
        ("timer.started", "42"),
        ("analytics.identify", "u-7"),
        ("timer.stopped", "u-7"),
        ("timer.reset", install),
        ("analytics.page_view", "u-7"),
        ("timer.idle", install),
    ]
    assert list(events["timer.started"]) == [
        *OWN,
        "install_id",
        "app_version",
        "deployment_type",
        "release_channel",
        "source",
    ]
    assert events["timer.started"]["release_channel"] == "beta"
    assert events["analytics.identify"]["plan"] == "pro"
    assert events["analytics.page_view"]["path"] == "/notes/list"


def test_binding_a_user_reaches_no_other_thread(make, sink):
    """A user bound in one thread is not the user of another."""
    telemetry = make()
    telemetry.opt_in()
    thread = threading.Thread(target=telemetry.identify_user, args=("other",))
    thread.start()
    thread.join()

    telemetry.track_event("timer.started")

    found = attributes(sink.accepted[-1])
    assert found["identity"] == found["install_id"]


def test_sink_down_then_up(make, sink):
    """With the sink down every call is QUEUED; with the sink back all arrive, once."""
    sink.reply = Reply(503)
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    receipts = [telemetry.track_event("timer.started", {"n": n}) for n in range(20)]
    sink.reply = Reply()

    report = telemetry.flush()

    assert {receipt.outcome for receipt in receipts} == {Outcome.QUEUED}
    assert (report.delivered, report.kept, report.rejected, report.dropped) == (23, 0, 0, 0)
    assert [uid for uid in sink.uids if uid in {r.uid for r in receipts}] == [r.uid for r in receipts]
    assert len(set(sink.uids)) == len(sink.uids) == 23


def test_background_delivers_without_being_asked(make, sink):
    """In background mode calls return QUEUED at once and a thread of ours delivers."""
    telemetry = make(delivery="background")
    telemetry.start()
    telemetry.opt_in()

    receipts = [telemetry.track_event("timer.started", {"n": n}) for n in range(50)]

    assert {receipt.outcome for receipt in receipts} == {Outcome.QUEUED}
    sink.wait_for(lambda: len(sink.accepted) == 53)
    assert len(set(sink.uids)) == 53


class BusySender:
    """Acknowledges everything; while it does, the program tracks one more event, five times in all."""

    def __init__(self) -> None:
        self.requests = 0
        self.telemetry = None

    def send(self, body, permit, timeout):
        permit()
        self.requests += 1
        if self.requests <= 5:
            self.telemetry.track_event("timer.started")
        return Answer(200)

    def abandon(self) -> None: ...

    def close(self) -> None: ...


def test_consents_of_one_millisecond_are_told_apart(make, state_dir):
    """What was made under a consent that was withdrawn does not leave under one given in the same millisecond."""
    ticks = iter(range(1_780_000_000_123_000_000, 1_780_000_000_123_900_000, 2_000))
    telemetry = make(delivery="manual", clock=lambda: next(ticks))
    moments = set()
    for _ in range(3):
        telemetry.opt_in()
        moments.add(telemetry.status().consent_decided_at)
        telemetry.opt_out()
        moments.add(telemetry.status().consent_decided_at)

    assert len(moments) == 6
    assert {moment[:23] for moment in moments} == {"2026-05-28T20:26:40.123"}


def test_what_is_stored_during_a_request_waits_for_the_next_delivery(make):
    """A busy program's events leave together, not one request after the other: a delivery ends with what waited."""
    sender = BusySender()
    sender.telemetry = telemetry = make(delivery="manual", sender=sender)
    telemetry.opt_in()

    tally = engine_of(telemetry).session.delivery.deliver(20)

    assert (tally.delivered, sender.requests, tally.reason) == (1, 1, "")


def test_full_requests_follow_each_other(make):
    """More than one request holds leaves in one delivery, also in the background."""
    sender = BusySender()
    sender.telemetry = telemetry = make(delivery="manual", sender=sender, limits=Limits(batch_records=10))
    telemetry.opt_in()
    for n in range(24):
        telemetry.track_event("timer.started", {"n": n})

    tally = engine_of(telemetry).session.delivery.deliver(20)

    assert (tally.delivered, sender.requests) == (27, 3)


def test_no_request_is_begun_that_would_be_broken_off(make, sink, monkeypatch):
    """A sink that needs 30 of 100 seconds is asked twice: a third request would end as its failure, at its half."""
    passed = [0.0]
    monkeypatch.setattr("telemetry_sdk.delivery.deliver.time", SimpleNamespace(monotonic=lambda: passed[0]))
    monkeypatch.setattr("telemetry_sdk.delivery.deliver.time", SimpleNamespace(monotonic=lambda: passed[0]))

    def answer(_: Request) -> Reply:
        passed[0] += 30.0
        return Reply()

    sink.reply = answer
    telemetry = make(delivery="manual", limits=Limits(batch_records=1))
    telemetry.opt_in()
    for _ in range(4):
        telemetry.track_event("timer.started")

    report = telemetry.flush(100)

    assert (report.delivered, report.reason) == (2, "the time was up")
    assert engine_of(telemetry).session.outbox.circuit().failures == 0
    assert telemetry.flush(100).delivered == 2


def test_manual_sends_on_flush_only(make, sink):
    """In manual mode nothing leaves before flush, not even at close."""
    with make(delivery="manual") as telemetry:
        telemetry.opt_in()
        telemetry.track_event("timer.started")
    assert sink.requests == []

    report = make(delivery="manual").flush()

    assert (report.delivered, bool(report)) == (4, True)
    assert len(sink.accepted) == 4


def test_close_delivers_what_background_had_no_time_for(make, sink):
    """Close waits for the background thread to deliver what is queued, within its bound."""
    telemetry = make(delivery="background")
    telemetry.opt_in()
    for n in range(700):
        telemetry.track_event("timer.started", {"n": n})

    telemetry.close(20)

    assert len(set(sink.uids)) == 701


def test_opt_out_destroys_what_waits(make, sink, state_dir):
    """After opt_out no waiting event is sent, and none of its bytes stay in the outbox."""
    telemetry = make(delivery="manual")
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started", {"note": "unmistakable"})

    assert telemetry.opt_out() is True

    telemetry.flush()
    assert sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    telemetry.close()
    for file in state_dir.glob("outbox*"):
        assert b"unmistakable" not in file.read_bytes()


def test_consent_edited_by_hand_holds_from_the_next_call(make, sink, state_dir):
    """A consent changed in the file by hand counts in a running program, and what waits is destroyed."""
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    path = state_dir / "installation.json"

    path.write_text(path.read_text().replace('"telemetry_enabled": true', '"telemetry_enabled": null'))

    assert telemetry.track_event("timer.stopped").outcome is Outcome.SUPPRESSED
    assert telemetry.flush().dropped == 2
    assert sink.accepted == []


def test_on_consent_change_mirrors_every_change(make, state_dir):
    """The host's callback hears of each change, of one made by another process, and of the state at start."""
    heard: list[bool] = []
    telemetry = make(on_consent_change=heard.append)
    telemetry.opt_in()
    telemetry.opt_in()
    telemetry.opt_out()
    make().opt_in()
    telemetry.is_detailed_analytics_enabled()
    make(on_consent_change=heard.append).start()

    assert heard == [True, False, True, True]


def test_failing_consent_callback_changes_nothing(make):
    """A callback that raises does not undo the decision nor reach the host."""

    def fail(enabled: bool) -> None:
        raise RuntimeError("host bug")

    telemetry = make(on_consent_change=fail, strict=False)

    telemetry.opt_in()

    assert telemetry.is_detailed_analytics_enabled()


def test_do_not_track_leaves_no_trace(make, sink, state_dir, monkeypatch):
    """Under DO_NOT_TRACK no method makes a request, a file or a thread, nor an id."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = set(threading.enumerate())
    telemetry = make(delivery="background")

    telemetry.start()
    outcomes = {
        telemetry.send_base_first_seen().outcome,
        telemetry.send_base_heartbeat().outcome,
        telemetry.track_event("timer.started").outcome,
        telemetry.track_page_view("/x").outcome,
        telemetry.identify_user("u").outcome,
        telemetry.opt_in().outcome,
        telemetry.check_and_send_telemetry().outcome,
    }
    telemetry.opt_out()
    status = telemetry.status()
    telemetry.flush()
    telemetry.sent_log()

    assert outcomes == {Outcome.SUPPRESSED}
    assert (status.level, status.decided_by) == (Level.OFF, "DO_NOT_TRACK")
    assert sink.requests == []
    assert not state_dir.exists()
    assert set(threading.enumerate()) == before


def test_no_sink_sends_nothing_but_keeps_the_decision(make, state_dir):
    """Without a sink nothing is collected, but the user's decision is stored for when there is one."""
    telemetry = make(endpoint=None)
    telemetry.start()

    assert telemetry.opt_in().outcome is Outcome.SUPPRESSED
    assert telemetry.status().decided_by == "sink"
    assert json.loads((state_dir / "installation.json").read_text())["telemetry_enabled"] is True
    assert "install_id" not in json.loads((state_dir / "installation.json").read_text())


def test_unknown_switch_counts_as_off_with_one_warning(make, monkeypatch, caplog):
    """An unknown value of the app's switch is OFF, and warned of once without repeating it."""
    monkeypatch.setenv("ACME_NOTES_TELEMETRY", "maybe-secret")
    telemetry = make()
    with caplog.at_level(logging.DEBUG, "telemetry_sdk"):
        telemetry.start()
        telemetry.start()

    assert telemetry.status().level is Level.OFF
    assert len(caplog.records) == 1
    assert "maybe-secret" not in caplog.text


def test_operator_full_counts_without_stored_consent(make, sink, monkeypatch):
    """<APP>_TELEMETRY=full is the operator's opt-in; records made under it die when it is gone."""
    monkeypatch.setenv("ACME_NOTES_TELEMETRY", "full")
    telemetry = make(delivery="manual")
    assert telemetry.track_event("timer.started").outcome is Outcome.QUEUED
    monkeypatch.delenv("ACME_NOTES_TELEMETRY")

    report = telemetry.flush()

    assert (report.delivered, report.dropped) == (0, 1)
    assert sink.accepted == []


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("base_telemetry.heartbeat", None),
        ("Timer.Started", None),
        ("timer", None),
        ("", None),
        (42, None),
        ("timer.started", 17),
    ],
)
def test_invalid_event_is_refused_and_raises_when_strict(make, sink, name, properties):
    """An invalid event is REFUSED with a reason; under strict it raises InvalidEventError."""
    relaxed = make(strict=False)
    relaxed.opt_in()

    receipt = relaxed.track_event(name, properties)

    assert receipt.outcome is Outcome.REFUSED
    assert receipt.reason
    with pytest.raises(InvalidEventError):
        make().track_event(name, properties)
    assert sink.names == ["analytics.install"]


def test_a_reserved_property_is_left_out_and_the_event_goes(make, sink):
    """By name, which the receipt tells; strictly too, for nothing is lost that could have been kept."""
    telemetry = make()
    telemetry.opt_in()

    receipt = telemetry.track_event("timer.started", {"level": 3, "install-id": "x", "source": "cli"})

    assert (receipt.outcome, receipt.reason) == (Outcome.DELIVERED, "left out: level, install-id")
    assert attributes(sink.accepted[-1])["source"] == "cli"


def test_a_refused_event_is_logged_once_for_each_reason_and_counted(make, caplog):
    """At WARNING, without its name, which may be made of anything; the host's mistake would never be seen else."""
    telemetry = make(strict=False)
    telemetry.opt_in()

    for name in ("Timer.Secret", "timer", "base_telemetry.heartbeat"):
        for _ in range(3):
            telemetry.track_event(name)

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.partition(": ")[0] for text in warnings] == ["an event was refused"] * 2
    assert "Secret" not in caplog.text
    assert [times for _, times in telemetry.status().refused] == [6, 3]


def test_properties_that_were_not_even_read_are_counted(make, sink):
    """Far too many properties cost no time each, and are counted on the wire all the same."""
    telemetry = make()
    telemetry.opt_in()

    assert telemetry.track_event("timer.started", {f"n{n}": n for n in range(20_000)})

    assert sink.accepted[-1]["droppedAttributesCount"] == 20_000 - Limits().properties


def test_dropped_properties_are_named(make, sink):
    """Properties that cannot be sent are left out by name and counted on the wire; the event still leaves."""
    telemetry = make()
    telemetry.opt_in()

    receipt = telemetry.track_event("timer.started", {"ok": 1, "raw": b"x", "nothing": None, "bad": float("nan")})

    assert receipt.outcome is Outcome.DELIVERED
    assert receipt.reason == "left out: raw, nothing, bad"
    assert sink.accepted[-1]["droppedAttributesCount"] == 3
    assert attributes(sink.accepted[-1])["ok"] == 1


def test_sent_log_is_what_the_server_received(make, sink):
    """The sent log holds the bodies byte for byte, with their outcome."""
    sink.script = [Reply(503)]
    telemetry = make()
    telemetry.opt_in()
    telemetry.flush()

    log = telemetry.sent_log()

    assert [entry.body for entry in log] == [request.body for request in sink.requests]
    assert [(entry.status, entry.verdict) for entry in log] == [(503, "retry"), (200, "delivered")]
    assert sink.requests[0].body == sink.requests[1].body


def test_ledger_is_closed(make, sink):
    """accepted = delivered + pending + rejected + dropped, through every kind of end."""
    telemetry = make(delivery="manual", limits=Limits(records=8))
    telemetry.opt_in()
    for n in range(12):
        telemetry.track_event("timer.started", {"n": n})
    sink.script = [Reply(501)]
    telemetry.flush()
    telemetry.track_event("timer.started")
    telemetry.flush()
    telemetry.track_event("timer.started")

    ledger = telemetry.status().ledger
    assert ledger == {"accepted": 15, "delivered": 1, "rejected": 8, "pending": 1, "dropped: no room": 5}
    assert ledger["accepted"] == sum(ledger.values()) - ledger["accepted"]


def test_file_sink_takes_the_same_road(make, tmp_path):
    """A file sink receives the same requests, one OTLP JSON line each."""
    path = tmp_path / "out dir" / "telemetry.jsonl"
    telemetry = make(endpoint=path.as_uri())
    telemetry.start()
    telemetry.opt_in()
    receipt = telemetry.track_event("timer.started")

    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert receipt.outcome is Outcome.DELIVERED
    assert len(lines) == 3
    assert telemetry.sent_log()[-1].body == path.read_bytes().splitlines()[-1]


def test_token_is_sent_and_shown_nowhere(make, sink, state_dir):
    """The token reaches the sink as Basic auth, and appears in no status, repr, log or file."""
    telemetry = make(token="123456:glc_unmistakable")
    telemetry.start()

    assert sink.requests[0].headers["Authorization"] == "Basic MTIzNDU2OmdsY191bm1pc3Rha2FibGU="
    shown = repr(telemetry.status()) + repr(telemetry.sent_log()) + repr(engine_of(telemetry).settings)
    stored = b"".join(file.read_bytes() for file in state_dir.iterdir())
    for secret in ("glc_unmistakable", "MTIzNDU2OmdsY191bm1pc3Rha2FibGU="):
        assert secret not in shown
        assert secret.encode() not in stored


def test_state_files_are_private(make, state_dir):
    """The state directory is 0700 and every file in it 0600."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()

    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in state_dir.iterdir()} == {
        file.name: 0o600 for file in state_dir.iterdir()
    }


def test_unwritable_state_means_no_base_but_analytics_work(make, sink, tmp_path):
    """Where no state can be kept base sends nothing and status says why; analytics work in memory."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    telemetry = make(state_dir=blocked / "state")
    telemetry.start()
    assert sink.requests == []
    assert "cannot be created" in telemetry.status().state_problem

    telemetry.opt_in()
    receipt = telemetry.track_event("timer.started")

    assert receipt.outcome is Outcome.DELIVERED
    assert telemetry.status().durable is False


def test_two_objects_share_one_install(make, sink):
    """Two objects on one state directory share id, consent and outbox."""
    one, other = make(), make()
    one.start()
    other.start()
    one.opt_in()

    assert other.is_detailed_analytics_enabled()
    assert len({attributes(record)["install_id"] for record in sink.accepted}) == 1


def test_default_directory_is_the_platforms(make, sink):
    """Without a state_dir the platform's user data directory is used, and the app's variable overrides it."""
    telemetry = make(state_dir=None)
    telemetry.start()

    assert re.search(r"/home/data/acme-notes/telemetry$", telemetry.status().state_dir)


def test_state_directory_from_the_environment(make, monkeypatch, tmp_path):
    """<APP>_TELEMETRY_DIR names the state directory."""
    monkeypatch.setenv("ACME_NOTES_TELEMETRY_DIR", str(tmp_path / "elsewhere"))
    make(state_dir=None).start()

    assert (tmp_path / "elsewhere" / "installation.json").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"app": ""},
        {"app": "../x"},
        {"version": ""},
        {"endpoint": "localhost:4318"},
        {"endpoint": "http://sink.example/", "token": "1:x"},
        {"token": "bare"},
        {"delivery": "async"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"limits": Limits(records=0)},
        {"state_dir": ""},
        {"on_consent_change": 3},
        {"late": "never"},
    ],
    ids=str,
)
def test_integrators_mistake_raises_at_construction(make, wrong):
    """An impossible argument raises ConfigError at construction, whether strict or not."""
    with pytest.raises(ConfigError):
        make(strict=False, **wrong)


def test_wrong_environment_does_not_raise(make, monkeypatch, sink):
    """A wrong variable in the environment turns telemetry off and status says what to do."""
    monkeypatch.setenv("GRAFANA_OTLP_ENDPOINT", sink.url)
    monkeypatch.setenv("GRAFANA_OTLP_TOKEN", "glc_bare")
    telemetry = make(endpoint=None)
    telemetry.start()

    assert telemetry.status().level is Level.OFF
    assert "GRAFANA_OTLP_INSTANCE_ID" in telemetry.status().sink_problem
    assert sink.requests == []


def test_methods_after_close_still_keep_records(make, sink):
    """A call after close is stored and delivered like any other; nothing raises."""
    telemetry = make()
    telemetry.opt_in()
    telemetry.close()
    telemetry.close()

    assert telemetry.track_event("timer.started").outcome is Outcome.DELIVERED


def test_rejected_event_is_refused_and_explained(make, sink):
    """An event the sink refuses for good is REFUSED, and the sent log keeps the sink's words."""
    telemetry = make()
    telemetry.opt_in()
    sink.script = [Reply(400, b"\x12\x10entry too large\x00\xff", {"Content-Type": "application/octet-stream"})]

    receipt = telemetry.track_event("timer.started")

    assert receipt.outcome is Outcome.REFUSED
    assert "400" in receipt.reason
    assert "entry too large" in telemetry.sent_log()[-1].reason


def test_first_seen_refused_is_offered_again_next_day_under_its_uid(make, sink, clock):
    """A first_seen the sink rejects stays due and is attempted the next day, same uid."""
    sink.reply = lambda request: Reply(501)
    telemetry = make(clock=clock)
    telemetry.send_base_first_seen()
    telemetry.flush()
    assert len(sink.requests) == 1
    sink.reply = Reply()

    clock.move(days=1, seconds=1)
    telemetry.flush()

    assert sink.names == ["base_telemetry.first_seen"]
    assert attributes(sink.requests[0].records[0])["log.record.uid"] == sink.uids[0]


def test_late_record_carries_the_time_of_its_first_late_attempt(make, sink, clock):
    """A record sent late carries the time of that attempt, identical while that is not late; occurred_at keeps its own.

    After an attempt whose answer may have been lost a copy with a new time says that it is one.
    """
    sink.script = [Reply(503), Reply(503), Reply(504)]
    telemetry = make(clock=clock)
    made = clock()
    telemetry.send_base_first_seen()
    clock.move(minutes=31)
    telemetry.flush()
    clock.move(minutes=29)
    telemetry.flush()
    clock.move(hours=9)
    telemetry.flush()

    first, second, third, fourth = (request.records[0] for request in sink.requests)
    assert first["timeUnixNano"] == str(made // 10**6 * 10**6)  # a millisecond
    assert int(second["timeUnixNano"]) == made // 10**6 * 10**6 + 31 * 60 * 10**9
    assert second["observedTimeUnixNano"] == second["timeUnixNano"]
    assert sink.requests[1].body == sink.requests[2].body
    assert int(fourth["timeUnixNano"]) == int(third["timeUnixNano"]) + (29 + 9 * 60) * 60 * 10**9
    assert attributes(fourth) == {**attributes(third), "telemetry.resent": True}
    assert attributes(third)["occurred_at"] == attributes(first)["occurred_at"]


def test_status_without_state_makes_nothing(make, state_dir):
    """Asking for the status makes no directory, no file and no id."""
    status = make().status()

    assert (status.level, status.consent, status.install_id, status.ledger) == (Level.BASE, None, None, None)
    assert not state_dir.exists()


def test_threads_end_at_close(make, sink):
    """No thread of ours outlives close."""
    before = set(threading.enumerate())
    with make(delivery="background") as telemetry:
        telemetry.opt_in()
        sink.wait_for(lambda: len(sink.accepted) == 3)
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("telemetry-sdk")]
        assert len(ours) == 3

    for thread in ours:
        thread.join(20)
    assert not any(thread.is_alive() for thread in ours)
    assert {t.name for t in set(threading.enumerate()) - before if t.name.startswith("telemetry-sdk")} == set()


def test_wrong_clock_is_forgiven(make, sink, clock):
    """A store that refuses records from the future gets them with its own time, once its Date showed the skew."""
    from email.utils import formatdate

    theirs = clock() / 1e9 - 3600

    def like_loki(request):
        ahead = any(int(r.get("timeUnixNano", r["observedTimeUnixNano"])) / 1e9 > theirs + 600 for r in request.records)
        date = {"Date": formatdate(theirs, usegmt=True)}
        return Reply(400, b"timestamp too new", date) if ahead else Reply(204, b"", date)

    sink.reply = like_loki
    telemetry = make(clock=clock)
    telemetry.start()
    telemetry.opt_in()
    receipt = telemetry.track_event("timer.started")
    telemetry.flush()

    assert receipt.outcome is Outcome.QUEUED
    assert sorted(sink.names) == sorted(
        ["base_telemetry.first_seen", "base_telemetry.heartbeat", "analytics.install", "timer.started"]
    )
    assert telemetry.track_event("timer.stopped").outcome is Outcome.DELIVERED
    assert telemetry.status().ledger["rejected"] == 0


class BrokenSender:
    """Has a bug."""

    def send(self, body, permit, timeout):
        raise KeyError("bug")

    def abandon(self):
        pass

    close = abandon


def test_a_bug_on_the_way_to_the_sink_leaves_a_stored_record_queued(make, sink):
    """When an attempt fails by a bug of ours the record is stored all the same, and the receipt says so."""
    telemetry = make(sender=BrokenSender(), strict=False)
    receipts = [telemetry.opt_in(), telemetry.track_event("timer.started"), telemetry.send_base_heartbeat()]
    telemetry.close()

    assert [receipt.outcome for receipt in receipts] == [Outcome.QUEUED] * 3
    assert receipts[0].reason == "internal error (KeyError)"
    assert make().flush(30).delivered == 3
    assert {receipt.uid for receipt in receipts} == set(sink.uids)


def test_a_bug_on_the_way_to_the_sink_is_raised_when_strict(make):
    """Under strict a bug in an attempt is seen, in the call."""
    telemetry = make(sender=BrokenSender(), strict=True)

    with pytest.raises(KeyError):
        telemetry.opt_in()


@pytest.mark.parametrize("said", ["declined", "DO_NOT_TRACK", "log"])
def test_nothing_of_an_event_is_looked_at_when_the_user_said_no(make, sink, monkeypatch, said):
    """Without consent neither the bound request nor the user, the properties or the name of an event is asked for."""
    telemetry = make()
    telemetry.opt_out()
    if said != "declined":
        monkeypatch.setenv("ACME_NOTES_TELEMETRY" if said == "log" else said, "log" if said == "log" else "1")
    asked = []

    class Watched:
        def __getattribute__(self, name):
            asked.append(name)
            return object.__getattribute__(self, name)

    watched = Watched()
    with telemetry.request_context(lambda: asked.append("context")):
        receipts = [
            telemetry.track_event(watched, watched, user_id=watched),
            telemetry.track_page_view(watched, watched, user_id=watched),
            telemetry.send_analytics_event(watched, watched, user_id=watched, context=watched),
        ]

    assert [receipt.outcome for receipt in receipts] == [Outcome.SUPPRESSED] * 3
    assert asked == []
    assert not sink.accepted


@pytest.mark.parametrize("timeout", ["soon", object(), True])
def test_a_timeout_that_is_none_is_named_as_that(make, timeout):
    """The caller's mistake, not a bug of ours."""
    telemetry = make(strict=False)
    assert telemetry.flush(timeout).reason == f"timeout must be a number of seconds, not {type(timeout).__name__}"
    with pytest.raises(InvalidEventError):
        make().close(timeout)
