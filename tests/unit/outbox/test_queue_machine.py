"""Any sequence of steps, by two objects on one file, leaves the outbox as a plain list and a few counters say."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from profiles import examples

from telemetry_sdk.model import Circuit, Layer, Limits, Record
from telemetry_sdk.outbox import StoreError
from telemetry_sdk.outbox.batch import Terms
from telemetry_sdk.outbox.queue import Outbox, Put
from telemetry_sdk.outbox.sent_log import Request
from telemetry_sdk.outbox.tables import Fate

SECOND = 1_000_000_000
START = 1_780_000_000
LIMITS = Limits(records=7, bytes=1500, batch_records=4, batch_bytes=700, sent_log_requests=3)
GRANTS = ("monday's yes", "tuesday's yes")
who = st.integers(0, 1)
some_grants = st.frozensets(st.sampled_from(GRANTS))
fates = st.lists(st.sampled_from(["delivered", "rejected", "put off", "kept"]), min_size=4, max_size=4)


def filled(uid: str, size: int) -> bytes:
    return uid.encode().ljust(size, b".")


def size_of(records: list[Record]) -> int:
    return sum(len(record.body) for record in records)


class OutboxMachine(RuleBasedStateMachine):
    """Two outboxes on one file, and what they must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.now = float(START)
        self.made = 0
        self.outboxes = [self.open(), self.open()]
        self.waiting: list[Record] = []
        self.spooled: list[Record] = []
        self.put_off: dict[str, float] = {}
        self.done: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.log: list[bytes] = []

    def open(self) -> Outbox:
        return Outbox(self.directory, LIMITS)

    def drop(self, records: list[Record], reason: str) -> int:
        self.waiting = [record for record in self.waiting if record not in records]
        self.dropped[reason] += len(records)
        return len(records)

    # -- steps

    @rule(which=who, grant=st.sampled_from(GRANTS), sizes=st.lists(st.integers(50, 800), min_size=1, max_size=5))
    def put_events(self, which: int, grant: str, sizes: list[int]) -> None:
        for size in sizes:
            self.made += 1
            uid, at = f"event {self.made}", int(self.now * SECOND)
            self.put(which, Record(uid, Layer.ANALYTICS, "timer.started", at, b"E", filled(uid, size), grant=grant))

    @rule(which=who, grant=st.sampled_from(GRANTS), sizes=st.lists(st.integers(20, 300), min_size=1, max_size=4))
    def append_events(self, which: int, grant: str, sizes: list[int]) -> None:
        """By the spool, and where that is full by the other door, which takes in what is spooled."""
        for size in sizes:
            self.made += 1
            uid, at = f"event {self.made}", int(self.now * SECOND)
            record = Record(uid, Layer.ANALYTICS, "timer.started", at, b"E", filled(uid, size), grant=grant)
            before = self.spool_size()
            everything = [*self.waiting, *self.spooled]
            try:
                self.outboxes[which].append(record)
            except StoreError:
                left = [r for r in everything if r not in self.excess(everything)]
                assert record in self.excess([*left, record])
                continue
            if self.spool_size() > before:
                self.spooled.append(record)
            else:
                self.take_in()
                self.store([record])

    def spool_size(self) -> int:
        path = self.directory / "spool"
        return path.stat().st_size if path.exists() else 0

    def take_in(self) -> None:
        spooled, self.spooled = self.spooled, []
        self.store(spooled)

    def store(self, records: list[Record]) -> None:
        self.counts["accepted"] += len(records)
        self.waiting += records
        self.drop(self.excess(self.waiting), "no room")

    @rule(
        which=who,
        name=st.sampled_from(["heartbeat", "first_seen"]),
        days=st.lists(st.integers(0, 3), min_size=1, max_size=4),
        size=st.integers(50, 800),
    )
    def put_base(self, which: int, name: str, days: list[int], size: int) -> None:
        for day in days:
            uid, at = f"{name} {day}", int(self.now * SECOND)
            self.put(which, Record(uid, Layer.BASE, name, at, b"B", filled(uid, size), derived=True))

    def excess(self, kept: list[Record]) -> list[Record]:
        evicted: list[Record] = []
        while len(kept) - len(evicted) > LIMITS.records or size_of(kept) - size_of(evicted) > LIMITS.bytes:
            left = [r for r in kept if r not in evicted]
            evicted.append(next((r for r in left if r.layer is Layer.ANALYTICS), left[0]))
        return evicted

    def put(self, which: int, record: Record) -> None:
        known = record.derived and (record.uid in self.done or record.uid in {r.uid for r in self.waiting if r.derived})
        evicted = [] if known else self.excess([*self.waiting, record])
        try:
            accepted = self.outboxes[which].put([record]) == [Put.STORED]
        except StoreError:
            assert record in evicted
            return
        assert record not in evicted
        assert accepted is not known
        if accepted:
            self.put_off.pop(record.uid, None)
            self.store([record])

    @rule(
        which=who,
        grants=some_grants,
        decided=fates,
        slow=st.sampled_from([0, 0, 5]),
        crash=st.sampled_from([0, 0, 0, 1, 2]),
    )
    def deliver(self, which: int, grants: frozenset[str], decided: list[str], slow: int, crash: int) -> None:
        """Take, begin, settle; a crash leaves out the end, after the take (1) or after begin (2)."""
        outbox = self.outboxes[which]
        take = outbox.take(lambda _: Terms(grants), now=self.now)
        self.take_in()
        due = [
            r
            for r in self.waiting
            if self.put_off.get(r.uid, 0) <= self.now and (r.layer is Layer.BASE or r.grant in grants)
        ]
        assert [r.uid for r in take.records] == [r.uid for r in due[: len(take.records)]]
        assert bool(take.records) is bool(due)
        assert len(take.records) <= LIMITS.batch_records
        if crash == 1 or not due:
            return
        self.now += slow
        present, body, number = outbox.begin(
            take.records, (), lambda some: b"".join(r.body for r in some), Request(int(self.now), 0, "sink", "1:2")
        )
        assert present == take.records
        assert body == b"".join(r.body for r in due[: len(present)])
        self.log = [*self.log, body][-LIMITS.sent_log_requests :]
        if crash == 2:
            return
        settled = [
            Fate([r], fate, self.now + 3600) for r, fate in zip(present, decided, strict=False) if fate != "kept"
        ]
        circuit = Circuit(last_at=self.now)
        outbox.settle(number, settled, status=200, verdict="delivered", reason="", circuit=circuit)
        self.settled(settled)

    def settled(self, fates: list[Fate]) -> None:
        for fate, record in ((it, record) for it in fates for record in it.records):
            if fate.fate == "put off":
                self.put_off[record.uid] = fate.not_before
                continue
            self.counts[fate.fate] += 1
            self.waiting = [r for r in self.waiting if r.uid != record.uid]
            if fate.fate == "delivered" and record.derived:
                self.done.add(record.uid)

    @rule(which=who)
    def purge(self, which: int) -> None:
        assert self.outboxes[which].purge("stop") == self.drop(list(self.waiting), "stop") + self.unspool("stop")

    def unspool(self, reason: str) -> int:
        gone, self.spooled = len(self.spooled), []
        self.counts["accepted"] += gone
        self.dropped[reason] += gone
        return gone

    @rule(which=who, grants=some_grants)
    def destroy_withdrawn(self, which: int, grants: frozenset[str]) -> None:
        foreign = [r for r in self.waiting if r.layer is Layer.ANALYTICS and r.grant not in grants]
        kept = [r for r in self.spooled if r.grant in grants]
        self.spooled = [r for r in self.spooled if r.grant not in grants]
        gone = self.drop(foreign, "consent withdrawn") + self.unspool("consent withdrawn")
        assert self.outboxes[which].destroy_withdrawn(lambda: grants) == gone
        self.store(kept)

    @rule(seconds=st.sampled_from([1, 7, 11, 3600]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        """Both processes end, without a word, and two others begin."""
        self.outboxes = [self.open(), self.open()]

    # -- what must hold

    @invariant()
    def the_file_holds_what_the_model_says(self) -> None:
        for outbox in self.outboxes:
            found = outbox.database.run(
                lambda db: db.execute("SELECT uid, body, grant_id FROM records ORDER BY seq").fetchall(), write=False
            )
            assert found == [(record.uid, record.body, record.grant) for record in self.waiting]
            assert [entry.body for entry in outbox.sent_log()] == self.log

    @invariant()
    def the_ledger_is_closed(self) -> None:
        counts = self.outboxes[0].counts()
        if len(self.waiting + self.spooled) > LIMITS.records or size_of(self.waiting + self.spooled) > LIMITS.bytes:
            self.take_in()
        assert counts.accepted == counts.delivered + counts.rejected + counts.pending + sum(counts.dropped.values())
        assert (counts.accepted, counts.delivered, counts.rejected) == tuple(
            self.counts[name] + (len(self.spooled) if name == "accepted" else 0)
            for name in ("accepted", "delivered", "rejected")
        )
        pending = self.waiting + self.spooled
        assert (counts.pending, counts.pending_bytes) == (len(pending), size_of(pending))
        assert counts.dropped == {reason: n for reason, n in self.dropped.items() if n}

    @invariant()
    def the_bounds_hold(self) -> None:
        assert len(self.waiting) <= LIMITS.records
        assert size_of(self.waiting) <= LIMITS.bytes

    @invariant()
    def what_was_delivered_once_is_done(self) -> None:
        assert all(self.outboxes[1].is_done(uid) for uid in self.done)

    def teardown(self) -> None:
        for outbox in self.outboxes:
            outbox.database.close(for_good=True)
        shutil.rmtree(self.directory)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = examples(80, steps=40, derandomize=True, suppress_health_check=list(HealthCheck))
