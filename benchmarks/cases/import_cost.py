"""What a program pays before its first event: import, construction, and the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Bench, Column, Table

if TYPE_CHECKING:
    from peers import Peer

__all__ = ["measure"]

_PROGRAM = """
before = len(sys.modules)
begun = time.perf_counter()
{imports}
imported = time.perf_counter()
{construct}
constructed = time.perf_counter()
{functions}
ready = time.perf_counter()
track(mark(0), 0)
first = time.perf_counter()
track(mark(1), 1)
second = time.perf_counter()
after = len(sys.modules)
say(imported=(imported - begun) * 1e3, constructed=(constructed - imported) * 1e3, both=(constructed - begun) * 1e3,
    first=(first - ready) * 1e3, second=(second - first) * 1e3, modules=after - before)
flush()
"""


def measure(bench: Bench) -> list[Table]:
    """Measure every candidate; the user's decision was recorded by an earlier run."""

    def once(peer: Peer) -> dict[str, float]:
        with bench.state(peer) as state:
            return dict(bench.run(_program(peer), state))

    for peer in bench.candidates:
        once(peer)  # the first run compiles what the package manager did not
    rows = bench.in_turn(bench.candidates, once, rounds=None if bench.quick else 11)
    columns = (
        Column("imported", "import", "ms"),
        Column("constructed", "construction", "ms"),
        Column("both", "import + construction", "ms", ratio=True),
        Column("first", "first call", "ms"),
        Column("second", "second call", "ms"),
        Column("modules", "modules loaded in all"),
    )
    text = (
        "Import and construction in a fresh interpreter, and the first call: what is loaded late is paid there. "
        "In `sync` mode and for Mixpanel the first call may make a request."
    )
    return [Table("import", "Import, construction, first call", text, columns, rows)]


def _program(peer: Peer) -> str:
    return _PROGRAM.format(imports=peer.imports, construct=peer.construct, functions=peer.functions())
