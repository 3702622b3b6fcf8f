"""Records that the outbox could not take at the moment, because another program holds its file, one small file each.

A spilled record survives a kill as one in the outbox does. The next delivery that can write to the outbox moves it
there; nothing else reads it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host.files import prepare_directory, replace_file
from telemetry_sdk.model import Layer, Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST_ASIDE: Final = 1000
_FOLDER: Final = "spill"
_NAME: Final = re.compile(r"[0-9]{20}-(?P<uid>.+)\.json")


class Spill:
    """The folder beside the outbox. Any number of processes may use it; None stands for no directory at all."""

    def __init__(self, directory: Path | None) -> None:
        self._folder = directory / _FOLDER if directory else None

    def keep(self, record: Record, *, replaces: bool) -> bool:
        """Store *record*; False when that cannot be done either, or `MOST_ASIDE` wait here already."""
        if self._folder is None or len(self.names()) >= MOST_ASIDE:
            return False
        name = f"{record.made_ns:020d}-{record.uid}.json"
        try:
            prepare_directory(self._folder)
            if not _is_folder(self._folder):
                return False
            replace_file(self._folder / name, _written(record, replaces=replaces), synced=False)
        except OSError:
            return False
        return True

    def names(self) -> list[str]:
        """Return the names of what waits here, oldest first. Costs one look at the folder.

        Whatever else lies there is not ours to touch, nor is anything behind a link that was planted in its place.
        """
        if self._folder is None:
            return []
        try:
            names = sorted(filter(_NAME.fullmatch, os.listdir(self._folder)))
            return names if names and _is_folder(self._folder) else []
        except OSError:
            return []

    def load(self, name: str) -> tuple[Record, bool] | None:
        """Return a record and whether it replaces older ones of its name; None when it is gone or not one of ours."""
        assert self._folder is not None  # noqa: S101 - names() found it there
        try:
            return _read((self._folder / name).read_bytes())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def remove(self, names: Sequence[str]) -> None:
        """Delete these files."""
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(self._folder / name)  # type: ignore[operator]

    def remove_withdrawn(self, grants: frozenset[str]) -> bool:
        """Delete analytics records made under none of *grants*, and what cannot be read; whether all of them went."""
        gone = [name for name in self.names() if not _may_stay(self.load(name), grants)]
        self.remove(gone)
        return not set(gone) & set(self.names())


def uid_of(name: str) -> str:
    """Return the uid of the record in the file *name*, one of `Spill.names`."""
    match = _NAME.fullmatch(name)
    return match["uid"] if match else ""


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)


def _may_stay(found: tuple[Record, bool] | None, grants: frozenset[str]) -> bool:
    return found is not None and (found[0].layer is Layer.BASE or found[0].grant in grants)


def _written(record: Record, *, replaces: bool) -> bytes:
    texts = {name: base64.b64encode(getattr(record, name)).decode() for name in ("envelope", "body")}
    return json.dumps({**record._asdict(), **texts, "layer": record.layer.value, "replaces": replaces}).encode()


def _read(data: bytes) -> tuple[Record, bool]:
    values = json.loads(data)
    replaces = values.pop("replaces")
    for name in ("envelope", "body"):
        values[name] = base64.b64decode(values[name], validate=True)
    return Record(**{**values, "layer": Layer(values["layer"])}), replaces is True
