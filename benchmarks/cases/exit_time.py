"""How long the end of a program takes, and what becomes of its events, with sinks that are fine, refuse and hang."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from bench import Bench, Child, Column, Table
from peers import OURS
from sink import FAR

if TYPE_CHECKING:
    from peers import Peer

__all__ = ["measure"]

_PROGRAM = """
import time
for number in range(COUNT):
    try:
        track(mark(number), number)
    except Exception:
        pass
say(last=time.time())
"""
# What the next run of the program still has; delivered now, so that the sink can count it.
_NEXT_RUN = "\nflush()\nsay(done=True)"
_LONGEST = 40.0
_LONGEST_QUICK = 8.0  # longer than a call of ours may wait
_EVENTS = 60
_BOUNDS = (0.1, 0.5)  # a tenth of what the best peer takes, and the default


def measure(bench: Bench) -> list[Table]:
    """Measure every candidate, and a program that uses none of them."""

    def once(peer: Peer) -> dict[str, float]:
        return {key: value for kind in ("fine", "refuse", "hang") for key, value in _end(bench, peer, kind).items()}

    columns = tuple(
        Column(f"{kind}_{what}", f"{title}: {what}", unit, ratio=kind == "hang" and what == "exit")
        for kind, title in (("fine", "fine"), ("refuse", "refused"), ("hang", "hanging"))
        for what, unit in (("exit", "s"), ("lost", ""))
    )
    text = (
        f"{_EVENTS} events, then the program ends without a flush: seconds from its last statement to the end of the "
        f"process (an interpreter without any SDK takes {_bare(bench):.3f} s), and how many of the events neither "
        f"arrived nor wait for the next run. A process that lasts longer than {_LONGEST:.0f} s, in its calls or its "
        "end, is killed. In `sync` mode the first call waits for the hanging sink (its `timeout`, 5 s) and the end for "
        "nothing."
    )
    rows = bench.in_turn(bench.candidates, once, rounds=1 if bench.quick else 3)
    return [Table("exit", "The end of the program", text, columns, rows), _far(bench)]


def _far(bench: Bench) -> Table:
    """Measure what the wait at the end is good for: a sink that is far away cannot be told from a hanging one."""
    background = next(peer for peer in OURS if "background" in peer.name)
    rows: dict[str, dict[str, list[float]]] = {}
    for _ in range(bench.rounds):
        for seconds in _BOUNDS:
            rows.setdefault(f"exit_timeout {seconds}", {}).setdefault("arrived", []).append(
                _arrived(bench, background, seconds)
            )
    text = (
        f"A short program in `background` mode tracks {_EVENTS} events and ends; the sink answers {FAR} s after it was "
        "asked, as one does on another continent (DNS, TCP, TLS, one request). How many events had arrived when the "
        "program was over; the rest wait for its next run."
    )
    return Table("far", "The end of a program whose sink is far away", text, (Column("arrived", "arrived"),), rows)


def _arrived(bench: Bench, peer: Peer, exit_timeout: float) -> float:
    construct = peer.construct.replace("delivery=", f"exit_timeout={exit_timeout}, delivery=")
    with bench.state(peer) as state:
        bench.sink.move_away()
        with bench.child(peer.program(construct) + _PROGRAM, state, _EVENTS) as child:
            child.hear()
            child.finish()
            arrived: float = bench.sink.report()["events"]
        bench.sink.reset()
    return arrived


def _bare(bench: Bench) -> float:
    taken = []
    for _ in range(bench.rounds):
        with bench.directory() as state, bench.child("say(last=time.time())", state) as child:
            last = child.hear()["last"]
            taken.append((child.finish()[0] or 0.0) - last)
    return min(taken)


def _end(bench: Bench, peer: Peer, kind: str) -> dict[str, float]:
    bench.sink.reset()
    longest = _LONGEST_QUICK if bench.quick else _LONGEST
    with bench.state(peer) as state:
        url = _refusing_url() if kind == "refuse" else None
        if kind == "hang":
            bench.sink.gate()
        with bench.child(peer.program(peer.construct) + _PROGRAM, state, _EVENTS, url) as child:
            taken = _seconds(child, longest)
        # An answer that is held back until the client has gone is no acknowledgement.
        arrived = 0 if kind == "hang" else bench.sink.report()["events"]
        bench.sink.reset()
        if peer.is_ours:
            bench.run(peer.program(peer.construct) + _NEXT_RUN, state)
            arrived += bench.sink.report()["events"]
    return {f"{kind}_exit": taken, f"{kind}_lost": max(_EVENTS - arrived, 0)}


def _seconds(child: Child, longest: float) -> float:
    """Return the seconds from the program's last statement to its end; *longest* when it never got there."""
    try:
        last = child.hear(longest)["last"]
    except RuntimeError:
        return longest
    ended = child.finish(longest)[0]
    return longest if ended is None else ended - last


def _refusing_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
