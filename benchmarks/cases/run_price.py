"""What a short program pays for telemetry in all: CPU time of processes, beside what no such program can spare."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import Bench, Column, Table
from peers import OURS, Peer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BARE", "FLOOR", "measure"]

BARE = "a bare interpreter"
FLOOR = "json, sqlite3, threading, uuid and one committed insert"
_FLOOR_PROGRAM = """
import json, sqlite3, threading, uuid
connection = sqlite3.connect(STATE + "/floor.sqlite3", isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA synchronous=NORMAL")
connection.execute("CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, uid TEXT, body BLOB)")
connection.execute("INSERT INTO records (uid, body) VALUES (?, ?)", (str(uuid.uuid4()), json.dumps({"a": 1}).encode()))
connection.close()
"""
_NOTHING = Peer(BARE, "", "", "", "")
_LEAST = Peer(FLOOR, "", _FLOOR_PROGRAM, "", "")
_OURS = Peer(
    name=OURS[0].name,
    package="telemetry-sdk",
    imports="from telemetry_sdk import Telemetry",
    construct='telemetry = Telemetry("acme-notes", version="2.4.0", endpoint=URL, state_dir=STATE, delivery="manual")',
    track='telemetry.track_event("timer.started", {"source": "cli", "duration_ms": 1234})',
    prepare="telemetry.opt_in()\ntelemetry.start()\nassert telemetry.flush(60)",
    is_ours=True,
)


def measure(bench: Bench) -> list[Table]:
    """Measure runs of a program whose user agreed and whose heartbeat of the day has arrived."""
    candidates = [_NOTHING, _LEAST, _OURS, *bench.older(_OURS)]
    with ExitStack() as stack:
        states: dict[str, Path] = {}
        for peer in candidates:
            state = states[peer.name] = stack.enter_context(bench.directory())
            bench.run(peer.program(), state)
        bench.sink.reset()
        rows = bench.in_turn(
            candidates,
            lambda peer: {"cpu": _cpu_ms(bench, _text(peer), states[peer.name])},
            rounds=5 if bench.quick else 101,
        )
    if bench.sink.report()["requests"]:
        raise RuntimeError("a run in manual mode talked to the sink")
    bare = rows[BARE]["cpu"]
    for row in rows.values():
        row["added"] = [one - less for one, less in zip(row["cpu"], bare, strict=True)]
    columns = (
        Column("cpu", "CPU time of the process", "ms"),
        Column("added", "more than the bare one", "ms", ratio=True),
    )
    text = (
        "CPU time, user and system, of whole processes, 101 of each in turn: nothing; the modules and the one insert "
        "(a table that exists, WAL, synchronous=NORMAL) that are the least of a durable record; `start()` on a day "
        "whose heartbeat has arrived, one event and `close()` in `manual` mode."
    )
    return [Table("run", "What a short run costs", text, columns, rows)]


def _text(peer: Peer) -> str:
    if not peer.is_ours:
        return peer.imports or "pass"
    return "\n".join((peer.imports, peer.construct, "telemetry.start()", peer.track, "telemetry.close()"))


def _cpu_ms(bench: Bench, text: str, state: Path) -> float:
    from resource import RUSAGE_CHILDREN, getrusage

    before = getrusage(RUSAGE_CHILDREN)
    with bench.child(text, state) as child:
        child.finish()
    after = getrusage(RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e3
