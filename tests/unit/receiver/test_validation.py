"""What the receiver's validation accepts, what it refuses, and what it says about it."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, EntityRef, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from profiles import examples

from telemetry_sdk.receiver.validation import (
    MAX_DEPTH,
    InvalidRequest,
    parse_request,
    received_records,
    validate_request,
)

SECRET = "s3cr3t-value"


def record_with(**fields):
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [fields]}]}]}


def value_with(value):
    return record_with(attributes=[{"key": "k", "value": value}])


def refusal(request):
    with pytest.raises(InvalidRequest) as caught:
        validate_request(request)
    return caught.value


HEARTBEAT = {
    "resourceLogs": [
        {
            "resource": {
                "attributes": [
                    {"key": "service.name", "value": {"stringValue": "acme-notes"}},
                    {"key": "service.version", "value": {"stringValue": "2.4.0"}},
                    {"key": "telemetry.layer", "value": {"stringValue": "base"}},
                ]
            },
            "schemaUrl": "https://opentelemetry.io/schemas/1.44.0",
            "scopeLogs": [
                {
                    "scope": {"name": "telemetry_sdk", "version": "0.1.0"},
                    "logRecords": [
                        {
                            "timeUnixNano": "1756000000123456789",
                            "observedTimeUnixNano": "1756000000123456789",
                            "severityNumber": 9,
                            "eventName": "base_telemetry.heartbeat",
                            "body": {"stringValue": "base_telemetry.heartbeat 0198d0c2"},
                            "traceId": "5B8EFFF798038103D269B633813FC60C",
                            "spanId": "eee19b7ec3c1b174",
                            "flags": 1,
                            "attributes": [
                                {"key": "event_name", "value": {"stringValue": "base_telemetry.heartbeat"}},
                                {"key": "identity", "value": {"stringValue": "2ab2916d"}},
                                {"key": "log.record.uid", "value": {"stringValue": "0198d0c2"}},
                                {"key": "count", "value": {"intValue": "-7"}},
                                {"key": "ratio", "value": {"doubleValue": 1}},
                                {"key": "ok", "value": {"boolValue": False}},
                                {"key": "raw", "value": {"bytesValue": "AAE="}},
                                {"key": "none", "value": {}},
                                {
                                    "key": "list",
                                    "value": {"arrayValue": {"values": [{"intValue": 1}, {"arrayValue": {}}]}},
                                },
                                {
                                    "key": "map",
                                    "value": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 2}}]}},
                                },
                            ],
                        }
                    ],
                }
            ],
        }
    ]
}


def official_value(depth):
    return AnyValue(
        kvlist_value=KeyValueList(
            values=[
                KeyValue(key="s", value=AnyValue(string_value="grüße \U0001f600\n")),
                KeyValue(key="i", value=AnyValue(int_value=-(2**63))),
                KeyValue(key="d", value=AnyValue(double_value=float("nan"))),
                KeyValue(key="x", value=AnyValue(double_value=1e308)),
                KeyValue(key="b", value=AnyValue(bytes_value=bytes(range(256)))),
                KeyValue(key="t", value=AnyValue(bool_value=True)),
                KeyValue(key="e", value=AnyValue()),
                KeyValue(key="unset"),
                KeyValue(
                    key="a",
                    value=AnyValue(array_value=ArrayValue(values=[official_value(depth - 1)] if depth else [])),
                ),
            ]
        )
    )


def official_request():
    """A request that sets every field of the official messages."""
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add(schema_url="https://opentelemetry.io/schemas/1.44.0")
    resource_logs.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="acme")))
    resource_logs.resource.dropped_attributes_count = 2**32 - 1
    resource_logs.resource.entity_refs.append(EntityRef(type="service", id_keys=["service.name"]))
    scope_logs = resource_logs.scope_logs.add(schema_url="x")
    scope_logs.scope.name, scope_logs.scope.version = "scope", "1"
    scope_logs.scope.attributes.append(KeyValue(key="k", value=AnyValue(bool_value=False)))
    for severity in SeverityNumber.values():
        record = scope_logs.log_records.add(
            time_unix_nano=2**64 - 1,
            observed_time_unix_nano=1,
            severity_number=severity,
            severity_text="INFO",
            body=official_value(2),
            dropped_attributes_count=1,
            flags=2**32 - 1,
            trace_id=bytes(range(16)),
            span_id=bytes(range(8)),
            event_name="timer.started",
        )
        record.attributes.append(KeyValue(key="k", value=official_value(3)))
    scope_logs.log_records.add()
    return request


def otlp_json(message, **options):
    """The official encoding, with the two deviations OTLP makes from it: integer enums and hex ids."""

    def hexed(value):
        if isinstance(value, dict):
            ids = {"traceId", "spanId"}
            return {k: base64.b64decode(v).hex() if k in ids else hexed(v) for k, v in value.items()}
        return [hexed(item) for item in value] if isinstance(value, list) else value

    return hexed(MessageToDict(message, use_integers_for_enums=True, **options))


@pytest.mark.parametrize("options", [{}, {"always_print_fields_with_no_presence": True}])
def test_the_official_encoding_is_accepted(options):
    """Whatever the official protobuf library writes, defaults left out or written, is a valid request."""
    request = otlp_json(official_request(), **options)
    body = json.dumps(request, allow_nan=False).encode()

    assert request == parse_request(body)
    assert len(received_records(request)) == 26


def test_a_valid_request_is_returned_itself():
    """Validation changes nothing."""
    before = copy.deepcopy(HEARTBEAT)

    assert validate_request(HEARTBEAT) is HEARTBEAT
    assert before == HEARTBEAT


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"resourceLogs": []},
        {"resourceLogs": [{}]},
        {"resourceLogs": [{"scopeLogs": [{"scope": {}, "logRecords": [{}]}]}]},
        {"unknown": None, "resourceLogs": [{"alsoUnknown": {"stringValue": 1}}]},
        record_with(timeUnixNano=5, observedTimeUnixNano="0"),
        record_with(timeUnixNano=str(2**64 - 1)),
        record_with(traceId="", spanId=""),  # how Collectors write "absent"
        record_with(severityNumber=0),
        record_with(body={}),
        record_with(attributes=[{"key": "no value"}]),
        value_with({"valueOfTheFuture": 1}),  # an unknown field is ignored, so this is the empty value
        value_with({"intValue": -(2**63)}),
        value_with({"intValue": str(2**63 - 1)}),
        value_with({"doubleValue": "-Infinity"}),
        value_with({"doubleValue": -0.0}),
        value_with({"bytesValue": ""}),
        value_with({"bytesValue": "_-8"}),
        value_with({"arrayValue": {}}),
        value_with({"kvlistValue": {"values": []}}),
    ],
)
def test_valid(request_):
    """The OTLP JSON mapping allows it, so it passes."""
    assert validate_request(request_) is request_


RECORD = "resourceLogs[0].scopeLogs[0].logRecords[0]"
VALUE = f"{RECORD}.attributes[0].value"


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ([], "request"),
        (None, "request"),
        ({"resourceLogs": None}, "resourceLogs"),
        ({"resourceLogs": {}}, "resourceLogs"),
        ({"resourceLogs": [{}, SECRET]}, "resourceLogs[1]"),
        ({"resourceLogs": [{"resource": None}]}, "resourceLogs[0].resource"),
        ({"resourceLogs": [{"schemaUrl": 1}]}, "resourceLogs[0].schemaUrl"),
        ({"resourceLogs": [{"scopeLogs": SECRET}]}, "resourceLogs[0].scopeLogs"),
        (
            {"resourceLogs": [{"resource": {"attributes": {"service.name": SECRET}}}]},
            "resourceLogs[0].resource.attributes",
        ),
        (
            {"resourceLogs": [{"resource": {"entityRefs": [{"idKeys": [1]}]}}]},
            "resourceLogs[0].resource.entityRefs[0].idKeys[0]",
        ),
        ({"resourceLogs": [{"scopeLogs": [{"scope": SECRET}]}]}, "resourceLogs[0].scopeLogs[0].scope"),
        (
            {"resourceLogs": [{"scopeLogs": [{"scope": {"name": None}}]}]},
            "resourceLogs[0].scopeLogs[0].scope.name",
        ),
        (record_with(timeUnixNano=None), f"{RECORD}.timeUnixNano"),
        (record_with(timeUnixNano=-1), f"{RECORD}.timeUnixNano"),
        (record_with(timeUnixNano="-1"), f"{RECORD}.timeUnixNano"),
        (record_with(timeUnixNano=str(2**64)), f"{RECORD}.timeUnixNano"),
        (record_with(timeUnixNano=1.0), f"{RECORD}.timeUnixNano"),
        (record_with(timeUnixNano=True), f"{RECORD}.timeUnixNano"),
        (record_with(timeUnixNano="1_0"), f"{RECORD}.timeUnixNano"),  # Python would read it as ten
        (record_with(timeUnixNano=" 1"), f"{RECORD}.timeUnixNano"),
        (record_with(timeUnixNano="١"), f"{RECORD}.timeUnixNano"),  # noqa: RUF001 - a digit to Python, not to OTLP
        (record_with(timeUnixNano="1\n"), f"{RECORD}.timeUnixNano"),
        (record_with(observedTimeUnixNano="9" * 5000), f"{RECORD}.observedTimeUnixNano"),
        (record_with(severityNumber="SEVERITY_NUMBER_INFO"), f"{RECORD}.severityNumber"),
        (record_with(severityNumber="9"), f"{RECORD}.severityNumber"),
        (record_with(severityNumber=25), f"{RECORD}.severityNumber"),
        (record_with(severityText=9), f"{RECORD}.severityText"),
        (record_with(eventName=None), f"{RECORD}.eventName"),
        (record_with(eventName="\ud800"), f"{RECORD}.eventName"),
        (record_with(flags=2**32), f"{RECORD}.flags"),
        (record_with(flags="1"), f"{RECORD}.flags"),
        (record_with(droppedAttributesCount=-1), f"{RECORD}.droppedAttributesCount"),
        (record_with(traceId="5b8efff798038103d269b633813fc60"), f"{RECORD}.traceId"),
        (record_with(traceId="W47/95gDgQPSabYzgT/GDA=="), f"{RECORD}.traceId"),  # base64, as plain proto JSON has it
        (record_with(spanId="5b8efff798038103d269b633813fc60c"), f"{RECORD}.spanId"),
        (record_with(spanId="zee19b7ec3c1b174"), f"{RECORD}.spanId"),
        (record_with(body=SECRET), f"{RECORD}.body"),
        (record_with(attributes=[{"key": "", "value": {}}]), f"{RECORD}.attributes[0].key"),
        (record_with(attributes=[{"value": {}}]), f"{RECORD}.attributes[0].key"),
        (record_with(attributes=[{"key": "a"}, {"key": SECRET}, {"key": SECRET}]), f"{RECORD}.attributes[2].key"),
        (record_with(attributes=[{"key": "a", "value": None}]), f"{RECORD}.attributes[0].value"),
        (value_with({"stringValue": None}), f"{VALUE}.stringValue"),
        (value_with({"stringValue": 1}), f"{VALUE}.stringValue"),
        (value_with({"boolValue": 1}), f"{VALUE}.boolValue"),
        (value_with({"boolValue": "true"}), f"{VALUE}.boolValue"),
        (value_with({"intValue": 2**63}), f"{VALUE}.intValue"),
        (value_with({"intValue": "1.0"}), f"{VALUE}.intValue"),
        (value_with({"intValue": True}), f"{VALUE}.intValue"),
        (value_with({"doubleValue": True}), f"{VALUE}.doubleValue"),
        (value_with({"doubleValue": float("nan")}), f"{VALUE}.doubleValue"),
        (value_with({"doubleValue": float("inf")}), f"{VALUE}.doubleValue"),
        (value_with({"doubleValue": 10**400}), f"{VALUE}.doubleValue"),
        (value_with({"doubleValue": "1.5"}), f"{VALUE}.doubleValue"),
        (value_with({"bytesValue": "a"}), f"{VALUE}.bytesValue"),
        (value_with({"bytesValue": [1]}), f"{VALUE}.bytesValue"),
        (value_with({"stringValue": SECRET, "intValue": 1}), VALUE),
        (value_with({"arrayValue": [SECRET]}), f"{VALUE}.arrayValue"),
        (value_with({"arrayValue": {"values": [{}, {"intValue": SECRET}]}}), f"{VALUE}.arrayValue.values[1].intValue"),
        (
            value_with({"kvlistValue": {"values": [{"key": "a"}, {"key": "a"}]}}),
            f"{VALUE}.kvlistValue.values[1].key",
        ),
    ],
)
def test_invalid(request_, path):
    """A mistake is named by its place in the request, and never by its value."""
    error = refusal(request_)

    assert path == error.path
    assert str(error).startswith(f"{path}: ")
    assert SECRET not in str(error)


@pytest.mark.parametrize("holder", ["arrayValue", "kvlistValue"])
@pytest.mark.parametrize(("levels", "valid"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (100_000, False)])
def test_depth(holder, levels, valid):
    """Values nest to a limit, and how much deeper they go does not matter."""
    value = {}
    for _ in range(levels):
        value = {holder: {"values": [value if holder == "arrayValue" else {"key": "k", "value": value}]}}

    if valid:
        validate_request(value_with(value))
    else:
        assert refusal(value_with(value)).problem == "nested too deep"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not valid JSON at character 0"),
        (b"{", "not valid JSON at character 1"),
        (b"{} {}", "not valid JSON at character 3"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON at character 0"),  # a byte order mark
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"unknown":NaN}', "NaN and Infinity are not JSON"),
        (b'{"unknown":-Infinity}', "NaN and Infinity are not JSON"),
        (b'{"unknown":1e400}', "a number beyond the range of a double"),
        (b'{"unknown":' + b"1" * 5000 + b"}", "a number with too many digits"),
        (b'{"unknown":' + b"[" * 100_000, "nested too deep"),
        (b'{"unknown":{"a":1,"a":1}}', "an object names a member twice"),
        (b'{"resourceLogs":[],"resourceLogs":[]}', "an object names a member twice"),
    ],
)
def test_not_json(body, problem):
    """A body that is not strict JSON in UTF-8 is refused, wherever in it the fault lies."""
    with pytest.raises(InvalidRequest) as caught:
        parse_request(body)

    assert ("request", problem) == (caught.value.path, caught.value.problem)


def test_the_view_of_a_record():
    """A reader sees names, identity and plain values, whatever their encoding was."""
    (record,) = received_records(validate_request(HEARTBEAT))

    assert record.event_name == "base_telemetry.heartbeat"
    assert (record.service_name, record.service_version, record.layer) == ("acme-notes", "2.4.0", "base")
    assert (record.uid, record.identity) == ("0198d0c2", "2ab2916d")
    assert record.late is False
    assert record.attributes == {
        "event_name": "base_telemetry.heartbeat",
        "identity": "2ab2916d",
        "log.record.uid": "0198d0c2",
        "count": -7,
        "ratio": 1.0,
        "ok": False,
        "raw": "AAE=",
        "none": None,
        "list": [1, []],
        "map": {"a": 2},
    }
    assert isinstance(record.attributes["ratio"], float)


def test_the_view_of_an_empty_record():
    """What a record does not say is the empty string, and a record without a time is late."""
    (record,) = received_records(validate_request(record_with()))

    assert (
        record.event_name,
        record.service_name,
        record.service_version,
        record.layer,
        record.uid,
        record.identity,
    ) == ("", "", "", "", "", "")
    assert record.attributes == {}
    assert record.late is True


OCCURRED = [{"key": "occurred_at", "value": {"stringValue": "2026-05-28T20:26:40.123Z"}}]


@pytest.mark.parametrize(
    ("fields", "late"),
    [
        ({"timeUnixNano": "1"}, False),
        ({"timeUnixNano": 1}, False),
        ({"timeUnixNano": "0"}, True),  # protobuf's way to say absent
        ({"observedTimeUnixNano": "1"}, True),
        ({"timeUnixNano": "1780000000123000000", "attributes": OCCURRED}, False),
        ({"timeUnixNano": "1780000001123000000", "attributes": OCCURRED}, True),
    ],
)
def test_late(fields, late):
    """A record is late when it carries no time, or another one than that of what it tells of."""
    (record,) = received_records(validate_request(record_with(**fields)))

    assert late is record.late


def test_the_event_name_may_be_an_attribute():
    """Senders that know no eventName say it in the attribute event_name."""
    named = record_with(attributes=[{"key": "event_name", "value": {"stringValue": "auth.login"}}])
    (record,) = received_records(validate_request(named))

    assert record.event_name == "auth.login"


def test_an_identity_that_is_a_number_is_shown_as_text():
    """The view's own fields are always text."""
    (record,) = received_records(
        validate_request(record_with(attributes=[{"key": "identity", "value": {"intValue": "42"}}]))
    )

    assert record.identity == "42"
    assert record.attributes["identity"] == 42


def places(value, path=()):
    """Every place in a JSON value, as the keys and indices that lead there."""
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in members:
        yield from places(member, (*path, step))


PLACES = list(places(HEARTBEAT))
NAMES = sorted({step for path in PLACES for step in path if isinstance(step, str)})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=20,
)


def replaced(value, path, new):
    if not path:
        return new
    copied = copy.copy(value)
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


def outcome(request):
    """Validate, and read what is valid: whatever else is raised fails the test."""
    try:
        received_records(validate_request(request))
    except InvalidRequest as error:
        return error.path
    return None


@examples(100)
@given(JSON)
def test_nothing_but_invalid_request_is_raised(request_):
    """Any JSON value is either a valid request or an InvalidRequest."""
    outcome(request_)


@examples(100)
@given(st.sampled_from(PLACES), JSON)
def test_a_mutated_request_never_raises_anything_else(path, new):
    """Any one part of a good request may be anything: it passes, or is an InvalidRequest."""
    outcome(replaced(HEARTBEAT, path, new))


@examples(100)
@given(st.sampled_from(PLACES), st.sampled_from([None, object()]))
def test_a_value_of_no_json_type_is_refused_at_its_place(path, new):
    """A null or a thing that is not JSON is refused where it stands, in every field we know."""
    at = outcome(replaced(HEARTBEAT, path, new))

    expected = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    assert (expected or "request") == at


@examples(100)
@given(st.binary(max_size=64) | st.builds(lambda value: json.dumps(value).encode(), JSON))
def test_any_bytes_are_a_request_or_an_invalid_request(body):
    """Whatever arrives, parsing raises nothing but InvalidRequest."""
    try:
        request = parse_request(body)
    except InvalidRequest:
        return

    assert request == validate_request(json.loads(body))
