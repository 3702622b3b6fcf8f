"""What can go wrong with the outbox's file, and what SQLite's result codes say about it. Pure."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host.files import StateError

if TYPE_CHECKING:
    import sqlite3

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


class StoreError(Exception):
    """The outbox could not do what was asked; the message says why, in plain words."""


class InterruptedStoreError(StoreError):
    """This thread is in the middle of a transaction: a signal handler or a finalizer interrupted it there."""


class LockedError(StoreError):
    """Another program holds the file, or another thread the connection."""


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


def _code(error: Exception) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
