"""Where a durable call and a delivery spend their time, step by step."""

from __future__ import annotations

from bench import Bench, Column, Table
from peers import OURS

__all__ = ["measure"]

# The steps as the facade and the delivery take them, each timed alone with the arguments the call would give it.
_CALL = """
from telemetry_sdk import analytics_event
from telemetry_sdk.model import Limits
engine, limits = telemetry._engine, Limits()
rooms, sending = engine.rooms, engine.sending
properties = {"source": "cli", "duration_ms": 1234, "premium": True, "mark": "mk0000000mk"}
decision = rooms.gate.right()
install_id = sending.install_id(rooms)
own = sending.maker.own_attributes(install_id)
scrubber = sending._scrub_with()
build = lambda: analytics_event.build(
    "timer.started", properties, own=own, limits=limits, context={}, scrubber=scrubber)
event = build()
make = lambda: sending.maker.analytics("timer.started", event, install_id, "u-17", decision.grant)
records = iter([make() for _ in range(5000)])
steps = {
    "call": lambda: telemetry.track_event("timer.started", properties, user_id="u-17"),
    "gate": rooms.gate.right,
    "identity": lambda: sending.install_id(rooms),
    "user": lambda: sending._sent_user(rooms, "u-17"),
    "build": build,
    "encode": make,
    "store": lambda: rooms.outbox.put(next(records)),
}
def median(step):
    taken = []
    for _ in range(COUNT):
        begun = time.perf_counter()
        step()
        taken.append((time.perf_counter() - begun) * 1e6)
    return rank(taken, 0.5)
for step in steps.values():
    step()
say(**{name: min(median(step) for _ in range(3)) for name, step in steps.items()})
"""
_DELIVERY = """
track(mark(0), 0)
flush()
spent = {}
def watched(owner, name, label):
    inner = getattr(owner, name)
    def timed(*arguments, **options):
        begun = time.perf_counter()
        try:
            return inner(*arguments, **options)
        finally:
            spent[label] = spent.get(label, 0.0) + time.perf_counter() - begun
    setattr(owner, name, timed)
rooms = telemetry._engine.rooms
outbox = rooms.outbox
for name in ("claim", "begin", "settle", "release"):
    watched(outbox, name, name)
watched(rooms.delivery._sender, "send", "send")
for number in range(COUNT):
    track(mark(number), number)
begun = time.perf_counter()
flush()
whole = time.perf_counter() - begun
say(whole=whole * 1e6 / COUNT, **{name: value * 1e6 / COUNT for name, value in spent.items()})
"""


def measure(bench: Bench) -> list[Table]:
    """Measure our own steps in manual mode."""
    ours = OURS[0]
    call = bench.in_turn([ours], lambda _: _run(bench, _CALL, bench.scale(1000, 50)))[ours.name]
    delivery = bench.in_turn([ours], lambda _: _run(bench, _DELIVERY, bench.scale(5120, 512)))[ours.name]
    columns = (Column("p50", "p50", "us"),)
    per_event = (Column("mean", "per event", "us"),)
    return [
        Table(
            "anatomy_call",
            "Where a durable call spends its time",
            "Each step alone in a loop; the whole call asks the gate twice, before the record is made and after.",
            columns,
            {_STEPS[key]: {"p50": values} for key, values in call.items()},
        ),
        Table(
            "anatomy_delivery",
            "Where a delivery spends its time",
            "5,120 waiting events flushed; the time of each step divided by the number of events.",
            per_event,
            {_STEPS[key]: {"mean": values} for key, values in delivery.items()},
        ),
    ]


def _run(bench: Bench, program: str, count: int) -> dict[str, float]:
    ours = OURS[0]
    with bench.state(ours) as state:
        return dict(bench.run(ours.program(ours.construct) + program, state, count))


_STEPS = {
    "call": "the whole call",
    "gate": "gate: switches and consent as they are now",
    "identity": "install id",
    "user": "check the user id",
    "build": "check, convert and scrub the properties",
    "encode": "make and serialize the record",
    "store": "store it: one transaction",
    "whole": "the whole flush",
    "claim": "claim: expiry, oldest records, checksums",
    "begin": "begin: what is about to be sent, the sent log",
    "send": "send: gzip, permit, request, answer",
    "settle": "settle: delete, count, circuit",
    "release": "give the lease back",
}
