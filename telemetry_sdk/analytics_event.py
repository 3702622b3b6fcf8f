"""Opt-in events: names, properties, limits. Pure.

Every Python value becomes valid OTLP or is left out by name; no value makes a record that a strict receiver would
refuse, for one such record loses its whole request.

| value                                       | becomes                                                       |
|---------------------------------------------|---------------------------------------------------------------|
| str                                         | a string; lone surrogates replaced, cut at the limit, marked  |
| bool, int of 64 bits, finite float          | itself                                                        |
| larger int (up to 300 digits), Decimal      | its decimal digits, a string                                  |
| datetime, date, time                        | ISO 8601; an aware datetime in UTC                            |
| Enum                                        | its value, if that is one of these, else its name             |
| UUID                                        | its text                                                      |
| list, tuple, dict of these, three deep      | itself; what does not fit is left out of it                   |
| None, NaN, infinities, bytes, anything else | left out, by name                                             |
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from telemetry_sdk.errors import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry_sdk.model import Limits

__all__ = [
    "IDENTIFY",
    "INSTALL",
    "PAGE_VIEW",
    "Event",
    "build",
    "check_name",
    "identity_of",
    "request_context",
    "safe_text",
]

PAGE_VIEW: Final = "analytics.page_view"
IDENTIFY: Final = "analytics.identify"
INSTALL: Final = "analytics.install"
CUT_MARK: Final = "…[cut]"

_EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_PROPERTY_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")
_LONGEST_NAME: Final = 128
_LONGEST_IDENTITY: Final = 256
_LONGEST_CONTEXT: Final = 512
_MOST_NAMED: Final = 10
_DEEPEST: Final = 3
_MOST_NODES: Final = 1000
_HUGE_INT_BITS: Final = 996
_INT64: Final = 2**63

# Ours, and names that a log store reads as its own: Loki takes a level from any of these spellings.
_RESERVED: Final = frozenset(
    (
        *("event_name", "identity", "log_record_uid", "occurred_at"),
        *("install_id", "app_version", "deployment_type", "release_channel", "path", "browser", "device"),
        *("level", "lvl", "severity", "severity_text", "severitytext", "severity_number", "log_level"),
        *("detected_level", "trace_id", "span_id", "flags", "observed_timestamp", "scope_name", "scope_version"),
        *("service_name", "service_version", "telemetry_sdk_name", "telemetry_sdk_language"),
        *("telemetry_sdk_version", "telemetry_layer", "deployment_environment_name"),
    )
)


@dataclass(frozen=True, slots=True)
class Event:
    """A checked event, ready to be encoded.

    Attributes:
        payload: Names and values, all encodable by `otlp.any_value`.
        dropped: Names of the properties that were left out, dotted when nested.
    """

    payload: dict[str, object]
    dropped: tuple[str, ...] = ()

    def explain(self, reason: str) -> str:
        """Return *reason* with the names of what was left out."""
        names = ", ".join(self.dropped[:_MOST_NAMED])
        more = f" and {len(self.dropped) - _MOST_NAMED} more" if len(self.dropped) > _MOST_NAMED else ""
        return f"{reason}; left out: {names}{more}".removeprefix("; ")


def check_name(name: object) -> str:
    """Return *name* if it may name an event: dotted lower snake case, at least two words, not reserved.

    Raises:
        InvalidEventError: It may not.
    """
    if not isinstance(name, str):
        raise InvalidEventError("event", f"the name must be a string, not {type(name).__name__}")
    name = str.__str__(name)
    shown = safe_text(name, 64)
    if len(name) > _LONGEST_NAME or not _EVENT_NAME.fullmatch(name):
        raise InvalidEventError(shown, "names are dotted lower snake case, for example timer.started")
    if name.startswith("base_telemetry."):
        raise InvalidEventError(shown, "base_telemetry.* is reserved for the base layer")
    return name


def identity_of(user_id: object) -> str | None:
    """Return the text of a user id (str, int or UUID), or None for None and the empty string.

    Raises:
        InvalidEventError: It is of another type.
    """
    if user_id is None:
        return None
    if isinstance(user_id, bool) or not isinstance(user_id, (str, int, UUID)):
        raise InvalidEventError("user_id", f"must be a string, an int or a UUID, not {type(user_id).__name__}")
    try:
        return safe_text(str(_plain(user_id)), _LONGEST_IDENTITY) or None
    except _UnencodableError:
        raise InvalidEventError("user_id", "is too large a number") from None


def request_context(context: Mapping[str, object]) -> dict[str, str]:
    """Return the request context to add: of ``path``, ``browser`` and ``device`` those that are given.

    Of a path only the path is kept: no scheme, host, query or fragment.

    Raises:
        InvalidEventError: Another name is given, or a value that is not a string.
    """
    checked: dict[str, str] = {}
    for name, value in dict(context).items():
        if name not in ("path", "browser", "device") or not isinstance(value, str):
            raise InvalidEventError("context", "may hold path, browser and device, as strings")
        text = str.__str__(value)
        checked[name] = safe_text(_path_only(text) if name == "path" else text, _LONGEST_CONTEXT)
    return checked


def _path_only(text: str) -> str:
    path = re.split(r"[?#;]", text, maxsplit=1)[0]
    return re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*|^//[^/]*", "", path) or "/"


def build(name: str, properties: Mapping[str, object] | None, *, own: Mapping[str, str], limits: Limits) -> Event:
    """Return the checked event *name*.

    Args:
        name: The event's name, checked by `check_name`.
        properties: The host's properties; not changed and not kept.
        own: What the SDK adds: install id, version, request context.
        limits: The bounds.

    Raises:
        InvalidEventError: *properties* is no mapping, or it names a reserved property.
    """
    if properties is not None and not isinstance(properties, dict):
        properties = _as_dict(name, properties)
    builder = _Builder(limits)
    payload: dict[str, object] = dict(own)
    taken: set[str] = set()
    for key, value in list(dict.items(properties or {})):
        checked = _property_name(key)
        if checked is None:
            builder.drop(_shown(key))
        elif _store_name(checked).lower() in _RESERVED:
            raise InvalidEventError(name, f"the property name {checked} is reserved; choose another")
        else:
            builder.add(payload, taken, checked, value)
    return Event(payload, tuple(builder.dropped))


def _as_dict(name: str, properties: object) -> dict[str, object]:
    try:
        return dict(properties)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise InvalidEventError(name, f"properties must be a mapping, not {type(properties).__name__}") from None


class _UnencodableError(Exception):
    """A value that has no OTLP form."""


class _Builder:
    """Converts properties one by one and counts what they cost."""

    def __init__(self, limits: Limits) -> None:
        self.dropped: list[str] = []
        self._limits = limits
        self._bytes_left = limits.record_bytes
        self._kept = 0
        self._nodes = 0

    def drop(self, name: str) -> None:
        self.dropped.append(name)

    def add(self, payload: dict[str, object], taken: set[str], name: str, value: object) -> None:
        if self._kept >= self._limits.properties:
            self.drop(name)
            return
        self._nodes = _MOST_NODES
        already_dropped = len(self.dropped)
        try:
            converted = self._convert(value, name, 0)
        except Exception:  # noqa: BLE001 - a host's object may raise anything; it costs itself, never the event
            del self.dropped[already_dropped:]
            self.drop(name)
            return
        size = _size(name, converted)
        names = _store_names(name, converted)
        if size > self._bytes_left or names & taken:
            self.drop(name)
            return
        self._bytes_left -= size
        self._kept += 1
        taken |= names
        payload[name] = converted

    def _convert(self, value: object, name: str, depth: int) -> object:
        self._nodes -= 1
        if self._nodes < 0:
            raise _UnencodableError
        kind = type(value)
        if kind is str:
            return safe_text(value, self._limits.string_bytes)  # type: ignore[arg-type]
        if kind is bool or (kind is int and -_INT64 <= value < _INT64):  # type: ignore[operator]
            return value
        if isinstance(value, (dict, list, tuple)):
            return self._convert_container(value, name, depth)
        if isinstance(value, Enum):
            return self._convert_enum(value, name, depth)
        text = _plain(value)
        return safe_text(text, self._limits.string_bytes) if isinstance(text, str) else text

    def _convert_container(self, value: object, name: str, depth: int) -> object:
        if depth >= _DEEPEST:
            raise _UnencodableError
        if isinstance(value, dict):
            return self._convert_dict(value, name, depth)
        items = list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value)  # type: ignore[arg-type]
        converted = []
        for position, item in enumerate(list(items)):
            try:
                converted.append(self._convert(item, f"{name}.{position}", depth + 1))
            except _UnencodableError:
                self._skip(f"{name}.{position}")
        return converted

    def _convert_dict(self, value: dict[object, object], name: str, depth: int) -> dict[str, object]:
        converted: dict[str, object] = {}
        stored: set[str] = set()
        for key, item in list(dict.items(value)):
            checked = _property_name(key)
            if checked is None:
                self._skip(f"{name}.{_shown(key)}")
                continue
            try:
                result = self._convert(item, f"{name}.{checked}", depth + 1)
            except _UnencodableError:
                self._skip(f"{name}.{checked}")
                continue
            names = _store_names(checked, result)
            if names & stored:
                self._skip(f"{name}.{checked}")
                continue
            stored |= names
            converted[checked] = result
        return converted

    def _skip(self, name: str) -> None:
        if self._nodes < 0:
            raise _UnencodableError
        self.drop(name)

    def _convert_enum(self, value: Enum, name: str, depth: int) -> object:
        try:
            return self._convert(value._value_, name, depth)
        except _UnencodableError:
            return safe_text(str(value._name_), self._limits.string_bytes)


def _plain(value: object) -> object:
    """Return a scalar as str, bool, int or float, by the table above; unbound methods, for subclasses may lie."""
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    raise _UnencodableError


def _integer(value: int) -> object:
    number = int.__index__(value)
    if -_INT64 <= number < _INT64:
        return number
    if number.bit_length() > _HUGE_INT_BITS:
        raise _UnencodableError
    return int.__repr__(number)


def _real(value: float) -> float:
    number = float.__float__(value)
    if not math.isfinite(number):
        raise _UnencodableError
    return number


def _decimal(value: Decimal) -> str:
    if not Decimal.is_finite(value):
        raise _UnencodableError
    return Decimal.__str__(value)


def _moment(value: datetime) -> str:
    if datetime.utcoffset(value) is None:
        return datetime.isoformat(value)
    return datetime.isoformat(datetime.astimezone(value, UTC)).replace("+00:00", "Z")


_CONVERSIONS: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (str, str.__str__),
    (int, _integer),
    (float, _real),
    (Decimal, _decimal),
    (datetime, _moment),
    (date, date.isoformat),
    (time, time.isoformat),
    (UUID, UUID.__str__),
)


def safe_text(text: str, limit: int) -> str:
    """Return *text* without lone surrogates, cut to *limit* UTF-8 bytes; a cut text ends in a mark."""
    if text.isascii() and len(text) <= limit:
        return text
    data = text[: limit + 1].encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    room = max(limit - len(CUT_MARK.encode()), 0)
    return data[:room].decode("utf-8", "ignore") + CUT_MARK


def _property_name(key: object) -> str | None:
    """Return *key* as a plain string if it may name a property."""
    if not isinstance(key, str):
        return None
    plain = str.__str__(key)
    return plain if len(plain) <= _LONGEST_NAME and _PROPERTY_NAME.fullmatch(plain) else None


def _shown(key: object) -> str:
    return safe_text(str.__str__(key), 64) if isinstance(key, str) else f"<{type(key).__name__}>"


def _store_name(name: str) -> str:
    """Return the name a log store keeps: ``.`` and ``-`` become ``_``."""
    return name.replace(".", "_").replace("-", "_")


def _store_names(name: str, value: object) -> set[str]:
    """Return every flat name *value* takes in a store that flattens nested maps with ``_``."""
    plain = _store_name(name)
    if not isinstance(value, dict):
        return {plain}
    return {plain, *(f"{plain}_{inner}" for key, item in value.items() for inner in _store_names(key, item))}


def _size(name: str, value: object) -> int:
    """Return about how many bytes one attribute takes in JSON, never less."""
    if isinstance(value, str):
        return len(name) + 6 * len(value) + 40 if not value.isascii() else len(name) + len(value) + _escapes(value) + 40
    if isinstance(value, dict):
        return len(name) + 50 + sum(_size(key, item) for key, item in value.items())
    if isinstance(value, list):
        return len(name) + 50 + sum(_size("", item) for item in value)
    return len(name) + 60


def _escapes(text: str) -> int:
    return sum(5 for c in text if c < " " or c in '"\\')
