"""What is open for one `Telemetry`, state and delivery, each part opened when first needed.

There are two sessions: the real one, and one for ``<APP>_TELEMETRY=log``, which takes the same road to standard
error and keeps nothing. Only the one that the switch names may send.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from telemetry_sdk.consent.gate import Gate
from telemetry_sdk.consent.store import ConsentStore
from telemetry_sdk.host.background import new_lock
from telemetry_sdk.host.files import ProcessLock
from telemetry_sdk.host.lifecycle import loading
from telemetry_sdk.identity.directory import locate
from telemetry_sdk.identity.installation import Installation, ProgressFile
from telemetry_sdk.model import (
    DAY_SECONDS,
    FIRST_SEEN,
    HEARTBEAT,
    INSTALL,
    NANOSECONDS,
    timestamp,
)
from telemetry_sdk.outbox import StoreError
from telemetry_sdk.outbox.spool import Spool
from telemetry_sdk.sender.endpoint import Sink

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.delivery.deliver import Delivery, Tally
    from telemetry_sdk.identity.schema import Progress
    from telemetry_sdk.model import Decision, Record
    from telemetry_sdk.outbox.queue import Outbox
    from telemetry_sdk.sender.endpoint import Settings
    from telemetry_sdk.sender.wire_gate import Sender

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
        self.shows = f"{prefix}_TELEMETRY=log shows it on standard error, and sends nothing" if is_log else ""
        self.settings = settings
        self.gate = Gate(
            providers.environ,
            prefix,
            lambda: self.installation,
            has_sink=settings.may_have_sink,
            notice_version=config.notice.version if config.notice and not is_log else None,
            to_log=is_log,
        )
        self._config = config
        self._providers = providers
        self._prefix = prefix
        self._state_dir = state_dir
        self._lock = new_lock()
        self._installation: Installation | None = None
        self._progress: ProgressFile | None = None
        self._consent: ConsentStore | None = None
        self._spool: Spool | None = None
        self._outbox: Outbox | None = None
        self._is_held = False
        self._analytics_noted_for: str | None = None
        self._delivery: Delivery | None = None

    @property
    def installation(self) -> Installation:
        """The state file. Found without a lock once it is open, for it is asked for inside transactions."""
        return self._installation or self._open_installation()

    def _open_installation(self) -> Installation:
        with loading(), self._lock:  # what finds the directory is loaded now
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
        with loading(), self._lock:
            from telemetry_sdk.outbox.queue import Outbox

            if self._outbox is None:
                self._outbox = Outbox(self._directory, self._config.limits, self.spool)
            return self._outbox

    @property
    def _directory(self) -> Path | None:
        return None if self.is_log else self.installation.directory

    @property
    def spool(self) -> Spool:
        """The way in for events; for the log, one that takes none."""
        return self._spool or self._open_spool()

    def _open_spool(self) -> Spool:
        with self._lock:
            if self._spool is None:
                self._spool = Spool(self._directory, self._config.limits)
            return self._spool

    def append(self, record: Record) -> None:
        """Store an event by the spool; only where that refuses it is anything behind it loaded.

        Raises:
            StoreError: It can be stored nowhere.
        """
        spool = self._spool or self._open_spool()
        if not spool.append(record):
            self.outbox.store_refused(record)
        elif spool.refused:
            self.outbox.store_refused()

    def is_stopped(self) -> bool:
        """Tell whether the sink told this version to stop, as far as this process knows without looking."""
        return self._delivery is not None and bool(self._delivery.stopped)

    @property
    def delivery(self) -> Delivery:
        """The delivery. Ask for it only when the level is above OFF, for then there is a sink."""
        return self._delivery or self._open_delivery()

    def _open_delivery(self) -> Delivery:
        with loading(), self._lock:
            if self._delivery is None:
                self._delivery = self._make_delivery()
            return self._delivery

    @property
    def sink(self) -> Sink | None:
        """Where records go, or None."""
        return _LOG_SINK if self.is_log else self.settings.sink

    def _make_delivery(self) -> Delivery:
        from telemetry_sdk.delivery.deliver import Delivery, make_config

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
            clock=self._providers.clock,
            draw=self._providers.draw,
        )

    def _delivery_lock(self) -> ProcessLock:
        """Return the lock under which one process of this machine delivers at a time."""
        directory = self._directory
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
        install_id = self.installation.newest.install_id
        if tally.has_analytics and self._analytics_noted_for != install_id:
            self.progress.update(lambda it: {} if it.analytics_sent_at else {"analytics_sent_at": self._now()})
            self._analytics_noted_for = install_id

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

    def is_deleting(self) -> bool:
        """Tell whether a request to delete an old id waits, or ended on this UTC day: no new id is made beside it."""
        today = self._providers.now_ns() // (DAY_SECONDS * NANOSECONDS) * DAY_SECONDS * NANOSECONDS
        try:
            return not self.is_log and self.outbox.is_deleting(today)
        except StoreError:
            return False  # nothing can be sent of it either

    def has_sent_analytics(self) -> bool:
        """Tell whether a request with analytics may have left, as far as is known: noted, or still in the sent log.

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
            self._is_held = self._outbox.database.before_fork()
        if self._spool is not None:
            self._spool.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._outbox is not None:
            self._outbox.database.after_fork_in_parent(held=self._is_held)
        if self._spool is not None:
            self._spool.after_fork_in_parent()
        if self._delivery is not None:
            self._delivery.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Start afresh."""
        self._lock = new_lock()
        if self._consent is not None:
            self._consent.after_fork()
        if self._outbox is not None:
            self._outbox.database.after_fork_in_child()
        if self._spool is not None:
            self._spool.after_fork_in_child()
        if self._delivery is not None:
            self._delivery.after_fork_in_child()


class Sessions:
    """The session to the sink, and the one to standard error for ``<APP>_TELEMETRY=log``, made when first asked for."""

    def __init__(self, make: Callable[..., Session], environ: Mapping[str, str], switch: str) -> None:
        self._make = make
        self._look = environ.get
        self._switch = switch
        self.real: Session = make()
        self.log: Session | None = None

    @property
    def current(self) -> Session:
        """The one that the switch names at this moment."""
        if self.real.gate.known_off() or (self._look(self._switch) or "").strip().lower() != "log":
            return self.real
        if self.log is None:
            self.log = self._make(is_log=True)
        return self.log

    def right(self) -> tuple[Session, Decision]:
        """Return the one that the switch names at this moment, and what may leave through it now."""
        decision = self.real.gate.right()
        # The word for the log closes the real one.
        if decision.decided_by == self._switch and (session := self.current) is not self.real:
            return session, session.gate.right()
        return self.real, decision

    def opened(self) -> list[Session]:
        """Return those that were made."""
        return [self.real] if self.log is None else [self.real, self.log]


def _make_sender(sink: Sink) -> Sender:
    from telemetry_sdk.sender.file import FileSender, LogSender
    from telemetry_sdk.sender.http import HttpSender

    if sink is _LOG_SINK:
        return LogSender()
    return FileSender(sink) if sink.is_file else HttpSender(sink)
