"""The base payload: the twelve fields of the published schema, and never a thirteenth."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.base_payload.fields import FIELDS, UNKNOWN, Facts, build
from telemetry_sdk.model import FIRST_SEEN, HEARTBEAT

# Written from the design, not from the code.
SCHEMA = [
    "install_id",
    "app_version",
    "platform",
    "os_version",
    "architecture",
    "locale",
    "timezone",
    "first_seen_at",
    "last_seen_at",
    "heartbeat_at",
    "release_channel",
    "deployment_type",
]
NOW = 1_780_000_000_987_654_321  # 2026-05-28T20:26:40Z
INSTALL_ID = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"
FACTS = Facts("linux", "6.1.0", "amd64", "en-US", "Europe/Vienna", "docker")


def payload(name: str = HEARTBEAT, **changes: Any) -> dict[str, str]:
    arguments: dict[str, Any] = {
        "install_id": INSTALL_ID,
        "app_version": "2.4.0",
        "facts": FACTS,
        "first_seen_at": "2026-01-31T09:30:00Z",
        "now_ns": NOW,
        "release_channel": "stable",
    }
    return build(name, **{**arguments, **changes})


def test_the_schema_is_the_published_one() -> None:
    """Whoever adds, removes, renames or moves a field changes what users were promised, and must change this list."""
    assert [field.name for field in FIELDS] == SCHEMA


@pytest.mark.parametrize("name", [FIRST_SEEN, HEARTBEAT])
def test_exactly_these_fields_in_this_order(name: str) -> None:
    """Every base record carries the twelve fields of the schema and no other, all strings."""
    made = payload(name)

    assert list(made) == SCHEMA
    assert {type(value) for value in made.values()} == {str}


def test_a_heartbeat() -> None:
    """A heartbeat says when it was made, and when the install was first seen."""
    assert payload(HEARTBEAT) == {
        "install_id": INSTALL_ID,
        "app_version": "2.4.0",
        "platform": "linux",
        "os_version": "6.1.0",
        "architecture": "amd64",
        "locale": "en-US",
        "timezone": "Europe/Vienna",
        "first_seen_at": "2026-01-31T09:30:00Z",
        "last_seen_at": "2026-05-28T20:26:40Z",
        "heartbeat_at": "2026-05-28T20:26:40Z",
        "release_channel": "stable",
        "deployment_type": "docker",
    }


def test_first_seen_names_one_moment_of_birth() -> None:
    """On first_seen all three moments are that of the birth, also when it is sent again on a later day."""
    made = payload(FIRST_SEEN)

    assert made["heartbeat_at"] == made["first_seen_at"] == "2026-01-31T09:30:00Z"
    assert made["last_seen_at"] == made["first_seen_at"]


def test_what_is_not_known_is_unknown() -> None:
    """A fact nobody could find out is the word ``unknown``: not missing, not empty, not null."""
    made = payload(facts=Facts(), first_seen_at="", app_version="", release_channel="")

    assert list(made) == SCHEMA
    known = {name: value for name, value in made.items() if value != UNKNOWN}
    assert sorted(known) == ["heartbeat_at", "install_id", "last_seen_at"]
    assert UNKNOWN == "unknown"


@given(values=st.fixed_dictionaries({name: st.text(max_size=200) for name in Facts._fields}))
@examples(50)
def test_a_value_has_bounds(values: dict[str, str]) -> None:
    """Whatever a platform says of itself, a value is 1 to 128 characters."""
    made = payload(facts=Facts(**values))

    assert list(made) == SCHEMA
    assert all(1 <= len(value) <= 128 for value in made.values())


def test_times_are_whole_seconds_in_utc() -> None:
    """Times are RFC 3339 with seconds and Z, so that no finer clock of the user leaves."""
    for name in (FIRST_SEEN, HEARTBEAT):
        times = [value for field, value in payload(name).items() if field.endswith("_at")]

        assert len(times) == 3
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)


def test_every_field_is_explained_to_the_user() -> None:
    """The privacy page is made from this table, so each field says what it holds, an example and why."""
    for field in FIELDS:
        assert all((field.meaning, field.example, field.purpose)), field.name


def test_the_examples_are_possible_values() -> None:
    """The documented examples are what the builder really makes."""
    examples = {field.name: field.example for field in FIELDS}
    facts = Facts(**{name: examples[name] for name in Facts._fields})
    kept = ("install_id", "app_version", "first_seen_at", "release_channel")

    made = payload(facts=facts, now_ns=1_772_349_165 * 10**9, **{name: examples[name] for name in kept})

    assert examples == {**made, "last_seen_at": examples["last_seen_at"]}  # named when it leaves, by the outbox
    assert len(made["last_seen_at"]) == len(examples["last_seen_at"])
