"""Active installs of any period are a sum over the heartbeats, whatever happened on the way to the sink."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk import Telemetry
from telemetry_sdk.client import override
from telemetry_sdk.model import Answer, timestamp

HOUR = 3_600 * 10**9
START = 1_780_000_000 * 10**9  # 2026-05-28T20:26:40Z
steps = st.one_of(
    st.tuples(st.just("use"), st.integers(0, 1)),
    st.tuples(st.just("use"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.sampled_from([1, 11, 24, 25, 26, 49])),
    st.tuples(st.just("sink"), st.sampled_from(["up", "down", "answers lost", "busy"])),
    st.tuples(st.just("clock"), st.integers(-24, 24)),
    st.tuples(st.just("refuse"), st.integers(1, 6)),
    st.tuples(st.just("lose"), st.just(0)),
    st.tuples(st.just("reset"), st.just(0)),
)


class World:
    """One machine, its clock, its sink, and what arrived there: each record once, by its uid."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.true_ns, self.skew_ns = START, 0
        self.state = "up"
        self.refused: set[str] = set()
        self.arrived: dict[str, dict[str, str]] = {}
        self.unanswered: set[str] = set()
        self.programs = [self.program(), self.program()]

    def program(self) -> Telemetry:
        with override.supplied(clock=lambda: self.true_ns + self.skew_ns, sender=self):
            return Telemetry(
                "acme-notes",
                version="1",
                endpoint="http://127.0.0.1:9",
                state_dir=self.directory,
                delivery="sync",
                strict=True,
            )

    # -- a sender

    def send(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:
        if self.state == "down":
            return Answer(None, error="ConnectionError")
        permit()
        records = [
            {
                pair["key"]: pair["value"]["stringValue"]
                for pair in record["attributes"]
                if "stringValue" in pair["value"]
            }
            for resource in json.loads(body)["resourceLogs"]
            for record in resource["scopeLogs"][0]["logRecords"]
        ]
        if self.state == "busy":
            return Answer(503)
        # What it has taken it refuses no more: whether a refused record is there nobody could know then.
        if any(it["heartbeat_at"][:10] in self.refused and it["log.record.uid"] not in self.arrived for it in records):
            return Answer(400)
        for it in records:
            before = self.arrived.setdefault(it["log.record.uid"], it)
            assert before == it, "what arrived twice says the same"
        uids = {it["log.record.uid"] for it in records}
        if self.state == "answers lost":
            self.unanswered |= uids
            return Answer(None, error="ReadTimeout")
        self.unanswered -= uids
        return Answer(200)

    def abandon(self) -> None: ...

    def close(self) -> None: ...

    # -- what happens

    def step(self, what: str, value: Any) -> None:
        if what == "use":
            self.programs[value].start()
        elif what == "wait":
            self.true_ns += value * HOUR
        elif what == "sink":
            self.state = value
        elif what == "clock":
            self.skew_ns = value * HOUR
        elif what == "refuse":
            day = (START // HOUR // 24 + value) * 24 * HOUR
            self.refused.add(timestamp(day)[:10])
        elif what == "reset":
            self.programs[0].reset_install_id()
        elif not self.unanswered:  # what arrived without an answer is known to nobody once the outbox is gone
            for program in self.programs:
                program.close(0)
            for path in self.directory.glob("outbox*"):
                path.unlink()

    def end(self) -> None:
        self.state = "up"
        self.true_ns += 24 * HOUR
        for _ in range(3):
            self.programs[0].flush(30)


@given(history=st.lists(steps, min_size=20, max_size=80))
@examples(150, suppress_health_check=list(HealthCheck))
def test_the_sum_is_the_distinct_count(history: list[tuple[str, Any]]) -> None:
    """For every window of UTC days: the heartbeats in it that name one before it, or none, are as many as installs."""
    directory = Path(tempfile.mkdtemp())
    world = World(directory)
    try:
        for what, value in history:
            world.step(what, value)
        world.end()
    finally:
        for program in world.programs:
            program.close(0)
        shutil.rmtree(directory)

    beats = [it for it in world.arrived.values() if it["event_name"] == "base_telemetry.heartbeat"]
    days = sorted({it["heartbeat_at"][:10] for it in beats})
    for position, first in enumerate(days):
        for last in days[position:]:
            a, b = f"{first}T00:00:00Z", f"{last}T23:59:59Z"
            inside = [it for it in beats if a <= it["heartbeat_at"] <= b]
            summed = [it for it in inside if it["last_seen_at"] < a or it["last_seen_at"] >= it["heartbeat_at"]]
            assert len(summed) == len({it["install_id"] for it in inside}), (a, b)
