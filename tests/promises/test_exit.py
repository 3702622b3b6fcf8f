"""A sink that misbehaves costs the program a bounded time, and no event.

The bounds are the documented ones (`timeout`, `exit_timeout`) with a margin that no loaded machine uses up: every
hostile sink here would hold an unbounded program for minutes. test_exit_time.py has the margins of seconds.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest
from hostile import HostileSink
from process_tools import Program

BEHAVIOURS = [
    "refuse", "hang", "drip", "drip body", "drip last body", "reset", "reset mid-answer", "endless", "black hole", "resolver",
]  # fmt: skip
MARGIN = 20.0
ISOLATED = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
sub = interpreters.create() if sys.version_info >= (3, 13) else interpreters.create(isolated=True)
interpreters.run_string(sub, %r)
interpreters.destroy(sub)
"""
TRACK = """
import socket
if ARGUMENT["resolver"]:
    socket.getaddrinfo = lambda *a, **k: time.sleep(600)
telemetry = make()
begun = time.monotonic()
telemetry.opt_in()
longest = time.monotonic() - begun
for n in range(5):
    begun = time.monotonic()
    receipt = telemetry.track_event("timer.started", {"n": n})
    longest = max(longest, time.monotonic() - begun)
    assert receipt.outcome is Outcome.QUEUED, receipt
    os.write(1, f"uid {receipt.uid}\\n".encode())
os.write(1, f"longest {longest}\\n".encode())
os.write(1, f"end {time.time()}\\n".encode())
"""


@pytest.fixture
def hostile(request):
    made = HostileSink("refuse" if request.param == "resolver" else request.param)
    made.resolver = request.param == "resolver"
    yield made
    made.stop()


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
@pytest.mark.parametrize("hostile", BEHAVIOURS, indirect=True)
def test_a_hostile_sink_costs_a_bounded_time_and_no_event(tmp_path, sink, hostile, mode):
    """Calls and exit stay within their bounds in every mode, and a later run delivers every event once."""
    host = "unresolvable.invalid" if hostile.resolver else "127.0.0.1"
    program = Program(
        TRACK,
        tmp_path,
        delivery=mode,
        endpoint=f"http://{host}:{hostile.port}",
        state_dir=tmp_path / "state",
        timeout=1.0,
        exit_timeout=0.5,
        argument={"resolver": hostile.resolver},
    )
    output = program.finish()
    over = time.time()
    figures = dict(line.split() for line in output.splitlines() if not line.startswith("uid"))
    uids = {line.split()[1] for line in output.splitlines() if line.startswith("uid")}
    later = "report = make().flush(30)\nassert report.kept == 0, report"
    Program(later, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish()

    assert float(figures["longest"]) < (1.0 if mode == "sync" else 0.0) + MARGIN
    assert over - float(figures["end"]) < 0.5 + MARGIN
    assert len(uids) == 5
    assert uids <= set(sink.uids)
    assert len(sink.uids) == len(set(sink.uids))


@pytest.mark.parametrize("hostile", ["hang", "resolver", "drip", "drip last body"], indirect=True)
def test_opening_and_closing_many_objects_leaves_no_threads(tmp_path, hostile):
    """Threads and file descriptors do not grow with the number of objects opened and closed on a hanging sink."""
    source = """
    import socket
    if ARGUMENT["resolver"]:
        socket.getaddrinfo = lambda *a, **k: time.sleep(600)
    def count():
        return threading.active_count(), len(os.listdir("/proc/self/fd"))
    for n in range(30):
        telemetry = make(delivery=["sync", "background", "manual"][n % 3])
        telemetry.start()
        telemetry.opt_in()
        telemetry.track_event("timer.started")
        telemetry.close()
        if n == 5:
            before = count()
    guard = time.monotonic() + 30
    while not all(now <= then for now, then in zip(count(), before)) and time.monotonic() < guard:
        time.sleep(0.01)  # attempts that were left behind end on their own
    assert all(now <= then for now, then in zip(count(), before)), (before, count())
    """
    host = "unresolvable.invalid" if hostile.resolver else "127.0.0.1"
    Program(
        source,
        tmp_path,
        endpoint=f"http://{host}:{hostile.port}",
        state_dir=tmp_path / "state",
        timeout=0.5,
        exit_timeout=0.2,
        argument={"resolver": hostile.resolver},
    ).finish()


@pytest.mark.parametrize("reply", ["takes", "hangs"])
@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_objects_that_are_forgotten_leave_no_threads_and_no_files_open(tmp_path, sink, mode, reply):
    """An object dropped without `close` takes its threads, files and connections with it; its records stay stored."""
    source = """
    import gc
    def count():
        return threading.active_count(), len(os.listdir("/proc/self/fd"))
    def use(n):
        telemetry = make(state_dir=ARGUMENT["state"])
        telemetry.start()
        os.write(1, f"uid {telemetry.opt_in().uid}\\n".encode() if n == 0 else b"")
        os.write(1, f"uid {telemetry.track_event('timer.started').uid}\\n".encode())
        return telemetry
    use(0).close()
    gc.collect()
    before = count()
    for n in range(1, 21):
        use(n)
    guard = time.monotonic() + 30
    while not all(now <= then for now, then in zip(count(), before)) and time.monotonic() < guard:
        gc.collect()
        time.sleep(0.01)  # attempts under way keep their object until they end
    assert all(now <= then for now, then in zip(count(), before)), (before, count())
    """
    hostile = HostileSink("hang")
    state = tmp_path / "state"
    endpoint = sink.url if reply == "takes" else hostile.url
    program = Program(source, tmp_path, delivery=mode, endpoint=endpoint, timeout=0.3, argument={"state": str(state)})
    uids = {line.split()[1] for line in program.finish().splitlines()}
    hostile.stop()
    later = "report = make().flush(30)\nassert report.kept == 0, report"
    Program(later, tmp_path, endpoint=sink.url, state_dir=state).finish()

    assert len(uids) == 22
    assert uids <= set(sink.uids)
    assert len(sink.uids) == len(set(sink.uids))


FORK = """
if not (child := os.fork()):
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    "first", ["telemetry.start()", "telemetry.opt_in()", f"telemetry.opt_in(){textwrap.indent(FORK, '    ')}"],
    ids=["start", "opt in", "fork"],
)  # fmt: skip
def test_a_short_program_delivers_at_its_end_where_no_thread_starts_any_more(tmp_path, sink, first):
    """A background program that just ends has delivered, also from Python 3.12 on: none starts a thread there then."""
    source = f"""
    telemetry = make()
    {first}
    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    threading.Thread.start = refuse
    """
    Program("import threading\n" + textwrap.dedent(source), tmp_path, delivery="background", endpoint=sink.url,
            state_dir=tmp_path / "state", exit_timeout=20).finish()  # fmt: skip

    assert sink.requests


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_an_interpreter_without_threads_keeps_its_records_and_says_why(tmp_path, sink, mode):
    """In an isolated subinterpreter, which may start no thread of ours, records stay stored for the next program."""
    bare = subprocess.run([sys.executable, "-c", ISOLATED % "import hashlib, json"], capture_output=True, check=False)
    if bare.returncode:
        pytest.skip("this Python (3.12.1 is one) cannot end an isolated interpreter that imported hashlib")
    source = """
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    sub = interpreters.create() if sys.version_info >= (3, 13) else interpreters.create(isolated=True)
    failed = interpreters.run_string(sub, ARGUMENT["inside"] % (sys.path, SETTINGS))
    assert failed is None, failed
    interpreters.destroy(sub)
    """
    inside = """
import os, sys
sys.path[:] = %r
from telemetry_sdk import Telemetry
telemetry = Telemetry("acme-notes", version="1", strict=True, **{"delivery": "sync", **%r})
telemetry.start()
receipts = [telemetry.opt_in(), telemetry.track_event("timer.started")]
report = telemetry.flush(5)
reasons = {report.reason, telemetry.status().waiting, *(receipt.reason for receipt in receipts)} - {""}
telemetry.close()
assert all(receipts), receipts
assert report.kept == 4, report
os.write(1, repr(reasons).encode())
"""
    program = Program(
        source,
        tmp_path,
        environ={"PYTHONWARNINGS": "default"},
        measured=False,
        delivery=mode,
        endpoint=sink.url,
        state_dir=tmp_path / "state",
        argument={"inside": inside},
    )

    assert program.finish() == repr({"this interpreter cannot start threads"})
    assert sink.requests == []
