"""A file of OTLP JSON lines, written by the file sink and by the receiver: an acknowledged request is a whole line.

Both append by the same rules, each with code of its own; so each test is put to both.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from process_tools import GUARD, Program

from telemetry_sdk.receiver.server import Intake
from telemetry_sdk.sender.endpoint import Sink
from telemetry_sdk.sender.file import FileSender

if sys.platform == "win32":
    pytest.skip("links, FIFOs and kills as POSIX has them", allow_module_level=True)

Append = Callable[[Path, int], bool]


def request(number: int, padding: str = "") -> dict[str, object]:
    record = {"eventName": "a.b", "attributes": [{"key": "n", "value": {"intValue": str(number)}}], "x": padding}
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}


def by_sink(path: Path, number: int, padding: str = "") -> bool:
    body = json.dumps(request(number, padding), separators=(",", ":")).encode()
    return FileSender(Sink(f"file://{quote(str(path))}", "file")).send(body, lambda: None, 1).status == 200


def by_receiver(path: Path, number: int, padding: str = "") -> bool:
    try:
        Intake(path, None).store(request(number, padding))
        return True
    except OSError:
        return False


@pytest.fixture(params=[by_sink, by_receiver])
def append(request: pytest.FixtureRequest) -> Append:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.jsonl"


def numbers_in(*paths: Path) -> list[int]:
    """Return the number of each whole line; what is torn, or empty, is passed over."""
    return [number for path in paths for number in _numbers(path.read_bytes())]


def _numbers(data: bytes) -> Iterator[int]:
    for line in data.split(b"\n"):
        try:
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        except (ValueError, KeyError):
            continue
        yield int(record["attributes"][0]["value"]["intValue"])


@pytest.mark.parametrize(
    "kind", ["link", "dangling link", "hard link", "FIFO", "socket", "directory", "device", "stdout"]
)
def test_only_a_regular_file_with_one_name_is_written(tmp_path: Path, path: Path, append: Append, kind: str) -> None:
    """What was planted is neither followed, nor written, nor waited for, nor changed in its modes."""
    other = tmp_path / "other"
    if kind != "dangling link":
        other.write_text("theirs")
    listening = socket.socket(socket.AF_UNIX)
    plant = {
        "link": lambda: path.symlink_to(other),
        "dangling link": lambda: path.symlink_to(other),
        "hard link": lambda: path.hardlink_to(other),
        "FIFO": lambda: os.mkfifo(path),
        "socket": lambda: listening.bind(os.path.relpath(path)),
        "directory": path.mkdir,
        "device": lambda: None,
        "stdout": lambda: None,
    }
    plant[kind]()
    target = {"device": Path("/dev/null"), "stdout": Path("/dev/stdout")}.get(kind, path)

    assert not append(target, 1)

    assert other.read_text() == "theirs" if other.exists() else kind == "dangling link"
    listening.close()


@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO", "device"])
def test_it_says_what_is_wrong_with_the_file(tmp_path: Path, path: Path, kind: str) -> None:
    """Why nothing is written is said, by a FIFO and a device too before a byte of theirs is touched."""
    (tmp_path / "other").touch()
    {
        "link": lambda: path.symlink_to(tmp_path / "other"),
        "hard link": lambda: path.hardlink_to(tmp_path / "other"),
        "FIFO": lambda: os.mkfifo(path),
        "device": lambda: None,
    }[kind]()
    target = Path("/dev/null") if kind == "device" else path

    answer = FileSender(Sink(f"file://{quote(str(target))}", "file")).send(b"{}", lambda: None, 1)
    with pytest.raises(OSError, match="not a regular file with one name") as caught:
        Intake(target, None)

    assert answer.error == "not a regular file with one name"
    assert caught.value.filename == str(target)


@pytest.mark.parametrize("torn", [b'{"n":', b'{"n":1}', b"\0\0\0", b"x" * 5000])
def test_a_torn_line_is_closed_off(path: Path, append: Append, torn: bytes) -> None:
    """A line that a kill or a full disk left without its end stays as it is, and does not spoil the next one."""
    append(path, 1)
    with path.open("ab") as file:
        file.write(torn)

    assert append(path, 2)
    assert append(path, 3)

    lines = path.read_bytes().split(b"\n")
    assert (lines[1], lines[-1], len(lines)) == (torn, b"", 5)
    assert numbers_in(path) == [1, 2, 3]


def test_a_line_torn_between_look_and_write_joins_no_other(
    path: Path, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another writer is killed right before our write, ours is written again, on a line of its own."""
    append(path, 1)
    write = os.write
    torn = [b'{"n":']

    def crowded(descriptor: int, data: bytes) -> int:
        if torn:
            with path.open("ab") as file:
                file.write(torn.pop())
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", crowded)

    assert append(path, 2)
    assert numbers_in(path) == [1, 2]


def test_what_broke_off_takes_nothing_of_others_with_it(
    path: Path, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write the disk has no room for is no acknowledgement; lines that others wrote behind it stay."""
    append(path, 1)
    write = os.write

    def crowded(descriptor: int, data: bytes) -> int:
        written = write(descriptor, data[:3])
        monkeypatch.undo()
        assert append(path, 2)
        return written

    monkeypatch.setattr(os, "write", crowded)

    assert not append(path, 9)
    assert append(path, 3)
    assert numbers_in(path) == [1, 2, 3]


def test_a_disk_without_room_acknowledges_nothing(path: Path, append: Append, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the write leaves the file as it was."""
    append(path, 1)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert not append(path, 2)

    assert numbers_in(path) == [1]


@pytest.mark.parametrize("how", ["renamed", "deleted", "emptied"])
def test_a_file_that_is_rotated_meanwhile(tmp_path: Path, path: Path, append: Append, how: str) -> None:
    """The next line goes into a new file of the name, so none is acknowledged that nobody can find."""
    intake = Intake(path, None) if append is by_receiver else None
    store = intake.store if intake else lambda it: append(path, 2)
    assert append(path, 1)
    assert store(request(1))
    if how == "renamed":
        path.rename(tmp_path / "telemetry.jsonl.1")
    elif how == "deleted":
        path.unlink()
    else:
        os.truncate(path, 0)

    assert store(request(2))

    assert numbers_in(path) == [2]
    assert path.stat().st_mode & 0o777 == 0o600


WRITER = """
import itertools, resource
from urllib.parse import quote
from telemetry_sdk.receiver.server import Intake
from telemetry_sdk.sender.endpoint import Sink
from telemetry_sdk.sender.file import FileSender

""" + "\n".join(map(inspect.getsource, (request, by_sink, by_receiver)))
ENDLESS = """
for n in itertools.count(ARGUMENT["first"]):
    if globals()[ARGUMENT["by"]](Path.cwd() / "telemetry.jsonl", n, "x" * 300_000):
        say(n)
"""
CRAMPED = """
append, path = globals()[ARGUMENT["by"]], Path.cwd() / "telemetry.jsonl"
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
done = [n for n in range(10) if append(path, n, "x" * 300_000)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
say(json.dumps(done + [n for n in range(10, 13) if append(path, n)]))
"""


def test_two_writers_that_are_killed_lose_nothing_acknowledged(path: Path) -> None:
    """A file sink and a receiver append to one file and are killed in the middle: each acknowledged line is whole."""
    acknowledged: set[int] = set()
    for turn in range(6):
        pair = [
            Program(WRITER + ENDLESS, path.parent, argument={"by": by, "first": 100_000 * (2 * turn + place)})
            for place, by in enumerate(("by_sink", "by_receiver"))
        ]
        for program in pair:
            acknowledged |= {int(program.line()) for _ in range(5 + 7 * turn)}
        for program in pair:
            program.process.kill()
        for program in pair:
            acknowledged |= set(map(int, program.process.communicate(timeout=GUARD)[0].split()))
    found = numbers_in(path)

    assert acknowledged <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("by", ["by_sink", "by_receiver"])
def test_a_disk_that_is_full_for_a_while(path: Path, by: str) -> None:
    """Where the system takes part of a line and then none, what was acknowledged before and after is whole."""
    done = json.loads(Program(WRITER + CRAMPED, path.parent, argument={"by": by}).finish())

    assert done == [0, 1, 2, 10, 11, 12]
    assert numbers_in(path) == done
