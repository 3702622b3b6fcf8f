"""A signal handler may track at any moment, also in the middle of a call of ours."""

from __future__ import annotations

import os
import signal

import pytest
from hostile import HostileSink
from process_tools import GUARD, Program

SOURCE = """
import signal
telemetry = make()
telemetry.opt_in()
kept, handled = [], []

def handler(*_):
    handled.append(telemetry.track_event("signal.handled", {"n": len(handled)}))

signal.signal(signal.SIGALRM, handler)
while len(handled) < 300:
    # One signal for each call, at another point of it every time.
    signal.setitimer(signal.ITIMER_REAL, 0.00001 + (len(kept) % 40) * ARGUMENT["step"])
    kept.append(telemetry.track_event("timer.started"))
    signal.setitimer(signal.ITIMER_REAL, 0)
assert all(handled) and all(kept), [r for r in handled + kept if not r][:3]
telemetry.close(20)
for receipt in handled + kept:
    os.write(1, f"uid {receipt.uid}\\n".encode())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs setitimer")
@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_a_signal_handler_tracks_in_the_middle_of_tracking(tmp_path, sink, mode):
    """300 signals that interrupt calls of ours and track themselves: no deadlock, nothing lost, nothing twice."""
    step = 0.0001 if mode == "sync" else 0.00001
    program = Program(
        SOURCE,
        tmp_path,
        measured=False,
        delivery=mode,
        endpoint=sink.url,
        state_dir=tmp_path / "state",
        timeout=20,
        argument={"step": step},
    )
    uids = {line.split()[1] for line in program.finish().splitlines()}
    later = "report = make().flush(30)\nassert report.kept == 0, report"
    Program(later, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert uids <= set(sink.uids)
    assert len(sink.uids) == len(set(sink.uids))


@pytest.mark.skipif(os.name != "posix", reason="needs SIGTERM")
@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_sigterm_handler_that_tracks_and_exits(tmp_path, sink, mode):
    """A SIGTERM handler that tracks and calls sys.exit in the middle of tracking loses nothing acknowledged."""
    source = """
    import signal
    telemetry = make()
    telemetry.opt_in()
    def handler(*_):
        receipt = telemetry.track_event("app.stopped")
        os.write(1, f"uid {receipt.uid}\\n".encode())
        sys.exit(0)
    signal.signal(signal.SIGTERM, handler)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    while True:
        receipt = telemetry.track_event("timer.started")
        os.write(1, f"uid {receipt.uid}\\n".encode())
    """
    state = tmp_path / "state"
    uids = set()
    for _ in range(5):
        # An exit between open() and its with block leaves a file to the garbage collector, which warns of it.
        calm = {"PYTHONWARNINGS": "ignore::ResourceWarning"}
        program = Program(
            source,
            tmp_path,
            environ=calm,
            measured=False,
            delivery=mode,
            endpoint=sink.url,
            state_dir=state,
            timeout=20,
        )
        uids |= {line.split()[1] for line in program.finish().splitlines() if line.startswith("uid")}
    later = "report = make().flush(30)\nassert report.kept == 0, report"
    Program(later, tmp_path, endpoint=sink.url, state_dir=state).finish()

    assert sink.names.count("app.stopped") == 5
    assert uids <= set(sink.uids)


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_ctrl_c_at_any_moment_leaves_no_lock_behind(tmp_path, sink, mode):
    """After hundreds of interrupts in the middle of calls, other threads still track and deliver."""
    source = """
    import faulthandler, signal
    faulthandler.dump_traceback_later(40, exit=True)
    telemetry = make(timeout=20)
    telemetry.opt_in()
    telemetry.track_event("timer.started")  # from here on none of the libraries we use takes a lock of its own
    telemetry.flush(20)
    interrupts, inside = 0, False
    def interrupt(*_):
        global inside
        if inside:
            inside = False
            raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.0017)
    while interrupts < 300:
        try:
            inside = True
            telemetry.track_event("timer.started")
            if SETTINGS["delivery"] == "manual":
                telemetry.flush(0.01)
            inside = False
        except KeyboardInterrupt:
            interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    results = []
    def work():
        receipt = telemetry.track_event("app.stopped")
        results.append((receipt.uid, telemetry.flush(20), telemetry.status().ledger, telemetry.sent_log()[-3:]))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    say(*results[0])
    """
    program = Program(
        source,
        tmp_path,
        environ={"PYTHONWARNINGS": "ignore"},
        measured=False,
        delivery=mode,
        endpoint=sink.url,
        state_dir=tmp_path / "state",
    )
    # Python itself reports an interrupt that came in one of its weak references' callbacks.
    uid, *report = program.process.communicate(timeout=GUARD)[0].split()

    assert uid in sink.uids, report


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs SIGPIPE")
@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
@pytest.mark.parametrize("behaviour", ["close", "reset"])
def test_a_sink_that_hangs_up_does_not_kill_a_host_that_dies_of_sigpipe(tmp_path, behaviour, mode):
    """A command line tool that lets SIGPIPE end it, for the sake of its own pipes, outlives a sink that hangs up."""
    source = """
    import signal
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    telemetry = make(limits=Limits(batch_records=20))
    telemetry.opt_in()
    for n in range(20):
        telemetry.track_event("timer.started", {"noise": os.urandom(400).hex()})
    for n in range(20):
        telemetry.flush(5)
    telemetry.close()
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL
    assert signal.SIGPIPE not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    say("alive")
    """
    hostile = HostileSink(behaviour)
    program = Program(source, tmp_path, delivery=mode, endpoint=hostile.url, state_dir=tmp_path / "state", timeout=5)
    try:
        assert program.finish() == "alive\n"
    finally:
        hostile.stop()


LIMITED = """
import random, signal
class Limit(Exception):
    pass
kind = {"own": Limit, "timeout": TimeoutError, "value": ValueError}[ARGUMENT]
telemetry = make(strict=False, timeout=20)
telemetry.opt_in()
telemetry.track_event("job.step")
rang = False
def ring(*_):
    global rang
    rang = True
    raise kind("the job took too long")
signal.signal(signal.SIGALRM, ring)
draw, passed, lost = random.Random(7), 0, 0
while passed + lost < 200:
    rang = False
    try:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.000_01, 0.002))
        while not rang:
            telemetry.track_event("job.step", {"note": "hello there", "at": 1.5})
        lost += 1
    except kind:
        passed += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
report = telemetry.flush(20)
receipt = telemetry.track_event("job.done")
report = telemetry.flush(20)
say(passed, telemetry.status().consent, report.kept, receipt.uid)
"""


@pytest.mark.parametrize("kind", ["own", "timeout", "value"])
@pytest.mark.parametrize("mode", ["manual", "sync", "background"])
def test_a_time_limit_of_the_host_reaches_it(tmp_path, sink, mode, kind):
    """A task queue's limit is an exception of its signal handler, and may be of a class that files raise too.

    It passes through our call to the host; the locks are free afterwards, the consent is what it was, and what is
    tracked then arrives. Python itself swallows one that comes in a callback of a weak reference, and a lock that is
    being given back to the file system may: of 200, one or two.
    """
    program = Program(
        LIMITED,
        tmp_path,
        measured=False,
        argument=kind,
        delivery=mode,
        endpoint=sink.url,
        state_dir=tmp_path / "state",
        environ={"PYTHONWARNINGS": "ignore"},
    )
    passed, consent, kept, uid = program.process.communicate(timeout=GUARD)[0].split()

    assert int(passed) >= 190
    assert (consent, kept) == ("True", "0")
    assert uid in sink.uids
