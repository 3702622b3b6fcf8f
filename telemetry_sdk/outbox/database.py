"""The SQLite file behind the outbox: the one door for sqlite3.

`Database.run` executes one piece of work in one transaction. What it promises:

- When `run` returns, the work survives a kill of the process (WAL, ``synchronous=NORMAL``: the write reached the
  operating system). A power cut may undo the newest transactions, never damage the file.
- No connection crosses a fork, and none is used by two threads at once.
- A corrupt file is set aside as ``….corrupt-…`` and a new one begun; a file that was deleted is begun anew. It is
  looked through when it is opened after an end that was not clean.
- Where the file cannot be used at all, the same tables live in memory and `problem` says why.

SQLite keeps ``-wal`` and ``-shm`` beside the file; whatever happens to one must happen to all three.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import time
from typing import TYPE_CHECKING, Final, TypeVar

from telemetry_sdk.host.background import Mutex
from telemetry_sdk.host.files import (
    LockTimeoutError,
    StateError,
    file_lock,
    identity_of,
    make_file,
    prepare_directory,
)
from telemetry_sdk.host.guard import ignoring, pass_on
from telemetry_sdk.host.quiet import nobodys_context, untraced
from telemetry_sdk.outbox import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
BUSY_WAIT: Final = 2.0
_ONE_WAIT: Final = 0.25
_AVOID_S: Final = 1.0
# Another process holds the file for microseconds. SQLite's own waiting would begin at a millisecond.
_SHORTEST_PAUSE: Final = 0.000_02
_LONGEST_PAUSE: Final = 0.005
# Folding the log in lets all who store wait for the disk: rarely, at 24 MiB. Cut off, it would seem to be another one.
_PRAGMAS: Final = (
    "PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON; PRAGMA wal_autocheckpoint=6000;"
    "PRAGMA journal_size_limit=33554432; PRAGMA busy_timeout=0;"  # see _patiently
)
_LOCK_WAIT: Final = 1.0
_SUFFIXES: Final = ("-wal", "-shm", "")  # the file itself last: without it the others mean nothing
_INSIDE: Final = "called from inside the outbox itself (a signal handler or a finalizer)"
_CUT_OFF: Final = "the program closed the outbox's file descriptors, or forked unseen while it was open"

# Primary result codes (sqlite.org/rescode.html): what the world does to a file, and what says that its content is not
# what this package wrote.
_DAMAGE: Final = frozenset({11, 18, 19, 20, 26})
_SCHEMA_DAMAGE: Final = ("no such", "has no column", "malformed", "columns but", "already exists")
_PASSING: Final = frozenset({5, 6, 7, 9})
_SHORT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})
_LOCKED: Final = frozenset({5, 6})
_WORLD: Final = {
    3: "access denied",
    5: "the outbox is locked by another program",
    6: "the outbox is locked by another program",
    7: "out of memory",
    8: "the outbox is read-only",
    9: "interrupted",
    10: "disk error",
    13: "the disk is full",
    14: "the outbox cannot be opened",
    15: "the file system cannot lock the outbox",
    22: "the file system cannot hold the outbox",
}
NO_SQLITE: Final = "this Python has no sqlite3, which sending needs: records wait for one that has it"
_never_closed: Final[list[object]] = []
_cut_off: Final[set[object]] = set()  # which files


class LockedError(StoreError):
    """For the moment: another program holds the file, another thread the connection, or this one is inside itself."""


class FullError(StoreError):
    """There is no room for a record beside those that matter more."""


class DamagedError(Exception):
    """The file can be read but does not hold what this package writes. Raised by the work given to `Database.run`."""


def is_damage(error: Exception) -> bool:
    """Tell whether *error* says that the file's content is not what this package wrote."""
    if isinstance(error, (DamagedError, UnicodeDecodeError)) or _code(error) in _DAMAGE:
        return True
    # The generic code is damage only when the tables are not ours; without a code the error is Python's own, and
    # damage only when it met a text that is not UTF-8. Anything else is a bug of ours, and must cost no record.
    words = {1: _SCHEMA_DAMAGE, 0: ("UTF-8",)}.get(_code(error), ())
    return any(word in str(error) for word in words)


def is_locked(error: Exception) -> bool:
    """Tell whether somebody else holds the file."""
    return _code(error) in _LOCKED


def is_passing(error: Exception) -> bool:
    """Tell whether the file itself is usable, only not now."""
    return _code(error) in _PASSING or getattr(error, "errno", None) in _SHORT_OF


def is_expected(error: Exception) -> bool:
    """Tell whether the world did it; anything else is a bug of ours."""
    return _code(error) in _WORLD or is_damage(error)


def explain(error: sqlite3.Error) -> str:
    """Return what happened, in plain words."""
    return _WORLD.get(_code(error), "the outbox is damaged")


def reason(error: Exception) -> str:
    """Return why the file cannot be opened, without its path."""
    if isinstance(error, (StateError, StoreError)):
        return str(error)
    return f"the outbox cannot be opened ({type(error).__name__})"


@functools.cache
def has_sqlite() -> bool:
    """Tell whether this Python was built with SQLite. Looked for when a database is first needed."""
    try:
        import sqlite3  # noqa: F401
    except ImportError:
        return False
    return True


def _code(error: Exception) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


class StoreFile:
    """One SQLite file on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path.with_name("outbox.lock")
        # As text: they are looked at in every transaction.
        self.name = os.fspath(path)
        self._log_name = f"{self.name}-wal"
        self._opened: tuple[int, ...] | None = None
        self._descriptors: tuple[int, ...] = ()
        self._log: os.stat_result | None = None

    def make(self) -> None:
        """Make the directory and an empty file where they are missing.

        Raises:
            StateError, OSError: That cannot be done.
        """
        prepare_directory(self.path.parent)
        make_file(self.path)

    def note_opened(self) -> None:
        """Remember which file it is that was opened, and under which descriptors."""
        self._opened, self._log = identity_of(self.name), None
        try:
            found = [int(name) for name in os.listdir("/dev/fd")]
        except OSError as error:  # not there, or none is free to look
            pass_on(error)
            found = []
        self._descriptors = tuple(number for number in found if self._is_under(number))

    def _is_under(self, descriptor: int) -> bool:
        try:
            found = os.fstat(descriptor)
        except OSError as error:
            pass_on(error)
            return False
        return (found.st_dev, found.st_ino) == self._opened

    def is_cut_off(self) -> bool:
        """Tell whether this process must leave the file alone: the program closed its descriptors, as daemons do.

        They may be other files by now, the program's own: nobody may write to them any more, nor even close them. Nor
        does it help to open the file again, for within a process SQLite shares them between all who have it open. So
        this process leaves it alone; events go into the spool, and other processes deliver them.
        """
        if _cut_off and identity_of(self.name) in _cut_off:
            return True
        # Any: another object of this process may have had the file open too, and have closed it.
        return bool(self._descriptors) and not any(map(self._is_under, self._descriptors))

    def close(self, connection: sqlite3.Connection) -> None:
        """Close *connection*, unless that would close files of the program."""
        is_cut_off, self._descriptors = self.is_cut_off(), ()
        if is_cut_off:
            self.cut_off()
            _never_closed.append(connection)
            return
        with contextlib.suppress(connection.Error):
            connection.close()

    def cut_off(self) -> None:
        """Leave the file alone in this process, for good."""
        self._descriptors = ()
        _cut_off.add(self._opened)
        with ignoring(OSError):
            # For ever: another file with the same inode would be this one to SQLite.
            os.open(self.name, os.O_RDONLY)

    def has_log(self) -> bool:
        """Tell whether there is a log with something in it: the last one to close the file would have folded it in."""
        found = identity_of(self._log_name, sized=True)
        return found is not None and found[2] > 0

    def is_in_place(self) -> bool:
        """Tell whether the file and its log are still those that were opened."""
        if self._opened != identity_of(self.name):
            return False
        before = self._log
        try:
            now = self._log = os.stat(self._log_name)
        except OSError as error:
            pass_on(error)
            self._log = None
            return before is None
        # It shrinks when it was folded into the file, too: then the connection is made anew for nothing.
        return before is None or (
            now.st_ino == before.st_ino and now.st_size >= before.st_size and now.st_dev == before.st_dev
        )

    def set_aside(self, *, opened: bool) -> None:
        """Rename the file, damaged, and its companions: the one that was *opened*, or the one that is there now.

        Nothing happens when another process has put a new one there meanwhile.
        """
        found = self._opened if opened else identity_of(self.name)
        with ignoring(OSError), file_lock(self.lock_path, _LOCK_WAIT):
            if found is None or identity_of(self.name) != found:
                return
            stamp = time.time_ns()
            for suffix in _SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.name}{suffix}", f"{self.name}{suffix}.corrupt-{stamp}")

    def remove_set_aside(self) -> None:
        """Delete what was set aside."""
        for leftover in self.path.parent.glob(f"{self.path.name}*.corrupt-*"):
            with ignoring(OSError):
                leftover.unlink()

    def delete(self) -> None:
        """Delete the file and its companions. Other processes notice and begin a new one.

        Raises:
            StoreError: It cannot be deleted.
        """
        for suffix in _SUFFIXES:
            try:
                self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)
            except OSError as error:
                pass_on(error)
                raise StoreError(reason(error)) from None


class Database:
    """One SQLite file, opened when first used. Safe to share between threads."""

    _connection: sqlite3.Connection | None = None

    def __init__(self, path: Path | None, schema: str, version: int) -> None:
        self.path = path
        self._file = StoreFile(path) if path else None
        self.problem = "" if path else "there is no directory to keep the outbox in"
        self.generation = 0
        self._schema = schema
        self._version = version
        self._in_memory = path is None
        self._locked_until = 0.0
        self._busy = False
        self._mutex = Mutex()

    @property
    def durable(self) -> bool:
        """Whether records survive this process."""
        return not self._in_memory

    def run(self, work: Callable[[sqlite3.Connection], T], *, write: bool = True, patience: float | None = None) -> T:
        """Execute *work* in one transaction and return what it returns.

        *work* may be executed again (after a corrupt file or another program's lock): it must have no other effects.

        Args:
            work: What to do.
            write: Whether it changes something.
            patience: Seconds to wait while another program holds the file, at least a quarter; with 0 once a second.
                `BUSY_WAIT` unless told.

        Raises:
            StoreError: It could not be done; nothing was changed. `LockedError`: for the time being.
        """
        if not has_sqlite():
            self.problem = NO_SQLITE
            raise StoreError(NO_SQLITE)
        patience = BUSY_WAIT if patience is None else patience
        if not patience and time.monotonic() < self._locked_until:
            raise LockedError(self.problem or "the outbox is locked by another program")
        if not self._mutex.take(max(patience, _ONE_WAIT)):
            raise LockedError("the outbox is busy in another thread")
        try:
            if self._busy:
                raise LockedError(_INSIDE)
            return nobodys_context().run(self._guarded, work, "BEGIN IMMEDIATE" if write else "BEGIN", patience)
        finally:
            self._mutex.give()

    def _guarded(self, work: Callable[[sqlite3.Connection], T], begin: str, patience: float) -> T:
        import sqlite3

        self._busy = True
        try:
            try:
                with untraced():
                    result = self._patiently(work, begin, patience)
            except (sqlite3.DatabaseError, DamagedError, UnicodeDecodeError) as error:
                self._recover(error)
                result = self._transact(work, begin)
            self._locked_until = 0.0
            return result
        except (DamagedError, UnicodeDecodeError):
            raise StoreError("the outbox is damaged") from None
        except sqlite3.DatabaseError as error:
            if not is_expected(error):
                raise
            self.problem = explain(error)
            if not is_locked(error):
                raise StoreError(self.problem) from None
            self._locked_until = time.monotonic() + _AVOID_S
            raise LockedError(self.problem) from None
        finally:
            self._busy = False

    def _patiently(self, work: Callable[[sqlite3.Connection], T], begin: str, patience: float) -> T:
        import sqlite3

        deadline = time.monotonic() + max(patience, _ONE_WAIT)
        pause = _SHORTEST_PAUSE
        while True:
            try:
                return self._transact(work, begin)
            except sqlite3.OperationalError as error:
                if not is_locked(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(pause)
                pause = min(pause * 1.1, _LONGEST_PAUSE)

    def close(self, *, for_good: bool = False) -> None:
        """Close the connection unless it is in use; the next `run` opens it again. Memory goes only *for_good*."""
        if not self._mutex.take(_ONE_WAIT):  # another thread waits for a lock in there, perhaps for long
            return
        try:
            if not self._busy and (for_good or not self._in_memory):
                self._disconnect()
        finally:
            self._mutex.give()

    def discard(self) -> None:
        """Delete the file with all in it: the last resort. Other processes notice and begin a new one.

        Raises:
            StoreError: It cannot be deleted.
        """
        with self._mutex:
            if self._busy:
                raise LockedError(_INSIDE)
            self._disconnect()
            self._locked_until = 0.0
            if self._file is not None:
                self._file.delete()

    def remove_set_aside(self) -> None:
        """Delete what was set aside as damaged."""
        if self._file is not None:
            self._file.remove_set_aside()

    def __del__(self) -> None:
        """Close a forgotten connection, which Python 3.13 would warn about."""
        self._disconnect()

    def before_fork(self) -> bool:
        """Close the connection and hold the lock over a fork; SQLite must not be carried into a child."""
        held = self._mutex.take(_LOCK_WAIT)
        if held and not self._busy and not self._in_memory:
            self._disconnect()
        return held

    def after_fork_in_parent(self, *, held: bool) -> None:
        """Undo `before_fork`."""
        if held:
            self._mutex.give()

    def after_fork_in_child(self) -> None:
        """Start afresh: the parent's lock and connection mean nothing here.

        A connection that no hook closed before the fork is never closed: that would act on the parent's file. Nor does
        this process ever open the file: SQLite would go by what the parent had locked. Its events go into the spool.
        """
        self._mutex = Mutex()
        self._busy = False
        if self._connection is not None:
            _never_closed.append(self._connection)
            self._connection = None
            if self._file is not None and not self._in_memory:
                self._file.cut_off()

    def shrink(self) -> None:
        """Fold the write-ahead log into the file and empty it, so that deleted content is gone from the disk."""
        import sqlite3

        with self._mutex, contextlib.suppress(sqlite3.Error):
            if self._connection is not None and not self._busy:
                nobodys_context().run(_fold, self._connection)

    def _transact(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        connection = self._connected()
        try:
            if connection.in_transaction:
                # Left open by an exception from a signal handler, at the one moment nothing could close it.
                connection.execute("ROLLBACK")
            connection.execute(begin)
            result = work(connection)
            connection.execute("COMMIT")
            if begin != "BEGIN" and not self._in_memory:
                self.problem = ""
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _connected(self) -> sqlite3.Connection:
        if not self._in_memory and self._opened_file().is_cut_off():
            self._disconnect()
            self.problem = _CUT_OFF
            raise LockedError(_CUT_OFF)
        if self._connection is not None and (self._in_memory or self._opened_file().is_in_place()):
            return self._connection
        return self._reconnect()

    def _reconnect(self) -> sqlite3.Connection:
        import sqlite3

        self._disconnect()
        self.generation += 1
        if not self._in_memory:
            try:
                self._connection = self._open_file()
                self._opened_file().note_opened()
                self.problem = ""
                return self._connection
            except LockTimeoutError as error:
                pass_on(error)
                raise LockedError(reason(error)) from None
            except (OSError, StoreError) as error:
                pass_on(error)
                self.problem = reason(error)
                if is_passing(error):
                    raise LockedError(self.problem) from None
            except sqlite3.DatabaseError as error:
                if is_passing(error):
                    raise
                self.problem = explain(error)
            self._in_memory = True
        self._connection = self._prepare(":memory:")
        return self._connection

    def _open_file(self) -> sqlite3.Connection:
        import sqlite3

        file = self._opened_file()
        file.make()
        try:
            return self._prepare(file.name, ended_badly=file.has_log())
        except (sqlite3.DatabaseError, UnicodeDecodeError, DamagedError) as error:
            if not is_damage(error):
                raise
        file.set_aside(opened=False)
        file.make()
        return self._prepare(file.name)

    def _opened_file(self) -> StoreFile:
        assert self._file is not None  # noqa: S101 - _in_memory is true without a path
        return self._file

    def _prepare(self, name: str, *, ended_badly: bool = False) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(name, timeout=_ONE_WAIT, isolation_level=None, check_same_thread=False)
        try:
            if name == ":memory:":
                connection.executescript(self._schema)
                return connection
            if self._written_version(connection) < self._version:
                self._create(connection)
            connection.executescript(_PRAGMAS)
            if ended_badly and connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise DamagedError
        except BaseException:
            connection.close()
            raise
        return connection

    def _written_version(self, connection: sqlite3.Connection) -> int:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > self._version:
            raise StoreError("the outbox was written by a newer version and is left alone")
        return version

    def _create(self, connection: sqlite3.Connection) -> None:
        """Make the tables. Under a lock: SQLite's change to WAL fails at once when two processes make it."""
        with file_lock(self._opened_file().lock_path, _LOCK_WAIT):
            if self._written_version(connection) == self._version:
                return
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            connection.executescript(f"BEGIN IMMEDIATE; {self._schema} PRAGMA user_version={self._version:d}; COMMIT;")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._file.close(connection) if self._file is not None else connection.close()

    def _recover(self, error: Exception) -> None:
        """Set a damaged file aside; raise the error again if that is not what it says."""
        if self._in_memory or not is_damage(error):
            raise error
        self._disconnect()
        self._opened_file().set_aside(opened=True)


def _fold(connection: sqlite3.Connection) -> None:
    with untraced():
        connection.execute(f"PRAGMA busy_timeout={_ONE_WAIT * 1000:.0f}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("PRAGMA busy_timeout=0")
