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
import time
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from telemetry_sdk.host.background import Mutex
from telemetry_sdk.host.files import LockTimeoutError, file_lock
from telemetry_sdk.outbox.store_errors import (
    DamagedError,
    InterruptedStoreError,
    LockedError,
    StoreError,
    explain,
    is_damage,
    is_expected,
    is_locked,
    is_passing,
    reason,
)
from telemetry_sdk.outbox.store_file import CUT_OFF, StoreFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
_inherited: list[object] = []

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
_INSIDE: Final = "called from inside the outbox itself (a signal handler or a finalizer)"


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
        self._interrupting: deque[Callable[[sqlite3.Connection], object]] = deque()
        self._mutex = Mutex()

    @property
    def durable(self) -> bool:
        """Whether records survive this process."""
        return not self._in_memory

    def run(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        write: bool = True,
        alone: bool = False,
        patience: float | None = None,
    ) -> T:
        """Execute *work* in one transaction and return what it returns.

        *work* may be executed again (after a corrupt file or another program's lock): it must have no other effects.

        Args:
            work: What to do.
            write: Whether it changes something.
            alone: Whether it executes one statement only, which is a transaction of its own then.
            patience: Seconds to wait while another program holds the file, at least a quarter; with 0 once a second.
                `BUSY_WAIT` unless told.

        Raises:
            StoreError: It could not be done; nothing was changed. `LockedError`: for the time being.
        """
        patience = BUSY_WAIT if patience is None else patience
        if not patience and time.monotonic() < self._locked_until:
            raise LockedError(self.problem or "the outbox is locked by another program")
        if not self._mutex.take(max(patience, _ONE_WAIT)):
            raise LockedError("the outbox is busy in another thread")
        try:
            if self._busy:
                raise InterruptedStoreError(_INSIDE)
            try:
                return self._guarded(work, "" if alone else "BEGIN IMMEDIATE" if write else "BEGIN", patience)
            finally:
                if self._interrupting:
                    self._catch_up()
        finally:
            self._mutex.give()

    def run_soon(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do as `run`, but wait for another program only a quarter of a second, for the caller has another way.

        From a signal handler that interrupted a transaction, *work* is executed right after that one; returns None.
        """
        try:
            return self.run(work, patience=0.0)
        except InterruptedStoreError:
            self._interrupting.append(work)
            return None

    def _catch_up(self) -> None:
        while self._interrupting:
            work = self._interrupting.popleft()
            with contextlib.suppress(StoreError):
                self._guarded(work, "BEGIN IMMEDIATE", BUSY_WAIT)

    def _guarded(self, work: Callable[[sqlite3.Connection], T], begin: str, patience: float) -> T:
        import sqlite3

        self._busy = True
        try:
            try:
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
                raise InterruptedStoreError(_INSIDE)
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
        """Start afresh: the parent's lock and connection mean nothing here."""
        self._mutex = Mutex()
        self._busy = False
        if self._connection is not None:
            # Never closed: closing it here would act on the parent's file.
            _inherited.append(self._connection)
            self._connection = None

    def shrink(self) -> None:
        """Fold the write-ahead log into the file and empty it, so that deleted content is gone from the disk."""
        import sqlite3

        with self._mutex, contextlib.suppress(sqlite3.Error):
            if self._connection is not None and not self._busy:
                self._connection.execute(f"PRAGMA busy_timeout={_ONE_WAIT * 1000:.0f}")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._connection.execute("PRAGMA busy_timeout=0")

    def _transact(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        connection = self._connected()
        try:
            if connection.in_transaction:
                # Left open by an exception from a signal handler, at the one moment nothing could close it.
                connection.execute("ROLLBACK")
            if begin:
                connection.execute(begin)
            result = work(connection)
            if begin:
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
            self.problem = CUT_OFF
            raise LockedError(CUT_OFF)
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
                raise LockedError(reason(error)) from None
            except (OSError, StoreError) as error:
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
            return self._prepare(file.name)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
        file.set_aside(opened=False)
        file.make()
        return self._prepare(file.name)

    def _opened_file(self) -> StoreFile:
        assert self._file is not None  # noqa: S101 - _in_memory is true without a path
        return self._file

    def _prepare(self, name: str) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(name, timeout=_ONE_WAIT, isolation_level=None, check_same_thread=False)
        try:
            if name == ":memory:":
                connection.executescript(self._schema)
                return connection
            if self._written_version(connection) < self._version:
                self._create(connection)
            connection.executescript(_PRAGMAS)
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
