"""What `Telemetry.status` shows, gathered from the rooms. Under an off-switch nothing is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk import verdict
from telemetry_sdk.model import NANOSECONDS, Circuit, Level, Status, timestamp
from telemetry_sdk.outbox import StoreError

if TYPE_CHECKING:
    from telemetry_sdk.engine import Engine

__all__ = ["gather"]


def gather(engine: Engine) -> Status:
    """Return the status of *engine*. Makes nothing: no file, no id, no request."""
    decision, inputs, settings = engine.gate.right(), engine.gate.inputs(), engine.settings
    switches = {
        "DO_NOT_TRACK": inputs.do_not_track,
        f"{engine.prefix}_TELEMETRY": inputs.app_switch,
        "TELEMETRY_SDK_DISABLED": inputs.every_program,
        "OTEL_SDK_DISABLED": inputs.sdk_disabled,
        "sink": settings.sink.host if settings.sink else "",
    }
    known: dict[str, object] = {
        "sink": settings.sink.host if settings.sink else None,
        "sink_problem": settings.problem,
        "notes": settings.notes,
        "delivery": engine.options.delivery,
    }
    if not engine.gate.is_switched_off():
        known |= _state(engine)
    if decision.level is not Level.OFF:
        known |= _queue(engine)
    switches["consent"] = {True: "yes", False: "no", None: "undecided"}[known.get("consent")]  # type: ignore[index]
    return Status(decision.level, decision.decided_by, decision.reason, switches, **known)  # type: ignore[arg-type]


def _state(engine: Engine) -> dict[str, object]:
    state, directory = engine.installation.read(), engine.installation.directory
    return {
        "consent": state.telemetry_enabled,
        "consent_decided_at": state.consent_decided_at,
        "install_id": state.install_id,
        "state_dir": str(directory) if directory else None,
        "state_problem": engine.installation.problem,
    }


def _queue(engine: Engine) -> dict[str, object]:
    if not (engine.outbox.is_open() or engine.outbox.exists()):
        return {}
    try:
        counts, circuit = engine.outbox.counts(), engine.outbox.circuit()
    except StoreError as error:
        return {"waiting": str(error)}
    ledger = {name: getattr(counts, name) for name in ("accepted", "delivered", "rejected", "pending")}
    database = engine.outbox.database
    return {
        "durable": database.durable,
        "ledger": ledger | {f"dropped: {reason}": number for reason, number in counts.dropped.items()},
        "last_status": circuit.last_status,
        "last_attempt_at": timestamp(int(circuit.last_at * NANOSECONDS)) if circuit.last_at else None,
        "waiting": _waiting(engine, circuit) or (engine.delivery.withheld if counts.pending else ""),
        "state_problem": engine.installation.problem or database.problem,
    }


def _waiting(engine: Engine, circuit: Circuit) -> str:
    plan = engine.delivery.plan
    now = engine.world.now_ns() / NANOSECONDS
    return verdict.blocked(circuit, now=now, configuration=plan.configuration, app_version=plan.app_version)
