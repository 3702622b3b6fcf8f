"""The words the parts share: times as text, truth of receipts, frozen values."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk import model
from telemetry_sdk.model import (
    FlushReport,
    Forgotten,
    Level,
    Limits,
    Outcome,
    Preview,
    Receipt,
    SentRequest,
    Status,
    Value,
    timestamp,
)

LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
DIGITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6}


@pytest.mark.parametrize(
    ("ns", "precision", "text"),
    [
        (0, "seconds", "1970-01-01T00:00:00Z"),
        (1_780_000_000_123_456_789, "seconds", "2026-05-28T20:26:40Z"),
        (1_780_000_000_123_456_789, "milliseconds", "2026-05-28T20:26:40.123Z"),
        (1_780_000_000_123_456_789, "microseconds", "2026-05-28T20:26:40.123456Z"),
        (1_780_000_000_999_999_999, "seconds", "2026-05-28T20:26:40Z"),  # cut, not rounded into a later second
        (1_780_000_000_999_999_999, "milliseconds", "2026-05-28T20:26:40.999Z"),
        (-1, "seconds", "1970-01-01T00:00:00Z"),
        (-(10**30), "seconds", "1970-01-01T00:00:00Z"),
        (10**30, "seconds", "9999-12-31T23:59:59Z"),
        (LAST_SECOND * 10**9 + 999_999_999, "milliseconds", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_timestamp(ns: int, precision: str, text: str) -> None:
    """A moment is RFC 3339 in UTC, cut to its precision, and a clock out of range is shown at the nearest end."""
    assert text == timestamp(ns, precision)


@given(ns=st.integers(0, LAST_SECOND * 10**9 + 999_999_999), precision=st.sampled_from(sorted(DIGITS)))
@examples(300)
def test_timestamp_is_exact(ns: int, precision: str) -> None:
    """Over all its years the text says the moment to the last digit it shows."""
    text = timestamp(ns, precision)

    shown = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    unit = 10 ** (9 - DIGITS[precision])
    assert ns // unit == shown // timedelta(microseconds=1) * 1000 // unit
    assert len(text) == 20 + (DIGITS[precision] and DIGITS[precision] + 1)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_receipt_is_true_when_accepted(outcome: Outcome) -> None:
    """``if telemetry.track_event(...)`` asks whether the record was accepted."""
    assert bool(Receipt(outcome)) is (outcome.name in {"DELIVERED", "QUEUED"})


@pytest.mark.parametrize(
    ("report", "truth"),
    [
        (FlushReport(), True),
        (FlushReport(delivered=3), True),
        (FlushReport(delivered=3, kept=1), False),
        (FlushReport(rejected=1), False),
        (FlushReport(dropped=1), False),
    ],
)
def test_a_flush_report_is_true_when_nothing_is_left_or_lost(report: FlushReport, truth: bool) -> None:
    """``if telemetry.flush()`` asks whether all of it arrived."""
    assert truth is bool(report)


def test_levels_are_ordered() -> None:
    """OFF < BASE < FULL, so that a gate is a comparison."""
    assert sorted(Level) == [Level.OFF, Level.BASE, Level.FULL]


VALUES = [getattr(model, name) for name in vars(model) if hasattr(getattr(model, name), "_fields")]


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_values_are_frozen(kind: Any) -> None:
    """What rooms hand each other cannot be changed behind somebody's back."""
    value = kind(**dict.fromkeys(kind._fields, 1))
    for name in (*kind._fields, "other"):
        with pytest.raises(AttributeError):
            setattr(value, name, 2)


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind: Any) -> None:
    """Each field of a value is named in its docstring."""
    described = kind.__doc__ or ""

    assert [name for name in kind._fields if f"{name}:" not in described] == []


def test_the_default_limits_are_the_documented_ones() -> None:
    """The design's bounds hold for a host that sets none."""
    limits = Limits()

    assert (limits.records, limits.bytes, limits.age_days) == (10_000, 2**24, 30)
    assert (limits.batch_records, limits.batch_bytes) == (512, 2**20)
    assert (limits.properties, limits.string_bytes, limits.record_bytes) == (64, 2**10, 2**14)
    assert (limits.late_minutes, limits.sent_log_requests, limits.sent_log_bytes) == (30, 100, 2**21)


def test_status_has_no_place_for_a_secret() -> None:
    """`Status` has no field that could hold a token or a header."""
    names = set(Status._fields) - {"privacy_url"}  # the policy's, for people to read

    assert not {name for name in names if "token" in name or "header" in name or "url" in name}


RESULTS = [
    Receipt(Outcome.QUEUED, "uid"),
    Limits(records=5),
    FlushReport(delivered=1),
    SentRequest("2026-01-31T09:30:00Z", "sink.example", b"{}", 1, 200, "delivered", ""),
    Preview(Level.BASE, "why", removed={"e-mail address": 1}),
    Forgotten(complete=True, deletion_request=Receipt(Outcome.SUPPRESSED)),
    Status(Level.OFF, "sink", "why", {}),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda it: type(it).__name__)
def test_a_result_cannot_be_changed(result: Value) -> None:
    """No field of a public result is set, deleted or added after it was made; a changed copy is made by `replace`."""
    name = result._fields[0]
    for change in (lambda: setattr(result, name, None), lambda: delattr(result, name), lambda: setattr(result, "x", 1)):
        with pytest.raises(AttributeError):
            change()

    assert result.replace(**{name: "other"}).as_dict() == {**result.as_dict(), name: "other"}


@pytest.mark.parametrize("result", RESULTS, ids=lambda it: type(it).__name__)
def test_a_result_is_no_tuple(result: Any) -> None:
    """Nobody can unpack, index or count the fields of a public result, so a later field breaks no caller."""
    for use in (lambda: list(result), lambda: result[0], lambda: len(result)):
        with pytest.raises(TypeError):
            use()
    assert not isinstance(result, tuple)


@pytest.mark.parametrize("result", RESULTS, ids=lambda it: type(it).__name__)
def test_a_result_travels_and_compares_by_its_fields(result: Value) -> None:
    """Copies and pickles equal the original, other kinds and other values do not, and its text names each field."""
    assert copy.deepcopy(result) == pickle.loads(pickle.dumps(result)) == result
    assert result != tuple(result.as_dict().values())
    assert all(f"{name}=" in repr(result) for name in result.as_dict())


@pytest.mark.parametrize("wrong", [((), {}), ((1,) * 9, {}), ((1,), {"uids": "x"})])
def test_a_result_is_made_of_its_fields_only(wrong: tuple[tuple[int, ...], dict[str, str]]) -> None:
    """A field too few, too many or of another name is a TypeError that names those there are."""
    positional, named = wrong
    with pytest.raises(TypeError, match="SentRequest takes at, sink, body, records, status, verdict, reason, headers"):
        SentRequest(*positional, **named)
    with pytest.raises(TypeError):
        Receipt(*positional, **named)
