"""How many events a second reach the sink, counted there by their markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Bench, Column, Table
from sink import raw_ceiling

if TYPE_CHECKING:
    from peers import Peer

__all__ = ["measure"]

_PROGRAM = """
track("warm-up", 0)
flush()
say(ready=True)
wait()
begun = time.monotonic()
for number in range(COUNT):
    track(mark(number), number)
tracked = time.monotonic()
say(begun=begun, tracked=tracked)
wait()
flush()
say(flushed=time.monotonic())
"""


def measure(bench: Bench) -> list[Table]:
    """Measure every candidate from the first call on, and every one that can hold its events from the queue on."""
    count, waiting = bench.scale(5000, 500), bench.scale(20_000, 500)
    held = [peer for peer in bench.candidates if not peer.blocks]
    rounds = 1 if bench.quick else 3
    whole = bench.in_turn(bench.candidates, lambda peer: _whole(bench, peer, count), rounds)
    drained = bench.in_turn(held, lambda peer: _drain(bench, peer, waiting), rounds)
    for name, row in drained.items():
        whole[name] |= row
    columns = (
        Column("drain", "delivered a second, all waiting", "1/s", ratio=True),
        Column("whole", "delivered a second, from the first call", "1/s", ratio=True),
        Column("lost", "lost"),
        Column("requests", "requests"),
    )
    ceiling = raw_ceiling(bench.sink, size=65_536, requests=bench.scale(2000, 100))
    text = (
        f"*All waiting*: {waiting:,} events; the sink holds its answers back until every one was tracked; then the "
        "time from the moment it answers to the last answer, for the events that the sink did not have yet: a client "
        "with many threads has sent much by then, and waits for answers alone. In `manual` mode nothing was prepared "
        f"by then. *From the first call*: {count:,} events, tracking and delivery together. "
        f"The sink itself takes {ceiling:,.0f} requests of 64 KiB a second from one bare socket."
    )
    return [Table("throughput", "Delivered events a second", text, columns, whole)]


def _whole(bench: Bench, peer: Peer, count: int) -> dict[str, float]:
    with bench.state(peer) as state, bench.child(peer.program(peer.construct) + _PROGRAM, state, count) as child:
        child.hear()
        bench.sink.reset()
        child.tell()
        begun = child.hear()["begun"]
        child.tell()
        child.hear()
        report = bench.arrived(count)
    seconds = report["last_at"] - begun
    return {"whole": report["events"] / seconds, "lost": count - report["events"], "requests": report["requests"]}


def _drain(bench: Bench, peer: Peer, count: int) -> dict[str, float]:
    # A slow machine tracks them for longer than a request of ours may take, which the held back answer would end.
    patient = peer.construct.replace("delivery=", "timeout=60, delivery=")
    with bench.state(peer) as state, bench.child(peer.program(patient) + _PROGRAM, state, count) as child:
        child.hear()
        bench.sink.reset()
        bench.sink.gate()
        child.tell()
        child.hear()
        begun = bench.sink.open()
        child.tell()
        child.hear()
        report = bench.arrived(count, patience=5.0)
    left = report["events"] - report["held"]
    return {"drain": left / (report["last_at"] - begun)} if left else {}
