"""``doctor``: is all as it should be, and if not, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.cli.checks import GOOD, SKIPPED, WARNING, Check
from telemetry_sdk.cli.sink_checks import setting_checks, way_checks
from telemetry_sdk.cli.state_checks import state_checks
from telemetry_sdk.client.override import engine_of
from telemetry_sdk.model import Level

if TYPE_CHECKING:
    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.model import Decision
    from telemetry_sdk.telemetry import Telemetry

__all__ = ["examine"]

_SHOWN: Final = "records are shown on standard error instead"


def examine(telemetry: Telemetry, *, ask: bool = True) -> list[Check]:
    """Look at everything that telemetry needs on this machine and on the way to the sink.

    Sends no record and makes no id. While a switch says OFF, nothing is opened and nobody is asked. Takes at most
    three times the ``timeout`` of *telemetry*.

    Args:
        telemetry: Whose.
        ask: Whether the sink may be asked: a name lookup, a TLS handshake and one request without a record.
    """
    engine = engine_of(telemetry)
    decision = engine.session.gate.right()
    if engine.session.is_log or engine.session.gate.is_switched_off():
        if engine.session.is_log:
            decision = decision._replace(decided_by=f"{engine.prefix}_TELEMETRY", reason=_SHOWN)
        advice = f"nothing is read, stored or sent; unset {decision.decided_by} if that is not what you want"
        return [
            Check("switches", WARNING, decision.reason, advice),
            *setting_checks(engine.settings, _endpoint(engine)),
        ]
    checks = [_switches(decision)]
    checks += state_checks(engine.session, f"{engine.prefix}_TELEMETRY_DIR")
    checks += setting_checks(engine.settings, _endpoint(engine))
    return [*checks, *_way(telemetry, decision, ask=ask), *_delivery(telemetry)]


def _endpoint(engine: Engine) -> str:
    return f"{engine.prefix}_TELEMETRY_ENDPOINT"


def _switches(decision: Decision) -> Check:
    if decision.level is Level.OFF and decision.decided_by not in ("sink", "notice"):
        return Check("switches", WARNING, decision.reason, f"unset {decision.decided_by} to have records sent")
    if decision.level is Level.OFF:
        return Check("switches", GOOD, f"none is off; nothing is sent yet, because {decision.reason}")
    return Check("switches", GOOD, f"{decision.level.name}, because {decision.reason}")


def _way(telemetry: Telemetry, decision: Decision, *, ask: bool) -> list[Check]:
    engine = engine_of(telemetry)
    sink = engine.settings.sink
    if sink is None or not sink.url.startswith("http"):
        return []
    if not ask:
        return [Check("request", SKIPPED, "not made, as you asked")]
    if decision.level is Level.OFF or decision.hold:
        return [Check("request", SKIPPED, f"not made: {decision.hold or decision.reason}")]
    if engine.providers.sender is not None:
        return [Check("request", SKIPPED, "not made: this program has a sender of its own")]
    return way_checks(sink, engine.session.gate.right, engine.providers.now_ns, engine.config.timeout)


def _delivery(telemetry: Telemetry) -> list[Check]:
    status = telemetry.status()
    if status.waiting and status.ledger and status.decided_by not in ("sink", "notice"):
        until = f"; the next attempt is due at {status.next_attempt_at}" if status.next_attempt_at else ""
        advice = "nothing, if the request above is ok: records wait and leave by themselves"
        return [Check("delivery", WARNING, f"{status.waiting}{until}", advice)]
    return []
