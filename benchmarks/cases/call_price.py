"""How far one call travels through the package: counted, so it is the same on every machine."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

from bench import ROOT, Bench, Column, Table
from peers import OURS

__all__ = ["count", "measure"]

# Profiled from before the first thread on; what a statement of SQL belongs to is told by SQLite itself.
_WATCH = """
import os, sqlite3, threading
from collections import Counter
import telemetry_sdk
HOME = os.path.dirname(telemetry_sdk.__file__) + os.sep
modules = {}
def module_of(frame):
    file = frame.f_code.co_filename
    if file not in modules:
        name = file[len(HOME):-3] if file.startswith(HOME) else ""
        modules[file] = name.replace(os.sep, ".").removesuffix(".__init__")
    return modules[file]
def floor_of(module):
    return FLOORS.get(module.partition(".")[0], 0)
calls, statements, counting = [], [], False
def note(frame, event, argument):
    if not counting or event != "call" or not (module := module_of(frame)):
        return
    below = frame.f_back
    while below is not None and not module_of(below):
        below = below.f_back
    calls.append((module_of(below) if below is not None else module, module, frame.f_code.co_qualname))
connect = sqlite3.connect
def traced(*arguments, **options):
    connection = connect(*arguments, **options)
    number = id(connection)
    connection.set_trace_callback(lambda text: counting and statements.append((number, text)))
    return connection
def transactions():
    found, inside, last = 0, set(), None
    for number, text in statements:
        word, again, last = text.split(None, 1)[0].upper(), (number, text) == last, (number, text)
        if again and word in ("INSERT", "UPDATE", "DELETE"):
            continue  # told once more for each trigger that it sets off
        if word in ("COMMIT", "END", "ROLLBACK"):
            inside.discard(number)
        elif number not in inside and word not in ("PRAGMA", "--"):
            found += 1
            inside.update({number} if word == "BEGIN" else ())
    return found
def counted():
    global counting
    calls.clear(), statements.clear()
    counting = True
    once()
    time.sleep(0.05)  # what the sender's thread does after its answer belongs to the call
    counting = False
    crossed = [(low, high) for low, high, _ in calls if low != high]
    climbed = [(low, high) for low, high in crossed if 0 < floor_of(low) < floor_of(high)]
    return dict(calls=len(calls), modules=len({high for _, high, _ in calls}), changes=len(crossed),
        upward=len(climbed), transactions=transactions(),
        looks=sum(call[1:] == ("consent.gate", "Gate.right") for call in calls),
        names=sorted({high for _, high, _ in calls}),
        climbs=[f"{low} > {high}: {times}" for (low, high), times in Counter(climbed).most_common()])
sqlite3.connect = traced
threading.setprofile(note)
sys.setprofile(note)
"""
_COUNT = """
once = lambda: telemetry.track_event("timer.started", {"source": "cli", "duration_ms": 1234})
for _ in range(20):
    once()
found = [counted() for _ in range(COUNT)]
sys.setprofile(None)
say(**{key: rank([one[key] for one in found], 0.5) for key in found[0]})
flush()
"""
_TITLES = {
    "modules": "modules entered",
    "changes": "changes of module",
    "upward": "calls to a higher floor",
    "transactions": "SQLite transactions",
    "looks": "looks at the gate",
    "calls": "functions called",
}


def measure(bench: Bench) -> list[Table]:
    """Count in the mode that only stores and in the one that sends within the call."""
    rows = {}
    for peer in OURS:
        if "background" not in peer.name:
            found = count(bench, peer.name)
            rows[peer.name] = {key: [float(found[key])] for key in _TITLES}
    text = (
        "One `track_event` with two properties by a user who agreed, after 20 of them, the sender's thread included. "
        "A change of module is a call into another file of ours than the nearest one below it on the stack; it goes "
        "up when that file lies on a higher floor, whoever stored the function that is called."
    )
    columns = tuple(Column(key, title) for key, title in _TITLES.items())
    return [Table("call_price", "How far a call travels", text, columns, rows)]


def count(bench: Bench, name: str) -> dict[str, Any]:
    """Return the counts of our candidate *name*, with the modules it entered and the calls that went up."""
    ours = next(peer for peer in OURS if peer.name == name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = {room: len(layers) - number for number, layer in enumerate(layers) for room in layer.split(" | ")}
    watched = replace(ours, imports=f"FLOORS = {floors!r}\n{_WATCH}\n{ours.imports}")
    with bench.state(ours) as state:
        return bench.run(watched.program(watched.construct) + _COUNT, state, bench.scale(9, 5))
