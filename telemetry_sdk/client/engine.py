"""What runs behind one `Telemetry`: its threads, its begin and its end, what a fork and a decision of the user do.

Nothing is opened while a switch says OFF: no file, no thread, no id, not even a look at the state directory, unless
somebody asks for the `status`.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics import event as analytics_event
from telemetry_sdk.analytics.scope import Scope
from telemetry_sdk.base_payload import platform
from telemetry_sdk.client.choices import Choices
from telemetry_sdk.client.pipeline import Pipeline, RecordMaker
from telemetry_sdk.client.session import Session, Sessions
from telemetry_sdk.consent import policy
from telemetry_sdk.delivery.heartbeat import heartbeat_step
from telemetry_sdk.host import lifecycle
from telemetry_sdk.host.background import GATHERING, LONGEST_SLEEP, REST, Ticker
from telemetry_sdk.host.guard import guarded
from telemetry_sdk.host.quiet import logger
from telemetry_sdk.model import (
    HEARTBEAT,
    NANOSECONDS,
    Level,
    Outcome,
    Receipt,
    timestamp,
)
from telemetry_sdk.outbox import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.consent.notice import About
    from telemetry_sdk.model import InvalidEventError
    from telemetry_sdk.sender.endpoint import Settings, Sink

_AFTER_A_BUG: Final = 60.0
_MOST_REASONS: Final = 100
_LONGEST_REASON: Final = 200
_AFTER_ANOTHER: Final = 1.0  # it has what this process stored, unless it had just ended
_NOTICE_HOLD: Final = "the first-run notice was shown in this run; records leave with the next one"


def _own_command(app: str, state_dir: str | os.PathLike[str] | None) -> str:
    """Return what a user types for the state of *app*, whatever it is; empty in a program frozen into one file."""
    if not sys.executable or getattr(sys, "frozen", False):
        return ""
    import shlex  # for whoever is shown it

    where = [] if state_dir is None else ["--state-dir", os.fspath(state_dir)]
    return shlex.join([sys.executable, "-m", "telemetry_sdk", "--app", app, *where])


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
        self.pid = os.getpid()
        self.config = config
        self.settings = settings
        self.providers = providers
        self.prefix = policy.switch_prefix(config.app)
        self._switch = f"{self.prefix}_TELEMETRY"
        self._state_dir = state_dir
        self.scope = Scope(config.app)
        self.refused: dict[str, int] = {}  # why events were, and how often
        maker = RecordMaker(config, providers)
        self.pipeline = Pipeline(config, providers, maker, wake=self._wake)
        self.choices = Choices(config, providers, maker)
        make = partial(Session, config, settings, providers, prefix=self.prefix, state_dir=state_dir)
        self.sessions = Sessions(make, providers.environ, self._switch)
        self._heartbeat = Ticker("telemetry-sdk-heartbeat", self._heartbeat_step)
        self._background = Ticker("telemetry-sdk-delivery", self._background_step, gather_s=GATHERING, rest_s=REST)

    @property
    def session(self) -> Session:
        """The session that the switch names at this moment."""
        return self.sessions.current

    @guarded(lambda _: None)
    def _wake(self, session: Session) -> None:
        if self._background.wake():
            # It first gathers, and a short program has ended by then.
            session.delivery.prepare()

    def note_refused(self, error: InvalidEventError) -> None:
        """Count an event that does not fit the rules; log each reason once, and keep it for ``doctor``.

        It is the host's mistake, and else never seen. Without the event's name, which may be made of anything.
        """
        reason = error.problem
        if reason not in self.refused:
            if len(self.refused) >= _MOST_REASONS:
                return
            logger().warning("an event was refused: %s", reason)
            now = timestamp(self.providers.now_ns())
            self.session.progress.update(lambda _: {"refused_at": now, "refused_for": reason[:_LONGEST_REASON]})
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def bind_user(self, user_id: object) -> str | None:
        """Bind a user for the current context, and return the id as events carry it; None unbinds.

        Raises:
            InvalidEventError: *user_id* is no id.
        """
        user = analytics_event.identity_of(user_id)
        self.scope.bind_user(user)
        return user

    def should_ask(self) -> bool:
        """Tell whether to ask the user; see `Telemetry.should_ask`."""
        session, catalog = self.session, self.config.catalog
        if session.is_log or session.gate.right().decided_by not in ("consent", "notice"):
            return False
        state = session.installation.read()
        if state.telemetry_enabled:
            return catalog is not None and bool(catalog.unagreed(catalog.covered(state.consent_catalog_version)))
        is_undecided = state.telemetry_enabled is None and state.base_enabled is not False and state.is_readable
        return is_undecided and not state.doubt

    def withdraw(self, *, everything: bool = False) -> bool:
        """Carry out an opt-out; see `Telemetry.opt_out`."""
        session = self.session
        if session.gate.is_switched_off() and not session.installation.exists:
            return True
        certain = self.choices.withdraw(session, everything=everything)
        if session.is_log and self.sessions.real.installation.exists:
            # The log stores nothing, but a no of the user outlasts it.
            certain = self.choices.withdraw(self.sessions.real, everything=everything) and certain
        return certain

    def forget(self) -> tuple[bool, Receipt]:
        """Delete everything on this machine; see `Telemetry.forget`. What only the log holds goes too.

        Returns:
            Whether it is complete, and what became of the request to delete what the sink's owner has.
        """
        certain, request = self.choices.forget(self.sessions.real)
        if self.sessions.log is not None:
            self.sessions.log.outbox.forget("forgotten", None)
            self.sessions.log.installation.erase()
            self.sessions.log.progress.erase()
        if isinstance(request, str):
            return certain, Receipt(Outcome.SUPPRESSED, reason=request)
        if self.session.is_log:
            return certain, Receipt(Outcome.QUEUED, request.uid, self.sessions.real.gate.right().reason)
        self.pipeline.in_use = True
        return certain, self.pipeline.dispatch(self.sessions.real, Receipt(Outcome.QUEUED, request.uid))

    def has_stored_no(self) -> bool:
        """Tell whether a no of the user is on disk, not only in the log's memory."""
        installation = self.sessions.real.installation
        return installation.exists and installation.read().telemetry_enabled is False

    def reset_identity(self) -> str | None:
        """Begin as a new install; see `Telemetry.reset_install_id`. What only the log holds goes too."""
        if self.sessions.log is not None:
            self.choices.reset_identity(self.sessions.log)
        return self.choices.reset_identity(self.sessions.real)

    def show_notice(self) -> None:
        """Show the first-run notice if it is due and a terminal is there; then nothing leaves from this process."""
        notice, session = self.config.notice, self.session
        if notice is None or session.is_log or session.sink is None or session.gate.is_switched_off():
            return
        state = session.installation.read()
        if not session.gate.is_notice_due(state) or session.gate.right().decided_by != "notice":
            return
        if not notice.can_be_seen() or platform.detect_deployment(self.providers.environ) == "ci":
            return
        if not session.installation.check_writable():  # it could not be marked as shown, nor anything be sent
            return
        session.gate.hold_all(_NOTICE_HOLD)
        if notice.show(self._about(session.sink)):
            session.installation.update(lambda _: {"notice_version_shown": notice.version})

    def ask(self, prompt: str | None) -> bool | None:
        """Ask the user on the terminal; see `Telemetry.ask`. None: there is no answer, or nobody was asked."""
        with lifecycle.loading():
            from telemetry_sdk.consent import asking

        session, catalog = self.session, self.config.catalog
        sink = session.sink
        if not (self.should_ask() and sink and asking.can_be_answered()):
            return None
        state = session.installation.read()
        names: Sequence[str] = ()
        if catalog is not None:
            names = catalog.unagreed(catalog.covered(state.consent_catalog_version)) if state.telemetry_enabled else ()
            names = names or tuple(catalog.events)
        text = prompt or asking.question(self._about(sink), names, agreed=bool(state.telemetry_enabled))
        return asking.ask(text, default=None if state.telemetry_enabled else False)

    def _about(self, sink: Sink) -> About:
        with lifecycle.loading():
            from telemetry_sdk.consent.notice import About

        config = self.config
        return About(
            app=config.app,
            sink=sink.host,
            variable=self._switch,
            command=config.command or _own_command(config.app, self._state_dir),
            vendor=config.vendor or "",
            purpose=config.purpose or "",
            privacy_url=config.privacy_url or "",
        )

    def start(self) -> None:
        """Start the daily schedule, and deliver what an earlier run left behind."""
        session = self.session
        if session.gate.right().level is Level.OFF:
            return
        self.pipeline.in_use = True
        if session.installation.read().heartbeat_phase_s is not None:
            self._heartbeat.start()
        if self.config.delivery == "background":
            self._wake(session)
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
        for session in self.sessions.opened():
            session.break_off()

    @guarded(lambda _: None)
    def shut(self, deadline: float, *, for_good: bool) -> None:
        """Wait for the threads, for one in the middle of its step would open again what is closed here; then close."""
        for ticker in (self._background, self._heartbeat):
            ticker.join(deadline - time.monotonic())
        for session in self.sessions.opened():
            session.shut(deadline, for_good=for_good)

    @guarded(lambda _: None)
    def at_fork(self, moment: str) -> None:
        """Close what must not be carried into a child; go on in the parent, start afresh in the child."""
        tickers = (self._heartbeat, self._background)
        if moment == "before":
            for ticker in tickers:
                ticker.before_fork()
            for session in self.sessions.opened():
                session.before_fork()
            return
        self.pid = os.getpid()
        for session in self.sessions.opened():
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
        if tally.reason == "another process is sending":
            return _AFTER_ANOTHER
        wait = max(circuit.not_before, circuit.held_until) - self.providers.now_ns() / NANOSECONDS
        if wait <= 0 and tally.reason and not session.delivery.is_stopped():
            return self.config.timeout  # what stood in the way is none of the sink's doing, and passes
        return min(wait, LONGEST_SLEEP) if wait > 0 else LONGEST_SLEEP
