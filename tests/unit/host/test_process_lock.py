"""One holder on this machine: other threads and processes wait no longer than they said, and the dead hold nothing."""

from __future__ import annotations

import errno
import os
import signal
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from process_tools import GUARD, Program

from telemetry_sdk.host.files import ProcessLock

HOLDER = """
from telemetry_sdk.host.files import ProcessLock
lock = ProcessLock(Path(ARGUMENT))
assert lock.take(1)
"""


@pytest.fixture(params=["file", "process"])
def lock(request: pytest.FixtureRequest, tmp_path: Path) -> ProcessLock:
    """A lock of all processes, or, without a directory, of this process."""
    return ProcessLock(tmp_path / "delivery.lock" if request.param == "file" else None, "acme-notes")


def in_thread(work: Any, *arguments: Any) -> Any:
    """Execute *work* in another thread and return what it returned."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work(*arguments)))
    thread.start()
    thread.join(GUARD)
    return found[0]


def give(lock: ProcessLock) -> None:
    lock.unlock_file()
    lock.close_file()
    lock.release()


def take_and_give(lock: ProcessLock, wait_s: float = 0.0) -> bool:
    if taken := lock.take(wait_s):
        give(lock)
    return taken


@pytest.mark.parametrize("wait_s", [-1.0, 0.0, 0.05])
def test_one_thread_holds_it(lock: ProcessLock, wait_s: float) -> None:
    """While one thread holds the lock another does not get it and hears why; given back it is free."""
    assert lock.take(0.0)
    assert lock.is_mine
    assert in_thread(take_and_give, lock, wait_s) is False
    assert lock.problem == "another thread is sending"
    give(lock)

    assert not lock.is_mine
    assert in_thread(take_and_give, lock) is True


def test_the_same_thread_does_not_take_it_twice(lock: ProcessLock) -> None:
    """A signal handler that interrupts its holder is told so at once."""
    assert lock.take(0.0)

    assert not lock.take(GUARD)
    assert lock.problem == "this thread is sending already"
    assert lock.is_mine
    give(lock)
    assert in_thread(take_and_give, lock) is True


def test_two_objects_of_one_path_exclude_each_other(tmp_path: Path) -> None:
    """Within a process the path counts, not the object, also by another name of it."""
    (tmp_path / "here").mkdir()
    first, second = ProcessLock(tmp_path / "delivery.lock"), ProcessLock(tmp_path / "here" / ".." / "delivery.lock")
    assert first.take(0.0)
    assert in_thread(take_and_give, second) is False

    give(first)

    assert take_and_give(second)


def test_without_a_file_the_name_counts() -> None:
    """Where nothing can be kept, the objects of one program exclude each other all the same, those of two do not."""
    first, second, other = (ProcessLock(None, name) for name in ("acme-notes", "acme-notes", "acme-other"))
    assert first.take(0.0)
    assert in_thread(take_and_give, second) is False
    assert in_thread(take_and_give, other) is True

    give(first)

    assert take_and_give(second)


def test_who_copies_the_files_does_not_lose_it(tmp_path: Path) -> None:
    """The holder may open, read and close the lock file, as a program does that copies its data: it is held still."""
    path = tmp_path / "delivery.lock"
    source = """
    Path(ARGUMENT).read_bytes()
    say("copied")
    time.sleep(600)
    """
    program = Program(HOLDER + textwrap.dedent(source), tmp_path, argument=str(path))
    program.wait_for("copied")

    assert not ProcessLock(path).take(0.05)
    program.kill()


def test_another_process_waits_its_time_and_gets_it_when_the_holder_is_killed(tmp_path: Path) -> None:
    """A living holder keeps it, a killed one does not, though nobody gave it back."""
    path = tmp_path / "delivery.lock"
    program = Program(HOLDER + 'say("held")\ntime.sleep(600)', tmp_path, argument=str(path))
    program.wait_for("held")
    lock = ProcessLock(path)
    assert not lock.take(0.05)
    assert lock.problem == "another process is sending"

    program.kill()

    assert take_and_give(lock, GUARD)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_dies_with_its_process_though_a_child_lives(tmp_path: Path) -> None:
    """A child forked while the lock was held, by hook or without, does not keep it when the parent is killed."""
    path = tmp_path / "delivery.lock"
    source = """
    child = os.fork()
    if not child:
        os.close(1)
        time.sleep(600)
    say("held", child)
    time.sleep(600)
    """
    program = Program(HOLDER + textwrap.dedent(source), tmp_path, argument=str(path))
    child = int(program.wait_for("held").split()[1])
    try:
        lock = ProcessLock(path)
        assert not lock.take(0.05)

        program.process.kill()
        program.process.wait(GUARD)

        assert take_and_give(lock, GUARD)
        assert Path(f"/proc/{child}").exists() or not Path("/proc/self").exists()
    finally:
        os.kill(child, 9)
        program.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_begins_with_none(tmp_path: Path) -> None:
    """A child of the holder does not hold it, and takes it when it is free."""
    source = """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        assert not lock.is_mine
        early = lock.take(0.05)
        os.write(writer, b"1" if early else b"0")
        late = lock.take(60)
        os.write(writer, b"1" if late else b"0")
        os._exit(0)
    first = os.read(reader, 1)
    lock.unlock_file()
    lock.close_file()
    lock.release()
    say("answers", first, os.read(reader, 1))
    os.waitpid(child, 0)
    """
    program = Program(HOLDER + textwrap.dedent(source), tmp_path, argument=str(tmp_path / "delivery.lock"))

    assert program.wait_for("answers") == "answers b'0' b'1'"
    program.finish()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Where the file system has no locks threads exclude each other, and the lock says that others are not kept out."""
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lock = ProcessLock(tmp_path / "delivery.lock")
    assert lock.is_shared
    assert lock.take(0.0)
    assert in_thread(take_and_give, lock) is False
    give(lock)

    assert not lock.is_shared


def test_what_is_planted_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """A link under the lock's name leads nowhere: its target stays as it is, and the reason names no path."""
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    (tmp_path / "delivery.lock").symlink_to(target)
    lock = ProcessLock(tmp_path / "delivery.lock")

    assert not lock.take(0.0)
    assert str(tmp_path) not in lock.problem
    assert lock.problem
    assert target.read_bytes() == b"kept"
    (tmp_path / "delivery.lock").unlink()
    assert take_and_give(lock)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """A lock that was given back, or not had, keeps no file open."""
    before = len(os.listdir("/dev/fd"))
    lock = ProcessLock(tmp_path / "delivery.lock")
    for _ in range(20):
        assert take_and_give(lock)

    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_ctrl_c_at_any_moment_leaves_it_free(tmp_path: Path) -> None:
    """After hundreds of interrupts while it is taken, held and given back, other threads and processes get it."""
    source = """
    import signal
    from telemetry_sdk.host.files import ProcessLock
    lock = ProcessLock(Path(ARGUMENT))
    interrupts, inside = 0, False
    def interrupt(*_):
        global inside
        if inside:
            inside = False
            raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.00037)
    while interrupts < 1000:
        try:
            inside = True
            if lock.take(0.01):
                try:
                    len("held")
                finally:
                    try:
                        lock.unlock_file()
                    finally:
                        try:
                            lock.close_file()
                        finally:
                            lock.release()
            inside = False
        except KeyboardInterrupt:
            interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(lock.take(5) and (lock.unlock_file(), lock.close_file(), lock.release())))
    thread.start()
    thread.join()
    say("free", bool(answers[0]))
    time.sleep(600)
    """
    path = tmp_path / "delivery.lock"
    program = Program(textwrap.dedent(source), tmp_path, measured=False, argument=str(path))

    assert program.wait_for("free") == "free True"
    assert take_and_give(ProcessLock(path), GUARD)
    program.kill()
