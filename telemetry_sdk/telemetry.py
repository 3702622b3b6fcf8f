"""The facade: the one object a program talks to. It gates every call and guards the host against our bugs."""

from __future__ import annotations

import functools
from functools import partial
from os import getpid
from typing import TYPE_CHECKING, Any, ParamSpec

from telemetry_sdk.analytics.scope import RequestScope
from telemetry_sdk.client import config, override
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.host import lifecycle
from telemetry_sdk.host.guard import guarded, number_of
from telemetry_sdk.identity.directory import absolute
from telemetry_sdk.model import (
    FIRST_SEEN,
    HEARTBEAT,
    IDENTIFY,
    INSTALL,
    PAGE_VIEW,
    ConfigError,
    FlushReport,
    Forgotten,
    InvalidEventError,
    Level,
    Limits,
    Outcome,
    Preview,
    Receipt,
    Status,
)
from telemetry_sdk.sender.endpoint import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from telemetry_sdk.analytics.catalog import Catalog
    from telemetry_sdk.analytics.request import RequestContext
    from telemetry_sdk.client.config import DeliveryMode, Late
    from telemetry_sdk.client.diagnostics import Diagnostics
    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.consent.notice import Notice
    from telemetry_sdk.model import SentRequest
    from telemetry_sdk.sender.endpoint import Settings

__all__ = ["Telemetry"]

P = ParamSpec("P")


def _seconds(timeout: float | None, default: float) -> float:
    """Return a timeout that locks accept: None is the default, NaN and less than zero are nothing, a day the most."""
    if timeout is None:
        return default
    seconds = number_of(timeout)
    if seconds is None:
        raise InvalidEventError("timeout", f"timeout must be a number of seconds, not {type(timeout).__name__}")
    return min(max(0.0, seconds), 86_400.0)


def _load_catalog(argument: str | os.PathLike[str] | Catalog | None) -> Catalog | None:
    if argument is None:
        return None
    from telemetry_sdk.analytics.catalog.format import load

    return load(argument)


def _showing_no_secret(construct: Callable[P, None]) -> Callable[P, None]:
    """Return *construct* with no argument of its in the frames of a `ConfigError`, which error trackers send away."""

    @functools.wraps(construct)
    def call(*args: P.args, **settings: P.kwargs) -> None:
        try:
            construct(*args, **settings)
        except ConfigError as error:
            settings.clear()
            error.__context__ = None
            raise error.with_traceback(None) from None

    return call


def _refused(reason: str) -> Receipt:
    """Return the receipt of a call that raised, for *reason*."""
    internal = reason.startswith("internal error")
    return Receipt(Outcome.DROPPED if internal else Outcome.REFUSED, reason=reason)


@functools.lru_cache(maxsize=8)
def _suppressed(reason: str) -> Receipt:
    """Return the receipt of a call that the gate turned away for *reason*."""
    # Kept: this is the call that is made all day by a program whose user said no.
    return Receipt(Outcome.SUPPRESSED, reason=reason)


def _nothing(_: str) -> str | None:
    return None


def _no_answer(_: str) -> bool | None:
    return None


def _no_requests(_: str) -> list[SentRequest]:
    return []


class Telemetry:
    """Telemetry of one app on this machine. Safe to share between threads and over a fork.

    Nothing is opened, read or started by the constructor. No method raises after it, prints, or waits longer than
    its documented bound.

    Args:
        app: Name of the program; also names its state directory and its environment variables (``acme-notes`` ->
            ``ACME_NOTES_TELEMETRY``).
        version: The program's version.
        endpoint: The sink: base URL of an OTLP/HTTP receiver, or ``file:///path/telemetry.jsonl``. See `endpoint`
            for the environment variables used without it. No sink means that nothing is ever collected.
        token: The sink's token: ``id:token``, its base64, ``Basic …`` or ``Bearer …``.
        headers: Extra request headers.
        release_channel: The channel this release came from.
        deployment_type: How the program is run, instead of what is detected.
        environment: ``deployment.environment.name`` of the records, for example ``production``.
        delivery: ``background``: stored, a daemon thread sends, and no call waits for the sink. ``sync``: stored, then
            one attempt within the call, of at most *timeout* seconds. ``manual``: stored, sent by `flush` only.
        state_dir: Where state is kept; default ``<APP>_TELEMETRY_DIR``, then the platform's user data directory.
        on_consent_change: Called with the user's decision after each change, and at `start` once one was made.
        strict: Raise our own bugs and `InvalidEventError`; for tests.
        timeout: Seconds a ``sync`` call may take in all.
        exit_timeout: Seconds `close` and the end of the program may take.
        limits: The bounds of what is kept and sent.
        late: ``restamp``: a record first sent late carries the time of that attempt, for stores that refuse old
            entries; ``occurred_at`` keeps the truth. ``preserve``: always its own time.
        catalog: The catalogue of events: path of a ``telemetry.toml``, or a parsed one. What it does not declare does
            not leave, nor what is newer than the user's consent; see `catalog`.
        scrub: Remove from events what looks like an e-mail address, an IP address, a path, a token, a card number, a
            name of this machine or its user, and what is named like a secret; see `scrub`.
        hash_user_ids: Send an HMAC of each user id under a local secret instead of the id. One that looks like
            something secret, an e-mail address say, is never sent as it is while `scrub` is on.
        notice: The first-run notice to show before anything leaves; see `Notice`.
        vendor: Who makes the program, as users know him: one line of at most 100 characters. This and the next three
            are shown to the user by the notice, `ask`, `status` and the commands, and never sent.
        purpose: What it is collected for, in his words: one line of at most 200 characters.
        privacy_url: Where he can read more.
        command: What he types before ``off``, where the program has the commands: ``acme-notes telemetry``. Without it
            he is told of ``python -m telemetry_sdk --app acme-notes``.
        otel_env: Whether ``OTEL_EXPORTER_OTLP_…`` may name the sink.

    Raises:
        ConfigError: An argument is impossible; the message says what to do.
    """

    @_showing_no_secret
    def __init__(
        self,
        app: str,
        *,
        version: str,
        endpoint: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        release_channel: str = "stable",
        deployment_type: str | None = None,
        environment: str | None = None,
        delivery: DeliveryMode = "background",
        state_dir: str | os.PathLike[str] | None = None,
        on_consent_change: Callable[[bool], object] | None = None,
        strict: bool = False,
        timeout: float = 5.0,
        exit_timeout: float = 0.5,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        late: Late = "restamp",
        catalog: str | os.PathLike[str] | Catalog | None = None,
        scrub: bool = True,
        hash_user_ids: bool = False,
        notice: Notice | None = None,
        vendor: str | None = None,
        purpose: str | None = None,
        privacy_url: str | None = None,
        command: str | None = None,
        otel_env: bool = False,
    ) -> None:
        chosen = config.check(
            config.Config(
                app=app,
                version=version,
                release_channel=release_channel,
                deployment_type=deployment_type,
                environment=environment,
                delivery=delivery,
                late=late,
                timeout=timeout,
                exit_timeout=exit_timeout,
                limits=limits,
                on_consent_change=on_consent_change,
                notice=notice,
                vendor=vendor,
                purpose=purpose,
                privacy_url=privacy_url,
                command=command,
                catalog=_load_catalog(catalog),
                scrub=scrub,
                hash_user_ids=hash_user_ids,
                strict=strict,
            )
        )
        prefix = switch_prefix(chosen.app)

        def find_sink(environ: Mapping[str, str]) -> Settings:
            return resolve(environ, prefix, endpoint=endpoint, token=token, headers=headers, otel_env=otel_env)

        directory = None if state_dir is None else absolute(state_dir)
        self.strict = chosen.strict
        self._config = chosen
        self._setup = override.Setup(chosen, find_sink, directory, override.providers())
        self._opened: Engine | None = None
        self._plug_in()
        override.watch(self)

    def _plug_in(self) -> None:
        self._current = it = override.current(self._setup)
        settings = it.find_sink(it.providers.environ)
        is_here = settings.sink or settings.problem
        self._settings = settings if is_here else settings._replace(elsewhere=it.providers.elsewhere)

    @property
    def _engine(self) -> Engine:
        engine = self._opened
        if engine is None:
            return self._open()
        if engine.pid != getpid():  # a fork that no hook of Python's told of
            lifecycle.after_unseen_fork()
        return engine

    @property
    def _diagnostics(self) -> Diagnostics:
        engine = self._engine
        with lifecycle.loading():
            from telemetry_sdk.client.diagnostics import Diagnostics
        return Diagnostics(engine)

    def _open(self) -> Engine:
        with lifecycle.loading():
            engine = self._make_engine()
            if self._opened is None:  # neither another thread nor a signal handler was faster
                lifecycle.watch(engine)
                self._opened = engine
            return self._opened

    def _make_engine(self) -> Engine:
        # What is behind the facade is loaded by the first call, for not every program makes one.
        from telemetry_sdk.client.engine import Engine

        it = self._current
        return Engine(it.config, self._settings, it.providers, state_dir=it.state_dir)

    def _connect(self) -> None:
        """Go on by the setup that holds now; see `override.redirect`."""
        with lifecycle.loading():
            before, self._opened = self._opened, None
            self._plug_in()
        if before is not None:
            lifecycle.end([(before, 0.0)], for_good=True)
            before.scope.bind_user(None)

    def __enter__(self) -> Telemetry:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Send first_seen once and today's heartbeat if due, and start the daily schedule.

        Also delivers what an earlier run left behind. Returns within ``timeout`` in sync mode, at once in the others.
        """
        self._announce()
        self._start()

    @guarded(lambda _: None)
    def _start(self) -> None:
        engine = self._engine
        engine.show_notice()
        # Stored both before anything is sent: one request, and one bound on the time, for the whole start.
        for name in (FIRST_SEEN, HEARTBEAT):
            engine.pipeline.base(engine.session, name, now=False)
        engine.start()

    @guarded(lambda _: None)
    def close(self, timeout: float | None = None) -> None:
        """Stop the threads and deliver what waits, within *timeout* seconds (default ``exit_timeout``).

        What is not delivered by then stays stored for the next run. In manual mode nothing is sent. May be called
        again; a later call of another method opens what it needs.
        """
        bound = _seconds(timeout, self._config.exit_timeout)
        if self._opened is not None:
            self._opened.close(bound)

    @guarded(_refused)
    def send_base_first_seen(self) -> Receipt:
        """Send ``base_telemetry.first_seen``: once per install, ever, over all processes; else ``SUPPRESSED``."""
        return self._engine.pipeline.base(self._engine.session, FIRST_SEEN)

    @guarded(_refused)
    def send_base_heartbeat(self) -> Receipt:
        """Send ``base_telemetry.heartbeat``: once per UTC day and install, over all processes; else ``SUPPRESSED``."""
        return self._engine.pipeline.base(self._engine.session, HEARTBEAT)

    def heartbeat_if_due(self) -> Receipt:
        """Send today's heartbeat unless it was made already; for a scheduler that calls it as often as it likes."""
        return self.send_base_heartbeat()

    @guarded(_refused)
    def send_analytics_event(
        self,
        name: str,
        properties: Mapping[str, object] | None = None,
        *,
        user_id: object = None,
        context: Mapping[str, str] | None = None,
    ) -> Receipt:
        """Send an event, adding nothing from its scope: no bound user, no request context.

        Args:
            name: Dotted lower snake case, at least two words: ``timer.started``.
            properties: See `event` for what becomes of each kind of value.
            user_id: Who did it (str, int or UUID); without it the install.
            context: Request context to add: ``path``, ``browser``, ``device``.

        Returns:
            ``SUPPRESSED`` without consent; then not even the name is looked at.
        """
        return self._send(name, properties, user_id, lambda: context or {})

    @guarded(_refused)
    def track_event(
        self, name: str, properties: Mapping[str, object] | None = None, *, user_id: object = None
    ) -> Receipt:
        """Send an event about the given or bound user and the bound request; see `send_analytics_event`."""
        scope = self._engine.scope
        return self._send(name, properties, user_id, scope.attributes, scope.user_or)

    @guarded(_refused)
    def track_page_view(
        self, route: str | None, properties: Mapping[str, object] | None = None, *, user_id: object = None
    ) -> Receipt:
        """Send ``analytics.page_view`` with *route* as its ``path``, such as ``/notes/{id}``.

        It is sent as you wrote it, but for query, fragment and host: hand over no path that somebody asked for. None
        stands for the route of the bound request, and where that is not known the event has no ``path``.
        """
        scope = self._engine.scope
        around = partial(scope.attributes, path=route)
        return self._send(PAGE_VIEW, properties, user_id, around, scope.user_or)

    @guarded(_refused)
    def identify_user(self, user_id: object, properties: Mapping[str, object] | None = None) -> Receipt:
        """Bind the user for later calls in this context (task, thread, request), and send ``analytics.identify``.

        None unbinds and sends nothing.
        """
        user = self._engine.bind_user(user_id)
        if user is None:
            return Receipt(Outcome.SUPPRESSED, reason="no user is bound now")
        return self._send(IDENTIFY, properties, user, self._engine.scope.attributes)

    @guarded(lambda _: RequestScope(""))
    def request_context(
        self,
        context: RequestContext | Callable[[], RequestContext] | str | None = None,
        *,
        path: str | None = None,
        browser: str | None = None,
        device: str | None = None,
    ) -> RequestScope:
        """Bind a request for a ``with`` block: what is tracked in it carries its path, browser and device (`scope`).

        *context* is a `web.RequestContext`, a function that returns one for each event, or the path alone. A *path* is
        a route that you wrote, such as ``/notes/{id}``, as in `track_page_view`. Within a request a path, *browser* or
        *device* alone leaves the others as they are.
        """
        return self._engine.scope.request(context, path=path, browser=browser, device=device)

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Deliver what waits, now, within *timeout* seconds, and count what became of it.

        Makes one attempt even while the circuit is open; a hold or a stop of the sink stays.
        """
        return self._flush(timeout)

    @guarded(lambda reason: FlushReport(reason=reason))
    def _flush(self, timeout: float) -> FlushReport:
        return self._diagnostics.flush(_seconds(timeout, 5.0))

    def _send(
        self,
        name: str,
        properties: Mapping[str, object] | None,
        user_id: object,
        context: Callable[[], Any],
        who: Callable[[object], object] | None = None,
    ) -> Receipt:
        """Send an event about *who* of *user_id*, in *context*. Without consent none of them is looked at."""
        if self._config.on_consent_change is not None:
            self._announce()
        engine = self._engine
        session, decision = engine.sessions.right()
        if decision.level < Level.FULL:
            return _suppressed(decision.reason)
        user = user_id if who is None else who(user_id)
        try:
            return engine.pipeline.event(session, decision, name, properties, user, context)
        except InvalidEventError as error:
            engine.note_refused(error)
            raise

    @guarded(lambda _: False)
    def is_detailed_analytics_enabled(self) -> bool:
        """Tell whether an analytics event would be accepted now. Reads the environment and looks at one file."""
        self._announce()
        return self._engine.session.gate.right().level is Level.FULL

    @guarded(lambda _: False)
    def should_ask(self) -> bool:
        """Tell whether to ask the user about detailed analytics: undecided, or asked for more than was agreed to.

        Never where the answer would change nothing: a switch decides, or there is no sink; never again after a no; nor
        where a yes could not be kept, for the question would come back at each start. Makes nothing.
        """
        return self._engine.should_ask()

    def ask(self, prompt: str | None = None) -> bool:
        """Ask the user on a terminal, if `should_ask` and somebody is there; store the answer.

        Writes *prompt*, or without it who asks, what for, what would be sent and where, to standard error, and waits
        for a line: y is `opt_in`, n or Enter is `opt_out`; the end of input, or twice another word, decides nothing.
        A user who agreed before is asked about what came since: there n ends all of it, and Enter leaves it as it is.

        Returns:
            Whether detailed analytics are enabled now. Without a terminal nothing is written, and nobody is waited for.
        """
        answer = self._ask(prompt)
        if answer is not None:
            self.opt_in() if answer else self.opt_out()
        return self.is_detailed_analytics_enabled()

    @guarded(_no_answer)
    def _ask(self, prompt: str | None) -> bool | None:
        return self._engine.ask(prompt)

    @guarded(_refused)
    def opt_in(self) -> Receipt:
        """Store that the user agreed to detailed analytics, and send the one install ping.

        Returns:
            The ping's receipt; ``SUPPRESSED`` when it was sent before, when the yes is stored but there is no sink or
            ``<APP>_TELEMETRY=base`` holds it back, or when a switch says OFF (then nothing is stored). Ask
            `is_detailed_analytics_enabled` for the state. Also ``SUPPRESSED``, with the reason, where somebody else
            could have written the yes (the file or its directory belongs to another user, or others may write to it):
            then it holds for this process only.
        """
        session = self._engine.session
        if session.gate.is_switched_off():
            return Receipt(Outcome.SUPPRESSED, reason=session.gate.right().reason)
        self._engine.choices.agree(session)
        self._announce()
        if session.installation.read().doubt:
            return Receipt(Outcome.SUPPRESSED, reason=session.installation.problem)
        return self.check_and_send_telemetry()

    @guarded(lambda _: False)
    def opt_out(self, everything: bool = False) -> bool:
        """Store that the user declines detailed analytics, and destroy the analytics records that wait.

        With *everything* the user declines base telemetry too: nothing at all leaves from then on, until an `opt_in`.

        Waits, at most ``timeout`` seconds, until no request with analytics is being written on this machine: from
        then on none leaves it, from any thread or process.

        Returns:
            True when all of that is certain. When False because something could not be written, this process sends
            none all the same, and `status` says what is wrong; when False because ``<APP>_TELEMETRY=full`` is set,
            the operator's word stands and events still leave.
        """
        certain = self._engine.withdraw(everything=bool(everything))
        self._announce()
        return certain

    @guarded(_refused)
    def check_and_send_telemetry(self) -> Receipt:
        """Send ``analytics.install``, the one opt-in install ping: once per install, after consent."""
        session, decision = self._engine.sessions.right()
        if decision.level < Level.FULL:
            return _suppressed(decision.reason)
        if session.progress.read().install_ping_sent_at:
            return Receipt(Outcome.SUPPRESSED, reason="the install ping was delivered already")
        return self._engine.pipeline.event(session, decision, INSTALL)

    @guarded(lambda reason: Status(Level.OFF, "error", reason, {}))
    def status(self) -> Status:
        """Return what holds and who decided it, where state is kept, what waits and why. Makes nothing."""
        return self._diagnostics.status()

    @guarded(_no_requests)
    def sent_log(self) -> list[SentRequest]:
        """Return the newest requests, byte for byte, with how each ended; oldest first."""
        return self._diagnostics.sent_log()

    @guarded(lambda reason: Preview(Level.OFF, reason))
    def preview(
        self, event: str | None = None, properties: Mapping[str, object] | None = None, *, user_id: object = None
    ) -> Preview:
        """Return what would be sent, byte for byte and by layer, before any consent; with *event*, that event too.

        Makes nothing: no request, no file, no id (a row of zeros stands for one that is not made yet). While a switch
        says OFF there is nothing to show, and the reason says so.

        Raises:
            InvalidEventError: Under ``strict``: the event does not fit the rules. Else the reason says why.
        """
        return self._diagnostics.preview(event, properties, user_id)

    @guarded(_nothing)
    def reset_install_id(self) -> str | None:
        """Begin as a new install: destroy what waits, forget the old id, and return a new one.

        The consent stays. Nothing that is sent from now on can be joined with what was sent before; what was sent
        stays with the sink's owner (`forget` asks for its deletion). None when telemetry is off or an id cannot be
        kept.
        """
        return self._engine.reset_identity()

    @guarded(lambda reason: Forgotten(False, Receipt(Outcome.DROPPED, reason=reason)))
    def forget(self) -> Forgotten:
        """Delete everything on this machine: id, consent, waiting records, sent log; under off-switches too.

        Of the user's decisions only a no stays. When detailed analytics had been sent, ``analytics.deletion_requested``
        with the old id alone is stored and sent like any record, so that the sink's owner can delete what he has. Waits
        like `opt_out`. The next start is that of a new install.
        """
        return self._diagnostics.forget()

    @guarded(lambda _: None)
    def _announce(self) -> None:
        self._engine.choices.announce(self._engine.session)
