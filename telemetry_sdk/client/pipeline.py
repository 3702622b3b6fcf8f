"""From a call of the host to a stored record, and on to the sink as the delivery mode says."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from telemetry_sdk.analytics import event as analytics_event
from telemetry_sdk.analytics.scrub import Scrubber
from telemetry_sdk.analytics.values import is_reserved
from telemetry_sdk.base_payload import platform
from telemetry_sdk.delivery.retry import STOPPED
from telemetry_sdk.host.guard import LoopWarning, guarded
from telemetry_sdk.identity.install_id import Identity, ensure_identity, known_identity
from telemetry_sdk.model import (
    HEARTBEAT,
    NANOSECONDS,
    OPERATOR_GRANT,
    InvalidEventError,
    Level,
    Outcome,
    Receipt,
    is_due,
    utc_day,
)
from telemetry_sdk.outbox.enqueue import Put
from telemetry_sdk.outbox.store_errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry_sdk.analytics.event import Event
    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.client.records import RecordMaker
    from telemetry_sdk.client.session import Session
    from telemetry_sdk.identity.schema import State
    from telemetry_sdk.model import Decision, Record

SPILLED: Final = "spilled to a file of its own while the outbox cannot be used"
_FATES: Final = {"delivered": Outcome.DELIVERED, "rejected": Outcome.REFUSED, "kept": Outcome.QUEUED}


class Draft(NamedTuple):
    """An event that fits the rules, the record of it that would be stored, and why it is withheld, if it is."""

    event: Event
    record: Record
    withheld: str = ""


class Pipeline:
    """Makes, stores and dispatches records.

    Args:
        options: What the integrator chose.
        world: Clock and ids.
        maker: Makes the records.
        on_stored: Called when a record is about to be stored.
        wake: Has the background thread look for records.
    """

    def __init__(
        self,
        config: Config,
        providers: Providers,
        maker: RecordMaker,
        *,
        on_stored: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        self.maker = maker
        self._config = config
        self._providers = providers
        self._on_stored = on_stored
        self._wake = wake
        self._unkept_id = ""
        self._scrubber: Scrubber | None = None
        self._loop_warning = LoopWarning()

    def base(self, session: Session, name: str, *, now: bool = True) -> Receipt:
        """Make and store a base record, once per install or once per UTC day, and dispatch it unless *now* is False."""
        if (decision := session.gate.right()).level < Level.BASE:
            return Receipt(Outcome.SUPPRESSED, reason=decision.reason)
        now_ns = self._providers.now_ns()
        done = session.progress.read()
        is_heartbeat = name == HEARTBEAT
        if is_heartbeat and not is_due(now_ns / NANOSECONDS, done.last_heartbeat_on):
            facts = self._program(session)
            session.progress.update(lambda it: facts if facts.items() - it._asdict().items() else {})
            return Receipt(Outcome.SUPPRESSED, reason="today's heartbeat was made already")
        if not is_heartbeat and done.first_seen_sent_at is not None:
            return Receipt(Outcome.SUPPRESSED, reason="first_seen was delivered already")
        me = self._ensure(session, now_ns)
        try:
            problem = session.why_not_kept()
        except StoreError:
            problem = ""  # locked for the moment: it is there
        if me is None or problem:
            problem = problem or session.installation.problem
            return Receipt(Outcome.SUPPRESSED, reason=f"base telemetry must be able to keep its state: {problem}")
        receipt = self._store(session, self.maker.base(name, me, now_ns), replaces=is_heartbeat)
        self._remember_base(session, name, receipt, now_ns)
        return self.dispatch(session, receipt) if now else receipt

    def _program(self, session: Session) -> dict[str, object]:
        """Return what a tool without the program must know to tell the truth about it."""
        return {"sink_host": session.sink.host if session.sink else None, "app_version": self._config.version}

    def _remember_base(self, session: Session, name: str, receipt: Receipt, now_ns: int) -> None:
        if name == HEARTBEAT and receipt.outcome is not Outcome.DROPPED:
            day = utc_day(now_ns / NANOSECONDS)
            changes = {"last_heartbeat_on": day, **self._program(session)}
            session.progress.update(lambda it: {} if it.last_heartbeat_on == day else changes)
        elif receipt.outcome is Outcome.SUPPRESSED and receipt.uid and session.outbox.is_done(receipt.uid):
            session.note_delivered(name)

    def _ensure(self, session: Session, now_ns: int) -> Identity | None:
        providers = self._providers
        return ensure_identity(session.installation, now_ns=now_ns, new_id=providers.new_id, draw=providers.draw)

    def install_id(self, session: Session) -> str:
        """Return the id analytics events carry; where none can be kept, one of this process only."""
        # The gate has just read the state.
        me = known_identity(session.installation.newest) or self._ensure(session, self._providers.now_ns())
        if me is not None:
            return me.install_id
        self._unkept_id = self._unkept_id or self._providers.new_id()
        return self._unkept_id

    def event(
        self,
        session: Session,
        decision: Decision,
        name: str,
        properties: Mapping[str, object] | None = None,
        user_id: object = None,
        context: Callable[[], Any] = dict,
    ) -> Receipt:
        """Make, store and dispatch an analytics event, which the gate's *decision* of this moment allows."""
        made_when_needed = partial(self.install_id, session)
        covers, grant = self._covered(session, decision)
        user = self._sent_user(session, user_id)
        draft = self.draft(name, made_when_needed, properties, user, context, grant=grant, covers=covers)
        if draft.withheld:
            return Receipt(Outcome.SUPPRESSED, reason=draft.withheld)
        receipt = self._accept(session, draft.record)
        is_whole = not (draft.event.dropped or draft.event.scrubbed)
        return receipt if is_whole else receipt.replace(reason=draft.event.explain(receipt.reason))

    def draft(
        self,
        name: str,
        find_id: Callable[[], str],
        properties: Mapping[str, object] | None = None,
        user: str | None = None,
        context: Callable[[], Any] = dict,
        *,
        grant: str | None = None,
        covers: int | None = None,
    ) -> Draft:
        """Make an analytics event and its record, and store neither.

        *user* is the user id as it leaves, *covers* the consent's catalogue version.

        Raises:
            InvalidEventError: It does not fit the rules.
        """
        checked = analytics_event.check_name(name)
        install_id = find_id()
        own = self.maker.own_attributes(install_id)
        limits, scrubber = self._config.limits, self._scrub_with()
        event = analytics_event.build(checked, properties, own=own, limits=limits, context=context(), scrubber=scrubber)
        event, withheld = self._admitted(checked, event, covers)
        return Draft(event, self.maker.analytics(checked, event, install_id, user, grant), withheld)

    def _scrub_with(self) -> Scrubber | None:
        if self._scrubber is None and self._config.scrub:
            self._scrubber = Scrubber(platform.own_words(self._providers.environ))
        return self._scrubber

    def shown_user(self, state: State, user_id: object) -> str | None:
        """Return the user id as it would leave, for a preview: hashed, where there is no secret yet, under none."""
        user = analytics_event.identity_of(user_id)
        if user is None or not self._must_hash(user):
            return user
        return analytics_event.hashed_identity(user, (state.user_id_secret or "").encode())

    def _sent_user(self, session: Session, user_id: object) -> str | None:
        """Return the user id as it leaves. The secret it may be hashed under is made when first needed."""
        user = analytics_event.identity_of(user_id)
        if user is None or not self._must_hash(user):
            return user
        fresh = (self._providers.new_id() + self._providers.new_id()).replace("-", "")
        state = session.installation.update(lambda it: {} if it.user_id_secret else {"user_id_secret": fresh})
        return analytics_event.hashed_identity(user, (state.user_id_secret or fresh).encode())

    def _must_hash(self, user: str) -> bool:
        """Tell whether the host wants user ids hashed, or this one looks like something secret."""
        scrubber = self._scrub_with()
        return self._config.hash_user_ids or (scrubber is not None and not scrubber.is_clean(user))

    def _admitted(self, name: str, event: Event, covers: int | None) -> tuple[Event, str]:
        """Return *event* as the catalogue admits it, and why it may not leave at all, if it may not."""
        catalog = self._config.catalog
        if catalog is None:
            return event, ""
        given = {key: value for key, value in event.payload.items() if not is_reserved(key)}
        admission = catalog.admit(name, given, covers, today=utc_day(self._providers.now_ns() / NANOSECONDS))
        if admission.outcome is Outcome.REFUSED:
            raise InvalidEventError(name, admission.reason)
        ours = {key: value for key, value in event.payload.items() if is_reserved(key)}
        payload = {**ours, **admission.kept}
        return event._replace(payload=payload, dropped=event.dropped + admission.dropped), admission.reason

    def _covered(self, session: Session, decision: Decision) -> tuple[int | None, str | None]:
        """Return the catalogue's version that holds now, and the grant to file an event under."""
        catalog = self._config.catalog
        if catalog is None:
            return None, decision.grant
        state = session.installation.read()
        covers = self.covers(state, decision.grants)
        if OPERATOR_GRANT in decision.grants and self.covers(state, frozenset()) != covers:
            # What only the operator agreed to must not outlast his word under the user's older consent.
            return covers, OPERATOR_GRANT
        return covers, decision.grant

    def covers(self, state: State, grants: frozenset[str]) -> int | None:
        """Return the version of the catalogue that the consent is about; an operator's is about all of it."""
        catalog = self._config.catalog
        if catalog is None or OPERATOR_GRANT in grants:
            return catalog.version if catalog else None
        return catalog.covered(state.consent_catalog_version)

    def _accept(self, session: Session, record: Record) -> Receipt:
        receipt = self._store(session, record)
        if receipt and record.grant not in session.gate.right().grants:
            # Withdrawn between the first look and the write; whoever withdrew may have purged before our write.
            with contextlib.suppress(StoreError):  # its consent is gone all the same, so it stays here
                session.outbox.withdraw(record.uid, "consent withdrawn")
            return Receipt(Outcome.SUPPRESSED, reason="consent was withdrawn")
        return self.dispatch(session, receipt)

    def _store(self, session: Session, record: Record, *, replaces: bool = False) -> Receipt:
        self._on_stored()
        try:
            if session.delivery.is_stopped():
                return Receipt(Outcome.SUPPRESSED, reason=STOPPED)
            put = session.outbox.put(record, replaces=replaces)
        except StoreError as error:
            return Receipt(Outcome.DROPPED, record.uid, str(error))
        if put is Put.KNOWN:
            return Receipt(Outcome.SUPPRESSED, record.uid, "it was accepted before")
        return Receipt(Outcome.QUEUED, record.uid, SPILLED if put is Put.SPILLED else "")

    def warn_of_loop(self, session: Session) -> None:
        """Log, once, that this call is about to wait within an event loop, if it is."""
        if session.delivery.waits:
            self._loop_warning.check(self._config.timeout)

    def dispatch(self, session: Session, receipt: Receipt) -> Receipt:
        """Let a stored record leave as the delivery mode says, and return what became of it."""
        if not receipt or receipt.uid is None or self._config.delivery == "manual":
            return receipt
        if self._config.delivery != "background" and receipt.reason == SPILLED:
            return receipt
        fate, reason = self._let_go(session, receipt.uid)
        return Receipt(_FATES[fate], receipt.uid, reason or receipt.reason)

    @property
    def strict(self) -> bool:
        """Whether bugs are raised."""
        return self._config.strict

    @guarded(lambda reason: ("kept", reason))
    def _let_go(self, session: Session, uid: str) -> tuple[str, str]:
        """Return what became of the stored record *uid*: kept, should a bug end its way."""
        if self._config.delivery == "background":
            self._wake()
            return "kept", ""
        self.warn_of_loop(session)
        return session.deliver_one(uid, self._config.timeout)
