"""What becomes of each kind of Python value: the documented table, its bounds, and values that lie."""

from __future__ import annotations

import collections.abc
import enum
import math
from collections import OrderedDict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.analytics.scrub import CUT_MARK, Scrubber
from telemetry_sdk.analytics.values import Converter, property_name, safe_text, shown
from telemetry_sdk.model import Limits
from telemetry_sdk.sender.otlp import any_value

if TYPE_CHECKING:
    from collections.abc import Iterator

LEFT_OUT = object()
Point = namedtuple("Point", "x y")


def converted(value: object, limits: Limits | None = None) -> object:
    converter = Converter(limits or Limits())
    converter.add("p", value)
    return converter.kept.get("p", LEFT_OUT)


def dropped(value: object) -> list[str]:
    converter = Converter(Limits())
    converter.add("p", value)
    return converter.dropped


class Colour(enum.Enum):
    RED = "red"
    BLUE = 3
    ODD = object()
    PAIR = (1, "two")
    NAN = math.nan


class Number(enum.IntEnum):
    SEVEN = 7


class Option(enum.Flag):
    A = 1
    B = 2


class Word(enum.StrEnum):
    HELLO = "hello"


VIENNA = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("text", "text"),
        ("", ""),
        ("ünï€😀", "ünï€😀"),
        ("\x00\n\x7f", "\x00\n\x7f"),
        ("a\ud800b\udfff", "a?b?"),
        (True, True),
        (False, False),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        (10**299, str(10**299)),
        (10**4000, LEFT_OUT),
        (0.5, 0.5),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        (math.nan, LEFT_OUT),
        (math.inf, LEFT_OUT),
        (-math.inf, LEFT_OUT),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), LEFT_OUT),
        (Decimal("sNaN"), LEFT_OUT),
        (Decimal("-Infinity"), LEFT_OUT),
        (datetime(2026, 5, 28, 20, 26, 40), "2026-05-28T20:26:40"),
        (datetime(2026, 5, 28, 20, 26, 40, 5, UTC), "2026-05-28T20:26:40.000005Z"),
        (datetime(2026, 5, 28, 1, 0, tzinfo=VIENNA), "2026-05-27T23:00:00Z"),
        (datetime(1, 1, 1, tzinfo=VIENNA), LEFT_OUT),  # before the first year in UTC
        (date(2026, 5, 28), "2026-05-28"),
        (time(20, 26), "20:26:00"),
        (time(20, 26, tzinfo=VIENNA), "20:26:00+02:00"),
        (Colour.RED, "red"),
        (Colour.BLUE, 3),
        (Colour.ODD, "ODD"),
        (Colour.NAN, "NAN"),
        (Colour.PAIR, [1, "two"]),
        (Number.SEVEN, 7),
        (Option.A | Option.B, 3),
        (Word.HELLO, "hello"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([1, "two"], [1, "two"]),
        ((1, "two"), [1, "two"]),
        (Point(1, 2), [1, 2]),
        ({"a": 1}, {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        ([], []),
        ({}, {}),
        (None, LEFT_OUT),
        (b"bytes", LEFT_OUT),
        (bytearray(b"x"), LEFT_OUT),
        (memoryview(b"x"), LEFT_OUT),
        (1j, LEFT_OUT),
        (Fraction(1, 3), LEFT_OUT),
        ({1, 2}, LEFT_OUT),
        (deque([1]), LEFT_OUT),
        (MappingProxyType({"a": 1}), LEFT_OUT),
        (timedelta(1), LEFT_OUT),
        (range(3), LEFT_OUT),
        (object(), LEFT_OUT),
        (ValueError("x"), LEFT_OUT),
        (int, LEFT_OUT),
        (print, LEFT_OUT),
        ((n for n in range(3)), LEFT_OUT),
    ],
    ids=lambda value: ascii(value).partition(" at 0x")[0][:30],
)
def test_the_table(value: object, becomes: object) -> None:
    """Each kind of value becomes what the table says, or is left out by name."""
    result = converted(value)

    assert becomes == result
    assert type(becomes) is type(result)
    assert dropped(value) == ([] if becomes is not LEFT_OUT else ["p"])


@pytest.mark.parametrize(
    ("value", "becomes", "left_out"),
    [
        ([1, None, 2], [1, 2], ["p.1"]),
        ([math.nan], [], ["p.0"]),
        ({"a": None, "b": 1}, {"b": 1}, ["p.a"]),
        ({"a": [{"b": b"x"}]}, {"a": [{}]}, ["p.a.0.b"]),
        ({"": 1, "ok": 2}, {"ok": 2}, ["p."]),
        ({5: 1, "ok": 2}, {"ok": 2}, ["p.<int>"]),
        ({"a b": 1}, {}, ["p.a b"]),
        ([[[1]]], [[[1]]], []),
        ([[[[1]]]], [[[]]], ["p.0.0.0"]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}, []),
        ({"a": {"b": {"c": {"d": 1}}}}, {"a": {"b": {}}}, ["p.a.b.c"]),
        ({"a.b": 1, "a_b": 2}, {"a.b": 1}, ["p.a_b"]),
        ({"a": {"b": 1}, "a-b": 2}, {"a": {"b": 1}}, ["p.a-b"]),
        ({"a_": {"b": 1}, "a_b": 2}, {"a_": {"b": 1}}, ["p.a_b"]),
        ({"a__b": 1, "a_b": 2}, {"a__b": 1}, ["p.a_b"]),
        ([Colour.ODD, (1, {2})], ["ODD", [1]], ["p.1.1"]),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_what_does_not_fit_is_left_out_of_its_container(value: object, becomes: object, left_out: list[str]) -> None:
    """A container loses what has no form, and the receipt names it by its path."""
    assert becomes == converted(value)
    assert left_out == dropped(value)


def test_a_cycle_ends() -> None:
    """A container that holds itself is cut at the depth limit."""
    items: list[object] = []
    items.append(items)
    mapping: dict[str, object] = {"items": [0]}
    mapping["items"].append(mapping)  # type: ignore[attr-defined]

    assert converted(items) == [[[]]]
    assert converted(mapping) == {"items": [0, {}]}


def test_a_property_holds_at_most_a_thousand_values() -> None:
    """A larger one is left out whole and at once, so that no value can hold the host up."""
    roomy = Limits(record_bytes=10**9)

    assert len(converted([0] * 999, roomy)) == 999  # type: ignore[arg-type]
    assert converted([0] * 1000, roomy) is LEFT_OUT
    assert converted([[0] * 500, [0] * 500], roomy) is LEFT_OUT
    assert converted([None] * 10**6, roomy) is LEFT_OUT
    assert dropped([None] * 10**6) == ["p"]


class Watchful(Scrubber):
    """Counts the texts and names it is shown."""

    seen = 0

    def text(self, *arguments: Any) -> str:
        self.seen += 1
        return super().text(*arguments)


@pytest.mark.parametrize(
    "value",
    [
        {str(number): number for number in range(100_000)},
        {f"n{number}": number for number in range(100_000)},
        [dict.fromkeys(range(100000), "x")],
        [[{"a b": 1}] * 50, ["x"] * 950],
        ("x",) * 1000,
    ],
    ids=["impossible names", "names", "in a list", "together", "tuple"],
)
def test_of_too_many_values_none_is_looked_at(value: object) -> None:
    """A list or map says how much it holds: one with too much costs no more than its own name in the receipt."""
    scrubber = Watchful()
    converter = Converter(Limits(), scrubber)
    converter.add("p", value)

    assert (converter.kept, converter.dropped) == ({}, ["p"])
    assert scrubber.seen <= 110


def test_names_that_cannot_be_kept_count_as_values_too() -> None:
    """A map within a property's bound loses them one by one, and over it the property is left out."""
    assert converted(dict.fromkeys(range(999), 1)) == {}
    assert converted(dict.fromkeys(range(1000), 1)) is LEFT_OUT
    assert converted([dict.fromkeys(range(500), 1)] * 2) is LEFT_OUT


def test_the_values_of_one_event_are_bounded() -> None:
    """Lists and maps are left out once far more was looked at than can be kept; what needs no looking into stays."""
    converter = Converter(Limits())
    for number in range(64):
        converter.add(f"p{number}", [None] * 900 if number % 2 else dict.fromkeys(range(900), 1))
    converter.add("tags", ["a", "b"])
    for number in range(50):
        converter.add(f"q{number}", Colour.RED)

    assert list(converter.kept) == ["p0", "p1", "p2", "p3", "tags", *(f"q{number}" for number in range(50))]
    assert converter.dropped[3600:] == [f"p{number}" for number in range(4, 64)]


def test_a_larger_record_may_hold_more_values() -> None:
    """The bound on an event's values grows with the bytes the host allows it."""
    roomy = Converter(Limits(record_bytes=10**6))
    for number in range(8):
        roomy.add(f"p{number}", [0] * 900)

    assert len(roomy.kept) == 8


class Reading(collections.abc.Mapping[str, object]):
    """A mapping without end that counts what is read of it."""

    def __init__(self) -> None:
        self.read = 0

    def __getitem__(self, key: str) -> object:
        self.read += 1
        return key

    def __len__(self) -> int:
        self.read += 1
        return 1

    def __iter__(self) -> Iterator[str]:
        for _ in range(100_000):
            self.read += 1
            yield f"p{self.read}"


@pytest.mark.parametrize(
    "wrap",
    [lambda it: it, iter, lambda it: it.values(), lambda it: [it], lambda it: ({"a": iter(it)},)],
    ids=["mapping", "iterator", "view", "in a list", "in a map"],
)
def test_what_has_no_form_is_not_read(wrap: Any) -> None:
    """A mapping that is no dict and an iterator are left out for what they are, whatever they would yield."""
    endless = Reading()
    converted(wrap(endless))

    assert endless.read == 0


class Liar:
    """An object that says it is something else, or fails when asked."""

    def __init__(self, kind: object) -> None:
        self.kind = kind

    @property
    def __class__(self) -> Any:
        if isinstance(self.kind, BaseException):
            raise self.kind
        return self.kind


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("asked")

    encode = isascii = __len__ = __iter__ = __getitem__ = __repr__ = __eq__ = __str__  # type: ignore[assignment]
    __hash__ = str.__hash__


class Integer(int):
    def __index__(self) -> int:
        raise RuntimeError("asked")

    __int__ = __repr__ = __str__ = __lt__ = __le__ = bit_length = __index__  # type: ignore[assignment]


class Real(float):
    def __float__(self) -> float:
        return math.nan

    __repr__ = __str__ = is_integer = __float__  # type: ignore[assignment]


class Mapping(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError("asked")

    __iter__ = __len__ = keys = __getitem__ = items  # type: ignore[assignment]


class Items(list[Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("asked")

    __len__ = __getitem__ = __iter__  # type: ignore[assignment]


class Zone(tzinfo):
    def utcoffset(self, _: object) -> timedelta:
        raise RuntimeError("no zone")


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (Text("plain"), "plain"),
        (Integer(7), 7),
        (Integer(2**70), str(2**70)),
        (Real(0.5), 0.5),
        (Mapping(a=1), {"a": 1}),
        (Mapping({Text("a"): Text("b")}), {"a": "b"}),
        (Items([1, 2]), [1, 2]),
        (datetime(2026, 5, 28, tzinfo=Zone()), LEFT_OUT),
        (time(1, tzinfo=Zone()), LEFT_OUT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_cannot_lie(value: object, becomes: object) -> None:
    """A subclass is taken for what its base class holds, by the base class's own methods."""
    result = converted(value)

    assert becomes == result
    assert becomes is LEFT_OUT or any_value(result)  # encodable: nothing of the subclass is left


PRETENDED = [str, int, float, bool, dict, list, enum.Enum, datetime, RuntimeError("no class at all")]


@pytest.mark.parametrize("kind", PRETENDED, ids=str)
def test_a_pretender_is_left_out(kind: object) -> None:
    """What only says that it is something is left out, as a value and as a name."""
    assert converted(Liar(kind)) is LEFT_OUT
    assert property_name(Liar(kind)) is None
    assert shown(Liar(kind)) == "<Liar>"


def test_an_exploding_value_costs_itself_only() -> None:
    """What raises when it is read is left out by name, and everything beside it stays."""
    converter = Converter(Limits())
    for name, value in {"before": 1, "bad": [None, Liar(RuntimeError("no"))], "after": 2}.items():
        converter.add(name, value)

    assert converter.kept == {"before": 1, "after": 2}
    assert converter.dropped == ["bad"]


def test_names_a_store_cannot_tell_apart() -> None:
    """Of two names that a store makes the same, or one map spells, the first stays."""
    converter = Converter(Limits())
    names = {
        "a.b": 1,
        "a-b": 2,
        "a_b": 3,
        "a__b": 4,
        "a": {"b": 5},
        "A_b": 6,
        "x": {"y": {"z": 7}},
        "x_y.z": 8,
        "c_": 9,
    }
    for name, value in names.items():
        converter.add(name, value)

    assert converter.kept == {"a.b": 1, "A_b": 6, "x": {"y": {"z": 7}}, "c_": 9}
    assert converter.dropped == ["a-b", "a_b", "a__b", "a", "x_y.z"]


def test_what_does_not_fit_into_the_record_is_left_out() -> None:
    """A property that would make the record too large is left out; a smaller one after it still fits."""
    converter = Converter(Limits(record_bytes=200))
    for name, value in {"a": "x" * 100, "b": "x" * 100, "c": "x", "d": [1, None, {"e": "x" * 200}]}.items():
        converter.add(name, value)

    assert list(converter.kept) == ["a", "c"]
    assert converter.dropped == ["b", "d"]


@pytest.mark.parametrize(
    ("text", "limit", "result"),
    [
        ("x" * 10, 10, "x" * 10),
        ("x" * 11, 10, "xx" + CUT_MARK),
        ("€" * 3, 9, "€€€"),
        ("€" * 4, 11, "€" + CUT_MARK),
        ("€" * 4, 10, CUT_MARK),
        ("x" * 10, 8, CUT_MARK),
        ("x" * 10, 7, "x" * 7),  # no room for a mark
        ("€", 1, ""),
        ("\ud800", 1, "?"),
    ],
)
def test_safe_text(text: str, limit: int, result: str) -> None:
    """A long text is cut between characters and marked."""
    assert result == safe_text(text, limit)


@given(text=st.text(st.characters(), max_size=60), limit=st.integers(1, 60))
@examples(300)
def test_a_text_fits_its_limit_and_can_be_encoded(text: str, limit: int) -> None:
    """No text is longer than its limit in UTF-8, and one that was not cut is unchanged but for lone surrogates."""
    result = safe_text(text, limit)

    assert len(result.encode()) <= limit
    whole = text.encode("utf-8", "replace").decode()
    assert result == whole or len(whole.encode()) > limit


# With a scrubber


SCRUBBER = Scrubber(["jsmith"])


def kept(
    properties: dict[str, object], limits: Limits | None = None
) -> tuple[dict[str, object], dict[str, int], list[str]]:
    converter = Converter(limits or Limits(), SCRUBBER)
    for name, value in properties.items():
        converter.add(name, value)
    return converter.kept, dict(converter.scrubbed), converter.dropped


class Address(enum.Enum):
    HOME = "jane@example.com"
    JSMITH = object()


@pytest.mark.parametrize(
    ("properties", "becomes", "scrubbed"),
    [
        ({"note": "mail jane@example.com"}, {"note": "mail [email]"}, {"email": 1}),
        ({"note": Text("jane@example.com")}, {"note": "[email]"}, {"email": 1}),
        ({"note": Address.HOME}, {"note": "[email]"}, {"email": 1}),
        ({"note": Address.JSMITH}, {"note": "[local]"}, {"own name": 1}),
        ({"amount": Decimal("4111111111111111")}, {"amount": "[card]"}, {"card": 1}),
        ({"amount": 4111111111111111}, {"amount": "[card]"}, {"card": 1}),
        ({"amount": 4111111111111111.0}, {"amount": "[card]"}, {"card": 1}),
        ({"took_ns": 4111111111111111}, {"took_ns": 4111111111111111}, {}),
        ({"password": 1234}, {"password": "[removed]"}, {"name: password": 1}),
        ({"password": object()}, {"password": "[removed]"}, {"name: password": 1}),
        ({"password": {"a": ["x"]}}, {"password": "[removed]"}, {"name: password": 1}),
        ({"has_password": True, "email": False}, {"has_password": True, "email": False}, {}),
        ({"a": {"b": {"userEmail": "x"}}}, {"a": {"b": {"userEmail": "[removed]"}}}, {"name: email": 1}),
        ({"users": [{"name": "Jane", "n": 1}]}, {"users": [{"name": "[removed]", "n": 1}]}, {"name: user name": 1}),
        ({"smtp": {"pass": "x"}}, {"smtp": {"pass": "[removed]"}}, {"name: smtp pass": 1}),
        ({"a": [[["x", "/home/jane"]]]}, {"a": [[["x", "[path]"]]]}, {"path": 1}),
        ({"emails": ["a", "b"]}, {"emails": "[removed]"}, {"name: email": 1}),
        ({"hosts": ["a", 1]}, {"hosts": ["[removed]", 1]}, {"name: host": 1}),
        ({"versions": ["1.2.3.4"]}, {"versions": ["1.2.3.4"]}, {}),
        ({"page": "/data/export"}, {"page": "/data/export"}, {}),
        ({"when": datetime(2026, 5, 28, 20, 26, 40)}, {"when": "2026-05-28T20:26:40"}, {}),
        ({"id": UUID(int=1)}, {"id": "00000000-0000-0000-0000-000000000001"}, {}),
    ],
)
def test_what_must_not_leave_is_removed(
    properties: dict[str, object], becomes: dict[str, object], scrubbed: dict[str, int]
) -> None:
    """Names and values are looked at in every type and nesting; what was removed is counted by kind."""
    assert kept(properties) == (becomes, scrubbed, [])


def test_no_half_of_a_secret_is_left_by_the_cut() -> None:
    """A text is scrubbed before it is cut: wherever the limit falls, nothing of a secret is left."""
    for start in range(20, 110):
        (value,) = kept({"note": "." * start + " hunter2hunter2hunter2@secretplace.example"}, Limits(string_bytes=100))[
            0
        ].values()

        assert len(str(value).encode()) <= 100
        assert "hunter" not in str(value)


def test_a_name_with_a_secret_in_it_is_left_out() -> None:
    """A property whose name holds this machine's user is dropped, counted, and named without it; so is one in a map."""
    properties = {"jsmith_notes": 1, "notes": {"jsmith": 2, "other": 3}, "counts": {"jane@example.com": 4}}

    assert kept(properties) == (
        {"notes": {"other": 3}, "counts": {}},
        {"name": 2},
        ["[local]_notes", "notes.[local]", "[email]"],
    )


def test_what_is_left_out_is_not_counted_as_scrubbed() -> None:
    """Only what left the record's values is counted: a property that does not fit takes its count with it."""
    limits = Limits(record_bytes=100)

    assert kept({"note": "jane@example.com" + " x" * 100}, limits) == ({}, {}, ["note"])


def test_the_text_of_one_event_is_bounded() -> None:
    """An event with more text than could ever be kept is not scrubbed to its end: what was not looked at is left out."""
    texts = {f"p{number}": [f"{'x ' * 4000}{n}" for n in range(5)] for number in range(10)}
    values, _, dropped = kept(texts, Limits(string_bytes=4, record_bytes=16_384))

    assert list(values) == ["p0", "p1", "p2"]
    assert dropped == [f"p{number}" for number in range(3, 10)]
