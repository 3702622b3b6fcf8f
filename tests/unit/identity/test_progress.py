"""progress.json: bookkeeping that decides nothing, that nobody waits for, and that is about one install id."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from process_tools import Program

from telemetry_sdk.host.files import file_lock
from telemetry_sdk.identity import installation as module
from telemetry_sdk.identity.installation import FILE_NAME, PROGRESS_NAME, Installation, ProgressFile
from telemetry_sdk.identity.schema import Progress

ID = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"
OTHER = "3bc3916d-a51f-4ac8-80ee-45ac31a28092"
NOW = "2026-05-28T20:26:40Z"
CHANGE = {"first_seen_sent_at": NOW}


@pytest.fixture
def installation(state_dir: Path) -> Installation:
    """One that has an id."""
    made = Installation(state_dir)
    made.update(lambda _: {"install_id": ID, "telemetry_enabled": True})
    return made


@pytest.fixture
def progress(installation: Installation) -> ProgressFile:
    return ProgressFile(installation)


@pytest.fixture
def path(state_dir: Path) -> Path:
    return state_dir / PROGRESS_NAME


def content(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())


def setting(**changes: object):
    return lambda _: changes


def again(state_dir: Path) -> Progress:
    """What another process reads."""
    return ProgressFile(Installation(state_dir)).read()


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


def test_what_was_done_is_kept(progress, path, state_dir):
    """A change is on disk for every other process, in a private file that names the id it is about."""
    assert progress.read() == Progress()
    progress.update(setting(**CHANGE))
    progress.update(setting(sink_host="sink.example"))

    assert progress.read() == again(state_dir) == Progress(sink_host="sink.example", **CHANGE)
    assert content(path) == {"schema": 1, "install_id": ID, "sink_host": "sink.example", **CHANGE}
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(state_dir)) == [FILE_NAME, "installation.lock", PROGRESS_NAME, "progress.lock"]


def test_bookkeeping_writes_no_decision(progress, path, state_dir):
    """Whatever is noted, not a byte of the file with the decision is written, nor is any decision read here."""
    decision = state_dir / FILE_NAME
    before, seen = decision.read_bytes(), decision.stat()
    progress.update(setting(**CHANGE, last_heartbeat_on="2026-05-28", analytics_sent_at=NOW))
    path.write_text(json.dumps({**content(path), "telemetry_enabled": False}))
    progress.update(setting(install_ping_sent_at=NOW))

    assert decision.read_bytes() == before
    assert (decision.stat().st_ino, decision.stat().st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns)
    assert Installation(state_dir).read().telemetry_enabled is True


def test_an_empty_change_writes_nothing(progress, path):
    """What is done already touches no file."""
    progress.update(setting())

    assert not path.exists()


def test_unknown_keys_are_kept(progress, path):
    """Keys of a later version stay."""
    path.write_text(json.dumps({"schema": 1, "install_id": ID, "later": [1]}))
    progress.update(setting(**CHANGE))

    assert content(path)["later"] == [1]


@pytest.mark.parametrize("left", ["no id", "another id"])
def test_it_is_about_one_id(progress, installation, path, state_dir, left):
    """Of another install nothing counts, whatever a reset, a copied directory or a crash left behind."""
    progress.update(setting(**CHANGE, analytics_sent_at=NOW))
    installation.update(setting(install_id=OTHER if left == "another id" else None))
    assert progress.read() == again(state_dir) == Progress()

    installation.update(setting(install_id=OTHER))
    progress.update(setting(last_heartbeat_on="2026-05-28"))

    assert content(path) == {"schema": 1, "install_id": OTHER, "last_heartbeat_on": "2026-05-28"}


CORRUPT = {
    "empty": b"",
    "torn": b'{"first_seen_sent_at": "2026',
    "a list": b"[]",
    "not UTF-8": b'{"x": "\xff"}',
    "too deep": b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "too large": b'{"x": "' + b"x" * 1024 * 1024 + b'"}',
    "wrong types": json.dumps({"install_id": ID, **dict.fromkeys(Progress._fields, 1)}).encode(),
}


@pytest.mark.parametrize("wrong", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_file_is_an_empty_one(progress, path, state_dir, wrong):
    """Nothing raises, nothing is set aside, and the next change begins anew."""
    path.write_bytes(wrong)
    assert progress.read() == Progress()

    progress.update(setting(**CHANGE))

    assert again(state_dir) == Progress(**CHANGE)


@pytest.mark.parametrize("obstacle", ["directory", "full disk", "no rename"])
def test_what_cannot_be_written_holds_here(progress, path, state_dir, monkeypatch, obstacle):
    """It never raises; once it can be written, what held here goes with the next change."""
    with monkeypatch.context() as patch:
        if obstacle == "directory":
            path.mkdir()
        else:
            patch.setattr(os, "fsync" if obstacle == "full disk" else "replace", full_disk)
        progress.update(setting(**CHANGE))
    assert progress.read() == Progress(**CHANGE)
    assert again(state_dir) == Progress()
    if path.exists():
        path.rmdir()

    progress.update(setting(sink_host="x"))

    assert again(state_dir) == Progress(sink_host="x", **CHANGE)


def test_without_a_home_or_an_id_it_holds_here(state_dir):
    """Where no state can be kept, or nobody is known yet, nothing is written."""
    for progress in (ProgressFile(Installation(None)), ProgressFile(Installation(state_dir))):
        progress.update(setting(analytics_sent_at=NOW))
        assert progress.read() == Progress(analytics_sent_at=NOW)
        assert progress.erase()
        assert progress.read() == Progress()
    assert not state_dir.exists()


def test_read_only_writes_nothing(installation, progress, path):
    """The log reads what the program did, and keeps what it does to itself."""
    progress.update(setting(**CHANGE))
    before = path.read_bytes()
    reader = ProgressFile(installation, read_only=True)
    reader.update(setting(last_heartbeat_on="2026-05-28"))

    assert reader.read() == Progress(last_heartbeat_on="2026-05-28", **CHANGE)
    assert reader.erase()
    assert path.read_bytes() == before
    assert progress.read() == Progress(**CHANGE)


def test_a_held_lock_is_not_waited_for_long(progress, path, state_dir, monkeypatch):
    """Somebody who holds the lock costs the call its bound and keeps nobody who decides."""
    monkeypatch.setattr(module, "LOCK_WAIT", 0.05)
    with file_lock(state_dir / "progress.lock", 1):
        progress.update(setting(**CHANGE))
        assert progress.read() == Progress(**CHANGE)
        assert progress.erase() is False
        assert Installation(state_dir).update(setting(telemetry_enabled=False)).telemetry_enabled is False
        assert Installation(state_dir).read().telemetry_enabled is False
    assert not path.exists()


def test_erased_is_gone(progress, path, state_dir):
    """Nothing of it is left, and neither is what a killed writer left."""
    progress.update(setting(**CHANGE))
    (state_dir / f"{PROGRESS_NAME}.4194305.tmp").write_text(ID)

    assert progress.erase()

    assert not list(state_dir.glob(f"{PROGRESS_NAME}*"))
    assert progress.read() == Progress()


def test_what_ends_while_it_is_noted_is_not_noted(installation, progress, path):
    """A change that began under an id that was forgotten meanwhile leaves no file behind."""
    other = Installation(installation.directory)

    def change(_: Progress) -> dict[str, object]:
        other.erase()
        return CHANGE

    progress.update(change)

    assert not path.exists()


def test_threads_and_processes_lose_no_change(tmp_path, progress, state_dir):
    """Two processes of three threads each note 180 things at the same time; all are there."""
    source = """
    from telemetry_sdk.identity.installation import Installation, ProgressFile
    from telemetry_sdk.identity import installation
    installation.LOCK_WAIT = 60
    noted = ProgressFile(Installation(Path(SETTINGS["state_dir"])))
    def note():
        for n in range(30):
            noted.update(lambda it: {"sink_host": (it.sink_host or "") + "."})
    wait_for_go()
    threads = [threading.Thread(target=note) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    """
    go = tmp_path / "go"
    programs = [Program(source, tmp_path, state_dir=state_dir, go=go) for _ in range(2)]
    for program in programs:
        program.wait_for("ready")
    go.touch()
    for program in programs:
        program.finish()

    assert again(state_dir).sink_host == "." * 180


def test_a_kill_while_writing_leaves_the_old_one_whole(tmp_path, progress, state_dir):
    """A process killed before its write is in place leaves the old file whole and the lock free."""
    progress.update(setting(**CHANGE))
    source = """
    import signal
    from telemetry_sdk.identity.installation import Installation, ProgressFile
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    ProgressFile(Installation(Path(SETTINGS["state_dir"]))).update(lambda _: {"sink_host": "x"})
    """
    Program(source, tmp_path, state_dir=state_dir).finish(code=-9)

    assert again(state_dir) == Progress(**CHANGE)
    progress.update(setting(sink_host="y"))
    assert again(state_dir).sink_host == "y"
    assert not list(state_dir.glob("*.tmp"))
