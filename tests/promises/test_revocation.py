"""Once opt_out has returned, the server sees no analytics request, whoever tracks and delivers."""

from __future__ import annotations

import json
import sqlite3
import threading

import pytest
from process_tools import GUARD, Program
from sink_server import Reply

TRACK = """
telemetry = make()
wait_for_go()
say("tracking")
while not os.path.exists(GO + ".stop"):
    telemetry.track_event("timer.started")
    if SETTINGS["delivery"] == "manual":
        telemetry.flush(1)
"""


def analytics_requests(sink):
    return sum(b'"stringValue":"analytics"' in request.body for request in sink.requests)


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_opt_out_in_one_process_stops_all_others(tmp_path, sink, make, state_dir, mode):
    """Four processes track and deliver without pause; from the return of opt_out in a fifth, none sends analytics."""
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    go = tmp_path / "go"
    programs = [
        Program(TRACK, tmp_path, delivery=mode, endpoint=sink.url, state_dir=state_dir, go=go) for _ in range(4)
    ]
    for program in programs:
        program.wait_for("ready")
    go.touch()
    for program in programs:
        program.wait_for("tracking")
    sink.wait_for(lambda: analytics_requests(sink) > 5, timeout=90)

    assert telemetry.opt_out() is True
    seen = analytics_requests(sink)

    # The others go on tracking; each notices, and the sink's count stands still while they run through many calls.
    for _ in range(50):
        telemetry.track_event("timer.started")
        telemetry.flush(0.1)
    (tmp_path / "go.stop").touch()
    for program in programs:
        program.finish()
    assert analytics_requests(sink) == seen
    db = sqlite3.connect(state_dir / "outbox.sqlite3")
    waiting = db.execute("SELECT count(*) FROM records WHERE layer = 'analytics'").fetchone()
    db.close()
    assert waiting == (0,)


@pytest.mark.parametrize("answers", [True, False], ids=["answer", "no answer"])
def test_opt_out_waits_for_the_request_in_flight(sink, make, answers):
    """Opt_out in another object returns only when the analytics request in flight is over, one way or the other."""
    hang, returned = threading.Event(), threading.Event()
    telemetry = make(timeout=30 if answers else 1)
    telemetry.opt_in()
    sink.script = [Reply(hang=hang)]
    tracking = threading.Thread(target=telemetry.track_event, args=("timer.started",))
    tracking.start()
    sink.wait_for(lambda: len(sink.requests) == 2)
    leaving = threading.Thread(target=lambda: make(timeout=30).opt_out() and returned.set())
    leaving.start()
    while make().is_detailed_analytics_enabled():
        pass
    assert not returned.is_set()
    if answers:
        hang.set()

    tracking.join(20)
    leaving.join(20)
    assert returned.is_set()
    hang.set()
    assert len(sink.requests) == 2


def test_consent_withdrawn_during_a_slow_connect_holds(tmp_path, sink, state_dir):
    """A request still looking up its sink when consent is withdrawn never leaves."""
    source = """
    import socket
    lookup = socket.getaddrinfo
    def slow(*arguments, **options):
        say("looking up")
        sys.stdin.readline()
        return lookup(*arguments, **options)
    telemetry = make()
    telemetry.opt_in()
    telemetry.flush(20)
    telemetry.close()
    socket.getaddrinfo = slow
    telemetry.track_event("timer.started")
    assert telemetry.status().consent is False
    report = telemetry.sent_log()[-1]
    say(report.verdict)
    """
    program = Program(source, tmp_path, endpoint=sink.url, state_dir=state_dir, timeout=30)
    program.wait_for("looking up")
    path = state_dir / "installation.json"
    document = json.loads(path.read_text()) | {"telemetry_enabled": False}
    path.write_text(json.dumps(document))
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    program.wait_for("withheld")
    program.finish()

    assert sink.names == ["analytics.install"]


def test_file_edited_by_hand_stops_a_running_background_program(tmp_path, sink, state_dir):
    """A no written into the file by hand destroys what a running program still has waiting."""
    source = """
    telemetry = make()
    telemetry.opt_in()
    telemetry.flush(20)
    for n in range(30):
        telemetry.track_event("timer.started")
    say("waiting")
    sys.stdin.readline()
    assert telemetry.flush(20).dropped == 30
    telemetry.close()
    """
    program = Program(source, tmp_path, delivery="manual", endpoint=sink.url, state_dir=state_dir)
    program.wait_for("waiting")
    path = state_dir / "installation.json"
    path.write_text(path.read_text().replace('"telemetry_enabled": true', '"telemetry_enabled": false'))
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    program.finish()

    assert sink.names == ["analytics.install"]


@pytest.mark.parametrize("kept", ["on disk", "in memory"])
def test_opt_out_of_another_object_waits_for_the_request_in_flight(make, sink, tmp_path, kept):
    """Also where no state can be kept, and from another object of the process: no true before the request is over."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    state = {} if kept == "on disk" else {"state_dir": file / "no-directory"}
    begun, go = threading.Event(), threading.Event()
    one = make(timeout=GUARD, **state)
    other = one if kept == "in memory" else make(timeout=GUARD, **state)
    one.opt_in()

    def answer(_):
        begun.set()
        assert go.wait(GUARD)
        return Reply()

    sink.reply = answer
    tracking = threading.Thread(target=one.track_event, args=("timer.started",))
    tracking.start()
    assert begun.wait(GUARD)
    answers = []
    withdrawing = threading.Thread(target=lambda: answers.append(other.opt_out()))
    withdrawing.start()
    withdrawing.join(0.3)  # it would be over by then if it did not wait
    assert answers == []
    go.set()
    tracking.join(GUARD)
    withdrawing.join(GUARD)

    assert answers == [kept == "on disk"]  # what holds for this process only is not certain
    assert sink.names.count("timer.started") == 1
    assert not one.track_event("timer.started")
