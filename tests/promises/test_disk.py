"""Whatever the disk does, the host does not notice, status says what happened, and what can be kept is kept.

Everything here runs with ``strict=True``: the world's failures are no bugs of ours and must not raise even then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from process_tools import GUARD, Program
from sink_server import Reply, attributes

import telemetry_sdk
from telemetry_sdk import Outcome, Telemetry
from telemetry_sdk.client.override import engine_of
from telemetry_sdk.host.files import file_lock

NOBODY = 54_321
DOWN = Reply(503)
WORDS = {Outcome.DELIVERED, Outcome.QUEUED, Outcome.SUPPRESSED, Outcome.DROPPED}


def exercise(telemetry: Telemetry) -> list[str]:
    """Call everything; nothing may raise or take long. Returns the uids of the events that were accepted."""
    accepted = []

    def timed(call, *arguments):
        begun = time.monotonic()
        result = call(*arguments)
        assert time.monotonic() - begun < GUARD, call
        return result

    timed(telemetry.start)
    for call in (telemetry.opt_in, telemetry.send_base_heartbeat, telemetry.send_base_first_seen):
        assert timed(call).outcome in WORDS
    for n in range(3):
        receipt = timed(telemetry.track_event, "timer.started", {"n": n})
        assert receipt.outcome in WORDS
        assert receipt.reason or receipt
        accepted += [receipt.uid] if receipt else []
    timed(telemetry.flush, 5)
    timed(telemetry.is_detailed_analytics_enabled)
    timed(telemetry.sent_log)
    timed(telemetry.status)
    return accepted


def problem_of(telemetry: Telemetry) -> str:
    status = telemetry.status()
    return f"{status.state_problem} {status.waiting}".strip()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of one megabyte, and what changes it while it is in use."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs mount")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk):
    """Use up every byte of *disk*, and return the file to delete for room."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path


def remount(disk, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def test_full_disk_from_the_start(make, sink, small_disk):
    """On a full disk base sends nothing, status says why, and with room again everything works as on the first day."""
    filler = fill(small_disk)
    telemetry = make(state_dir=small_disk / "state")
    exercise(telemetry)

    assert problem_of(telemetry)
    assert not [name for name in sink.names if name.startswith("base")]
    filler.unlink()
    later = make(state_dir=small_disk / "state")
    later.start()
    assert later.opt_in()
    assert later.track_event("timer.stopped").outcome is Outcome.DELIVERED
    assert later.status().durable is True
    assert problem_of(later) == ""


@pytest.mark.parametrize("mode", ["sync", "manual"])
def test_disk_that_fills_up_loses_nothing_acknowledged(make, sink, small_disk, mode):
    """Events accepted before and while the disk fills up arrive later; those it cannot keep are DROPPED and say so."""
    sink.reply = DOWN
    telemetry = make(state_dir=small_disk / "state", delivery=mode)
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    before = telemetry.track_event("timer.started")
    filler = fill(small_disk)
    receipts = [telemetry.track_event("timer.started", {"text": "x" * 900, "n": n}) for n in range(40)]

    assert before
    dropped = [receipt for receipt in receipts if not receipt]
    assert dropped
    assert {receipt.outcome for receipt in dropped} == {Outcome.DROPPED}
    assert {receipt.reason for receipt in dropped} <= {"the disk is full", "disk error"}
    telemetry.flush(5)
    assert problem_of(telemetry)
    filler.unlink()
    sink.reply = Reply()
    report = make(state_dir=small_disk / "state").flush(20)
    assert report.kept == 0
    accepted = [before.uid, *(receipt.uid for receipt in receipts if receipt)]
    assert set(accepted) <= set(sink.uids)
    assert telemetry.track_event("timer.stopped").outcome in (Outcome.QUEUED, Outcome.DELIVERED)


@pytest.mark.parametrize("waits", [True, False])
def test_opt_out_on_a_full_disk(make, sink, small_disk, waits):
    """Consent is withdrawn on a full disk too, whether something waits or not: it is on disk, and nothing leaves."""
    sink.reply = DOWN if waits else Reply()
    telemetry = make(state_dir=small_disk / "state")
    telemetry.opt_in()
    assert telemetry.track_event("timer.started")
    filler = fill(small_disk)
    sent = len(sink.requests)

    assert telemetry.opt_out() is True
    other = make(state_dir=small_disk / "state")
    assert other.status().consent is False

    filler.unlink()
    sink.reply = Reply()
    for each in (telemetry, other):
        each.flush(10)
        assert not each.is_detailed_analytics_enabled()
        assert not each.track_event("timer.started")
    assert not [r for r in sink.requests[sent:] if b'"stringValue":"analytics"' in r.body]


@pytest.mark.parametrize("others", ["none", "files"])
def test_a_host_that_closes_all_descriptors(tmp_path, sink, others):
    """Events go into the spool as ever, nothing is written into a file the host opens, and a later run delivers all.

    Daemons close all descriptors they know nothing of. A second object, a child, and the program's end change nothing.
    """
    source = """
    telemetry = make()
    assert telemetry.opt_in()
    receipts = [telemetry.track_event("timer.started")]
    os.closerange(3, 256)
    files = [open(f"host-{n}", "w+b") for n in range(12)] if ARGUMENT == "files" else []
    receipts += [telemetry.track_event("timer.started", {"n": n}) for n in range(20)]
    receipts.append(make().track_event("timer.started"))
    assert all(receipts), receipts
    assert "closed the outbox's file descriptors" in telemetry.status().waiting
    if not (child := os.fork()):
        assert telemetry.track_event("timer.started")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    telemetry.close()
    assert telemetry.track_event("timer.started")
    for file in files:
        file.close()
    say(*[receipt.uid for receipt in receipts])
    """
    settings = {"endpoint": sink.url, "state_dir": tmp_path / "state"}
    uids = Program(source, tmp_path, delivery="manual", argument=others, **settings).finish().split()
    later = "report = make().flush(30)\nassert (report.kept, report.rejected, report.dropped) == (0, 0, 0), report"
    Program(later, tmp_path, delivery="manual", **settings).finish()

    assert {path.stat().st_size for path in tmp_path.glob("host-*")} <= {0}
    assert len(uids) == 22
    assert set(uids) <= set(sink.uids)
    assert len(sink.uids) == len(set(sink.uids)) == 25


def test_an_outbox_cut_off_from_its_descriptors_can_be_deleted(tmp_path, sink):
    """Consent is withdrawn all the same: the outbox is deleted, and a new one is as good as any."""
    source = """
    telemetry = make()
    telemetry.opt_in()
    os.closerange(3, 256)
    assert telemetry.opt_out() is True
    assert telemetry.status().ledger["pending"] == 0
    assert telemetry.opt_in() and telemetry.track_event("timer.started")
    report = telemetry.flush(30)
    assert report.delivered == 2, report
    """
    Program(source, tmp_path, delivery="manual", endpoint=sink.url, state_dir=tmp_path / "state").finish()


def test_disk_that_turns_read_only(make, sink, small_disk):
    """State that becomes read-only while the program runs costs no exception, and comes back with the disk."""
    sink.reply = DOWN
    telemetry = make(state_dir=small_disk / "state")
    telemetry.opt_in()
    before = telemetry.track_event("timer.started")
    telemetry.close(0)
    remount(small_disk, "ro")
    try:
        running = make(state_dir=small_disk / "state")
        exercise(running)
        assert problem_of(running)
        assert running.status().consent is True
        assert running.opt_out() is False
        assert not running.track_event("timer.started")
        assert telemetry.track_event("timer.started").outcome in WORDS
        telemetry.status()
    finally:
        telemetry.close(0)
        running.close(0)
        remount(small_disk, "rw")
    sink.reply = Reply()
    make(state_dir=small_disk / "state").flush(10)
    assert before.uid in sink.uids


# A limit on the size of files is enforced by the kernel like a full disk, and needs no right to mount.
LIMITED = """
import resource
telemetry = make(delivery=ARGUMENT["mode"])
telemetry.opt_in()
before = [telemetry.track_event("timer.started", {"n": n}).uid for n in range(5)]
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
receipts = [telemetry.track_event("timer.started", {"n": n}) for n in range(20)]
telemetry.send_base_heartbeat()
telemetry.flush(5)
problem = telemetry.status().waiting
out = telemetry.opt_out() if ARGUMENT["leave"] else None
after = telemetry.track_event("timer.started") if ARGUMENT["leave"] else None
telemetry.sent_log()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
telemetry.close()
say(json.dumps({
    "accepted": before + [receipt.uid for receipt in receipts if receipt],
    "reasons": sorted({receipt.reason for receipt in receipts if not receipt}),
    "out": out, "after": bool(after)}))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
@pytest.mark.parametrize("mode", ["sync", "manual"])
@pytest.mark.parametrize("leave", [False, True], ids=["stay", "leave"])
def test_writes_refused_by_the_kernel(tmp_path, sink, make, state_dir, mode, leave):
    """With every write refused nothing raises; what was acknowledged arrives later, unless opt_out took it back."""
    sink.reply = DOWN
    settings = {"endpoint": sink.url, "state_dir": state_dir, "argument": {"mode": mode, "leave": leave}}
    result = json.loads(Program(LIMITED, tmp_path, **settings).finish().splitlines()[-1])
    sink.reply = Reply()
    later = make()
    later.flush(10)

    assert len(result["accepted"]) >= 5
    assert len(result["accepted"]) == 25 or result["reasons"]
    assert result["after"] is False
    if not leave:
        assert set(result["accepted"]) <= set(sink.uids)
    elif result["out"]:
        assert later.status().consent is False
    if leave:
        assert not set(result["accepted"]) & set(sink.uids)


@pytest.mark.parametrize("broken", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_state_file_that_cannot_be_written(make, sink, state_dir, monkeypatch, broken, code):
    """A failing write, fsync, rename or open of the state file leaves the old one whole and status says so.

    Except where only room is missing: then the no is written over it, and is certain once that was synced.
    """
    is_over_it = code in (errno.ENOSPC, errno.EDQUOT) and broken != "write"
    is_synced = is_over_it and broken != "fsync"
    telemetry = make()
    telemetry.opt_in()
    path = state_dir / "installation.json"
    old = path.read_bytes()
    real = getattr(os, broken)

    def failing(*arguments, **options):
        if broken != "open" or str(arguments[0]).endswith(".tmp"):
            raise OSError(code, "injected")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        if broken == "write":
            # The state file is written through a buffer, not by os.write.
            patch.setattr("telemetry_sdk.host.files.open", _unwritable(code), raising=False)
        patch.setattr(os, broken, failing)
        certain = telemetry.opt_out()
        assert not telemetry.is_detailed_analytics_enabled()
        assert not telemetry.track_event("timer.started")
        assert ("installation.json" in telemetry.status().state_problem) is not is_synced
    assert certain is is_synced
    assert (path.read_bytes() == old) is not is_over_it
    assert json.loads(path.read_text())["telemetry_enabled"] is not is_over_it
    assert not list(state_dir.glob("*.tmp"))
    assert telemetry.opt_out() is True
    assert json.loads(path.read_text())["telemetry_enabled"] is False
    assert telemetry.status().state_problem == ""
    assert sink.names == ["analytics.install"]


def _unwritable(code):
    def opening(descriptor, mode):
        os.close(descriptor)
        raise OSError(code, "injected")

    return opening


def test_state_below_a_regular_file(make, sink, tmp_path):
    """A state directory that cannot exist: base sends nothing, analytics work in memory, status says so."""
    (tmp_path / "file").write_text("not a directory")
    telemetry = make(state_dir=tmp_path / "file" / "state")
    accepted = exercise(telemetry)

    assert set(sink.names) == {"analytics.install", "timer.started"}
    assert set(accepted) <= set(sink.uids)
    assert "cannot be created" in problem_of(telemetry)
    assert telemetry.status().durable is False
    assert telemetry.opt_out() is False
    assert not telemetry.track_event("timer.started")
    assert (tmp_path / "file").read_text() == "not a directory"


# Python itself may lie where only root can read, so the child has loaded everything before it becomes nobody.
BECOME = f"""
warm = make(app="warm-up", state_dir=str(Path(os.getcwd()) / "warm"))
warm.start(); warm.opt_in(); warm.track_event("warm.up"); warm.opt_out(); warm.status(); warm.sent_log(); warm.close()
def become_nobody():
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
def report(telemetry, **more):
    status = telemetry.status()
    say(json.dumps({{"directory": status.state_dir, "problem": status.state_problem, "durable": status.durable, **more}}))
"""
_NEEDED = (
    Path(sys.prefix).resolve(),
    Path(telemetry_sdk.__file__).resolve(),
    Path(os.environ.get("COVERAGE_FILE", "/")),
)
_open_to_all = all(parent.stat().st_mode & 0o001 for path in _NEEDED for parent in path.parents if parent.exists())
only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not _open_to_all,
    reason="only root can become nobody, who must be able to run this Python",
)


@only_root
def test_no_home_and_no_account(tmp_path, sink):
    """Without HOME and without an account nothing raises: base is silent, analytics work in memory, status says so."""
    source = (
        BECOME
        + """
for name in ("HOME", "XDG_DATA_HOME", "USER", "LOGNAME"):
    os.environ.pop(name, None)
become_nobody()
telemetry = make()
telemetry.start()
first = telemetry.opt_in()
receipt = telemetry.track_event("timer.started")
telemetry.flush(5)
out = telemetry.opt_out()
report(telemetry, event=receipt.outcome.value, out=out, after=bool(telemetry.track_event("timer.started")))
telemetry.close()
"""
    )
    output = Program(source, tmp_path, endpoint=sink.url).finish()
    result = json.loads(output.splitlines()[-1])

    assert result["event"] == "delivered"
    assert result["problem"]
    assert result["durable"] is False
    assert result["out"] is False
    assert result["after"] is False
    assert sink.names[-2:] == ["analytics.install", "timer.started"]


@only_root
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_directory_of_another_user(tmp_path, sink, mode):
    """A state directory that belongs to somebody else is neither used nor changed, and status says so."""
    state = tmp_path / "state"
    owner = Telemetry("acme-notes", version="2.4.0", endpoint=sink.url, state_dir=state, delivery="sync", strict=True)
    owner.opt_in()
    owner.track_event("timer.started")
    owner.close()
    state.chmod(mode)
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    source = (
        BECOME
        + """
become_nobody()
telemetry = make()
telemetry.start()
telemetry.opt_in()
receipt = telemetry.track_event("timer.started")
telemetry.flush(5)
report(telemetry, event=receipt.outcome.value, out=telemetry.opt_out())
telemetry.close()
"""
    )
    for parent in state.parents[:3]:  # pytest's own directories are private
        parent.chmod(0o755)
    output = Program(source, tmp_path, endpoint=sink.url, state_dir=state).finish()
    result = json.loads(output.splitlines()[-1])

    assert result["problem"]
    assert result["durable"] is False
    assert result["out"] is False
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


@only_root
def test_a_run_as_root_does_not_lock_the_user_out(tmp_path, sink):
    """What root makes in a user's directory belongs to the user, so that his next run goes on as before."""
    home = tmp_path / "users-home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    for parent in home.parents:  # pytest's own directories are private
        parent.chmod(0o755)
        if parent.name.startswith("pytest-of-"):
            break
    state = home / "share" / "telemetry"
    source = (
        BECOME
        + """
if ARGUMENT:
    become_nobody()
telemetry = make(delivery="manual")
telemetry.start()
telemetry.opt_in()
say(telemetry.status().install_id, bool(telemetry.track_event("timer.started")), telemetry.status().state_problem)
"""
    )
    said = [
        Program(source, tmp_path, endpoint=sink.url, state_dir=state, argument=user).finish().split()
        for user in (False, True, False, True)
    ]

    assert {words[0] for words in said} == {said[0][0]}
    assert all(words[1:] == ["True"] for words in said[1::2])
    # Of a user's yes in a user's file root knows as little as of anybody's: it holds for root's process.
    assert all(" ".join(words[1:]).startswith("True a yes is not kept: ") for words in said[::2])
    assert {found.stat().st_uid for found in state.iterdir()} == {NOBODY}


def outbox_with_records(make, sink, directory):
    """Fill a directory with consent, sent requests and twenty waiting events; return their uids."""
    sink.reply = Reply()
    with make(state_dir=directory) as telemetry:
        telemetry.opt_in()
        telemetry.track_event("timer.started")
    sink.reply = DOWN
    telemetry = make(state_dir=directory)  # "sync": into the database, not into the spool
    receipts = [telemetry.track_event("timer.started", {"n": n, "text": "x" * 200}) for n in range(20)]
    assert all(receipts)
    return telemetry, {receipt.uid for receipt in receipts}


def damage(path, draw):
    """Damage a file as disks and crashes do: noise, zeros, a cut, a torn page."""
    data = bytearray(path.read_bytes())
    kind = draw.choice(["noise", "noise", "zeros", "cut", "bits", "swap"])
    at = draw.randrange(len(data))
    if kind == "noise":
        length = draw.choice([1, 16, 300, 5000])
        data[at : at + length] = draw.randbytes(min(length, len(data) - at))
    elif kind == "zeros":
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    elif kind == "cut":
        del data[at:]
    elif kind == "bits":
        for _ in range(20):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    else:
        page, other = (4096 * draw.randrange(max(len(data) // 4096, 1)) for _ in range(2))
        data[page : page + 4096], data[other : other + 4096] = data[other : other + 4096], data[page : page + 4096]
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_outbox(make, sink, tmp_path, seed):
    """However the outbox is damaged, nothing raises, new events arrive, and nothing untrue or twice is sent."""
    draw = random.Random(seed)
    directory = tmp_path / "state"
    telemetry, waiting = outbox_with_records(make, sink, directory)
    telemetry.close(0)
    damage(directory / "outbox.sqlite3", draw)
    told = set(sink.uids)
    sink.reply = Reply()

    later = make(state_dir=directory, delivery="manual")
    first = fresh = [later.track_event("timer.stopped", {"n": n}) for n in range(5)]
    later.flush(10)
    assert later.status().durable is True
    # A damage that is found only in the middle of the first flush takes what the file held with it; not the next.
    fresh = fresh if all(r.uid in sink.uids for r in fresh) else [later.track_event("timer.stopped") for _ in range(5)]
    report = later.flush(10)
    later.sent_log()

    assert all(fresh)
    assert report.kept == 0
    assert {receipt.uid for receipt in fresh} <= set(sink.uids[len(told) :])
    # A record that a damaged page shows twice is sent twice, and is the same.
    bodies = {}
    assert all(bodies.setdefault(attributes(r)["log.record.uid"], r) == r for r in sink.accepted)
    assert set(bodies) <= told | waiting | {receipt.uid for receipt in fresh + first}
    assert later.opt_out() is True
    assert json.loads((directory / "installation.json").read_text())["telemetry_enabled"] is False


@pytest.mark.parametrize("seed", range(30))
def test_damaged_write_ahead_log(make, sink, tmp_path, seed):
    """A damaged write-ahead log loses at most what it held; what was folded into the file before arrives."""
    draw = random.Random(seed)
    telemetry, waiting = outbox_with_records(make, sink, tmp_path / "first")
    db = sqlite3.connect(tmp_path / "first" / "outbox.sqlite3")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    in_log = {telemetry.track_event("timer.started", {"n": n, "text": "y" * 200}).uid for n in range(20)}
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("installation.json", "outbox.sqlite3", "outbox.sqlite3-wal"):
        shutil.copy(tmp_path / "first" / name, copy / name)
    telemetry.close(0)
    damage(copy / "outbox.sqlite3-wal", draw)
    told = len(sink.uids)
    sink.reply = Reply()

    later = make(state_dir=copy, delivery="manual")
    fresh = later.track_event("timer.stopped")
    report = later.flush(10)

    assert fresh
    assert report.kept == 0
    arrived = sink.uids[told:]
    assert len(arrived) == len(set(arrived))
    assert waiting | {fresh.uid} <= set(arrived)
    assert set(arrived) - waiting - {fresh.uid} <= in_log


def test_damage_under_a_running_program(make, sink, state_dir):
    """An outbox overwritten with noise while it is open costs what it held, and no exception."""
    telemetry = make()
    telemetry.opt_in()
    draw = random.Random(3)
    for _ in range(5):
        for name in ("outbox.sqlite3", "outbox.sqlite3-wal"):
            path = state_dir / name
            if path.exists():
                with path.open("r+b") as file:
                    file.write(draw.randbytes(max(path.stat().st_size, 4096)))
        for _ in range(3):
            assert telemetry.track_event("timer.started").outcome in WORDS
        telemetry.flush(5)
        telemetry.status()
    other = make()
    assert other.track_event("timer.started")
    assert other.flush(10).kept == 0


@pytest.fixture
def pauses(monkeypatch):
    """The seconds the outbox has waited for another program; it does not really wait, its clock goes on instead."""
    begun: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(begun), sleep=begun.append)
    monkeypatch.setattr("telemetry_sdk.outbox.database.time", clock)
    return begun


def test_locked_by_another_program(make, sink, state_dir, pauses):
    """While another program holds the outbox, records are set aside and calls say so; afterwards all arrives once."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    sink.reply = DOWN
    waiting = telemetry.track_event("timer.started")
    assert waiting
    db = sqlite3.connect(state_dir / "outbox.sqlite3", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        spooled = [telemetry.track_event("timer.started") for _ in range(20)]
        assert 0.2 < sum(pauses) < 20 * 0.3  # a call waits a quarter of a second at most
        assert all(receipt.outcome is Outcome.QUEUED for receipt in spooled)
        assert "spooled" in spooled[0].reason
        report = telemetry.flush(3)
        assert "locked" in report.reason
        assert telemetry.status().ledger["pending"] == 21
    finally:
        db.execute("ROLLBACK")
        db.close()
    sink.reply = Reply()
    assert telemetry.flush(10).kept == 0
    assert telemetry.track_event("timer.started").outcome is Outcome.DELIVERED
    assert {waiting.uid, *(receipt.uid for receipt in spooled)} <= set(sink.uids)
    assert len(sink.uids) == len(set(sink.uids))
    assert problem_of(telemetry) == ""
    ledger = telemetry.status().ledger
    assert ledger["accepted"] == ledger["delivered"]


def test_what_was_set_aside_survives_a_kill(tmp_path, make, sink, state_dir):
    """A record that found the outbox locked is on disk all the same."""
    with make() as telemetry:
        telemetry.opt_in()
    db = sqlite3.connect(state_dir / "outbox.sqlite3", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    source = """
    telemetry = make()
    for n in range(5):
        say("uid", telemetry.track_event("timer.started", {"n": n}).uid)
    time.sleep(600)
    """
    program = Program(source, tmp_path, delivery="background", endpoint=sink.url, state_dir=state_dir)
    uids = {program.wait_for("uid").split()[1] for _ in range(5)}
    program.kill()
    db.execute("ROLLBACK")
    db.close()

    assert make().flush(20).kept == 0

    assert uids <= set(sink.uids)


def test_a_background_thread_goes_on_after_a_lock(make, sink, state_dir):
    """A program that starts while another holds the outbox delivers what waits once it is free, without any call."""
    sink.reply = DOWN
    with make(delivery="manual") as telemetry:
        telemetry.opt_in()
        uid = telemetry.track_event("timer.started").uid
    sink.reply = Reply()
    db = sqlite3.connect(state_dir / "outbox.sqlite3", isolation_level=None)
    db.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
    db.execute("BEGIN EXCLUSIVE")
    late = make(delivery="background", timeout=1)
    late.start()
    database = engine_of(late).session.outbox.database
    while "locked" not in database.problem:
        time.sleep(0.01)
    db.execute("ROLLBACK")
    db.close()

    sink.wait_for(lambda: uid in sink.uids)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_state_file_that_cannot_be_read_for_a_while_costs_nothing(make, sink, state_dir, monkeypatch, error):
    """While the consent cannot be read nothing of it leaves and nothing is destroyed; afterwards it holds again."""
    sink.reply = DOWN
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    uids = {telemetry.track_event("timer.started").uid for _ in range(5)}
    sink.reply = Reply()
    before = len(sink.requests)
    opened = os.open

    def refused(name, *arguments, **options):
        if str(name).endswith("installation.json"):
            raise OSError(error, "injected")
        return opened(name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        os.utime(state_dir / "installation.json")
        assert telemetry.track_event("timer.started").outcome is Outcome.SUPPRESSED
        assert telemetry.flush(5).kept
        assert not any(r.body.count(b"timer.started") for r in sink.requests[before:])
    assert telemetry.is_detailed_analytics_enabled()
    assert telemetry.flush(5)
    assert uids <= set(sink.uids)
    assert not list(state_dir.glob("*corrupt*"))


@pytest.mark.parametrize("planted", ["fifo", "device", "directory"])
def test_something_else_in_place_of_the_state_file(make, sink, state_dir, planted):
    """A FIFO, a device or a directory named like the state file is not waited for; it counts as a corrupt one."""
    state_dir.mkdir()
    path = state_dir / "installation.json"
    if planted == "fifo":
        os.mkfifo(path)
    elif planted == "device":
        path.symlink_to("/dev/ptmx")
    else:
        path.mkdir()
    telemetry = make()
    exercise(telemetry)
    assert telemetry.status().install_id


def test_a_held_state_lock_is_waited_for_once(make, sink, state_dir, monkeypatch):
    """Another process that holds the lock of the state file for long costs one short wait, not one a call."""
    monkeypatch.setattr("telemetry_sdk.identity.installation.LOCK_WAIT", 0.05)
    waits = []

    def counted(path, wait_s):
        waits.append(wait_s)
        return file_lock(path, wait_s)

    monkeypatch.setattr("telemetry_sdk.identity.installation.file_lock", counted)
    state_dir.mkdir()
    telemetry = make(delivery="manual")
    with file_lock(state_dir / "installation.lock", 1):
        for _ in range(200):
            telemetry.send_base_heartbeat()
    assert len(waits) == 200
    assert waits.count(0.05) < 20  # once in some seconds
    assert telemetry.status().install_id is None


def test_while_another_process_delivers_records_are_stored_and_left_to_it(tmp_path, make, sink, state_dir):
    """While another process has the delivery lock, calls return at once with QUEUED; all leaves when it is free."""
    telemetry = make(timeout=1)
    telemetry.opt_in()
    source = """
    from telemetry_sdk.host.files import ProcessLock
    assert ProcessLock(Path(ARGUMENT)).take(1)
    say("held")
    time.sleep(600)
    """
    holder = Program(source, tmp_path, argument=str(state_dir / "delivery.lock"))
    holder.wait_for("held")
    receipts = [telemetry.track_event("timer.started"), telemetry.send_base_heartbeat()]
    assert [(it.outcome, it.reason) for it in receipts] == [(Outcome.QUEUED, "another process is sending")] * 2
    assert telemetry.flush(0.1).reason == "another process is sending"
    assert telemetry.opt_out() is False  # a request may be under way there
    telemetry.opt_in()
    holder.kill()

    assert telemetry.flush(10)
    assert sink.uids.count(receipts[1].uid) == 1
    assert receipts[0].uid not in sink.uids  # withdrawn


@pytest.mark.parametrize("umask", [0o777, 0o022, 0])
def test_the_umask_changes_nothing(tmp_path, sink, umask):
    """Files are 0600 and the directory 0700, whatever the umask."""
    source = """
    os.umask(ARGUMENT)
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    assert telemetry.track_event("timer.started")
    telemetry.close()
    """
    state = tmp_path / "state"
    Program(source, tmp_path, endpoint=sink.url, state_dir=state, argument=umask).finish()

    assert state.stat().st_mode & 0o777 == 0o700
    assert {found.name: oct(found.stat().st_mode & 0o777) for found in state.iterdir()} == {
        found.name: "0o600" for found in state.iterdir()
    }


@pytest.mark.usefixtures("impatient")
def test_opt_out_while_locked_by_another_program(make, sink, state_dir):
    """Opt_out holds although another program holds the outbox: what waits there is destroyed with its file."""
    sink.reply = DOWN
    telemetry = make()
    telemetry.opt_in()
    assert telemetry.track_event("timer.started")
    db = sqlite3.connect(state_dir / "outbox.sqlite3", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        telemetry.opt_out()
        assert not telemetry.track_event("timer.started")
    finally:
        db.execute("ROLLBACK")
        db.close()
    sink.reply = Reply()
    telemetry.flush(10)
    make().flush(10)
    assert telemetry.opt_out() is True
    assert sink.names == []
    telemetry.opt_in()
    assert telemetry.track_event("timer.started").outcome is Outcome.DELIVERED


@pytest.mark.usefixtures("impatient")
def test_locked_exclusively_before_it_is_opened(make, sink, state_dir, monkeypatch):
    """An outbox that cannot even be read when the program starts costs nothing but what would have been kept there."""
    with make() as telemetry:
        telemetry.opt_in()
    db = sqlite3.connect(state_dir / "outbox.sqlite3", isolation_level=None)
    db.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
    db.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    late = make()
    try:
        accepted = exercise(late)
        assert accepted
        assert "locked" in problem_of(late)
        opened = []
        with monkeypatch.context() as patch:
            patch.setattr("telemetry_sdk.outbox.database.BUSY_WAIT", 2.0)
            patch.setattr(sqlite3, "connect", lambda *a, **k: opened.append(a) or connect(*a, **k))
            accepted += [late.track_event("timer.started").uid for _ in range(20)]
        assert len(opened) <= 20 * 2  # each a quarter of a second: for two seconds it is tried eight times
        late.close()
    finally:
        db.execute("ROLLBACK")
        db.close()
    assert late.flush(20).kept == 0
    assert late.track_event("timer.started").outcome is Outcome.DELIVERED
    assert set(accepted) <= set(sink.uids)
    assert late.status().durable is True


def delete(directory):
    """Delete a directory although a thread may be making files in it."""
    while directory.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_directory_deleted_while_running(make, sink, state_dir, mode):
    """With its directory deleted the program goes on as a fresh install without consent; it makes no noise of it."""
    telemetry = make(delivery=mode)
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    for _ in range(3):
        delete(state_dir)
        assert telemetry.track_event("timer.started").outcome is Outcome.SUPPRESSED
        assert not telemetry.is_detailed_analytics_enabled()
        telemetry.flush(5)
        telemetry.status()
        telemetry.sent_log()
        telemetry.opt_in()
        assert telemetry.is_detailed_analytics_enabled()
        receipt = telemetry.track_event("timer.started")
        assert receipt
        telemetry.flush(10)
        assert receipt.uid in sink.uids
        assert telemetry.status().durable is True
    telemetry.close()


def test_files_deleted_one_by_one(make, sink, state_dir):
    """Any single file may vanish at any time: nothing raises and the next event arrives."""
    telemetry = make()
    telemetry.start()
    telemetry.opt_in()
    for name in sorted(path.name for path in state_dir.iterdir()):
        (state_dir / name).unlink(missing_ok=True)
        telemetry.opt_in()
        receipt = telemetry.track_event("timer.started")
        telemetry.flush(10)
        if name.endswith(("-wal", "-shm")):
            # SQLite forbids that; the outbox only has to survive it.
            (state_dir / "outbox.sqlite3").unlink(missing_ok=True)
            continue
        assert receipt.uid in sink.uids, name
    telemetry.status()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EIO])
@pytest.mark.parametrize("when", ["before", "later"])
def test_file_system_without_locks(make, sink, state_dir, monkeypatch, code, when):
    """Where file locks fail, as on some NFS, calls stay bounded, nothing raises, and status or receipt says so."""
    telemetry = make(timeout=1)
    if when == "later":
        telemetry.start()
        telemetry.opt_in()

    def failing(descriptor, operation):
        raise OSError(code, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", failing)
        exercise(telemetry)
        assert when == "later" or "cannot lock" in problem_of(telemetry)
        assert telemetry.opt_out() is False
        assert not telemetry.is_detailed_analytics_enabled()
        assert not telemetry.track_event("timer.started")
    assert telemetry.opt_out() is True
    assert json.loads((state_dir / "installation.json").read_text())["telemetry_enabled"] is False


def test_state_file_of_a_newer_version(make, sink, state_dir):
    """A state file of a newer schema is obeyed and not rewritten; opt_out holds here and says it is not on disk."""
    state_dir.mkdir()
    path = state_dir / "installation.json"
    newer = {
        "schema": 99,
        "install_id": "2ab2916d-a51f-4ac8-80ee-45ac31a28092",
        "first_seen_at": "2026-01-01T00:00:00Z",
        "heartbeat_phase_s": 1.0,
        "telemetry_enabled": True,
        "consent_decided_at": "2026-01-01T00:00:00.000000Z",
        "of_the_future": [1],
    }
    path.write_text(json.dumps(newer))
    telemetry = make()
    exercise(telemetry)

    assert "timer.started" in sink.names
    assert telemetry.opt_out() is False
    assert "newer version" in problem_of(telemetry)
    assert not telemetry.track_event("timer.started")
    assert json.loads(path.read_text()) == newer


def test_outbox_of_a_newer_version(make, sink, state_dir):
    """An outbox of a newer version is left alone byte for byte; analytics work in memory and status says why."""
    with make() as telemetry:
        telemetry.opt_in()
    db = sqlite3.connect(state_dir / "outbox.sqlite3")
    db.execute("PRAGMA user_version=99")
    db.close()
    before = (state_dir / "outbox.sqlite3").read_bytes()
    later = make()
    accepted = exercise(later)

    assert set(accepted) <= set(sink.uids)
    assert len(accepted) == 3
    assert "newer version" in problem_of(later)
    assert later.status().durable is False
    assert (state_dir / "outbox.sqlite3").read_bytes() == before


NAMES = [
    "installation.json", "installation.lock", "progress.json", "progress.lock", "outbox.lock", "sending.lock", "outbox.sqlite3", "outbox.sqlite3-wal",
    "outbox.sqlite3-shm", "outbox.sqlite3-journal", f"installation.json.{os.getpid()}.tmp",
    f"progress.json.{os.getpid()}.tmp",
]  # fmt: skip


@pytest.mark.parametrize("state", ["fresh", "used", "killed"])
@pytest.mark.parametrize("there", ["file", "nothing", "directory"])
@pytest.mark.parametrize("name", NAMES, ids=lambda it: it.replace(str(os.getpid()), "pid"))
def test_planted_symlink(make, sink, state_dir, tmp_path, name, there, state):
    """A symlink planted under any name we use never changes, empties, creates or exposes what it points to."""
    victim = tmp_path / "victim"
    if there == "file":
        victim.write_text("precious")
        victim.chmod(0o640)
    elif there == "directory":
        victim.mkdir()
    state_dir.mkdir(mode=0o700)
    if state != "fresh":
        earlier = make()
        earlier.opt_in()
        if state == "used":
            earlier.close()
        else:
            killed = {path.name: path.read_bytes() for path in state_dir.iterdir()}
            earlier.close()
            delete(state_dir)
            state_dir.mkdir(mode=0o700)
            for file, data in killed.items():
                (state_dir / file).write_bytes(data)
    (state_dir / name).unlink(missing_ok=True)
    (state_dir / name).symlink_to(victim)
    telemetry = make(timeout=1)
    exercise(telemetry)
    telemetry.opt_out()
    telemetry.close()

    assert b"precious" not in b"".join(request.body for request in sink.requests)
    if there == "file":
        assert victim.read_text() == "precious"
        assert victim.stat().st_mode & 0o777 == 0o640
    elif there == "directory":
        assert list(victim.iterdir()) == []
    else:
        assert not victim.exists()
