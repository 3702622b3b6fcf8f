"""Records as OTLP JSON: the exact bytes, the late form, the join, and what a success answer says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from profiles import examples

from telemetry_sdk import __version__
from telemetry_sdk.model import Answer, Layer
from telemetry_sdk.sender.otlp import (
    any_value,
    encode_envelope,
    encode_record,
    encode_request,
    read_success,
    request_size,
    retimed,
    time_of,
    with_last_seen,
)

MADE = 1_780_000_000_123_456_789
LATER = MADE + 3_600_000_000_000
UID = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"


def record(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "name": "timer.started",
        "uid": UID,
        "identity": "u-17",
        "made_ns": MADE,
        "payload": {"source": "cli", "count": 3},
    }
    return encode_record(**{**arguments, **changes})


def envelope(layer: Layer = Layer.ANALYTICS, **changes: Any) -> bytes:
    return encode_envelope(**{"app": "acme-notes", "version": "2.4.0", "layer": layer, **changes})


def parsed(body: bytes) -> Any:
    """Read *body* as the official messages do, refusing what they do not know."""
    return Parse(body, ExportLogsServiceRequest(), ignore_unknown_fields=False)


def text(key: str, value: str) -> str:
    return f'{{"key":"{key}","value":{{"stringValue":"{value}"}}}}'


def test_a_record_byte_for_byte() -> None:
    """These bytes are what is stored, shown and sent; a change of them is a change of the wire."""
    expected = (
        f'{{"timeUnixNano":"{MADE}","observedTimeUnixNano":"{MADE}","severityNumber":9,"eventName":"timer.started",'
        f'"body":{{"stringValue":"timer.started {UID}"}},"attributes":['
        f"{text('event_name', 'timer.started')},{text('identity', 'u-17')},{text('log.record.uid', UID)},"
        f"{text('occurred_at', '2026-05-28T20:26:40.123Z')},"
        f'{text("source", "cli")},{{"key":"count","value":{{"intValue":"3"}}}}]}}'
    )

    assert expected.encode() == record()


def test_an_envelope_byte_for_byte() -> None:
    """The resource names the app, this SDK and the layer, and nothing of the machine."""
    attributes = ",".join(
        [
            text("service.name", "acme-notes"),
            text("service.namespace", "base_telemetry"),
            text("service.version", "2.4.0"),
            text("telemetry.sdk.name", "telemetry_sdk"),
            text("telemetry.sdk.language", "python"),
            text("telemetry.sdk.version", __version__),
            text("deployment.environment.name", "production"),
            text("telemetry.layer", "base"),
        ]
    )
    expected = (
        f'{{"resource":{{"attributes":[{attributes}]}},'
        f'"scopeLogs":[{{"scope":{{"name":"telemetry_sdk.base","version":"{__version__}"}},"logRecords":['
    )

    assert expected.encode() == envelope(Layer.BASE, environment="production")


@pytest.mark.parametrize("layer", Layer)
def test_a_resource_identifies_no_machine(layer: Layer) -> None:
    """No attribute of an instance, host or process: each value would be a stream of its own in the store."""
    request = parsed(encode_request([(envelope(layer), record())]))

    keys = [attribute.key for attribute in request.resource_logs[0].resource.attributes]
    assert keys == [
        "service.name",
        "service.namespace",
        "service.version",
        "telemetry.sdk.name",
        "telemetry.sdk.language",
        "telemetry.sdk.version",
        "telemetry.layer",
    ]


def test_left_out_properties_are_counted() -> None:
    """The sink learns how many properties were left out, and nothing is said when none was."""
    assert json.loads(record(dropped=3))["droppedAttributesCount"] == 3
    assert "droppedAttributesCount" not in json.loads(record())


def test_text_that_is_no_unicode_costs_no_record() -> None:
    """A lone surrogate, from a state file edited by hand say, is replaced on the way out."""
    body = record(identity="\ud800", payload={"first_seen_at": "a\udfffb"})

    attributes = {pair["key"]: pair["value"]["stringValue"] for pair in json.loads(body)["attributes"]}
    assert (attributes["identity"], attributes["first_seen_at"]) == ("?", "a?b")


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("ü", {"stringValue": "ü"}),
        ("", {"stringValue": ""}),
        (True, {"boolValue": True}),
        (7, {"intValue": "7"}),
        (-(2**63), {"intValue": "-9223372036854775808"}),
        (0.5, {"doubleValue": 0.5}),
        ([], {"arrayValue": {"values": []}}),
        ([1, "x"], {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}}),
        ({}, {"kvlistValue": {"values": []}}),
        ({"a": [False]}, {"kvlistValue": {"values": [{"key": "a", "value": any_value([False])}]}}),
    ],
    ids=repr,
)
def test_any_value(value: object, encoded: dict[str, object]) -> None:
    """A 64-bit integer is a string, as the JSON mapping of protobuf wants; the rest is itself."""
    assert encoded == any_value(value)


@pytest.mark.parametrize("value", [None, b"x", {1}, object()], ids=lambda value: type(value).__name__)
def test_what_has_no_otlp_form_is_a_bug(value: object) -> None:
    """The encoder is given converted values only; anything else fails loudly, and never becomes a null."""
    with pytest.raises(KeyError):
        any_value(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_outside_json(value: float) -> None:
    """NaN and infinities are not JSON, so they cannot be written by accident."""
    with pytest.raises(ValueError, match="JSON"):
        record(payload={"x": value})


def late(body: bytes, now_ns: int = LATER, *, has_left: bool = False) -> bytes:
    """Return *body* as it is sent at *now_ns*, where half an hour is late."""
    return retimed(body, now_ns, late_ns=1800 * 10**9, has_left=has_left)


def test_the_late_form() -> None:
    """A late record carries the attempt's time in both places; what happened when stays in occurred_at."""
    before, after = json.loads(record()), json.loads(late(record()))
    assert (before.pop("timeUnixNano"), before.pop("observedTimeUnixNano")) == (str(MADE), str(MADE))
    assert (after.pop("timeUnixNano"), after.pop("observedTimeUnixNano")) == (str(LATER), str(LATER))
    assert before == after
    assert list(before) == list(after)


def test_a_time_is_kept_until_it_is_late_in_its_turn() -> None:
    """A retry within half an hour is byte-identical; a later one carries its own attempt's time."""
    first = late(record())

    assert late(first, LATER + 1800 * 10**9) is first
    assert time_of(late(first, LATER + 1801 * 10**9)) == LATER + 1801 * 10**9
    assert retimed(record(), LATER, late_ns=None) == record()


@pytest.mark.parametrize("dropped", [0, 3])
def test_a_copy_of_what_may_have_arrived_says_so(dropped: int) -> None:
    """It carries one attribute more, once, and is the same otherwise."""
    first = late(record(dropped=dropped))
    again = late(late(first, LATER + 10**13, has_left=True), LATER + 10**14, has_left=True)

    before, after = json.loads(first), json.loads(again)
    assert after["attributes"] == [*before["attributes"], {"key": "telemetry.resent", "value": {"boolValue": True}}]
    assert after["timeUnixNano"] == str(LATER + 10**14)
    assert list(before) == list(after)


def test_the_predecessor_is_named_in_its_place() -> None:
    """Twenty characters for twenty, wherever else the same words stand."""
    payload = {
        "trap": '{"key":"last_seen_at","value":{"stringValue":"',
        "last_seen_at": "2026-01-31T09:30:00Z",
        "z": "1",
    }

    found = json.loads(with_last_seen(record(payload=payload), 1_780_000_000 * 10**9))["attributes"]

    values = {it["key"]: it["value"]["stringValue"] for it in found}
    assert {**payload, "last_seen_at": "2026-05-28T20:26:40Z"}.items() <= values.items()


def test_the_late_form_looks_at_its_own_bytes_only() -> None:
    """A property that looks like the record's own fields is not taken for them."""
    trap = '","severityNumber":1,"timeUnixNano":"0"'
    body = record(payload={"trap": trap, "severityNumber": 1})

    after = json.loads(late(body))

    assert after["severityNumber"] == 9
    assert {"key": "trap", "value": {"stringValue": trap}} in after["attributes"]
    assert {"key": "severityNumber", "value": {"intValue": "1"}} in after["attributes"]


def test_neighbours_share_a_resource() -> None:
    """Records are grouped by resource as far as their order allows, because a store wants them in order of time."""
    a, b = envelope(Layer.BASE), envelope(Layer.ANALYTICS)
    records = [(a, record(name="n.1")), (a, record(name="n.2")), (b, record(name="n.3")), (a, record(name="n.4"))]

    request = parsed(encode_request(records))

    groups = [[r.event_name for r in logs.scope_logs[0].log_records] for logs in request.resource_logs]
    assert groups == [["n.1", "n.2"], ["n.3"], ["n.4"]]


def test_a_request_is_a_join_of_stored_bytes() -> None:
    """What was stored is in the request byte for byte."""
    body = encode_request([(envelope(), record()), (envelope(), late(record()))])

    assert body == b'{"resourceLogs":[' + envelope() + record() + b"," + late(record()) + b"]}]}]}"


PAIRS = st.tuples(st.sampled_from([envelope(Layer.BASE), envelope()]), st.sampled_from([record(), record(payload={})]))


@given(records=st.lists(PAIRS, min_size=1, max_size=8))
@examples(60)
def test_the_size_of_a_request_is_never_underestimated(records: list[tuple[bytes, bytes]]) -> None:
    """The sum of `request_size` bounds the request, and every such request is a valid one with all the records."""
    body = encode_request(records)

    assert len(body) <= len(b'{"resourceLogs":[]}') + sum(request_size(*pair) for pair in records)
    assert sum(len(logs.scope_logs[0].log_records) for logs in parsed(body).resource_logs) == len(records)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b"", (True, 0, "")),
        (b" \n", (True, 0, "")),
        (b"{}", (True, 0, "")),
        (b'{"partialSuccess":{}}', (True, 0, "")),
        (b'{"partialSuccess":null}', (True, 0, "")),
        (b'{"partialSuccess":[1]}', (True, 0, "")),
        (b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}', (True, 3, "too old")),
        (b'{"partialSuccess":{"rejectedLogRecords":3}}', (True, 3, "")),
        (b'{"partialSuccess":{"rejectedLogRecords":-3}}', (True, 0, "")),
        (b'{"partialSuccess":{"rejectedLogRecords":true}}', (True, 0, "")),
        (b'{"partialSuccess":{"rejectedLogRecords":"many"}}', (True, 0, "")),
        (b'{"partialSuccess":{"rejectedLogRecords":null,"errorMessage":7}}', (True, 0, "")),
        (b'{"partialSuccess":{"rejectedLogRecords":"' + b"9" * 5000 + b'"}}', (True, 0, "")),
        (b'{"partialSuccess":{"errorMessage":"only a warning"}}', (True, 0, "only a warning")),
        (b"[]", (True, 0, "")),
        (b'"ok"', (True, 0, "")),
        (b"ok", (False, 0, "")),
        (b"<html></html>", (False, 0, "")),
        (b"{", (False, 0, "")),
        (b"\xff\xfe\xff", (False, 0, "")),
        (b"[" * 60_000, (False, 0, "")),
        (b"9" * 60_000, (False, 0, "")),
        (None, (False, 0, "")),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_read_success(body: bytes | None, read: tuple[bool, int, str]) -> None:
    """A success answer is empty or JSON; whatever else is in it, reading it never fails."""
    assert read == read_success(Answer(200, body))
