"""What a call and an exit take, to within seconds: the documented bounds, on a machine that does nothing else."""

from __future__ import annotations

import contextlib
import sqlite3
import time

import pytest
from process_tools import Program
from sink_server import Reply, Request

from telemetry_sdk.outbox.queue import FILE_NAME

pytestmark = pytest.mark.alone

MARGIN = 3.0


@pytest.mark.parametrize("mode", ["sync", "background"])
def test_an_outbox_locked_during_a_request_costs_a_bounded_time_and_no_event(tmp_path, sink, mode):
    """Another program that takes the outbox before the sink answers holds up neither the call nor the exit for long."""
    source = """
    telemetry = make()
    telemetry.opt_in()
    telemetry.flush(30)
    say("ready")
    sys.stdin.readline()
    begun = time.monotonic()
    receipt = telemetry.track_event("timer.started")
    print("call", time.monotonic() - begun, receipt.uid)
    print("end", time.time(), flush=True)
    """
    settings = {"delivery": mode, "endpoint": sink.url, "state_dir": tmp_path / "state"}
    program = Program(source, tmp_path, timeout=1.0, exit_timeout=0.5, **settings)
    program.wait_for("ready")
    with contextlib.ExitStack() as held:

        def answer(_: Request) -> Reply:
            sink.reply = Reply()
            db = sqlite3.connect(tmp_path / "state" / FILE_NAME, isolation_level=None, check_same_thread=False)
            held.enter_context(contextlib.closing(db)).execute("BEGIN IMMEDIATE")
            return Reply()

        sink.reply = answer
        (_, call, uid), (_, end) = map(str.split, program.finish(answer="go\n").splitlines())
        over = time.time()
        assert sink.reply is not answer
    Program("make().flush(30)", tmp_path, **settings).finish()

    # Before there was a bound each took four seconds and more.
    assert float(call) < (1.0 if mode == "sync" else 0.0) + 2.0
    assert over - float(end) < 0.5 + 2.0
    assert uid in sink.uids


@pytest.mark.parametrize("mode", ["sync", "background"])
def test_many_objects_end_together(tmp_path, mode):
    """The exit of a program with thirty objects whose requests hang takes no longer than with one."""
    source = """
    import socket
    socket.getaddrinfo = lambda *a, **k: time.sleep(600)
    objects = []
    for n in range(30):
        telemetry = make(state_dir=os.path.join(ARGUMENT["state"], str(n)))
        objects.append(telemetry)
        if SETTINGS["delivery"] == "background":
            telemetry.opt_in()
        else:
            threading.Thread(target=telemetry.opt_in, daemon=True).start()
    guard = time.monotonic() + 50
    def at_work():
        return sum(thread.name == "telemetry-sdk-sender" for thread in threading.enumerate())
    while at_work() < 30 and time.monotonic() < guard:
        time.sleep(0.01)
    os.write(1, f"end {time.time()}\\n".encode())
    """
    program = Program(
        source,
        tmp_path,
        delivery=mode,
        endpoint="http://unresolvable.invalid",
        timeout=60,
        exit_timeout=0.5,
        argument={"state": str(tmp_path)},
    )
    (line,) = program.finish().splitlines()

    assert time.time() - float(line.split()[1]) < 0.5 + MARGIN
