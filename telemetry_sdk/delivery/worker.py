"""One attempt with a bound on its time, and the last look at the right to make it.

Nothing bounds a DNS lookup, so an attempt is made by a worker thread that can be left behind. The worker starts when
first needed and sleeps between attempts.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from telemetry_sdk.host.background import new_event, new_queue, new_thread, start_thread
from telemetry_sdk.host.guard import pass_on
from telemetry_sdk.host.quiet import nobodys_context, untraced
from telemetry_sdk.model import Answer, Level
from telemetry_sdk.sender.wire_gate import NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from telemetry_sdk.model import Decision
    from telemetry_sdk.sender.wire_gate import Sender


class Permit:
    """Asked when the first byte of one request is to be written: the last look at the right to send it.

    Args:
        right: What may leave now.
        grants: The consents of the analytics records in it; empty for base records alone.

    `refusal` says why the request did not leave, if it did not; `was_given`, that its first byte may have been
    written; `cancelled` is set by the supervisor that gave up.
    """

    def __init__(self, right: Callable[[], Decision], grants: frozenset[str]) -> None:
        self.refusal = ""
        self.was_given = False
        self.cancelled = False
        self.grants = grants
        self._right = right

    def __call__(self) -> None:
        """Return when the request may leave.

        Raises:
            NotPermittedError: It may not.
        """
        decision = self._right()
        if self.cancelled:
            self._refuse("its time is up")
        if decision.level is Level.OFF or decision.hold or not self.grants <= decision.grants:
            self._refuse(decision.hold or decision.reason)
        self.was_given = True

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        raise NotPermittedError(reason)


class _Attempt:
    """One job of the worker and the place for its result."""

    def __init__(self, job: Callable[[], Answer]) -> None:
        self.over = new_event()
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.is_done = False
        self._job = job

    def run(self) -> None:
        try:
            self.answer = nobodys_context().run(self._answer)
        except BaseException as error:  # noqa: BLE001 - handed to the supervisor, which raises it
            self.error = error
        self.is_done = True
        self.over.set()

    def _answer(self) -> Answer:
        with untraced():
            return self._job()


class NoThreadError(RuntimeError):
    """A thread cannot be started: at shutdown, in an isolated subinterpreter, or where there are too many."""


class Worker:
    """A daemon thread that makes one attempt after the other and can be left behind in the middle of one."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Attempt | None] | None = None
        self._current: _Attempt | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_there(self) -> bool:
        """Whether the thread is there, or its start is under way."""
        return self._jobs is not None

    def start(self) -> SimpleQueue[_Attempt | None]:
        """Start the thread unless it is there, and return its queue. From Python 3.12 on a program's end starts none.

        Raises:
            NoThreadError: No thread can be started.
        """
        if self._jobs is not None:
            return self._jobs
        jobs: SimpleQueue[_Attempt | None] = new_queue()
        try:
            thread = new_thread("telemetry-sdk-sender", _work, jobs)
            if self._jobs is not None:  # a signal handler was here
                return self._jobs
            self._jobs, self._thread = jobs, thread
            start_thread(thread)
        except RuntimeError as error:
            self.stop()
            pass_on(error)
            is_ending = "shutdown" in str(error)
            why = "the interpreter is shutting down" if is_ending else "this interpreter cannot start threads"
            raise NoThreadError(why) from None
        except BaseException:
            self.stop()
            raise
        return jobs

    def run(self, job: Callable[[], Answer], wait_s: float) -> Answer | None:
        """Return the job's answer, or None when it was left behind.

        Raises:
            NoThreadError: No thread can be started.
        """
        jobs = self.start()
        attempt = self._current = _Attempt(job)
        try:
            jobs.put(attempt)
            attempt.over.wait(wait_s)
        finally:
            self._current = None
            # Left behind, also by a Ctrl-C that ended the wait: the next job must not queue up after this one.
            if not attempt.is_done:
                self.stop()
        if attempt.error is not None:
            raise attempt.error
        return attempt.answer

    def leave(self) -> None:
        """End the wait for the current attempt, from another thread."""
        attempt = self._current
        if attempt is not None:
            attempt.over.set()

    def stop(self) -> None:
        """Let the thread end after its current job."""
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs.put(None)

    def __del__(self) -> None:
        """End the thread of a forgotten worker."""
        self.stop()

    def join(self, wait_s: float) -> None:
        """Let the thread end, and wait for that at most *wait_s* seconds; an idle one ends at once."""
        self.stop()
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(max(wait_s, 0.0))


def make_attempt(worker: Worker, sender: Sender, body: bytes, permit: Permit, budget: float) -> Answer:
    """Return the sink's answer to *body*, sent by *worker* within *budget* seconds, or why there is none."""

    def job() -> Answer:
        # Given up before the worker came to it, it must not meet the next attempt.
        return Answer(None) if permit.cancelled else sender.send(body, permit, budget)

    answer = None
    try:
        answer = worker.run(job, budget)
    except NoThreadError as error:
        # Not the sink's fault: nothing was tried, and the next run may try at once.
        permit.refusal = str(error)
        answer = Answer(None, error=permit.refusal)
    finally:
        # Also when a Ctrl-C ended the wait: the attempt goes on without us.
        if answer is None:
            permit.cancelled = True
            sender.abandon()
    return answer or Answer(None, error="timed out")


def _work(jobs: SimpleQueue[_Attempt | None]) -> None:
    while (attempt := jobs.get()) is not None:
        attempt.run()
        del attempt  # idle, the thread keeps nothing alive
