"""What is open behind one `Telemetry`: state and delivery, its threads, its begin and its end.

Nothing is opened while a switch says OFF: no file, no thread, no id, not even a look at the state directory. Each part
of a session is opened when first needed. There are two sessions: the real one, and one for ``<APP>_TELEMETRY=log``,
which takes the same road to standard error and keeps nothing. Only the one that the switch names may send.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics import event as analytics_event
from telemetry_sdk.analytics.scope import Scope
from telemetry_sdk.base_payload import platform
from telemetry_sdk.client.choices import Choices
from telemetry_sdk.client.pipeline import Pipeline, RecordMaker
from telemetry_sdk.consent import policy
from telemetry_sdk.consent.gate import Gate
from telemetry_sdk.consent.store import ConsentStore
from telemetry_sdk.delivery.deliver import BUSY, Delivery, Tally, make_config
from telemetry_sdk.delivery.heartbeat import heartbeat_step
from telemetry_sdk.host import lifecycle
from telemetry_sdk.host.background import GATHERING, LONGEST_SLEEP, REST, Ticker
from telemetry_sdk.host.files import ProcessLock
from telemetry_sdk.host.guard import guarded
from telemetry_sdk.identity.directory import locate
from telemetry_sdk.identity.installation import Installation, ProgressFile
from telemetry_sdk.model import (
    FIRST_SEEN,
    HEARTBEAT,
    INSTALL,
    NANOSECONDS,
    Level,
    Outcome,
    Receipt,
    timestamp,
)
from telemetry_sdk.outbox.database import StoreError
from telemetry_sdk.outbox.queue import Outbox
from telemetry_sdk.sender.endpoint import Sink
from telemetry_sdk.sender.file import FileSender, LogSender
from telemetry_sdk.sender.http import HttpSender

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.identity.schema import Progress
    from telemetry_sdk.model import Decision
    from telemetry_sdk.sender.endpoint import Settings
    from telemetry_sdk.sender.wire_gate import Sender

_AFTER_A_BUG: Final = 60.0
_AFTER_ANOTHER: Final = 1.0  # it has what this process stored, unless it had just ended
_NOTICE_HOLD: Final = "the first-run notice was shown in this run; records leave with the next one"


def _later(_: str) -> float | None:
    return _AFTER_A_BUG


class Engine:
    """Everything behind the facade. Its methods may raise our own bugs; the facade guards them."""

    def __init__(
        self,
        config: Config,
        settings: Settings,
        providers: Providers,
        *,
        state_dir: str | os.PathLike[str] | None,
    ) -> None:
        self.config = config
        self.settings = settings
        self.providers = providers
        self.prefix = policy.switch_prefix(config.app)
        self._switch = f"{self.prefix}_TELEMETRY"
        self.scope = Scope(config.app)
        maker = RecordMaker(config, providers)
        self.pipeline = Pipeline(config, providers, maker, wake=self._wake)
        self.choices = Choices(config, providers, maker)
        self._make_session = partial(Session, config, settings, providers, prefix=self.prefix, state_dir=state_dir)
        self._real = self._make_session()
        self._log: Session | None = None
        self._heartbeat = Ticker("telemetry-sdk-heartbeat", self._heartbeat_step)
        self._background = Ticker("telemetry-sdk-delivery", self._background_step, gather_s=GATHERING, rest_s=REST)

    @property
    def session(self) -> Session:
        """The set that the switch names at this moment."""
        if self._real.gate.known_off() or self.providers.environ.get(self._switch, "").strip().lower() != "log":
            return self._real
        if self._log is None:
            self._log = self._make_session(is_log=True)
        return self._log

    def right(self) -> tuple[Session, Decision]:
        """Return the set that the switch names at this moment, and what may leave through it now."""
        decision = self._real.gate.right()
        # The word for the log closes the real set.
        if decision.decided_by == self._switch and (session := self.session) is not self._real:
            return session, session.gate.right()
        return self._real, decision

    def _all_sessions(self) -> Iterator[Session]:
        yield self._real
        if self._log is not None:
            yield self._log

    def _wake(self) -> None:
        self._background.wake()
        # It first gathers, and a short program has ended by then.
        self.session.delivery.prepare()

    def bind_user(self, user_id: object) -> str | None:
        """Bind a user for the current context, and return the id as events carry it; None unbinds.

        Raises:
            InvalidEventError: *user_id* is no id.
        """
        user = analytics_event.identity_of(user_id)
        self.scope.bind_user(user)
        return user

    def withdraw(self) -> bool:
        """Carry out an opt-out; see `Telemetry.opt_out`."""
        session = self.session
        if session.gate.is_switched_off() and not session.installation.exists:
            return True
        certain = self.choices.withdraw(session)
        if session.is_log and self._real.installation.exists:
            # The log stores nothing, but a no of the user outlasts it.
            certain = self.choices.withdraw(self._real) and certain
        return certain

    def forget(self) -> tuple[bool, Receipt]:
        """Delete everything on this machine; see `Telemetry.forget`. What only the log holds goes too.

        Returns:
            Whether it is complete, and what became of the request to delete what the sink's owner has.
        """
        certain, request = self.choices.forget(self._real)
        if self._log is not None:
            self._log.outbox.forget("forgotten", None)
            self._log.installation.erase(declined=False)
            self._log.progress.erase()
        if isinstance(request, str):
            return certain, Receipt(Outcome.SUPPRESSED, reason=request)
        if self.session.is_log:
            return certain, Receipt(Outcome.QUEUED, request.uid, self._real.gate.right().reason)
        self.pipeline.in_use = True
        return certain, self.pipeline.dispatch(self._real, Receipt(Outcome.QUEUED, request.uid))

    def has_stored_no(self) -> bool:
        """Tell whether a no of the user is on disk, not only in the log's memory."""
        installation = self._real.installation
        return installation.exists and installation.read().telemetry_enabled is False

    def reset_identity(self) -> str | None:
        """Begin as a new install; see `Telemetry.reset_install_id`. What only the log holds goes too."""
        if self._log is not None:
            self.choices.reset_identity(self._log)
        return self.choices.reset_identity(self._real)

    def show_notice(self) -> None:
        """Show the first-run notice if it is due and a terminal is there; then nothing leaves from this process."""
        notice, session = self.config.notice, self.session
        sink = session.sink
        if notice is None or session.is_log or sink is None or session.gate.is_switched_off():
            return
        state = session.installation.read()
        if not session.gate.is_notice_due(state) or session.gate.right().decided_by != "notice":
            return
        if not notice.can_be_seen() or platform.detect_deployment(self.providers.environ) == "ci":
            return
        if not session.installation.check_writable():  # it could not be marked as shown, nor anything be sent
            return
        session.gate.hold_all(_NOTICE_HOLD)
        if notice.show(app=self.config.app, sink=sink.host, variable=self._switch):
            session.installation.update(lambda _: {"notice_version_shown": notice.version})

    def start(self) -> None:
        """Start the daily schedule, and deliver what an earlier run left behind."""
        session = self.session
        if session.gate.right().level is Level.OFF:
            return
        self.pipeline.in_use = True
        if session.installation.read().heartbeat_phase_s is not None:
            self._heartbeat.start()
        if self.config.delivery == "background":
            self._wake()
        elif self.config.delivery == "sync" and session.outbox.has_waiting():
            self.pipeline.warn_of_loop(session)
            session.deliver(self.config.timeout)

    @property
    def strict(self) -> bool:
        """Whether bugs are raised."""
        return self.config.strict

    @property
    def exit_timeout(self) -> float:
        """Seconds the end of the program may take for this engine."""
        return self.config.exit_timeout if self.pipeline.in_use else 0.0

    def close(self, timeout: float) -> None:
        """Stop the threads, deliver within *timeout* seconds unless the mode is manual, close what is open.

        The next call opens what it needs.
        """
        lifecycle.end([(self, timeout)], for_good=False)

    @guarded(lambda _: None)
    def halt(self) -> None:
        """Tell the threads to end; see `lifecycle.Living`, here and below."""
        self.pipeline.in_use = False
        self._heartbeat.stop()
        self._background.stop()

    @guarded(lambda _: None)
    def drain(self, timeout: float) -> None:
        """Deliver what waits, unless the mode is manual."""
        session = self.session
        if (
            self.config.delivery != "manual"
            and session.gate.right().level is not Level.OFF
            and session.outbox.has_waiting()
        ):
            session.deliver(timeout)

    @guarded(lambda _: None)
    def break_off(self) -> None:
        """Break off a request that is still under way."""
        for session in self._all_sessions():
            session.break_off()

    @guarded(lambda _: None)
    def shut(self, deadline: float, *, for_good: bool) -> None:
        """Wait for the threads, for one in the middle of its step would open again what is closed here; then close."""
        for ticker in (self._background, self._heartbeat):
            ticker.join(deadline - time.monotonic())
        for session in self._all_sessions():
            session.shut(deadline, for_good=for_good)

    @guarded(lambda _: None)
    def at_fork(self, moment: str) -> None:
        """Close what must not be carried into a child; go on in the parent, start afresh in the child."""
        tickers = (self._heartbeat, self._background)
        if moment == "before":
            for ticker in tickers:
                ticker.before_fork()
            for session in self._all_sessions():
                session.before_fork()
            return
        for session in self._all_sessions():
            (session.after_fork_in_parent if moment == "parent" else session.after_fork_in_child)()
        for ticker in tickers:
            (ticker.after_fork_in_parent if moment == "parent" else ticker.after_fork_in_child)()

    @guarded(_later)
    def _heartbeat_step(self) -> float | None:
        session = self.session
        phase = session.installation.read().heartbeat_phase_s if session.gate.right().level is not Level.OFF else None
        if phase is None:
            return LONGEST_SLEEP
        now = self.providers.now_ns() / NANOSECONDS
        return heartbeat_step(now, phase, partial(self.pipeline.base, session, HEARTBEAT))

    @guarded(_later)
    def _background_step(self) -> float | None:
        """Deliver what waits, and return the seconds until that is worth trying again; None when nothing waits."""
        session = self.session
        if (decision := session.gate.right()).level is Level.OFF or decision.hold:
            return None
        if not session.outbox.has_waiting():
            return None
        tally = session.deliver(LONGEST_SLEEP)
        if not session.outbox.has_waiting():
            return None
        if not tally.reason and (tally.delivered or tally.rejected):
            return 0.0  # stored during the request
        try:
            circuit = session.outbox.circuit()
        except StoreError:
            return self.config.timeout
        if tally.reason == BUSY:
            return _AFTER_ANOTHER
        wait = max(circuit.not_before, circuit.held_until) - self.providers.now_ns() / NANOSECONDS
        if wait <= 0 and tally.reason and not session.delivery.is_stopped():
            return self.config.timeout  # what stood in the way is none of the sink's doing, and passes
        return min(wait, LONGEST_SLEEP) if wait > 0 else LONGEST_SLEEP


_NOTES: Final = {FIRST_SEEN: "first_seen_sent_at", INSTALL: "install_ping_sent_at"}
_LOOK_AGAIN: Final = 0.02
_LOG_SINK: Final = Sink("log:", "stderr")  # where records go under <APP>_TELEMETRY=log


class Session:
    """State and delivery of one app for one sink.

    Args:
        options: What the integrator chose.
        settings: The sink, or why there is none.
        world: Clock, ids, environment.
        prefix: Prefix of the app's variables.
        state_dir: Where state is kept, when the integrator said so.
        is_log: Whether this is the set for ``<APP>_TELEMETRY=log``.
    """

    def __init__(
        self,
        config: Config,
        settings: Settings,
        providers: Providers,
        *,
        prefix: str,
        state_dir: str | os.PathLike[str] | None,
        is_log: bool = False,
    ) -> None:
        self.is_log = is_log
        self.settings = settings
        self.gate = Gate(
            providers.environ,
            prefix,
            lambda: self.installation,
            has_sink=settings.sink is not None,
            notice_version=config.notice.version if config.notice and not is_log else None,
            to_log=is_log,
        )
        self._config = config
        self._providers = providers
        self._prefix = prefix
        self._state_dir = state_dir
        self._lock = threading.RLock()
        self._installation: Installation | None = None
        self._progress: ProgressFile | None = None
        self._consent: ConsentStore | None = None
        self._outbox: Outbox | None = None
        self._delivery: Delivery | None = None

    @property
    def installation(self) -> Installation:
        """The state file. Found without a lock once it is open, for it is asked for inside transactions."""
        return self._installation or self._open_installation()

    def _open_installation(self) -> Installation:
        with self._lock:
            if self._installation is None:
                directory = locate(self._config.app, self._prefix, self._providers.environ, self._state_dir)
                self._installation = Installation(directory, read_only=self.is_log)
            return self._installation

    @property
    def progress(self) -> ProgressFile:
        """What the program itself did."""
        with self._lock:
            if self._progress is None:
                self._progress = ProgressFile(self.installation, read_only=self.is_log)
            return self._progress

    @property
    def consent(self) -> ConsentStore:
        """The consent store."""
        with self._lock:
            if self._consent is None:
                self._consent = ConsentStore(self.installation)
            return self._consent

    @property
    def outbox(self) -> Outbox:
        """The durable queue; for the log, one in memory."""
        return self._outbox or self._open_outbox()

    def _open_outbox(self) -> Outbox:
        with self._lock:
            if self._outbox is None:
                directory = None if self.is_log else self.installation.directory
                self._outbox = Outbox(directory, self._config.limits)
            return self._outbox

    @property
    def delivery(self) -> Delivery:
        """The delivery. Ask for it only when the level is above OFF, for then there is a sink."""
        return self._delivery or self._open_delivery()

    def _open_delivery(self) -> Delivery:
        with self._lock:
            if self._delivery is None:
                self._delivery = self._make_delivery()
            return self._delivery

    @property
    def sink(self) -> Sink | None:
        """Where records go, or None."""
        return _LOG_SINK if self.is_log else self.settings.sink

    def _make_delivery(self) -> Delivery:
        sink = self.sink
        if sink is None:
            raise RuntimeError("there is no sink to deliver to")
        return Delivery(
            self.outbox,
            (None if self.is_log else self._providers.sender) or _make_sender(sink),
            make_config(
                sink,
                app_version=self._config.version,
                timeout=self._config.timeout,
                late_ns=self._config.late_ns,
            ),
            self._delivery_lock(),
            right=self.gate.right,
            clock=self._providers.now_ns,
            draw=self._providers.draw,
        )

    def _delivery_lock(self) -> ProcessLock:
        """Return the lock under which one process of this machine delivers at a time."""
        directory = None if self.is_log else self.installation.directory
        path = directory / "delivery.lock" if directory and self.installation.check_writable() else None
        return ProcessLock(path, f"{'log of ' if self.is_log else ''}{self._config.app}")

    def deliver(self, budget: float, *, force: bool = False, waits: bool = False) -> Tally:
        """Deliver what waits; see `Delivery.deliver`. Notes in progress.json what left, where that keeps account."""
        tally = self.delivery.deliver(budget, force=force, waits=waits)
        self._note_all(tally)
        return tally

    def deliver_one(self, uid: str, budget: float) -> tuple[str, str]:
        """Deliver what waits, *uid* with it, and return what became of it; see `Delivery.deliver_one`."""
        fate, reason, tally = self.delivery.deliver_one(uid, budget)
        self._note_all(tally)
        return fate, reason

    def _note_all(self, tally: Tally) -> None:
        for name, made_ns in tally.once:
            self.note_delivered(name, made_ns)
        if tally.has_analytics:
            self.progress.update(lambda it: {} if it.analytics_sent_at else {"analytics_sent_at": self._now()})

    def note_delivered(self, name: str, made_ns: int | None = None) -> None:
        """Note that the record *name*, made at *made_ns*, was delivered, as far as that is kept account of."""
        key = _NOTES.get(name)
        seen = timestamp(made_ns) if made_ns is not None and name == HEARTBEAT else ""

        def change(done: Progress) -> dict[str, object]:
            changes: dict[str, object] = {key: self._now()} if key and not getattr(done, key) else {}
            return changes | ({"last_seen_at": seen} if seen > (done.last_seen_at or "") else {})

        self.progress.update(change)

    def _now(self) -> str:
        return timestamp(self._providers.now_ns())

    def has_sent_analytics(self) -> bool:
        """Tell whether a request with analytics was begun, as far as is known: noted, or still in the sent log.

        The log knows of one that a kill kept from being noted.
        """
        done = self.progress.read()
        if done.analytics_sent_at or done.install_ping_sent_at:
            return True
        try:
            return self.outbox.is_there() and self.outbox.has_sent_analytics()
        except StoreError:
            return True  # nobody can tell

    def is_withdrawn(self) -> bool:
        """Tell whether, after a withdrawal was written, no request with analytics is under way; waits for that.

        Certain with the delivery lock. Should somebody have deleted its file, the sent log shows what was begun under
        another one and has not ended; that is waited for until its time is up.

        Raises:
            StoreError: The sent log cannot be read.
        """
        timeout, lock = self._config.timeout, self._delivery_lock()
        deadline = time.monotonic() + timeout
        if not lock.take(timeout):
            return False
        try:
            while self.outbox.is_there() and self.outbox.has_analytics_in_flight(
                self._providers.moment_ns(), lock.file_id
            ):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_LOOK_AGAIN)
        finally:
            try:
                lock.unlock_file()
            except OSError:
                pass  # the program closed it
            finally:
                try:
                    lock.close_file()
                except OSError:
                    pass
                finally:
                    lock.release()
        return lock.is_shared

    def why_not_kept(self) -> str:
        """Return why the state file or the outbox does not survive this process; empty when both do, or need not."""
        if self.is_log or (self.installation.check_writable() and self.outbox.is_durable()):
            return ""
        return self.installation.problem or self.outbox.database.problem or "it holds for this process only"

    def break_off(self) -> None:
        """Break off a request that is under way; its records are kept."""
        if self._delivery is not None and not self._delivery.is_idle(0.0):
            self._delivery.interrupt()

    def shut(self, deadline: float, *, for_good: bool) -> None:
        """Close files and connections; the next call opens what it needs. *for_good* at the end of the program.

        Waits for an attempt that was broken off until *deadline*, by the monotonic clock.
        """
        if self._delivery is not None:
            self._delivery.close(deadline - time.monotonic())
        if self._outbox is not None:
            self._outbox.database.close(for_good=for_good)

    def before_fork(self) -> None:
        """Close what must not be carried into a child."""
        if self._delivery is not None:
            self._delivery.before_fork()
        if self._outbox is not None:
            self._outbox.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._outbox is not None:
            self._outbox.after_fork_in_parent()
        if self._delivery is not None:
            self._delivery.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Start afresh."""
        self._lock = threading.RLock()
        if self._consent is not None:
            self._consent.after_fork()
        if self._outbox is not None:
            self._outbox.after_fork_in_child()
        if self._delivery is not None:
            self._delivery.after_fork_in_child()


def _make_sender(sink: Sink) -> Sender:
    if sink is _LOG_SINK:
        return LogSender()
    return FileSender(sink) if sink.is_file else HttpSender(sink)
