"""Reads ``telemetry.toml``: what it may say, and where it is wrong.

Whatever the text, `parse` returns a `Catalog` or raises a `ConfigError` that names the key by its dotted path, and what
to do; of a text that is no TOML it names line and column, as far as the parser knows them. Nothing is guessed: an
unknown key is an error, and so is a declaration under which nothing could ever be sent, such as a reserved name or a
property that a log store could not tell from another one.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final, cast

from telemetry_sdk.analytics import event as analytics_event
from telemetry_sdk.analytics.catalog import LATEST_VERSION, OWN_EVENTS, SCALARS, TYPES, Catalog, EventSpec, PropertySpec
from telemetry_sdk.analytics.values import Converter, is_reserved, property_name
from telemetry_sdk.host.files import content_of
from telemetry_sdk.host.guard import is_a, path_of
from telemetry_sdk.model import IDENTIFY, PAGE_VIEW, ConfigError, InvalidEventError, Limits

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

LARGEST: Final = 1024 * 1024

_SETTING: Final = "catalog"
_DECLARABLE: Final = (PAGE_VIEW, IDENTIFY)
_EVENT_KEYS: Final = ("description", "purpose", "since", "owner", "expires", "properties")
_PROPERTY_KEYS: Final = ("type", "description", "values", "since", "items", "properties")
_WORD: Final = re.compile("[a-z][a-z0-9_-]{0,31}")
_BARE_KEY: Final = re.compile("[A-Za-z0-9_-]+")
_MOST_PARTS: Final = 16
# Possessive and bounded, so that looking for it takes no longer than the text is long.
_LONG_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9_-])"
    r"""(?:(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.){0,128}+"|'[^'\n]{0,128}+')[ \t]{0,9}+\.[ \t]{0,9}+)"""
    f"{{{_MOST_PARTS}}}"
)
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DEEPEST: Final = 3
_LONGEST_VALUE: Final = 128
_JOINERS: Final = "\u200c\u200d"  # of Persian and of emoji
_ALIASES: Final = {
    **dict.fromkeys(("str", "text", "enum"), "string"),
    **dict.fromkeys(("boolean", "flag"), "bool"),
    **dict.fromkeys(("integer", "count"), "int"),
    **dict.fromkeys(("number", "double", "real"), "float"),
    **dict.fromkeys(("array", "tuple"), "list"),
    **dict.fromkeys(("object", "dict", "table"), "map"),
    **dict.fromkeys(("allowed", "enum", "choices"), "values"),
}
_SAMPLES: Final = {"string": "x", "bool": True, "int": 1, "float": 1.5}
_NO_LIMITS: Final = Limits(properties=10**9, record_bytes=10**12)


def load(argument: str | os.PathLike[str] | Catalog) -> Catalog:
    """Return the catalogue of a ``catalog=`` argument: a path, or a catalogue that was parsed already.

    Raises:
        ConfigError: It cannot be read, or is not a catalogue; the message says why and names the file.
    """
    if is_a(argument, Catalog):
        return cast("Catalog", argument)
    path = path_of(argument)
    if not path.strip() or "\0" in path:
        raise ConfigError(_SETTING, "must be the path of a telemetry.toml, as text or a pathlib.Path, or a Catalog")
    return parse(_text_of(path), path)


def _text_of(path: str) -> str:
    try:
        content = content_of(path, LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(_SETTING, f"there is no file {path}; a path begins at the working directory") from None
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a possible path"
        raise ConfigError(_SETTING, f"{path} cannot be read: {problem}") from None
    if content is None:
        raise ConfigError(_SETTING, f"{path} cannot be read: it is not a regular file")
    if len(content) > LARGEST:
        raise ConfigError(path, f"is longer than {LARGEST} bytes, so it is not a catalogue")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, f"line {line}: not UTF-8; save the file as UTF-8") from None


def parse(text: str, where: str = "telemetry.toml") -> Catalog:
    """Return the catalogue in *text*, which messages call *where*.

    Raises:
        ConfigError: It is not a catalogue. The message names the key and says what to do.
    """
    if len(text) > LARGEST:
        raise ConfigError(where, f"is longer than {LARGEST} characters, so it is not a catalogue")
    try:
        return _catalog(_Table((), _document(text.removeprefix("\ufeff"))))
    except _WrongError as wrong:
        raise ConfigError(where, f"{_dotted(wrong.keys)}{wrong.problem}") from None


def _document(text: str) -> dict[str, object]:
    import tomllib

    if found := _LONG_KEY.search(text):  # tomllib's time and memory grow with the square of the parts
        line = text.count("\n", 0, found.start()) + 1
        raise _WrongError((), f"line {line}: a key, or what looks like one, of more than {_MOST_PARTS} parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _WrongError((), f"not TOML: {error}") from None
    except RecursionError:
        raise _WrongError((), "a value is nested too deeply to be read") from None
    except ValueError:  # digits beyond the limit Python sets for integers
        raise _WrongError((), "a number is too long to be read") from None


class _WrongError(Exception):
    def __init__(self, keys: tuple[str, ...], problem: str) -> None:
        super().__init__(problem)
        self.keys = keys
        self.problem = problem


def _dotted(keys: tuple[str, ...]) -> str:
    dotted = ".".join(key if _BARE_KEY.fullmatch(key) else json.dumps(key) for key in (key[:64] for key in keys))
    return f"{dotted}: " if keys else ""


def _joined(*keys: str) -> str:
    return json.dumps(".".join(key[:64] for key in keys))


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the document and the keys that lead to it."""

    keys: tuple[str, ...]
    content: dict[str, object]

    def wrong(self, problem: str, key: str | None = None) -> _WrongError:
        return _WrongError(self.keys if key is None else (*self.keys, key), problem)

    def inner(self, key: str, example: str) -> _Table:
        value = self.content.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(f"must be a table, such as {example}", key)
        return _Table((*self.keys, key), value)

    def tables(self, example: str) -> Iterator[tuple[str, _Table]]:
        for key in self.content:
            yield key, self.inner(key, example)

    def allow_only(self, known: tuple[str, ...]) -> None:
        for key in self.content:
            if key not in known:
                raise self.wrong(f"unknown key; {_suggested(key, known)}", key)

    def number(self, key: str, largest: int, default: int) -> int:
        value = self.content.get(key, default)
        if type(value) is int and 1 <= value <= largest:
            return value
        raise self.wrong(f"must be a whole number from 1 to {largest}", key)

    def text(self, key: str, longest: int, default: str | None = None) -> str:
        value = self.content.get(key, default)
        if value is None:
            raise self.wrong(f'{key} is missing: write {key} = "…"')
        text = " ".join(value.split()) if isinstance(value, str) else ""
        if (text or value == default) and len(text) <= longest and _is_shown(text):
            return text
        raise self.wrong(f"must be text of 1 to {longest} characters that can all be seen", key)

    def word(self, key: str, default: str | None, examples: str) -> str:
        value = self.content.get(key, default)
        if value is None:
            raise self.wrong(f"{key} is missing: a word, such as {examples}")
        if isinstance(value, str) and _WORD.fullmatch(value):
            return value
        raise self.wrong(f"must be one word in lower case, such as {examples}", key)

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        value = self.content.get(key)
        if value is None:
            raise self.wrong(f"{key} is missing: one of {', '.join(known)}")
        if isinstance(value, str) and value in known:
            return value
        raise self.wrong(f"is not a type; {_suggested(str(value)[:64], known)}", key)

    def day(self, key: str) -> str:
        value = self.content.get(key)
        if value is None:
            return ""
        text = value.isoformat() if type(value) is date else value
        if isinstance(text, str) and _DAY.fullmatch(text):
            with contextlib.suppress(ValueError):
                return date.fromisoformat(text).isoformat()
        raise self.wrong("must be a day, such as 2027-06-30", key)


def _suggested(word: str, known: tuple[str, ...]) -> str:
    import difflib

    near = _ALIASES.get(word.lower(), "")
    if near not in known:
        near = next(iter(difflib.get_close_matches(word.lower()[:64], known, 1)), "")
    return f"did you mean {near}?" if near else f"known are {', '.join(known)}"


def _is_shown(text: str) -> bool:
    return all(c.isprintable() or c in _JOINERS for c in text)


def _catalog(table: _Table) -> Catalog:
    table.allow_only(("version", "app", "events"))
    if "version" not in table.content:
        raise table.wrong("version is missing: write version = 1 on the first line")
    version = table.number("version", LATEST_VERSION, 0)
    example = '[events."timer.started"]'
    events = {name: _event(name, inner, version) for name, inner in table.inner("events", example).tables(example)}
    return Catalog(version, events, table.text("app", 64, default=""))


def _event(name: str, table: _Table, version: int) -> EventSpec:
    _check_event_name(name, table)
    table.allow_only(_EVENT_KEYS)
    own = OWN_EVENTS.get(name)
    since = _since(table, 1, version)
    properties = table.inner("properties", f'[events."{name}".properties]')
    specs = _properties(properties, since, version)
    _check_sendable(properties, specs)
    return EventSpec(
        name,
        table.text("description", 500, default=own.description if own else None),
        table.word("purpose", own.purpose if own else None, "usage, errors or performance"),
        since,
        specs,
        table.text("owner", 100, default=""),
        table.day("expires"),
    )


def _check_event_name(name: str, table: _Table) -> None:
    try:
        analytics_event.check_name(name)
    except InvalidEventError as error:
        inner = next((k for k, value in table.content.items() if isinstance(value, dict) and k != "properties"), "")
        hint = f"; a name with a dot needs quotes: [events.{_joined(name, inner)}]" if inner else ""
        raise table.wrong(f"{error.problem}{hint}") from None
    if name in OWN_EVENTS and name not in _DECLARABLE:
        raise table.wrong(f"is the SDK's own; of its events only {' and '.join(_DECLARABLE)} can be declared")


def _since(table: _Table, least: int, version: int) -> int:
    since = table.content.get("since")
    if type(since) is int and since > version:
        raise table.wrong(f"{since} is above this catalogue's version; raise version, on top, to {since}", "since")
    number = table.number("since", version, least)
    if number < least:
        raise table.wrong(f"cannot be below {least}, the version that brought what it belongs to", "since")
    return number


def _properties(table: _Table, since: int, version: int, depth: int = 1) -> tuple[PropertySpec, ...]:
    example = 'source = { type = "string", description = "…" }'
    return tuple(_property(name, inner, since, version, depth) for name, inner in table.tables(example))


def _property(name: str, table: _Table, since: int, version: int, depth: int) -> PropertySpec:
    _check_property_name(name, table, depth)
    table.allow_only(_PROPERTY_KEYS)
    kind = table.choice("type", TYPES)
    if kind not in SCALARS and depth > _DEEPEST:
        raise table.wrong(f"lists and maps may stand at most {_DEEPEST} deep in each other")
    for key, owner in (("items", "list"), ("properties", "map")):
        if key in table.content and kind != owner:
            raise table.wrong(f"only a property of type {owner} has {key}", key)
    own_since = _since(table, since, version)
    items = table.choice("items", SCALARS) if kind == "list" else ""
    inner: tuple[PropertySpec, ...] = ()
    if kind == "map":
        inner = _properties(table.inner("properties", "properties = { … }"), own_since, version, depth + 1)
        if not inner:
            raise table.wrong("properties is missing: what may be in the map, each with type and description")
    return PropertySpec(
        name, kind, table.text("description", 500), _values(table, items or kind), own_since, items, inner
    )


def _check_property_name(name: str, table: _Table, depth: int) -> None:
    if property_name(name) is None:
        raise table.wrong("a name begins with a letter; letters, digits and _ follow, with single . or - between")
    if depth == 1 and is_reserved(name):
        raise table.wrong("this name is reserved for the SDK or the log store; choose another")
    inner = next((k for k, value in table.content.items() if isinstance(value, dict) and k not in _PROPERTY_KEYS), "")
    if inner:
        raise table.wrong(f"unknown key; a name with a dot needs quotes: {_joined(name, inner)}", inner)


def _values(table: _Table, kind: str) -> tuple[object, ...]:
    if "values" not in table.content:
        return ()
    if kind == "map":
        raise table.wrong("a map has none; give them to the properties in it", "values")
    given = table.content["values"]
    if not isinstance(given, list) or not given:
        raise table.wrong('must be a list of at least one value, such as ["cli", "gui"]', "values")
    spec, seen = PropertySpec("", kind, ""), set[object]()
    for position, value in enumerate(given):
        which = f"value {position + 1} "
        if spec.objection(value) or (isinstance(value, float) and not math.isfinite(value)):
            raise table.wrong(f"{which}is not of type {kind} as it can be sent", "values")
        if isinstance(value, str) and (len(value) > _LONGEST_VALUE or not _is_shown(value)):
            raise table.wrong(f"{which}is over {_LONGEST_VALUE} characters long, or not all can be seen", "values")
        if value in seen:
            raise table.wrong(f"{which}is there twice", "values")
        seen.add(value)
    return tuple(given)


def _check_sendable(table: _Table, specs: tuple[PropertySpec, ...]) -> None:
    """Ask the converter itself whether such properties could be sent together."""
    together = Converter(_NO_LIMITS)
    for spec in specs:
        alone = Converter(_NO_LIMITS)
        alone.add(spec.name, _sample(spec))
        if alone.dropped:
            raise table.wrong("a log store joins the names of a map, and these become alike or reserved", spec.name)
        together.add(spec.name, _sample(spec))
        if together.dropped:
            problem = "a log store reads . and - as _, and cannot tell this from a property above"
            raise table.wrong(problem, spec.name)


def _sample(spec: PropertySpec) -> object:
    if spec.type == "map":
        return {inner.name: _sample(inner) for inner in spec.properties}
    return [_SAMPLES[spec.items]] if spec.type == "list" else _SAMPLES[spec.type]
