"""What both JSON files of the state directory have in common: how they are read, looked at again, and tidied up."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LARGEST: Final = 1024 * 1024
LOCK_WAIT: Final = 1.0

Seen = tuple[int, ...] | None


def content_of(path: Path) -> bytes | None:
    """Return what a regular file holds, cut at the limit; None for anything else, which is not waited for.

    Raises:
        OSError: It cannot be read (no right to, a bad disk, no free descriptor), which says nothing about it.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        return file.read(LARGEST + 1)


def seen_of(path: Path) -> Seen:
    """Return which file *path* is and when it was changed last; None where it cannot be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def is_as_read(path: Path, seen: Seen, data: bytes | None) -> bool:
    """Tell whether *path* is the file that was *seen* right before *data* was read from it, and unchanged.

    Both are compared: two changes within one tick of the file system's clock have one time.
    """
    if seen is not None:
        try:
            if content_of(path) != data:
                return False
        except OSError:
            return False
    return seen_of(path) == seen


def sweep(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote *path*; the caller holds its lock."""
    for leftover in path.parent.glob(f"{path.name}.*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()
