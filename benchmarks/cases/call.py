"""What one call costs the program that makes it: alone, from four threads, from four processes on one outbox."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import Bench, Column, Table

if TYPE_CHECKING:
    from pathlib import Path

    from peers import Peer

__all__ = ["measure"]

_CALLS = """
def timed(count, pause):
    taken = []
    for number in range(count):
        begun = time.perf_counter()
        track(mark(number), number)
        taken.append((time.perf_counter() - begun) * 1e6)
        if pause:
            time.sleep(pause)
    return taken
timed(20, 0)
"""
_ALONE = (
    _CALLS
    + """
tight = timed(COUNT, 0)
paced = timed(COUNT, 0.001)
say(tight=rank(tight, 0.5), p50=rank(paced, 0.5), p99=rank(paced, 0.99), max=max(paced))
flush()
"""
)
_THREADS = (
    _CALLS
    + """
import threading
results = []
threads = [threading.Thread(target=lambda: results.append(timed(COUNT, 0.001))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
taken = [one for result in results for one in result]
say(p50=rank(taken, 0.5), p99=rank(taken, 0.99), max=max(taken))
flush()
"""
)
_ONE_OF_FOUR = (
    _CALLS
    + """
say(ready=True)
wait()
say(taken=timed(COUNT, 0.001))
wait()
"""
)
_OFF = """
def bunch(count):
    begun = time.perf_counter()
    for number in range(count):
        track("mk0000000mk", number)
    return (time.perf_counter() - begun) / count * 1e6
time.sleep(0.2)  # the user's decision is an old one; a state file of this very moment is read again in every call
bunch(100)
say(mean=min(bunch(COUNT) for _ in range(5)))
"""
_QUANTILES = (
    Column("p50", "p50", "us", ratio=True),
    Column("p99", "p99", "us"),
    Column("max", "max", "us"),
)


def measure(bench: Bench) -> list[Table]:
    """Measure the modes in which a call does not wait for the network, and every peer."""
    candidates = [peer for peer in bench.candidates if not (peer.is_ours and peer.blocks)]
    return [_alone(bench, candidates), _threads(bench, candidates), _processes(bench, candidates), _opted_out(bench)]


def _alone(bench: Bench, candidates: list[Peer]) -> Table:
    def once(peer: Peer) -> dict[str, float]:
        with bench.state(peer) as state:
            return dict(bench.run(peer.program(peer.construct) + _ALONE, state, bench.scale(1000, 100)))

    columns = (Column("tight", "p50 back to back", "us", ratio=True), *_QUANTILES)
    text = (
        "One thread: 1,000 calls back to back, then 1,000 with a pause of 1 ms after each (p50, p99, max). Ours are on "
        "disk when the call returns; the peers' are in memory. Mixpanel's consumer sends every 50th call by itself."
    )
    return Table("call", "A call", text, columns, bench.in_turn(candidates, once))


def _threads(bench: Bench, candidates: list[Peer]) -> Table:
    def once(peer: Peer) -> dict[str, float]:
        with bench.state(peer) as state:
            return dict(bench.run(peer.program(peer.construct) + _THREADS, state, bench.scale(500, 50)))

    text = "Four threads of one process, each 500 calls with a pause of 1 ms after each."
    return Table("threads", "A call, four threads", text, _QUANTILES, bench.in_turn(candidates, once))


def _processes(bench: Bench, candidates: list[Peer]) -> Table:
    def once(peer: Peer) -> dict[str, float]:
        with bench.state(peer) as state:
            return _four(bench, peer, state)

    text = (
        "Four processes at once, each 500 calls with a pause of 1 ms after each. Ours share one outbox and one state "
        "directory; each of the peers' has a queue of its own."
    )
    return Table("processes", "A call, four processes", text, _QUANTILES, bench.in_turn(candidates, once))


def _four(bench: Bench, peer: Peer, state: Path) -> dict[str, float]:
    with ExitStack() as stack:
        program = peer.program(peer.construct) + _ONE_OF_FOUR
        children = [stack.enter_context(bench.child(program, state, bench.scale(500, 50))) for _ in range(4)]
        for child in children:
            child.hear()
        for child in children:
            child.tell()
        taken = sorted(one for child in children for one in child.hear()["taken"])
    return {
        "p50": taken[len(taken) // 2],
        "p99": taken[int(len(taken) * 0.99)],
        "max": taken[-1],
    }


def _opted_out(bench: Bench) -> Table:
    declined = next(peer for peer in bench.candidates if peer.is_ours)
    switch = 'import os\nos.environ["DO_NOT_TRACK"] = "1"\n'
    switched = replace(declined, name="telemetry_sdk DO_NOT_TRACK", opted_out=switch + declined.construct)
    declined = replace(declined, name="telemetry_sdk declined")
    candidates = [declined, switched, *(peer for peer in bench.peers if peer.opted_out)]

    def once(peer: Peer) -> dict[str, float]:
        with bench.directory() as state:
            return dict(bench.run(peer.program(peer.opted_out) + _OFF, state, bench.scale(20_000, 500)))

    text = (
        "The mean of 20,000 calls after the user has said no, the best of five bunches. Ours looks at the environment "
        "and at the state file in every call, so that a decision made by another process holds at once."
    )
    columns = (Column("mean", "call", "us", ratio=True),)
    return Table("opted_out", "An opted-out call", text, columns, bench.in_turn(candidates, once))
