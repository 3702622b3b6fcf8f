"""A host's properties made into values that OTLP and a log store can hold. Pure.

Every Python value becomes valid OTLP or is left out by name: no value makes a record that a strict receiver would
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

A property that holds more than 1000 values is left out, before they are looked at. So is a list or map that comes when
4000 values in those of its event were. So is one whose name, or that of anything in its maps, a store could not tell
from another name of the event: a store joins nested names with ``_`` and knows no other sign.

With a scrubber nothing that `scrub` forbids is kept. A text is scrubbed before it is cut, so that no half of a secret
passes for a word.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import UTC, date, datetime, time
from enum import Enum
from json.encoder import encode_basestring as _quote
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.scrub import CUT_MARK, LEAST_CARD_NUMBER, LONGEST_TEXT, REMOVED, Tally
from telemetry_sdk.analytics.scrub.names import NO_RULE, word_set
from telemetry_sdk.host import lazy
from telemetry_sdk.host.guard import is_hosts

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.analytics.scrub import Scrubber
    from telemetry_sdk.analytics.scrub.names import NameRule
    from telemetry_sdk.model import Limits

INT64: Final = 2**63

_HUGE_INT_BITS: Final = 996
_PROPERTY_NAME: Final = lazy(r"[A-Za-z][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")
_MOST_NAMES: Final = 512
_LONGEST_NAME: Final = 128
_DEEPEST: Final = 3
_MOST_NODES: Final = 1000
# How much text of one event is scrubbed, so that no event can hold the host up: many times what a record may hold.
_TEXT_PER_BYTE: Final = 8
_LEAST_TEXT: Final = 8 * 16 * 1024
# How many values in the lists and maps of one event are looked at, for the same reason: each kept one takes 40 bytes.
_BYTES_PER_VALUE: Final = 5
_LEAST_VALUES: Final = 4 * _MOST_NODES

# Ours, and names that a log store reads as its own: Loki takes a level from any of these spellings.
_RESERVED: Final = word_set("""
    event_name identity log_record_uid occurred_at dropped_attributes_count install_id app_version deployment_type
    release_channel path browser device level lvl severity severity_text severitytext severity_number log_level
    detected_level trace_id span_id flags observed_timestamp scope_name scope_version service_name service_version
    telemetry_sdk_name telemetry_sdk_language telemetry_sdk_version telemetry_layer deployment_environment_name
""")


class Converter:
    """Converts the properties of one event, one by one, and counts what they cost."""

    def __init__(self, limits: Limits, scrubber: Scrubber | None = None) -> None:
        self.kept: dict[str, object] = {}
        self.dropped: list[str] = []  # names of what was left out, dotted when nested
        self.scrubbed = Tally()
        self._limits = limits
        self._scrubber = scrubber
        self._rule: Callable[[str, str], NameRule] = (lambda *_: NO_RULE) if scrubber is None else scrubber.rule
        self._bytes_left = limits.record_bytes
        self._text_left = max(limits.record_bytes * _TEXT_PER_BYTE, _LEAST_TEXT)
        self._values_left = max(limits.record_bytes // _BYTES_PER_VALUE, _LEAST_VALUES)
        self._taken: set[str] = set()
        self._nodes = 0
        self._tally = Tally()

    def add(self, key: object, value: object) -> None:
        """Convert and keep *value* under *key*, or leave it out by name: also where the name is ours or a store's."""
        name = property_name(key)
        if name is None:
            self._drop(shown(key))
            return
        stored = _store_name(name)
        if _is_ours(stored) or len(self.kept) >= self._limits.properties:
            self._drop(name)
            return
        self._nodes = _MOST_NODES - 1
        if self._tally:
            self._tally = Tally()
        already_dropped = len(self.dropped)
        try:
            converted = self._convert(value, name, 0, self._rule(name, ""))
            size = _size(name, converted)
            names = _store_names(name, converted) if type(converted) is dict else (stored,)
            if size > self._bytes_left or not self._taken.isdisjoint(names) or any(map(_is_ours, names)):
                raise UnencodableError
        except Exception as error:  # a host's object may raise anything; it costs itself, never the event
            if is_hosts(error):
                raise
            del self.dropped[already_dropped:]
            self._drop(name)
            return
        self._bytes_left -= size
        self._taken.update(names)
        self.kept[name] = converted
        for kind, times in self._tally.items():
            self.scrubbed.count(kind, times)

    def _drop(self, name: str) -> None:
        self.dropped.append(name if self._scrubber is None else self._scrubber.text(name))

    def _convert(self, value: object, name: str, depth: int, rule: NameRule) -> object:
        if self._nodes < 0:
            raise UnencodableError
        if rule.unclean:
            self.scrubbed.count("name")
            raise UnencodableError
        if rule.denied and rule.denies(value):
            self._tally.count(f"name: {rule.denied}")
            return REMOVED
        kind = type(value)
        if kind is str:
            return self._text(value, rule)  # type: ignore[arg-type]
        if kind is bool or (kind is int and -INT64 <= value < INT64):  # type: ignore[operator]
            return self._number(value, rule)  # type: ignore[arg-type]
        if isinstance(value, (dict, list, tuple)):
            return self._convert_container(value, name, depth, rule)
        if isinstance(value, Enum):
            return self._convert_enum(value, name, depth, rule)
        scalar = plain(value)
        return self._text(scalar, rule) if isinstance(scalar, str) else self._number(scalar, rule)

    def _text(self, text: str, rule: NameRule) -> str:
        if self._scrubber is not None:
            self._text_left -= min(len(text), LONGEST_TEXT)
            if self._text_left < 0:
                self._nodes = -1
                raise UnencodableError
            text = self._scrubber.text(text, self._tally, rule.reading)
        return safe_text(text, self._limits.string_bytes)

    def _number(self, value: float, rule: NameRule) -> str | float:
        if self._scrubber is None or value < LEAST_CARD_NUMBER:
            return value
        return self._scrubber.number(value, self._tally, rule.reading)

    def _convert_container(self, value: object, name: str, depth: int, rule: NameRule) -> object:
        if depth >= _DEEPEST:
            raise UnencodableError
        if isinstance(value, dict):
            return self._convert_dict(value, name, depth)
        kind: Any = list if isinstance(value, list) else tuple
        self._open(kind.__len__(value))
        converted = []
        for position, item in enumerate(list(kind.__iter__(value))):
            try:
                converted.append(self._convert(item, f"{name}.{position}", depth + 1, rule))
            except UnencodableError:
                self._skip(f"{name}.{position}")
        return converted

    def _convert_dict(self, value: dict[object, object], name: str, depth: int) -> dict[str, object]:
        self._open(dict.__len__(value))
        converted: dict[str, object] = {}
        stored: set[str] = set()
        parent = name.rstrip("0123456789.").rpartition(".")[2]
        for key, item in list(dict.items(value)):
            checked = property_name(key)
            if checked is None:
                self._skip(f"{name}.{shown(key)}")
                continue
            try:
                result = self._convert(item, f"{name}.{checked}", depth + 1, self._rule(checked, parent))
                names = _store_names(checked, result)
                if names & stored:
                    raise UnencodableError
            except UnencodableError:
                self._skip(f"{name}.{checked}")
                continue
            stored |= names
            converted[checked] = result
        return converted

    def _open(self, values: int) -> None:
        """Count the *values* of a list or map before any is looked at.

        Raises:
            UnencodableError: They are too many. Its property is left out.
        """
        self._nodes -= values
        if self._nodes < 0 or values > self._values_left:
            self._nodes = -1
            raise UnencodableError
        self._values_left -= values

    def _skip(self, name: str) -> None:
        if self._nodes < 0:
            raise UnencodableError
        self._drop(name)

    def _convert_enum(self, value: Enum, name: str, depth: int, rule: NameRule) -> object:
        self._nodes -= 1  # one that holds itself ends too
        try:
            return self._convert(value._value_, name, depth, rule)
        except UnencodableError:
            return self._text(str(value._name_), rule)


def property_name(key: object) -> str | None:
    """Return *key* as a plain string if it may name a property."""
    # Not isinstance, which asks the object what it is.
    if not issubclass(type(key), str):
        return None
    text = str.__str__(key)
    return text if len(text) <= _LONGEST_NAME and _may_name(text) else None


# A program's events have the same few names, call after call.
@functools.lru_cache(maxsize=_MOST_NAMES)
def _may_name(text: str) -> bool:
    return _PROPERTY_NAME.fullmatch(text) is not None


def shown(key: object) -> str:
    """Return a key that may not name a property as a receipt can show it."""
    return safe_text(str.__str__(key), 64) if issubclass(type(key), str) else f"<{type(key).__name__}>"


def is_reserved(name: str) -> bool:
    """Tell whether a log store could not tell *name* from a name of ours or of its own."""
    return _is_ours(_store_name(name))


@functools.lru_cache(maxsize=_MOST_NAMES)
def _is_ours(stored: str) -> bool:
    return stored.lower() in _RESERVED


@functools.lru_cache(maxsize=_MOST_NAMES)
def _store_name(name: str) -> str:
    """Return the name a log store keeps: ``.`` and ``-`` become ``_``, and a run of them one."""
    return re.sub("[._-]+", "_", name)


def _store_names(name: str, value: object) -> set[str]:
    """Return every flat name *value* takes in a store that flattens nested maps with ``_``."""
    names = {_store_name(name)}
    if isinstance(value, dict):
        names.update(*(_store_names(f"{name}_{key}", item) for key, item in value.items()))
    return names


def _size(name: str, value: object) -> int:
    """Return about how many bytes one attribute takes in JSON, never less."""
    if type(value) is str:
        quoted = _quote(value)
        return len(name) + (len(quoted) if quoted.isascii() else len(quoted.encode())) + 40
    if isinstance(value, dict):
        return len(name) + 50 + sum(_size(key, item) for key, item in value.items())
    if isinstance(value, list):
        return len(name) + 50 + sum(_size("", item) for item in value)
    return len(name) + 60


class UnencodableError(Exception):
    """A value that has no OTLP form."""


def plain(value: object) -> str | float:
    """Return a scalar as str, bool, int or float, as the table above says.

    Unbound methods do it, for subclasses may lie.

    Raises:
        UnencodableError: The table leaves it out.
    """
    for kind, convert in _SCALARS:
        if isinstance(value, kind):
            return convert(value)
    if _has_ancestor(value, "Decimal"):
        from decimal import Decimal

        if isinstance(value, Decimal) and Decimal.is_finite(value):
            return Decimal.__str__(value)
    if is_uuid(value):
        from uuid import UUID

        return UUID.__str__(value)
    raise UnencodableError


def is_uuid(value: object) -> bool:
    """Tell whether *value* is a UUID, without loading `uuid` for what cannot be one."""
    if not _has_ancestor(value, "UUID"):
        return False
    from uuid import UUID

    return isinstance(value, UUID)


def _has_ancestor(value: object, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(value).__mro__)


def _integer(value: int) -> str | int:
    number = int.__index__(value)
    if -INT64 <= number < INT64:
        return number
    if number.bit_length() > _HUGE_INT_BITS:
        raise UnencodableError
    return int.__repr__(number)


def _real(value: float) -> float:
    number = float.__float__(value)
    if not math.isfinite(number):
        raise UnencodableError
    return number


def _moment(value: datetime) -> str:
    if value != value:  # noqa: PLR0124 - pandas' "not a time", a datetime that equals nothing
        raise UnencodableError
    if datetime.utcoffset(value) is None:
        return datetime.isoformat(value)
    return datetime.isoformat(datetime.astimezone(value, UTC)).replace("+00:00", "Z")


_SCALARS: Final[tuple[tuple[type, Callable[[Any], str | float]], ...]] = (
    *((str, str.__str__), (int, _integer), (float, _real)),
    *((datetime, _moment), (date, date.isoformat), (time, time.isoformat)),
)


def safe_text(text: str, limit: int) -> str:
    """Return *text* without lone surrogates, cut to *limit* UTF-8 bytes; a cut text ends in a mark."""
    if text.isascii() and len(text) <= limit:
        return text
    data = text[: limit + 1].encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    mark = CUT_MARK if limit >= len(CUT_MARK.encode()) else ""
    return data[: limit - len(mark.encode())].decode("utf-8", "ignore") + mark
