"""What a host asks: what holds, what would be sent, what was sent, and what became of it.

Under an off-switch nothing is read but, for `status`, the user's own answer. Previews are the bytes of the next
requests, made as the sender's are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.catalog import Catalog
from telemetry_sdk.identity.install_id import Identity, known_identity
from telemetry_sdk.identity.schema import State
from telemetry_sdk.model import (
    FIRST_SEEN,
    HEARTBEAT,
    INSTALL,
    NANOSECONDS,
    OPERATOR_GRANT,
    STOPPED,
    FlushReport,
    Forgotten,
    Layer,
    Level,
    Preview,
    SentRequest,
    Status,
    is_due,
    timestamp,
)
from telemetry_sdk.outbox import StoreError, batch
from telemetry_sdk.outbox.tables import as_pending

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.client.pipeline import Draft, Pipeline
    from telemetry_sdk.client.session import Session
    from telemetry_sdk.identity.schema import Progress
    from telemetry_sdk.model import Circuit, Record
    from telemetry_sdk.outbox.tables import Counts, Pending

# Stands where the id will be: none is made for looking.
NO_ID: Final = "00000000-0000-4000-8000-000000000000"


class Diagnostics:
    """Answers for *engine*. Makes nothing but what `flush` and `forget` say."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def status(self) -> Status:
        """Return what holds and who decided it; see `Telemetry.status`."""
        return _gather(self._engine)

    def flush(self, timeout: float) -> FlushReport:
        """Deliver what waits, now; see `Telemetry.flush`."""
        session = self._engine.session
        if (decision := session.gate.right()).level is Level.OFF:
            return FlushReport(reason=decision.reason)
        if session.sink is None:
            return FlushReport(reason="the sink is not known here; the program sends what waits when it runs")
        try:
            before = sum(session.outbox.counts().dropped.values())
            tally = session.deliver(timeout, force=True, waits=True)
            after = session.outbox.counts()
        except StoreError as error:
            return FlushReport(reason=str(error))
        dropped = sum(after.dropped.values()) - before
        reason = (tally.reason or "the records may not leave now") if after.pending else ""
        return FlushReport(tally.delivered, after.pending, tally.rejected, dropped, reason)

    def sent_log(self) -> list[SentRequest]:
        """Return the newest requests; see `Telemetry.sent_log`."""
        session = self._engine.session
        if session.gate.is_switched_off() or not session.outbox.is_there():
            return []
        try:
            return session.outbox.sent_log()
        except StoreError:
            return []

    def preview(self, event: str | None, properties: Mapping[str, object] | None, user_id: object) -> Preview:
        """Return what would be sent; see `Telemetry.preview`."""
        engine, session = self._engine, self._engine.session
        if session.gate.is_switched_off():
            possible = _possible(engine.config, State(), frozenset())
            return Preview(Level.OFF, session.gate.right().reason, **possible)
        state, catalog, shown = session.installation.read(), engine.config.catalog, None
        if event is not None:
            # Before a consent it is shown as it would be sent after one given now.
            given = engine.pipeline.covers(state, session.gate.right().grants) if state.telemetry_enabled else None
            covers = given or (catalog.version if catalog else None)
            user = engine.pipeline.shown_user(state, user_id)
            shown = engine.pipeline.draft(event, lambda: state.install_id or NO_ID, properties, user, covers=covers)
        return _look_ahead(session, engine.pipeline, engine.config, engine.providers, shown)

    def forget(self) -> Forgotten:
        """Delete everything on this machine; see `Telemetry.forget`."""
        return Forgotten(*self._engine.forget())


def _look_ahead(
    session: Session, pipeline: Pipeline, config: Config, providers: Providers, shown: Draft | None
) -> Preview:
    """Return what would be sent now, by layer, *shown* with it. Makes no id, no file and no request."""
    decision, state, now_ns = session.gate.right(), session.installation.read(), providers.now_ns()
    done = session.progress.read()
    waiting, first = _waiting(session, decision.grants, now_ns)
    base = [record for record in waiting if record.layer is Layer.BASE]
    base += map(as_pending, _base_due(waiting, pipeline, state, done, now_ns))
    events = [record for record in waiting if record.layer is Layer.ANALYTICS]
    if done.install_ping_sent_at is None and INSTALL not in {record.name for record in waiting}:
        events.append(as_pending(pipeline.draft(INSTALL, lambda: state.install_id or NO_ID).record))
    events += [as_pending(shown.record)] if shown and not shown.withheld else []

    def body(records: Sequence[Pending]) -> bytes:
        sent, _ = batch.as_sent(records, now_ns, late_ns=config.late_ns)
        return batch.encode(sent, packs=False) if records else b""

    return Preview(
        level=decision.level,
        reason=(shown.withheld if shown else "") or decision.hold or decision.reason,
        base=body(base),
        analytics=body(events),
        next_request=body(batch.in_order(first)) if decision.level and not decision.hold else b"",
        **_possible(config, state, decision.grants),
        removed=shown.event.scrubbed if shown else {},
        left_out=shown.event.dropped if shown else (),
    )


def _possible(config: Config, state: State, grants: frozenset[str]) -> dict[str, Any]:
    """Return every event that may ever be sent, whether it may be under *grants*, and whether these are all."""
    catalog = config.catalog or Catalog(version=1, events={})
    covered = catalog.version if OPERATOR_GRANT in grants else catalog.covered(state.consent_catalog_version)
    return {"declared": config.catalog is not None, "events": catalog.listed(covered if grants else -1)}


def _waiting(session: Session, grants: frozenset[str], now_ns: int) -> tuple[Sequence[Pending], Sequence[Pending]]:
    if not session.outbox.is_there():
        return (), ()
    try:
        return session.outbox.peek(grants, now_ns / NANOSECONDS)
    except StoreError:
        return (), ()


def _base_due(
    waiting: Sequence[Pending], pipeline: Pipeline, state: State, done: Progress, now_ns: int
) -> Iterable[Record]:
    """Make the base records that are due and not stored yet, without storing them."""
    named = {record.name for record in waiting}
    me = known_identity(state) or Identity(NO_ID, timestamp(now_ns), 0.0)
    if done.first_seen_sent_at is None and FIRST_SEEN not in named:
        yield pipeline.maker.base(FIRST_SEEN, me, now_ns)
    if is_due(now_ns / NANOSECONDS, done.last_heartbeat_on) and HEARTBEAT not in named:
        yield pipeline.maker.base(HEARTBEAT, me, now_ns)


def _gather(engine: Engine) -> Status:
    """Return the status of *engine*. Makes nothing: no file, no id, no request."""
    session = engine.session
    decision, inputs, settings = session.gate.right(), session.gate.inputs(), engine.settings
    host = session.sink.host if session.sink else settings.elsewhere or None
    switches = {
        "DO_NOT_TRACK": inputs.do_not_track,
        f"{engine.prefix}_TELEMETRY": inputs.app_switch,
        "TELEMETRY_SDK_DISABLED": inputs.every_program,
        "OTEL_SDK_DISABLED": inputs.sdk_disabled,
        "sink": host or "",
    }
    known: dict[str, object] = {
        "sink": host,
        "sink_problem": settings.problem,
        "notes": settings.notes if session.sink or settings.elsewhere is None else (_elsewhere(host),),
        "delivery": engine.config.delivery,
        "waiting": decision.hold,
        "refused": tuple(engine.refused.items()),
        **{name: getattr(engine.config, name) for name in ("vendor", "purpose", "privacy_url")},
    }
    known |= _state_facts(session) | _agreement(engine, session.installation.read())
    if not session.gate.is_switched_off() and engine.config.notice is not None:
        switches["notice"] = "not shown yet" if session.gate.is_notice_due(session.installation.read()) else "shown"
    if decision.level is not Level.OFF:
        known |= _queue(engine, session)
    if decision.level is Level.OFF and decision.decided_by == "consent":
        switches["consent"] = "nothing at all"
    else:
        switches["consent"] = {True: "yes", False: "no", None: "undecided"}[known.get("consent")]  # type: ignore[index]
    return Status(decision.level, decision.decided_by, decision.reason, switches, **known)  # type: ignore[arg-type]


def _elsewhere(host: str | None) -> str:
    """Return what is known here of a sink that the program itself names."""
    if host:
        return "the sink is the one the program last sent to; it names it itself, and may have another one by now"
    return "whether the program has a sink is not known here: it may name one in its code"


def _state_facts(session: Session) -> dict[str, object]:
    state, directory = session.installation.read(), session.installation.directory
    return {
        "consent": state.telemetry_enabled,
        "consent_decided_at": state.consent_decided_at,
        "consent_catalog_version": state.consent_catalog_version,
        "install_id": state.install_id,
        "state_dir": str(directory) if directory else None,
        "state_problem": _state_problem(session),
    }


def _state_problem(session: Session) -> str:
    doubt = session.installation.read().doubt
    return session.installation.problem or (doubt and f"a stored yes is not believed: {doubt}")


def _agreement(engine: Engine, state: State) -> dict[str, object]:
    catalog = engine.config.catalog
    if catalog is None:
        return {}
    agreed = catalog.covered(state.consent_catalog_version)
    return {"catalog_version": catalog.version, "unagreed": catalog.unagreed(agreed) if state.telemetry_enabled else ()}


def _queue(engine: Engine, session: Session) -> dict[str, object]:
    if not session.outbox.is_there():
        return {}
    try:
        counts, circuit = session.outbox.counts(), session.outbox.circuit()
    except StoreError as error:
        problem = _state_problem(session) or session.outbox.database.problem
        return {"waiting": str(error), "state_problem": problem}
    if session.sink is None:
        return {"ledger": _ledger(counts), "durable": session.outbox.database.durable}
    database = session.outbox.database
    withheld = session.delivery.withheld if counts.pending else ""
    return {
        "durable": database.durable,
        "ledger": _ledger(counts),
        "last_status": circuit.last_status,
        "last_attempt_at": _moment(circuit.last_at),
        "last_outcome": circuit.last_reason,
        "failures": circuit.failures,
        "state_problem": _state_problem(session) or database.problem,
        **_outlook(engine, session, circuit, withheld),
    }


def _ledger(counts: Counts) -> dict[str, int]:
    ledger = {name: getattr(counts, name) for name in ("accepted", "delivered", "rejected", "pending")}
    ledger |= {f"dropped: {reason}": number for reason, number in counts.dropped.items()}
    if counts.torn:
        ledger["torn"] = counts.torn
    return ledger


def _outlook(engine: Engine, session: Session, circuit: Circuit, withheld: str) -> dict[str, object]:
    config = session.delivery.config
    now = engine.providers.now_ns() / NANOSECONDS
    closed = config.blocked(circuit, now=now)
    until = max(circuit.not_before, circuit.held_until if circuit.held_for == config.configuration() else 0.0)
    return {
        "waiting": session.gate.right().hold or closed or withheld,
        "next_attempt_at": _moment(until) if closed and closed != STOPPED else None,
    }


def _moment(at: float) -> str | None:
    return timestamp(int(at * NANOSECONDS)) if at else None
