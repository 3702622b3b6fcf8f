"""The SQLite file behind the outbox: the one door for sqlite3.

`run` executes one piece of work in one transaction. What it promises:

- When `run` returns, the work survives a kill of the process (WAL, ``synchronous=NORMAL``: the write reached the
  operating system). A power cut may undo the newest transactions, never damage the file.
- No connection crosses a fork, and none is used by two threads at once.
- A corrupt file is set aside as ``….corrupt-…`` and a new one begun; a file that was deleted is begun anew.
- Where the file cannot be used at all, the same tables live in memory and `problem` says why.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from telemetry_sdk.installation import StateError, file_lock, prepare_directory

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DamagedError", "Database", "InterruptedStoreError", "StoreError"]

T = TypeVar("T")
_inherited: list[object] = []

BUSY_WAIT: Final = 2.0
_LOCK_WAIT: Final = 5.0
_INSIDE: Final = "called from inside the outbox itself (a signal handler or a finalizer)"
# Primary result codes (sqlite.org/rescode.html): what the world does to a file, and what says that its content is not
# what this package wrote.
_DAMAGE: Final = frozenset({11, 18, 19, 20, 26})
_SCHEMA_DAMAGE: Final = ("no such", "has no column", "malformed", "columns but", "already exists")
_PASSING: Final = frozenset({5, 6, 7, 9})
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


class StoreError(Exception):
    """The outbox could not do what was asked; the message says why, in plain words."""


class InterruptedStoreError(StoreError):
    """This thread is in the middle of a transaction: a signal handler or a finalizer interrupted it there."""


class DamagedError(Exception):
    """The file can be read but does not hold what this package writes. Raised by the work given to `Database.run`."""


class Database:
    """One SQLite file, opened when first used. Safe to share between threads."""

    _connection: sqlite3.Connection | None = None

    def __init__(self, path: Path | None, schema: str, version: int) -> None:
        self.path = path
        self.problem = "" if path else "there is no directory to keep the outbox in"
        self.generation = 0
        self._schema = schema
        self._version = version
        self._file_id: tuple[int, int] | None = None
        self._in_memory = path is None
        self._busy = False
        self._interrupting: deque[Callable[[sqlite3.Connection], object]] = deque()
        self._lock = threading.RLock()

    @property
    def durable(self) -> bool:
        """Whether records survive this process."""
        return not self._in_memory

    def run(self, work: Callable[[sqlite3.Connection], T], *, write: bool = True) -> T:
        """Execute *work* in one transaction and return what it returns.

        *work* may be executed twice (when the first try met a corrupt file), so it must not have other effects.

        Raises:
            StoreError: It could not be done; nothing was changed.
        """
        if not self._lock.acquire(timeout=_LOCK_WAIT):
            raise StoreError("the outbox is busy in another thread")
        try:
            if self._busy:
                raise InterruptedStoreError(_INSIDE)
            try:
                return self._guarded(work, write=write)
            finally:
                self._catch_up()
        finally:
            self._lock.release()

    def run_soon(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do as `run`; from a signal handler that interrupted a transaction, right after that one, returning None."""
        try:
            return self.run(work)
        except InterruptedStoreError:
            self._interrupting.append(work)
            return None

    def _catch_up(self) -> None:
        while self._interrupting:
            work = self._interrupting.popleft()
            with contextlib.suppress(StoreError):
                self._guarded(work, write=True)

    def _guarded(self, work: Callable[[sqlite3.Connection], T], *, write: bool) -> T:
        import sqlite3

        self._busy = True
        try:
            try:
                return self._transact(work, write=write)
            except (sqlite3.DatabaseError, DamagedError, UnicodeDecodeError) as error:
                self._recover(error)
                return self._transact(work, write=write)
        except (DamagedError, UnicodeDecodeError):
            raise StoreError("the outbox is damaged") from None
        except sqlite3.DatabaseError as error:
            if not (_code(error) in _WORLD or _is_damage(error)):
                raise
            self.problem = _explain(error)
            raise StoreError(self.problem) from None
        finally:
            self._busy = False

    def close(self, *, for_good: bool = False) -> None:
        """Close the connection unless it is in use; the next `run` opens it again. Memory goes only *for_good*."""
        with self._lock:
            if not self._busy and (for_good or not self._in_memory):
                self._disconnect()

    def discard(self) -> None:
        """Delete the file with everything in it: the last resort where its content must not stay.

        Other processes notice and begin a new one.

        Raises:
            StoreError: It cannot be deleted.
        """
        with self._lock:
            if self._busy:
                raise InterruptedStoreError(_INSIDE)
            self._disconnect()
            for suffix in ("-wal", "-shm", ""):
                try:
                    if self.path is not None:
                        self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)
                except OSError as error:
                    raise StoreError(_reason(error)) from None

    def __del__(self) -> None:
        """Close a forgotten connection, which Python 3.13 would warn about."""
        if self._connection is not None:
            self._connection.close()

    def before_fork(self) -> bool:
        """Close the connection and hold the lock over a fork; SQLite must not be carried into a child."""
        held = self._lock.acquire(timeout=_LOCK_WAIT)
        if held and not self._busy and not self._in_memory:
            self._disconnect()
        return held

    def after_fork_in_parent(self, *, held: bool) -> None:
        """Undo `before_fork`."""
        if held:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start afresh: the parent's lock and connection mean nothing here."""
        self._lock = threading.RLock()
        self._busy = False
        if self._connection is not None:
            # Never closed: closing it here would act on the parent's file.
            _inherited.append(self._connection)
            self._connection = None

    def shrink(self) -> None:
        """Fold the write-ahead log into the file and empty it, so that deleted content is gone from the disk."""
        import sqlite3

        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._connection is not None and not self._busy:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _transact(self, work: Callable[[sqlite3.Connection], T], *, write: bool) -> T:
        connection = self._connected()
        try:
            if connection.in_transaction:
                # Left open by an exception from a signal handler, at the one moment nothing could close it.
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            result = work(connection)
            connection.execute("COMMIT")
            if write and not self._in_memory:
                self.problem = ""
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _connected(self) -> sqlite3.Connection:
        import sqlite3

        if self._connection is not None and (self._in_memory or self._file_id == self._current_file_id()):
            return self._connection
        self._disconnect()
        self.generation += 1
        if not self._in_memory:
            try:
                self._connection = self._open_file()
                self._file_id = self._current_file_id()
                self.problem = ""
                return self._connection
            except (OSError, StoreError) as error:
                self.problem = _reason(error)
            except sqlite3.DatabaseError as error:
                if _code(error) in _PASSING:
                    raise
                self.problem = _explain(error)
            self._in_memory = True
        self._connection = self._prepare(":memory:")
        return self._connection

    def _open_file(self) -> sqlite3.Connection:
        import sqlite3

        assert self.path is not None  # noqa: S101 - _in_memory is true without a path
        prepare_directory(self.path.parent)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        os.close(os.open(self.path, flags, 0o600))
        try:
            return self._prepare(str(self.path))
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_damage(error):
                raise
        self._set_aside(self._current_file_id())
        os.close(os.open(self.path, flags, 0o600))
        return self._prepare(str(self.path))

    def _prepare(self, name: str) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(name, timeout=BUSY_WAIT, isolation_level=None, check_same_thread=False)
        try:
            if name == ":memory:":
                connection.executescript(self._schema)
                return connection
            if self._written_version(connection) < self._version:
                self._create(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("PRAGMA journal_size_limit=4194304")
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
        assert self.path is not None  # noqa: S101 - only called for a file
        with file_lock(self.path.with_name("outbox.lock"), _LOCK_WAIT):
            if self._written_version(connection) == self._version:
                return
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            connection.executescript(f"BEGIN IMMEDIATE; {self._schema} PRAGMA user_version={self._version:d}; COMMIT;")

    def _disconnect(self) -> None:
        import sqlite3

        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _recover(self, error: Exception) -> None:
        """Set a damaged file aside; raise the error again if that is not what it says."""
        if self._in_memory or not _is_damage(error):
            raise error
        found = self._file_id
        self._disconnect()
        self._set_aside(found)

    def _set_aside(self, found: tuple[int, int] | None) -> None:
        """Rename the file *found* and its companions, unless another process has already put a new one there."""
        assert self.path is not None  # noqa: S101 - only called for a file
        with contextlib.suppress(OSError), file_lock(self.path.with_name("outbox.lock"), _LOCK_WAIT):
            if found is None or self._current_file_id() != found:
                return
            stamp = time.time_ns()
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{self.path}{suffix}.corrupt-{stamp}")

    def _current_file_id(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)  # type: ignore[arg-type]
        except OSError:
            return None
        return (found.st_dev, found.st_ino)


def _code(error: Exception) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _is_damage(error: Exception) -> bool:
    if isinstance(error, (DamagedError, UnicodeDecodeError)) or _code(error) in _DAMAGE:
        return True
    # The generic code is damage only when the tables are not ours; without a code the error is Python's own, and
    # damage only when it met a text that is not UTF-8. Anything else is a bug of ours, and must cost no record.
    words = {1: _SCHEMA_DAMAGE, 0: ("UTF-8",)}.get(_code(error), ())
    return any(word in str(error) for word in words)


def _explain(error: sqlite3.Error) -> str:
    return _WORLD.get(_code(error), "the outbox is damaged")


def _reason(error: Exception) -> str:
    if isinstance(error, (StateError, StoreError)):
        return str(error)
    return f"the outbox cannot be opened ({type(error).__name__})"
