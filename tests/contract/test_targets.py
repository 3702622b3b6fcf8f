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
    key: Table(key, "", "", (), {name: {column: value if isinstance(value, list) else [value] for column, value in row.items()} for name, row in rows.items()})
    for key, rows in json.load(sys.stdin).items()
}
print(json.dumps([[it.target, it.measured, it.verdict] for it in judge(tables)]))
"""
OURS = ("telemetry_sdk manual", "telemetry_sdk background", "telemetry_sdk sync")
LEAST = "json, sqlite3, threading, uuid and one committed insert"


def verdict(**tables: Any) -> str:
    """The one verdict that these tables allow; a value is that of every round, or a list of them."""
    command = [sys.executable, "-c", PROGRAM, str(BENCHMARKS)]
    done = subprocess.run(command, input=json.dumps(tables), capture_output=True, text=True, timeout=60, check=True)
    ((_, _, found),) = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("manual", "background", "expected"),
    [(85_000, 85_000, "met"), (84_000, 200_000, "not met"), (85_000, 10_000, "met")],
)
def test_a_drain_is_judged_where_nothing_was_prepared(manual: int, background: int, expected: str) -> None:
    """The take-in counts, so the mode that took nothing in before the clock began is beside the best of the peers."""
    rows = {OURS[0]: manual, OURS[1]: background, "PostHog": 50_000, "Segment": 100_000}

    assert verdict(throughput={name: {"drain": value} for name, value in rows.items()}) == expected


@pytest.mark.parametrize(
    ("ours", "expected"),
    [([36.0, 20.0, 90.0], "met"), ([37.0, 50.0, 38.0], "not met")],
)
def test_a_run_is_beside_its_least_parts_round_by_round(ours: list[float], expected: str) -> None:
    """The middle of the ratios of neighbours decides, not the ratio of two middles."""
    least = [18.0, 10.0, 19.0]

    assert verdict(run={OURS[0]: {"added": ours}, LEAST: {"added": least}}) == expected


@pytest.mark.parametrize(
    ("manual", "background", "expected"), [(34, 34, "met"), (34, 35, "not met"), (35, 34, "not met")]
)
def test_a_durable_call(manual: float, background: float, expected: str) -> None:
    """Both modes whose call only stores are beside PostHog's call into memory."""
    rows = {OURS[0]: manual, OURS[1]: background, "PostHog": 40.0}

    assert verdict(call={name: {"tight": value, "p50": 1.0} for name, value in rows.items()}) == expected


@pytest.mark.parametrize(("p50", "p99", "expected"), [(40, 600, "met"), (41, 600, "not met"), (40, 601, "not met")])
def test_four_processes(p50: float, p99: float, expected: str) -> None:
    """Neither the usual call nor a slow one may cost more."""
    other = {"p50": 40.0, "p99": 900.0}

    assert (
        verdict(processes={OURS[0]: other | {"p99": 1.0}, OURS[1]: {"p50": p50, "p99": p99}, "PostHog": other})
        == expected
    )


@pytest.mark.parametrize(("now", "expected"), [(400.0, "met"), (401.0, "not met")])
def test_a_sync_call_is_beside_the_older_state(now: float, expected: str) -> None:
    """Half of what the same call took at the commit that was named."""
    rows = {OURS[2]: now, f"{OURS[2]}, e317fb2": 800.0, "PostHog": 100.0}

    assert verdict(sync={name: {"beyond": value} for name, value in rows.items()}) == expected


@pytest.mark.parametrize(("rate", "p99", "expected"), [(1150, 20, "met"), (1140, 20, "not met"), (1150, 21, "not met")])
def test_a_web_app(rate: float, p99: float, expected: str) -> None:
    """More requests a second than with PostHog, and none of them slower."""
    rows = {OURS[1]: {"rate": rate, "p99": p99, "share": 50}, "PostHog": {"rate": 1000, "p99": 20, "share": 40}}

    assert verdict(web=rows) == expected


@pytest.mark.parametrize(("share", "expected"), [(45.0, "met"), (44.0, "not met")])
def test_page_views(share: float, expected: str) -> None:
    """Of the requests that the bare app answers."""
    assert verdict(web={f"{OURS[1]}, page_views=True": {"share": share}}) == expected


@pytest.mark.parametrize(("key", "expected"), [("calls", "met"), ("changes", "not met")])
def test_how_far_a_call_travels(key: str, expected: str) -> None:
    """Each count has its bound, the number of functions has none."""
    manual = {"modules": 15, "changes": 40, "calls": 1}
    sync = {"transactions": 4, "looks": 3, "upward": 2}

    assert verdict(call_price={OURS[0]: manual | {key: manual[key] + 1}, OURS[2]: sync}) == expected


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
