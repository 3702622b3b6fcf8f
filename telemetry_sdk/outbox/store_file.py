"""The outbox's file and its companions as the file system sees them: still in place, set aside, deleted.

SQLite keeps ``-wal`` and ``-shm`` beside the file; whatever happens to one must happen to all three.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host.files import file_lock, identity_of, make_file, prepare_directory
from telemetry_sdk.outbox.store_errors import StoreError, reason

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

CUT_OFF: Final = "the program closed the outbox's file descriptors"

_LOCK_WAIT: Final = 1.0
_cut_off: dict[object, object] = {}  # by which file it is: the connections
_SUFFIXES: Final = ("-wal", "-shm", "")  # the file itself last: without it the others mean nothing


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
        except OSError:  # not there, or none is free to look
            found = []
        self._descriptors = tuple(number for number in found if self._is_under(number))

    def _is_under(self, descriptor: int) -> bool:
        try:
            found = os.fstat(descriptor)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._opened

    def is_cut_off(self) -> bool:
        """Tell whether the program closed the descriptors of the file, as daemons close all that they did not open.

        They may be other files by now, the program's own: nobody may write to them any more, nor even close them. Nor
        does it help to open the file again, for within a process SQLite shares them between all who have it open.
        """
        if _cut_off and identity_of(self.name) in _cut_off:
            return True
        # Any: another object of this process may have had the file open too, and have closed it.
        return bool(self._descriptors) and not any(map(self._is_under, self._descriptors))

    def close(self, connection: sqlite3.Connection) -> None:
        """Close *connection*; one that is cut off is kept, also when Python lets go of everything at its end."""
        is_cut_off, self._descriptors = self.is_cut_off(), ()
        if not is_cut_off:
            with contextlib.suppress(connection.Error):
                connection.close()
            return
        _cut_off[self._opened] = connection
        with contextlib.suppress(OSError):
            os.open(self.name, os.O_RDONLY)  # for ever: another file with the same inode would be this one to SQLite
        with contextlib.suppress(ImportError):  # a Python without ctypes
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def is_in_place(self) -> bool:
        """Tell whether the file and its log are still those that were opened."""
        if self._opened != identity_of(self.name):
            return False
        before = self._log
        try:
            now = self._log = os.stat(self._log_name)
        except OSError:
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
        with contextlib.suppress(OSError), file_lock(self.lock_path, _LOCK_WAIT):
            if found is None or identity_of(self.name) != found:
                return
            stamp = time.time_ns()
            for suffix in _SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.name}{suffix}", f"{self.name}{suffix}.corrupt-{stamp}")

    def remove_set_aside(self) -> None:
        """Delete what was set aside."""
        for leftover in self.path.parent.glob(f"{self.path.name}*.corrupt-*"):
            with contextlib.suppress(OSError):
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
                raise StoreError(reason(error)) from None
