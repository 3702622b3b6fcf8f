"""The facade: the one object a program talks to. It gates every call and shields the host from our bugs."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from telemetry_sdk.analytics.scope import RequestScope
from telemetry_sdk.client import config, override
from telemetry_sdk.client.control import UserControl, inquiry, refused, suppressed
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.host import lifecycle
from telemetry_sdk.host.guard import shielded
from telemetry_sdk.identity.directory import absolute
from telemetry_sdk.model import FIRST_SEEN, HEARTBEAT, IDENTIFY, PAGE_VIEW, FlushReport, Level, Limits, Outcome, Receipt
from telemetry_sdk.sender.endpoint import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from telemetry_sdk.analytics.catalog import Catalog
    from telemetry_sdk.analytics.request import RequestContext
    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.consent.notice import Notice
    from telemetry_sdk.sender.endpoint import Settings
    from telemetry_sdk.sender.wire_gate import Sender

__all__ = ["Telemetry"]


def _seconds(timeout: float | None, default: float) -> float:
    """Return a timeout that locks accept: None is the default, NaN and less than zero are nothing, a day the most."""
    return default if timeout is None else min(max(0.0, float(timeout)), 86_400.0)


def _load_catalog(argument: str | os.PathLike[str] | Catalog | None) -> Catalog | None:
    if argument is None:
        return None
    from telemetry_sdk.analytics.catalog.file import load

    return load(argument)


def _new_id() -> str:
    from uuid import uuid4

    return str(uuid4())


class Telemetry(UserControl):
    """Telemetry of one app on this machine. Safe to share between threads and over a fork.

    Nothing is opened, read or started by the constructor. No method raises after it, prints, or waits longer than
    its documented bound.

    Args:
        app: Name of the program; also names its state directory and its environment variables (``acme-notes`` ->
            ``ACME_NOTES_TELEMETRY``).
        version: The program's version.
        endpoint: The sink: base URL of an OTLP/HTTP receiver, or ``file:///path/telemetry.jsonl``. See `settings`
            for the environment variables used without it. No sink means that nothing is ever collected.
        token: The sink's token: ``id:token``, its base64, ``Basic …`` or ``Bearer …``.
        headers: Extra request headers.
        release_channel: The channel this release came from.
        deployment_type: How the program is run, instead of what is detected.
        environment: ``deployment.environment.name`` of the records, for example ``production``.
        delivery: ``sync``: stored, then one attempt within the call. ``background``: stored, a daemon thread sends.
            ``manual``: stored, sent by `flush` only.
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
        otel_env: Whether ``OTEL_EXPORTER_OTLP_…`` may name the sink.
        environ: The environment, for tests.
        clock: Nanoseconds since 1970 UTC, for tests.
        new_id: Makes random UUIDs as text, for tests.
        draw: Makes random numbers in [0, 1), for tests.
        sender: Sends instead of the sink's own sender, for tests.

    Raises:
        ConfigError: An argument is impossible; the message says what to do.
    """

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
        delivery: str = "sync",
        state_dir: str | os.PathLike[str] | None = None,
        on_consent_change: Callable[[bool], object] | None = None,
        strict: bool = False,
        timeout: float = 5.0,
        exit_timeout: float = 0.5,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        late: str = "restamp",
        catalog: str | os.PathLike[str] | Catalog | None = None,
        scrub: bool = True,
        hash_user_ids: bool = False,
        notice: Notice | None = None,
        otel_env: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.time_ns,
        new_id: Callable[[], str] = _new_id,
        draw: Callable[[], float] = lambda: int.from_bytes(os.urandom(6)) / 2**48,
        sender: Sender | None = None,
    ) -> None:
        chosen = config.check(
            config.Options(
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
        self._options = chosen
        self._wiring = override.Wiring(chosen, find_sink, environ, clock, new_id, draw, directory, sender)
        self._opened: Engine | None = None
        self._plug_in()
        override.watch(self)

    def _plug_in(self) -> None:
        self._current = it = override.current(self._wiring)
        self._settings = it.find_sink(it.environ)

    @property
    def _engine(self) -> Engine:
        return self._opened or self._open()

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
        from telemetry_sdk.client.records import World

        it = self._current
        world = World(it.environ, it.clock, it.new_id, it.draw)
        return Engine(it.options, self._settings, world, state_dir=it.state_dir, sender=it.sender)

    def _connect(self) -> None:
        """Go on by the wiring that holds now; see `wiring.redirect`."""
        with lifecycle.loading():
            before, self._opened = self._opened, None
            self._plug_in()
        if before is not None:
            lifecycle.end([(before, 0.0)], for_good=True)
            before.ambient.bind_user(None)

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

    @shielded(lambda _: None)
    def _start(self) -> None:
        engine = self._engine
        engine.show_notice()
        # Stored both before anything is sent: one request, and one bound on the time, for the whole start.
        for name in (FIRST_SEEN, HEARTBEAT):
            engine.sending.base(engine.rooms, name, now=False)
        engine.start()

    @shielded(lambda _: None)
    def close(self, timeout: float | None = None) -> None:
        """Stop the threads and deliver what waits, within *timeout* seconds (default ``exit_timeout``).

        What is not delivered by then stays stored for the next run. In manual mode nothing is sent. May be called
        again; a later call of another method opens what it needs.
        """
        bound = _seconds(timeout, self._options.exit_timeout)
        if self._opened is not None:
            self._opened.close(bound)

    @shielded(refused)
    def send_base_first_seen(self) -> Receipt:
        """Send ``base_telemetry.first_seen``: once per install, ever, over all processes; else ``SUPPRESSED``."""
        return self._engine.sending.base(self._engine.rooms, FIRST_SEEN)

    @shielded(refused)
    def send_base_heartbeat(self) -> Receipt:
        """Send ``base_telemetry.heartbeat``: once per UTC day and install, over all processes; else ``SUPPRESSED``."""
        return self._engine.sending.base(self._engine.rooms, HEARTBEAT)

    def heartbeat_if_due(self) -> Receipt:
        """Send today's heartbeat unless it was made already; for a scheduler that calls it as often as it likes."""
        return self.send_base_heartbeat()

    @shielded(refused)
    def send_analytics_event(
        self,
        name: str,
        properties: Mapping[str, object] | None = None,
        *,
        user_id: object = None,
        context: Mapping[str, str] | None = None,
    ) -> Receipt:
        """Send an event, adding nothing ambient: no bound user, no request context.

        Args:
            name: Dotted lower snake case, at least two words: ``timer.started``.
            properties: See `analytics_event` for what becomes of each kind of value.
            user_id: Who did it (str, int or UUID); without it the install.
            context: Request context to add: ``path``, ``browser``, ``device``.

        Returns:
            ``SUPPRESSED`` without consent; then not even the name is looked at.
        """
        return self._send(name, properties, user_id, lambda: context or {})

    @shielded(refused)
    def track_event(
        self, name: str, properties: Mapping[str, object] | None = None, *, user_id: object = None
    ) -> Receipt:
        """Send an event about the given or bound user and the bound request; see `send_analytics_event`."""
        ambient = self._engine.ambient
        return self._send(name, properties, user_id, ambient.attributes, ambient.user_or)

    @shielded(refused)
    def track_page_view(
        self, path: str, properties: Mapping[str, object] | None = None, *, user_id: object = None
    ) -> Receipt:
        """Send ``analytics.page_view`` with *path*: a route, or a path of which `request_path` leaves no id."""
        ambient = self._engine.ambient
        around = partial(ambient.attributes, path=path)
        return self._send(PAGE_VIEW, properties, user_id, around, ambient.user_or)

    @shielded(refused)
    def identify_user(self, user_id: object, properties: Mapping[str, object] | None = None) -> Receipt:
        """Bind the user for later calls in this context (task, thread, request), and send ``analytics.identify``.

        None unbinds and sends nothing.
        """
        user = self._engine.bind_user(user_id)
        if user is None:
            return Receipt(Outcome.SUPPRESSED, reason="no user is bound now")
        return self._send(IDENTIFY, properties, user, self._engine.ambient.attributes)

    @shielded(lambda _: RequestScope(""))
    def request_context(
        self,
        context: RequestContext | Callable[[], RequestContext] | str | None = None,
        *,
        path: str | None = None,
        browser: str | None = None,
        device: str | None = None,
    ) -> RequestScope:
        """Bind a request for a ``with`` block: what is tracked in it carries its path, browser and device (`ambient`).

        *context* is a `web.RequestContext`, a function that returns one for each event, or the path alone. Within a
        request a path, *browser* or *device* alone leaves the others as they are.
        """
        return self._engine.ambient.request(context, path=path, browser=browser, device=device)

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Deliver what waits, now, within *timeout* seconds, and count what became of it.

        Makes one attempt even while the circuit is open; a hold or a stop of the sink stays.
        """
        return self._flush(timeout)

    @shielded(lambda reason: FlushReport(reason=reason))
    def _flush(self, timeout: float) -> FlushReport:
        return inquiry()(self._engine).flush(_seconds(timeout, 5.0))

    def _send(
        self,
        name: str,
        properties: Mapping[str, object] | None,
        user_id: object,
        context: Callable[[], Any],
        who: Callable[[object], object] | None = None,
    ) -> Receipt:
        """Send an event about *who* of *user_id*, in *context*. Without consent none of them is looked at."""
        if self._options.on_consent_change is not None:
            self._announce()
        engine = self._engine
        rooms, decision = engine.right()
        if decision.level < Level.FULL:
            return suppressed(decision.reason)
        user = user_id if who is None else who(user_id)
        return engine.sending.event(rooms, decision, name, properties, user, context)
