"""Paths as they may leave: routes, never what they lead to. Pure.

The route a framework found (``/notes/{note_id}``) says best what was asked for. Where none is known, a segment of the
raw path stays only if it reads like a word that a programmer chose; anything else becomes ``{id}``. No path keeps
its query, fragment, host, credentials or ``;parameters``.

| segment of a raw path                                                       | becomes |
|-----------------------------------------------------------------------------|---------|
| up to 6 words of letters, joined by ``-``, ``_`` or ``.``: ``time-entries`` | itself  |
| such a word with one digit at an end, or a version: ``oauth2``, ``v1.2``    | itself  |
| numbers, dates, UUIDs, hexadecimal, more digits, any other sign: ``a@b.cc`` | {id}    |
| letters that are no language: mixed case, pairs that words do not have      | {id}    |
| what comes after the sixteenth segment                                      | {id}    |

A user's name is a word too: no rule tells ``/u/ada`` from ``/u/settings``. Only a route does.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote
from uuid import UUID

from telemetry_sdk.host.patterns import lazy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PLACEHOLDER", "clean_path", "clean_route", "route_of"]

PLACEHOLDER: Final = "{id}"

_LONGEST: Final = 2048
_MOST_SEGMENTS: Final = 16
_LONGEST_SEGMENT: Final = 40
_MOST_WORDS: Final = 6
_LONGEST_WORD: Final = 24
_JUDGED_FROM: Final = 10  # letters; a shorter word has too few pairs to tell
_JUDGED_FROM_IN_MIXED_CASE: Final = 6

_ORIGIN: Final = lazy(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*")
_VERSION: Final = lazy(r"[vV]\d{1,3}(?:\.\d{1,3}){0,2}")
_PIECE: Final = lazy(r"\d?([^\W\d_]{2,})|([^\W\d_]{2,})\d|([^\W\d_])")
# word, Word, WORD, camelCase, getHTTPStatus, userID
_CASING: Final = lazy(r"[A-Z]{1,5}|(?:[A-Z]?[a-z]+|[A-Z]{1,4}(?=[A-Z][a-z]))(?:[A-Z]{0,4}[A-Z][a-z]+)*(?:[A-Z]{2,4})?")
_HEXADECIMAL: Final = lazy(r"[0-9A-Fa-f]{8,}")

# How frameworks write a variable: {id}, {id:int}, <id>, <int:id>, (?P<id>[0-9]+), :id
_NAME: Final = "([A-Za-z_][A-Za-z0-9_]{0,31})"
_GROUP: Final = lazy(rf"\(\?P<{_NAME}>(?:[^()]|\([^()]*\))*\)")
_VARIABLE: Final = lazy(rf"\{{{_NAME}(?::(?:[^{{}}]|\{{[^{{}}]*\}})*)?\}}|<(?:[^<>:]*:)?{_NAME}>|(?<=/):{_NAME}(?=/|$)")
_NAMED: Final = lazy(rf"\{{{_NAME}\}}")
_GLUE: Final = lazy(r"[A-Za-z@~._-]*")

# Which letters often follow which in the words of European languages. In random letters three pairs of four are others.
_FOLLOWERS: Final = {
    "a": "bcdgiklmnprstuv", "b": "aeilo", "c": "aehiklortu", "d": "aeiosu", "e": "acdefglmnprstvx", "f": "efio",
    "g": "aeir", "h": "aeio", "i": "abcdefglmnoprstvz", "j": "e", "k": "aei", "l": "aeilostuy", "m": "aeiop",
    "n": "acdeginostu", "o": "cdlmnoprstuvw", "p": "aeiloprt", "q": "u", "r": "adeimorstuy", "s": "acehikopstu",
    "t": "aehiorstuy", "u": "aceilmnprst", "v": "aei", "w": "ai", "z": "e",
}  # fmt: skip


def clean_path(path: str) -> str:
    """Return a raw path, decoded by the server, with every segment replaced that does not read like a word."""
    return _joined(path, [_cleaned(segment) for segment in _segments(path)])


def clean_route(route: str) -> str:
    """Return a route or a path that a programmer wrote, its variables as ``{name}``, in whichever way it has them.

    Words of letters are believed there; numbers, UUIDs and the like are replaced as in a raw path.
    """
    text = _plain_variables(route)
    return _joined(text, [_cleaned_of_route(unquote(segment)) for segment in _segments(text)])


def route_of(path: str, values: Mapping[str, object], route: str | None = None) -> str:
    """Return the route that led to *path*.

    Args:
        path: The raw path, decoded by the server.
        values: The variables the framework found in the path, by name.
        route: The framework's own template. That of a mounted application covers the end of the path only.

    Returns:
        The route with its variables as ``{name}``; what neither the route nor the values explain is cleaned as in
        `clean_path`.
    """
    known = {name: text.split("/") for name, value in values.items() if (text := _text_of(value))}
    # What looks like a variable in the raw path is none.
    segments = [PLACEHOLDER if "{" in segment else segment for segment in _segments(path)]
    tail: list[str] = []
    # A variable that holds slashes covers more segments than its template has.
    if route is not None and all(len(found) == 1 for found in known.values()):
        tail = _tail(_segments(_plain_variables(route)), segments)
        segments = segments[: len(segments) - len(tail)]
    for name, found in sorted(known.items(), key=lambda item: -len(item[1])):
        segments = _replaced(segments, found, f"{{{name}}}" if re.fullmatch(_NAME, name) else PLACEHOLDER)
    mended = [segment if _NAMED.fullmatch(segment) else _cleaned(segment) for segment in segments]
    return _joined(path, [*mended, *(_cleaned_of_route(segment) for segment in tail)])


def _text_of(value: object) -> str:
    return str(value).strip("/") if type(value) in (str, int, UUID) else ""


def _tail(template: list[str], segments: list[str]) -> list[str]:
    """Return *template* if it matches the end of *segments*, else nothing."""
    last = segments[len(segments) - len(template) :] if len(template) <= len(segments) else []
    matches = [ours == theirs or _NAMED.search(ours) for ours, theirs in zip(template, last, strict=False)]
    return template if last and all(matches) else []


def _replaced(segments: list[str], found: list[str], name: str) -> list[str]:
    """Return *segments* with *name* for each run of them that equals *found*."""
    result: list[str] = []
    position = 0
    while position < len(segments):
        hit = segments[position : position + len(found)] == found
        result.append(name if hit else segments[position])
        position += len(found) if hit else 1
    return result


def _plain_variables(route: str) -> str:
    """Return *route* with its variables written ``{name}``, and without the anchors of a regular expression."""
    text = _GROUP.sub(r"{\1}", _bounded(route))
    text = _VARIABLE.sub(lambda found: f"{{{found[1] or found[2] or found[3]}}}", text)
    return text.removeprefix("^").removesuffix("$").removesuffix("\\Z")


def _segments(path: str) -> list[str]:
    """Return the segments of *path*, without empty ones, dots, parameters, and whatever is no path."""
    text = re.split("[?#]", _bounded(path).strip(), maxsplit=1)[0]
    origin = _ORIGIN.match(text)
    kept: list[str] = []
    for part in text[origin.end() if origin else 0 :].split("/"):
        segment = part.partition(";")[0]
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return kept


def _bounded(path: str) -> str:
    """Return *path* without what lies behind its bound, and without the segment that would be cut in two."""
    return path if len(path) <= _LONGEST else f"{path[: path.rfind('/', 0, _LONGEST) + 1]}{PLACEHOLDER}"


def _joined(path: str, segments: list[str]) -> str:
    """Return *segments* as one path, which ends in a slash if *path* does."""
    if len(segments) > _MOST_SEGMENTS:
        return f"/{'/'.join(segments[:_MOST_SEGMENTS])}/{PLACEHOLDER}"
    is_directory = re.split("[?#;]", path, maxsplit=1)[0].rstrip().endswith("/")
    return f"/{'/'.join(segments)}{'/' if segments and is_directory else ''}"


def _cleaned(segment: str) -> str:
    return segment if _reads_like_words(segment, believed=False) else PLACEHOLDER


def _cleaned_of_route(segment: str) -> str:
    if _NAMED.search(segment) and _GLUE.fullmatch(_NAMED.sub("", segment)):
        return segment
    return segment if _reads_like_words(segment, believed=True) else PLACEHOLDER


def _reads_like_words(segment: str, *, believed: bool) -> bool:
    if len(segment) > _LONGEST_SEGMENT:
        return False
    if _VERSION.fullmatch(segment):
        return True
    pieces = re.split("[-_.]", segment.lstrip("._"))
    return len(pieces) <= _MOST_WORDS and all(_is_word(piece, believed=believed) for piece in pieces)


def _is_word(piece: str, *, believed: bool) -> bool:
    found = _PIECE.fullmatch(piece)
    if found is None or _HEXADECIMAL.fullmatch(piece):
        return False
    letters = found[1] or found[2] or found[3]
    if believed or not letters.isascii():
        return len(letters) <= _LONGEST_WORD or believed
    if len(letters) > _LONGEST_WORD or not _CASING.fullmatch(letters):
        return False
    if len(letters) < (_JUDGED_FROM_IN_MIXED_CASE if letters[1:] != letters[1:].lower() else _JUDGED_FROM):
        return True
    lower = letters.lower()
    usual = sum(after in _FOLLOWERS.get(letter, "") for letter, after in pairwise(lower))
    return 2 * usual >= len(lower) - 1
