"""What was acknowledged survives every way a program can end."""

from __future__ import annotations

import random
import signal

import pytest
from process_tools import Program
from sink_server import Reply, attributes

TRACKER = """
telemetry = make(limits=Limits(batch_records=10))
telemetry.opt_in()
say("start")
for n in range(ARGUMENT["events"]):
    receipt = telemetry.track_event("timer.started", {"n": n})
    if receipt:
        os.write(1, f"uid {receipt.uid}\\n".encode())
{end}
"""
LATER = """
telemetry = make()
telemetry.start()
report = telemetry.flush(30)
assert report.kept == 0, report
telemetry.close()
"""
MODES = ["sync", "background", "manual"]


def acknowledged(output: str) -> set[str]:
    return {line.split()[1] for line in output.splitlines() if line.startswith("uid ") and len(line.split()[1]) == 36}


def run_and_kill(tmp_path, sink, mode, after):
    program = Program(
        TRACKER.replace("{end}", "say('all'); time.sleep(600)"),
        tmp_path,
        delivery=mode,
        endpoint=sink.url,
        state_dir=tmp_path / "state",
        argument={"events": 400},
    )
    lines = [program.wait_for("uid") for _ in range(after)]
    program.process.kill()
    return acknowledged("\n".join(lines) + "\n" + program.process.communicate()[0])


@pytest.mark.parametrize("mode", MODES)
def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path, sink, mode):
    """SIGKILL at random points: a later run delivers every acknowledged uid, in every delivery mode."""
    draw = random.Random(7)
    accepted: set[str] = set()
    for _ in range(4):
        accepted |= run_and_kill(tmp_path, sink, mode, draw.randint(1, 120))
    Program(LATER, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert len(accepted) >= 4
    assert accepted <= set(sink.uids)


@pytest.mark.parametrize("mode", ["sync", "background"])
@pytest.mark.parametrize("moment", ["delivering", "answered"])
def test_a_kill_while_delivering_loses_nothing(tmp_path, sink, mode, moment):
    """Killed while a request is on its way, or between the answer and the settling: all arrive later."""
    seen = []

    def reply(request):
        seen.append(request)
        if len(seen) == 3 and moment == "delivering":
            program.process.kill()
            return Reply(close=True)
        return Reply()

    sink.reply = reply
    source = TRACKER.replace("{end}", "say('all'); time.sleep(600)")
    if moment == "answered":
        source = (
            """
        from telemetry_sdk.outbox.queue import Outbox
        settle, calls = Outbox.settle, []
        def dying(self, *args, **options):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), 9)
            return settle(self, *args, **options)
        Outbox.settle = dying
        """.replace("\n        ", "\n")
            + source
        )
    program = Program(
        source,
        tmp_path,
        delivery=mode,
        endpoint=sink.url,
        state_dir=tmp_path / "state",
        argument={"events": 200},
    )
    accepted = acknowledged(program.finish(code=None))
    sink.reply = Reply()
    Program(LATER, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert program.process.returncode == -signal.SIGKILL
    assert accepted
    assert accepted <= set(sink.uids)
    if moment == "answered":
        bodies = {}
        for request in sink.requests:
            for record in request.records:
                uid = attributes(record)["log.record.uid"]
                assert bodies.setdefault(uid, record) == record


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('host bug')", 1),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), 15); time.sleep(60)", -15),
        ("os.abort()", -6),
    ],
    ids=["end", "exit", "exception", "_exit", "sigterm", "abort"],
)
def test_every_end_keeps_what_was_acknowledged(tmp_path, sink, mode, end, code):
    """Normal end, sys.exit, an exception, os._exit, SIGTERM and abort: nothing acknowledged is lost."""
    program = Program(
        TRACKER.replace("{end}", end),
        tmp_path,
        delivery=mode,
        endpoint=sink.url,
        state_dir=tmp_path / "state",
        argument={"events": 40},
    )
    accepted = acknowledged(program.finish(code))
    Program(LATER, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert len(accepted) == 40
    assert accepted <= set(sink.uids)
    assert len(sink.uids) == len(set(sink.uids)) or mode != "manual"


def test_a_kill_after_opt_out_sends_nothing(tmp_path, sink):
    """What opt_out forbade stays forbidden after a kill, in every later run."""
    source = """
    telemetry = make()
    telemetry.opt_in()
    for n in range(50):
        telemetry.track_event("timer.started", {"n": n})
    assert telemetry.opt_out()
    os.kill(os.getpid(), 9)
    """
    program = Program(source, tmp_path, delivery="manual", endpoint=sink.url, state_dir=tmp_path / "state")
    program.finish(code=-9)
    Program(LATER, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert set(sink.names) == {"base_telemetry.first_seen", "base_telemetry.heartbeat"}


def test_two_objects_in_one_process_lose_nothing_by_a_kill(tmp_path, sink):
    """A second object that opens the outbox, and another process that closes it, take nothing from the first.

    Closing any descriptor of a file gives up all locks of the process on it, SQLite's too; whoever closes it last then
    deletes the log under the first one's feet.
    """
    source = """
    first = make(delivery="manual")
    first.opt_in()
    second = make(delivery="manual")
    say("uid", second.track_event("timer.started").uid)
    say("opened")
    wait_for_go()
    for n in range(5):
        say("uid", first.track_event("timer.started", {"n": n}).uid)
    say("all")
    time.sleep(600)
    """
    go = tmp_path / "go"
    program = Program(source, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state", go=go)
    lines = [program.wait_for("uid")]
    program.wait_for("ready")
    Program("make(delivery='manual').sent_log()", tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()
    go.touch()
    lines += [program.wait_for("uid") for _ in range(5)]
    program.kill()
    Program(LATER, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert acknowledged("\n".join(lines)) <= set(sink.uids)
    assert len(lines) == 6


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_log_deleted_under_a_running_program_costs_only_what_was_in_it(tmp_path, sink, how):
    """What is acknowledged after somebody deleted the write-ahead log survives a kill."""
    source = """
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    say("opened")
    wait_for_go()
    for n in range(5):
        say("uid", telemetry.track_event("timer.started", {"n": n}).uid)
    time.sleep(600)
    """
    go, log = tmp_path / "go", tmp_path / "state" / "outbox.sqlite3-wal"
    program = Program(source, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state", go=go)
    program.wait_for("ready")
    assert log.stat().st_size
    if how == "removed":
        log.unlink()
    else:
        log.write_bytes(b"")
    go.touch()
    lines = [program.wait_for("uid") for _ in range(5)]
    program.kill()
    Program(LATER, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert acknowledged("\n".join(lines)) <= set(sink.uids)
