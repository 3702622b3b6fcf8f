"""What `Telemetry.status` shows, gathered from the rooms. Under an off-switch nothing is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk.delivery import retry
from telemetry_sdk.model import NANOSECONDS, Level, Status, timestamp
from telemetry_sdk.outbox.queue import StoreError

if TYPE_CHECKING:
    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.client.session import Rooms
    from telemetry_sdk.identity.schema import State
    from telemetry_sdk.model import Circuit

__all__ = ["gather"]


def gather(engine: Engine) -> Status:
    """Return the status of *engine*. Makes nothing: no file, no id, no request."""
    rooms = engine.rooms
    decision, inputs, settings = rooms.gate.right(), rooms.gate.inputs(), engine.settings
    switches = {
        "DO_NOT_TRACK": inputs.do_not_track,
        f"{engine.prefix}_TELEMETRY": inputs.app_switch,
        "TELEMETRY_SDK_DISABLED": inputs.every_program,
        "OTEL_SDK_DISABLED": inputs.sdk_disabled,
        "sink": rooms.sink.host if rooms.sink else "",
    }
    known: dict[str, object] = {
        "sink": rooms.sink.host if rooms.sink else None,
        "sink_problem": settings.problem,
        "notes": settings.notes,
        "delivery": engine.options.delivery,
        "waiting": decision.hold,
    }
    if not rooms.gate.is_switched_off():
        known |= _state(rooms) | _agreement(engine, rooms.installation.read())
        if engine.options.notice is not None:
            switches["notice"] = "not shown yet" if rooms.gate.is_notice_due(rooms.installation.read()) else "shown"
    if decision.level is not Level.OFF:
        known |= _queue(engine, rooms)
    switches["consent"] = {True: "yes", False: "no", None: "undecided"}[known.get("consent")]  # type: ignore[index]
    return Status(decision.level, decision.decided_by, decision.reason, switches, **known)  # type: ignore[arg-type]


def _state(rooms: Rooms) -> dict[str, object]:
    state, directory = rooms.installation.read(), rooms.installation.directory
    return {
        "consent": state.telemetry_enabled,
        "consent_decided_at": state.consent_decided_at,
        "consent_catalog_version": state.consent_catalog_version,
        "install_id": state.install_id,
        "state_dir": str(directory) if directory else None,
        "state_problem": rooms.installation.problem,
    }


def _agreement(engine: Engine, state: State) -> dict[str, object]:
    catalog = engine.options.catalog
    if catalog is None:
        return {}
    agreed = catalog.covered(state.consent_catalog_version)
    return {"catalog_version": catalog.version, "unagreed": catalog.unagreed(agreed) if state.telemetry_enabled else ()}


def _queue(engine: Engine, rooms: Rooms) -> dict[str, object]:
    if not rooms.has_outbox():
        return {}
    try:
        counts, circuit = rooms.outbox.counts(), rooms.outbox.circuit()
    except StoreError as error:
        return {"waiting": str(error)}
    ledger = {name: getattr(counts, name) for name in ("accepted", "delivered", "rejected", "pending")}
    ledger |= {f"dropped: {reason}": number for reason, number in counts.dropped.items()}
    if aside := rooms.outbox.aside_count():
        ledger["set aside"] = aside
    database = rooms.outbox.database
    withheld = rooms.delivery.withheld if counts.pending else ""
    return {
        "durable": database.durable,
        "ledger": ledger,
        "last_status": circuit.last_status,
        "last_attempt_at": _moment(circuit.last_at),
        "last_outcome": circuit.last_reason,
        "failures": circuit.failures,
        "state_problem": rooms.installation.problem or database.problem,
        **_outlook(engine, rooms, circuit, withheld),
    }


def _outlook(engine: Engine, rooms: Rooms, circuit: Circuit, withheld: str) -> dict[str, object]:
    plan = rooms.delivery.plan
    now = engine.world.now_ns() / NANOSECONDS
    closed = plan.blocked(circuit, now=now)
    until = max(circuit.not_before, circuit.held_until if circuit.held_for == plan.configuration() else 0.0)
    return {
        "waiting": rooms.gate.right().hold or closed or withheld,
        "next_attempt_at": _moment(until) if closed and closed != retry.STOPPED else None,
    }


def _moment(at: float) -> str | None:
    return timestamp(int(at * NANOSECONDS)) if at else None
