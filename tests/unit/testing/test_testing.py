"""The kit for hosts' tests: what it shows is what was sent, and what it captures never leaves."""

from __future__ import annotations

import json
import os
import threading
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sink_server import SinkServer, attributes

import telemetry_sdk
from telemetry_sdk import InvalidEventError, Level, Outcome, Telemetry, testing
from telemetry_sdk.client.override import engine_of
from telemetry_sdk.model import Answer
from telemetry_sdk.sender.wire_gate import NotPermittedError, Sender
from telemetry_sdk.testing import FakeClock, MemorySink, SentRecord, capture, capture_all, read_records, seeded_ids
from telemetry_sdk.testing.stage import CHILD_SWITCH

BASE = ["base_telemetry.first_seen", "base_telemetry.heartbeat"]


def allow() -> None:
    """Allow the request."""


def refuse() -> None:
    raise NotPermittedError("the user declined")


def test_the_names_hosts_may_use() -> None:
    """These names are supported, and each is there."""
    names = [
        "Captured",
        "FakeClock",
        "MemorySink",
        "SentRecord",
        "capture",
        "capture_all",
        "read_records",
        "seeded_ids",
    ]

    assert testing.__all__ == names
    assert all(hasattr(testing, name) for name in names)


def test_the_memory_sink_is_a_sender() -> None:
    """It offers what `Telemetry` asks of a sender."""
    sender: Sender = MemorySink()

    assert sender.send(b'{"resourceLogs":[]}', allow, 1.0) == Answer(200)
    sender.abandon()
    sender.close()


def test_records_read_back_are_the_records_sent() -> None:
    """Every field and every kind of value of a record comes back as the program gave it."""
    given = {"text": "å", "yes": True, "whole": 2**62, "part": 0.5, "list": [1, ["a"]], "map": {"a": {"b": False}}}
    with capture("acme-notes", version="2.4.0") as captured:
        receipt = captured.telemetry.track_event("timer.started", given, user_id=42)

    assert captured.sink.records == [
        SentRecord(
            name="timer.started",
            layer="analytics",
            identity="42",
            uid=str(receipt.uid),
            attributes=captured.sink.records[0].attributes,
            occurred_at=captured.clock.now,
            service_name="acme-notes",
            service_version="2.4.0",
        )
    ]
    assert captured.sink.records[0].properties == given


def test_attributes_hold_what_the_sdk_adds_and_properties_do_not() -> None:
    """A test can look at everything that leaves, or only at what its own program said."""
    with capture("acme-notes", version="2.4.0", deployment_type="docker") as captured:
        captured.telemetry.track_page_view("/notes?q=1", {"words": 3})
        install_id = captured.telemetry.status().install_id

    assert captured.sink.records[0].attributes == {
        "install_id": install_id,
        "app_version": "2.4.0",
        "deployment_type": "docker",
        "release_channel": "stable",
        "path": "/notes",
        "words": 3,
    }
    assert captured.sink.records[0].properties == {"words": 3}


def test_memory_and_a_real_sink_get_the_same(make: Any, sink: SinkServer) -> None:
    """What a real HTTP sink receives, byte for byte, is what the memory sink shows."""
    options = {"version": "2.4.0", "new_id": seeded_ids(), "clock": FakeClock(), "environ": {}, "deployment_type": "ci"}
    telemetry = make(**options)
    telemetry.opt_in()
    telemetry.send_base_first_seen()
    telemetry.track_event("timer.started", {"source": "cli"}, user_id="u-17")
    with capture("acme-notes", consent=None, **{**options, "new_id": seeded_ids(), "clock": FakeClock()}) as captured:
        captured.telemetry.opt_in()
        captured.telemetry.send_base_first_seen()
        captured.telemetry.track_event("timer.started", {"source": "cli"}, user_id="u-17")

    assert captured.sink.requests == [request.body for request in sink.requests]
    assert captured.sink.records == [record for request in sink.requests for record in read_records(request.body)]
    assert captured.sink.names == ["analytics.install", *BASE, "timer.started"]


def test_a_line_of_a_file_sink_can_be_read(make: Any, tmp_path: Path) -> None:
    """What a child process wrote to a ``file://`` sink reads back line by line."""
    file = tmp_path / "sent.jsonl"
    telemetry = make(endpoint=file.as_uri())
    telemetry.opt_in()
    telemetry.track_event("timer.started")

    records = [record for line in file.read_bytes().splitlines() for record in read_records(line)]
    assert [record.name for record in records] == ["analytics.install", "timer.started"]


def test_only_accepted_requests_become_records() -> None:
    """A request the sink did not take shows in `requests` alone; taken later, its records show once."""
    with capture() as captured:
        captured.sink.answers += [503, None]
        assert captured.telemetry.track_event("timer.started").outcome is Outcome.QUEUED
        assert captured.sink.records == []
        assert not captured.telemetry.flush()
        assert captured.telemetry.flush()

    assert captured.sink.names == ["timer.started"]
    assert len(captured.sink.requests) == 3
    assert len(set(captured.sink.requests)) == 1


@pytest.mark.parametrize(
    ("answer", "outcome", "status"),
    [
        (200, Outcome.DELIVERED, 200),
        (204, Outcome.DELIVERED, 204),
        (503, Outcome.QUEUED, 503),
        (None, Outcome.QUEUED, None),
        (400, Outcome.REFUSED, 400),
        (Answer(429, retry_after="60"), Outcome.QUEUED, 429),
    ],
)
def test_scripted_answers(answer: Any, outcome: Outcome, status: int | None) -> None:
    """A scripted answer means to the program what it would mean from a real sink; then it accepts again."""
    with capture() as captured:
        captured.sink.answers.append(answer)

        assert captured.telemetry.track_event("timer.started").outcome is outcome
        assert captured.telemetry.status().last_status == status
        assert captured.sink.answers == []
        captured.telemetry.flush()
        assert captured.telemetry.track_event("timer.stopped").outcome is Outcome.DELIVERED


def test_the_sink_asks_for_the_right_to_send() -> None:
    """What may not leave does not reach the memory sink either, and uses up no answer."""
    sink = MemorySink([503])

    assert sink.send(b"{}", refuse, 1.0) == Answer(None, error="the user declined")
    assert sink.requests == []
    assert sink.answers == [503]


def test_events_are_the_analytics_records() -> None:
    """`events` leaves out the base layer, and selects by name."""
    with capture() as captured:
        captured.telemetry.start()
        for name in ("timer.started", "timer.stopped", "timer.started"):
            captured.telemetry.track_event(name)
    sink = captured.sink

    assert [event.name for event in sink.events()] == ["timer.started", "timer.stopped", "timer.started"]
    assert sink.events("timer.stopped") == [sink.records[3]]
    assert sink.events("timer.deleted") == []
    assert sink.names == [*BASE, "timer.started", "timer.stopped", "timer.started"]
    assert repr(sink) == f"<MemorySink: {', '.join(sink.names)}>"


@pytest.mark.parametrize("times", [0, 1, 2])
def test_only_means_exactly_one(times: int) -> None:
    """`only` returns the one record of a name, and otherwise fails with a list of what was sent."""
    with capture() as captured:
        for _ in range(times):
            captured.telemetry.track_event("timer.started")
        captured.telemetry.track_event("timer.stopped")
    if times == 1:
        assert captured.sink.only("timer.started") == captured.sink.records[0]
        return

    with pytest.raises(AssertionError, match=rf"timer.started was sent {times} times, not once.*timer.stopped"):
        captured.sink.only("timer.started")


def test_clear_forgets_what_was_sent_and_keeps_the_script() -> None:
    """After `clear` nothing was sent; answers that are left are still given."""
    sink = MemorySink([200, 503])
    sink.send(b'{"resourceLogs":[]}', allow, 1.0)
    sink.clear()

    assert sink.requests == []
    assert repr(sink) == "<MemorySink: nothing was sent>"
    assert sink.send(b'{"resourceLogs":[]}', allow, 1.0).status == 503


def test_the_sink_is_safe_between_threads() -> None:
    """Nothing is lost when many threads send at once."""
    sink = MemorySink()
    start = threading.Barrier(8)

    def send() -> None:
        start.wait()
        for _ in range(200):
            sink.send(b'{"resourceLogs":[]}', allow, 1.0)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(sink.requests) == 1600


def test_the_clock_moves_only_when_told() -> None:
    """It shows the same moment until it is moved or set, and counts nanoseconds like the real one."""
    clock = FakeClock()
    assert clock() == clock()
    assert clock.now == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)

    clock.move(days=1, hours=2, minutes=3, seconds=4.5)
    assert clock.now == datetime(2026, 2, 1, 11, 33, 4, 500_000, tzinfo=UTC)
    clock.move(hours=-2)
    assert clock() == int(datetime(2026, 2, 1, 9, 33, 4, 500_000, tzinfo=UTC).timestamp() * 1e9)
    clock.set(datetime(1999, 12, 31, 23, 0, tzinfo=timezone(timedelta(hours=-1))))
    assert clock.now == datetime(2000, 1, 1, tzinfo=UTC)
    assert repr(clock) == "<FakeClock: 2000-01-01T00:00:00+00:00>"
    assert FakeClock(clock.now)() == clock()


def test_a_moment_without_a_time_zone_is_refused() -> None:
    """A naive datetime names no moment, so the clock says what to write instead."""
    with pytest.raises(ValueError, match="time zone"):
        FakeClock().set(datetime(2026, 1, 31))


def test_seeded_ids_are_valid_different_and_repeatable() -> None:
    """The ids are UUID4s, no two the same, and the same in each run."""
    first, again, other = seeded_ids(), seeded_ids(), seeded_ids(7)
    ids = [first() for _ in range(50)]

    assert [again() for _ in range(50)] == ids
    assert len({*ids, *(other() for _ in range(50))}) == 100
    assert {(uuid.UUID(made).version, uuid.UUID(made).variant) for made in ids} == {(4, uuid.RFC_4122)}


def test_capture_is_the_same_in_each_run() -> None:
    """Two captures of the same calls show the same records, ids and times included."""

    def records() -> list[SentRecord]:
        with capture() as captured:
            captured.telemetry.start()
            captured.telemetry.track_event("timer.started", {"source": "cli"})
            return captured.sink.records

    assert records() == records()


@pytest.mark.parametrize(("consent", "level"), [(True, Level.FULL), (False, Level.BASE), (None, Level.BASE)])
@pytest.mark.parametrize("delivery", ["sync", "background", "manual"])
def test_capture_begins_with_the_consent_asked_for(consent: bool | None, level: Level, delivery: str) -> None:
    """The user's decision is made before the block, and nothing of that is in the sink."""
    with capture(consent=consent, delivery=delivery) as captured:
        status = captured.telemetry.status()

        assert (status.consent, status.level) == (consent, level)
        assert captured.sink.requests == []
        assert bool(captured.telemetry.track_event("timer.started")) is (consent is True)


def test_capture_leaves_nothing_and_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is gone after the block, and no variable of this machine has a say."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("APP_UNDER_TEST_TELEMETRY_DIR", os.environ["HOME"])
    with capture() as captured:
        assert captured.telemetry.track_event("timer.started")
        directory = captured.telemetry.status().state_dir

    assert directory is not None
    assert not Path(directory).exists()
    assert list(Path(os.environ["HOME"]).iterdir()) == []


def test_capture_is_strict_and_takes_every_argument() -> None:
    """An invalid event raises unless the test says otherwise; arguments of `Telemetry` replace the defaults."""
    with capture() as captured, pytest.raises(InvalidEventError):
        captured.telemetry.track_event("Not Valid")
    clock = FakeClock(datetime(2030, 5, 6, tzinfo=UTC))
    with capture("acme-notes", clock=clock, strict=False, environ={"ACME_NOTES_TELEMETRY": "base"}) as captured:
        assert captured.clock is clock
        assert captured.telemetry.track_event("Not Valid").outcome is Outcome.SUPPRESSED
        captured.telemetry.send_base_first_seen()

    assert captured.sink.only(BASE[0]).attributes["first_seen_at"] == "2030-05-06T00:00:00Z"


def test_capture_all_reaches_objects_made_anywhere(make: Any, sink: SinkServer, tmp_path: Path) -> None:
    """Within the block every object of the process sends to memory; after it, on its own road again."""
    before = make()
    with capture_all() as captured:
        inside = make(app="acme-other", state_dir=tmp_path / "other")
        before.start()
        inside.start()
        assert captured.names == [*BASE, *BASE]
        assert {record.service_name for record in captured.records} == {"acme-notes", "acme-other"}
    assert sink.requests == []
    before.start()

    assert sink.names == BASE
    assert captured.names == [*BASE, *BASE]


def test_capture_all_needs_no_sink(make: Any) -> None:
    """A program whose sink comes from the environment is captured where none is set; a wrong one stays wrong."""
    telemetry = make(endpoint=None)
    wrong = make(app="acme-wrong", endpoint=None, environ={"GRAFANA_OTLP_ENDPOINT": "gopher://nowhere"})
    with capture_all() as captured:
        telemetry.start()
        wrong.start()
        assert "GRAFANA_OTLP_ENDPOINT" in wrong.status().sink_problem
        assert wrong.status().level is Level.OFF

    assert captured.names == BASE
    assert telemetry.status().level is Level.OFF


def test_capture_all_touches_no_file_of_the_program(make: Any, tmp_path: Path) -> None:
    """State is kept apart from the program's own, by directory, and gone after the block."""
    own = make(state_dir=tmp_path / "own")
    same = make(state_dir=tmp_path / "own")
    other = make(state_dir=tmp_path / "other")
    default = Telemetry("acme-notes", version="1", endpoint="file:///dev/null", strict=True)
    with capture_all():
        for telemetry in (own, same, other, default):
            telemetry.start()
        directories = [str(telemetry.status().state_dir) for telemetry in (own, same, other, default)]
        assert len({telemetry.status().install_id for telemetry in (own, same, other, default)}) == 3
    default.close()

    assert directories[0] == directories[1]
    assert len(set(directories)) == 3
    assert not [directory for directory in directories if Path(directory).exists()]
    assert not [path for path in tmp_path.rglob("*") if path.name == "installation.json"]


def test_capture_all_hides_the_environment_as_it_was(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the developer's has no say; one that the test itself sets has."""
    monkeypatch.setenv("ACME_NOTES_TELEMETRY", "off")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("UNRELATED", "1")
    telemetry = make(environ=os.environ)
    with capture_all() as captured:
        telemetry.start()
        assert captured.names == BASE
        monkeypatch.setenv("DO_NOT_TRACK", "1")
        assert telemetry.status().decided_by == "DO_NOT_TRACK"
        monkeypatch.delenv("DO_NOT_TRACK")
        monkeypatch.setenv("ACME_NOTES_TELEMETRY", "base")
        assert telemetry.status().decided_by == "ACME_NOTES_TELEMETRY"
        seen = dict(engine_of(telemetry).providers.environ)
        assert seen["UNRELATED"] == "1"
        assert "OTEL_SDK_DISABLED" not in seen
        assert len(engine_of(telemetry).providers.environ) == len(seen)


def test_capture_all_silences_child_processes_and_restores_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch that child processes inherit is set within the block, and afterwards as it was."""
    with capture_all():
        assert os.environ[CHILD_SWITCH] == "test run"
        with capture_all():
            assert os.environ[CHILD_SWITCH] == "test run"
        assert os.environ[CHILD_SWITCH] == "test run"
    assert CHILD_SWITCH not in os.environ
    monkeypatch.setenv(CHILD_SWITCH, "0")
    with capture_all():
        pass
    assert os.environ[CHILD_SWITCH] == "0"


def test_a_given_sender_stays(make: Any) -> None:
    """A test that hands over a sender of its own sees what is sent there, in the delivery mode it asked for."""
    own = MemorySink()
    with capture_all() as captured:
        telemetry = make(sender=own, delivery="manual")
        telemetry.start()
        assert own.requests == []
        telemetry.flush()

    assert own.names == BASE
    assert captured.requests == []


def test_background_delivery_is_there_to_be_looked_at(make: Any) -> None:
    """In a captured program of the background mode, what was tracked has been sent when the call returns."""
    with capture_all() as captured:
        telemetry = make(delivery="background")
        telemetry.opt_in()
        receipt = telemetry.track_event("timer.started")
        assert captured.only("timer.started").uid == receipt.uid


def test_the_real_clock_unless_there_is_another(make: Any) -> None:
    """A captured object keeps its own clock."""
    clock = FakeClock()
    with capture_all() as captured:
        make(clock=clock).start()

    assert {record.occurred_at for record in captured.records} == {clock.now}


def test_bodies_are_the_bytes_of_the_wire() -> None:
    """`requests` holds OTLP/JSON, byte for byte what the sent log shows."""
    with capture() as captured:
        captured.telemetry.track_event("timer.started")
        (body,) = captured.sink.requests
        assert captured.telemetry.sent_log()[-1].body == body

    record = json.loads(body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert attributes(record)["event_name"] == record["eventName"] == "timer.started"


def test_importing_the_package_does_not_import_the_kit() -> None:
    """Nothing in the package itself uses the kit."""
    root = Path(telemetry_sdk.__file__).parent
    users = [
        path
        for path in root.rglob("*.py")
        if "testing" not in path.parts and "telemetry_sdk.testing" in path.read_text()
    ]

    assert [path.name for path in users] == ["override.py"]  # it tells of it
