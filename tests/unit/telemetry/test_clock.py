"""Clocks jump, sleep, run fast and lie; no record is lost for it, none is sent twice, and no day is invented."""

from __future__ import annotations

import random
import time
from collections import Counter
from email.utils import formatdate

import pytest
from hostile import HostileSink
from process_tools import GUARD
from sink_server import Reply, attributes

from telemetry_sdk import Outcome
from telemetry_sdk.delivery.heartbeat import heartbeat_step
from telemetry_sdk.host.background import LONGEST_SLEEP
from telemetry_sdk.model import DAY_SECONDS, utc_day

HEARTBEAT = "base_telemetry.heartbeat"
FIRST_SEEN = "base_telemetry.first_seen"
DOWN = Reply(503)
JUMPS = [
    {"minutes": 5}, {"minutes": -5}, {"hours": 3}, {"hours": -3}, {"days": 1}, {"days": -1}, {"days": 40},
    {"days": -40}, {"days": 3650}, {"days": -3650},
]  # fmt: skip


def days(sink):
    return [attributes(r)["heartbeat_at"][:10] for r in sink.accepted if r["eventName"] == HEARTBEAT]


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_clock_jumps_around_heartbeats(make, sink, clock, jump):
    """Whatever the clock does, a day gets at most one heartbeat, and after a jump heartbeats go on within two days."""
    telemetry = make(clock=clock)
    telemetry.start()
    for _ in range(3):
        clock.move(days=1)
        telemetry.heartbeat_if_due()
    clock.move(**jump)
    for _ in range(4):
        telemetry.heartbeat_if_due()
        telemetry.heartbeat_if_due()
        clock.move(days=1)
    last = utc_day(clock() / 1e9 - DAY_SECONDS)

    assert max(Counter(days(sink)).values()) == 1
    assert len(sink.uids) == len(set(sink.uids))
    if jump.get("days") != -1:  # a step back over midnight is believed: that day has its heartbeat already
        assert last in days(sink)
    clock.move(days=1)
    telemetry.heartbeat_if_due()
    assert utc_day(clock() / 1e9) in days(sink)


def test_days_asleep_are_not_filled_in(make, sink, clock):
    """A computer that slept for ten days sends one heartbeat, for the day on which it woke."""
    telemetry = make(clock=clock)
    telemetry.start()
    clock.move(days=10)
    assert telemetry.heartbeat_if_due().outcome is Outcome.DELIVERED
    assert telemetry.heartbeat_if_due().outcome is Outcome.SUPPRESSED

    assert len(days(sink)) == 2
    assert days(sink)[-1] == utc_day(clock() / 1e9)


def test_heartbeats_of_offline_days_are_kept(make, sink, clock):
    """The heartbeat of each day without a sink waits, and leaves late; each names the one before it."""
    telemetry = make(clock=clock)
    telemetry.start()
    sink.reply = DOWN
    for _ in range(5):
        clock.move(days=1)
        telemetry.heartbeat_if_due()
    sink.reply = Reply()
    telemetry.flush()

    beats = [attributes(it) for it in sink.accepted if it["eventName"] == "base_telemetry.heartbeat"]
    assert [it["heartbeat_at"][:10] for it in beats] == [utc_day(clock() / 1e9 - 86_400 * n) for n in range(5, -1, -1)]
    assert [it["last_seen_at"] for it in beats[1:]] == [it["heartbeat_at"] for it in beats[:-1]]
    assert beats[0]["last_seen_at"] == beats[0]["heartbeat_at"]


def test_schedule_wakes_within_an_hour_of_any_sleep():
    """Simulated over years of naps, suspends and set clocks: each awake day beats once, at most an hour after its time.

    The thread sleeps by the monotonic clock, which stands still while a computer sleeps; so the step is simulated
    with a wall clock that jumps ahead of it.
    """
    draw = random.Random(5)
    for phase in (0.0, 1.5, 43_200.0, 86_399.9):
        now, beats, made = 1_780_000_000.0, [], set()

        def beat(made=made, beats=beats):
            if utc_day(now) not in made:
                made.add(utc_day(now))
                beats.append(now)

        awake = set()
        for _ in range(5000):
            slept = heartbeat_step(now, phase, beat)
            assert 0 < slept <= LONGEST_SLEEP
            now += slept
            if draw.random() < 0.01:
                now += draw.uniform(0, 200_000)  # the lid was closed
            else:
                awake.add(now)
        assert max(Counter(utc_day(moment) for moment in beats).values()) == 1
        late = [moment % DAY_SECONDS - phase for moment in beats]
        assert all(behind >= 0 for behind in late)
        through = {utc_day(m) for m in awake if m % DAY_SECONDS >= phase} - {utc_day(now)}
        assert through <= made


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Australia/Lord_Howe"])
@pytest.mark.parametrize("day", [1_772_953_200, 1_793_505_600])  # days on which New York changes its clocks
def test_time_zones_and_daylight_saving_change_no_day(make, sink, clock, monkeypatch, zone, day):
    """Days are UTC days, wherever the computer is and whatever its zone does that day."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        clock.now = day * 10**9
        telemetry = make(clock=clock)
        telemetry.start()
        expected = [utc_day(clock() / 1e9)]
        for _ in range(72):
            clock.move(hours=1)
            telemetry.heartbeat_if_due()
            if utc_day(clock() / 1e9) != expected[-1]:
                expected.append(utc_day(clock() / 1e9))
        assert days(sink) == expected
        stamps = [attributes(r)["heartbeat_at"] for r in sink.accepted if r["eventName"] == HEARTBEAT]
        assert all(stamp.endswith("Z") for stamp in stamps)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize(
    "answer", [DOWN, Reply(503, headers={"Retry-After": "9999999"}), Reply(401)], ids=["503", "retry-after", "401"]
)
def test_clock_jumps_under_a_waiting_circuit(make, sink, clock, jump, answer):
    """No clock that was set keeps records here for longer than a day; only one set 30 days ahead makes them too old."""
    telemetry = make(clock=clock)
    telemetry.opt_in()
    sink.reply = answer
    receipt = telemetry.track_event("timer.started")
    assert receipt.outcome is Outcome.QUEUED
    clock.move(**jump)
    sink.reply = Reply()
    second = telemetry.track_event("timer.started")
    clock.move(days=1, seconds=1)
    third = telemetry.track_event("timer.started")

    expired = {receipt.uid} if jump.get("days", 0) > 30 else set()
    assert third.outcome is Outcome.DELIVERED
    assert {receipt.uid, second.uid, third.uid} - expired <= set(sink.uids)
    assert telemetry.status().ledger.get("dropped: too old", 0) == len(expired - set(sink.uids))
    assert len(sink.uids) == len(set(sink.uids))


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_records_made_before_a_jump_arrive_once(make, sink, clock, jump):
    """Records waiting while the clock is set arrive once, with a time that no store finds old, and their own beside."""
    telemetry = make(clock=clock, delivery="manual")
    telemetry.opt_in()
    receipts = [telemetry.track_event("timer.started", {"n": n}) for n in range(3)]
    made = {receipt.uid: clock() for receipt in receipts}
    clock.move(**jump)
    fresh = telemetry.track_event("timer.started")
    sent_at = clock()
    telemetry.flush()

    expired = jump.get("days", 0) > 30
    arrived = [uid for uid in sink.uids if uid in made]
    assert sorted(arrived) == ([] if expired else sorted(made))
    assert fresh.uid in sink.uids
    for record in sink.accepted:
        stamp = int(record.get("timeUnixNano", record["observedTimeUnixNano"]))
        assert abs(stamp - sent_at) <= 31 * 60 * 10**9
        if attributes(record)["log.record.uid"] in made:
            assert attributes(record)["occurred_at"].startswith("2026-05-28")
    if expired:
        assert telemetry.status().ledger["dropped: too old"] == 4


def test_first_seen_put_off_survives_a_clock_set_back(make, sink, clock):
    """A first_seen put off by a day is not put off by a year when the clock is set back meanwhile."""
    sink.reply = Reply(418)
    telemetry = make(clock=clock)
    telemetry.send_base_first_seen()
    clock.move(days=-365)
    sink.reply = Reply()
    clock.move(days=2)
    telemetry.flush()

    assert sink.names.count(FIRST_SEEN) == 1
    assert telemetry.status().ledger["pending"] == 0


class Loki:
    """Answers as Loki does: by its own clock, refusing what is too old for the stream or too far in the future."""

    def __init__(self, clock, *, date):
        self.clock = clock
        self.date = date
        self.newest = 0
        self.up = True
        self.bodies = Counter()

    def __call__(self, request):
        now = self.clock()
        headers = {"Date": formatdate(now / 1e9, usegmt=True)} if self.date else {}
        if not self.up:
            return Reply(503, b"", headers)
        stamps = [int(r.get("timeUnixNano") or r["observedTimeUnixNano"]) for r in request.records]
        if any(stamp > now + 600 * 10**9 for stamp in stamps):
            return Reply(400, b"entry has timestamp too new", headers)
        if any(stamp < self.newest - 3600 * 10**9 for stamp in stamps):
            return Reply(400, b"entry too far behind", headers)
        self.newest = max(self.newest, *stamps)
        return Reply(204, b"", headers)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("skew_minutes", [0, 8, 25, 300, -8, -45, -3000])
def test_a_week_of_outages_with_loki(make, sink, clock, seed, skew_minutes):
    """A week of outages of hours and days: every accepted record arrives exactly once, whatever our clock says."""
    draw = random.Random(seed)
    offset = int(skew_minutes * 60 * 1e9)
    loki = sink.reply = Loki(lambda: clock() - offset, date=True)
    telemetry = make(clock=clock, delivery=draw.choice(["sync", "manual"]))
    telemetry.start()
    telemetry.opt_in()
    accepted = []
    begun = clock()
    while clock() - begun < 7 * DAY_SECONDS * 1e9:
        clock.move(minutes=draw.choice([1, 5, 20, 50, 90, 600]))
        if draw.random() < 0.15:
            loki.up = not loki.up
        telemetry.heartbeat_if_due()
        accepted += [telemetry.track_event("timer.started", {"n": n}) for n in range(draw.randrange(3))]
        if draw.random() < 0.3:
            telemetry.flush()
        if draw.random() < 0.1:
            telemetry.close()
    loki.up = True
    clock.move(days=1, minutes=1)
    telemetry.flush()
    telemetry.flush()

    assert all(accepted)
    assert len(sink.uids) == len(set(sink.uids))
    status = telemetry.status()
    assert status.ledger["rejected"] == 0
    assert {receipt.uid for receipt in accepted} <= set(sink.uids)
    assert status.ledger["pending"] == 0
    assert max(Counter(days(sink)).values()) == 1
    assert sink.names.count(FIRST_SEEN) == 1
    for record in sink.accepted:
        if record["eventName"] == HEARTBEAT and "timeUnixNano" in record:
            assert abs(int(record["timeUnixNano"]) - (loki.clock())) < 14 * DAY_SECONDS * 10**9


@pytest.mark.parametrize("date", [True, False], ids=["Date", "no Date"])
def test_other_installs_share_the_stream(make, sink, clock, date):
    """A late record passes although other installs have moved the stream far ahead; nothing is refused for its age."""
    loki = sink.reply = Loki(clock, date=date)
    telemetry = make(clock=clock)
    telemetry.opt_in()
    loki.up = False
    receipts = []
    for _ in range(10):
        clock.move(minutes=25)
        receipts.append(telemetry.track_event("timer.started"))
        loki.newest = clock()  # the others' sink is ours
    loki.up = True
    telemetry.flush()
    telemetry.flush()

    assert {receipt.uid for receipt in receipts} <= set(sink.uids)
    assert telemetry.status().ledger["rejected"] == 0


def test_a_store_that_refuses_the_future_without_a_date(make, sink, clock):
    """Without a Date to learn from, a record from the future is refused alone, with a reason, and no other is lost."""
    loki = sink.reply = Loki(clock, date=False)
    telemetry = make(clock=clock, delivery="manual")
    telemetry.opt_in()
    first = telemetry.track_event("timer.started")
    telemetry.flush()
    true = clock()
    loki.clock = lambda: true
    clock.move(hours=2)
    ahead = telemetry.track_event("timer.started")
    report = telemetry.flush()
    clock.move(hours=-2)  # set right
    last = telemetry.track_event("timer.stopped")
    telemetry.flush()

    assert report.kept == 0
    assert report.rejected >= 1
    reasons = [request.reason for request in telemetry.sent_log() if request.verdict == "rejected"]
    assert reasons
    assert all("too new" in reason for reason in reasons)
    assert ahead.uid not in sink.uids
    assert last.uid in sink.uids
    ledger = telemetry.status().ledger
    assert ledger["accepted"] == ledger["delivered"] + ledger["rejected"]
    assert first.uid in sink.uids


class Leaping:
    """A wall clock that leaps by *step* at each look."""

    def __init__(self, step):
        self.now = 1_780_000_000_000_000_000
        self.step = step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.mark.parametrize("leap", [-(10**9) * 3600, 10**9 * 3600, -(10**9) * DAY_SECONDS, 10**9 * DAY_SECONDS, 0])
def test_deadlines_do_not_follow_the_wall_clock(make, leap, monkeypatch):
    """A wall clock that leaps inside a call neither lengthens nor shortens it: deadlines are monotonic."""
    hostile = HostileSink("hang")
    leaping = Leaping(leap)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: leaping() / 1e9)
            patch.setattr(time, "time_ns", leaping)
            telemetry = make(endpoint=hostile.url, clock=leaping, timeout=0.6)
            begun = time.monotonic()
            telemetry.opt_in()
            took = time.monotonic() - begun
            begun = time.monotonic()
            telemetry.flush(0.6)
            flushed = time.monotonic() - begun
            telemetry.close(0)
    finally:
        hostile.stop()

    assert 0.5 < took < GUARD
    assert flushed < GUARD


def test_a_leaping_clock_loses_nothing(make, sink):
    """A clock that leaps a day at every look costs no record made and sent by it."""
    for leap in (10**9 * DAY_SECONDS, -(10**9) * DAY_SECONDS, 0):
        telemetry = make(clock=Leaping(leap))
        telemetry.start()
        telemetry.opt_in()
        receipts = [telemetry.track_event("timer.started") for _ in range(5)]
        telemetry.flush()
        assert all(receipts)
        assert {receipt.uid for receipt in receipts} <= set(sink.uids)
        assert len(sink.uids) == len(set(sink.uids))
