"""Where a durable call and a delivery spend their time, step by step."""

from __future__ import annotations

from typing import Any

from bench import Bench, Column, Table
from peers import OURS

__all__ = ["measure"]

# Each step twice: alone in a loop with the arguments the call gives it, and by how much shorter the call gets when the
# step's result is there already. For that one step after the other is left out, the last first, so that they add up.
_CALL = """
from telemetry_sdk.outbox import enqueue
from telemetry_sdk.analytics import event as analytics_event
from telemetry_sdk.model import Limits
time.sleep(0.2)
engine, limits = telemetry._engine, Limits()
session, pipeline = engine.session, engine.pipeline
properties = {"source": "cli", "duration_ms": 1234, "premium": True, "mark": "mk0000000mk"}
call = lambda: telemetry.track_event("timer.started", properties, user_id="u-17")
call()
decision = session.gate.right()
install_id = pipeline.install_id(session)
own = pipeline.maker.own_attributes(install_id)
scrubber = pipeline._scrub_with()
build = lambda: analytics_event.build(
    "timer.started", properties, own=own, limits=limits, context={}, scrubber=scrubber)
event = build()
make = lambda: pipeline.maker.analytics("timer.started", event, install_id, "u-17", decision.grant)
record = make()
file = session.outbox.database._file
alone = {
    "call": call,
    "gate": lambda: (session.gate.right(), session.gate.right()),
    "identity": lambda: pipeline.install_id(session),
    "user": lambda: pipeline._sent_user(session, "u-17"),
    "build": build,
    "encode": make,
    "place": file.is_in_place,
}
inside = {
    "sqlite": (enqueue, "insert_if_room", True),
    "place": (file, "is_in_place", True),
    "encode": (pipeline.maker, "analytics", record),
    "build": (analytics_event, "build", event),
    "user": (pipeline, "_sent_user", "u-17"),
    "identity": (pipeline, "install_id", install_id),
    "gate": (session.gate, "right", decision),
}
def median(step):
    taken = []
    for _ in range(COUNT):
        begun = time.perf_counter()
        step()
        taken.append((time.perf_counter() - begun) * 1e6)
    return rank(taken, 0.5)
def leave_out(owner, name, result):
    setattr(owner, name, lambda *arguments, **options: result)
def round_of_calls():
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in inside.values()]
    left = [median(call)]
    for step in inside.values():
        leave_out(*step)
        left.append(median(call))
    for step in before:
        setattr(*step)
    return dict(zip(("call", *inside), (left[0], *(one - next for one, next in zip(left, left[1:]))))), left[-1]
for _ in range(1000):  # until the write-ahead log has its full length
    call()
taken = {name: min(median(step) for _ in range(3)) for name, step in alone.items()}
parts, rest = min((round_of_calls() for _ in range(5)), key=lambda found: found[0]["call"])
say(alone=taken, inside={**parts, "rest": rest})
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
session = telemetry._engine.session
outbox = session.outbox
for name in ("take", "begin", "settle"):
    watched(outbox, name, name)
watched(session.delivery._sender, "send", "send")
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
    call = _call(bench)
    delivery = bench.in_turn([ours], lambda _: _run(bench, _DELIVERY, bench.scale(5120, 512)))[ours.name]
    columns = (Column("p50", "alone, p50", "us"), Column("inside", "share of the call", "us"))
    per_event = (Column("mean", "per event", "us"),)
    return [
        Table(
            "anatomy_call",
            "Where a durable call spends its time",
            "Each step alone in a loop, and its share of the call: by how much that gets shorter when one step after "
            "the other, the last first, is left out. In a call the steps find colder caches than alone.",
            columns,
            call,
        ),
        Table(
            "anatomy_delivery",
            "Where a delivery spends its time",
            "5,120 waiting events flushed; the time of each step divided by the number of events.",
            per_event,
            {_STEPS[key]: {"mean": values} for key, values in delivery.items()},
        ),
    ]


def _call(bench: Bench) -> dict[str, dict[str, list[float]]]:
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in _STEPS_OF_A_CALL.values()}
    for _ in range(bench.rounds):
        report = _run(bench, _CALL, bench.scale(1000, 100))
        for column, taken in (("p50", report["alone"]), ("inside", report["inside"])):
            for step, value in taken.items():
                rows[_STEPS_OF_A_CALL[step]].setdefault(column, []).append(value)
    return rows


def _run(bench: Bench, program: str, count: int) -> dict[str, Any]:
    ours = OURS[0]
    with bench.state(ours) as state:
        return dict(bench.run(ours.program(ours.construct) + program, state, count))


_STEPS_OF_A_CALL = {
    "call": "the whole call",
    "gate": "gate, twice: switches and consent as they are now",
    "identity": "install id",
    "user": "check the user id",
    "build": "check, convert and scrub the properties",
    "encode": "make and serialize the record",
    "place": "outbox: is the file still the one that is open",
    "sqlite": "outbox: one SQLite statement, a transaction of its own; checksum and count of the record",
    "rest": "the rest: facade, guard, locks, receipt",
}
_STEPS = {
    "whole": "the whole flush",
    "take": "take: expiry, oldest records, checksums",
    "begin": "begin: join, gzip, the sent log",
    "send": "send: permit, request, answer",
    "settle": "settle: delete, count, circuit",
}
