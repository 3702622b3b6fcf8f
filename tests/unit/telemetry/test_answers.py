"""The whole verdict table against a real server: what waits before and after, and what arrives in the end."""

from __future__ import annotations

import http.server
import sqlite3
import threading
from email.utils import formatdate

import pytest
from sink_server import Reply, attributes

from telemetry_sdk import Outcome
from telemetry_sdk.client.override import engine_of
from telemetry_sdk.model import Answer

HTML = b"<!doctype html><html><body>Welcome to the hotel</body></html>"
KEPT, GONE = "kept", "gone"


def ledger(telemetry):
    return telemetry.status().ledger


@pytest.fixture
def waiting(make):
    """A manual-mode object with three waiting events; `forward` moves its clock."""

    def build(**options):
        telemetry = make(delivery="manual", **options)
        telemetry.opt_in()
        telemetry.track_event("timer.started", {"n": 1})
        telemetry.track_event("timer.started", {"n": 2})
        return telemetry

    return build


@pytest.mark.parametrize(
    "reply", [Reply(200), Reply(200, b"{}"), Reply(201, b"", {}), Reply(204, b"", {}), Reply(202, b" \n")]
)
def test_delivered(waiting, sink, reply):
    """Any 2xx with an empty or a JSON body is an acknowledgement."""
    sink.reply = reply
    telemetry = waiting()

    report = telemetry.flush()

    assert (report.delivered, report.kept) == (3, 0)
    assert ledger(telemetry)["delivered"] == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, HTML, {"Content-Type": "text/html"}),
        Reply(200, b"OK", {"Content-Type": "text/plain"}),
        Reply(200, b'{"partialSuccess":'),
        Reply(200, b" " * 70_000),
        Reply(429),
        Reply(502),
        Reply(503),
        Reply(504),
        Reply(close=True),
    ],
    ids=["html", "text", "cut json", "too long", "429", "502", "503", "504", "closed"],
)
def test_kept_and_tried_again(waiting, sink, clock, reply):
    """What is no acknowledgement keeps every record; all arrive once the sink is well, byte for byte the same."""
    sink.script = [reply]
    telemetry = waiting(clock=clock)

    report = telemetry.flush()
    refused = sink.requests[-1].body
    sink.accepted.clear()

    assert (report.delivered, report.kept, report.rejected) == (0, 3, 0)
    assert telemetry.status().waiting
    clock.move(seconds=20)
    assert telemetry.flush().delivered == 3
    assert sink.requests[-1].body == refused
    assert len(set(sink.uids)) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_poison_record_among_five_hundred(make, sink, status):
    """499 of 500 arrive; the poison one is rejected, and the sent log names the reason."""
    sink.reply = lambda request: Reply(status, b"poison found") if b'"poison"' in request.body else Reply()
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    for n in range(499):
        telemetry.track_event("timer.started", {"kind": "poison" if n == 250 else "good"})

    report = telemetry.flush(60)

    assert (report.delivered, report.kept, report.rejected, report.dropped) == (499, 0, 1, 0)
    assert len(set(sink.uids)) == len(sink.uids) == 499
    (rejected,) = [entry for entry in telemetry.sent_log() if entry.verdict == "rejected"]
    assert (rejected.records, rejected.status) == (1, status)
    assert "poison found" in rejected.reason


def test_a_body_too_large_for_the_sink_is_halved(make, sink):
    """A sink with a small limit gets the records in bodies it can take, each once."""
    sink.reply = lambda request: Reply(413, b"") if len(request.body) > 20_000 else Reply()
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    for _ in range(200):
        telemetry.track_event("timer.started", {"text": "x" * 500})

    report = telemetry.flush(60)

    assert (report.delivered, report.rejected) == (201, 0)
    assert len(set(sink.uids)) == len(sink.uids) == 201


def test_partial_success_counts_and_is_not_sent_again(waiting, sink):
    """Records a sink says it rejected count as rejected and never leave again."""
    sink.script = [Reply(200, b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}')]
    telemetry = waiting()

    report = telemetry.flush()
    telemetry.flush()

    assert (report.delivered, report.rejected, report.kept) == (1, 2, 0)
    assert len(sink.requests) == 1
    assert "too old" in telemetry.sent_log()[-1].reason


@pytest.mark.parametrize("status", [401, 403, 404, 405, 301, 302, 307, 308, 260])
def test_hold(make, waiting, sink, clock, status):
    """A refusal of the configuration holds everything until the configuration or version changes, or a day passed."""
    sink.script = [Reply(status, b"", {"Location": sink.url + "/elsewhere"})]
    telemetry = waiting(clock=clock)
    telemetry.flush()
    sink.accepted.clear()
    assert len(sink.requests) == 1

    clock.move(hours=23)
    assert telemetry.flush().kept == 3
    assert len(sink.requests) == 1
    other_token = make(delivery="manual", clock=clock, token="1:x")
    assert other_token.flush().delivered == 3


def test_hold_ends_with_the_version_and_after_a_day(make, waiting, sink, clock):
    """A held outbox is tried again by another version of the app, and by the same one after a day."""
    sink.reply = Reply(401)
    telemetry = waiting(clock=clock)
    telemetry.flush()
    make(delivery="manual", clock=clock, version="2.4.1").flush()
    assert len(sink.requests) == 2

    clock.move(hours=25)
    sink.reply = Reply()
    assert telemetry.flush().delivered == 3


def test_stop_signal(make, waiting, sink, clock):
    """410 destroys what waits and silences this version, for all processes, until the version changes."""
    sink.script = [Reply(410)]
    telemetry = waiting(clock=clock)

    report = telemetry.flush()
    silenced = [telemetry.track_event("timer.started"), make(clock=clock).send_base_heartbeat()]
    clock.move(days=40)
    telemetry.flush()

    assert {receipt.outcome for receipt in silenced} == {Outcome.SUPPRESSED}
    assert ledger(telemetry)["pending"] == 0
    assert (report.delivered, report.kept, report.dropped) == (0, 0, 3)
    assert len(sink.requests) == 1
    sink.accepted.clear()
    newer = make(delivery="manual", version="3.0.0", clock=clock)
    newer.track_event("timer.started")
    newer.flush()
    assert "timer.started" in sink.names


@pytest.mark.parametrize("status", [402, 406, 409, 418, 451, 501, 505, 599])
def test_rejected(waiting, sink, status):
    """Any other answer rejects the records for good, and they are not sent again."""
    sink.script = [Reply(status)]
    telemetry = waiting()

    report = telemetry.flush()
    telemetry.flush()

    assert (report.delivered, report.rejected, report.kept) == (0, 3, 0)
    assert len(sink.requests) == 1


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        ("120", 120, 120),
        ("0", 5, 10),
        ("999999999999", 21_600, 21_600),
        ("-5", 5, 10),
        ("soon", 5, 10),
        ("", 5, 10),
        ("nan", 5, 10),
        ("9" * 5000, 21_600, 21_600),
    ],
)
def test_retry_after_in_seconds(waiting, sink, clock, header, at_least, at_most):
    """Retry-After is a floor for the wait, capped at six hours; nonsense is ignored."""
    sink.script = [Reply(503, b"", {"Retry-After": header})]
    telemetry = waiting(clock=clock, draw=lambda: 0.999)
    telemetry.flush()

    clock.move(seconds=at_least - 1)
    engine_of(telemetry).session.delivery.deliver(5)
    assert len(sink.requests) == 1
    clock.move(seconds=at_most - at_least + 2)
    engine_of(telemetry).session.delivery.deliver(5)
    assert len(sink.requests) == 2


def test_retry_after_as_a_date(waiting, sink, clock):
    """A date in Retry-After is measured from the answer's own Date."""
    theirs = clock() / 1e9
    headers = {"Retry-After": formatdate(theirs + 300, usegmt=True), "Date": formatdate(theirs, usegmt=True)}
    sink.script = [Reply(503, b"", headers)]
    telemetry = waiting(clock=clock)
    telemetry.flush()

    clock.move(seconds=298)
    engine_of(telemetry).session.delivery.deliver(5)
    assert len(sink.requests) == 1
    clock.move(seconds=4)
    engine_of(telemetry).session.delivery.deliver(5)
    assert len(sink.requests) == 2


def test_the_circuit_holds_for_other_objects_too(make, waiting, sink, clock):
    """After a failure no other object of the app attempts before the wait is over; flush makes one attempt."""
    sink.reply = Reply(503)
    telemetry = waiting(clock=clock)
    telemetry.flush()

    other = make(clock=clock)
    receipts = [other.track_event("timer.started") for _ in range(20)]

    assert {receipt.outcome for receipt in receipts} == {Outcome.QUEUED}
    assert len(sink.requests) == 1
    other.flush()
    assert len(sink.requests) == 2


def test_a_redirect_never_gets_the_token(make, sink):
    """A redirect to another host is not followed, so neither body nor token goes there."""
    seen = []

    class Thief(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers)
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args) -> None:
            pass

    thief = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Thief)
    thread = threading.Thread(target=thief.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        for status in (301, 302, 303, 307, 308):
            sink.script = [Reply(status, b"", {"Location": f"http://127.0.0.1:{thief.server_port}/v1/logs"})]
            make(delivery="manual", token="1:secret", version=f"1.{status}", app=f"app-{status}").send_base_first_seen()
            make(delivery="manual", token="1:secret", version=f"1.{status}", app=f"app-{status}").flush()
    finally:
        thief.shutdown()
        thief.server_close()
        thread.join()

    assert len(sink.requests) >= 1
    assert seen == []


def test_records_of_a_body_are_in_order_of_time(make, sink, clock):
    """Within a body the records stand in order of time, grouped by neighbouring resource."""
    telemetry = make(delivery="manual", clock=clock)
    telemetry.opt_in()
    for _ in range(3):
        telemetry.track_event("timer.started")
        clock.move(seconds=1)
    telemetry.start()
    telemetry.track_event("timer.stopped")
    telemetry.flush()

    (request,) = sink.requests
    times = [int(record["timeUnixNano"]) for record in request.records]
    assert times == sorted(times)
    assert len({attributes(record)["log.record.uid"] for record in request.records}) == 7


HALF = b'{"partialSuccess":{"rejectedLogRecords":1,"errorMessage":"bad \\ud83d \\u001b[31m word"}}'


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_a_message_with_half_a_character_is_settled(make, sink, mode):
    """A sink's message that no file can hold as it is (half a character, a control sign) ends the request as any."""
    sink.reply = Reply(200, HALF)
    telemetry = make(delivery=mode)
    telemetry.opt_in()
    for _ in range(3):
        telemetry.track_event("timer.started")
    telemetry.close(30)
    telemetry.flush(30)

    log = telemetry.sent_log()
    assert len(log) == len(sink.requests)
    assert sorted(sink.uids) == sorted(set(sink.uids))
    assert ledger(telemetry)["pending"] == 0
    assert all("bad" in request.reason and request.reason.isprintable() for request in log)


class StrangeSender:
    """Answers with a status that no database can hold, and counts the requests."""

    def __init__(self):
        self.requests = 0

    def send(self, body, permit, timeout):
        permit()
        self.requests += 1
        return Answer(10**30)

    def abandon(self):
        pass

    close = abandon


def test_an_answer_that_cannot_be_written_down_is_not_asked_for_again_and_again(make):
    """When a bug keeps an answer from being settled, the circuit opens, for every object and the next process too."""
    sender = StrangeSender()
    telemetry = make(sender=sender, strict=False)
    telemetry.opt_in()
    for _ in range(5):
        telemetry.track_event("timer.started")
    other = make(sender=sender, strict=False)
    other.track_event("timer.started")

    assert sender.requests == 1
    assert ledger(other)["pending"] == 7
    assert "OverflowError" in telemetry.sent_log()[0].reason


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_finds_the_file_locked_is_not_asked_for_again_at_once(make, sink, state_dir):
    """While another program keeps an answer from being written down, and right after, the sink is left alone."""
    telemetry = make(strict=True)
    telemetry.opt_in()
    program = sqlite3.connect(state_dir / "outbox.sqlite3", isolation_level=None, check_same_thread=False)

    def lock(_):
        program.execute("BEGIN IMMEDIATE")
        return Reply()

    sink.reply = lock
    first = telemetry.track_event("timer.started")
    sink.reply = Reply()
    program.execute("ROLLBACK")
    program.close()
    second = telemetry.track_event("timer.started")

    assert [first.outcome, second.outcome] == [Outcome.QUEUED, Outcome.QUEUED]
    assert "waiting after" in second.reason or "spooled" in second.reason
    assert len(sink.requests) == 2  # opt_in's and the first
    assert telemetry.flush(30).kept == 0
