"""The durable queue: nothing accepted is lost or sent twice, and the ledger is closed after every step."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from process_tools import GUARD, Program

from telemetry_sdk.model import Circuit, Layer, Limits, Record, SentRequest
from telemetry_sdk.outbox import StoreError
from telemetry_sdk.outbox.batch import Batch, Terms
from telemetry_sdk.outbox.queue import FILE_NAME, Outbox, Put
from telemetry_sdk.outbox.sent_log import Request
from telemetry_sdk.outbox.tables import Counts, Fate, Pending

SECOND = 1_000_000_000
NOW = 1_780_000_000.0
CIRCUIT = Circuit(last_status=200, last_at=NOW)
YES = "2026-05-28T20:26:40.123456Z"
OTHER = "2026-05-29T07:00:00.000001Z"


def event(uid: str, *, grant: str | None = YES, size: int = 100, at: float = NOW, envelope: bytes = b"E") -> Record:
    body = uid.encode().ljust(size, b".")
    return Record(uid, Layer.ANALYTICS, "timer.started", int(at * SECOND), envelope, body, grant=grant)


def base(uid: str, name: str = "base_telemetry.heartbeat", *, size: int = 100, at: float = NOW) -> Record:
    return Record(uid, Layer.BASE, name, int(at * SECOND), b"B", uid.encode().ljust(size, b"."), derived=True)


class Queue:
    """An outbox whose ledger is checked against its tables after every step."""

    def __init__(self, directory: Path | None, **limits: float) -> None:
        self.outbox = Outbox(directory, Limits(**limits))

    def put(self, *records: Record) -> list[bool]:
        found = [self.outbox.put([record])[0] is not Put.KNOWN for record in records]
        self.check()
        return found

    def take(self, *grants: str, now: float = NOW, blocked: str = "", destroy_others: bool = False) -> Batch:
        terms = Terms(frozenset(grants), destroy_others, blocked)
        found = self.outbox.take(lambda _: terms, now=now)
        self.check()
        return found

    def uids(self, *grants: str, now: float = NOW) -> list[str]:
        """The uids that would be sent now."""
        found = [record.uid for record in self.take(*grants, now=now).records]
        return found

    def begin(self, records, *, fresh=(), now: float = NOW, sink: str = "sink"):
        at_ns = int(now * SECOND)
        found = self.outbox.begin(records, fresh, encode, Request(at_ns, at_ns + 5 * SECOND, sink, "1:2"))
        self.check()
        return found

    def settle(self, number: int, fates: list[Fate], *, circuit: Circuit = CIRCUIT, rejected: int = 0) -> None:
        self.outbox.settle(
            number, fates, status=200, verdict="delivered", reason="", circuit=circuit, rejected=rejected
        )
        self.check()

    def deliver(self, *grants: str, fate: str = "delivered", now: float = NOW) -> list[str]:
        """Take, begin and settle; return the uids."""
        records, _, number = self.begin(self.take(*grants, now=now).records, now=now)
        self.settle(number, [Fate(records, fate, now + 86_400)])
        return [record.uid for record in records]

    @property
    def counts(self) -> Counts:
        return self.outbox.counts()

    @property
    def dropped(self) -> dict[str, int]:
        return self.counts.dropped

    def check(self) -> None:
        counts = self.counts
        found = self.outbox.database.run(
            lambda db: db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM records").fetchone()
        )
        ended = counts.delivered + counts.rejected + sum(counts.dropped.values())
        assert (counts.pending, counts.pending_bytes) == found
        assert counts.accepted == counts.pending + ended


def encode(records) -> bytes:
    return b"|".join(record.envelope + b":" + record.body for record in records)


@pytest.fixture
def queue(state_dir):
    return Queue(state_dir)


# -- put


def test_nothing_is_made_before_the_first_use(queue, state_dir):
    """An outbox nobody used is neither open nor there."""
    assert not queue.outbox.is_there()
    assert not state_dir.exists()
    assert queue.outbox.is_durable()
    assert queue.outbox.is_there()


def test_what_was_put_is_claimed_as_it_was(queue, state_dir):
    """A record comes out with every field as it went in, also in another object on the same file."""
    records = [base("b", at=NOW - 2), event("e", at=NOW - 1)]
    assert queue.put(*records) == [True, True]

    found = Queue(state_dir).take(YES).records

    assert [record[1:9] for record in found] == [
        (it.uid, it.layer, it.name, it.made_ns, it.derived, it.grant, it.envelope, it.body) for it in records
    ]
    assert [record.seq for record in found] == [1, 2]


def test_what_put_accepted_survives_a_kill(tmp_path, state_dir, queue):
    """Every put that returned before SIGKILL is there after it."""
    source = """
    from telemetry_sdk.model import Layer, Record
    from telemetry_sdk.outbox.queue import Outbox
    outbox = Outbox(Path(SETTINGS["state_dir"]), Limits())
    for n in range(10_000):
        assert outbox.put([Record(f"{n}", Layer.ANALYTICS, "timer.started", n, b"E", b"body", grant="g")])[0].value == "stored"
        os.write(1, f"uid {n}\\n".encode())
    """
    program = Program(source, tmp_path, state_dir=state_dir)
    returned = [program.wait_for("uid").split()[1] for _ in range(50)]
    program.process.kill()
    # A pipe may be cut in the middle of its last line.
    returned += [line[4:] for line in program.process.communicate()[0].splitlines(keepends=True) if line[-1:] == "\n"]

    queue.check()
    waiting = {record.uid for record in Queue(state_dir, batch_records=100_000, age_days=1e6).take("g").records}
    assert {uid.strip() for uid in returned} <= waiting


def test_a_derived_uid_is_accepted_once_while_it_waits(queue, state_dir):
    """A second record with a derived uid that waits is refused, from this object and from others."""
    assert queue.put(base("first", "first_seen")) == [True]

    assert queue.put(base("first", "first_seen")) == [False]
    assert Queue(state_dir).put(base("first", "first_seen")) == [False]
    assert queue.counts.accepted == 1


def test_a_derived_uid_is_accepted_once_ever(queue, state_dir):
    """A derived uid that was delivered is refused for good, also after ten years of heartbeats."""
    queue.put(base("first", "first_seen"))
    assert queue.deliver() == ["first"]
    days = [(f"day {n}", int((NOW + n) * SECOND)) for n in range(3660)]
    queue.outbox.database.run(lambda db: db.executemany("INSERT INTO done VALUES (?, ?, NULL, 0, 'heartbeat')", days))
    queue.put(base("newest"))
    queue.deliver()

    assert queue.outbox.is_done("first")
    assert queue.put(base("first", "first_seen"), base("day 0")) == [False, False]
    assert Queue(state_dir).put(base("first", "first_seen")) == [False]


def test_memory_of_delivered_uids_is_bounded(queue):
    """The delivered derived uids that are remembered are bounded; the oldest go first."""
    queue.outbox.database.run(
        lambda db: db.executemany(
            "INSERT INTO done VALUES (?, ?, NULL, 0, 'heartbeat')", [(f"u{n}", n) for n in range(10_000)]
        )
    )
    queue.put(base("new"))
    queue.deliver()

    rows = queue.outbox.database.run(lambda db: db.execute("SELECT count(*) FROM done").fetchone()[0])
    assert rows == 10_000
    assert (queue.outbox.is_done("u0"), queue.outbox.is_done("u1"), queue.outbox.is_done("new")) == (False, True, True)


@pytest.mark.parametrize("end", ["dropped", "rejected"])
def test_a_derived_uid_that_was_not_delivered_may_come_again(queue, end):
    """What was destroyed or refused here is not remembered as sent."""
    queue.put(base("ping", "analytics.install"))
    if end == "dropped":
        queue.outbox.purge("stop")
    else:
        queue.deliver(fate="rejected")

    assert not queue.outbox.is_done("ping")
    assert queue.put(base("ping", "analytics.install")) == [True]


def test_a_random_uid_is_not_compared(queue):
    """Only derived uids are unique: an event's is random, and looking for it would cost every call."""
    assert queue.put(event("same"), event("same")) == [True, True]
    assert queue.counts.pending == 2


# -- caps


def test_the_count_is_bounded_and_the_oldest_analytics_go_first(state_dir):
    """Beyond the count the oldest events go, base records stay, and every loss is counted."""
    queue = Queue(state_dir, records=4)
    queue.put(base("first", "first_seen"), *[event(str(n)) for n in range(5)], base("beat"))

    assert queue.uids(YES) == ["first", "3", "4", "beat"]
    assert queue.dropped == {"no room": 3}


def test_the_bytes_are_bounded_and_the_oldest_analytics_go_first(state_dir):
    """Beyond the bytes the oldest events go, as many as it takes."""
    queue = Queue(state_dir, bytes=1000)
    queue.put(base("first", "first_seen"), *[event(str(n), size=200) for n in range(4)])
    queue.put(event("large", size=600))

    assert queue.uids(YES) == ["first", "3", "large"]
    assert queue.counts.pending_bytes == 900
    assert queue.dropped == {"no room": 3}


def test_base_goes_last_and_the_oldest_first(state_dir):
    """Only where there are no events left does a base record go."""
    queue = Queue(state_dir, records=2)
    queue.put(event("e"), base("1", "a"), base("2", "b"), base("3", "c"))

    assert queue.uids(YES) == ["2", "3"]


@pytest.mark.parametrize("limits", [{"records": 2}, {"bytes": 220}], ids=str)
def test_an_event_without_room_is_refused_not_accepted_and_lost(state_dir, limits):
    """Where only base records wait an event is refused: True must mean that it is stored."""
    queue = Queue(state_dir, **limits)
    queue.put(base("1", "a"), base("2", "b"))

    with pytest.raises(StoreError, match="no room"):
        queue.outbox.put([event("e")])

    queue.check()
    assert queue.uids(YES) == ["1", "2"]
    assert queue.counts.accepted == 2


def test_a_record_larger_than_the_outbox_is_refused_and_costs_no_other(state_dir):
    """A record that fits nowhere does not push the others out."""
    queue = Queue(state_dir, bytes=500)
    queue.put(event("1"), event("2"))

    with pytest.raises(StoreError, match="no room"):
        queue.outbox.put([event("huge", size=501)])

    queue.check()
    assert queue.uids(YES) == ["1", "2"]


def test_old_events_are_dropped_and_base_records_are_not(state_dir):
    """Events older than the limit go when records are claimed; base records wait for ever."""
    queue = Queue(state_dir, age_days=30)
    queue.put(event("old", at=NOW - 31 * 86_400), base("b", at=NOW - 90 * 86_400), event("young", at=NOW - 29 * 86_400))

    assert queue.uids(YES) == ["b", "young"]
    assert queue.dropped == {"too old": 1}


def test_events_may_be_kept_for_ever(state_dir):
    """A limit of a million years is no limit, and no error."""
    queue = Queue(state_dir, age_days=365e6)
    queue.put(event("old", at=1.0))

    assert queue.uids(YES) == ["old"]


# -- claim


def test_records_are_claimed_oldest_first(queue):
    """A batch holds what was stored first, in that order, whatever their own times are."""
    queue.put(event("late", at=NOW + 5), event("early", at=NOW - 5), event("middle", at=NOW))

    assert queue.uids(YES) == ["late", "early", "middle"]


def test_a_batch_is_bounded_by_count(state_dir):
    """No more records are claimed than a request may hold; the oldest of them."""
    queue = Queue(state_dir, batch_records=3)
    queue.put(*[event(str(n)) for n in range(5)])

    assert queue.uids(YES) == ["0", "1", "2"]


def test_a_batch_is_bounded_by_bytes_and_holds_at_least_one(state_dir):
    """Bytes bound a batch, envelopes included; a single record larger than the bound goes alone."""
    queue = Queue(state_dir, batch_bytes=1000)
    queue.put(event("huge", size=2000), *[event(str(n), size=200, envelope=b"E" * 200) for n in range(5)])

    assert queue.deliver(YES) == ["huge"]
    assert queue.deliver(YES) == ["0", "1"]


@pytest.mark.parametrize(
    ("grants", "found"),
    [((), ["b"]), ((YES,), ["b", "yes"]), ((OTHER,), ["b", "other"]), ((YES, OTHER), ["b", "yes", "other"])],
)
def test_events_leave_only_under_their_own_consent(queue, grants, found):
    """An event is claimed only while the very consent it was made under holds; base records need none."""
    queue.put(base("b"), event("yes"), event("other", grant=OTHER), event("none", grant=None))

    assert queue.uids(*grants) == found
    assert queue.counts.pending == 4


def test_events_of_another_consent_are_destroyed_when_told_so(queue, state_dir):
    """With destroy_others, what another consent left waiting is destroyed and counted; base records stay."""
    queue.put(base("b"), event("yes"), event("other", grant=OTHER), event("none", grant=None))

    assert [record.uid for record in queue.take(YES, destroy_others=True).records] == ["b", "yes"]
    assert queue.dropped == {"consent withdrawn": 2}
    assert [r.uid for r in queue.take(destroy_others=True).records] == ["b"]
    assert queue.dropped == {"consent withdrawn": 3}
    queue.put(event("later", grant=OTHER))
    assert [r.uid for r in queue.take(destroy_others=True).records] == ["b"]
    assert queue.dropped == {"consent withdrawn": 4}


def test_events_are_destroyed_even_while_nothing_may_be_sent(queue):
    """A withdrawn consent counts also while the circuit is open or telemetry is off."""
    queue.put(base("b"), event("e"))

    take = queue.take(blocked="held", destroy_others=True)

    assert (take.records, take.blocked) == ((), "held")
    assert queue.counts.pending == 1


def test_terms_are_asked_inside_the_transaction(queue):
    """Who asks for terms is called with the circuit as stored, while nobody else can store a record."""
    queue.put(event("e"))
    queue.settle(0, [], circuit=Circuit(failures=3))
    seen = []

    def terms(circuit: Circuit) -> Terms:
        seen.append(circuit)
        with pytest.raises(StoreError):
            queue.outbox.counts()
        return Terms(frozenset({YES}))

    assert [record.uid for record in queue.outbox.take(terms, now=NOW).records] == ["e"]
    assert seen == [Circuit(failures=3)]


# -- begin and settle


def test_begin_writes_down_exactly_what_is_sent(queue):
    """The body is made of the records that remain, and stands in the sent log before it leaves."""
    queue.put(event("1", at=NOW - 2), event("2", at=NOW - 1))

    present, body, number = queue.begin(queue.take(YES).records, sink="sink.example:4318")

    assert [record.uid for record in present] == ["1", "2"]
    assert body == encode(present)
    assert number == 1
    assert queue.outbox.sent_log() == [
        SentRequest("2026-05-28T20:26:40.000Z", "sink.example:4318", body, 2, None, "in flight", "")
    ]


def test_begin_leaves_out_what_is_gone(queue, state_dir):
    """Records another process destroyed after they were claimed are not sent; with none left there is no request."""
    queue.put(event("1", grant=OTHER), event("2"))
    records = queue.take(YES, OTHER).records
    Queue(state_dir).outbox.destroy_withdrawn(lambda: frozenset({YES}))

    present, body, _ = queue.begin(records)
    assert ([record.uid for record in present], body) == (["2"], b"E:" + b"2".ljust(100, b"."))

    Queue(state_dir).outbox.purge("stop")
    assert queue.begin(records) == ((), b"", 0)
    assert len(queue.outbox.sent_log()) == 1


def test_a_late_body_is_stored_before_it_is_sent(queue, state_dir):
    """A body that was changed for its first late attempt is what every later claim returns, byte for byte."""
    queue.put(event("e"), event("f"))
    first, second = queue.take(YES).records
    late = first._replace(body=b"shorter")

    present, body, _ = queue.begin([late, second], fresh=[late])

    assert body == b"E:shorter|E:" + second.body
    assert Queue(state_dir).take(YES).records == present == (late, second)
    assert queue.counts.pending_bytes == len(b"shorter") + 100


def test_settling_a_late_record_keeps_the_bytes_right(queue):
    """The bytes of a record that got shorter are counted once."""
    queue.put(event("e"))
    (record,) = queue.take(YES).records
    late = record._replace(body=b"shorter")
    present, _, number = queue.begin([late], fresh=[late])

    queue.settle(number, [Fate(present, "delivered")])

    assert (queue.counts.pending_bytes, queue.counts.delivered) == (0, 1)


def test_settle_writes_fates_circuit_and_log_in_one_step(queue, state_dir):
    """After settling, what was delivered and rejected is gone and counted, the rest waits, and the log says how."""
    queue.put(event("1"), event("2"), event("3"))
    one, two, three = queue.take(YES).records
    _, body, number = queue.begin([one, two, three])
    circuit = Circuit(2, NOW + 60, NOW + 3600, "abc", "2.4.0", 503, NOW, "HTTP 503")

    queue.outbox.settle(
        number,
        [Fate([one], "delivered"), Fate([two], "rejected")],
        status=200,
        verdict="delivered",
        reason="some reason",
        circuit=circuit,
    )

    queue.check()
    counts = queue.counts
    assert (counts.delivered, counts.rejected, counts.pending) == (1, 1, 1)
    assert Queue(state_dir).outbox.circuit() == circuit
    assert queue.outbox.sent_log()[0] == SentRequest(
        "2026-05-28T20:26:40.000Z", "sink", body, 3, 200, "delivered", "some reason"
    )
    assert queue.uids(YES) == ["3"]


def test_partially_rejected_records_are_counted_as_rejected(queue):
    """What a sink says it rejected of an accepted request is counted so, never more than was delivered."""
    queue.put(*[event(str(n)) for n in range(3)])
    records, _, number = queue.begin(queue.take(YES).records)

    queue.settle(number, [Fate(records, "delivered")], rejected=2)
    queue.settle(number, [], rejected=5)

    assert (queue.counts.delivered, queue.counts.rejected) == (1, 2)


def test_settling_twice_counts_once(queue):
    """Two processes that both sent a record (the lock file was deleted) count it once."""
    queue.put(base("b"))
    (record,) = queue.take().records

    queue.settle(1, [Fate([record], "delivered")])
    queue.settle(1, [Fate([record], "delivered")])
    queue.settle(1, [Fate([record], "rejected")])

    assert (queue.counts.delivered, queue.counts.rejected) == (1, 0)


def test_a_put_off_record_waits_for_its_moment(queue):
    """A record put off is claimed again at its moment, under its uid, and others pass it."""
    queue.put(base("first", "first_seen"))
    queue.deliver(fate="put off")
    queue.put(base("beat"))

    assert queue.uids(now=NOW + 86_399) == ["beat"]
    assert queue.uids(now=NOW + 86_400) == ["first", "beat"]
    assert queue.counts.rejected == 0


def test_a_record_put_off_by_a_clock_since_set_back_does_not_wait_for_years(queue):
    """A record that seems put off for longer than anything is was put off by a wrong clock."""
    queue.put(base("first", "first_seen"))
    queue.deliver(fate="put off", now=NOW + 10 * 365 * 86_400)

    assert queue.uids(now=NOW) == ["first"]


def test_the_sent_log_is_bounded_by_count(state_dir):
    """Only the newest requests are kept."""
    queue = Queue(state_dir, sent_log_requests=3)
    for n in range(5):
        queue.put(event(str(n)))
        queue.deliver(YES)

    assert [entry.body[:3] for entry in queue.outbox.sent_log()] == [b"E:2", b"E:3", b"E:4"]


def test_the_sent_log_is_bounded_by_bytes_and_keeps_the_newest(state_dir):
    """Bodies are kept up to the bound; the newest stays, whatever its size."""
    queue = Queue(state_dir, sent_log_bytes=450)
    for n in range(6):
        queue.put(event(str(n), size=98))
        queue.deliver(YES)
    assert [entry.body[:3] for entry in queue.outbox.sent_log()] == [b"E:2", b"E:3", b"E:4", b"E:5"]

    queue.put(event("huge", size=1000))
    queue.deliver(YES)
    assert [entry.body[:6] for entry in queue.outbox.sent_log()] == [b"E:huge"]


# -- destroying


def test_purge_destroys_everything_and_its_bytes(queue, state_dir):
    """A purge counts all that waits under its reason, and no byte of it stays in the files."""
    queue.put(base("b"), event("unmistakable", size=3000), event("2"))

    assert queue.outbox.purge("the sink said stop") == 3

    queue.check()
    assert queue.dropped == {"the sink said stop": 3}
    assert queue.outbox.purge("the sink said stop") == 0
    assert all(b"unmistakable" not in file.read_bytes() for file in state_dir.iterdir())


def test_destroy_withdrawn_spares_base_and_the_consent_that_holds(queue, state_dir):
    """A withdrawal destroys the events of every other consent, and no byte of them stays."""
    queue.put(base("b"), event("unmistakable", size=3000), event("kept", grant=OTHER), event("none", grant=None))

    assert queue.outbox.destroy_withdrawn(lambda: frozenset({OTHER})) == 2

    queue.check()
    assert queue.uids(YES, OTHER) == ["b", "kept"]
    assert all(b"unmistakable" not in file.read_bytes() for file in state_dir.iterdir())


@pytest.mark.usefixtures("impatient")
def test_withdrawn_events_do_not_stay_where_they_cannot_be_destroyed(queue, state_dir):
    """Where another program holds the file, a withdrawal deletes the whole file."""
    queue.put(event("unmistakable"))
    queue.outbox.database.close()
    other = sqlite3.connect(state_dir / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    queue.outbox.destroy_withdrawn(lambda: frozenset())

    other.close()
    assert all(b"unmistakable" not in file.read_bytes() for file in state_dir.iterdir())
    assert queue.put(event("2")) == [True]


# -- sharing


def test_threads_and_objects_put_at_one_moment(state_dir):
    """Eight threads on two objects store, and each record is there once."""
    queues = [Queue(state_dir), Queue(state_dir)]

    def work(n: int) -> None:
        for k in range(20):
            assert queues[n % 2].outbox.put([event(f"{n}-{k}")])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)

    queues[0].check()
    assert sorted(queues[1].uids(YES)) == sorted(f"{n}-{k}" for n in range(8) for k in range(20))


def test_a_derived_uid_raced_for_is_accepted_once(state_dir):
    """Of eight objects that put one derived uid at one moment, one is told that it was accepted."""
    queues = [Queue(state_dir) for _ in range(8)]
    barrier, accepted = threading.Barrier(8), []

    def work(queue: Queue) -> None:
        barrier.wait(GUARD)
        accepted.append(queue.outbox.put([base("first", "first_seen")])[0] is not Put.KNOWN)

    threads = [threading.Thread(target=work, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)

    assert sorted(accepted) == [False] * 7 + [True]
    queues[0].check()


def test_memory_takes_the_same_steps():
    """Without a directory everything works the same way, for this process."""
    queue = Queue(None)
    queue.put(base("b"), event("e"))

    assert queue.deliver(YES) == ["b", "e"]
    assert queue.put(base("b")) == [False]
    assert not queue.outbox.is_durable()
    assert queue.outbox.database.path is None


def test_a_circuit_that_is_no_circuit_is_damage(queue, state_dir):
    """A circuit somebody scribbled over makes the file damaged, not the program."""
    queue.put(event("e"))
    queue.outbox.database.run(lambda db: db.execute("UPDATE circuit SET state = 'scribble'"))

    assert queue.outbox.circuit() == Circuit()
    assert list(state_dir.glob(f"{FILE_NAME}.corrupt-*"))


def test_the_ledger_names_every_reason(queue):
    """The ledger shows each way out with its count."""
    queue.put(event("1"), event("2"))
    queue.outbox.purge("no reason")
    queue.put(event("3", grant=OTHER), event("4"), base("b"))
    queue.outbox.destroy_withdrawn(lambda: frozenset({YES}))
    queue.deliver()

    assert queue.counts == Counts(5, 1, 0, 1, 100, {"consent withdrawn": 1, "no reason": 2})
    assert isinstance(queue.take(YES).records[0], Pending)


def test_more_records_than_are_read_at_once_are_claimed(state_dir):
    """A batch is read bit by bit, with none left out or doubled between two bits, whoever else has records there."""
    queue = Queue(state_dir, batch_records=200)
    queue.put(*[event(f"e{n:03d}", grant=OTHER if n % 3 == 0 else YES) for n in range(400)])

    first = queue.take(YES)
    claimed = [record.uid for record in first.records]

    assert claimed == [f"e{n:03d}" for n in range(400) if n % 3][:200]
    assert first.has_more
    queue.settle(0, [Fate(first.records, "delivered")])
    rest = queue.take(YES)
    assert [record.uid for record in rest.records] == [f"e{n:03d}" for n in range(400) if n % 3][200:]
    assert not rest.has_more


def test_a_claim_cut_by_bytes_has_more(state_dir):
    """What did not fit into the request waits, and the claim says so."""
    queue = Queue(state_dir, batch_bytes=250)
    queue.put(event("1"), event("2"), event("3"))

    assert queue.take(YES).has_more


def test_numbers_begun_anew_are_not_taken_for_the_old_records(state_dir, queue):
    """Records of a file that was deleted meanwhile are not settled by those that got their numbers in a new one."""
    queue.put(*[event(f"old{n}") for n in range(3)])
    records, _, number = queue.begin(queue.take(YES).records)
    queue.outbox.database.discard()
    queue.put(*[event(f"new{n}") for n in range(3)])

    queue.settle(number, [Fate(records, "delivered")])

    assert queue.counts.pending == 3


def test_many_old_events_are_dropped_together(state_dir):
    """More old events than are looked at in one go are dropped before anything is claimed."""
    queue = Queue(state_dir, age_days=1)
    queue.put(*[event(f"old{n}", at=NOW - 100_000) for n in range(200)], event("new"))

    assert [record.uid for record in queue.take(YES).records] == ["new"]
    assert queue.counts.dropped == {"too old": 200}


# -- chains: who was before


def beat(day: int, *, chain: str = "me", seen: float = 0.0, hours: float = 9) -> Record:
    """The heartbeat of a day, counted from the first; *seen* is the day of the newest one its maker knows of."""
    at = NOW + day * 86_400 + (hours - 20.44) * 3600  # NOW is 20:26:40
    known = int((NOW + seen * 86_400) * SECOND) if seen else 0
    uid = f"{chain} {day}"
    return Record(
        uid, Layer.BASE, "heartbeat", int(at * SECOND), b"B", b"body", derived=True, chain=chain, seen_ns=known
    )


def before(queue: Queue) -> dict[str, str]:
    """Which record each of those that may leave names."""
    names = {int(it.made_ns): it.uid for it in queue.take().records}
    return {it.uid: names.get(it.before_ns, "another") for it in queue.take().records}


def test_each_names_the_one_before_it_and_the_first_itself(queue):
    """Whether that waits or was delivered, in each chain apart."""
    queue.put(beat(0), beat(3), beat(0, chain="you", hours=10))

    assert before(queue) == {"me 0": "me 0", "me 3": "me 0", "you 0": "you 0"}
    delivered = queue.take().records
    queue.deliver()
    queue.put(beat(4))
    assert queue.take().records[0].before_ns == delivered[1].made_ns


def test_one_that_was_refused_is_named_by_nobody(queue):
    """A successor that has not left is named anew."""
    queue.put(beat(0), beat(1), beat(2))
    records, _, number = queue.begin(queue.take().records[1:2])

    queue.settle(number, [Fate(records, "rejected")])

    assert before(queue) == {"me 0": "me 0", "me 2": "me 0"}


def test_what_has_left_stays_as_it_left(queue):
    """Nothing is named anew in a record whose bytes may have arrived; after an attempt without a byte it is."""
    queue.put(beat(1, seen=0.5))
    (record,) = queue.take().records
    named = record._replace(body=b"named")
    _, _, number = queue.begin([named], fresh=[named])
    assert queue.take().records[0][8:] == (b"named", True, None)

    queue.settle(number, [Fate([record], "unsent")])
    assert queue.take().records[0] == record


def test_a_killed_request_may_have_arrived(queue, state_dir):
    """What was in flight when its process died counts as seen outside, once another delivery holds the lock."""
    queue.put(event("1"), event("2"))
    queue.begin(queue.take(YES).records[:1])

    found = Outbox(state_dir, Limits()).take(lambda _: Terms(frozenset({YES})), now=NOW, lock="1:2").records

    assert [record.has_left for record in found] == [True, False]
    assert [entry.verdict for entry in queue.outbox.sent_log()] == ["cut off"]


@pytest.mark.parametrize(("day", "accepted"), [(5, False), (4, False), (3, False), (2, True), (6, True)])
def test_moments_never_go_back_but_by_days(queue, day, accepted):
    """One whose day is not after the newest is not made; a clock more than two days behind is believed."""
    queue.put(beat(5, hours=12))

    assert queue.put(beat(day, chain="me", hours=13)._replace(uid="again")) == [accepted]


def test_without_an_outbox_what_the_maker_knows_counts(queue):
    """After the loss of the file the newest acknowledged one that is noted elsewhere is named."""
    queue.put(beat(3, seen=1))

    assert queue.take().records[0].before_ns == int((NOW + 86_400) * SECOND)


def test_what_came_in_under_an_older_consent_does_not_stay(queue):
    """Also where this process had destroyed all of another consent before: the next idle take does."""
    queue.take(YES, destroy_others=True)
    queue.put(event("late", grant=OTHER))

    queue.take(YES, destroy_others=True)

    assert queue.dropped == {"consent withdrawn": 1}
