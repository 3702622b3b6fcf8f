"""installation.json: what this install knows about itself, shared by all processes and readable by people.

The one door for file locks and atomic writes. Rules:

1. A write takes the lock, reads the file again, changes only the changed keys and replaces the file in one step, so
   a process can never write back a stale copy (that is how revoked consent comes back).
2. Unknown keys are kept. A file of a newer ``schema`` is read and never rewritten.
3. A corrupt file is kept aside as ``installation.json.corrupt-…``; until somebody decides again, consent counts as no.
4. What cannot be written holds for this process only, and `problem` says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from telemetry_sdk.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["FILE_NAME", "Installation", "State", "StateError", "file_lock", "locate", "prepare_directory"]

FILE_NAME: Final = "installation.json"
SCHEMA: Final = 1
LOCK_WAIT: Final = 3.0

_LARGEST: Final = 1024 * 1024
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# A file changed twice within one tick of the file system's clock looks unchanged, so a copy read within this time of
# the file's last change is read again; a whole second in the stamp means a file system that counts in seconds.
_FINE_TICK_NS: Final = 100_000_000
_COARSE_TICK_NS: Final = 3_000_000_000


class StateError(OSError):
    """The state directory cannot be used the way it was asked for."""


@dataclass(frozen=True, slots=True)
class State:
    """The content of installation.json. Times are RFC 3339 UTC, days ISO dates; None means not yet or unknown.

    Attributes:
        install_id: The random id of this install.
        first_seen_at: When the identity was made.
        first_seen_sent_at: When the sink acknowledged first_seen.
        last_heartbeat_on: UTC day of the newest heartbeat.
        telemetry_enabled: The user's decision on detailed analytics; None while undecided.
        consent_decided_at: When it was made.
        consent_catalog_version: The catalogue version it was made for.
        install_ping_sent_at: When the install ping was accepted.
        notice_version_shown: The newest first-run notice that was shown.
        heartbeat_phase_s: The install's own moment of the day, seconds after midnight UTC.
    """

    install_id: str | None = None
    first_seen_at: str | None = None
    first_seen_sent_at: str | None = None
    last_heartbeat_on: str | None = None
    telemetry_enabled: bool | None = None
    consent_decided_at: str | None = None
    consent_catalog_version: str | None = None
    install_ping_sent_at: str | None = None
    notice_version_shown: str | None = None
    heartbeat_phase_s: float | None = None


_CONSENT_KEYS: Final = ("telemetry_enabled", "consent_decided_at", "consent_catalog_version")
_TEXT_KEYS: Final = frozenset(f.name for f in fields(State)) - {"telemetry_enabled", "heartbeat_phase_s"}


def _parse(data: bytes) -> dict[str, object]:
    """Return the object in *data*; raises ValueError for anything else."""
    value = json.loads(data.decode("utf-8-sig"))
    if isinstance(value, dict):
        return value
    raise ValueError("not an object")


def _state(raw: Mapping[str, object]) -> State:
    """Return the known keys of *raw*; a value of the wrong type counts as missing, so a strange consent is no."""
    known: dict[str, object] = {key: raw[key] for key in _TEXT_KEYS if isinstance(raw.get(key), str)}
    if not _UUID.fullmatch(str(known.get("install_id"))):
        known.pop("install_id", None)
    if isinstance(raw.get("telemetry_enabled"), bool):
        known["telemetry_enabled"] = raw["telemetry_enabled"]
    phase = raw.get("heartbeat_phase_s")
    if isinstance(phase, (int, float)) and not isinstance(phase, bool):
        known["heartbeat_phase_s"] = float(phase)
    return State(**known)  # type: ignore[arg-type]


def locate(app: str, prefix: str, environ: Mapping[str, str], argument: str | os.PathLike[str] | None) -> Path | None:
    """Return the app's state directory: argument > ``<APP>_TELEMETRY_DIR`` > the platform's user data directory.

    Creates nothing. None when there is no home to put it in.

    Raises:
        ConfigError: The argument is empty or not a path.
    """
    if argument is not None:
        return Path(os.path.abspath(_path_text(argument)))
    override = environ.get(f"{prefix}_TELEMETRY_DIR", "").strip()
    if override:
        return Path(os.path.abspath(override))
    import platformdirs

    default = Path(platformdirs.user_data_dir(app, appauthor=False)) / "telemetry"
    return default if default.is_absolute() else None


def _path_text(argument: object) -> str:
    if isinstance(argument, (str, os.PathLike)):
        text = os.fspath(argument)
        if isinstance(text, str) and text.strip() and "\0" not in text:
            return text
    raise ConfigError("state_dir", "must be the path of a directory, as text or a pathlib.Path")


def prepare_directory(directory: Path) -> None:
    """Create *directory* with mode 0700 if it is missing.

    Raises:
        StateError: It cannot be created or written to.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"the state directory cannot be created ({type(error).__name__})") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StateError("the state directory is not writable")


@contextlib.contextmanager
def file_lock(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock file *path* against every other thread and process; a dead holder's lock is free at once.

    Raises:
        StateError: It was not free within *wait_s* seconds, or this file system has no locks.
    """
    import filelock

    lock = filelock.FileLock(str(path), timeout=wait_s, mode=0o600)
    try:
        lock.acquire(poll_interval=0.005)
    except (OSError, NotImplementedError) as error:
        raise StateError(f"cannot lock {path.name} ({type(error).__name__})") from None
    try:
        yield
    finally:
        lock.release()


class Installation:
    """The state file of one app. Safe to share between threads; any number of processes may use the same file."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.problem = "" if directory else "there is no home directory to keep state in"
        self._overlay: dict[str, object] = {}
        self._cached = State()
        self._signature: object = None
        self._read_lock = threading.RLock()

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self.directory is not None and (self.directory / FILE_NAME).exists()

    def after_fork(self) -> None:
        """Forget the locks a parent's thread may have held at the moment of a fork."""
        self._read_lock = threading.RLock()

    def check_writable(self) -> bool:
        """Create the directory if need be and tell whether state can be kept there; `problem` says why not."""
        if self.directory is None:
            return False
        try:
            prepare_directory(self.directory)
        except StateError as error:
            self.problem = str(error)
            return False
        return True

    def read(self) -> State:
        """Return the current state, also when another process or a person changed the file a moment ago.

        Costs one ``stat`` while nothing changed. Never raises: an unreadable file reads as an empty one.
        """
        on_disk = self._read_disk()
        return replace(on_disk, **self._overlay) if self._overlay else on_disk  # type: ignore[arg-type]

    def _read_disk(self) -> State:
        if self.directory is None:
            return State()
        path = self.directory / FILE_NAME
        with self._read_lock:
            signature = _signature(path)
            if signature is None or signature != self._signature:
                self._take(_state(_read_raw(path)[0]))
                self._signature = signature
            return self._cached

    def update(self, change: Callable[[State], Mapping[str, object]], *, must_lock: bool = True) -> State:
        """Apply *change* to the newest state and return the result.

        *change* is given the state as it is on disk, under the lock, and returns only the keys to change; an empty
        mapping writes nothing. When this returns, the change has been synced to the disk, or `problem` says why it
        holds for this process only.

        Args:
            change: The keys to change.
            must_lock: False to write even where the lock cannot be had: for a withdrawal of consent, which must not
                depend on anything.
        """
        if self.directory is None:
            self._overlay |= change(self.read())
            return self.read()
        # Most calls find their change made already, by another thread or process; they need not queue for the lock.
        if not self._overlay and not change(self._read_disk()):
            return self.read()
        try:
            prepare_directory(self.directory)
            with _locked(self.directory, must_lock=must_lock):
                changes = _rewrite(self.directory / FILE_NAME, change)
            self.problem = ""
            self._overlay = {key: value for key, value in self._overlay.items() if key not in changes}
        except StateError as error:
            self.problem = str(error)
            self._overlay |= change(self.read())
        except OSError as error:
            self.problem = f"installation.json cannot be written ({type(error).__name__})"
            self._overlay |= change(self.read())
        return self.read()

    def _take(self, fresh: State) -> None:
        """Keep what was read; a decision somebody made on disk ends a consent that holds for this process only."""
        if fresh.telemetry_enabled is not self._cached.telemetry_enabled and self._overlay.get("telemetry_enabled"):
            self._overlay = {key: value for key, value in self._overlay.items() if key not in _CONSENT_KEYS}
        self._cached = fresh


def _signature(path: Path) -> object:
    """Return what identifies the file's content, or None when a change could still hide behind it."""
    try:
        found = os.stat(path)
    except OSError:
        return "missing"
    tick = _FINE_TICK_NS if found.st_mtime_ns % 1_000_000_000 else _COARSE_TICK_NS
    if abs(time.time_ns() - found.st_mtime_ns) < tick:
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _read_raw(path: Path) -> tuple[dict[str, object], bool]:
    """Return the file's object, and whether the file is there but corrupt; a corrupt one declines consent."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            return {"telemetry_enabled": False}, True
        return _parse(data), False
    except FileNotFoundError:
        return {}, False
    except (OSError, ValueError, RecursionError):
        return {"telemetry_enabled": False}, True


@contextlib.contextmanager
def _locked(directory: Path, *, must_lock: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(directory / "installation.lock", LOCK_WAIT))
        except StateError:
            if must_lock:
                raise
        yield


def _rewrite(path: Path, change: Callable[[State], Mapping[str, object]]) -> Mapping[str, object]:
    """Apply *change* to the file as it is now; the caller holds the lock."""
    raw, corrupt = _read_raw(path)
    changes = change(_state(raw))
    schema = raw.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        raise StateError(f"{FILE_NAME} was written by a newer version and is not changed by this one")
    if corrupt:
        os.replace(path, path.with_name(f"{FILE_NAME}.corrupt-{time.time_ns()}"))
    if changes or corrupt:
        _replace_file(path, {"schema": SCHEMA, **raw, **changes})
    return changes


def _replace_file(path: Path, content: Mapping[str, object]) -> None:
    """Write *content* to *path* in one step: temporary file beside it, fsync, rename, fsync of the directory."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
