"""Any text is a catalogue or a `ConfigError`; nothing undeclared gets through one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.analytics.catalog import SCALARS, Catalog, EventSpec, PropertySpec
from telemetry_sdk.analytics.catalog.format import parse
from telemetry_sdk.analytics.event import build
from telemetry_sdk.catalog_tools.pages import events_page
from telemetry_sdk.model import ConfigError, Limits, Outcome

VALID = """\
version = 2
app = "acme-notes"
[events."timer.started"]
description = "A timer was started."
purpose = "usage"
since = 1
expires = 2027-06-30
[events."timer.started".properties]
source = { type = "string", description = "Where from.", values = ["cli", "gui"], since = 2 }
tags = { type = "list", items = "int", description = "Tags." }
place = { type = "map", description = "Where.", properties = { floor = { type = "float", description = "Which." } } }
"""
PIECES = st.sampled_from(
    [
        *("version", "events", "app", "properties", "description", "purpose", "since", "type", "values", "items"),
        *("a.b", '"a.b"', '"timer.started"', "[", "]", "[[", "]]", "{", "}", "=", " = ", ",", ".", "\n", "\r\n", "\r"),
        *("1", "2", "-1", "0", "true", "nan", "inf", "1e999", "2027-06-30", "07:12:45", '"usage"', '"string"', '"map"'),
        *('"list"', '"int"', "'''", '"""', "'", '"', "#", "\\", "\\u0000", "\\ud800", "\x00", "\ud800", "\ufeff", "é"),
    ]
)


def read(text: str) -> Catalog | None:
    """Parse as a host does, and look at what became of it: a page can be made, or a message can be printed."""
    try:
        catalog = parse(text)
    except ConfigError as error:
        assert str(error).startswith("telemetry.toml: ")
        assert len(str(error)) < 2000
        return None
    events_page(catalog).encode()
    return catalog


@given(st.text(st.characters()) | st.lists(PIECES, max_size=40).map("".join))
@examples(400)
def test_any_text(text: str) -> None:
    """No text is a traceback."""
    read(text)


@given(st.data())
@examples(400)
def test_a_catalogue_with_a_slip(data: st.DataObject) -> None:
    """A catalogue that lost, doubled or gained something anywhere is read or refused, never a traceback."""
    text = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 30, len(text))))
        text = text[:start] + data.draw(PIECES | st.just(text[start:end] * 2) | st.just("")) + text[end:]
    read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PIECES | st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def written(value: Any) -> str:
    """Write a value as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, float):
        return repr(value)  # inf and nan are TOML too
    return '""' if value is None else json.dumps(value)


@given(
    version=JSON | st.just(2),
    event=st.dictionaries(
        st.sampled_from(["description", "purpose", "since", "owner", "expires", "other"]), JSON, max_size=6
    ),
    declaration=st.dictionaries(
        st.sampled_from(["type", "description", "values", "since", "items", "properties"]),
        JSON | st.sampled_from([*SCALARS, "list", "map"]),
        max_size=6,
    ),
)
@examples(300)
def test_a_catalogue_of_anything(version: Any, event: dict[str, Any], declaration: dict[str, Any]) -> None:
    """Whatever stands where something of the format belongs, it is read or refused."""
    event = {"description": "x", "purpose": "usage", **event, "properties": {"it": declaration}}
    read(f"version = {written(version)}\nevents = {written({'a.b': event})}")


NAMES = st.sampled_from(["a", "b", "c", "d", "A", "a.b", "x_y"])
PLAIN = st.text(max_size=3) | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()


def specs(depth: int = 2) -> st.SearchStrategy[tuple[PropertySpec, ...]]:
    scalar = st.sampled_from(SCALARS)
    values = st.just(()) | st.lists(PLAIN, min_size=1, max_size=3).map(tuple)
    since = st.integers(1, 4)
    kinds = [
        st.builds(lambda kind, values, since: PropertySpec("", kind, "x", values, since), scalar, values, since),
        st.builds(lambda items, since: PropertySpec("", "list", "x", (), since, items), scalar, since),
    ]
    if depth:
        kinds.append(
            st.builds(lambda inner, since: PropertySpec("", "map", "x", (), since, "", inner), specs(depth - 1), since)
        )
    named = st.dictionaries(NAMES, st.one_of(kinds), max_size=4)
    return named.map(
        lambda found: tuple(
            PropertySpec(name, it.type, it.description, it.values, it.since, it.items, it.properties)
            for name, it in found.items()
        )
    )


GIVEN = st.dictionaries(
    NAMES,
    st.recursive(PLAIN, lambda it: st.lists(it, max_size=3) | st.dictionaries(NAMES, it, max_size=3), max_leaves=6),
    max_size=6,
)
CONSENTS = st.none() | st.integers(0, 5)


def assert_declared(kept: dict[str, Any], declared: tuple[PropertySpec, ...], agreed: int) -> None:
    """Everything kept is declared, agreed to, and of its type and values; at any depth."""
    by_name = {spec.name: spec for spec in declared}
    python = {"string": {str}, "bool": {bool}, "int": {int}, "float": {int, float}, "list": {list}, "map": {dict}}
    for name, value in kept.items():
        spec = by_name[name]
        assert spec.since <= agreed
        assert type(value) in python[spec.type]
        if spec.type == "map":
            assert_declared(value, spec.properties, agreed)
        elif spec.type == "list":
            assert all(type(item) in python[spec.items] for item in value)
        else:
            assert not spec.values or value in spec.values


@given(
    declared=specs(),
    since=st.integers(1, 4),
    properties=GIVEN,
    consented=CONSENTS,
    name=st.sampled_from(["a.b", "a.c"]),
)
@examples(400)
def test_nothing_undeclared_gets_through(
    declared: tuple[PropertySpec, ...], since: int, properties: dict[str, Any], consented: int | None, name: str
) -> None:
    """An event leaves only if it is declared and agreed to, and then only with what is declared and agreed to."""
    catalog = Catalog(4, {"a.b": EventSpec("a.b", "x", "usage", since, declared)})
    converted = build("a.b", properties, own={}, limits=Limits())
    admission = catalog.admit(name, converted.payload, consented)
    agreed = 1 if consented is None else consented

    if name == "a.c":
        assert (admission.outcome, admission.kept) == (Outcome.REFUSED, {})
    elif since > agreed:
        assert (admission.outcome, admission.kept) == (Outcome.SUPPRESSED, {})
    else:
        assert admission.outcome is None
        assert_declared(admission.kept, declared, agreed)
        lost = {path.split(".")[0] for path in admission.dropped}
        assert all(
            admission.kept.get(key) == value or key.split(".")[0] in lost for key, value in converted.payload.items()
        )


@given(declared=specs(), properties=GIVEN, consented=st.integers(0, 5))
@examples(150)
def test_a_newer_consent_never_takes_anything_away(
    declared: tuple[PropertySpec, ...], properties: dict[str, Any], consented: int
) -> None:
    """What may leave under a consent may leave under every newer one."""
    catalog = Catalog(4, {"a.b": EventSpec("a.b", "x", "usage", 1, declared)})
    payload = build("a.b", properties, own={}, limits=Limits()).payload

    older, newer = (set(catalog.admit("a.b", payload, version).kept) for version in (consented, consented + 1))
    assert older <= newer


@examples(100)
@given(st.none() | st.text(st.characters()))
@example("1" * 10)
def test_a_stored_version_covers_what_it_says_or_nothing(text: str | None) -> None:
    """A stored version is the number that was written, or none at all."""
    version = Catalog.covered(text)

    assert version in (None, 0) or str(version) == text
    assert (version is None) is (text is None)
