"""Where the state of an app is kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from telemetry_sdk.host.guard import path_of
from telemetry_sdk.model import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
    override = environ.get(f"{prefix}_TELEMETRY_DIR", "").strip()
    if override:
        return Path(os.path.abspath(override))
    import platformdirs

    try:
        default = Path(platformdirs.user_data_dir(app, appauthor=False)) / "telemetry"
    except (RuntimeError, OSError):
        # Older versions return a relative path, newer ones raise, when HOME and the account are unknown.
        return None
    return default if default.is_absolute() else None
