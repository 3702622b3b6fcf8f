"""The first call loads most of the package: in the middle of that anything may happen."""

from __future__ import annotations

import os

import pytest
from process_tools import Program

# Runs ON_LOADING, once, in the middle of the first import of the module that ARGUMENT names.
INTERRUPTED = """
telemetry = make()
late = ARGUMENT["late"]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == late:
            sys.meta_path.remove(self)
            on_loading()

sys.meta_path.insert(0, Finder())

def track():
    receipt = telemetry.track_event("timer.started")
    assert receipt, receipt
    os.write(1, f"uid {receipt.uid}\\n".encode())
"""
# Forks while another thread does *work* and stands in the middle of that import; the child does *what*.
FORKED = """
import signal, sqlite3, warnings
warnings.simplefilter("ignore", DeprecationWarning)
loading, forking = threading.Event(), threading.Event()

def on_loading():
    loading.set()
    forking.wait(10)
    time.sleep(0.2)  # for a fork that does not wait

def fork_during(work, what):
    thread = threading.Thread(target=work)
    thread.start()
    loading.wait(10)
    os.register_at_fork(before=forking.set)  # called before those that were registered earlier
    if (pid := os.fork()) == 0:
        signal.alarm(40)
        try:
            what()
        except BaseException:
            os._exit(1)
        os._exit(0)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

"""
CONSENT = "make().opt_in()"
LATE = [
    "telemetry_sdk.client.engine",
    "telemetry_sdk.outbox.spool",
    "telemetry_sdk.sender.otlp",
    "telemetry_sdk.client.pipeline",
]


def run(source: str, tmp_path, late: str, **settings) -> list[str]:
    settings = {"delivery": "manual", "endpoint": "http://127.0.0.1:9", "state_dir": tmp_path / "state", **settings}
    Program(CONSENT, tmp_path, **settings).finish()
    # The C library's own lock on the table of users does not outlive a fork either: nobody needs to look there.
    environ = {"USER": "jane"}
    program = Program(
        INTERRUPTED + source, tmp_path, environ=environ, measured=False, argument={"late": late}, **settings
    )
    return program.finish().split()


def pending(tmp_path) -> int:
    settings = {"delivery": "manual", "endpoint": "http://127.0.0.1:9", "state_dir": tmp_path / "state"}
    return int(Program("say(make().status().ledger['pending'])", tmp_path, **settings).finish())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("late", LATE)
def test_a_fork_waits_for_what_another_thread_loads(tmp_path, late):
    """A child that is forked while another thread makes the first call can track all the same."""
    words = run(FORKED + "fork_during(track, track)", tmp_path, late)

    assert len(set(words) - {"uid"}) == 2
    assert pending(tmp_path) == 2 + 1  # and the install ping


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_what_finds_the_state_directory(tmp_path):
    """It is another library that is loaded then, by the first call that needs the state."""
    environ = {"XDG_DATA_HOME": str(tmp_path / "data"), "USER": "jane"}
    settings = {"delivery": "manual", "endpoint": "http://127.0.0.1:9", "state_dir": None}
    Program(CONSENT, tmp_path, environ=environ, **settings).finish()

    program = Program(
        INTERRUPTED + FORKED + "fork_during(track, track)",
        tmp_path,
        environ=environ,
        measured=False,
        argument={"late": "platformdirs"},
        **settings,
    )

    assert len(set(program.finish().split()) - {"uid"}) == 2


@pytest.mark.parametrize("late", LATE)
def test_ctrl_c_in_the_middle_of_the_first_call(tmp_path, late):
    """Ctrl-C while the first call loads ends that call alone: later ones, of other threads too, are as ever."""
    source = """
def on_loading():
    raise KeyboardInterrupt

try:
    track()
except KeyboardInterrupt:
    say("interrupted")
thread = threading.Thread(target=track)
thread.start()
thread.join(20)
assert not thread.is_alive()
track()
"""
    words = run(source, tmp_path, late)

    assert words[0] == "interrupted"
    assert len(set(words) - {"uid", "interrupted"}) == 2


@pytest.mark.parametrize("late", LATE[1:])
def test_a_signal_handler_tracks_while_the_first_call_loads(tmp_path, late):
    """What a signal handler tracks just then is dropped where nothing can be loaded below it, and says so; no more."""
    source = """
seen = []

def on_loading():  # as a signal handler would, in the same thread
    seen.append(telemetry.track_event("signal.handled"))

track()
assert [receipt.outcome for receipt in seen] == [Outcome.DROPPED], seen
track()
say(seen[0].reason)
"""
    words = run(source, tmp_path, late, strict=False)

    assert " ".join(words[-3:]) == "internal error (ImportError)"


def test_threads_that_make_the_first_call_share_one_engine(tmp_path):
    """Many threads that make the first call at one moment work with one engine."""
    source = """
from telemetry_sdk.client.override import engine_of
waiting = threading.Barrier(16)
engines = []

def on_loading():
    time.sleep(0.05)  # for the others to come

def first():
    waiting.wait()
    engines.append(engine_of(telemetry))
    track()

threads = [threading.Thread(target=first) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(engines) == 16 and len(set(map(id, engines))) == 1
"""
    words = run(source, tmp_path, "telemetry_sdk.client.pipeline")

    assert len(set(words) - {"uid"}) == 16


def test_an_object_that_is_never_used_costs_nothing(tmp_path):
    """Nothing is loaded by an object that is made, redirected, closed, entered into a fork and ended, never used."""
    source = """
from telemetry_sdk.client import override
telemetry = make()
before = set(sys.modules)
override.redirect(lambda mine: mine)
override.redirect(None)
telemetry.close()
telemetry.close(1)
if hasattr(os, "fork"):
    if (pid := os.fork()) == 0:
        os._exit(len(set(sys.modules) - before))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert set(sys.modules) == before, set(sys.modules) - before
import atexit
atexit._run_exitfuncs()
assert set(sys.modules) - before <= {"atexit"}
say("done")
"""
    settings = {"delivery": "background", "endpoint": "http://127.0.0.1:9", "state_dir": tmp_path / "state"}

    assert Program(source, tmp_path, measured=False, **settings).finish() == "done\n"
    assert not (tmp_path / "state").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("late", ["requests", "urllib3.connectionpool"])
def test_a_fork_waits_for_the_http_client(tmp_path, sink, late):
    """A child that is forked while another thread loads what a request needs can make requests itself."""
    source = """
flushed = Path("flushed")

def flush():
    telemetry.flush(20)
    flushed.touch()

def deliver():
    # Or the child's first thread would be taken for the one that loads: it would get the same number.
    threading.Thread(target=time.sleep, args=(40,), daemon=True).start()
    while not flushed.exists():  # or the parent would send the child's too
        time.sleep(0.02)
    track()
    assert telemetry.flush(20).delivered == 1

track()
fork_during(flush, deliver)
"""
    run(FORKED + source, tmp_path, late, endpoint=sink.url)

    assert sink.names.count("timer.started") == 2


@pytest.mark.parametrize(
    "call",
    [
        'track_event("timer.started")',
        "start()",
        "opt_out()",
        'identify_user("u-17")',
        'request_context("/notes")',
        "flush()",
        "status()",
        "preview()",
        "forget()",
        "close()",
    ],
)
def test_the_first_call_cannot_load_anything(tmp_path, call):
    """Without a free file descriptor nothing can be loaded, not even logging; the host gets an answer, and later calls work."""
    resource = pytest.importorskip("resource")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    source = f"""
import resource
telemetry = make(strict=False)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
answer = telemetry.{call}
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, hard))
assert "internal error (OSError)" in repr(answer) or not hasattr(answer, "reason"), answer
say(bool(telemetry.track_event("timer.started")))
"""
    settings = {"delivery": "manual", "endpoint": "http://127.0.0.1:9", "state_dir": tmp_path / "state"}
    Program(CONSENT, tmp_path, **settings).finish()

    assert Program(source, tmp_path, measured=False, **settings).finish() == "True\n"
