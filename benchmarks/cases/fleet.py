"""What fleets of installs send, and how they come back after the sink was down for a day."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench import ROOT, Column, Table

if TYPE_CHECKING:
    from bench import Bench

__all__ = ["measure"]


def measure(bench: Bench) -> list[Table]:
    """Simulate the fleets; this case measures rules, not this machine."""
    sys.path.append(str(ROOT))
    import fleet

    most = bench.scale(100_000, 1000)
    fleets = {
        "1,000 installs": (1_000, fleet.USUAL),
        "100,000 installs": (100_000, fleet.USUAL),
        "10,000,000 installs": (10_000_000, fleet.USUAL),
        "100,000, all of them services": (100_000, fleet.SERVICES),
        "100,000, all started by cron at 00:00 UTC": (100_000, fleet.CRON),
    }
    rows = {}
    for name, (installs, habits) in fleets.items():
        figures = fleet.simulate(installs, habits, most=most).figures()
        rows[name] = {key: [value] for key, value in figures.items()}
    columns = (
        Column("requests", "requests a day"),
        Column("mib", "MiB a day"),
        Column("busiest", "busiest minute"),
        Column("ratio", "busiest : mean"),
        Column("down", "attempts while down : a normal day's"),
        Column("back_hours", "back: hours until 99 %"),
        Column("back_busiest", "back: busiest minute"),
        Column("back_ratio", "back: busiest : mean"),
        Column("back_normal", "back: busiest : a normal day's busiest"),
    )
    text = (
        "Simulated over the real rules (`schedule`, `heartbeat`, `verdict`): a normal day, then a sink that is down "
        f"for 24 hours, then its return. {int(fleet.USUAL.services * 100)} % services that run day and night, the rest "
        f"programs that people open {fleet.USUAL.sessions} times a day between 8 and 18 o'clock of their own time; "
        f"{int(fleet.USUAL.agreed * 100)} % opted in and track {fleet.USUAL.events} events a day. At most {most:,} "
        "installs are simulated one by one, a larger fleet is scaled from them."
    )
    return [Table("fleet", "A fleet's load on its sink", text, columns, rows)]
