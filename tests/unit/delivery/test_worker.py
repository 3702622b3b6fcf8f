"""One attempt: the last look at the right to make it, and a worker that can be left behind."""

from __future__ import annotations

import signal
import threading

import pytest
from process_tools import GUARD

from telemetry_sdk.delivery.worker import NoThreadError, Permit, Worker
from telemetry_sdk.model import Answer, Decision, Level
from telemetry_sdk.sender.wire_gate import NotPermittedError

FULL = Decision(Level.FULL, "consent", "the user agreed", frozenset({"yes"}), destroys_others=True)
BASE = Decision(Level.BASE, "consent", "the user declined", destroys_others=True)
OFF = Decision(Level.OFF, "DO_NOT_TRACK", "DO_NOT_TRACK is set")
OK = Answer(200)
YES = frozenset({"yes"})


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


# -- the permit


def permit(decision: Decision, grants: frozenset[str] = YES) -> Permit:
    return Permit(lambda: decision, grants)


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
def test_a_request_leaves_only_under_every_consent_of_its_records(decision, grants, refusal):
    """Base records need a level above OFF; events each need the consent they were made under."""
    looked = permit(decision, grants)
    if refusal:
        with pytest.raises(NotPermittedError, match=refusal):
            looked()
    else:
        looked()

    assert looked.refusal == refusal


def test_the_same_attempt_may_ask_twice():
    """The second try of one attempt (a stale connection) looks again."""
    asked = []

    def right() -> Decision:
        asked.append(1)
        return FULL if len(asked) == 1 else BASE

    looked = Permit(right, YES)
    looked()
    with pytest.raises(NotPermittedError, match="the user declined"):
        looked()


def test_an_attempt_that_was_given_up_is_refused():
    """A connection that stands only after the supervisor gave up writes nothing."""
    looked = permit(FULL)
    looked.cancelled = True

    with pytest.raises(NotPermittedError, match="its time is up"):
        looked()


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
