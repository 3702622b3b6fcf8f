"""The spool: what an append acknowledged is taken in once, whatever happens to files, writers and takers."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import stat
import textwrap
import threading
import zlib
from pathlib import Path

import pytest
from process_tools import Program

from telemetry_sdk.model import Circuit, Layer, Limits, Record
from telemetry_sdk.outbox import StoreError
from telemetry_sdk.outbox import spool as spool_module
from telemetry_sdk.outbox.batch import Batch, Terms
from telemetry_sdk.outbox.queue import FILE_NAME, Outbox, Put
from telemetry_sdk.outbox.spool import Spool
from telemetry_sdk.outbox.tables import Fate

PRELUDE = """
import fcntl, os, signal, sys, threading, time
from telemetry_sdk.model import Layer, Limits, Record
from telemetry_sdk.outbox.batch import Terms
from telemetry_sdk.outbox.queue import Outbox
from telemetry_sdk.outbox.spool import Spool
from telemetry_sdk.outbox.tables import Fate
directory = Path(ARGUMENT)

def record(uid, body=b"body"):
    return Record(uid, Layer.ANALYTICS, "timer.started", 1_780_000_000_000_000_000, b"E", body, grant="g")
"""
HOLDER = """
held = os.open(directory / "spool.lock", os.O_RDWR)
fcntl.flock(held, fcntl.LOCK_EX)
say("held")
sys.stdin.read()
"""
NOW = 1_780_000_000.0
YES = "2026-05-28T20:26:40.123456Z"
MIB = 1 << 20


def program(source: str, state_dir: Path, *, measured: bool = True) -> Program:
    return Program(PRELUDE + textwrap.dedent(source), state_dir.parent, argument=state_dir, measured=measured)


def event(uid: str, *, size: int = 20, grant: str | None = YES) -> Record:
    body = uid.encode().ljust(size, b".")
    return Record(uid, Layer.ANALYTICS, "timer.started", int(NOW * 1e9), b'{"E"', body, grant=grant)


def beat(uid: str) -> Record:
    record = Record(uid, Layer.BASE, "heartbeat", int(NOW * 1e9), b"B", b"body", derived=True, chain="me", seen_ns=7)
    return record


def take(outbox: Outbox, *grants: str, destroys: bool = False) -> Batch:
    return outbox.take(lambda _: Terms(frozenset(grants or (YES,)), destroys), now=NOW)


def uids(outbox: Outbox) -> list[str]:
    return [record.uid for record in take(outbox).records]


@pytest.fixture
def outbox(state_dir):
    made = Outbox(state_dir, Limits())
    yield made
    made.database.close(for_good=True)


@pytest.fixture
def spool(state_dir):
    return Spool(state_dir, Limits())


def records_in(spool: Spool) -> list[Record]:
    return [record for segment in spool.waiting() for record in segment.records]


# -- lines


@pytest.mark.parametrize(
    "record",
    [
        event("e"),
        event("none", grant=None),
        beat("b"),
        event("äöü€𝄞"),
        event("big", size=MIB),
    ],
    ids=lambda record: record.uid,
)
def test_what_was_appended_is_read_as_it_was(spool, record):
    """Every field comes back, in order, byte for byte."""
    assert spool.append(record)
    assert spool.append(event("next"))

    assert records_in(spool) == [record, event("next")]


@pytest.mark.parametrize("torn", [1, 5, 12, 60, -1, -3])
def test_a_torn_line_spoils_no_other(spool, state_dir, torn):
    """Whatever a killed writer left of its line, the lines around it stay, and a torn one is counted."""
    spool.append(event("before"))
    whole = (state_dir / "spool").read_bytes()
    spool.append(event("torn"))
    line = (state_dir / "spool").read_bytes()[len(whole) :]
    (state_dir / "spool").write_bytes(whole + line[:torn])

    spool.append(event("after"))
    (segment,) = spool.waiting()

    found = [record.uid for record in segment.records]
    assert found in (["before", "after"], ["before", "torn", "after"])
    assert len(found) == 3 or segment.torn == (1 if len(line[:torn].strip()) else 0)
    assert found == ["before", "torn", "after"] or torn != -1


@pytest.mark.parametrize("what", ["a bit", "zeros", "rubbish", "another version"])
def test_only_the_checksum_decides(spool, state_dir, what):
    """Nothing is taken for a record that is not what was written."""
    spool.append(event("e"))
    data = (state_dir / "spool").read_bytes()
    content = b"only\ttwo fields"
    spoiled = {
        "a bit": data.replace(b"timer.started", b"timer.starter"),
        "zeros": bytes(len(data)),
        "rubbish": os.urandom(5000).replace(b"\n", b"-"),
        "another version": b"\n%08x %s\n" % (zlib.crc32(content), content),
    }[what]
    (state_dir / "spool").write_bytes(spoiled)
    spool.append(event("after"))

    (segment,) = spool.waiting()
    assert (segment.records, segment.torn) == ([event("after")], 1)


def test_what_cannot_be_a_line_is_refused(spool):
    """A field with a tab or a newline goes by the other door."""
    assert not spool.append(event("a\tb"))
    assert not spool.append(event("a")._replace(body=b"a\nb"))


# -- the two doors


def test_events_are_taken_in_once_and_the_file_goes(outbox, state_dir):
    """The next take has them, in order; its segment is deleted, and another take finds nothing new."""
    for n in range(3):
        outbox.append(event(f"e{n}"))
    assert not (state_dir / FILE_NAME).exists()

    assert uids(outbox) == ["e0", "e1", "e2"] == uids(outbox)
    assert sorted(path.name for path in state_dir.iterdir() if path.name.startswith("spool")) == ["spool.lock"]
    assert (outbox.counts().accepted, outbox.counts().pending) == (3, 3)


def test_what_lies_in_the_spool_counts_as_pending(outbox):
    """Before it is taken in, and after."""
    outbox.put([event("stored")])
    outbox.append(event("spooled"))

    before, waits = outbox.counts(), outbox.has_waiting()
    take(outbox)

    assert waits
    assert (before.accepted, before.pending, before.pending_bytes) == (2, 2, 40)
    assert outbox.counts() == before


def test_a_full_spool_is_taken_in_by_the_call_that_finds_it_full(state_dir):
    """No event is dropped for it, and the bounds hold over both: the oldest go first."""
    outbox = Outbox(state_dir, Limits(records=10))
    for n in range(40):
        outbox.append(event(f"e{n}"))

    counts = outbox.counts()
    assert counts.accepted == 40
    assert counts.pending <= 10 + 10 * 400 // 100
    assert uids(outbox)[-1] == "e39"
    assert outbox.counts().pending == 10


@pytest.fixture
def locked(outbox, state_dir):
    """An outbox whose database another program has locked."""
    assert outbox.is_durable()
    program = sqlite3.connect(state_dir / FILE_NAME, isolation_level=None)
    program.execute("BEGIN IMMEDIATE")
    yield outbox
    program.close()


def test_the_spool_takes_what_the_database_refuses(locked, state_dir):
    """Base records and sync events wait there until the lock is free; each derived uid is taken in once."""
    assert locked.put([beat("b"), event("e")]) == [Put.SPOOLED, Put.SPOOLED]
    assert locked.put([beat("b")]) == [Put.SPOOLED]
    other = Outbox(state_dir, Limits())

    with pytest.raises(StoreError):
        other.take(lambda _: Terms(frozenset({YES})), now=NOW, patience=0.0)


def test_a_derived_record_is_taken_in_once(state_dir, outbox):
    """Two lines of one heartbeat are one record."""
    spool = Spool(state_dir, Limits())
    for _ in range(2):
        assert spool.append(beat("b"))
    outbox.put([beat("b")])

    assert uids(outbox) == ["b"]
    assert outbox.counts().accepted == 1


def test_only_if_both_doors_fail_it_is_an_error(state_dir, outbox, monkeypatch):
    """Then nothing was stored."""
    monkeypatch.setattr(spool_module.os, "write", lambda *_: 0)
    monkeypatch.setattr(outbox.database, "run", lambda *_, **__: (_ for _ in ()).throw(StoreError("the disk is full")))

    with pytest.raises(StoreError, match="the disk is full"):
        outbox.append(event("e"))
    with pytest.raises(StoreError, match="the disk is full"):
        outbox.put([event("e")])


# -- takers


def test_a_kill_between_commit_and_deletion_makes_no_second_record(outbox, state_dir, monkeypatch):
    """A segment that is there and named is only deleted."""
    outbox.append(event("e"))
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "remove", lambda *_: None)
        take(outbox)
    (segment,) = Spool(state_dir, Limits()).segments()

    again = Outbox(state_dir, Limits())
    assert again.counts().pending == 1
    assert uids(again) == ["e"]
    assert not (state_dir / segment).exists()


def test_a_kill_between_rename_and_commit_loses_nothing(outbox, state_dir):
    """What was cut off waits for the next take."""
    outbox.append(event("e"))
    Spool(state_dir, Limits()).cut()
    assert outbox.has_waiting()
    outbox.append(event("f"))

    assert uids(outbox) == ["e", "f"]


def test_a_take_that_fails_takes_nothing_in(outbox, state_dir):
    """The lines stay for the next one."""
    outbox.append(event("e"))

    def terms(_: object) -> Terms:
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        outbox.take(terms, now=NOW)
    assert outbox.counts().pending == 1
    assert uids(outbox) == ["e"]


def test_a_database_in_memory_keeps_the_segments_until_all_has_left(state_dir):
    """QUEUED is a promise for more than this process."""
    state_dir.mkdir()
    (state_dir / FILE_NAME).mkdir()  # nothing that can be opened
    outbox = Outbox(state_dir, Limits())
    outbox.append(event("e"))

    assert uids(outbox) == ["e"] == uids(outbox)
    assert not outbox.database.durable
    assert len(Spool(state_dir, Limits()).segments()) == 1
    outbox.purge("done")
    assert uids(outbox) == []
    assert Spool(state_dir, Limits()).segments() == []


# -- withdrawals


def test_a_withdrawal_empties_the_spool_and_spares_base(outbox, state_dir):
    """No byte of an event stays in any file, also of one that was cut off; each is counted."""
    outbox.append(event("secret-one"))
    Spool(state_dir, Limits()).cut()
    outbox.append(event("secret-two"))
    Spool(state_dir, Limits()).append(beat("b"))

    assert outbox.destroy_withdrawn(frozenset) == 2

    assert [path.name for path in state_dir.iterdir() if b"secret" in path.read_bytes()] == []
    assert uids(outbox) == ["b"]
    assert outbox.counts().dropped == {"consent withdrawn": 2}


def test_what_is_appended_under_a_grant_that_is_gone_never_leaves(outbox):
    """A call that asked the gate before the withdrawal may still append: the next take destroys it."""
    outbox.destroy_withdrawn(frozenset)
    outbox.append(event("late"))

    assert take(outbox, "another", destroys=True).records == ()
    assert outbox.counts().dropped == {"consent withdrawn": 1}


def test_a_spool_that_cannot_be_emptied_is_said_so(outbox, state_dir, monkeypatch):
    """A withdrawal is not certain then."""
    monkeypatch.setattr("telemetry_sdk.outbox.queue.BUSY_WAIT", 0.05)
    outbox.append(event("e"))
    program(HOLDER, state_dir).wait_for("held")

    with pytest.raises(StoreError, match="spool"):
        outbox.destroy_withdrawn(frozenset)


# -- files that are none


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "hard link"])
@pytest.mark.parametrize("name", ["spool", f"spool.{1:020d}-{'0' * 8}-0000-4000-8000-{'0' * 12}"])
def test_what_was_planted_is_neither_followed_nor_written_nor_waited_for(outbox, state_dir, tmp_path, kind, name):
    """Events go by the other door, and what lies behind a link is not touched."""
    state_dir.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    path = state_dir / name
    {
        "symlink": lambda: path.symlink_to(victim),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "hard link": lambda: os.link(victim, path),
    }[kind]()

    outbox.append(event("e"))

    assert uids(outbox) == ["e"]
    assert victim.read_bytes() == b"mine"


def test_files_are_private_whatever_the_umask(outbox, state_dir):
    """Mode 0600, and 0700 for the directory."""
    before = os.umask(0)
    try:
        outbox.append(event("e"))
    finally:
        os.umask(before)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [state_dir, *state_dir.iterdir()]}
    assert modes == {state_dir.name: 0o700, "spool": 0o600, "spool.lock": 0o600}


def test_no_descriptor_outlives_a_call(outbox):
    """There is nothing to inherit, and nothing for a daemon to close."""
    outbox.append(event("e"))
    before = set(os.listdir("/dev/fd"))
    outbox.append(event("f"))

    assert set(os.listdir("/dev/fd")) == before


def test_a_program_that_closes_all_descriptors_in_between_loses_nothing(state_dir):
    """As daemons do, also without a fork."""
    child = """
outbox = Outbox(directory, Limits())
for n in range(100):
    outbox.append(record(f"e{n}"))
    os.closerange(3, 64)
say(outbox.counts().pending)
"""
    assert program(child, state_dir).finish().strip() == "100"


# -- processes, threads, signals


def test_another_process_that_keeps_the_lock_costs_a_quarter_of_a_second_once(outbox, state_dir, monkeypatch):
    """The event goes by the other door, and for a second all do at once."""
    asked = []
    lock = spool_module.lock_open_file
    monkeypatch.setattr(spool_module, "lock_open_file", lambda *a: asked.append(a[1]) or lock(*a))
    outbox.append(event("first"))
    holder = program(HOLDER, state_dir)
    holder.wait_for("held")
    for n in range(3):
        outbox.append(event(f"e{n}"))
    holder.finish(answer="")

    assert asked == [0.25]
    assert sorted(uids(outbox)) == ["e0", "e1", "e2", "first"]


def test_a_killed_holder_leaves_it_free(outbox, state_dir):
    """At once, though nobody gave it back."""
    outbox.append(event("first"))
    holder = program(HOLDER, state_dir)
    holder.wait_for("held")
    holder.kill()

    assert Spool(state_dir, Limits()).append(event("e"))


def test_a_signal_handler_that_appends_in_the_middle_of_an_append(state_dir, outbox):
    """At every moment of it: each event is stored, and nobody waits for himself."""
    handled, numbers = [], itertools.count()

    def handler(*_: object) -> None:
        outbox.append(event(f"handler {next(numbers)}"))
        handled.append(1)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0003)
    try:
        count = 0
        while len(handled) < 300:
            outbox.append(event(f"main {count}"))
            count += 1
            if count % 200 == 0:
                take(outbox)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert outbox.counts().accepted == count + len(handled)


def test_threads_and_takers_at_once(state_dir):
    """Four threads append while two objects take in: each event is there once."""
    outboxes = [Outbox(state_dir, Limits()) for _ in range(2)]
    over = threading.Event()

    def append(n: int) -> None:
        for k in range(300):
            outboxes[n % 2].append(event(f"{n}-{k}"))

    def take_in(outbox: Outbox) -> None:
        while not over.is_set():
            take(outbox)

    takers = [threading.Thread(target=take_in, args=(outbox,)) for outbox in outboxes]
    writers = [threading.Thread(target=append, args=(n,)) for n in range(4)]
    for thread in [*takers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    for thread in takers:
        thread.join()

    assert outboxes[0].counts().accepted == 1200
    rows = outboxes[1].database.run(lambda db: db.execute("SELECT count(DISTINCT uid) FROM records").fetchone())
    assert rows[0] + len(records_in(Spool(state_dir, Limits()))) == 1200


def test_forked_children_append_while_a_thread_does(state_dir):
    """No child hangs by a lock of its parent; every event is there."""
    child = """
outbox = Outbox(directory, Limits())
over, count = [], 0
def work():
    global count
    while not over:
        outbox.append(record(f"parent {count}"))
        count += 1
thread = threading.Thread(target=work)
thread.start()
for n in range(40):
    pid = os.fork()
    if not pid:
        outbox.append(record(f"child {n}"))
        os._exit(0)
    os.waitpid(pid, 0)
over.append(1)
thread.join()
say(outbox.counts().accepted == count + 40)
"""
    assert program(child, state_dir).finish().strip() == "True"


def test_a_child_that_no_hook_told_of_has_a_lock_of_its_own(state_dir):
    """It was forked while another thread was in the middle of an append, as an extension in C may do."""
    child = """
import ctypes
outbox = Outbox(directory, Limits())
held, over = threading.Event(), threading.Event()
def hold():  # idle, not running: CPython itself does not survive that
    with outbox._spool._lock:
        held.set()
        over.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
for n in range(40):
    pid = ctypes.PyDLL(None).fork()
    if not pid:
        outbox.append(record(f"child {n}"))
        os._exit(0)
    os.waitpid(pid, 0)
over.set()
thread.join()
say(outbox.counts().accepted)
"""
    assert program(child, state_dir).finish().strip() == "40"


def test_a_full_disk_is_one_short_write_and_then_an_error(state_dir):
    """By RLIMIT_FSIZE: what was acknowledged is taken in."""
    child = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(directory, Limits())
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
took = sum(spool.append(record(f"e{n}", b"b" * 400)) for n in range(30))
say(took)
"""
    took = int(program(child, state_dir, measured=False).finish())  # coverage could not write its file
    (segment,) = Spool(state_dir, Limits()).waiting()

    assert 5 < took < 30
    assert [record.uid for record in segment.records] == [f"e{n}" for n in range(took)]
    assert segment.torn == 1


def test_random_kills_lose_nothing_and_double_nothing(tmp_path: Path):
    """Writers and takers of one directory are killed at any moment: what was acknowledged is there, once."""
    state_dir = tmp_path / "state"
    writer = """
outbox, n = Outbox(directory, Limits()), 0
while True:
    uid = f"{os.getpid()}-{n}"
    outbox.append(record(uid, uid.encode() * 30))
    say(uid)
    n += 1
    if n % 7 == 0:
        outbox.take(lambda _: Terms(frozenset({"g"})), now=1.0)
"""
    acknowledged: list[str] = []
    for _ in range(6):
        running = [program(writer, state_dir) for _ in range(3)]
        for number, it in enumerate(running):
            acknowledged += [it.line() for _ in range(10 + 13 * number)]
        for it in running:
            it.process.kill()
            acknowledged += [line for line in it.process.communicate()[0].splitlines(keepends=True) if line[-1] == "\n"]
    acknowledged = [line.strip() for line in acknowledged]

    outbox = Outbox(state_dir, Limits(records=100_000))
    take(outbox, "g")
    rows = [row[0] for row in outbox.database.run(lambda db: db.execute("SELECT uid FROM records").fetchall())]
    assert len(set(rows)) == len(rows)
    assert set(acknowledged) - set(rows) == set()


def test_what_a_hook_of_a_fork_appends_is_stored_when_the_fork_is_over(state_dir):
    """Between our own two hooks the lock is held: whoever appends then gets true, and it holds."""
    spool = Spool(state_dir, Limits())
    spool.before_fork()
    assert spool.append(event("hook"))
    spool.after_fork_in_parent()

    assert [record.uid for record in records_in(spool)] == ["hook"]


def test_looking_makes_no_database(outbox, state_dir):
    """Counts, circuit, sent log and a preview of a spool that nobody has taken in."""
    outbox.append(event("e"))

    assert (outbox.counts().pending, outbox.circuit().failures, outbox.sent_log()) == (1, 0, [])
    assert [record.uid for record in outbox.peek(frozenset({YES}), NOW)[1]] == ["e"]
    assert not (state_dir / FILE_NAME).exists()


@pytest.mark.parametrize("moment", ["before it is written", "after"])
def test_what_another_handler_raises_loses_no_record(state_dir, monkeypatch, moment):
    """A record that was handed over stays until it is stored, whatever ends the storing of it, and is taken in once."""
    spool, write = Spool(state_dir, Limits()), Spool._write
    spool._interrupting.append(event("handed over"))

    def interrupted(self: Spool, record: Record) -> bool:
        monkeypatch.setattr(Spool, "_write", write)
        if moment == "after":
            write(self, record)
        raise KeyboardInterrupt

    monkeypatch.setattr(Spool, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spool.catch_up()
    assert spool.append(event("e"))

    assert sorted(record.uid for record in records_in(spool)) == ["e", "handed over"]


@pytest.mark.parametrize("call", ["cut", "empty"])
def test_what_a_handler_makes_while_the_spool_is_cut_or_emptied_is_stored(state_dir, monkeypatch, call):
    """It interrupts the lock's holder, who stores it before the lock is free for long."""
    spool = Spool(state_dir, Limits())
    spool.append(event("before"))
    segments = Spool.segments

    def interrupted(self: Spool) -> list[str]:
        monkeypatch.setattr(Spool, "segments", segments)
        assert self.append(event("handler"))
        return segments(self)

    monkeypatch.setattr(Spool, "segments", interrupted)
    {"cut": spool.cut, "empty": lambda: spool.empty(1.0)}[call]()

    assert [record.uid for record in records_in(Spool(state_dir, Limits()))][-1] == "handler"


def test_a_copy_by_hard_links_costs_no_event(outbox, state_dir, tmp_path):
    """As backups make them: what lies in the spool then is taken in, by the original and by the copy."""
    outbox.append(event("e"))
    copy = tmp_path / "copy"
    shutil.copytree(state_dir, copy, copy_function=os.link)
    outbox.append(event("f"))

    assert sorted(uids(outbox)) == ["e", "f"]
    assert [record.uid for record in records_in(Spool(copy, Limits()))] == ["e"]


def test_an_empty_spool_with_a_second_name_is_put_aside(outbox, state_dir):
    """What a kill in the making of it left: events go by the other door until the next take, no longer."""
    outbox.append(event("e"))
    take(outbox)
    (state_dir / "spool").touch(mode=0o600)
    os.link(state_dir / "spool", state_dir / "spool.1-1.tmp")
    assert not Spool(state_dir, Limits()).append(event("f"))

    take(outbox)

    assert Spool(state_dir, Limits()).append(event("f"))


def test_a_directory_in_place_of_the_spool_hinders_no_withdrawal(outbox, state_dir):
    """It holds no record; it is neither taken in nor in the way."""
    (state_dir / "spool").mkdir(parents=True)
    (state_dir / "spool" / "x").touch()
    assert outbox.put([event("e")])

    assert uids(outbox) == ["e"]
    assert outbox.purge("withdrawn") == 1
    assert (state_dir / "spool").is_dir()


def test_what_cannot_be_taken_in_does_not_grow(state_dir, monkeypatch):
    """Where no database will have it, what was cut off and what is in the spool stay within twice its bound."""
    limits = Limits(records=100)
    outbox = Outbox(state_dir, limits)

    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    for n in range(400):
        if not Spool(state_dir, limits).append(event(f"e{n}", size=400)):
            monkeypatch.setattr(outbox.database, "run", full)
        outbox._spool.cut()

    held = sum(file.stat().st_size for file in state_dir.glob("spool*"))
    assert 0 < held <= 2 * 100 * 400


def test_memory_gives_a_segment_up_with_the_last_of_its_records(state_dir):
    """No later take is needed: a short program makes none, and the next one would send it all again."""
    (state_dir / FILE_NAME).mkdir(parents=True)
    (state_dir / FILE_NAME / "in the way").touch()
    outbox = Outbox(state_dir, Limits())
    outbox.append(event("e"))
    outbox.append(event("f"))
    taken = take(outbox)
    assert not outbox.database.durable
    fates = [Fate([record], "delivered") for record in taken.records]

    for fate, left in zip(fates, [2, 0], strict=True):
        outbox.settle(0, [fate], status=200, verdict="delivered", reason="", circuit=Circuit())
        assert len(records_in(Spool(state_dir, Limits()))) == left
