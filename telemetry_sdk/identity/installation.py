"""installation.json: who this install is and what the user decided, shared by all processes and readable by people.

It is written only when an id or a secret is made, the user decides, or a notice was shown. What the program itself did
lies beside it in progress.json, so that no bookkeeping writes a decision.

Rules:

1. A write takes the lock, reads the file again, changes only the changed keys and replaces the file in one step, so
   a process can never write back a stale copy (that is how revoked consent comes back). An editor takes no lock: so
   right before the rename the file is looked at again, and if it is not the one that was read all begins anew. A yes
   is not written over a no that came after the call began. What is left are the microseconds from look to rename.
2. Unknown keys are kept. A file of a newer ``schema`` is read and never rewritten.
3. A corrupt file is kept aside as ``installation.json.corrupt-…``; until somebody decides again, consent counts as no.
4. What cannot be written holds for this process only, and `problem` says why.
5. A no always wins. A yes counts only in a file and a directory that belong to this user or to root, and that nobody
   else may write; storing one tightens a directory of our own. Elsewhere it holds for this process only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.host.files import (
    LockTimeoutError,
    StateError,
    content_of,
    file_lock,
    overwrite_file,
    prepare_directory,
    replace_file,
    sync_file,
    tighten_directory,
    why_others_may_write,
)
from telemetry_sdk.host.guard import ignoring, pass_on
from telemetry_sdk.identity.schema import SCHEMA, Progress, State, known, known_progress, parse, serialize

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

FILE_NAME: Final = "installation.json"
PROGRESS_NAME: Final = "progress.json"
LOCK_WAIT: Final = 1.0
_LOCK_AVOIDED_S: Final = 10.0
_LARGEST: Final = 1024 * 1024
_MOST_TRIES: Final = 5

_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_DEEPEST: Final = 100  # what is not nested deeper is not the reason why a stack overflows
_CONSENT_KEYS: Final = ("telemetry_enabled", "base_enabled", "consent_decided_at", "consent_catalog_version")
# A file changed twice within one tick of the file system's clock looks unchanged, so a copy read within this time of
# the file's last change is read again; a whole second in the stamp means a file system that counts in seconds.
_FINE_TICK_NS: Final = 100_000_000
_COARSE_TICK_NS: Final = 3_000_000_000


class Installation:
    """The state file of one app. Safe to share between threads; any number of processes may use the same file.

    A *read_only* one is read as ever and never written: changes hold for this process only.
    """

    def __init__(self, directory: Path | None, *, read_only: bool = False) -> None:
        self.directory = directory
        self._read_only = read_only
        self.problem = "" if directory else "there is no home directory to keep state in"
        self._path = directory / FILE_NAME if directory else None
        self._file = str(self._path or "")  # for the look in every call: converting a Path costs more than it
        self._overlay: dict[str, Any] = {}
        self._avoid_lock_until = 0.0
        # What tells the file that was read from a changed one, and what it said. Replaced as one, without a lock: a
        # reader may be interrupted by a signal handler that reads too, or hold up a thread inside a transaction.
        self._seen: tuple[object, State] = (None, State())

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return os.path.exists(self._file)

    def has_directory(self) -> bool:
        """Tell whether the state directory is there."""
        return self.directory is not None and os.path.isdir(self.directory)

    def check_writable(self) -> bool:
        """Create the directory if need be and tell whether state can be kept there; `problem` says why not."""
        if self._read_only or self.directory is None:
            return self._read_only
        try:
            prepare_directory(self.directory)
        except StateError as error:
            self.problem = str(error)
            return False
        return True

    def read(self) -> State:
        """Return the current state, also when another process or a person changed the file a moment ago.

        Costs one ``stat`` while nothing changed. Never raises: a file that cannot be read reads as a no.
        """
        on_disk = self._read_disk()
        return on_disk._replace(**self._overlay) if self._overlay else on_disk

    @property
    def newest(self) -> State:
        """The state as it was read last, without a look at the file: for a call that has just read it."""
        state = self._seen[1]
        return state._replace(**self._overlay) if self._overlay else state

    def _read_disk(self) -> State:
        try:
            found = os.stat(self._file)
        except OSError as error:
            pass_on(error)
            return self._read_anew(None)
        # The time of change too: some editors and copies set the time of modification back to an old one.
        signature = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
        seen, state = self._seen
        return state if signature == seen else self._read_anew(signature)

    def _read_anew(self, signature: tuple[int, ...] | None) -> State:
        before = self._seen[1]
        if self._path is None:
            return before
        is_settled = signature is not None and not _is_fresh(*signature[:2])
        try:
            state = _believed(known(_read_raw(self._path)[0]), self._path)
        except OSError as error:
            pass_on(error)
            # Not remembered: what is in the way may pass without a change to the file.
            return State(is_readable=False)
        if state.telemetry_enabled is not before.telemetry_enabled and self._overlay.get("telemetry_enabled"):
            self._forget(_CONSENT_KEYS)  # what somebody decided on disk ends a yes that holds for this process only
        if state == before:
            state = before  # the very same, so that what was concluded from it holds
        self._seen = (signature if is_settled else None, state)
        return state

    def is_kept(self, key: str) -> bool:
        """Tell whether the value of *key* is the file's, not one that holds for this process only."""
        return self._read_only or (self.directory is not None and key not in self._overlay)

    def update(
        self, change: Callable[[State], Mapping[str, object]], *, must_lock: bool = True, hold_here: bool = True
    ) -> State:
        """Apply *change* to the newest state and return the result.

        *change* is given the state as it is on disk, under the lock, and returns only the keys to change; an empty
        mapping writes nothing. When this returns, the change has been synced to the disk, or `problem` says why it
        holds for this process only.

        Args:
            change: The keys to change.
            must_lock: False to write even where the lock cannot be had, and in place where the disk is full: for a
                withdrawal of consent, which must not depend on anything. It then holds in this process even if the
                lock's owner writes its stale copy.
            hold_here: Whether a change that cannot be written holds for this process at least.
        """
        path = self._path
        if self._read_only or path is None:
            return self._hold_here(change, self.read()) if hold_here or self._read_only else self.read()
        # Most calls find their change made already, by another thread or process; they need not queue for the lock.
        on_disk = self._read_disk()
        before = on_disk._replace(**self._overlay)
        if not self._overlay and not change(before):
            return before
        checked = partial(_without_late_yes, on_disk)
        try:
            prepare_directory(path.parent)
            with self._locked(path, must_lock=must_lock) as locked:
                changes = _rewrite(path, lambda state: checked(state, change(state)), in_place=not must_lock)
            if locked:
                self.problem = ""
                return self._settle(change, changes)
            self.problem = "installation.json was written without its lock"
            return self._hold_here(lambda state: {**changes, **change(state)}, self.read())
        except OSError as error:
            pass_on(error)
            why = f"installation.json cannot be written ({type(error).__name__})"
            self.problem = str(error) if isinstance(error, StateError) else why
        # A withdrawal that could not be synced may be on disk already, and then there is nothing left to change.
        state = self.read() if must_lock else before
        return self._hold_here(lambda it: checked(self._read_disk(), change(it)), state) if hold_here else self.read()

    def erase(self, noes: Collection[str] = ()) -> bool:
        """Delete the file and every copy that was set aside, and tell whether all is gone; the *noes* alone stay."""
        self._overlay = {}
        path = self._path
        if path is None or self._read_only:
            return True
        try:
            with self._locked(path, must_lock=False) as locked:
                for leftover in [*path.parent.glob(f"{FILE_NAME}.*"), path]:
                    leftover.unlink(missing_ok=True)
                if noes:
                    replace_file(path, serialize({"schema": SCHEMA, **dict.fromkeys(noes, False)}))
        except OSError as error:
            pass_on(error)
            self.problem = f"installation.json cannot be deleted ({type(error).__name__})"
            return False
        return locked

    @contextlib.contextmanager
    def _locked(self, path: Path, *, must_lock: bool) -> Iterator[bool]:
        """Hold the lock, or go on without it; yield which. One that was not free is not waited for again so soon."""
        wait_s = 0.0 if time.monotonic() < self._avoid_lock_until else LOCK_WAIT
        locked = True
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_alone_with(path, wait_s))
            except StateError as error:
                if isinstance(error, LockTimeoutError):
                    self._avoid_lock_until = time.monotonic() + _LOCK_AVOIDED_S
                if must_lock:
                    raise
                locked = False
            yield locked

    def _hold_here(self, change: Callable[[State], Mapping[str, object]], state: State) -> State:
        self._overlay |= change(state)
        return self.read()

    def _settle(self, change: Callable[[State], Mapping[str, object]], written: Mapping[str, object]) -> State:
        """Forget what held for this process only and is written now, on disk anyway, or taken back by *change*."""
        on_disk = self._read_disk()
        self._forget({key for key, value in self._overlay.items() if key in written or getattr(on_disk, key) == value})
        if self._overlay:
            self._forget(change(self.read()).keys())
        if on_disk.doubt and written.get("telemetry_enabled"):
            self.problem = f"a yes is not kept: {on_disk.doubt}"
            self._overlay |= {key: value for key, value in written.items() if key in _CONSENT_KEYS}
        return self.read()

    def _forget(self, keys: Collection[str]) -> None:
        gone = {*keys, *_CONSENT_KEYS} if "telemetry_enabled" in keys else keys
        self._overlay = {key: value for key, value in self._overlay.items() if key not in gone}


def _is_fresh(*stamps: int) -> bool:
    """Tell whether a change could still hide behind one of the *stamps* of a file that is about to be read."""
    now = time.time_ns()
    return any(abs(now - stamp) < (_FINE_TICK_NS if stamp % 1_000_000_000 else _COARSE_TICK_NS) for stamp in stamps)


def _without_late_yes(before: State, now: State, changes: Mapping[str, object]) -> Mapping[str, object]:
    """Return *changes* without their yes if a no was written after the call saw *before* on disk."""
    is_late = before.telemetry_enabled is not False and now.telemetry_enabled is False
    if not is_late or changes.get("telemetry_enabled") is not True:
        return changes
    return {key: value for key, value in changes.items() if key not in _CONSENT_KEYS}


def _believed(state: State, path: Path) -> State:
    """Return *state*, without a yes that somebody else may have written."""
    doubt = why_others_may_write(path) if state.telemetry_enabled else ""
    return state._replace(telemetry_enabled=None, doubt=doubt) if doubt else state


def _content_of(path: Path) -> bytes | None:
    """Return what a regular file holds, cut at the limit; None where there is none, nothing of what is no such file."""
    try:
        return content_of(path, _LARGEST + 1) or b""
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read_raw(path: Path) -> tuple[dict[str, object], bool, bytes | None]:
    """Return the file's object, whether it is there but corrupt, and its bytes; a corrupt one declines consent.

    Raises:
        OSError: It cannot be read (no right to, a bad disk, no free descriptor), which says nothing about it.
    """
    data: bytes | None = b""
    try:
        data = _content_of(path)
        if data is None:
            return {}, False, data
        if len(data) <= _LARGEST:
            return parse(data), False, data
    except RecursionError:
        if not data or data.count(b"[") + data.count(b"{") <= _DEEPEST:
            raise StateError("the caller's stack is too deep to read the state") from None
    except ValueError as error:
        pass_on(error)
    return {"telemetry_enabled": False}, True, data


class _ChangedError(StateError):
    """The file is not the one that was read."""


def _rewrite(path: Path, change: Callable[[State], Mapping[str, object]], *, in_place: bool) -> Mapping[str, object]:
    """Apply *change* to the file as it is now; the caller holds the lock. Begin anew if somebody else changed it.

    *in_place* where there is no room for a second file, and over an editor who never rests: for a withdrawal. A kill
    in the middle of that may leave a corrupt file, which counts as a no.
    """
    for left in reversed(range(_MOST_TRIES)):
        with contextlib.suppress(_ChangedError):
            return _try_to_rewrite(path, change, in_place=in_place, looks_again=not in_place or left > 0)
    raise StateError(f"{FILE_NAME} is being changed by another program")


def _try_to_rewrite(
    path: Path, change: Callable[[State], Mapping[str, object]], *, in_place: bool, looks_again: bool
) -> Mapping[str, object]:
    raw, corrupt, data = _read_raw(path)
    changes = change(_believed(known(raw), path))
    schema = raw.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        raise StateError(f"{FILE_NAME} was written by a newer version and is not changed by this one")

    def look_again() -> None:
        if looks_again and _content_of(path) != data:
            raise _ChangedError(f"{FILE_NAME} was changed")

    if corrupt:
        look_again()
        os.replace(path, path.with_name(f"{FILE_NAME}.corrupt-{time.time_ns()}"))
        data = None
    if changes or corrupt:
        if changes.get("telemetry_enabled"):
            tighten_directory(path.parent)
        content = serialize({"schema": SCHEMA, **raw, **changes})
        try:
            replace_file(path, content, before_rename=look_again)
        except OSError as error:
            pass_on(error)
            if corrupt or not in_place or error.errno not in _FULL:
                raise
            overwrite_file(path, content)
    elif in_place:
        sync_file(path)  # written by a call that could not sync it
    return changes


@contextlib.contextmanager
def _alone_with(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock of *path*, rid of the temporary files of processes that were killed while they wrote it."""
    with file_lock(path.with_suffix(".lock"), wait_s):
        for leftover in path.parent.glob(f"{path.name}.*.tmp"):
            with ignoring(OSError):
                leftover.unlink()
        yield


class ProgressFile:
    """What the program itself did (progress.json) under the id of *installation*, shared by all its processes.

    It decides nothing. A file that is missing, corrupt or lost is an empty one: what is done again then is told from
    what was done before by its derived uid. So nothing here raises, and nobody who decides waits for it: it has a lock
    of its own. It is about the install id it names; to another id it says nothing, whatever a reset, a copy or a crash
    left. What cannot be written, as in a *read_only* one, holds for this process only.
    """

    def __init__(self, installation: Installation, *, read_only: bool = False) -> None:
        self._installation = installation
        self._path = installation.directory / PROGRESS_NAME if installation.directory else None
        self._read_only = read_only
        self._held: dict[str, Any] = {}

    def read(self) -> Progress:
        """Return what was done under the install id that holds now. Never raises."""
        return known_progress(self._raw(self._installation.read().install_id))

    def update(self, change: Callable[[Progress], Mapping[str, object]]) -> None:
        """Apply *change*, which returns only the keys to change, to the newest progress. Never raises.

        *change* may be called twice, the second time under the lock. Waits for the lock for a moment at most.
        """
        path, install_id = self._path, self._installation.read().install_id
        if not (changes := change(known_progress(self._raw(install_id)))):
            return
        with ignoring(OSError):
            if path is not None and install_id is not None and not self._read_only:
                with _alone_with(path, LOCK_WAIT):
                    if self._installation.read().install_id != install_id:
                        return  # forgotten, or another install, since the change began
                    raw = self._raw(install_id)
                    content = {"schema": SCHEMA, **raw, **change(known_progress(raw)), "install_id": install_id}
                    replace_file(path, serialize(content))
                    self._held = {}
                    return
        self._held = {**self._held_for(install_id), **changes, "install_id": install_id}

    def erase(self) -> bool:
        """Delete the file; whether it is gone."""
        self._held = {}
        path = self._path
        if path is None or self._read_only or not path.parent.is_dir():
            return True
        try:
            with _alone_with(path, LOCK_WAIT):
                path.unlink(missing_ok=True)
        except OSError as error:
            pass_on(error)
            return False
        return True

    def _raw(self, install_id: str | None) -> dict[str, Any]:
        """Return what the file says of *install_id*, and over it what holds for this process only."""
        raw: dict[str, Any] = {}
        with ignoring(OSError, ValueError, RecursionError):
            data = _content_of(self._path) if self._path is not None and install_id is not None else None
            if data and len(data) <= _LARGEST and (found := parse(data)).get("install_id") == install_id:
                raw = found
        return raw | self._held_for(install_id)

    def _held_for(self, install_id: str | None) -> dict[str, Any]:
        return self._held if self._held.get("install_id") == install_id else {}
