"""Loads the catalogue an app ships: the file itself, read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from telemetry_sdk.analytics.catalog import Catalog
from telemetry_sdk.analytics.catalog.format import LARGEST, parse
from telemetry_sdk.host.guard import is_a, path_of
from telemetry_sdk.model import ConfigError

if TYPE_CHECKING:
    import os

_SETTING: Final = "catalog"


def load(argument: str | os.PathLike[str] | Catalog) -> Catalog:
    """Return the catalogue of a ``catalog=`` argument: a path, or a catalogue that was parsed already.

    Raises:
        ConfigError: It cannot be read, or is not a catalogue; the message says why and names the file.
    """
    if is_a(argument, Catalog):
        return cast("Catalog", argument)
    text = _path_text(argument)
    return parse(read(text), text)


def read(path: str | os.PathLike[str]) -> str:
    """Return the text of a catalogue file.

    Raises:
        ConfigError: There is none that can be read.
    """
    text = _path_text(path)
    try:
        with open(text, "rb") as file:
            content = file.read(LARGEST + 1)  # a device given by mistake must not fill the memory
    except FileNotFoundError:
        raise ConfigError(_SETTING, f"there is no file {text}; a path begins at the working directory") from None
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a possible path"
        raise ConfigError(_SETTING, f"{text} cannot be read: {problem}") from None
    if len(content) > LARGEST:
        raise ConfigError(text, f"is longer than {LARGEST} bytes, so it is not a catalogue")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(text, f"line {line}: not UTF-8; save the file as UTF-8") from None


def _path_text(argument: object) -> str:
    text = path_of(argument)
    if text.strip() and "\0" not in text:
        return text
    raise ConfigError(_SETTING, "must be the path of a telemetry.toml, as text or a pathlib.Path, or a Catalog")
