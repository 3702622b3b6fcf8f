"""Who may send: one process at a time, by a lease that expires, and is free at once when its owner is dead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry_sdk.outbox.store_errors import DamagedError
from telemetry_sdk.outbox.tables import one

if TYPE_CHECKING:
    import sqlite3

__all__ = ["holder", "is_free", "new_owner", "process_is_gone", "release", "renew", "take"]


def new_owner(pid: int, token: str) -> str:
    """Return the name under which process *pid* takes leases: pid, pid namespace and *token*."""
    return f"{pid}:{_pid_space()}:{token}"


def is_free(db: sqlite3.Connection, me: str, now: float, lease_s: float) -> bool:
    """Tell whether *me* may take the lease at *now* (seconds since 1970), given how long a lease lasts."""
    owner, until = one(db, "SELECT owner, until FROM lease")
    if not (isinstance(owner, str) and isinstance(until, float)):
        raise DamagedError
    # An expiry further ahead than any lease lasts was written before the clock was set back.
    if owner in ("", me) or not now < until <= now + 10 * lease_s:
        return True
    pid, _, rest = owner.partition(":")
    return rest.partition(":")[0] == _pid_space() and pid.isdecimal() and process_is_gone(int(pid))


def holder(db: sqlite3.Connection) -> object:
    """Return who has the lease or had it last; empty after it was given back."""
    return one(db, "SELECT owner FROM lease")[0]


def take(db: sqlite3.Connection, me: str, until: float) -> None:
    """Give the lease to *me* until then, or to nobody when *me* is empty."""
    db.execute("UPDATE lease SET owner = ?, until = ?", (me, until if me else 0.0))


def renew(db: sqlite3.Connection, until: float) -> None:
    """Let the holder have the lease until then."""
    db.execute("UPDATE lease SET until = ?", (until,))


def release(db: sqlite3.Connection, me: str) -> None:
    """Give the lease back if it is still that of *me*."""
    db.execute("UPDATE lease SET owner = '', until = 0 WHERE owner = ?", (me,))


def _pid_space() -> str:
    """Return what tells this process's pid namespace from another container's, or nothing where there is none."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def process_is_gone(pid: int) -> bool:
    """Tell whether the process *pid* of this machine is certainly dead (a zombie counts); False when unsure."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].strip()[:1] in ("Z", "X")
