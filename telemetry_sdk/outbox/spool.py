"""The way into the outbox for events: one append to a file, without SQLite in the host's thread.

Files, beside the outbox: ``spool.lock`` (never renamed), ``spool``, and segments ``spool.<time>-<uuid>``, which a
delivery cuts off by renaming the spool and then takes in. What keeps every acknowledged line, through kills, forks,
full disks and several takers (`docs/decisions/0006-spool.md` has the failure behind each rule):

- a line begins and ends with a newline and carries a checksum, so that a torn one spoils no other;
- appends and cuts exclude each other by an exclusive lock on ``spool.lock``, given back explicitly;
- no descriptor outlives a call, so there is none to be inherited, closed by a daemon, or to point at another file;
- nothing is decided by time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from binascii import crc32
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from telemetry_sdk.host.background import FORK_WAIT, new_lock, politely
from telemetry_sdk.host.files import lock_open_file, locks, make_file, prepare_directory
from telemetry_sdk.host.guard import ignoring, pass_on
from telemetry_sdk.identity.install_id import uuid_of
from telemetry_sdk.model import Layer, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from telemetry_sdk.model import Limits

_MOST: Final = 4 * 1024 * 1024
_LEAST_RECORD: Final = 400  # bytes
_MOST_REFUSED: Final = 1000
_LONGEST_WAIT: Final = 0.25  # of an append for another process
_TAKER_WAIT: Final = 0.05
_LEFT_ALONE: Final = 1.0  # after another process kept it for so long
_FIELDS: Final = 9  # before the body
_NAME_LENGTH: Final = len("spool.") + 20 + 1 + 36
_COMMON: Final = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_APPENDING: Final = os.O_WRONLY | os.O_APPEND | _COMMON
_TRYING: Final = locks.LOCK_EX | locks.LOCK_NB
_READING: Final = os.O_RDONLY | _COMMON
_LOCKING: Final = os.O_RDWR | _COMMON
_me: Final[Callable[[], int]] = getattr(os, "geteuid", lambda: -1)


class Segment(NamedTuple):
    """What one file held: its records, and how many lines are no record, because their writer was killed say."""

    name: str
    records: list[Record]
    torn: int


class Spool:
    """The spool in one directory, shared by all threads and processes of the app. None stands for no directory.

    Args:
        directory: Where it is.
        limits: The bounds of the outbox, of which it holds a part before it must be taken in: 4 MiB at most.

    `refused` holds what a signal handler handed over and could not be appended after all.
    """

    def __init__(self, directory: Path | None, limits: Limits) -> None:
        self._directory = directory
        self._path = os.fspath(directory / "spool") if directory else ""
        self._lock_path = f"{self._path}.lock"
        self._most = min(_MOST, limits.bytes // 4, limits.records * _LEAST_RECORD)
        self.refused: deque[Record] = deque(maxlen=_MOST_REFUSED)
        self._lock: Any = new_lock()
        self._interrupting: deque[Record] = deque()
        self._left_alone_until = 0.0
        self.is_full = False  # whether an append found it so, the newest time
        self._pid = os.getpid()
        self._is_held = False

    def append(self, record: Record) -> bool:
        """Store *record*; False when that cannot be done. At most a quarter of a second is waited.

        When it returns true the record survives a kill of this process. A signal handler that interrupted an append of
        its own thread gets true as well; its record is stored before that append returns.
        """
        if not self._path or time.monotonic() < self._left_alone_until:
            return False
        if self._pid != os.getpid():
            self.after_fork_in_child()
        lock = self._lock
        if lock._is_owned():  # a signal handler in the middle of a call of this very thread
            self._interrupting.append(record)
            return True
        # An interrupt finds each call of C either not begun or done; so nothing stands before the first of a `finally`.
        try:
            return bool(lock.acquire(timeout=_LONGEST_WAIT)) and self._write(record)
        finally:
            try:
                lock.release()
            except RuntimeError:
                pass  # it was not had
            finally:
                if self._interrupting:
                    self.catch_up()

    def catch_up(self) -> None:
        """Store what signal handlers handed over in the middle of a call."""
        while self._interrupting and not self._lock._is_owned():
            try:
                if not self._lock.acquire(timeout=_LONGEST_WAIT):
                    return
                self._store_interrupting()
            finally:
                try:  # noqa: SIM105 - see `append`
                    self._lock.release()
                except RuntimeError:
                    pass

    def _store_interrupting(self) -> None:
        # Under the lock, where handlers only hand over. What another handler raises in here leaves a record where it
        # is: it may be written twice, under one uid, but not lost.
        while self._interrupting:
            record = self._interrupting[0]
            if time.monotonic() < self._left_alone_until or not self._write(record):
                self.refused.append(record)
            self._interrupting.popleft()

    def _write(self, record: Record) -> bool:
        line, is_stored = _line_of(record), False
        if line is None:
            return False
        try:
            lock = self._open_lock()
            try:
                try:
                    if not self._lock_file(lock):
                        return False
                    spool = self._open_spool()
                    try:
                        if self._has_room(os.fstat(spool), len(line)):
                            # A short one is left as it is: the next line's newline ends it.
                            is_stored = os.write(spool, line) == len(line)
                    finally:
                        os.close(spool)
                finally:
                    locks.flock(lock, locks.LOCK_UN)
            finally:
                os.close(lock)
        except OSError as error:
            pass_on(error)
        return is_stored

    def _lock_file(self, lock: int) -> bool:
        try:
            locks.flock(lock, _TRYING)
        except BlockingIOError:
            if not lock_open_file(lock, _LONGEST_WAIT):
                self._left_alone_until = time.monotonic() + _LEFT_ALONE
                return False
        return True

    def _has_room(self, found: os.stat_result, length: int) -> bool:
        self.is_full = found.st_size + length > self._most
        return not self.is_full and found.st_nlink == 1 and self._is_ours(found)

    def _open_lock(self) -> int:
        try:
            return os.open(self._lock_path, _LOCKING)
        except FileNotFoundError:
            assert self._directory is not None  # noqa: S101 - there is a path
            prepare_directory(self._directory)
            make_file(self._directory / "spool.lock")
            return os.open(self._lock_path, _LOCKING)

    def _open_spool(self) -> int:
        try:
            return os.open(self._path, _APPENDING)
        except FileNotFoundError:
            make_file(self._directory / "spool")  # type: ignore[operator]
            return os.open(self._path, _APPENDING)

    def _is_ours(self, found: os.stat_result) -> bool:
        """Tell whether it is a regular file, made by this user or given to the directory's owner."""
        if not stat.S_ISREG(found.st_mode):
            return False
        return found.st_uid == _me() or not hasattr(os, "geteuid") or found.st_uid == os.stat(self._folder).st_uid

    @property
    def _folder(self) -> str:
        return os.path.dirname(self._path)

    def is_empty(self) -> bool:
        """Tell whether nothing lies here. Costs a ``stat`` and a look at the directory."""
        if not self._path:
            return True
        try:
            if os.stat(self._path).st_size:
                return False
        except OSError as error:
            pass_on(error)
        return not self.segments()

    def segments(self) -> list[str]:
        """Return the names of what was cut off, oldest first."""
        try:
            if not self._path:
                return []
            with os.scandir(self._folder) as entries:
                return sorted(
                    it.name for it in entries if _is_segment(it.name) and not it.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            pass_on(error)
            return []

    def cut(self) -> None:
        """Rename a spool that is not empty, so that it can be taken in.

        Left for later while somebody appends; and where what was cut off before cannot be taken in, for then it would
        grow without bound.
        """
        with ignoring(OSError):
            if not self._path or not _is_worth_cutting(os.lstat(self._path)):
                return
        with ignoring(OSError), self._alone(_TAKER_WAIT) as is_alone:
            found = os.lstat(self._path)
            size = sum(os.lstat(os.path.join(self._folder, name)).st_size for name in self.segments())
            if is_alone and _is_worth_cutting(found) and (not size or size + found.st_size <= self._most):
                name = f"{self._path}.{time.time_ns():020d}-{uuid_of(os.urandom(16), version=4)}"
                os.rename(self._path, name)

    @contextlib.contextmanager
    def _alone(self, wait_s: float) -> Iterator[bool]:
        """Exclude appends of all threads and processes; says whether that succeeded within *wait_s* seconds."""
        if self._pid != os.getpid():
            self.after_fork_in_child()
        mine = self._lock
        if mine._is_owned():
            yield False
            return
        try:
            if not mine.acquire(timeout=wait_s):
                yield False
                return
            lock = self._open_lock()
            try:
                try:
                    yield lock_open_file(lock, wait_s)
                finally:
                    locks.flock(lock, locks.LOCK_UN)
            finally:
                _close(lock)
        finally:
            try:
                mine.release()
            except RuntimeError:
                pass
            finally:
                if self._interrupting:
                    self.catch_up()

    def read(self, name: str) -> Segment | None:
        """Return what the segment *name* holds; None when it cannot be read now, or is none of ours and was deleted."""
        try:
            descriptor = os.open(os.path.join(self._folder, name), _READING)
        except OSError as error:
            pass_on(error)
            if error.errno == errno.ELOOP:  # a link that somebody planted
                self.remove([name])
            return None
        try:
            is_ours = self._is_ours(os.fstat(descriptor))
            data = _read_all(descriptor) if is_ours else b""
        except OSError as error:
            pass_on(error)
            return None
        finally:
            _close(descriptor)
        if not is_ours:
            self.remove([name])
            return None
        return _parsed(name, data)

    def waiting(self) -> list[Segment]:
        """Return what lies here, the spool itself last, without taking it in."""
        if not self._path:
            return []
        found = map(self._read_in_place, [*self.segments(), "spool"])
        return [segment for segment in found if segment is not None]

    def _read_in_place(self, name: str) -> Segment | None:
        try:
            descriptor = os.open(os.path.join(self._folder, name), _READING)
        except OSError as error:
            pass_on(error)
            return None
        try:
            return _parsed(name, _read_all(descriptor)) if self._is_ours(os.fstat(descriptor)) else None
        except OSError as error:
            pass_on(error)
            return None
        finally:
            _close(descriptor)

    def empty(self, wait_s: float) -> list[Segment] | None:
        """Delete all that lies here and return what it was; None when that cannot be done within *wait_s* seconds."""
        if not self._path or self.is_empty():
            return []
        try:
            with self._alone(wait_s) as is_alone:
                if not is_alone:
                    return None
                found = self.waiting()
                for name in (*self.segments(), "spool"):
                    self._delete(name)
        except OSError as error:
            pass_on(error)
            return None
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Delete these segments."""
        for name in names:
            with ignoring(OSError):
                self._delete(name)

    def _delete(self, name: str) -> None:
        path = os.path.join(self._folder, name)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            pass_on(error)
            if not os.path.isdir(path):  # that holds no record
                raise

    def before_fork(self) -> None:
        """Let no append be under way while the process forks; waits for that for a moment."""
        self._is_held = not self._lock._is_owned() and self._lock.acquire(timeout=FORK_WAIT)

    def after_fork_in_parent(self) -> None:
        """Undo `before_fork`."""
        if self._is_held:
            self._is_held = False
            self._lock.release()
        self.catch_up()  # what another hook of the fork tracked meanwhile

    def after_fork_in_child(self) -> None:
        """Start afresh: the parent's threads, and what it was in the middle of, are the parent's."""
        self._pid = os.getpid()
        self._lock = new_lock()
        self._interrupting = deque()


def _is_worth_cutting(found: os.stat_result) -> bool:
    """Tell whether there is something in it, or it has a second name, so that nobody appends to it any more."""
    return not stat.S_ISDIR(found.st_mode) and (found.st_size > 0 or found.st_nlink > 1)


def _is_segment(name: str) -> bool:
    return len(name) == _NAME_LENGTH and name.startswith("spool.") and name[6:26].isdigit()


def _line_of(record: Record) -> bytes | None:
    """Return *record* as a line; None when it cannot be one."""
    uid, layer, name, made_ns, envelope, body, derived, grant, chain, seen_ns = record
    head = f"{uid}\t{layer.value}\t{name}\t{made_ns:d}\t{derived:d}\t{grant or ''}\t{chain or ''}\t{seen_ns:d}\t"
    content = b"%s%s\t%s" % (head.encode("utf-8", "replace"), envelope, body)
    if content.count(b"\t") != _FIELDS or b"\n" in content:
        return None
    return b"\n%08x %s\n" % (crc32(content), content)


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _parsed(name: str, data: bytes) -> Segment:
    lines = [line for line in data.split(b"\n") if line]
    records = [record for line in politely(lines) if (record := _record_of(line)) is not None]
    once = {record.uid: record for record in records}  # see `Spool._store_interrupting`
    return Segment(name, [*once.values()], len(lines) - len(records))


def _record_of(line: bytes) -> Record | None:
    """Return the record in *line*; None when the checksum says that it is not what was written."""
    content = line[9:]
    if line[:9] != b"%08x " % crc32(content):
        return None
    try:
        *head, envelope, body = content.split(b"\t")
        uid, layer, name, made_ns, derived, grant, chain, seen_ns = (text.decode() for text in head)
        derived_too, made, seen = derived == "1", int(made_ns), int(seen_ns)
        return Record(uid, Layer(layer), name, made, envelope, body, derived_too, grant or None, chain or None, seen)
    except ValueError as error:  # written by another version
        pass_on(error)
        return None


def _close(descriptor: int) -> None:
    with ignoring(OSError):  # the program closed it
        os.close(descriptor)
