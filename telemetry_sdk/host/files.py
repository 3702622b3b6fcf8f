"""The one door for file locks and atomic writes, and a careful way to read."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.host.background import Mutex
from telemetry_sdk.host.guard import ignoring, pass_on
from telemetry_sdk.host.quiet import quiet_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import filelock


_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
# What a Python may lack, or a system does not have.
_NOFOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK: Final[int] = getattr(os, "O_NONBLOCK", 0)
_me: Final[Callable[[], int]] = getattr(os, "geteuid", lambda: -1)
_CREATING: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW


class StateError(OSError):
    """The state directory cannot be used the way it was asked for."""


class LockTimeoutError(StateError):
    """A lock was not free in time; the file system is fine."""


def prepare_directory(directory: Path) -> None:
    """Create *directory* with mode 0700 if it is missing.

    Raises:
        StateError: It cannot be created or written to.
    """
    try:
        if not directory.is_dir():
            missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in reversed(missing):
                with _opened_directory(folder) as descriptor:
                    _settle(descriptor, folder.parent, 0o700)
    except OSError as error:
        pass_on(error)
        raise StateError(f"the state directory cannot be created ({type(error).__name__})") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StateError("the state directory is not writable")


@contextlib.contextmanager
def file_lock(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock file *path* against every other thread and process; a dead holder's lock is free at once.

    Raises:
        StateError: It was not free within *wait_s* seconds, or this file system has no locks.
    """
    if isinstance(locks, _NoLocks):
        with _alone(path, wait_s):
            yield
        return
    try:
        make_file(path)
        lock = _lock_class()(str(path), timeout=wait_s, mode=0o600)
        with quiet_logs():
            lock.acquire(poll_interval=0.005)
    except TimeoutError as error:
        pass_on(error)
        raise LockTimeoutError(f"another process holds {path.name}") from None
    except (OSError, NotImplementedError) as error:
        pass_on(error)
        raise StateError(f"cannot lock {path.name} ({type(error).__name__})") from None
    try:
        yield
    finally:
        with quiet_logs():
            lock.release()


@contextlib.contextmanager
def _alone(path: Path, wait_s: float) -> Iterator[None]:
    """Hold *path* against the other threads of this process: all there is where Python cannot lock a file."""
    lock = ProcessLock(None, os.fspath(path))
    if not lock.take(wait_s):
        raise LockTimeoutError(f"another thread holds {path.name}")
    try:
        yield
    finally:
        lock.release()


@functools.cache
def _lock_class() -> type[filelock.BaseFileLock]:
    """Return filelock's class for this platform, imported when first needed, without its substitute.

    Where the file system has no locks, newer versions print a warning and go on with a marker file, which outlives a
    holder that was killed.
    """
    import filelock

    class Lock(filelock.FileLock):
        def _fallback_to_soft_lock(self) -> None:
            raise NotImplementedError

    return Lock


_POLL: Final = 0.005
_SHORTEST_POLL: Final = 0.000_02
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


_locks: Final[weakref.WeakSet[ProcessLock]] = weakref.WeakSet()


class ProcessLock:
    """A lock file that one thread of one process of this machine holds. It is given back in three steps.

    It dies with its process: a child that is forked meanwhile closes the descriptor it shares, and begins with none.
    It is given back explicitly, so that a child which no hook of Python's told of the fork does not keep it. Nobody
    loses it by opening and closing the file, as a program does that copies its data directory. Threads of a process
    exclude each other by a mutex for each path. Where the file system has no locks (see `is_shared`), or there is no
    *path*, threads of this process alone do; without a path those that use the same *name*.

    A Ctrl-C must not leave it taken. Whoever has it gives it back like this, with nothing before the first ``try``::

        if lock.take(wait_s):
            try:
                ...
            finally:
                try:
                    lock.unlock_file()
                except OSError:
                    pass  # the program closed it
                finally:
                    try:
                        lock.close_file()
                    except OSError:
                        pass
                    finally:
                        lock.release()

    All three are calls of C, which an interrupt finds either not begun, and then the ``finally`` makes them, or done.
    """

    _mutexes: dict[str, Mutex] = {}  # noqa: RUF012 - shared by all, that is what it is for
    _pid = 0

    unlock_file: Callable[[], object]
    """Give the file back to other processes. The first step."""
    close_file: Callable[[], object]
    """Close it. The second step."""
    release: Callable[[], None]
    """Give the mutex back to other threads. The third step."""

    def __init__(self, path: Path | None, name: str = "") -> None:
        self._path = path
        self._name = os.path.realpath(path) if path else f"without a file: {name}"
        self._file_id = ""
        self._descriptor = -1
        self.problem = ""  # why it could not be had, the newest time it was asked for
        self.is_shared = True  # False once it was seen that the file system has no locks
        _locks.add(self)

    @property
    def file_id(self) -> str:
        """Which file it was that was taken: another one under the same name is another lock. Empty without a file."""
        return self._file_id

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds it."""
        return self._mutex().is_mine()

    def take(self, wait_s: float) -> bool:
        """Take it, waiting at most *wait_s* seconds, and tell whether that succeeded; not twice by one thread."""
        deadline = time.monotonic() + max(wait_s, 0.0)
        mutex = self._mutex()
        if mutex.is_mine():
            self.problem = "this thread is sending already"
            return False
        self.problem, self.release = "another thread is sending", mutex.give
        had = False
        if not mutex.take(wait_s):
            return had
        try:
            had = self._lock_file(deadline)
        finally:
            if not had:
                mutex.give()
        return had

    def _mutex(self) -> Mutex:
        cls = ProcessLock
        if cls._pid != os.getpid():  # another process: the parent's mutexes mean nothing here
            cls._pid, cls._mutexes = os.getpid(), {}
        return cls._mutexes.setdefault(self._name, Mutex())

    def _lock_file(self, deadline: float) -> bool:
        self.unlock_file = self.close_file = bool  # which does nothing
        if self._path is None:
            return True
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | _NOFOLLOW
        try:
            make_file(self._path)
            descriptor = os.open(self._path, flags)
        except OSError as error:
            pass_on(error)
            self.problem = f"{self._path.name} cannot be used ({type(error).__name__})"
            return False
        close_file = functools.partial(os.close, descriptor)
        had = False
        try:
            found = os.fstat(descriptor)
            self._file_id = f"{found.st_dev}:{found.st_ino}"
            unlock_file = functools.partial(locks.flock, descriptor, locks.LOCK_UN)
            self._descriptor = descriptor
            had = self._lock_open_file(descriptor, deadline)
        finally:
            if not had:
                close_file()
        self.unlock_file, self.close_file = (unlock_file if self.is_shared else bool), close_file
        return had

    def forget_parents(self) -> None:
        """Close, in a forked child, what the parent may hold, if it is still the lock file that has this number."""
        descriptor, self._descriptor = self._descriptor, -1
        with ignoring(OSError):
            found = os.fstat(descriptor)
            if f"{found.st_dev}:{found.st_ino}" == self._file_id:
                os.close(descriptor)

    def _lock_open_file(self, descriptor: int, deadline: float) -> bool:
        try:
            if not lock_open_file(descriptor, deadline - time.monotonic()):
                self.problem = "another process is sending"
                return False
        except OSError as error:
            pass_on(error)
            self.is_shared = error.errno not in _NO_LOCKS
            self.problem = f"the delivery lock cannot be used ({type(error).__name__})"
            return not self.is_shared
        return True


def lock_open_file(descriptor: int, wait_s: float = 0.0) -> bool:
    """Lock the open file for this process; False when another one keeps it for longer than *wait_s* seconds.

    Give it back by ``locks.flock(descriptor, locks.LOCK_UN)``: closing the file does not while a forked child has it.

    Raises:
        OSError: The file system has no locks.
    """
    deadline, pause = time.monotonic() + wait_s, _SHORTEST_POLL
    while True:
        try:
            locks.flock(descriptor, locks.LOCK_EX | locks.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, _POLL)
        else:
            return True


class _NoLocks:
    """Stands for `fcntl` in a Python that cannot lock a file: threads of one process alone exclude each other."""

    LOCK_EX, LOCK_NB, LOCK_UN = 2, 4, 8

    def flock(self, descriptor: int, operation: int) -> None:
        """Do nothing."""


class _WindowsLocks(_NoLocks):
    """What `fcntl` is elsewhere."""

    def flock(self, descriptor: int, operation: int) -> None:
        import msvcrt

        mode = msvcrt.LK_UNLCK if operation == self.LOCK_UN else msvcrt.LK_NBLCK  # type: ignore[attr-defined]
        try:
            msvcrt.locking(descriptor, mode, 1)  # type: ignore[attr-defined]
        except OSError as error:
            pass_on(error)
            raise BlockingIOError(*error.args) from None


locks: Any
"""Locks of open files: the module fcntl, or what stands for it."""
try:
    import fcntl as locks
except ImportError:
    locks = _WindowsLocks() if os.name == "nt" else _NoLocks()


def _after_fork_in_child() -> None:
    for lock in list(_locks):
        lock.forget_parents()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def replace_file(
    path: Path, data: bytes, *, synced: bool = True, before_rename: Callable[[], None] | None = None
) -> None:
    """Write *data* to *path* in one step, with mode 0600: a temporary file beside it, then a rename.

    A kill leaves the old content or the new one. *synced*: a power cut too, for both file and directory are synced.
    *before_rename* has the last word: if it raises an OSError, that ends it.

    Raises:
        OSError: It could not be written; the old content is there still.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, _CREATING, 0o600)
    try:
        with open(descriptor, "wb") as file:
            _settle(descriptor, path.parent, 0o600)
            file.write(data)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        if before_rename is not None:
            before_rename()
        os.replace(temporary, path)
    except OSError as error:
        pass_on(error)
        with ignoring(OSError):
            temporary.unlink()
        raise
    if synced:
        _sync_directory(path.parent)


def overwrite_file(path: Path, data: bytes) -> None:
    """Write *data* over what the file *path* holds, which takes no new space as a rule. Synced.

    A kill in the middle may leave a mixture of both.

    Raises:
        OSError: It could not be written.
    """
    with open(_opened(path), "wb") as file:
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Have what the file *path* holds survive a power cut.

    Raises:
        OSError: It could not be synced.
    """
    with open(_opened(path), "wb") as file:
        os.fsync(file.fileno())


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | _NOFOLLOW | _NONBLOCK)


def content_of(path: str | Path, most: int) -> bytes | None:
    """Return the first *most* bytes of the file *path*, which a link may lead to.

    None for what is no regular file: a FIFO is not waited for, a device not read.

    Raises:
        OSError: It cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        return file.read(most)


def make_file(path: Path) -> None:
    """Make an empty file with mode 0600 unless *path* is there.

    An existing one is not even opened: closing a file gives up all locks of this process on it, SQLite's too.

    Raises:
        StateError: Something other than a regular file is there.
        OSError: It cannot be made.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise StateError(f"{path.name} is not a regular file")
    except FileNotFoundError:
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, _CREATING, 0o600)
        try:
            try:
                _settle(descriptor, path.parent, 0o600)
            finally:
                os.close(descriptor)
            with contextlib.suppress(FileExistsError):
                _put_in_place(temporary, path)
        finally:
            temporary.unlink()


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give *temporary* its second name, unless that is taken; make the file itself where there are no hard links.

    Those are missing from the Pythons of some telephones, on exFAT, on network shares. What is made there is open for
    a moment under its own name: a thread that opens it for SQLite just then may lose its first lock.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (OSError, AttributeError) as error:
        pass_on(error)
        descriptor = os.open(path, _CREATING, 0o600)
        try:
            _settle(descriptor, path.parent, 0o600)
        finally:
            os.close(descriptor)


def identity_of(path: str, *, sized: bool = False) -> tuple[int, ...] | None:
    """Return what tells this file from another one of its name, *sized* with its length; None where there is none."""
    try:
        found = os.stat(path)
    except OSError as error:
        pass_on(error)
        return None
    return (found.st_dev, found.st_ino, found.st_size) if sized else (found.st_dev, found.st_ino)


def _settle(descriptor: int, directory: Path, mode: int) -> None:
    """Give what was just made in *directory* its *mode*, whatever the umask left of it, and its owner.

    What root makes belongs to whoever owns the directory: a run under sudo must not lock the user out. Never by name:
    that owner could put another file, root's own say, in its place meanwhile.
    """
    if not hasattr(os, "fchmod"):
        return
    os.fchmod(descriptor, mode)
    if _me() == 0:
        owner, found = os.stat(directory), os.fstat(descriptor)
        if owner.st_uid != 0 and found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _opened_directory(directory: Path) -> Iterator[int]:
    if not hasattr(os, "fchmod"):
        yield -1
        return
    descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def why_others_may_write(path: Path) -> str:
    """Return why somebody else may have written the file *path*: whose it or its directory is, or what modes allow.

    Empty where nobody else may. Root counts as this user. Where the file system keeps no modes, ownership alone counts.
    """
    if not hasattr(os, "geteuid"):
        return ""
    for place, name in ((path, path.name), (path.parent, "the state directory")):
        try:
            found = os.stat(place)
        except OSError as error:
            pass_on(error)
            return f"{name} cannot be looked at ({type(error).__name__})"
        if found.st_uid not in (0, _me()):
            return f"{name} belongs to another user"
        if found.st_mode & _OTHERS_WRITE and _keeps_modes(place, found):
            return f"others may write to {name}"
    return ""


def _keeps_modes(place: Path, found: os.stat_result) -> bool:
    """Tell whether a mode can be changed here: by a bit that does no harm, and back."""
    try:
        descriptor = os.open(place, os.O_RDONLY | _NOFOLLOW | _NONBLOCK)
    except OSError as error:
        pass_on(error)
        return True
    mode = stat.S_IMODE(found.st_mode)
    try:
        os.fchmod(descriptor, mode ^ stat.S_IXOTH)
        is_changed = stat.S_IMODE(os.fstat(descriptor).st_mode) != mode
        os.fchmod(descriptor, mode)
    except OSError as error:
        pass_on(error)
        return error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EINVAL) or found.st_uid != _me()
    finally:
        os.close(descriptor)
    return is_changed


def tighten_directory(directory: Path) -> None:
    """Let nobody else write to *directory* if it is this user's. Never raises."""
    if not hasattr(os, "fchmod"):
        return
    with ignoring(OSError), _opened_directory(directory) as descriptor:
        found = os.fstat(descriptor)
        if found.st_uid == _me() and found.st_mode & _OTHERS_WRITE:
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    with ignoring(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
