"""What a call that waits for the sink costs beyond the round trip itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Bench, Column, Table

if TYPE_CHECKING:
    from peers import Peer

__all__ = ["measure"]

# The bare round trip carries as many bytes as one event of the same candidate, over a kept-alive connection.
_PROGRAM = """
import requests
session = requests.Session()
session.trust_env = False
def timed(call, count):
    taken = []
    for number in range(count):
        begun = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - begun) * 1e6)
    return taken
body = b"x" * 600
post = lambda number: session.post(f"{URL}/bare", data=body, headers={"Content-Type": "application/json"}).content
send = lambda number: track(mark(number), number)
timed(send, 20), timed(post, 20)
calls, trips = [], []
for _ in range(5):
    calls += timed(send, COUNT)
    trips += timed(post, COUNT)
call, trip = rank(calls, 0.5), rank(trips, 0.5)
say(call=call, p99=rank(calls, 0.99), trip=trip, beyond=call - trip)
flush()
"""


def measure(bench: Bench) -> list[Table]:
    """Measure ours and the peers that can wait for the answer."""
    ours = next(peer for peer in bench.candidates if peer.is_ours and peer.blocks)
    candidates = [ours, *bench.older(ours), *(peer for peer in bench.peers if peer.sync)]

    def once(peer: Peer) -> dict[str, float]:
        with bench.state(peer) as state:
            return dict(bench.run(peer.program(peer.sync) + _PROGRAM, state, bench.scale(100, 10)))

    columns = (
        Column("call", "call p50", "us"),
        Column("p99", "call p99", "us"),
        Column("trip", "bare round trip p50", "us"),
        Column("beyond", "beyond it", "us", ratio=True),
    )
    text = (
        "500 calls that return when the sink has answered, each candidate beside the bare round trip of a 600-byte "
        "body by `requests` over a kept-alive connection, measured in the same process in turn. Ours is stored, "
        "taken, written down as about to be sent, sent and settled. A row with a commit is that older state of ours."
    )
    return [Table("sync", "A call that waits for the answer", text, columns, bench.in_turn(candidates, once))]
