"""progress.json: what the program itself did, beside `installation`'s file, so that no bookkeeping writes a decision.

It decides nothing. A file that is missing, corrupt or lost is an empty one: what is done again then is told from what
was done before by its derived uid. So nothing here raises, and nobody who decides waits for it: it has a lock of its
own. It is about the install id it names; to another id it says nothing, whatever a reset, a copy or a crash left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.host.files import StateError, file_lock, replace_file
from telemetry_sdk.identity.schema import SCHEMA, Progress, known_progress, parse, serialize
from telemetry_sdk.identity.state_file import LARGEST, LOCK_WAIT, content_of, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry_sdk.identity.installation import Installation

PROGRESS_NAME: Final = "progress.json"
_LOCK_NAME: Final = "progress.lock"


class ProgressFile:
    """The progress of *installation*, shared by all its processes. What cannot be written holds for this process only.

    A *read_only* one is read as ever and never written.
    """

    def __init__(self, installation: Installation, *, read_only: bool = False) -> None:
        self._installation = installation
        self._read_only = read_only
        self._path = installation.directory / PROGRESS_NAME if installation.directory else None
        self._held: dict[str, Any] = {}

    def read(self) -> Progress:
        """Return what was done under the install id that holds now. Never raises."""
        install_id = self._installation.read().install_id
        return known_progress({**self._raw(install_id), **self._held_for(install_id)})

    def update(self, change: Callable[[Progress], Mapping[str, object]]) -> None:
        """Apply *change*, which returns only the keys to change, to the newest progress. Never raises.

        *change* may be called twice, the second time under the lock. Waits for the lock for a moment at most.
        """
        install_id = self._installation.read().install_id
        before = known_progress({**self._raw(install_id), **self._held_for(install_id)})
        if not (changes := change(before)):
            return
        try:
            self._write(install_id, change)
        except OSError:
            self._held = {**self._held_for(install_id), **changes, "install_id": install_id}

    def erase(self) -> bool:
        """Delete the file; whether it is gone."""
        self._held = {}
        path = self._path
        if path is None or self._read_only or not path.parent.is_dir():
            return True
        try:
            with file_lock(path.with_name(_LOCK_NAME), LOCK_WAIT):
                sweep(path)
                path.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _write(self, install_id: str | None, change: Callable[[Progress], Mapping[str, object]]) -> None:
        path = self._path
        if path is None or self._read_only or install_id is None:
            raise StateError("there is no file for it")
        with file_lock(path.with_name(_LOCK_NAME), LOCK_WAIT):
            if self._installation.read().install_id != install_id:
                return  # forgotten, or another install, since the change began
            sweep(path)
            raw = self._raw(install_id)
            held = self._held_for(install_id)
            changes = {**held, **change(known_progress({**raw, **held}))}
            replace_file(path, serialize({"schema": SCHEMA, **raw, **changes, "install_id": install_id}))
            self._held = {}

    def _raw(self, install_id: str | None) -> Mapping[str, object]:
        """Return what the file says of *install_id*."""
        try:
            data = content_of(self._path) if self._path is not None and install_id is not None else None
            raw = parse(data) if data and len(data) <= LARGEST else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return raw if raw.get("install_id") == install_id else {}

    def _held_for(self, install_id: str | None) -> dict[str, Any]:
        return self._held if self._held.get("install_id") == install_id else {}
