"""What a reader has to follow: how far one call travels through the package, and how much package there is."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import telemetry_sdk

ROOT = Path(__file__).parents[2]
HOUSE = Path(telemetry_sdk.__file__).parent
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bench import Bench
from cases.call_price import count
from sink import Sink
with Sink() as sink:
    bench = Bench(sys.executable, (), sink, quick=True)
    print(json.dumps({mode: count(bench, f"telemetry_sdk {mode}") for mode in ("manual", "sync")}))
"""


@pytest.fixture(scope="module")
def counts() -> Any:
    """The counts of one warm `track_event` with two properties, as the benchmarks print them."""
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "benchmarks")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("mode", "what", "most"),
    [
        ("manual", "modules", 15),
        ("manual", "changes", 40),
        ("sync", "transactions", 4),
        ("sync", "looks", 3),
        ("sync", "upward", 2),
    ],
)
def test_a_call_travels_no_further(counts: Any, mode: str, what: str, most: int) -> None:
    """Storing a warm event enters few modules; sending one in the call asks disk, gate and higher floors seldom."""
    found = counts[mode]
    where = found["climbs"] if what == "upward" else found["names"]

    assert found["calls"] > 0
    assert found[what] <= most, f"{mode}: {found[what]} {what}, at most {most}: {where}"


def lines(folder: Path) -> int:
    return sum(len(path.read_text("utf-8").splitlines()) for path in sources(folder))


def sources(place: Path) -> list[Path]:
    return [place] if place.suffix else sorted(place.rglob("*.py"))


def test_the_house_stays_small() -> None:
    """Floors 1 to 7 have at most 9,000 lines, the package at most 80 files and 13,000 lines."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    _edges, *floors = project["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = [room for floor in floors for room in floor.split(" | ")]
    inside = sum(lines(HOUSE / room if (HOUSE / room).is_dir() else HOUSE / f"{room}.py") for room in rooms)
    found = {"floors 1 to 7": inside, "files": len(sources(HOUSE)), "lines": lines(HOUSE)}
    most = {"floors 1 to 7": 9_000, "files": 80, "lines": 13_000}

    assert {what: count for what, count in found.items() if count > most[what]} == {}, f"{found}, at most {most}"
