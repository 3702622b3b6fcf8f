"""Whether a call gets slower the more events wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Bench, Column, Table

if TYPE_CHECKING:
    from peers import Peer

__all__ = ["measure"]

_PROGRAM = """
def timed(first, count):
    taken = []
    for number in range(first, first + count):
        begun = time.perf_counter()
        track(mark(number), number)
        taken.append((time.perf_counter() - begun) * 1e6)
    return taken
timed(0, 20)
tenth = COUNT // 10
found = {}
for part in range(10):
    taken = timed(part * tenth, tenth)
    for name, position in (("empty", 0), ("half", 5), ("full", 9)):
        if part == position:
            found[name], found[name + "_p99"] = rank(taken, 0.5), rank(taken, 0.99)
say(**found, growth=found["full"] / found["empty"])
"""


def measure(bench: Bench) -> list[Table]:
    """Measure every candidate that can hold its events while the sink does not answer."""
    count = bench.scale(10_000, 500)
    candidates = [peer for peer in bench.candidates if not peer.blocks]

    def once(peer: Peer) -> dict[str, float]:
        with bench.state(peer) as state:
            bench.sink.gate()
            try:
                return dict(bench.run(peer.program(peer.construct) + _PROGRAM, state, count))
            finally:
                bench.sink.reset()

    columns = (
        Column("empty", "p50, first tenth", "us"),
        Column("half", "p50, sixth tenth", "us"),
        Column("full", "p50, last tenth", "us"),
        Column("full_p99", "p99, last tenth", "us"),
        Column("growth", "last : first"),
    )
    text = f"{count:,} calls back to back while the sink does not answer: the median call of three tenths of them."
    rows = bench.in_turn(candidates, once, rounds=1 if bench.quick else 3)
    return [Table("depth", "A call while many events wait", text, columns, rows)]
