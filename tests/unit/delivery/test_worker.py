"""One attempt: the last look at the right to make it, and a worker that can be left behind."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
from process_tools import GUARD, Program

from telemetry_sdk.delivery.worker import NoThreadError, Permit, Worker, sending_lock
from telemetry_sdk.host.files import StateError, file_lock
from telemetry_sdk.model import Answer, Decision, Level
from telemetry_sdk.sender.wire_gate import NotPermittedError

FULL = Decision(Level.FULL, "consent", "the user agreed", frozenset({"yes"}), destroys_others=True)
BASE = Decision(Level.BASE, "consent", "the user declined", destroys_others=True)
OFF = Decision(Level.OFF, "DO_NOT_TRACK", "DO_NOT_TRACK is set")
OK = Answer(200)
YES = frozenset({"yes"})


@pytest.fixture(params=["file", "process"])
def lock_path(request, tmp_path) -> Path | None:
    """Where the lock is: a file for all processes, or, without a directory, in this process."""
    return tmp_path / "sending.lock" if request.param == "file" else None


def in_thread(work, *arguments):
    """Execute *work* in another thread and return what it returned or raised."""
    found = []

    def run() -> None:
        try:
            found.append(work(*arguments))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(GUARD)
    return found[0]


def try_lock(path: Path | None, wait_s: float = 0.0) -> bool:
    with sending_lock(path, wait_s):
        return True


# -- the sending lock


@pytest.mark.parametrize("wait_s", [-1.0, 0.0, 0.05])
def test_the_lock_has_one_holder_and_others_wait_no_longer_than_they_said(lock_path, wait_s):
    """While one thread holds the lock another gets a StateError in its time; afterwards it is free."""
    with sending_lock(lock_path, 0.0):
        assert isinstance(in_thread(try_lock, lock_path, wait_s), StateError)

    assert in_thread(try_lock, lock_path) is True


def test_the_lock_is_free_after_an_error(lock_path):
    """An error inside gives the lock back."""
    with pytest.raises(KeyError), sending_lock(lock_path, 0.0):
        raise KeyError

    assert in_thread(try_lock, lock_path) is True


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    """A process killed in the middle of a request does not keep others from sending or opting out."""
    path = tmp_path / "sending.lock"
    source = """
    from telemetry_sdk.delivery.worker import sending_lock
    with sending_lock(Path(ARGUMENT), 1):
        say("held")
        time.sleep(600)
    """
    program = Program(source, tmp_path, argument=str(path))
    program.wait_for("held")
    with pytest.raises(StateError):
        try_lock(path)

    program.kill()

    assert try_lock(path)


# -- the permit


def permit(decision: Decision, lock_path: Path | None, grants: frozenset[str] = YES, budget: float = GUARD) -> Permit:
    return Permit(lambda: decision, grants, lock_path, time.monotonic() + budget)


@pytest.mark.parametrize(
    ("decision", "grants", "refusal"),
    [
        (FULL, YES, ""),
        (FULL, frozenset(), ""),
        (BASE, frozenset(), ""),
        (BASE, YES, "the user declined"),
        (OFF, YES, "DO_NOT_TRACK is set"),
        (OFF, frozenset(), "DO_NOT_TRACK is set"),
        (FULL, frozenset({"yes", "an older yes"}), "the user agreed"),  # to another consent than the record's
    ],
)
def test_a_request_leaves_only_under_every_consent_of_its_records(lock_path, decision, grants, refusal):
    """Base records need a level above OFF; events each need the consent they were made under."""
    looked = permit(decision, lock_path, grants)
    if refusal:
        with pytest.raises(NotPermittedError, match=refusal), looked:
            raise AssertionError
    else:
        with looked:
            pass

    assert looked.refusal == refusal
    looked.release()


def test_the_lock_is_held_to_the_end_of_the_attempt(lock_path):
    """Whoever withdraws consent waits for a request that has begun, also after its last byte was written."""
    looked = permit(FULL, lock_path)
    with looked:
        assert isinstance(in_thread(try_lock, lock_path), StateError)
    assert isinstance(in_thread(try_lock, lock_path), StateError)

    looked.release()

    assert in_thread(try_lock, lock_path) is True


def test_base_records_take_no_lock(lock_path):
    """A request without events neither waits for the lock nor keeps others waiting."""
    with sending_lock(lock_path, 0.0):
        assert in_thread(lambda: permit(BASE, lock_path, frozenset(), 0.0).__enter__()) is None


def test_a_refusal_gives_the_lock_back(lock_path):
    """A request that does not leave keeps nobody waiting."""
    looked = permit(BASE, lock_path)
    with pytest.raises(NotPermittedError), looked:
        pass

    assert in_thread(try_lock, lock_path) is True


def test_the_same_attempt_may_ask_twice(lock_path):
    """The second try of one attempt (a stale connection) looks again, and does not wait for itself."""
    asked = []

    def right() -> Decision:
        asked.append(1)
        return FULL if len(asked) == 1 else BASE

    looked = Permit(right, YES, lock_path, time.monotonic() + GUARD)
    with looked:
        pass
    with pytest.raises(NotPermittedError, match="the user declined"), looked:
        pass

    assert in_thread(try_lock, lock_path) is True


def test_the_right_is_asked_for_once_the_lock_is_had(lock_path):
    """A consent withdrawn while a request waits for the lock is seen: the request does not leave."""
    decisions = [FULL]
    waiting, outcome = threading.Event(), []

    def attempt() -> None:
        looked = Permit(lambda: decisions[-1], YES, lock_path, time.monotonic() + GUARD)
        waiting.set()
        try:
            looked.__enter__()
        except NotPermittedError as error:
            outcome.append(str(error))

    with sending_lock(lock_path, 0.0):
        thread = threading.Thread(target=attempt)
        thread.start()
        assert waiting.wait(GUARD)
        decisions.append(BASE)
    thread.join(GUARD)

    assert outcome == ["the user declined"]


def test_a_lock_that_cannot_be_had_in_time_refuses(lock_path):
    """An attempt whose time ends while another holds the lock is refused, in words."""
    with sending_lock(lock_path, 0.0):
        refused = in_thread(lambda: permit(FULL, lock_path, budget=0.05).__enter__())

    assert isinstance(refused, NotPermittedError)
    assert "lock" in str(refused) or "another thread" in str(refused)


def test_an_attempt_that_was_given_up_is_refused(lock_path):
    """A connection that stands only after the supervisor gave up writes nothing."""
    looked = permit(FULL, lock_path)
    looked.cancelled = True

    with pytest.raises(NotPermittedError, match="its time is up"), looked:
        pass
    assert in_thread(try_lock, lock_path) is True


def test_a_file_system_without_locks_sends_no_events(tmp_path, monkeypatch):
    """Where the lock does not work a withdrawal could not be waited for, so no event leaves."""
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(37, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with pytest.raises(NotPermittedError, match="cannot lock"), permit(FULL, tmp_path / "sending.lock"):
        pass


def test_the_lock_is_the_files_own(tmp_path):
    """The lock is an ordinary lock on a file, so that other processes see it."""
    path = tmp_path / "sending.lock"
    looked = permit(FULL, path)
    with looked, pytest.raises(StateError), file_lock(path, 0.0):
        pass
    looked.release()


# -- the worker


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.join(GUARD)


def sender_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "telemetry-sdk-sender"]


def test_one_daemon_thread_makes_all_attempts(worker):
    """Jobs run one after the other in one daemon thread, started by the first."""
    before = sender_threads()
    assert before == []
    seen = []

    def job() -> Answer:
        seen.append(threading.current_thread())
        return OK

    assert [worker.run(job, GUARD) for _ in range(3)] == [OK] * 3
    assert len(set(seen)) == 1
    assert seen[0].daemon
    assert seen[0] is not threading.current_thread()


def test_an_error_of_the_job_is_raised_and_the_next_one_runs(worker):
    """A bug in an attempt reaches the supervisor."""

    def fail() -> Answer:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        worker.run(fail, GUARD)
    assert worker.run(lambda: OK, GUARD) == OK


def test_an_attempt_is_left_behind_when_its_time_is_up(worker):
    """A job that hangs costs its wait; the next runs at once in another thread, and the hung one's ends with its job.

    Its late answer is nobody's.
    """
    started, go_on = threading.Event(), threading.Event()

    def hang() -> Answer:
        started.set()
        go_on.wait(GUARD)
        return Answer(500)

    assert worker.run(hang, 0.01) is None
    assert started.wait(GUARD)
    (hung,) = sender_threads()
    assert worker.run(lambda: OK, GUARD) == OK
    assert len(sender_threads()) == 2
    go_on.set()
    hung.join(GUARD)

    assert not hung.is_alive()
    assert worker.run(lambda: OK, GUARD) == OK
    assert len(sender_threads()) == 1


def test_many_left_behind_attempts_leak_no_thread(worker):
    """However many attempts hang, their threads are gone when they end."""
    go_on = threading.Event()

    def hang() -> Answer:
        go_on.wait(GUARD)
        return OK

    for _ in range(20):
        assert worker.run(hang, 0.001) is None
    threads = sender_threads()
    go_on.set()
    for thread in threads:
        thread.join(GUARD)

    assert len(threads) == 20
    assert sender_threads() == []


def test_the_wait_is_ended_from_another_thread(worker):
    """`leave` ends the wait for the running attempt, and does nothing without one."""
    worker.leave()
    started, go_on, found = threading.Event(), threading.Event(), []

    def hang() -> Answer:
        started.set()
        go_on.wait(GUARD)
        return OK

    supervisor = threading.Thread(target=lambda: found.append(worker.run(hang, GUARD)))
    supervisor.start()
    assert started.wait(GUARD)

    worker.leave()

    supervisor.join(GUARD)
    assert found == [None]
    go_on.set()
    assert worker.run(lambda: OK, GUARD) == OK


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs pthread_kill")
def test_a_ctrl_c_leaves_the_attempt_behind(worker):
    """A user who breaks off a wait is not made to wait for the same attempt by the next one."""
    go_on = threading.Event()

    def hang() -> Answer:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        go_on.wait(GUARD)
        return OK

    with pytest.raises(KeyboardInterrupt):
        worker.run(hang, GUARD)

    assert worker.run(lambda: Answer(204), GUARD) == Answer(204)
    go_on.set()


def test_a_stopped_worker_ends_and_may_start_again(worker):
    """`stop` and `join` end an idle thread; the next job starts another."""
    worker.stop()
    worker.join(GUARD)
    assert worker.run(lambda: OK, GUARD) == OK
    worker.stop()
    worker.stop()
    worker.join(GUARD)

    assert sender_threads() == []
    assert worker.run(lambda: OK, GUARD) == OK


def test_joining_from_the_workers_own_thread_does_not_wait(worker):
    """A job that ends the worker (a host's callback) does not wait for itself."""

    def job() -> Answer:
        worker.join(GUARD)
        return OK

    assert worker.run(job, GUARD) == OK


@pytest.mark.parametrize(
    ("method", "message", "why"),
    [
        ("start", "can't start new thread", "this interpreter cannot start threads"),
        ("start", "can't create new thread at interpreter shutdown", "the interpreter is shutting down"),
        # Python 3.13 says so earlier.
        ("__init__", "daemon threads are disabled in this (sub)interpreter", "this interpreter cannot start threads"),
    ],
)
def test_an_interpreter_that_starts_no_thread_is_heard(worker, monkeypatch, method, message, why):
    """Where no thread can be started the supervisor is told why; later, one can be."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, method, refuse)
        with pytest.raises(NoThreadError, match=why):
            worker.run(lambda: OK, GUARD)

    assert worker.run(lambda: OK, GUARD) == OK
