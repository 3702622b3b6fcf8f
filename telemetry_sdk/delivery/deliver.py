"""Take, send, settle: the only motion records make.

One *supervisor* at a time per process takes records, has an attempt made and writes down how it ended: the caller in
``sync`` and ``manual`` mode, a daemon thread in ``background`` mode.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from telemetry_sdk.delivery import retry
from telemetry_sdk.delivery.retry import Judgement, Verdict
from telemetry_sdk.delivery.worker import NoThreadError, Permit, Worker, make_attempt
from telemetry_sdk.host.background import FORK_WAIT, Mutex
from telemetry_sdk.host.quiet import logger
from telemetry_sdk.model import (
    DELETION_REQUESTED,
    FIRST_SEEN,
    NANOSECONDS,
    STOPPED,
    Answer,
    Circuit,
    Level,
    to_millisecond,
)
from telemetry_sdk.outbox import StoreError, batch
from telemetry_sdk.outbox.batch import Batch, Terms
from telemetry_sdk.outbox.database import LockedError
from telemetry_sdk.outbox.sent_log import Request, no_headers
from telemetry_sdk.outbox.tables import Fate
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from telemetry_sdk.host.files import ProcessLock
    from telemetry_sdk.model import Decision
    from telemetry_sdk.outbox.queue import Outbox
    from telemetry_sdk.outbox.tables import Pending
    from telemetry_sdk.sender.endpoint import Sink
    from telemetry_sdk.sender.wire_gate import Sender


BUSY: Final = "another process is sending"
_TIME_UP: Final = "the time was up"


class Delivery:
    """Delivers one outbox to one sink."""

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        config: DeliveryConfig,
        lock: ProcessLock,
        *,
        right: Callable[[], Decision],
        clock: Callable[[], int],
        draw: Callable[[], float],
    ) -> None:
        self.config = config
        self.right = right
        self.waits = getattr(sender, "waits", True) is not False
        self._packs = bool(getattr(sender, "takes_packed", False))
        self._headers: Callable[[bytes], Mapping[str, str]] = getattr(sender, "headers", no_headers)
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._draw = draw
        self._worker = Worker()
        self._mutex = Mutex()
        self._lock = lock
        self._awaited: dict[str, tuple[str, str] | None] = {}
        self._outage = OutageLog()
        self._supervisor = 0
        self.stopped: bool | None = None  # whether the sink said so to this version; None: not looked up
        self._resumes = False
        self._unsettled = Circuit()  # after an answer that could not be written down
        self.withheld = ""  # why the newest request was not made, if it was not

    def prepare(self) -> None:
        """Start the worker's thread, if it can be: at the end of the program, when it is needed, it cannot always."""
        if not self._worker.is_there and self._supervisor != threading.get_ident() and self._mutex.take(0.0):
            try:
                with contextlib.suppress(NoThreadError):
                    self._worker.start()
            finally:
                self._mutex.give()

    def before_fork(self) -> None:
        """End the worker's thread if it is idle."""
        self._resumes = self._worker.is_there
        if self._supervisor != threading.get_ident() and self._mutex.take(0.0):
            try:
                self._worker.join(FORK_WAIT)
            finally:
                self._mutex.give()

    def after_fork_in_parent(self) -> None:
        """Start again what `before_fork` ended."""
        if self._resumes:
            self.prepare()

    def after_fork_in_child(self) -> None:
        """Start afresh in a forked child: the parent's threads, locks and connections mean nothing here."""
        self._worker = Worker()
        self._mutex = Mutex()
        self._supervisor = 0
        self._awaited = {}
        self._lock.forget_parents()
        self._sender.abandon()

    def deliver_one(self, uid: str, budget: float) -> tuple[str, str, Tally]:
        """Deliver what waits, *uid* with it, within *budget* seconds.

        Returns:
            What became of *uid*: ``delivered``, ``rejected`` or ``kept``; why; and what was done in all.
        """
        self._awaited[uid] = None
        try:
            tally = self.deliver(budget)
            fate = self._awaited[uid]
        finally:
            del self._awaited[uid]
        return *(fate or ("kept", tally.reason)), tally

    def deliver(self, budget: float, *, force: bool = False, waits: bool = False) -> Tally:
        """Deliver what waits within *budget* seconds, and say what was done.

        Ends after a request that held all that waited: what is stored meanwhile leaves with its own delivery. Between
        two batches another process may have its turn, or the user's withdrawal.

        Args:
            budget: Seconds, for everything.
            force: Make one attempt even while the circuit is open; a hold or a stop stays.
            waits: Wait while another process is sending, instead of leaving the records to it.
        """
        tally = Tally(budget)
        if self._supervisor == threading.get_ident():
            # A signal handler or a finalizer that interrupted this very thread in the middle of a delivery.
            return Tally(reason="this thread is sending already")
        if not self._mutex.take(budget):
            return Tally(reason="another thread is sending")
        try:
            self._supervisor = threading.get_ident()
            self._drain(tally, force=force, waits=waits)
        except StoreError as error:
            tally.reason = str(error)
        finally:
            self._supervisor = 0
            self._mutex.give()
        return tally

    def is_stopped(self) -> bool:
        """Tell whether the sink told this version to stop. Looked up once; then each delivery says."""
        if self.stopped is None:
            with contextlib.suppress(LockedError):  # then the next delivery knows
                self.stopped = self._outbox.circuit(patience=0.0).stopped_for == self.config.app_version
        return bool(self.stopped)

    def is_idle(self, wait_s: float) -> bool:
        """Tell whether no thread is delivering; wait up to *wait_s* seconds for that."""
        idle = self._supervisor != threading.get_ident() and self._mutex.take(wait_s)
        if idle:
            self._mutex.give()
        return idle

    def interrupt(self) -> None:
        """Break off the running attempt; its records are kept."""
        self._sender.abandon()
        self._worker.leave()

    def close(self, wait_s: float) -> None:
        """Stop the worker and close idle connections; waits *wait_s* seconds for an attempt that was broken off."""
        self._worker.join(wait_s)
        self._sender.close()

    def _drain(self, tally: Tally, *, force: bool, waits: bool) -> None:
        goes_on = True
        while goes_on:
            if tally.is_up():
                tally.reason = _TIME_UP
                return
            if not self._lock.take(tally.left() if waits else 0.0):
                tally.reason = self._lock.problem
                return
            try:
                goes_on = self._deliver_batch(tally, force=force)
            finally:
                try:
                    self._lock.unlock_file()
                except OSError:
                    pass  # the program closed it
                finally:
                    try:
                        self._lock.close_file()
                    except OSError:
                        pass
                    finally:
                        self._lock.release()
            force = False

    def _deliver_batch(self, tally: Tally, *, force: bool) -> bool:
        """Take, send and settle one batch; return whether there is more, and use in going on."""
        taken = self._take_batch(tally.left(), force=force)
        tally.reason = taken.blocked
        return self._send_all(taken, tally) if taken.records else taken.has_more

    def _take_batch(self, patience: float, *, force: bool) -> Batch:
        now = self._now()
        config = self.config

        def terms(circuit: Circuit) -> Terms:
            decision = self.right()
            self.stopped = circuit.stopped_for == config.app_version
            closed = config.blocked(circuit, now=now, force=force) or config.blocked(
                self._unsettled, now=now, force=force
            )
            blocked = decision.reason if decision.level is Level.OFF else decision.hold or closed
            return Terms(decision.grants, decision.destroys_others, blocked, blocked == STOPPED)

        return self._outbox.take(terms, now=now, lock=self._lock.file_id, patience=patience)

    def _send_all(self, taken: Batch, tally: Tally) -> bool:
        """Send the records of a batch, halving what the sink finds faulty; return whether there is more to send now."""
        parts: list[Sequence[Pending]] = [taken.records]
        circuit = taken.circuit
        while parts:
            if tally.is_up():
                tally.reason = _TIME_UP
                return False
            # What was sent is halved, not what was taken: it may carry a new time, and must keep that one.
            part, judgement, circuit = self._request(parts.pop(), circuit, tally)
            if judgement.verdict is Verdict.SPLIT:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            elif judgement.verdict not in (Verdict.DELIVERED, Verdict.REJECTED):
                tally.reason = judgement.reason
                return False
            elif judgement.verdict is Verdict.REJECTED and any(it.before_ns is not None for it in part):
                return True  # to be taken anew, for what comes after it in its chain must not name it
        return taken.has_more

    def _request(
        self, part: Sequence[Pending], circuit: Circuit, tally: Tally
    ) -> tuple[Sequence[Pending], Judgement, Circuit]:
        """Make one request and write down how it ended; return the records as they were sent too."""
        config, now_ns = self.config, to_millisecond(self._clock())
        skew_ns = int(retry.known_skew(circuit, now_ns / NANOSECONDS) * NANOSECONDS)
        records, fresh = batch.as_sent(part, now_ns, late_ns=config.late_ns, skew_ns=skew_ns)
        budget, began = min(config.timeout, tally.left()), time.monotonic()
        request = Request(now_ns, now_ns + int(budget * NANOSECONDS), config.sink, self._lock.file_id, self._headers)
        encode = partial(batch.encode, packs=self._packs)
        present, body, number = self._outbox.begin(
            batch.in_order(records), fresh, encode, request, patience=tally.left()
        )
        if not present:
            return present, Judgement(Verdict.DELIVERED), circuit
        permit = Permit(self.right, frozenset({record.grant for record in present if record.grant is not None}))
        if tally.is_up():
            permit.refusal = _TIME_UP
            answer = Answer(None)
        else:
            answer = make_attempt(self._worker, self._sender, body, permit, budget)
        tally.note_attempt(time.monotonic() - began)
        self.withheld = "" if permit.cancelled else permit.refusal
        tally.has_analytics = tally.has_analytics or bool(permit.grants and permit.was_given)
        changed = {record.seq for record in fresh}
        unsent = () if permit.was_given else [Fate([it for it in part if it.seq in changed], "unsent")]
        if self.withheld:
            why, patience = permit.refusal, tally.left()
            self._outbox.settle(
                number, unsent, status=None, verdict="withheld", reason=why, circuit=circuit, patience=patience
            )
            return present, Judgement(Verdict.RETRY, permit.refusal), circuit
        return present, *self._conclude(number, present, unsent, answer, circuit, tally)

    def _conclude(
        self,
        number: int,
        records: Sequence[Pending],
        unsent: Sequence[Fate],
        answer: Answer,
        circuit: Circuit,
        tally: Tally,
    ) -> tuple[Judgement, Circuit]:
        """Judge an answer and write down what follows; if that fails, leave the sink alone for a while too."""
        try:
            acknowledged, rejected, message = otlp.read_success(answer)
            judgement = retry.judge(
                answer,
                records=len(records),
                acknowledged=acknowledged,
                rejected=rejected,
                failing_s=retry.failing_seconds(circuit, self._now()),
            )
            judgement = retry.forgive_clock(circuit, judgement, answer, self._now())
            fates = unsent or fates_of(records, judgement, answer, self._now())
            after = self._settle(number, fates, answer, judgement, circuit, message, tally)
        except Exception as error:
            failed = Judgement(Verdict.RETRY, f"its answer could not be written down ({type(error).__name__})")
            before = max(circuit, self._unsettled, key=lambda it: it.failures)
            self._unsettled = self.config.next_circuit(before, failed, Answer(None), now=self._now(), draw=self._draw())
            if not isinstance(error, StoreError):  # our bug, and the file can be written
                self._outbox.settle(
                    number, (), status=None, verdict="retry", reason=failed.reason, circuit=self._unsettled
                )
            raise
        self._unsettled = Circuit()
        return judgement, after

    def _settle(
        self,
        number: int,
        fates: Sequence[Fate],
        answer: Answer,
        judgement: Judgement,
        circuit: Circuit,
        message: str,
        tally: Tally,
    ) -> Circuit:
        draw = self._draw() if judgement.verdict is Verdict.RETRY else 0.0
        after = self.config.next_circuit(circuit, judgement, answer, now=self._now(), draw=draw)
        rejected = judgement.rejected if fates and fates[0].fate == "delivered" else 0
        self._outbox.settle(
            number,
            fates,
            status=answer.status,
            verdict=judgement.verdict.value,
            reason=retry.explain(judgement, answer, message),
            rejected=rejected,
            circuit=after,
            patience=tally.left(),
        )
        if judgement.verdict is Verdict.STOP:
            self.stopped = True
            self._outbox.purge(STOPPED)
        if any(record.name == DELETION_REQUESTED for fate in fates for record in fate.records):
            self._sender.close()  # nothing of a later id goes over the connection that carried the old one
        self._outage.note(judgement, loud=self.config.loud)
        self._count(fates, rejected, judgement.reason, tally)
        return after

    def _count(self, fates: Sequence[Fate], rejected: int, reason: str, tally: Tally) -> None:
        tally.delivered -= rejected
        tally.rejected += rejected
        for end, records in ((fate.fate, fate.records) for fate in fates):
            tally.delivered += len(records) if end == "delivered" else 0
            tally.rejected += len(records) if end == "rejected" else 0
            why = reason or ("the sink rejected it" if end == "rejected" else "")
            known = end if end in ("delivered", "rejected") else "kept"
            for uid in self._awaited.keys() & {record.uid for record in records} if self._awaited else ():
                self._awaited[uid] = (known, why)
            tally.once += [(it.name, it.made_ns) for it in records if it.derived and end == "delivered"]

    def _now(self) -> float:
        return to_millisecond(self._clock()) / NANOSECONDS


class OutageLog:
    """Remembers whether the sink took records last."""

    def __init__(self) -> None:
        self._is_on = False

    def note(self, judgement: Judgement, *, loud: bool) -> None:
        """Log the begin of an outage: at WARNING if *loud*, for a host that chose the sink itself, else at DEBUG."""
        failed = judgement.verdict in (Verdict.RETRY, Verdict.HOLD, Verdict.STOP)
        if failed and not self._is_on:
            fate = "dropped" if judgement.verdict is Verdict.STOP else "kept"
            words = "the telemetry sink does not take records now (%s); they are %s"
            (logger().warning if loud else logger().debug)(words, judgement.reason, fate)
        if judgement.verdict is not Verdict.SPLIT:
            self._is_on = failed


_LEAST: Final = 0.1
_FIRST_SEEN_WAIT: Final = 86_400.0


class Tally:
    """What one delivery did, in records, why it ended with some left, and what is left of its *budget* seconds."""

    def __init__(self, budget: float = 0.0, reason: str = "") -> None:
        self.delivered = 0
        self.rejected = 0
        self.reason = reason
        self.once: list[tuple[str, int]] = []  # names and moments of delivered records with a derived uid
        self.has_analytics = False  # whether a request with analytics may have left
        self._deadline = time.monotonic() + budget
        self._least = 0.0

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(self._deadline - time.monotonic(), 0.0)

    def is_up(self) -> bool:
        """Tell whether there is no time for another attempt; of the first one nobody knows what it takes."""
        return self.left() <= self._least

    def note_attempt(self, took: float) -> None:
        """Begin no other attempt that is likely to be broken off: that would count as the sink's failure."""
        self._least = max(2 * took, _LEAST)


def fates_of(records: Sequence[Pending], judgement: Judgement, answer: Answer, now: float) -> list[Fate]:
    """Return what becomes of *records*, all judged alike."""
    # All of them rejected, so it is known which; of some it is not.
    if judgement.verdict is Verdict.REJECTED or judgement.rejected == len(records):
        # A first_seen stays due: it is offered again the next day, under the same uid.
        due = [record for record in records if record.name == FIRST_SEEN]
        gone = [record for record in records if record.name != FIRST_SEEN]
        return [Fate(due, "put off", now + _FIRST_SEEN_WAIT), Fate(gone, "rejected")]
    if judgement.verdict is Verdict.DELIVERED:
        return [Fate(records, "delivered")]
    if judgement.verdict is Verdict.RETRY and answer.status not in retry.NOT_TAKEN:
        return [Fate(records, "unanswered")]
    return [Fate([record for record in records if record.before_ns is not None], "not taken")]


class DeliveryConfig(NamedTuple):
    """How one app's records are delivered.

    Attributes:
        sink: Host of the sink, for the sent log.
        configuration: Makes, once, what stands for everything a HOLD depends on.
        app_version: The version a stop signal silences.
        timeout: Seconds for one request.
        late_ns: Age after which an unsent record is sent as late; None to send its own time always.
        loud: Whether an outage is worth a WARNING: the host named the sink in its own code.
    """

    sink: str
    configuration: Callable[[], str]
    app_version: str
    timeout: float
    late_ns: int | None
    loud: bool

    def blocked(self, circuit: Circuit, *, now: float, force: bool = False) -> str:
        """Return why nothing may be sent now; see `retry.blocked`."""
        return retry.blocked(
            circuit, now=now, configuration=self.configuration(), app_version=self.app_version, force=force
        )

    def next_circuit(
        self, circuit: Circuit, judgement: Judgement, answer: Answer, *, now: float, draw: float
    ) -> Circuit:
        """Return the circuit after an attempt; see `retry.next_circuit`."""
        return retry.next_circuit(
            circuit,
            judgement,
            answer,
            now=now,
            draw=draw,
            configuration=self.configuration(),
            app_version=self.app_version,
        )


def make_config(sink: Sink, *, app_version: str, timeout: float, late_ns: int | None) -> DeliveryConfig:
    """Return the settings of delivery to *sink*: its own *timeout* counts where it is the shorter one."""
    return DeliveryConfig(
        sink=sink.host,
        configuration=functools.cache(functools.partial(_configuration, sink, app_version)),
        app_version=app_version,
        timeout=min(sink.timeout or timeout, timeout),
        late_ns=late_ns,
        loud=sink.from_code,
    )


def _configuration(sink: Sink, version: str) -> str:
    import hashlib  # which loads OpenSSL, and is of no use before something is sent

    # Hashed, because it is stored and holds the token.
    text = "\0".join([sink.url, *(f"{name}:{value}" for name, value in sink.headers), version])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
