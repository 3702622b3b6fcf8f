"""installation.json: written in one step under a lock, read fresh, and never believed more than it deserves."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from process_tools import Program

from telemetry_sdk.host.files import StateError, file_lock
from telemetry_sdk.identity import installation as module
from telemetry_sdk.identity.directory import locate
from telemetry_sdk.identity.installation import FILE_NAME, Installation, State
from telemetry_sdk.model import ConfigError

ID = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"
AS_ROOT = pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="needs root, to give a file away")
OLD_NS = 1_700_000_000_123_456_789  # long before any tick of a file system's clock that could matter
YES = {"telemetry_enabled": True, "consent_decided_at": "2026-05-28T20:26:40.123456Z"}
NO = {"telemetry_enabled": False, "consent_decided_at": "2026-05-29T07:00:00.000001Z"}


@pytest.fixture
def path(state_dir: Path) -> Path:
    """The path of the state file, in a directory that is there."""
    state_dir.mkdir(mode=0o700)
    return state_dir / FILE_NAME


@pytest.fixture
def installation(state_dir: Path) -> Installation:
    return Installation(state_dir)


def put(path: Path, **content: object) -> None:
    path.write_text(json.dumps({"schema": 1, **content}), "utf-8")


def setting(**changes: object):
    return lambda _: changes


def missing(**changes: object):
    """A change that, like the package's own, finds nothing to do where it is done already."""
    return lambda state: {key: value for key, value in changes.items() if getattr(state, key) != value}


def names(state_dir: Path) -> list[str]:
    return sorted(file.name for file in state_dir.iterdir())


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


# -- writing


def test_reading_makes_nothing(installation, state_dir):
    """Reading a state that is not there gives an empty one and makes no directory."""
    assert installation.read() == State()
    assert not installation.exists
    assert not state_dir.exists()


def test_a_change_is_on_disk_when_update_returns(installation, state_dir):
    """An update returns the new state, and another object reads the same."""
    state = installation.update(setting(install_id=ID, heartbeat_phase_s=12.5))

    assert state == State(install_id=ID, heartbeat_phase_s=12.5)
    assert Installation(state_dir).read() == state
    assert (installation.problem, installation.exists, installation.is_kept("install_id")) == ("", True, True)


def test_directory_is_0700_and_files_0600(installation, state_dir):
    """The directory belongs to its owner alone, and so does each file in it, whatever the umask."""
    before = os.umask(0)
    try:
        installation.update(setting(**YES))
    finally:
        os.umask(before)

    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in state_dir.iterdir()} == {
        FILE_NAME: 0o600,
        "installation.lock": 0o600,
    }


def test_a_widened_file_is_private_again_after_a_write(installation, state_dir):
    """A file somebody made readable for all is 0600 again after the next write."""
    installation.update(setting(**YES))
    (state_dir / FILE_NAME).chmod(0o644)

    installation.update(setting(**NO))

    assert (state_dir / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_unknown_keys_are_kept_and_the_file_stays_readable(installation, path):
    """Keys of somebody else stay as they are, in their order, and text stays text a person can read."""
    put(path, note="für später ☕", nested={"a": [1, None, 2.5]}, telemetry_enabled=None)

    installation.update(setting(telemetry_enabled=False))

    assert list(json.loads(path.read_text("utf-8")).items()) == [
        ("schema", 1),
        ("note", "für später ☕"),
        ("nested", {"a": [1, None, 2.5]}),
        ("telemetry_enabled", False),
    ]
    assert "für später ☕" in path.read_text("utf-8")


@pytest.mark.parametrize(
    "unknown",
    [r'"\ud83d"', "[" * 800 + "]" * 800, "1e999", "NaN", "1" * 4000],
    ids=["half a character", "deep tree", "infinity", "nan", "long integer"],
)
def test_strange_unknown_values_do_not_keep_a_decision_from_being_stored(installation, path, unknown):
    """Whatever an unknown key holds, a no can be written beside it and the key is kept."""
    path.write_text(f'{{"telemetry_enabled": true, "odd": {unknown}}}', "utf-8")

    installation.update(setting(**NO))

    content = json.loads(path.read_bytes())
    assert content["telemetry_enabled"] is False
    assert str(content["odd"]) == str(json.loads(unknown))
    assert installation.problem == ""


def test_update_changes_only_the_changed_keys(state_dir):
    """An object that read before another one wrote does not write its stale copy back."""
    stale, fresh = Installation(state_dir), Installation(state_dir)
    stale.update(setting(**YES, install_id=ID))
    stale.read()

    fresh.update(setting(**NO))
    stale.update(setting(notice_version_shown="2"))

    assert Installation(state_dir).read() == State(install_id=ID, notice_version_shown="2", **NO)


def test_change_is_given_the_newest_state(state_dir):
    """The change is computed from the state on disk, under the lock, not from the copy that was read last."""
    one, other = Installation(state_dir), Installation(state_dir)
    one.update(setting(notice_version_shown="1"))
    other.update(setting(notice_version_shown="2"))
    seen = []

    one.update(lambda state: seen.append(state.notice_version_shown) or {"notice_version_shown": "3"})

    assert seen[-1] == "2"


def test_an_empty_change_writes_nothing(installation, state_dir):
    """A change that finds nothing to do touches no file, not even the lock."""
    installation.update(lambda _: {})

    assert not state_dir.exists()


def test_threads_and_objects_lose_no_update(state_dir):
    """Eight threads on two objects add one at a time, and none of their changes is lost."""
    objects = [Installation(state_dir), Installation(state_dir)]

    def add(installation: Installation) -> None:
        for _ in range(10):
            installation.update(lambda state: {"heartbeat_phase_s": (state.heartbeat_phase_s or 0) + 1})

    threads = [threading.Thread(target=add, args=(objects[n % 2],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [installation.read().heartbeat_phase_s for installation in objects] == [80, 80]


def test_processes_lose_no_update(tmp_path, state_dir):
    """Four processes add one at a time, and none of their changes is lost."""
    source = """
    from telemetry_sdk.identity.installation import Installation
    installation = Installation(Path(SETTINGS["state_dir"]))
    wait_for_go()
    for _ in range(15):
        installation.update(lambda state: {"heartbeat_phase_s": (state.heartbeat_phase_s or 0) + 1})
    """
    go = tmp_path / "go"
    programs = [Program(source, tmp_path, state_dir=state_dir, go=go) for _ in range(4)]
    for program in programs:
        program.wait_for("ready")
    go.touch()
    for program in programs:
        program.finish()

    assert Installation(state_dir).read().heartbeat_phase_s == 60


def test_no_temporary_file_is_left(installation, state_dir, monkeypatch):
    """Neither a write that worked nor one that failed leaves its temporary file."""
    installation.update(setting(**YES))
    monkeypatch.setattr(os, "replace", full_disk)
    installation.update(setting(**NO))

    assert names(state_dir) == [FILE_NAME, "installation.lock"]


def test_what_a_killed_writer_left_is_removed(installation, state_dir):
    """The temporary file of a process killed while it wrote is gone after the next write."""
    installation.update(setting(**YES))
    (state_dir / f"{FILE_NAME}.4194305.tmp").write_text('{"telemetry_enabled": tr')

    installation.update(setting(**NO))

    assert names(state_dir) == [FILE_NAME, "installation.lock"]


def test_a_kill_while_writing_leaves_the_old_state_whole(tmp_path, state_dir):
    """A process killed before its write is in place leaves the old file whole and the lock free."""
    Installation(state_dir).update(setting(**YES))
    source = """
    import signal
    from telemetry_sdk.identity.installation import Installation
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    Installation(Path(SETTINGS["state_dir"])).update(lambda _: {"telemetry_enabled": False})
    """
    Program(source, tmp_path, state_dir=state_dir).finish(code=-9)

    later = Installation(state_dir)
    assert later.read() == State(**YES)
    assert later.update(setting(notice_version_shown="2")) == State(notice_version_shown="2", **YES)
    assert later.problem == ""


def test_a_planted_link_is_replaced_and_not_followed(installation, path, tmp_path):
    """A symbolic link in place of the file is replaced by a file; what it points to is not written to."""
    target = tmp_path / "precious"
    target.write_text('{"mine": 1}')
    path.symlink_to(target)

    installation.update(setting(**NO))

    assert target.read_text() == '{"mine": 1}'
    assert not path.is_symlink()
    assert json.loads(path.read_text())["telemetry_enabled"] is False


# -- what the file may hold


def test_newer_schema_is_read_and_not_rewritten(installation, path):
    """A file of a newer version counts, is not touched, and a change holds for this process, which says why."""
    put(path, schema=2, install_id=ID, **YES)
    before = path.read_bytes()
    assert installation.read() == State(install_id=ID, **YES)

    assert installation.update(setting(**NO)).telemetry_enabled is False

    assert path.read_bytes() == before
    assert "newer version" in installation.problem
    assert not installation.is_kept("telemetry_enabled")
    assert installation.read() == State(install_id=ID, **NO)
    assert Installation(path.parent).read().telemetry_enabled is True


CORRUPT = {
    "empty": b"",
    "torn": b'{"telemetry_enabled": true',
    "a list": b'[{"telemetry_enabled": true}]',
    "null": b"null",
    "not UTF-8": b'{"telemetry_enabled": true, "x": "\xff\xfe"}',
    "zeros after a power cut": bytes(4096),
    "too deep": b'{"telemetry_enabled": true, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "too large": b'{"telemetry_enabled": true, "x": "' + b"x" * 1024 * 1024 + b'"}',
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_file_counts_as_no_and_is_kept_aside(installation, path, content):
    """A corrupt file reads as a no with no identity; the next write keeps its bytes aside and begins anew."""
    path.write_bytes(content)

    assert installation.read() == State(telemetry_enabled=False)
    assert names(path.parent) == [FILE_NAME]

    assert installation.update(setting(install_id=ID)) == State(install_id=ID, telemetry_enabled=False)
    (aside,) = path.parent.glob(f"{FILE_NAME}.corrupt-*")
    assert aside.read_bytes() == content
    assert json.loads(path.read_text()) == {"schema": 1, "telemetry_enabled": False, "install_id": ID}
    assert installation.problem == ""


def test_after_a_corrupt_file_the_user_may_decide_again(installation, path):
    """Consent counts as no until somebody decides again, and then that decision holds."""
    path.write_bytes(b"\0")

    assert installation.update(setting(**YES)) == State(**YES)
    assert Installation(path.parent).read() == State(**YES)


def test_a_directory_in_place_of_the_file_is_kept_aside(installation, path):
    """A directory where the file should be counts as corrupt."""
    (path / "inside").mkdir(parents=True)

    assert installation.read() == State(telemetry_enabled=False)
    assert installation.update(setting(**YES)) == State(**YES)
    assert len(list(path.parent.glob(f"{FILE_NAME}.corrupt-*/inside"))) == 1


def test_a_passing_obstacle_neither_costs_the_file_nor_stays(installation, path, monkeypatch):
    """While no file descriptor is free the file reads as a no and is not set aside; afterwards it counts again."""
    put(path, install_id=ID, **YES)
    times_of_change_are_old(monkeypatch)
    opened = os.open

    def no_descriptor(name: object, *args: object, **options: object):
        if str(name).endswith(FILE_NAME):
            raise OSError(errno.EMFILE, "too many open files")
        return opened(name, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        assert installation.read() == State(is_readable=False)
        installation.update(setting(notice_version_shown="2"))
        assert "cannot be written" in installation.problem

    assert installation.read() == State(install_id=ID, notice_version_shown="2", **YES)
    assert Installation(path.parent).read() == State(install_id=ID, **YES)
    assert not list(path.parent.glob("*corrupt*"))


TEXT_KEYS = [name for name, kind in get_type_hints(State).items() if str in get_args(kind)]


@pytest.mark.parametrize("key", TEXT_KEYS)
@pytest.mark.parametrize("wrong", [True, 0, 1.5, [], {}, "\ud83d"], ids=repr)
def test_wrong_type_of_a_text_counts_as_missing(installation, path, key, wrong):
    """A text key of another type, or with half a character, counts as missing; the other keys still count.

    Not the catalogue's version: missing means a consent from before catalogues, so one of no known form is empty.
    """
    put(path, **{**NO, "notice_version_shown": "1", key: wrong})

    state = installation.read()

    assert getattr(state, key) == ("" if key == "consent_catalog_version" else None)
    assert state.telemetry_enabled is False


@pytest.mark.parametrize("wrong", ["true", "yes", 1, 0, [True], {"yes": True}, 1.0, ""], ids=repr)
def test_only_true_is_consent(installation, path, wrong):
    """Nothing but JSON's true counts as consent."""
    put(path, telemetry_enabled=wrong)

    assert installation.read().telemetry_enabled is None


@pytest.mark.parametrize(
    ("phase", "read"),
    [
        ("0", 0.0),
        ("43200", 43200.0),
        ("86399.999", 86399.999),
        ("86400", None),
        ("-1", None),
        ("1e999", None),  # infinity: the heartbeat would never be due
        ("NaN", None),  # a thread cannot sleep for NaN seconds
        ("1" + "0" * 400, None),  # an integer no float can hold
        ("true", None),
        ('"12"', None),
    ],
)
def test_phase_must_be_a_moment_of_a_day(installation, path, phase, read):
    """A heartbeat phase that is no second of a day counts as missing."""
    path.write_text(f'{{"heartbeat_phase_s": {phase}}}')

    assert installation.read().heartbeat_phase_s == read


@pytest.mark.parametrize(
    "wrong", ["", "x", ID.upper(), ID + " ", f"{{{ID}}}", ID.replace("-", ""), "../../etc/passwd"], ids=repr
)
def test_install_id_must_be_a_uuid(installation, path, wrong):
    """A text that is not a UUID as we write it is no identity."""
    put(path, install_id=wrong, first_seen_at="2026-05-28T20:26:40Z")

    assert installation.read() == State(first_seen_at="2026-05-28T20:26:40Z")


def test_byte_order_mark_is_accepted(installation, path):
    """A file saved by an editor that writes a byte order mark counts."""
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"install_id": ID, **YES}).encode())

    assert installation.read() == State(install_id=ID, **YES)


# -- the read cache


def test_an_unchanged_file_is_not_read_again(installation, path, monkeypatch):
    """While the file stays the same a read opens nothing."""
    put(path, **YES)
    times_of_change_are_old(monkeypatch)
    installation.read()
    monkeypatch.setattr(os, "open", full_disk)

    for _ in range(10):
        assert installation.read() == State(**YES)


def times_of_change_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the clock an hour ahead, because nobody can set a file's time of change back."""
    now = module.time.time_ns
    monkeypatch.setattr(module.time, "time_ns", lambda: now() + 3600 * 10**9)


@pytest.mark.parametrize("kept", ["nothing", "time", "second"])
@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_every_change_is_noticed_at_once(installation, path, kept, how):
    """A hundred edits of one size in a row are each seen by the next read, also with the file's time set back."""
    for n in range(100):
        enabled = n % 2 == 0
        target = path if how == "in place" else path.with_name("new")
        target.write_text(f'{{"telemetry_enabled": {"true " if enabled else "false"}}}')
        if kept != "nothing":
            stamp = OLD_NS if kept == "time" else OLD_NS // 10**9 * 10**9
            os.utime(target, ns=(stamp, stamp))
        if how == "replaced":
            target.replace(path)

        assert installation.read().telemetry_enabled is enabled, n


@pytest.mark.parametrize("modified", ["now", "long ago"])
def test_a_change_is_noticed_where_times_count_in_seconds(installation, path, monkeypatch, modified):
    """On a file system that keeps whole seconds, two edits of one size within a second are both noticed.

    Also where the editor sets the time of modification back to what it was.
    """
    stat = os.stat

    def coarse(target: object, **options: object) -> os.stat_result:
        found = stat(target, **options)
        second = found.st_mtime_ns // 10**9 * 10**9
        changed = {"st_mtime_ns": second if modified == "now" else OLD_NS, "st_ctime_ns": second}
        return os.stat_result(found[:10], changed)

    monkeypatch.setattr(os, "stat", coarse)
    for enabled in (True, False, True, False):
        path.write_text(f'{{"telemetry_enabled": {"true " if enabled else "false"}}}')

        assert installation.read().telemetry_enabled is enabled


def test_a_full_stack_says_nothing_about_the_file(installation, path):
    """Near the recursion limit the file is unreadable, not corrupt: it declines nothing and is not set aside."""
    put(path, **YES)
    seen: list[State] = []

    def deep() -> None:
        with contextlib.suppress(RecursionError):
            deep()
        if len(seen) < 100:
            with contextlib.suppress(RecursionError):
                os.utime(path)
                seen.append(installation.read())
                seen.append(installation.update(lambda _: {"notice_version_shown": "2"}, hold_here=False))

    deep()

    assert {state.telemetry_enabled for state in seen if state.is_readable} == {True}
    assert not all(state.is_readable for state in seen)
    assert installation.read().telemetry_enabled is True
    assert list(path.parent.glob("*corrupt*")) == []


def test_a_removed_file_and_a_new_one_are_noticed(installation, path):
    """A file that went, and one that came, count from the next read on."""
    put(path, **YES)
    installation.read()
    path.unlink()
    assert installation.read() == State()
    put(path, **NO)
    assert installation.read() == State(**NO)


# -- where nothing can be written


@pytest.fixture
def blocked(tmp_path: Path) -> Installation:
    """An installation whose directory cannot be made, also not by root."""
    (tmp_path / "file").write_text("")
    return Installation(tmp_path / "file" / "state")


def test_unwritable_directory_holds_changes_for_this_process(blocked):
    """Where nothing can be written a change holds for this object, and `problem` says why."""
    assert blocked.update(setting(**YES)) == State(**YES)

    assert blocked.read() == State(**YES)
    assert "cannot be created" in blocked.problem
    assert not blocked.is_kept("telemetry_enabled")
    assert blocked.check_writable() is False
    assert Installation(blocked.directory).read() == State()


def test_directory_that_may_not_be_written_is_said_so(installation, path, monkeypatch):
    """A directory without the right to write is reported before anything is tried."""
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert installation.check_writable() is False
    assert installation.problem == "the state directory is not writable"


def test_no_home_directory(tmp_path):
    """Without a directory everything holds for this process only, and nothing raises."""
    homeless = Installation(None)

    assert homeless.update(setting(**YES)) == State(**YES)
    assert homeless.update(setting(install_id=ID), hold_here=False) == State(**YES)
    assert (homeless.exists, homeless.check_writable(), homeless.is_kept("telemetry_enabled")) == (False, False, False)
    assert "no home" in homeless.problem


def test_full_disk_keeps_the_old_file_and_the_change_in_memory(installation, state_dir, monkeypatch):
    """A write that fails leaves the file as it was; the change holds here, and the next one writes again."""
    installation.update(setting(install_id=ID, **YES))
    before = (state_dir / FILE_NAME).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        assert installation.update(setting(**NO)).telemetry_enabled is False
        assert "cannot be written" in installation.problem
    assert (state_dir / FILE_NAME).read_bytes() == before

    installation.update(setting(**NO))

    assert installation.problem == ""
    assert Installation(state_dir).read() == State(install_id=ID, **NO)


def test_a_change_may_ask_not_to_hold_here_only(installation, state_dir, monkeypatch):
    """With hold_here=False a change that could not be written does not count at all."""
    monkeypatch.setattr(os, "fsync", full_disk)

    assert installation.update(setting(install_id=ID), hold_here=False) == State()
    assert installation.read() == State()


@pytest.mark.parametrize(("first", "then"), [(YES, NO), (NO, YES)], ids=["yes then no", "no then yes"])
def test_a_decision_takes_back_one_that_could_not_be_written(installation, state_dir, monkeypatch, first, then):
    """A decision kept in memory yields to the next one, also when the file says what that one asks for already."""
    installation.update(missing(**then))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        assert installation.update(missing(**first)).telemetry_enabled is first["telemetry_enabled"]

    assert installation.update(missing(**then)) == State(**then)
    assert installation.read() == State(**then)
    assert installation.is_kept("telemetry_enabled")


def test_a_no_on_disk_ends_a_yes_in_memory(installation, state_dir, monkeypatch):
    """A yes that could not be written ends when somebody else decides on disk; a no in memory stays."""
    installation.update(setting(notice_version_shown="2"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        installation.update(setting(**YES))
    assert installation.read().telemetry_enabled is True

    Installation(state_dir).update(setting(**NO))

    assert installation.read() == State(notice_version_shown="2", **NO)


def test_a_yes_on_disk_does_not_end_a_no_in_memory(installation, state_dir, monkeypatch):
    """Who said no in this process is not overruled by a file it could not write to."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        installation.update(setting(**NO))

    Installation(state_dir).update(setting(**YES))

    assert installation.read().telemetry_enabled is False


# -- an editor takes no lock


def by_hand(path: Path, *, in_place: bool = False, **changes: object) -> None:
    """What an editor does: read, change, write, without a lock."""
    text = json.dumps(json.loads(path.read_text()) | changes)
    target = path if in_place else path.with_name("edited")
    target.write_text(text)
    if not in_place:
        target.replace(path)


def when_synced(monkeypatch: pytest.MonkeyPatch, *edits: Callable[[], object]) -> None:
    """Have each edit happen once, when a new content is written and not yet in place."""
    real, left = os.fsync, list(edits)

    def fsync(descriptor: int) -> None:
        real(descriptor)
        if left and stat.S_ISREG(os.fstat(descriptor).st_mode):
            left.pop(0)()

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("in_place", [False, True], ids=["replaced", "in place"])
def test_a_no_by_hand_is_not_written_over(installation, path, monkeypatch, in_place):
    """What is not about consent is written beside a no that came while it was being written."""
    installation.update(setting(install_id=ID, **YES))
    when_synced(monkeypatch, lambda: by_hand(path, in_place=in_place, telemetry_enabled=False, mine=1))

    state = installation.update(setting(notice_version_shown="2"))

    assert (state.telemetry_enabled, state.notice_version_shown) == (False, "2")
    assert json.loads(path.read_text())["telemetry_enabled"] is False
    assert json.loads(path.read_text())["mine"] == 1
    assert installation.problem == ""


def test_an_edit_of_the_same_moment_and_size_is_seen(installation, path, monkeypatch):
    """A file that has the same size and times as the one that was read is still compared."""
    installation.update(setting(install_id=ID, telemetry_enabled=True))
    path.write_text(path.read_text().replace("true", "true "))
    before = path.stat()

    def edit() -> None:
        path.write_text(path.read_text().replace("true ", "false"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    when_synced(monkeypatch, edit)

    assert installation.update(setting(notice_version_shown="2")).telemetry_enabled is False


@pytest.mark.parametrize("before", [{}, YES, {"telemetry_enabled": None}], ids=["undecided", "yes", "null"])
def test_a_yes_is_not_written_over_a_later_no(installation, path, monkeypatch, before):
    """A yes that was decided on an older content yields to the no, on disk and in this process."""
    put(path, **before)
    when_synced(monkeypatch, lambda: by_hand(path, telemetry_enabled=False))

    state = installation.update(setting(telemetry_enabled=True, consent_decided_at="x", notice_version_shown="2"))

    assert (state.telemetry_enabled, state.notice_version_shown) == (False, "2")
    assert installation.read().telemetry_enabled is Installation(path.parent).read().telemetry_enabled is False
    assert state.consent_decided_at == before.get("consent_decided_at")


def test_a_yes_replaces_an_earlier_no(installation, path, monkeypatch):
    """Whoever says yes after a no, and after another edit in the middle, has said yes."""
    put(path, **NO)
    when_synced(monkeypatch, lambda: by_hand(path, mine=1))

    assert installation.update(setting(**YES)) == State(**YES)
    assert json.loads(path.read_text())["mine"] == 1


def test_an_editor_who_never_rests_is_not_waited_for(installation, path, monkeypatch):
    """After some tries the change holds for this process only, without its yes if there is a no by now."""
    put(path)
    edits = [lambda n=n: by_hand(path, telemetry_enabled=False, mine=n) for n in range(9)]
    when_synced(monkeypatch, *edits)

    state = installation.update(setting(notice_version_shown="2", **YES))

    assert installation.problem == "installation.json is being changed by another program"
    assert (state.telemetry_enabled, state.notice_version_shown) == (False, "2")
    assert not installation.is_kept("notice_version_shown")
    assert "notice_version_shown" not in json.loads(path.read_text())
    assert names(path.parent) == [FILE_NAME, "installation.lock"]


def test_a_no_is_written_whoever_else_writes(installation, path, monkeypatch):
    """A withdrawal has the last word over an editor who never rests."""
    put(path, **YES)
    when_synced(monkeypatch, *(lambda n=n: by_hand(path, mine=n) for n in range(4)))

    installation.update(setting(**NO), must_lock=False)

    assert Installation(path.parent).read() == State(**NO)
    assert installation.problem == ""


def test_a_file_mended_by_hand_is_not_set_aside(installation, path, monkeypatch):
    """A corrupt file that somebody mends while it is about to be set aside is read again."""
    path.write_bytes(b"{")
    real = module.parse

    def parse(data: bytes) -> dict[str, object]:
        if data == b"{":
            put(path, install_id=ID)
        return real(data)

    monkeypatch.setattr(module, "parse", parse)

    assert installation.update(setting(notice_version_shown="2")) == State(install_id=ID, notice_version_shown="2")
    assert not list(path.parent.glob("*corrupt*"))


HAND = """
path = Path(SETTINGS["state_dir"]) / "installation.json"
say("ready")
for n, _ in enumerate(sys.stdin):
    text = json.dumps(json.loads(path.read_text()) | {"telemetry_enabled": False, "edit": n})
    new = path.with_name("by hand") if n % 2 else path
    new.write_text(text)
    if n % 2:
        os.replace(new, path)
    say(n)
"""


def test_no_no_by_hand_is_lost(tmp_path, path, installation, monkeypatch):
    """Three hundred noes of another process, each between our reading and our writing, are there afterwards.

    Whether we were about to write a yes or something else, and whether the editor replaces the file or writes into it.
    """
    editor = Program(HAND, tmp_path, state_dir=path.parent)
    editor.wait_for("ready")
    lost = []

    def edited(n: int) -> None:
        editor.process.stdin.write("\n")
        editor.process.stdin.flush()
        editor.wait_for(str(n))

    for n in range(300):
        put(path, **({} if n % 3 else YES), install_id=ID)
        change = {"notice_version_shown": str(n)} | (YES if n % 3 else {})
        with monkeypatch.context() as patch:
            when_synced(patch, partial(edited, n))
            installation.update(setting(**change))
        found = json.loads(path.read_text())
        if (found["telemetry_enabled"], found["edit"], found["notice_version_shown"]) != (False, n, str(n)):
            lost.append(n)
    editor.finish()

    assert lost == []


# -- the lock


@pytest.fixture
def held(path: Path, monkeypatch: pytest.MonkeyPatch):
    """The lock is held by somebody else, and the wait for it is short."""
    monkeypatch.setattr(module, "LOCK_WAIT", 0.05)
    with file_lock(path.parent / "installation.lock", 1):
        yield


@pytest.mark.usefixtures("held")
def test_a_held_lock_refuses_a_change_in_time(installation, path):
    """A change waits for the lock no longer than its bound, then holds for this process."""
    assert installation.update(setting(**YES)) == State(**YES)

    assert installation.problem == "another process holds installation.lock"
    assert not path.exists()


@pytest.mark.usefixtures("held")
def test_a_withdrawal_needs_no_lock(installation, path):
    """With must_lock=False a no is written although somebody holds the lock."""
    installation.update(setting(**NO), must_lock=False)

    assert Installation(path.parent).read() == State(**NO)


def test_a_withdrawal_without_the_lock_outlasts_a_stale_write(installation, path, monkeypatch):
    """The lock's owner may write its stale yes over a no; the process that said no keeps to it and says why."""
    put(path, **YES)
    stale = path.read_bytes()
    monkeypatch.setattr(module, "LOCK_WAIT", 0.05)
    with file_lock(path.parent / "installation.lock", 1):
        installation.update(missing(**NO), must_lock=False)
        path.write_bytes(stale)

    assert installation.read() == State(**NO)
    assert not installation.is_kept("telemetry_enabled")
    assert "without its lock" in installation.problem
    assert installation.update(missing(**NO)) == State(**NO)
    assert Installation(path.parent).read() == State(**NO)
    assert installation.is_kept("telemetry_enabled")


def test_a_dead_owner_s_lock_is_free(tmp_path, state_dir):
    """The lock of a process that was killed is free at once."""
    source = """
    from telemetry_sdk.host.files import file_lock, prepare_directory
    directory = Path(SETTINGS["state_dir"])
    prepare_directory(directory)
    with file_lock(directory / "installation.lock", 1):
        say("held")
        time.sleep(600)
    """
    program = Program(source, tmp_path, state_dir=state_dir)
    program.wait_for("held")
    lock = state_dir / "installation.lock"
    with pytest.raises(StateError), file_lock(lock, 0):
        pass

    program.kill()

    with file_lock(lock, 0):
        pass


def test_a_file_system_without_locks_is_said_so(installation, state_dir, monkeypatch):
    """Where there are no locks a change holds for this process, and a withdrawal is written all the same."""
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert installation.update(setting(**YES)) == State(**YES)
    assert "cannot lock" in installation.problem
    assert not installation.exists

    installation.update(setting(**NO), must_lock=False)
    assert Installation(state_dir).read() == State(**NO)


# -- where it is


def test_directory_from_argument_then_environment_then_platform(tmp_path, monkeypatch):
    """The argument wins over <APP>_TELEMETRY_DIR, and that over the platform's directory; all are absolute."""
    monkeypatch.chdir(tmp_path)
    environ = {"ACME_TELEMETRY_DIR": " from-environment "}

    assert locate("acme", "ACME", environ, "given") == tmp_path / "given"
    assert locate("acme", "ACME", environ, Path("given")) == tmp_path / "given"
    assert locate("acme", "ACME", environ, None) == tmp_path / "from-environment"
    assert locate("acme", "ACME", {"ACME_TELEMETRY_DIR": "  "}, None) == tmp_path / "home/data/acme/telemetry"
    assert not (tmp_path / "given").exists()


@pytest.mark.parametrize(
    "wrong", ["", "  ", "a\0b", b"bytes", 7, object()], ids=lambda it: repr(it).partition(" at 0x")[0]
)
def test_impossible_argument_is_a_config_error(wrong):
    """A state_dir that is no path is the integrator's mistake."""
    with pytest.raises(ConfigError, match="state_dir"):
        locate("acme", "ACME", {}, wrong)


@pytest.mark.parametrize("home", ["relative", ""])
def test_a_relative_default_is_refused(monkeypatch, home):
    """Where the platform's directory comes out relative (an older platformdirs) there is none: state follows no cwd."""
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_data_dir", lambda *_, **__: home + "/data" if home else "~/.local/share")

    assert locate("acme", "ACME", {}, None) is None


def test_a_relative_xdg_directory_is_not_followed(monkeypatch):
    """XDG_DATA_HOME must be absolute; a relative one never makes state follow the working directory."""
    monkeypatch.setenv("XDG_DATA_HOME", "data")

    found = locate("acme", "ACME", {}, None)

    assert found is None or found.is_absolute()


def test_no_home_and_no_account_is_no_directory(tmp_path):
    """A process without HOME and without an entry in the password file has no directory, and nothing raises."""
    source = """
    import pwd
    from telemetry_sdk.identity.directory import locate
    def unknown(_):
        raise KeyError("uid not found")
    pwd.getpwuid = unknown
    os.environ.pop("HOME")
    say(locate("acme", "ACME", {}, None))
    """
    assert Program(source, tmp_path).finish() == "None\n"


# -- a no always wins, and a yes counts only where nobody else could have written it


@pytest.mark.parametrize("key", ["telemetry_enabled", "base_enabled"])
@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ("false, true", False),
        ("true, false", False),
        ("true, false, true", False),
        ("true, null", None),
        ('"yes", true', None),
        ("true, true", True),
    ],
)
def test_of_two_decisions_in_one_file_the_no_wins(installation, path, key, said, counts):
    """A key that stands twice, also written differently, is a yes only where each of them is."""
    first, *others = said.split(", ")
    escaped = key.replace("e", "\\u0065")
    rest = "".join(f', "{escaped}": {value}' for value in others)
    path.write_text(f'{{"{key}": {first}, "schema": 1{rest}}}')

    assert getattr(installation.read(), key) is counts

    installation.update(setting(notice_version_shown="1"))
    assert json.loads(path.read_text()).get(key) is counts


def strangers(path: Path) -> None:
    os.chown(path, 12345, 12345)


def open_to(bits: int) -> Callable[[Path], None]:
    return lambda place: place.chmod(stat.S_IMODE(place.stat().st_mode) | bits)


@pytest.mark.parametrize(
    ("which", "change", "why"),
    [
        ("file", open_to(0o002), "others may write to installation.json"),
        ("file", open_to(0o020), "others may write to installation.json"),
        ("directory", open_to(0o002), "others may write to the state directory"),
        ("directory", open_to(0o020), "others may write to the state directory"),
        pytest.param("file", strangers, "installation.json belongs to another user", marks=AS_ROOT),
        pytest.param("directory", strangers, "the state directory belongs to another user", marks=AS_ROOT),
    ],
)
def test_a_yes_that_somebody_else_may_have_written_is_not_believed(installation, path, which, change, why):
    """Modes and owners of file and directory are looked at; all else in the file is read, and a no counts always."""
    put(path, install_id=ID, **YES)
    change(path if which == "file" else path.parent)

    state = installation.read()

    assert (state.telemetry_enabled, state.doubt, state.install_id) == (None, why, ID)

    put(path, install_id=ID, **NO)
    assert (installation.read().telemetry_enabled, installation.read().doubt) == (False, "")


@pytest.mark.parametrize("which", ["file", "directory"])
def test_storing_a_yes_tightens_what_is_ours(installation, path, which):
    """A new yes counts at once, and in another process: nobody else may write there any more."""
    put(path, install_id=ID, **YES)
    (path if which == "file" else path.parent).chmod(0o777)

    assert installation.update(setting(**YES)).telemetry_enabled is True
    assert (installation.is_kept("telemetry_enabled"), installation.problem) == (True, "")
    assert Installation(path.parent).read().telemetry_enabled is True
    assert [place.stat().st_mode & 0o022 for place in (path, path.parent)] == [0, 0]


@AS_ROOT
def test_in_a_directory_of_somebody_else_a_yes_holds_for_this_process(installation, path):
    """It is written, and not believed by the next process; this one says why."""
    os.chown(path.parent, 12345, 12345)

    assert installation.update(setting(**YES)).telemetry_enabled is True
    assert not installation.is_kept("telemetry_enabled")
    assert installation.problem == "a yes is not kept: installation.json belongs to another user"
    assert Installation(path.parent).read().telemetry_enabled is None

    assert installation.update(setting(**NO)).telemetry_enabled is False
    assert Installation(path.parent).read().telemetry_enabled is False


@pytest.mark.parametrize("answer", ["silent", errno.EPERM, errno.ENOTSUP])
def test_where_the_file_system_keeps_no_modes_ownership_decides(installation, path, monkeypatch, answer):
    """Such a file system ignores a change of modes, or refuses it to the owner."""
    put(path, **YES)
    path.chmod(0o666)

    def no_modes(*_: object) -> None:
        if answer != "silent":
            raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "fchmod", no_modes)

    assert installation.read().telemetry_enabled is True


def test_the_look_at_modes_leaves_them_as_they_were(installation, path):
    """Whether modes are kept is tried out, and undone."""
    put(path, **YES)
    path.chmod(0o646)

    installation.read()

    assert stat.S_IMODE(path.stat().st_mode) == 0o646
