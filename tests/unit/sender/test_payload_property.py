"""Whatever a host passes as properties, what would leave is a body that the strictest receiver takes."""

from __future__ import annotations

import enum
import json
import math
import re
from collections import Counter, OrderedDict, deque, namedtuple
from datetime import UTC, timedelta, timezone
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import Parse
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from profiles import examples

from telemetry_sdk.analytics.event import Event, build, identity_of
from telemetry_sdk.model import InvalidEventError, Layer, Limits
from telemetry_sdk.receiver.validation import parse_request, received_records
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

MADE = 1_780_000_000_123_456_789
LATER = MADE + 7_200 * 10**9
UID = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"
OWN = {"install_id": UID, "app_version": "2.4.0", "deployment_type": "native", "release_channel": "stable"}
CONTEXT = {"path": "/notes/{id}", "browser": "Firefox/140", "device": "desktop"}
ENVELOPE = otlp.encode_envelope(app="acme-notes", version="2.4.0", layer=Layer.ANALYTICS, environment="production")


def encoded(event: Event) -> bytes:
    return otlp.encode_record(
        name="timer.started",
        uid=UID,
        identity="u-17",
        made_ns=MADE,
        payload=event.payload,
        dropped=len(event.dropped),
    )


def requested(record: bytes) -> bytes:
    return otlp.encode_request([(ENVELOPE, record)])


def strictly_parsed(body: bytes) -> ExportLogsServiceRequest:
    """Read *body* as the official messages do, refusing every field they do not know."""
    return Parse(body, ExportLogsServiceRequest(), ignore_unknown_fields=False)


# Hostile values


class Colour(enum.Enum):
    RED = "red"
    ODD = object()
    NAN = math.nan
    DEEP = ({"a": [1, (2, [3])]},)


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Spite:
    """Whether hostile objects are: only while our code looks at them, for hypothesis looks at them too."""

    active = False

    def __enter__(self) -> None:
        Spite.active = True

    def __exit__(self, *_: object) -> None:
        Spite.active = False


class Liar:
    """Says it is of another class, or fails when asked."""

    def __init__(self, kind: object) -> None:
        self.kind = kind

    @property
    def __class__(self) -> Any:
        if not Spite.active:
            return Liar
        if isinstance(self.kind, Exception):
            raise self.kind
        return self.kind


def spiteful(kind: type) -> Any:
    """Return a subclass of *kind* whose every method that may be overridden raises."""

    def refusing(name: str) -> Any:
        def method(self: Any, *arguments: Any) -> Any:
            if Spite.active:
                raise RuntimeError(f"{name} of a host's object was called")
            return getattr(super(made, self), name)(*arguments)

        return method

    names = ["str", "repr", "format", "len", "iter", "getitem", "bool", "index", "int", "float", "lt", "le", "contains"]
    names = [f"__{name}__" for name in names] + ["encode", "isascii", "items", "keys", "values", "isoformat"]
    made: Any = type(f"Spiteful{kind.__name__}", (kind,), {n: refusing(n) for n in names if hasattr(kind, n)})
    return made


Text, Integer, Real, Map, Items = (spiteful(kind) for kind in (str, int, float, dict, list))
Point = namedtuple("Point", "x y")

ZONES = [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-23, minutes=-59))]
LEAVES = st.one_of(
    st.text(st.characters(), max_size=40),  # lone surrogates too
    st.text('\x00"\\\n\ud800€😀a', max_size=40),
    st.integers() | st.integers(-(10**320), 10**320) | st.just(5000).map((10).__pow__),
    st.floats(),
    st.booleans() | st.none() | st.binary(max_size=5) | st.complex_numbers() | st.fractions(),
    st.decimals() | st.uuids() | st.sampled_from([*Colour, *Flags, Flags(3), Ellipsis, object(), int, Fraction]),
    st.datetimes(timezones=st.none() | st.sampled_from(ZONES)),
    st.dates() | st.times() | st.timedeltas(),
    st.text(max_size=9).map(Text) | st.integers().map(Integer) | st.floats().map(Real),
    st.sampled_from([str, int, dict, list, enum.Enum]).map(Liar),
    st.just("no").map(lambda text: Liar(RuntimeError(text))),
)
NAMES = st.sampled_from(
    [
        *("a", "A", "b", "a.b", "a-b", "a_b", "a__b", "a_.b", "a_", "x", "x.y.z", "x_y", "y", "y_z", "z"),
        *("install", "id", "log", "record", "uid", "trace", "event", "name", "service", "source", "keep", "much.more"),
    ]
)
ODD_NAMES = st.one_of(
    st.text(st.characters(), max_size=8), st.integers(), st.none(), st.tuples(st.integers()), st.text().map(Text)
)
KEYS = NAMES | ODD_NAMES | NAMES.map(Text)


def tie(container: Any, key: Any) -> Any:
    """Return *container* with itself inside."""
    container.append(container) if isinstance(container, list) else container.__setitem__(key, container)
    return container


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists, maps = st.lists(inner, max_size=5), st.dictionaries(KEYS, inner, max_size=5)
    return st.one_of(
        lists,
        maps,
        lists.map(tuple) | lists.map(Items) | lists.map(deque) | st.builds(Point, inner, inner),
        maps.map(Map) | maps.map(OrderedDict),
        st.builds(tie, st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), NAMES),
    )


VALUES = st.recursive(LEAVES, containers, max_leaves=20)
PROPERTIES = st.dictionaries(KEYS, VALUES, max_size=8)
LIMITS = st.just(Limits()) | st.builds(
    Limits, properties=st.integers(1, 5), string_bytes=st.integers(1, 60), record_bytes=st.integers(1, 600)
)


def built(properties: Any, limits: Limits) -> Event | None:
    """Build an event as the facade does; None for the one thing that is refused, a reserved name."""
    try:
        with Spite():
            return build("timer.started", properties, own=OWN | CONTEXT, limits=limits)
    except InvalidEventError as error:
        if "reserved" not in error.problem:
            raise
        return None


# What must hold


def refuse_constant(literal: str) -> None:
    pytest.fail(f"{literal} is not JSON")


def members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert max(Counter(name for name, _ in pairs).values(), default=1) == 1
    return dict(pairs)


def walk(value: Any) -> Iterator[Any]:
    """Every JSON value inside *value*, itself included."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def flat_names(pairs: Any, prefix: str = "") -> Iterator[str]:
    """The names a store makes of attributes: nested ones joined, and only letters, digits and single underscores."""
    for pair in pairs:
        name = re.sub("[^A-Za-z0-9]+", "_", f"{prefix}{pair.key}")
        if pair.value.WhichOneof("value") == "kvlist_value" and pair.value.kvlist_value.values:
            yield from flat_names(pair.value.kvlist_value.values, f"{name}_")
        else:
            yield name


def maps_in(value: Any) -> Iterator[Any]:
    """Every attribute list inside an AnyValue."""
    if value.WhichOneof("value") == "kvlist_value":
        yield value.kvlist_value.values
        for pair in value.kvlist_value.values:
            yield from maps_in(pair.value)
    for item in value.array_value.values:
        yield from maps_in(item)


def texts_in(value: Any) -> Iterator[str]:
    """Every string inside an AnyValue, names apart."""
    yield value.string_value
    for pair in value.kvlist_value.values:
        yield from texts_in(pair.value)
    for item in value.array_value.values:
        yield from texts_in(item)


def assert_all_names_differ(request: ExportLogsServiceRequest) -> None:
    (logs,) = request.resource_logs
    (record,) = logs.scope_logs[0].log_records
    lists = [[*logs.resource.attributes, *record.attributes]]
    lists += [list(pairs) for attribute in record.attributes for pairs in maps_in(attribute.value)]
    for pairs in lists:
        assert all(pair.key for pair in pairs)
        assert max(Counter(flat_names(pairs)).values(), default=1) == 1


@given(properties=PROPERTIES, limits=LIMITS)
@example(properties={"install": {"id": 1}, "log": {"record": {"uid": 2}}}, limits=Limits())
@example(properties={"a": {"b": 1}, "a_b": 2, "a__b": 3}, limits=Limits())
@example(properties={"a": [{"b.c": 1, "b_c": 2}]}, limits=Limits())
@example(properties={f"p{n}": "\x00" * 1024 for n in range(64)}, limits=Limits())
@example(properties={f"p{n}": "\ud800€" * 300 for n in range(64)}, limits=Limits())
@example(properties={"n" * 128: 1, "many": [[0.1] * 400] * 3, "more": -1.7976931348623157e308}, limits=Limits())
@examples(400)
def test_any_properties_make_a_valid_body(properties: dict[Any, Any], limits: Limits) -> None:
    """Every dict a host can pass becomes valid OTLP within bounds, without nulls and without names that collide."""
    event = built(properties, limits)
    if event is None:
        return
    record = encoded(event)
    body = requested(record)

    document = json.loads(body, parse_constant=refuse_constant, object_pairs_hook=members_once)
    assert not [value for value in walk(document) if value is None]
    assert not [value for value in walk(document) if isinstance(value, dict) and "bytesValue" in value]

    request = strictly_parsed(body)
    assert_all_names_differ(request)
    assert ExportLogsServiceRequest.FromString(request.SerializeToString()) == request

    (made,) = request.resource_logs[0].scope_logs[0].log_records
    host = made.attributes[4 + len(OWN | CONTEXT) :]
    assert len(host) <= limits.properties
    assert all(len(text.encode()) <= limits.string_bytes for pair in host for text in texts_in(pair.value))
    fixed = encoded(Event(OWN | CONTEXT, event.dropped))
    assert len(record) - len(fixed) <= limits.record_bytes
    assert made.dropped_attributes_count == len(event.dropped)

    (received,) = received_records(parse_request(body))
    assert (received.event_name, received.uid, received.identity) == ("timer.started", UID, "u-17")


@given(properties=PROPERTIES)
@examples(100)
def test_a_late_record_keeps_everything_but_its_times(properties: dict[Any, Any]) -> None:
    """Sent late, a record differs in its times alone, is as valid, and stays the same over any number of retries."""
    event = built(properties, Limits())
    if event is None:
        return
    record = encoded(event)
    late = otlp.retimed(record, LATER, late_ns=1)

    (before,) = strictly_parsed(requested(record)).resource_logs[0].scope_logs[0].log_records
    (after,) = strictly_parsed(requested(late)).resource_logs[0].scope_logs[0].log_records
    assert (before.time_unix_nano, before.observed_time_unix_nano) == (MADE, MADE)
    assert (after.time_unix_nano, after.observed_time_unix_nano) == (LATER, LATER)
    before.time_unix_nano, before.observed_time_unix_nano = LATER, LATER
    assert before == after

    assert otlp.retimed(late, LATER + 1, late_ns=1) is late
    assert received_records(parse_request(requested(late)))[0].late


# Round trip: pairs of what a host passes and what must arrive

OUT = object()
SMALL = st.text(st.characters(codec="utf-8"), max_size=30)
PAIRS = st.one_of(
    SMALL.map(lambda text: (text, text)),
    st.booleans().map(lambda value: (value, value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: (value, value)),
    (st.integers(2**63, 10**299) | st.integers(-(10**299), -(2**63) - 1)).map(lambda value: (value, str(value))),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: (value, value)),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: (value, str(value))),
    st.datetimes().map(lambda value: (value, value.isoformat())),
    st.datetimes(timezones=st.sampled_from([timezone(timedelta(hours=h)) for h in (-11, 0, 5)]))
    .filter(lambda value: 1 < value.year < 9999)
    .map(lambda value: (value, value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z")),
    st.dates().map(lambda value: (value, value.isoformat())),
    st.times().map(lambda value: (value, value.isoformat())),
    st.uuids().map(lambda value: (value, str(value))),
    st.sampled_from([(Colour.RED, "red"), (Colour.ODD, "ODD"), (Colour.NAN, "NAN"), (Flags.B, 2), (Flags(3), 3)]),
    st.sampled_from([None, b"x", math.nan, math.inf, -math.inf, {1}, 1j, object()]).map(lambda value: (value, OUT)),
)


def lists_of(pairs: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def both(items: list[Any], kind: Any) -> tuple[Any, Any]:
        return kind(passed for passed, _ in items), [out for _, out in items if out is not OUT]

    return st.builds(both, st.lists(pairs, max_size=4), st.sampled_from([list, tuple]))


def maps_of(pairs: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def both(named: dict[str, Any]) -> tuple[Any, Any]:
        arriving = {name: out for name, (_, out) in named.items() if out is not OUT}
        return {name: passed for name, (passed, _) in named.items()}, arriving

    # Names without a sign between words cannot collide, however deep they are joined.
    return st.dictionaries(st.sampled_from(["one", "two", "six"]), pairs, max_size=3).map(both)


def nested(depth: int) -> st.SearchStrategy[Any]:
    if depth == 0:
        return PAIRS
    inner = nested(depth - 1)
    return PAIRS | lists_of(inner) | maps_of(inner)


def plain(value: Any) -> Any:
    """Read an AnyValue back."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind)


@given(named=st.dictionaries(st.sampled_from(["alpha", "beta.x", "gamma-y", "delta_z", "Eps9"]), nested(3), max_size=5))
@examples(250)
def test_values_arrive_as_documented(named: dict[str, tuple[Any, Any]]) -> None:
    """What a receiver reads is what the table of `properties` says, in type and value; the rest is left out by name."""
    event = built({name: passed for name, (passed, _) in named.items()}, Limits())
    assert event is not None

    (record,) = strictly_parsed(requested(encoded(event))).resource_logs[0].scope_logs[0].log_records
    arrived = {pair.key: plain(pair.value) for pair in record.attributes[4 + len(OWN | CONTEXT) :]}
    expected = {name: out for name, (_, out) in named.items() if out is not OUT}

    assert list(expected) == list(arrived)
    assert repr(expected) == repr(arrived)  # tells 1 from True and 1.0, and 0.0 from -0.0
    assert {name for name, (_, out) in named.items() if out is OUT} <= set(event.dropped)


@given(user=st.text(st.characters(), max_size=300) | st.integers() | st.uuids())
@examples(60)
def test_any_identity_makes_a_valid_record(user: str | int | UUID) -> None:
    """Whatever id a host gives its users, the record about one of them is valid."""
    record = otlp.encode_record(
        name="timer.started", uid=UID, identity=identity_of(user) or UID, made_ns=MADE, payload=OWN
    )

    strictly_parsed(requested(record))
    (received,) = received_records(parse_request(requested(record)))
    assert 0 < len(received.identity.encode()) <= 256
