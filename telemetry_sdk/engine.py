"""The rooms of one `Telemetry`, wired together, each opened when first needed.

Nothing is opened while a switch says OFF: no file, no thread, no id, not even a look at the state directory.
"""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from telemetry_sdk import base_payload, identity, policy
from telemetry_sdk.analytics_event import INSTALL
from telemetry_sdk.attempt import sending_lock
from telemetry_sdk.consent import ConsentStore
from telemetry_sdk.delivery import Delivery
from telemetry_sdk.gate import Gate
from telemetry_sdk.heartbeat import LONGEST_SLEEP, Ticker, heartbeat_step
from telemetry_sdk.installation import Installation, StateError, locate
from telemetry_sdk.model import NANOSECONDS, FlushReport, Level, Outcome, Receipt, timestamp
from telemetry_sdk.outbox import BUSY, Outbox, StoreError, new_owner
from telemetry_sdk.plan import make_plan
from telemetry_sdk.records import RecordMaker
from telemetry_sdk.schedule import is_due, utc_day
from telemetry_sdk.sender import make_sender
from telemetry_sdk.shield import shielded
from telemetry_sdk.verdict import STOPPED

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry_sdk.analytics_event import Event
    from telemetry_sdk.model import Record
    from telemetry_sdk.options import Options
    from telemetry_sdk.policy import Decision
    from telemetry_sdk.records import World
    from telemetry_sdk.sender import Sender
    from telemetry_sdk.settings import Settings

__all__ = ["Engine"]

_log: Final = logging.getLogger("telemetry_sdk")
_FATES: Final = {"delivered": Outcome.DELIVERED, "rejected": Outcome.REFUSED, "kept": Outcome.QUEUED}
_NOTES: Final = {base_payload.FIRST_SEEN: "first_seen_sent_at", INSTALL: "install_ping_sent_at"}
_GRACE: Final = 0.2


def _no_delay(_: str) -> float | None:
    return None


class Engine:
    """Everything behind the facade. Its methods may raise our own bugs; the facade shields them."""

    def __init__(
        self,
        options: Options,
        settings: Settings,
        world: World,
        *,
        state_dir: Path | None,
        sender: Sender | None,
    ) -> None:
        self.options = options
        self.settings = settings
        self.world = world
        self.prefix = policy.switch_prefix(options.app)
        self.gate = Gate(settings, world.environ, self.prefix, lambda: self.installation)
        self.maker = RecordMaker(options, world)
        self._state_dir = state_dir
        self._sender = sender
        self._rooms = threading.RLock()
        self._installation: Installation | None = None
        self._consent: ConsentStore | None = None
        self._outbox: Outbox | None = None
        self._delivery: Delivery | None = None
        self._unkept_id = ""
        self._held = False
        self.in_use = False
        self._heartbeat = Ticker("telemetry-sdk-heartbeat", self._heartbeat_step)
        self._background = Ticker("telemetry-sdk-delivery", self._background_step)

    @property
    def installation(self) -> Installation:
        """The state file. Found without a lock once it is open, for it is asked for inside transactions."""
        return self._installation or self._open_installation()

    def _open_installation(self) -> Installation:
        with self._rooms:
            if self._installation is None:
                directory = self._state_dir or locate(self.options.app, self.prefix, self.world.environ, None)
                self._installation = Installation(directory)
            return self._installation

    @property
    def consent(self) -> ConsentStore:
        """The consent store."""
        with self._rooms:
            if self._consent is None:
                self._consent = ConsentStore(self.installation)
            return self._consent

    @property
    def outbox(self) -> Outbox:
        """The durable queue."""
        with self._rooms:
            if self._outbox is None:
                owner = new_owner(os.getpid(), self.world.new_id())
                self._outbox = Outbox(self.installation.directory, self.options.limits, owner)
            return self._outbox

    @property
    def delivery(self) -> Delivery:
        """The delivery. Ask for it only when the level is above OFF, for then there is a sink."""
        with self._rooms:
            if self._delivery is None:
                self._delivery = self._make_delivery()
            return self._delivery

    def _make_delivery(self) -> Delivery:
        sink = self.settings.sink
        if sink is None:
            raise RuntimeError("there is no sink to deliver to")
        return Delivery(
            self.outbox,
            self._sender or make_sender(sink),
            make_plan(sink, self.options, self._sending_lock_path()),
            right=self.gate.right,
            clock=self.world.now_ns,
            draw=self.world.draw,
            on_delivered=lambda record: self._note(record.name),
        )

    def _sending_lock_path(self) -> Path | None:
        directory = self.installation.directory
        return directory / "sending.lock" if directory and self.installation.check_writable() else None

    def send_base(self, name: str, *, now: bool = True) -> Receipt:
        """Make and store a base record, once per install or once per UTC day, and dispatch it unless *now* is False."""
        if (decision := self.gate.right()).level < Level.BASE:
            return Receipt(Outcome.SUPPRESSED, reason=decision.reason)
        now_ns = self.world.now_ns()
        state = self.installation.read()
        is_heartbeat = name == base_payload.HEARTBEAT
        if is_heartbeat and not is_due(now_ns / NANOSECONDS, state.last_heartbeat_on):
            return Receipt(Outcome.SUPPRESSED, reason="today's heartbeat was made already")
        if not is_heartbeat and state.first_seen_sent_at is not None:
            return Receipt(Outcome.SUPPRESSED, reason="first_seen was delivered already")
        world = self.world
        me = identity.ensure(self.installation, now_ns=now_ns, new_id=world.new_id, draw=world.draw)
        if me is None or not self.outbox.is_durable():
            problem = self.installation.problem or self.outbox.database.problem
            return Receipt(Outcome.SUPPRESSED, reason=f"base telemetry must be able to keep its state: {problem}")
        record = self.maker.base(name, me, now_ns)
        receipt = self._store(record, replaces=is_heartbeat)
        if is_heartbeat and receipt.outcome is not Outcome.DROPPED:
            day = utc_day(now_ns / NANOSECONDS)
            self.installation.update(lambda it: {} if it.last_heartbeat_on == day else {"last_heartbeat_on": day})
        elif receipt.outcome is Outcome.SUPPRESSED and self.outbox.is_done(record.uid):
            self._note(name)
        return self.dispatch(receipt) if now else receipt

    def install_id(self) -> str:
        """Return the id analytics events carry; where none can be kept, one of this process only."""
        world = self.world
        me = identity.ensure(self.installation, now_ns=world.now_ns(), new_id=world.new_id, draw=world.draw)
        if me is not None:
            return me.install_id
        self._unkept_id = self._unkept_id or world.new_id()
        return self._unkept_id

    def send_analytics(self, name: str, event: Event, install_id: str, user: str | None, decision: Decision) -> Receipt:
        """Store and dispatch an analytics event made under *decision*."""
        record = self.maker.analytics(name, event, install_id, user, decision.grant)
        receipt = self._store(record)
        if receipt and record.grant not in self.gate.right().grants:
            # Withdrawn between the first look and the write; whoever withdrew may have purged before our write.
            self.outbox.withdraw(record.uid, "consent withdrawn")
            return Receipt(Outcome.SUPPRESSED, reason="consent was withdrawn")
        return self.dispatch(receipt)

    def _store(self, record: Record, *, replaces: bool = False) -> Receipt:
        self.in_use = True
        try:
            if self.delivery.is_stopped():
                return Receipt(Outcome.SUPPRESSED, reason=STOPPED)
            stored = self.outbox.put(record, replaces=replaces)
        except StoreError as error:
            return Receipt(Outcome.DROPPED, record.uid, str(error))
        if not stored:
            return Receipt(Outcome.SUPPRESSED, record.uid, "it was accepted before")
        return Receipt(Outcome.QUEUED, record.uid)

    def dispatch(self, receipt: Receipt) -> Receipt:
        """Let a stored record leave as the delivery mode says, and return what became of it."""
        if not receipt or receipt.uid is None or self.options.delivery == "manual":
            return receipt
        if self.options.delivery == "background":
            self._background.wake()
            return receipt
        fate, reason = self.delivery.deliver_one(receipt.uid, self.options.timeout)
        return Receipt(_FATES[fate], receipt.uid, reason)

    def record_consent(self, *, enabled: bool) -> bool:
        """Store the decision; whether it is on disk."""
        return self.consent.record(enabled=enabled, now_ns=self.world.now_ns())

    def withdraw(self) -> bool:
        """Store a no, destroy what waits, and wait until no request with analytics is being written.

        Returns:
            Whether all three are certain, and nothing else allows analytics. This process sends none whatever happens.
        """
        stored = self.record_consent(enabled=False)
        try:
            if self._outbox is not None or self.outbox.exists():
                self.outbox.destroy_withdrawn(lambda: self.gate.right().grants - {policy.OPERATOR_GRANT})
            # On a full disk there may be room only now.
            stored = stored or self.record_consent(enabled=False)
            with sending_lock(self._sending_lock_path(), self.options.timeout):
                return stored and self.gate.right().level is not Level.FULL
        except (StoreError, StateError):
            return False

    def flush(self, timeout: float) -> FlushReport:
        """Deliver what waits, now; see `Telemetry.flush`."""
        if (decision := self.gate.right()).level is Level.OFF:
            return FlushReport(reason=decision.reason)
        try:
            before = sum(self.outbox.counts().dropped.values())
            tally = self.delivery.deliver(timeout, force=True, wait_for_lease=True)
            after = self.outbox.counts()
        except StoreError as error:
            return FlushReport(reason=str(error))
        dropped = sum(after.dropped.values()) - before
        reason = (tally.reason or "the records may not leave now") if after.pending else ""
        return FlushReport(tally.delivered, after.pending, tally.rejected, dropped, reason)

    def start(self) -> None:
        """Start the daily schedule, and deliver what an earlier run left behind."""
        if self.gate.right().level is Level.OFF:
            return
        self.in_use = True
        if self.installation.read().heartbeat_phase_s is not None:
            self._heartbeat.start()
        if self.options.delivery == "background":
            self._background.wake()
        elif self.options.delivery == "sync" and self._has_waiting():
            self.delivery.deliver(self.options.timeout)

    @property
    def strict(self) -> bool:
        """Whether bugs are raised."""
        return self.options.strict

    @property
    def exit_timeout(self) -> float:
        """Seconds the end of the program may take for this engine."""
        return self.options.exit_timeout if self.in_use else 0.0

    @shielded(lambda _: None)
    def close(self, timeout: float) -> None:
        """Stop the threads, deliver within *timeout* seconds unless the mode is manual, close what is open."""
        self.in_use = False
        self._heartbeat.stop()
        self._background.stop()
        if self.options.delivery != "manual" and self.gate.right().level is not Level.OFF and self._has_waiting():
            self.delivery.deliver(timeout)
            if not self.delivery.is_idle(0.0):
                self.delivery.interrupt()
        # A thread in the middle of its step would open again what is closed here.
        self._background.join(_GRACE)
        self._heartbeat.join(_GRACE / 2)
        self.shut(for_good=False)

    @shielded(lambda _: None)
    def shut(self, *, for_good: bool = True) -> None:
        """Close files and connections; the next call opens what it needs. *for_good* at the end of the program."""
        if self._delivery is not None:
            self._delivery.close()
        if self._outbox is not None:
            self._outbox.database.close(for_good=for_good)

    @shielded(lambda _: None)
    def at_fork(self, moment: str) -> None:
        """Close what must not be carried into a child; go on in the parent, start afresh in the child."""
        {"before": self._before_fork, "parent": self._after_fork_in_parent, "child": self._after_fork_in_child}[
            moment
        ]()

    def _before_fork(self) -> None:
        self._heartbeat.before_fork()
        self._background.before_fork()
        if self._delivery is not None:
            self._delivery.before_fork()
        self._held = self._outbox.database.before_fork() if self._outbox is not None else False

    def _after_fork_in_parent(self) -> None:
        if self._outbox is not None:
            self._outbox.database.after_fork_in_parent(held=self._held)
        self._heartbeat.after_fork_in_parent()
        self._background.after_fork_in_parent()

    def _after_fork_in_child(self) -> None:
        self._rooms = threading.RLock()
        if self._consent is not None:
            self._consent.after_fork()
        if self._outbox is not None:
            self._outbox.after_fork(new_owner(os.getpid(), self.world.new_id()))
        if self._delivery is not None:
            self._delivery.after_fork()
        self._heartbeat.after_fork_in_child()
        self._background.after_fork_in_child()

    def _has_waiting(self) -> bool:
        try:
            known = self._outbox is not None or self.outbox.exists()
            return known and self.outbox.counts().pending > 0
        except StoreError:
            return False

    @shielded(_no_delay)
    def _heartbeat_step(self) -> float | None:
        phase = self.installation.read().heartbeat_phase_s if self.gate.right().level is not Level.OFF else None
        if phase is None:
            return LONGEST_SLEEP
        now = self.world.now_ns() / NANOSECONDS
        return heartbeat_step(now, phase, partial(self.send_base, base_payload.HEARTBEAT))

    @shielded(_no_delay)
    def _background_step(self) -> float | None:
        """Deliver what waits, and return the seconds until that is worth trying again; None when nothing waits."""
        if self.gate.right().level is Level.OFF:
            return None
        tally = self.delivery.deliver(LONGEST_SLEEP)
        if not self._has_waiting():
            return None
        if tally.reason == BUSY:
            return self.options.timeout
        circuit, now = self.outbox.circuit(), self.world.now_ns() / NANOSECONDS
        wait = max(circuit.not_before, circuit.held_until) - now
        return min(wait, LONGEST_SLEEP) if wait > 0 else LONGEST_SLEEP

    def _note(self, name: str) -> None:
        """Write into the state file that the record *name* was delivered, for those of which it keeps account."""
        if key := _NOTES.get(name):
            now_ns = self.world.now_ns()
            self.installation.update(lambda state: {} if getattr(state, key) else {key: timestamp(now_ns)})
