"""How much memory events take while they wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Bench, Column, Table

if TYPE_CHECKING:
    from peers import Peer

__all__ = ["measure"]

_PROGRAM = """
def resident():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
for number in range(50):
    track(mark(number), number)
flush()
say(ready=True)
wait()
before = resident()
for number in range(COUNT):
    track(mark(number), number)
say(start=before, growth=resident() - before)
"""


def measure(bench: Bench) -> list[Table]:
    """Measure every candidate that can hold its events while the sink does not answer."""
    count = bench.scale(10_000, 1000)
    candidates = [peer for peer in bench.candidates if not peer.blocks]

    def once(peer: Peer) -> dict[str, float]:
        program = peer.program(peer.construct) + _PROGRAM
        with bench.state(peer) as state, bench.child(program, state, count) as child:
            child.hear()
            bench.sink.gate()
            child.tell()
            try:
                return dict(child.hear())
            finally:
                bench.sink.reset()

    columns = (Column("growth", "growth", "KiB", ratio=True), Column("start", "before, with the interpreter", "KiB"))
    text = (
        f"Growth of the resident memory over {count:,} events while the sink does not answer, after 50 that were "
        "delivered: what a first request loads is in what was there before. "
        "Sentry keeps no more than 1,000 and drops the rest; the others keep all."
    )
    rows = bench.in_turn(candidates, once, rounds=1 if bench.quick else 3)
    return [Table("memory", f"Memory per {count:,} pending events", text, columns, rows)]
