"""The catalogue: which events and properties may leave, under which consent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from telemetry_sdk.analytics.catalog import (
    OWN_EVENTS,
    Admission,
    Catalog,
    EventSpec,
    PropertySpec,
    unmarked,
)
from telemetry_sdk.model import DELETION_REQUESTED, IDENTIFY, INSTALL, PAGE_VIEW, Outcome


def declared(type: str = "string", **more: Any) -> PropertySpec:
    return PropertySpec("it", type, "What it is.", **more)


def event(name: str, *properties: PropertySpec, **more: Any) -> EventSpec:
    return EventSpec(name, "When it is sent.", "usage", properties=properties, **more)


def catalog(*events: EventSpec, version: int = 5) -> Catalog:
    return Catalog(version, {spec.name: spec for spec in events})


def admitted(spec: PropertySpec, value: object, consented: int | None = 5) -> Admission:
    return catalog(event("a.b", spec)).admit("a.b", {"it": value}, consented)


SOURCE = PropertySpec("source", "string", "Where from.", values=("cli", "gui"))
LATER = PropertySpec("later", "int", "Came later.", since=3)
STARTED = event("timer.started", SOURCE, LATER)
PAUSED = event("timer.paused", SOURCE, since=4)


def test_a_declared_event_leaves_with_its_declared_properties() -> None:
    """What is declared is kept, in the order it was given, and nothing is said about it."""
    admission = catalog(STARTED).admit("timer.started", {"later": 1, "source": "cli"}, 3)

    assert admission == Admission({"later": 1, "source": "cli"})
    assert list(admission.kept) == ["later", "source"]


def test_an_undeclared_event_is_refused() -> None:
    """An event the catalogue does not have does not leave, whatever the consent."""
    admission = catalog(STARTED, version=9).admit("timer.strated", {"source": "cli"}, 9)

    assert (admission.outcome, admission.kept) == (Outcome.REFUSED, {})
    assert admission.reason == "not declared in the catalogue"


@pytest.mark.parametrize("name", ["", "timer", "timer.started.x", "Timer.Started", "timer_started", "analytics.other"])
def test_names_are_compared_whole(name: str) -> None:
    """A name that is only like a declared one is not declared."""
    assert catalog(STARTED).admit(name, {}, 5).outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("consented", "outcome"),
    [
        (5, None),
        (4, None),
        (3, Outcome.SUPPRESSED),
        (1, Outcome.SUPPRESSED),
        (0, Outcome.SUPPRESSED),  # unreadable: nothing was agreed to
        (None, Outcome.SUPPRESSED),  # agreed before there was a catalogue
    ],
)
def test_an_event_newer_than_the_consent_stays_here(consented: int | None, outcome: Outcome | None) -> None:
    """Consent covers what the catalogue had when it was given; for more the user must be asked again."""
    admission = catalog(PAUSED).admit("timer.paused", {"source": "cli"}, consented)

    assert admission.outcome is outcome
    assert ("ask again" in admission.reason) is (outcome is not None)
    assert bool(admission.kept) is (outcome is None)


@pytest.mark.parametrize(("consented", "left"), [(2, ("later",)), (None, ("later",)), (3, ())])
def test_a_property_newer_than_the_consent_is_left_out(consented: int | None, left: tuple[str, ...]) -> None:
    """A property added later stays here under an older consent, and its event leaves without it."""
    admission = catalog(STARTED).admit("timer.started", {"source": "gui", "later": 1}, consented)

    assert admission.outcome is None
    assert admission.dropped == left
    assert admission.kept == {"source": "gui", **({} if left else {"later": 1})}


@pytest.mark.parametrize(("consented", "outcome"), [(None, None), (1, None), (0, Outcome.SUPPRESSED)])
def test_a_consent_without_a_catalogue_covers_the_first_version(consented: int | None, outcome: Outcome | None) -> None:
    """Who agreed before there was a catalogue agreed to what its first version lists, and to nothing newer."""
    assert catalog(STARTED).admit("timer.started", {}, consented).outcome is outcome
    assert catalog(event("a.b", since=2)).admit("a.b", {}, consented).outcome is Outcome.SUPPRESSED


@pytest.mark.parametrize(
    ("today", "outcome"),
    [("", None), ("2027-06-29", None), ("2027-06-30", Outcome.SUPPRESSED), ("2031-01-01", Outcome.SUPPRESSED)],
)
def test_an_expired_event_stays_here(today: str, outcome: Outcome | None) -> None:
    """From the day it expires an event does not leave."""
    admission = catalog(event("a.b", expires="2027-06-30")).admit("a.b", {}, 5, today=today)

    assert admission.outcome is outcome
    assert ("2027-06-30" in admission.reason) is (outcome is not None)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "x"], [1, True, 1.5, [], {}]),
        ("bool", [True, False], [0, 1, "true", 1.0]),
        ("int", [0, -(2**63), 2**63 - 1], [True, 1.0, "1", 2**63]),
        ("float", [1.5, 0, -3], [True, "1.5", 2**70]),
    ],
)
def test_types(kind: str, good: list[object], bad: list[object]) -> None:
    """A value of another type is left out by name; a whole number is a float too, a bool is no number."""
    for value in good:
        assert admitted(declared(kind), value) == Admission({"it": value}), value
    for value in bad:
        assert admitted(declared(kind), value) == Admission({}, ("it",)), value


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        (declared(values=("cli", "gui")), ["cli"], ["CLI", "", "web", "cli "]),
        (declared("int", values=(1, 2)), [1, 2], [3, True]),
        (declared("float", values=(1, 2.5)), [1, 1.0, 2.5], [2]),
        (declared("bool", values=(True,)), [True], [False]),
    ],
)
def test_allowed_values(spec: PropertySpec, good: list[object], bad: list[object]) -> None:
    """A value that is not among the allowed ones is left out by name."""
    for value in good:
        assert admitted(spec, value).kept == {"it": value}, value
    for value in bad:
        assert admitted(spec, value) == Admission({}, ("it",)), value


def test_items_of_a_list() -> None:
    """Of a list the items that do not fit are left out by position; something that is no list goes as a whole."""
    spec = declared("list", items="string", values=("a", "b"))

    assert admitted(spec, ["a", 1, "c", "b", ["a"], {"a": 1}]) == Admission(
        {"it": ["a", "b"]}, ("it.1", "it.2", "it.4", "it.5")
    )
    assert admitted(spec, []) == Admission({"it": []})
    assert admitted(spec, "a") == Admission({}, ("it",))
    assert admitted(declared("string"), ["a"]) == Admission({}, ("it",))


def test_inside_of_a_map() -> None:
    """Nothing undeclared hides in a map: what is in it is held to its own declaration, at any depth."""
    inner = PropertySpec("inner", "map", "More.", properties=(PropertySpec("kind", "string", "Kind."),))
    spec = declared("map", properties=(PropertySpec("size", "int", "Size.", since=3), inner))
    value = {"size": 1, "secret": 2, "inner": {"kind": "x", "secret": {"a": 1}}}

    assert admitted(spec, value) == Admission(
        {"it": {"size": 1, "inner": {"kind": "x"}}}, ("it.secret", "it.inner.secret")
    )
    assert admitted(spec, value, consented=2).dropped == ("it.size", "it.secret", "it.inner.secret")
    assert admitted(spec, [1]) == Admission({}, ("it",))
    assert admitted(spec, {"inner": "flat"}) == Admission({"it": {}}, ("it.inner",))


def test_what_is_given_is_not_touched() -> None:
    """The properties that were given stay as they are."""
    given: Mapping[str, object] = {"it": ["a", 1], "other": {"x": 1}}
    catalog(event("a.b", declared("list", items="string"))).admit("a.b", given, 5)

    assert given == {"it": ["a", 1], "other": {"x": 1}}


@pytest.mark.parametrize("name", [INSTALL, PAGE_VIEW, IDENTIFY, DELETION_REQUESTED])
def test_the_sdks_own_events_are_declared(name: str) -> None:
    """The SDK's own events leave without being written down; what a host adds to them does not."""
    admission = catalog().admit(name, {"plan": "free"}, None)

    assert (admission.outcome, admission.kept, admission.dropped) == (None, {}, ("plan",))
    assert OWN_EVENTS[name].description


def test_a_host_declares_properties_of_page_views() -> None:
    """What a host declares for one of the SDK's events takes the place of what the SDK says."""
    own = catalog(event(PAGE_VIEW, SOURCE, since=2))

    assert own.admit(PAGE_VIEW, {"source": "cli"}, 2).kept == {"source": "cli"}
    assert own.admit(PAGE_VIEW, {"source": "cli"}, 1).outcome is Outcome.SUPPRESSED


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (None, None),
        ("1", 1),
        ("42", 42),
        ("999999999", 999_999_999),
        *((odd, 0) for odd in ("", "0", "-1", "+1", "1.0", " 1", "1\n", "v1", "1e3", "٣", "9" * 5000, "01")),
    ],
)
def test_the_stored_version(text: str | None, version: int | None) -> None:
    """The version in the state file is read exactly; one that cannot be read covers nothing."""
    assert Catalog.covered(text) == version


@pytest.mark.parametrize(
    ("stored", "version", "becomes"),
    [
        (None, 2, "2"),
        ("2", 3, "3"),
        ("3", 3, "3"),
        ("3", 2, "3"),  # an older release of the app asked again
        ("no number", 2, "2"),
    ],
)
def test_the_version_a_yes_is_stored_for(stored: str | None, version: int, becomes: str) -> None:
    """A yes covers the catalogue it was given for, and takes back nothing that was agreed to."""
    assert catalog(version=version).agreed_to(stored) == becomes


def test_what_the_user_has_not_agreed_to() -> None:
    """It names new events, and new properties of events that are not new, so that a host can ask about them."""
    place = PropertySpec("place", "map", "Where.", properties=(PropertySpec("kind", "int", "Kind.", since=5),))
    own = catalog(STARTED, PAUSED, event("note.created", place))

    assert own.unagreed(5) == ()
    assert own.unagreed(4) == ("note.created: place.kind",)
    assert own.unagreed(3) == ("timer.paused", "note.created: place.kind")
    assert own.unagreed(None) == ("timer.started: later", "timer.paused", "note.created: place.kind")
    assert own.unagreed(0) == ("timer.started", "timer.paused", "note.created")


RELEASED = catalog(event("timer.started", SOURCE), event("old.event", since=2), version=2)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([event("timer.started", SOURCE)], []),
        ([event("timer.started", SOURCE, LATER)], []),
        ([event("new.event", SOURCE, since=3)], []),
        ([event("new.event", SOURCE, since=2)], ["new.event is not in version 2"]),
        ([event("new.event", SOURCE)], ["new.event is not in version 2"]),
        ([event("timer.started", SOURCE, declared())], ["timer.started: it is not in version 2"]),
        ([event("old.event", since=1)], ["old.event came with version 2, so its since cannot be 1"]),
        ([event(PAGE_VIEW, SOURCE)], [f"{PAGE_VIEW}: source is not in version 2"]),
        ([event(PAGE_VIEW, PropertySpec("source", "string", "x", since=3))], []),
    ],
)
def test_news_that_does_not_say_so(events: list[EventSpec], found: list[str]) -> None:
    """What a released catalogue did not have must have come with a later version than that one."""
    problems = unmarked(catalog(*events, version=3), RELEASED)

    assert [problem[: len(text)] for (_, problem), text in zip(problems, found, strict=True)] == found
    assert [name for name, _ in problems] == [events[0].name] * len(found)
