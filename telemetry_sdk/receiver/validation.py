"""Whether something is a valid ExportLogsServiceRequest in OTLP JSON, and what it says.

Stricter than a Collector on purpose: a developer should hear about a mistake here, before Loki or a vendor's
gateway turns it into a lost batch. The rules are the OTLP JSON mapping's:

1. 64-bit integers are decimal strings or JSON integers, 32-bit integers and enums are JSON integers.
2. ``traceId`` and ``spanId`` are hex of the right length; empty means absent, as Collectors write it.
3. An AnyValue has one known key or none. Attribute keys are unique within their list and not empty.
4. A known field is never null. An unknown field is ignored, whatever it holds.
5. A JSON object names each member once, text is valid Unicode, NaN and infinities are words, not literals.

Nothing here reads a file, a clock or a socket, and no message carries a value from the request.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias, cast

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
_Check: TypeAlias = Callable[[object, str], object]

MAX_DEPTH: Final = 32
_SAME_TIME: Final = 0.001
_ROOT: Final = "request"
_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]{0,19}")
_FLOAT_WORDS: Final = frozenset({"NaN", "Infinity", "-Infinity"})


class InvalidRequest(ValueError):  # noqa: N818 - it describes the request, not a fault of this program
    """The request is not a valid ExportLogsServiceRequest.

    Attributes:
        path: Where, as ``resourceLogs[0].scopeLogs[0].logRecords[3].timeUnixNano``; ``request`` is the whole.
            It is made of field names of the protocol and positions only.
        problem: What is wrong, in plain words. Never a value from the request.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """One log record, as a reader wants it. What the record does not say is the empty string.

    Attributes:
        event_name: The record's ``eventName``, or its attribute ``event_name``.
        service_name: ``service.name`` of its resource.
        service_version: ``service.version`` of its resource.
        layer: ``telemetry.layer`` of its resource: ``base`` or ``analytics``.
        uid: Its ``log.record.uid``.
        identity: Its ``identity``.
        attributes: All its own attributes as plain Python values; bytes stay base64 text.
        late: True when it carries no ``timeUnixNano``, or another moment than its ``occurred_at``: that of a later
            attempt to send it.
    """

    event_name: str
    service_name: str
    service_version: str
    layer: str
    uid: str
    identity: str
    attributes: dict[str, Plain]
    late: bool


def parse_request(body: bytes) -> dict[str, Any]:
    """Return the request that *body* holds, validated.

    The cost grows with the length of *body* and nothing else: bound it before.

    Raises:
        InvalidRequest: The body is not JSON in UTF-8, or not a valid request.
    """
    try:
        request = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique_members,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise InvalidRequest(_ROOT, "nested too deep") from None
    except UnicodeDecodeError:
        raise InvalidRequest(_ROOT, "not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(_ROOT, f"not valid JSON at character {error.pos}") from None
    except InvalidRequest:
        raise
    except ValueError:
        # CPython's limit on the digits of an integer.
        raise InvalidRequest(_ROOT, "a number with too many digits") from None
    return validate_request(request)


def validate_request(request: object) -> dict[str, Any]:
    """Return *request*, a decoded JSON value, itself when it is a valid request.

    Raises:
        InvalidRequest: It is not. No other exception leaves, whatever *request* is.
    """
    _request(request, _ROOT)
    return cast("dict[str, Any]", request)


def received_records(request: dict[str, Any]) -> list[ReceivedRecord]:
    """Return a readable view of each record in *request*, which must have passed `validate_request`."""
    return [
        _received(record, resource)
        for resource_logs in request.get("resourceLogs", ())
        for resource in [_plain_attributes(resource_logs.get("resource", {}).get("attributes", ()))]
        for scope_logs in resource_logs.get("scopeLogs", ())
        for record in scope_logs.get("logRecords", ())
    ]


def _received(record: dict[str, Any], resource: dict[str, Plain]) -> ReceivedRecord:
    attributes = _plain_attributes(record.get("attributes", ()))
    return ReceivedRecord(
        event_name=record.get("eventName") or _words(attributes, "event_name"),
        service_name=_words(resource, "service.name"),
        service_version=_words(resource, "service.version"),
        layer=_words(resource, "telemetry.layer"),
        uid=_words(attributes, "log.record.uid"),
        identity=_words(attributes, "identity"),
        attributes=attributes,
        late=_is_late(int(record.get("timeUnixNano", 0)), _words(attributes, "occurred_at")),
    )


def _is_late(carried_ns: int, occurred_at: str) -> bool:
    if not carried_ns:  # how protobuf says absent
        return True
    try:
        return abs(carried_ns / 1e9 - datetime.fromisoformat(occurred_at).timestamp()) > _SAME_TIME
    except (ValueError, OverflowError):
        return False


def _words(attributes: dict[str, Plain], key: str) -> str:
    value = attributes.get(key)
    return "" if value is None else str(value)


def _plain_attributes(attributes: Any) -> dict[str, Plain]:
    return {pair["key"]: _plain(pair.get("value", {})) for pair in attributes}


def _plain(value: dict[str, Any]) -> Plain:
    match value:
        case {"intValue": number}:
            return int(number)
        case {"doubleValue": number}:
            return float(number)
        case {"arrayValue": array}:
            return [_plain(item) for item in array.get("values", ())]
        case {"kvlistValue": pairs}:
            return _plain_attributes(pairs.get("values", ()))
    plain: Plain = value.get("stringValue", value.get("boolValue", value.get("bytesValue")))
    return plain


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest(_ROOT, "an object names a member twice")
    return members


def _refuse_constant(_literal: str) -> None:
    raise InvalidRequest(_ROOT, "NaN and Infinity are not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InvalidRequest(_ROOT, "a number beyond the range of a double")
    return number


def _members(value: object, path: str, /, **checks: _Check) -> dict[str, object]:
    """Check the members of an object that *checks* knows, and return them."""
    members = _object(value, path)
    known = {name: members[name] for name in checks if name in members}
    for name, member in known.items():
        checks[name](member, name if path == _ROOT else f"{path}.{name}")
    return known


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(path, "not an object")
    return value


def _items(value: object, path: str) -> Iterator[tuple[object, str]]:
    if not isinstance(value, list):
        raise InvalidRequest(path, "not a list")
    return ((item, f"{path}[{index}]") for index, item in enumerate(value))


def _with(**checks: _Check) -> _Check:
    return lambda value, path: _members(value, path, **checks)


def _list_of(check: _Check) -> _Check:
    def each(value: object, path: str) -> None:
        for item, at in _items(value, path):
            check(item, at)

    return each


def _attributes(value: object, path: str, depth: int = 0) -> None:
    seen: set[object] = set()
    for pair, at in _items(value, path):
        fields = _members(pair, at, key=_text, value=lambda inner, to: _any_value(inner, to, depth))
        key = fields.get("key", "")
        if key == "":
            raise InvalidRequest(f"{at}.key", "empty")
        if key in seen:
            raise InvalidRequest(f"{at}.key", "repeats an earlier key of this list")
        seen.add(key)


def _any_value(value: object, path: str, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise InvalidRequest(path, "nested too deep")
    known = _members(
        value,
        path,
        stringValue=_text,
        boolValue=_boolean,
        intValue=_int64,
        doubleValue=_double,
        bytesValue=_base64,
        arrayValue=_with(values=_list_of(lambda inner, to: _any_value(inner, to, depth + 1))),
        kvlistValue=_with(values=lambda inner, to: _attributes(inner, to, depth + 1)),
    )
    if len(known) > 1:
        raise InvalidRequest(path, "more than one kind of value")


def _text(value: object, path: str) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(path, "not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(path, "not valid Unicode (a lone surrogate)") from None


def _that(is_valid: Callable[[object], object], what: str) -> _Check:
    def check(value: object, path: str) -> None:
        if not is_valid(value):
            raise InvalidRequest(path, f"not {what}")

    return check


def _integer(low: int, high: int, what: str, *, decimal: bool = False) -> _Check:
    def is_valid(value: object) -> bool:
        if decimal and isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = int(value)
        # bool is an int in Python and is not one in JSON.
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return _that(is_valid, what)


def _matching(pattern: str, what: str) -> _Check:
    compiled = re.compile(pattern)
    return _that(lambda value: isinstance(value, str) and compiled.fullmatch(value), what)


def _is_double(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return is_number or (isinstance(value, str) and value in _FLOAT_WORDS)


_boolean: Final = _that(lambda value: isinstance(value, bool), "a boolean")
_uint64: Final = _integer(0, 2**64 - 1, "an unsigned 64-bit integer or its decimal string", decimal=True)
_int64: Final = _integer(-(2**63), 2**63 - 1, "a 64-bit integer or its decimal string", decimal=True)
_uint32: Final = _integer(0, 2**32 - 1, "an unsigned 32-bit integer")
_severity: Final = _integer(0, 24, "a severity number (0 to 24)")
_double: Final = _that(_is_double, "a finite number, and not NaN, Infinity or -Infinity as a string")
_base64: Final = _matching(
    "(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?",
    "base64",
)
_trace_id: Final = _matching("(?:[0-9a-fA-F]{32})?", "32 hex digits")
_span_id: Final = _matching("(?:[0-9a-fA-F]{16})?", "16 hex digits")

_log_record: Final = _with(
    timeUnixNano=_uint64,
    observedTimeUnixNano=_uint64,
    severityNumber=_severity,
    severityText=_text,
    body=_any_value,
    attributes=_attributes,
    droppedAttributesCount=_uint32,
    flags=_uint32,
    traceId=_trace_id,
    spanId=_span_id,
    eventName=_text,
)
_scope: Final = _with(name=_text, version=_text, attributes=_attributes, droppedAttributesCount=_uint32)
_scope_logs: Final = _with(scope=_scope, logRecords=_list_of(_log_record), schemaUrl=_text)
_entity: Final = _with(schemaUrl=_text, type=_text, idKeys=_list_of(_text), descriptionKeys=_list_of(_text))
_resource: Final = _with(attributes=_attributes, droppedAttributesCount=_uint32, entityRefs=_list_of(_entity))
_resource_logs: Final = _with(resource=_resource, scopeLogs=_list_of(_scope_logs), schemaUrl=_text)
_request: Final = _with(resourceLogs=_list_of(_resource_logs))
