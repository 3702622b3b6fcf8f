"""The outbox's file and its companions as the file system sees them: still in place, set aside, deleted.

SQLite keeps ``-wal`` and ``-shm`` beside the file; whatever happens to one must happen to all three.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from telemetry_sdk.files import file_lock, identity_of, make_file, prepare_directory
from telemetry_sdk.store_errors import StoreError, reason

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StoreFile"]

_LOCK_WAIT: Final = 1.0
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
        self._log: os.stat_result | None = None

    def make(self) -> None:
        """Make the directory and an empty file where they are missing.

        Raises:
            StateError, OSError: That cannot be done.
        """
        prepare_directory(self.path.parent)
        make_file(self.path)

    def note_opened(self) -> None:
        """Remember which file it is that was opened."""
        self._opened, self._log = identity_of(self.name), None

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
