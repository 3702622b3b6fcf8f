"""Where the state of an app is kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host.guard import ignoring, pass_on, path_of
from telemetry_sdk.model import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_VARIABLE: Final = "_TELEMETRY_DIR"
_SIGNS: Final = ("installation.json", "progress.json", "outbox.sqlite3", "spool")


def absolute(argument: object) -> str:
    """Return the path of a directory, given as text or a `pathlib.Path`, as it is wherever the program goes.

    Raises:
        ConfigError: It is empty or not a path.
    """
    text = path_of(argument)
    if not text.strip() or "\0" in text:
        raise ConfigError("state_dir", "must be the path of a directory, as text or a pathlib.Path")
    return os.path.abspath(text)


def locate(app: str, prefix: str, environ: Mapping[str, str], argument: str | os.PathLike[str] | None) -> Path | None:
    """Return the app's state directory: argument > ``<APP>_TELEMETRY_DIR`` > the platform's user data directory.

    Creates nothing. None when there is no home to put it in. Raises as `absolute` does.
    """
    from pathlib import Path

    if argument is not None:
        return Path(absolute(argument))
    override = environ.get(f"{prefix}{_VARIABLE}", "").strip()
    if override:
        return Path(os.path.abspath(override))
    default = _user_data(app)
    return default and default / "telemetry"


def kept(environ: Mapping[str, str]) -> dict[Path, str]:
    """Return the state directories that are found here, and the name of the app of each where that is known.

    A directory that a program names in its code cannot be found.
    """
    from pathlib import Path

    found: dict[Path, str] = {}
    home = _user_data("x")
    with ignoring(OSError):
        found = {path: path.parent.name for path in sorted(home.parent.glob("*/telemetry"))} if home else {}
    for name, value in sorted(environ.items()):
        if name.endswith(_VARIABLE) and value.strip():
            found.setdefault(Path(os.path.abspath(value.strip())), "")
    return {path: app for path, app in found.items() if has_state(path)}


def has_state(directory: Path) -> bool:
    """Tell whether some program has kept state in *directory*."""
    return any(os.path.lexists(directory / name) for name in _SIGNS)


def _user_data(app: str) -> Path | None:
    from pathlib import Path

    import platformdirs

    try:
        default = Path(platformdirs.user_data_dir(app, appauthor=False))
    except (RuntimeError, OSError) as error:
        pass_on(error)
        # Older versions return a relative path, newer ones raise, when HOME and the account are unknown.
        return None
    return default if default.is_absolute() else None
