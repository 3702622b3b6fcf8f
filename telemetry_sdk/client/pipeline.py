"""From a call of the host to a stored record, and on to the sink as the delivery mode says.

A record is what the program chose and the platform's facts, joined with an identity.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from telemetry_sdk.analytics import event as analytics_event
from telemetry_sdk.analytics.scrub import Scrubber
from telemetry_sdk.analytics.values import is_reserved
from telemetry_sdk.base_payload import fields, platform
from telemetry_sdk.host.guard import LoopWarning, guarded
from telemetry_sdk.identity.install_id import Identity, derived_uid, ensure_identity
from telemetry_sdk.model import (
    DELETION_REQUESTED,
    FIRST_SEEN,
    HEARTBEAT,
    INSTALL,
    NANOSECONDS,
    OPERATOR_GRANT,
    STOPPED,
    InvalidEventError,
    Layer,
    Level,
    Outcome,
    Receipt,
    Record,
    is_due,
    moment_of,
    to_millisecond,
    utc_day,
)
from telemetry_sdk.outbox import StoreError
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from telemetry_sdk.analytics.event import Event
    from telemetry_sdk.base_payload.fields import Facts
    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.client.session import Session
    from telemetry_sdk.identity.install_id import Identity
    from telemetry_sdk.identity.schema import State
    from telemetry_sdk.model import Decision


_SPOOLED: Final = "spooled while the outbox cannot be used"
_FATES: Final = {"delivered": Outcome.DELIVERED, "rejected": Outcome.REFUSED, "kept": Outcome.QUEUED}


def _receipt(uid: str, where: str) -> Receipt:
    if where == "known":
        return Receipt(Outcome.SUPPRESSED, uid, "it was accepted before")
    return Receipt(Outcome.QUEUED, uid, _SPOOLED if where == "spooled" else "")


def _as_shown(session: Session, receipt: Receipt) -> Receipt:
    """Return *receipt* as it is for the host: what was only shown was not sent."""
    return receipt.replace(outcome=Outcome.SUPPRESSED, reason=session.shows) if session.is_log and receipt else receipt


_DELETING: Final = "a request to delete an older install id is on its way: a new id is made the day after it ended"


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
        wake: Has the background thread look for the records of a session.
    """

    def __init__(
        self,
        config: Config,
        providers: Providers,
        maker: RecordMaker,
        *,
        wake: Callable[[Session], None],
    ) -> None:
        self.maker = maker
        self._config = config
        self._providers = providers
        self.in_use = False  # whether a record was stored, so that there is something to end
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
        if me is None and session.is_deleting():
            return Receipt(Outcome.SUPPRESSED, reason=_DELETING)
        try:
            problem = session.why_not_kept()
        except StoreError:
            problem = ""  # locked for the moment: it is there
        if me is None or problem:
            problem = problem or session.installation.problem
            return Receipt(Outcome.SUPPRESSED, reason=f"base telemetry must be able to keep its state: {problem}")
        # The first heartbeat is made with first_seen, of one moment: who counts installs by heartbeats counts this one.
        names = (
            [name] if is_heartbeat or not is_due(now_ns / NANOSECONDS, done.last_heartbeat_on) else [name, HEARTBEAT]
        )
        records = [self.maker.base(it, me, now_ns, seen_ns=moment_of(done.last_seen_at)) for it in names]
        receipts = self._put(session, records)
        for it, receipt in zip(names, receipts, strict=True):
            self._remember_base(session, it, receipt, now_ns)
        return _as_shown(session, self.dispatch(session, receipts[0]) if now else receipts[0])

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
        if session.installation.read().install_id is None and session.is_deleting():
            return None
        return ensure_identity(session.installation, now_ns=now_ns, new_id=providers.new_id, draw=providers.draw)

    def install_id(self, session: Session) -> str:
        """Return the id analytics events carry; where none can be kept, one of this process only."""
        # The gate has just read the state.
        if install_id := session.installation.newest.install_id:
            return install_id
        me = self._ensure(session, self._providers.now_ns())
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
        if session.installation.newest.install_id is None and session.is_deleting():
            return Receipt(Outcome.SUPPRESSED, reason=_DELETING)
        made_when_needed = partial(self.install_id, session)
        covers, grant = self._covered(session, decision)
        user = self._sent_user(session, user_id)
        draft = self.draft(name, made_when_needed, properties, user, context, grant=grant, covers=covers)
        if draft.withheld:
            return Receipt(Outcome.SUPPRESSED, reason=draft.withheld)
        receipt = _as_shown(session, self._accept(session, draft.record))
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
        """Store an event by the door of its delivery mode, and dispatch it.

        The consent is not looked at again here: what is stored under one that is gone meanwhile is destroyed by the
        next take, and does not leave.
        """
        if self._config.delivery == "sync" or record.derived:
            return self.dispatch(session, self._put(session, [record])[0])
        if session.is_stopped():
            return Receipt(Outcome.SUPPRESSED, reason=STOPPED)
        self.in_use = True
        try:
            session.append(record)
        except StoreError as error:
            return Receipt(Outcome.DROPPED, record.uid, str(error))
        if self._config.delivery == "background":
            self._wake(session)
        return Receipt(Outcome.QUEUED, record.uid)

    def _put(self, session: Session, records: Sequence[Record]) -> list[Receipt]:
        self.in_use = True
        try:
            if session.delivery.is_stopped():
                return [Receipt(Outcome.SUPPRESSED, reason=STOPPED) for _ in records]
            put = session.outbox.put(records)
        except StoreError as error:
            return [Receipt(Outcome.DROPPED, record.uid, str(error)) for record in records]
        return [_receipt(record.uid, where.value) for record, where in zip(records, put, strict=True)]

    def warn_of_loop(self, session: Session) -> None:
        """Log, once, that this call is about to wait within an event loop, if it is."""
        if session.delivery.waits:
            self._loop_warning.check(self._config.timeout)

    def dispatch(self, session: Session, receipt: Receipt) -> Receipt:
        """Let a stored record leave as the delivery mode says, and return what became of it."""
        if not receipt or receipt.uid is None or self._config.delivery == "manual":
            return receipt
        if self._config.delivery != "background" and receipt.reason == _SPOOLED:
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
            self._wake(session)
            return "kept", ""
        self.warn_of_loop(session)
        return session.deliver_one(uid, self._config.timeout)


class _Uids:
    """Makes the uids of events. Neighbours differ in their last four digits alone, which halves what they compress to.

    A run of them begins with a random UUID4 and ends after 65,536, and at a fork.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        # Replaced as one, and counted by one step of the interpreter: threads share it without a lock.
        self._run: tuple[int, str, Iterator[int]] = (0, "", iter(()))

    def next(self) -> str:
        pid, prefix, numbers = self._run
        number = next(numbers, None)
        if number is None or pid != os.getpid():
            _, prefix, numbers = self._run = (os.getpid(), self._new_id()[:-4], iter(range(0x10000)))
            number = next(numbers)
        return f"{prefix}{number:04x}"


class RecordMaker:
    """Makes records. Reads the platform's facts when the first record needs them, then never again."""

    def __init__(self, config: Config, providers: Providers) -> None:
        self._config = config
        self._providers = providers
        self._uids = _Uids(providers.new_id)
        self._facts: Facts | None = None
        self._deployment = config.deployment_type or ""
        self._envelopes: dict[Layer, bytes] = {}

    def base(self, name: str, me: Identity, now_ns: int, *, seen_ns: int = 0) -> Record:
        """Return the base record *name* of this moment. Its uid is derived: two processes make the same one.

        *seen_ns* is the moment of the newest heartbeat before it that was acknowledged, as far as is known.
        """
        facts = self._facts = self._facts or platform.detect(self._providers.environ, self._config.deployment_type)
        payload = fields.build(
            name,
            install_id=me.install_id,
            app_version=self._config.version,
            facts=facts,
            first_seen_at=me.first_seen_at,
            now_ns=now_ns,
            release_channel=self._config.release_channel,
        )
        day = utc_day(now_ns / NANOSECONDS)
        uid = derived_uid(me.install_id, "first_seen" if name == FIRST_SEEN else f"heartbeat/{day}")
        body = otlp.encode_record(name=name, uid=uid, identity=me.install_id, made_ns=now_ns, payload=payload)
        chain = me.install_id if name == HEARTBEAT else None
        return Record(
            uid, Layer.BASE, name, now_ns, self._envelope(Layer.BASE), body, True, chain=chain, seen_ns=seen_ns
        )

    def analytics(self, name: str, event: Event, install_id: str, user: str | None, grant: str | None) -> Record:
        """Return the analytics record of *event*, made now under the consent *grant*."""
        now_ns = to_millisecond(self._providers.clock())
        is_ping = name == INSTALL
        uid = derived_uid(install_id, "install_ping") if is_ping else self._uids.next()
        body = otlp.encode_record(
            name=name,
            uid=uid,
            identity=user or install_id,
            made_ns=now_ns,
            payload=event.payload,
            dropped=len(event.dropped) + (event.unread or 0),
        )
        envelope = self._envelope(Layer.ANALYTICS)
        return Record(uid, Layer.ANALYTICS, name, now_ns, envelope, body, derived=is_ping, grant=grant)

    def deletion_request(self, install_id: str) -> Record:
        """Return the record that asks the sink's owner to delete what came from *install_id*, and says nothing else.

        It needs no consent, so it is stored with the base records and outlasts a withdrawal.
        """
        now_ns, name = self._providers.now_ns(), DELETION_REQUESTED
        uid = derived_uid(install_id, "deletion")
        payload = {"install_id": install_id}
        body = otlp.encode_record(name=name, uid=uid, identity=install_id, made_ns=now_ns, payload=payload)
        return Record(uid, Layer.BASE, name, now_ns, self._envelope(Layer.ANALYTICS), body, derived=True)

    def own_attributes(self, install_id: str) -> dict[str, str]:
        """Return what every analytics event carries."""
        self._deployment = self._deployment or platform.detect_deployment(self._providers.environ)
        return {
            "install_id": install_id,
            "app_version": self._config.version,
            "deployment_type": self._deployment,
            "release_channel": self._config.release_channel,
        }

    def _envelope(self, layer: Layer) -> bytes:
        config = self._config
        if layer not in self._envelopes:
            self._envelopes[layer] = otlp.encode_envelope(
                app=config.app, version=config.version, layer=layer, environment=config.environment
            )
        return self._envelopes[layer]
