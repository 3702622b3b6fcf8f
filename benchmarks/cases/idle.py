"""What a client costs that has nothing to do."""

from __future__ import annotations

from bench import Bench, Column, Table
from peers import Peer

__all__ = ["measure"]

_PROGRAM = """
import threading
track(mark(0), 0)
flush()
if globals().get("telemetry"):
    telemetry.start()
time.sleep(1.0)
def switches():
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
switches(), time.process_time()
before, woken = time.process_time(), switches()
time.sleep(COUNT)
say(cpu=(time.process_time() - before) * 1e3 / COUNT, woken=max(switches() - woken - 1, 0) / COUNT,
    threads=threading.active_count() - 1)
"""


def measure(bench: Bench) -> list[Table]:
    """Measure every candidate after one event was delivered and, for ours, the daily schedule started."""

    def once(peer: Peer) -> dict[str, float]:
        with bench.state(peer) as state:
            return dict(bench.run(peer.program(peer.construct) + _PROGRAM, state, bench.scale(5, 1)))

    columns = (
        Column("cpu", "CPU time a second", "ms"),
        Column("woken", "wake-ups a second"),
        Column("threads", "threads"),
    )
    text = (
        "Five seconds of doing nothing, one second after an event was delivered. Wake-ups are voluntary context "
        "switches of the process, without the one of the measuring thread."
    )
    nothing = Peer("no SDK", "", "", "", "pass")
    rows = bench.in_turn([nothing, *bench.candidates], once, rounds=1 if bench.quick else 3)
    return [Table("idle", "An idle client", text, columns, rows)]
