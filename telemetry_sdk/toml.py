"""TOML read with the line numbers that ``tomllib`` does not keep. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TomlError", "line_numbers", "read"]

_MESSAGE: Final = re.compile(r"(.*) \(at (?:(line \d+, column \d+)|end of document)\)", re.DOTALL)
_UNFINISHED: Final = ("", "")
_MOST_LINES: Final = 100
_MOST_CHARACTERS: Final = 32 * 1024


class TomlError(Exception):
    """A text is not TOML. The message names the line where it can be found."""


def read(text: str) -> dict[str, object]:
    """Return the document in *text*.

    Raises:
        TomlError: It is not TOML, or holds what Python cannot read.
    """
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlError(_explained(text, str(error))) from None
    except RecursionError:
        raise TomlError("a value is nested too deeply to be read") from None
    except ValueError:  # digits beyond the limit Python sets for integers
        raise TomlError("a number is too long to be read") from None


def _explained(text: str, message: str) -> str:
    found = _MESSAGE.fullmatch(message)
    problem, place = (found[1], found[2]) if found else (message, None)
    if place is None:
        lines = line_numbers(text)
        place = f"line {lines.get(_UNFINISHED) or len(text.splitlines()) or 1}"
    return f"{place}: not TOML: {problem[:1].lower()}{problem[1:]}"


def line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Return the line on which each key of a document first stands, as far as they can be found.

    A statement that is not finished ends the search, and so does one over many lines.
    """
    found: dict[tuple[str, ...], int] = {}
    header: tuple[str, ...] = ()
    for number, statement in _statements(text):
        table = _loaded(statement)
        if table is None:
            found[_UNFINISHED] = number
            break
        named = list(_paths(table))
        if statement.lstrip().startswith("["):
            header = max(named, key=len, default=())
            named = [header[:depth] for depth in range(1, len(header) + 1)]
        else:
            named = [header + keys for keys in named]
        for keys in named:
            found.setdefault(keys, number)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with its line: as many lines as it takes until they are TOML by themselves."""
    lines = text.replace("\r\n", "\n").split("\n")
    first = 0
    for last in range(len(lines)):
        statement = "\n".join(lines[first : last + 1])
        if last > first and (last - first >= _MOST_LINES or len(statement) > _MOST_CHARACTERS):
            return
        if last == len(lines) - 1 or _loaded(statement) is not None:
            yield first + 1, statement
            first = last + 1


def _loaded(statement: str) -> dict[str, object] | None:
    import tomllib

    try:
        return tomllib.loads(statement)
    except (ValueError, RecursionError):
        return None


def _paths(table: dict[str, object]) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *inner) for inner in _paths(value))
