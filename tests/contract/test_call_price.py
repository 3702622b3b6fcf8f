"""What one call costs in ways that a reader pays too: files of ours it goes through, steps between them, looks upward."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sink_server import SinkServer

import telemetry_sdk
from telemetry_sdk import Telemetry

PACKAGE = Path(telemetry_sdk.__file__).parent
FLOORS = [
    {"model"},
    {"host"},
    {"identity", "base_payload", "analytics", "sender"},
    {"consent", "outbox"},
    {"delivery"},
    {"client"},
    {"telemetry"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
Step = tuple[str, str]  # file and function


class Walk:
    """The calls of our functions, in all threads: each with the one of ours that made it."""

    def __init__(self) -> None:
        self.steps: list[tuple[Step | None, Step]] = []
        self._local = threading.local()

    def __call__(self, frame: Any, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(PACKAGE):
            return
        stack: list[Step] = self._local.__dict__.setdefault("stack", [])
        if event == "call":
            step = (path.relative_to(PACKAGE).with_suffix("").as_posix(), frame.f_code.co_name)
            self.steps.append((stack[-1] if stack else None, step))
            stack.append(step)
        elif event == "return" and stack:
            stack.pop()

    @property
    def files(self) -> set[str]:
        return {file for _, (file, _) in self.steps}

    @property
    def changes(self) -> list[tuple[Step, Step]]:
        """Steps from one file to another."""
        return [(caller, step) for caller, step in self.steps if caller and caller[0] != step[0]]

    @property
    def upward(self) -> list[tuple[Step, Step]]:
        """Steps from a floor to a higher one, but for the guard, which is the door and stands below all."""
        found = [(caller, step) for caller, step in self.changes if floor(caller) < floor(step)]
        return [(caller, step) for caller, step in found if caller != ("host/guard", "call")]

    def count(self, file: str, function: str) -> int:
        return Counter(step for _, step in self.steps)[file, function]


def floor(step: Step) -> int:
    return FLOOR_OF[step[0].partition("/")[0]]


@contextmanager
def walking(*, threads: bool) -> Iterator[Walk]:
    walk = Walk()
    if threads:
        threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        yield walk
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def track(telemetry: Telemetry, n: int) -> None:
    assert telemetry.track_event("timer.started", {"source": "cli", "n": n})


@pytest.fixture
def warm(make: Callable[..., Telemetry]) -> Callable[[str], Telemetry]:
    def warmed(mode: str) -> Telemetry:
        telemetry = make(delivery=mode)
        telemetry.opt_in()
        for n in range(20):
            track(telemetry, n)
        return telemetry

    return warmed


def test_an_appended_event_goes_through_few_files(warm: Callable[[str], Telemetry]) -> None:
    """At most 15 files of ours, and 40 steps from one to another."""
    telemetry = warm("manual")

    with walking(threads=False) as walk:
        track(telemetry, 20)

    assert len(walk.files) <= 15, sorted(walk.files)
    assert len(walk.changes) <= 40, walk.changes


def test_a_call_that_sends_makes_four_transactions_and_three_looks(
    warm: Callable[[str], Telemetry], sink: SinkServer
) -> None:
    """Store, take, begin, settle; the gate is asked by the call, the take, and before the first byte, and nobody else.

    Upward goes the gate alone: to the terms of a take, and by the permit.
    """
    telemetry = warm("sync")
    telemetry.close()  # so that the thread that sends is started within

    with walking(threads=True) as walk:
        track(telemetry, 20)

    assert sink.names[-1] == "timer.started"
    assert walk.count("outbox/database", "run") <= 4
    assert walk.count("consent/gate", "right") <= 3
    assert {step for _, step in walk.upward} == {
        ("delivery/deliver", "terms"),
        ("delivery/worker", "__call__"),
    }
    assert len(walk.upward) == 2, walk.upward


def lines(*places: str) -> int:
    """Lines of these files and of all in these folders."""
    found = [PACKAGE / place for place in places]
    files = [file for place in found for file in ([place] if place.suffix else place.rglob("*.py"))]
    return sum(len(file.read_text("utf-8").splitlines()) for file in files)


def test_the_house_grows_no_more() -> None:
    """Floors 1 to 7 are to have 9,000 lines, the package 80 files and 13,000 lines: whoever adds to it, changes this."""
    rooms = [room for floor in FLOORS[:-1] for room in floor if room != "model"]

    assert lines(*rooms, "model.py", "telemetry.py") <= 13_050
    assert len(list(PACKAGE.rglob("*.py"))) <= 80
    assert lines("") <= 17_800
