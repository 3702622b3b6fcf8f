"""Records as OTLP/HTTP JSON, and what a success answer says. Pure.

A record is serialized once, when it is made. A request body is a join of those bytes, so what is stored, previewed
and sent can only be the same. A stored record changes in two places only, until it has left: the time it carries
(`retimed`) and, in a base record, the moment of the one before it (`with_last_seen`).

Facts behind the form (OTLP 1.11, Loki 3.7): 64-bit integers are strings, enums are integers, a null or an empty
attribute key loses the whole request, Loki 3.7 drops ``eventName`` (so the name is an attribute too) and keeps equal
lines apart only by their text (so the body carries the uid).
"""

from __future__ import annotations

import functools
import itertools
import json
from json.encoder import encode_basestring as _quote
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from telemetry_sdk._version import __version__
from telemetry_sdk.host.guard import pass_on
from telemetry_sdk.model import Layer, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from telemetry_sdk.model import Answer

_INFO: Final = 9
_OPENING: Final = b'{"resourceLogs":['
_CLOSING: Final = b"]}"
_RESOURCE_CLOSING: Final = b"]}]}"
_LONGEST_WORD: Final = 64
_PACK_OVER: Final = 1024
_GZIP: Final = b"\x1f\x8b"  # with which no JSON begins
FUTURE_NS: Final = 60_000_000_000
_TIME_AT: Final = len(b'{"timeUnixNano":"')
_LAST_SEEN: Final = b'{"key":"last_seen_at","value":{"stringValue":"'
_RESENT: Final = b'{"key":"telemetry.resent","value":{"boolValue":true}}'
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False
).encode

_SCALARS: Final = {str: "stringValue", bool: "boolValue", float: "doubleValue"}


def any_value(value: object) -> dict[str, object]:
    """Return the OTLP ``AnyValue`` of a JSON-like value: str, bool, int of 64 bits, finite float, list or dict."""
    kind = type(value)
    if kind is int:
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    return {_SCALARS[kind]: value}


def attributes(values: Mapping[str, object]) -> list[dict[str, object]]:
    """Return *values* as a list of OTLP attributes, in order."""
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def encode_envelope(*, app: str, version: str, layer: Layer, environment: str | None = None) -> bytes:
    """Return what stands before a record in a request: resource and scope, up to the opening of ``logRecords``.

    No host, process or instance attribute: ``service.instance.id`` would make one Loki stream per install.
    """
    resource = {
        "service.name": app,
        # Not its meaning in OpenTelemetry, but the one label that Loki makes of it as it comes, so that each layer can
        # have a retention of its own.
        "service.namespace": layer.value if layer is Layer.ANALYTICS else "base_telemetry",
        "service.version": version,
        "telemetry.sdk.name": "telemetry_sdk",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": __version__,
        **({"deployment.environment.name": environment} if environment else {}),
        "telemetry.layer": layer.value,
    }
    scope = {"name": f"telemetry_sdk.{layer.value}", "version": __version__}
    head = f'{{"resource":{_encode({"attributes": attributes(resource)})},"scopeLogs":[{{"scope":{_encode(scope)}'
    return f'{head},"logRecords":['.encode()


def encode_record(
    *, name: str, uid: str, identity: str, made_ns: int, payload: Mapping[str, object], dropped: int = 0
) -> bytes:
    """Return one log record, serialized.

    Args:
        name: The event's name.
        uid: ``log.record.uid``.
        identity: Who it is about: the user id, else the install id.
        made_ns: When it happened, nanoseconds since 1970 UTC.
        payload: JSON-like values (see `any_value`) under their own names.
        dropped: How many properties were left out (``droppedAttributesCount``).
    """
    named = _quote(name)
    own = (
        f'{{"key":"event_name","value":{{"stringValue":{named}}}}},'
        f'{{"key":"identity","value":{{"stringValue":{_quote(identity)}}}}},'
        f'{{"key":"log.record.uid","value":{{"stringValue":{_quote(uid)}}}}},'
        f'{{"key":"occurred_at","value":{{"stringValue":"{timestamp(made_ns, "milliseconds")}"}}}}'
    )
    texts = [
        _word(key, value) if type(value) is str and len(value) <= _LONGEST_WORD else _attribute(key, value)
        for key, value in payload.items()
    ]
    left_out = f',"droppedAttributesCount":{dropped:d}' if dropped else ""
    text = (
        f'{{"timeUnixNano":"{made_ns:d}","observedTimeUnixNano":"{made_ns:d}","severityNumber":{_INFO},'
        f'"eventName":{named},"body":{{"stringValue":{_quote(f"{name} {uid}")}}},'
        f'"attributes":[{",".join([own, *texts])}]{left_out}}}'
    )
    # A lone surrogate, from a state file edited by hand say, must not cost the record.
    return text.encode("utf-8", "replace")


def _attribute(key: str, value: object) -> str:
    """Return one attribute as text: what the serializer makes of `attributes`, written out for the usual value."""
    kind = type(value)
    opening = f'{{"key":{_quote(key)},"value":'
    if kind is str:
        return f'{opening}{{"stringValue":{_quote(value)}}}}}'  # type: ignore[arg-type]
    if kind is int:
        return f'{opening}{{"intValue":"{value}"}}}}'
    if kind is bool:
        return f'{opening}{{"boolValue":{"true" if value else "false"}}}}}'
    return f"{opening}{_encode(any_value(value))}}}"


# A program's events have the same few names and, for the most part, words.
_word: Final = functools.lru_cache(maxsize=512)(_attribute)


def time_of(body: bytes) -> int:
    """Return the time a record carries, nanoseconds since 1970."""
    return int(body[_TIME_AT : body.index(b'"', _TIME_AT)])


def retimed(body: bytes, now_ns: int, *, late_ns: int | None, skew_ns: int = 0, has_left: bool = False) -> bytes:
    """Return *body* as it is to be sent at *now_ns*: with the time of this attempt if the one it carries is too old.

    Loki refuses an entry an hour behind its stream for good, and all installs share one stream. ``occurred_at`` keeps
    the truth. So is one that lies ahead by more than a minute, for it was made by a wrong clock.

    Args:
        body: A record.
        now_ns: Now, by our clock.
        late_ns: Age after which it counts as late; None: it keeps its time always.
        skew_ns: How far the sink's clock is known to be ahead of ours.
        has_left: Whether it may have arrived with the time it carries: then this copy says that it is another one.
    """
    now_ns = max(now_ns + skew_ns, 1)
    if late_ns is None or -FUTURE_NS <= now_ns - time_of(body) <= late_ns:
        return body
    rest = body[body.index(b',"severityNumber":') :]
    if has_left and _RESENT not in rest:
        end = rest.rindex(b"]")
        rest = b"%s,%s%s" % (rest[:end], _RESENT, rest[end:])
    return b'{"timeUnixNano":"%d","observedTimeUnixNano":"%d"%s' % (now_ns, now_ns, rest)


def with_last_seen(body: bytes, moment_ns: int) -> bytes:
    """Return the base record *body* with this moment as its ``last_seen_at``."""
    start = body.index(_LAST_SEEN) + len(_LAST_SEEN)
    return body[:start] + timestamp(moment_ns).encode() + body[body.index(b'"', start) :]


def encode_request(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the request body for (envelope, record) pairs, in the order given.

    Neighbours with the same envelope share one resource. The order is kept because a store that has seen a newer
    record may refuse an older one.
    """
    groups = itertools.groupby(records, key=itemgetter(0))
    parts = (envelope + b",".join(map(itemgetter(1), group)) + _RESOURCE_CLOSING for envelope, group in groups)
    return _OPENING + b",".join(parts) + _CLOSING


def request_size(envelope: bytes, body: bytes) -> int:
    """Return the most bytes one more record can add to a request."""
    return len(envelope) + len(body) + len(_RESOURCE_CLOSING) + 2


def packed(body: bytes) -> bytes:
    """Return *body* as it is sent where the sink takes gzip; a small one, which gzip would not help, as it is."""
    if len(body) <= _PACK_OVER:
        return body
    try:
        import gzip
    except ImportError:  # a Python without zlib
        return body
    return gzip.compress(body, compresslevel=8, mtime=0)


def is_packed(body: bytes) -> bool:
    """Tell whether `packed` compressed *body*."""
    return body.startswith(_GZIP)


def unpacked(body: bytes) -> bytes | None:
    """Return what `packed` was given, or None when it is damaged."""
    if not is_packed(body):
        return body
    import gzip
    import zlib

    try:
        return gzip.decompress(body) if is_packed(body) else body
    except (OSError, EOFError, zlib.error):
        return None


def read_success(answer: Answer) -> tuple[bool, int, str]:
    """Read the body of a 2xx answer.

    Returns:
        Whether it is an acknowledgement (an empty or a JSON body), the records it says were rejected, and its message.
    """
    if answer.body is None:
        return False, 0, ""
    if not answer.body.strip():
        return True, 0, ""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        pass_on(error)
        return False, 0, ""
    partial = value.get("partialSuccess") if isinstance(value, dict) else None
    if not isinstance(partial, dict):
        return True, 0, ""
    message = partial.get("errorMessage")
    return True, _count(partial.get("rejectedLogRecords")), message if isinstance(message, str) else ""


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return 0
    try:
        return max(int(value), 0)
    except ValueError:
        return 0
