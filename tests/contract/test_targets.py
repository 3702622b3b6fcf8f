"""The verdicts on the benchmarks' targets say what the tables of the run say, and excuse nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bench import Table
from targets import judge
tables = {
    key: Table(key, "", "", (), {name: {column: [value] for column, value in row.items()} for name, row in rows.items()})
    for key, rows in json.load(sys.stdin).items()
}
print(json.dumps([[it.target, it.measured, it.verdict] for it in judge(tables)]))
"""
OURS = ("telemetry_sdk manual", "telemetry_sdk background", "telemetry_sdk sync")
LIMITS = {
    "SQLite: one row inserted and committed, WAL, synchronous=NORMAL, connection held": {"p50": 10.0},
    "SQLite: 512 rows read, deleted, overwritten and committed at once, per row": {"p50": 1.0},
    "checksum of one record, by which a damaged one is told": {"p50": 1.0},
    "json.dumps of one record with twelve attributes": {"p50": 8.0},
    "gzip level 8 of 512 records, per record": {"p50": 2.0},
    "one loopback POST by requests, kept alive": {"p50": 512.0},
}  # together 5 us an event that waits, and 23 us from its call on


def verdict(**tables: Any) -> str:
    """The one verdict that these tables allow."""
    command = [sys.executable, "-c", PROGRAM, str(BENCHMARKS)]
    done = subprocess.run(command, input=json.dumps(tables), capture_output=True, text=True, timeout=60, check=True)
    ((_, _, found),) = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("drain", "whole", "peer_drain", "peer_whole", "expected"),
    [
        (150_000, 15_000, 100_000, 10_000, "met"),
        (149_000, 15_000, 100_000, 10_000, "not met"),  # 6.7 us are allowed, 5 needed
        (150_000, 14_000, 100_000, 10_000, "not met"),  # 67 us are allowed, 23 needed
        (150_000, 14_000, 100_000, 40_000, "physical limit"),  # 17 us are allowed
        (50_000, 14_000, 200_000, 40_000, "physical limit"),  # and 3.3 us
        (50_000, 14_000, 100_000, 40_000, "not met"),  # one limit excuses not the other
    ],
)
def test_throughput(drain: int, whole: int, peer_drain: int, peer_whole: int, expected: str) -> None:
    """A limit is what the parts cost alone in the same run, for each way of counting."""
    ours = {name: {"drain": drain, "whole": whole} for name in OURS[:2]}
    rows = {**ours, "Segment": {"drain": peer_drain, "whole": peer_whole}}

    assert verdict(throughput=rows, limits=LIMITS) == expected


@pytest.mark.parametrize(
    ("manual", "background", "sync", "short", "expected"),
    [
        (0.01, 0.09, 0.01, 0, "met"),
        (0.01, 0.52, 0.01, 0, "physical limit"),
        (0.01, 0.52, 0.01, 30, "not met"),  # a tenth of a second would have been enough
        (0.01, 0.52, 0.52, 0, "not met"),  # a sync call has waited already
        (0.52, 0.52, 0.01, 0, "not met"),  # manual waits for nothing
    ],
)
def test_exit(manual: float, background: float, sync: float, short: int, expected: str) -> None:
    """That the background mode waits is excused only where less would not reach a sink that is far away."""
    rows = {name: {"hang_exit": value} for name, value in zip(OURS, (manual, background, sync), strict=True)}
    far = {"exit_timeout 0.1": {"arrived": short}, "exit_timeout 0.5": {"arrived": 60}}

    assert verdict(exit={**rows, "PostHog": {"hang_exit": 1.03}}, far=far) == expected
