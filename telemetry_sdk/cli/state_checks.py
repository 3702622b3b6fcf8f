"""The checks of ``doctor`` that concern this machine: the state directory and what is in it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from telemetry_sdk.cli.checks import GOOD, PROBLEM, SKIPPED, WARNING, Check
from telemetry_sdk.host.files import StateError, file_lock, replace_file
from telemetry_sdk.identity.installation import FILE_NAME
from telemetry_sdk.identity.schema import SCHEMA, known, parse
from telemetry_sdk.outbox import tables
from telemetry_sdk.outbox.database import Database
from telemetry_sdk.outbox.store_errors import StoreError

if TYPE_CHECKING:
    from telemetry_sdk.client.session import Session

__all__ = ["kind_of_place", "state_checks"]

_OCTAL: Final = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}

_LITTLE: Final = 64 * 1024 * 1024
_TOO_LITTLE: Final = 1024 * 1024
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_LAYERS: Final = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})
_TRIAL: Final = "doctor-"


def state_checks(session: Session, variable: str) -> list[Check]:
    """Look at the state directory of *session*. Where there is none yet, none is made.

    In one that is there, a file, a lock and a database are made for a moment and removed.

    Args:
        session: Whose state it is.
        variable: The environment variable that names the directory.
    """
    directory = session.installation.directory
    elsewhere = f"set {variable} to a directory that can be written and stays"
    if directory is None:
        return [Check("directory", PROBLEM, "there is no home directory to keep state in", elsewhere)]
    checks = [_directory(directory, elsewhere)]
    if checks[0].result is PROBLEM:
        return checks
    checks += [_place(directory, variable), _space(directory)]
    if directory.is_dir():
        checks += [_permissions(directory), *_trial(directory, elsewhere), _installation(directory), _outbox(session)]
        checks += _set_aside(directory)
    return checks


def _directory(directory: Path, elsewhere: str) -> Check:
    try:
        # Looked at piece by piece: a file in the way of a directory is not the same as nothing.
        for place in (directory, *directory.parents):
            if os.path.lexists(place):
                break
        if not place.is_dir():
            return Check("directory", PROBLEM, f"{place} is in the way: it is not a directory", elsewhere)
        if not os.access(place, os.W_OK | os.X_OK):
            return Check("directory", PROBLEM, f"{place} cannot be written by this user", elsewhere)
    except OSError as error:
        return Check("directory", PROBLEM, f"{directory} cannot be looked at ({error.strerror})", elsewhere)
    return Check("directory", GOOD, f"{directory}" if place == directory else f"{directory} can be made when needed")


def _place(directory: Path, variable: str) -> Check:
    kind = kind_of_place(directory)
    if kind in _IN_MEMORY:
        advice = f"set {variable} to a directory on a disk, or each start may count as a new install"
        return Check("persistence", WARNING, f"{kind}: it is kept in memory and gone after a restart", advice)
    if kind in _LAYERS:
        advice = f"mount a volume at that directory, or at another one named by {variable}"
        return Check("persistence", WARNING, f"{kind}: a container's own layer, gone with the container", advice)
    return Check("persistence", GOOD if kind else SKIPPED, kind or "this system does not tell")


def _space(directory: Path) -> Check:
    place = next((it for it in (directory, *directory.parents) if it.is_dir()), directory)
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return Check("free space", SKIPPED, "this file system does not tell")
    words, advice = f"{free // (1024 * 1024)} MiB", "free some space: what cannot be stored is not sent later"
    result = PROBLEM if free < _TOO_LITTLE else WARNING if free < _LITTLE else GOOD
    return Check("free space", result, words, "" if result is GOOD else advice)


def _permissions(directory: Path) -> Check:
    if os.name != "posix":
        return Check("permissions", SKIPPED, "not known on this system")
    try:
        found = {entry: entry.lstat() for entry in (directory, *directory.iterdir())}
    except OSError as error:
        return Check("permissions", PROBLEM, f"cannot be looked at ({error.strerror})", "make the directory your own")
    me = os.geteuid()
    strangers = [entry.name for entry, it in found.items() if me not in (0, it.st_uid)]
    if strangers:
        advice = "give it to the user who runs the program (chown), or delete it"
        return Check("permissions", PROBLEM, f"belongs to another user: {', '.join(sorted(strangers))}", advice)
    wide = [entry for entry, it in found.items() if not stat.S_ISLNK(it.st_mode) and stat.S_IMODE(it.st_mode) & 0o077]
    if wide:
        names, advice = ", ".join(sorted(entry.name for entry in wide)), f"run: chmod -R go= '{directory}'"
        return Check("permissions", WARNING, f"others on this machine may get at: {names}", advice)
    return Check("permissions", GOOD, "for this user alone")


def _trial(directory: Path, elsewhere: str) -> list[Check]:
    """Write, lock and open a database in a directory of its own, which is removed."""
    for leftover in directory.glob(f"{_TRIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = directory / f"{_TRIAL}{os.getpid()}"
    try:
        folder.mkdir(mode=0o700)
        replace_file(folder / "written", b"x")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return [Check("writing", PROBLEM, f"a file cannot be written ({error.strerror})", elsewhere)]
    try:
        return [Check("writing", GOOD, "works"), _locking(folder, elsewhere), _database(folder, elsewhere)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _locking(folder: Path, elsewhere: str) -> Check:
    try:
        with file_lock(folder / "lock", 1.0):
            return Check("locks", GOOD, "work")
    except StateError as error:
        return Check("locks", PROBLEM, str(error), f"this file system cannot lock files: {elsewhere}")


def _database(folder: Path, elsewhere: str) -> Check:
    database = Database(folder / "outbox.sqlite3", tables.SCHEMA, tables.VERSION)
    try:
        database.run(lambda db: tables.one(db, "SELECT COUNT(*) FROM records"))
        problem = database.problem
    except StoreError as error:
        problem = str(error)
    finally:
        database.close(for_good=True)
    return Check("database", PROBLEM, problem, elsewhere) if problem else Check("database", GOOD, "works")


def _installation(directory: Path) -> Check:
    """Look at the file itself: what the SDK reads of a bad one is a no, which does not say why."""
    path = directory / FILE_NAME
    decide = "decide again with 'on' or 'off': until then it counts as a no"
    try:
        raw = parse(path.read_bytes())
    except FileNotFoundError:
        return Check(FILE_NAME, GOOD, "not made yet")
    except OSError as error:
        return Check(FILE_NAME, PROBLEM, f"cannot be read ({error.strerror})", "make it readable for this user")
    except (ValueError, RecursionError):
        return Check(FILE_NAME, PROBLEM, "is not valid JSON", decide)
    schema = raw.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        return Check(FILE_NAME, WARNING, "was written by a newer version and is not changed", "update this program")
    state = known(raw)
    strange = sorted(key for key in raw if raw[key] is not None and getattr(state, key, raw[key]) is None)
    if strange:
        advice = decide if "telemetry_enabled" in strange else "correct it, or remove it: it counts as missing"
        return Check(FILE_NAME, WARNING, f"holds what cannot be: {', '.join(strange)}", advice)
    return Check(FILE_NAME, GOOD, "can be read")


def _outbox(session: Session) -> Check:
    try:
        if not session.has_outbox():
            return Check("outbox", GOOD, "not made yet")
        pending = session.outbox.counts().pending + session.outbox.spilled_count()
    except StoreError as error:
        return Check("outbox", PROBLEM, str(error), "close the program that holds it, or try again")
    if not session.outbox.database.durable:
        advice = "update this program, if it is older than the state; until this is mended, records wait in memory only"
        return Check("outbox", PROBLEM, session.outbox.database.problem, advice)
    return Check("outbox", GOOD, f"{pending} record{'' if pending == 1 else 's'} wait{'s' if pending == 1 else ''}")


def _set_aside(directory: Path) -> list[Check]:
    names = sorted(it.name for it in directory.glob("*.corrupt-*") if "-wal" not in it.name and "-shm" not in it.name)
    if not names:
        return []
    advice = "delete it once nobody needs it ('forget' deletes it too)"
    return [Check("damaged files", WARNING, f"set aside: {', '.join(names)}", advice)]


def kind_of_place(directory: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the type of the file system that *directory* is, or would be, on; empty where that is not told."""
    try:
        table = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
    place, best, kind = os.path.realpath(directory), "", ""
    for line in table.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = words[1]
        for written, meant in _OCTAL.items():
            point = point.replace(written, meant)
        # The last one of a point hides those before it.
        if len(point) >= len(best) and os.path.join(place, "").startswith(os.path.join(point, "")):
            best, kind = point, words[2]
    return kind
