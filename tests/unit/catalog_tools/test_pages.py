"""The page about everything an app may send."""

from __future__ import annotations

import re

import pytest

from telemetry_sdk.analytics.catalog import OWN_EVENTS, Catalog, EventSpec, PropertySpec
from telemetry_sdk.analytics.catalog.format import parse
from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.catalog_tools.pages import events_page

TEXT = """
version = 3
app = "acme_notes"
[events."timer.started"]
description = "A timer was started."
purpose = "usage"
owner = "Timer team"
expires = 2027-06-30
[events."timer.started".properties]
source = { type = "string", description = "Where from.", values = ["cli", "gui"], since = 2 }
tags = { type = "list", items = "int", description = "Tags.", values = [1, 2] }
on = { type = "bool", description = "Whether.", values = [true] }
place = { type = "map", description = "Where.", properties = { "floor.no" = { type = "float", description = "Which." } } }
[events."note.created"]
description = "A note was created."
purpose = "usage"
since = 3
[events."analytics.identify"]
[events."analytics.identify".properties]
plan = { type = "string", description = "The plan." }
"""
PAGE = events_page(parse(TEXT))


def section(name: str) -> str:
    """What the page says about one event."""
    return PAGE.split(f"### `{name}`\n\n")[1].split("\n\n##")[0].rstrip()


def described(description: str) -> str:
    """The paragraph that *description* becomes."""
    page = events_page(Catalog(1, {"a.b": EventSpec("a.b", description, "usage")}))
    return page.split("### `a.b`\n\n")[1].split("\n\n")[0]


def cells(value: object) -> list[str]:
    """The cells of a property with the allowed value and description *value*."""
    spec = PropertySpec("it", "string", str(value), (value,))
    page = events_page(Catalog(1, {"a.b": EventSpec("a.b", "x", "usage", properties=(spec,))}))
    return re.split(r"(?<!\\)\|", page.rstrip("\n").split("\n")[-1])[1:-1]


def test_an_event_is_shown_with_everything_that_is_declared() -> None:
    """Description, purpose, version, owner, expiry, and a row for each property, those inside of maps too."""
    assert (
        section("timer.started")
        == """A timer was started.

Purpose: usage. Since version 1. Asks about it go to Timer team. Not sent from 2027-06-30 on.

| property | type | values | what | since |
|---|---|---|---|---|
| `source` | string | `cli`, `gui` | Where from. | 2 |
| `tags` | list of int | `1`, `2` | Tags. | 1 |
| `on` | bool | `true` | Whether. | 1 |
| `place` | map | as below | Where. | 1 |
| `place.floor.no` | float | any | Which. | 1 |"""
    )
    assert section("note.created").endswith("Since version 3.\n\nNo properties.")


def test_base_telemetry_is_shown_field_by_field() -> None:
    """Every field of the base payload stands on the page, from the one table there is."""
    for field in FIELDS:
        assert f"| `{field.name}` | {field.meaning} | `{field.example}` | {field.purpose} |\n" in PAGE


def test_the_sdks_own_events_are_shown() -> None:
    """What the SDK may send by itself stands on every page; a host's declaration takes its place."""
    for name in OWN_EVENTS:
        assert OWN_EVENTS[name].description in section(name)
    assert "| `plan` | string | any | The plan. | 1 |" in section("analytics.identify")
    assert PAGE.count("`analytics.identify`") == 1
    assert events_page(Catalog(1, {})).endswith("## Events of the program\n\nNone.\n")


def test_the_head_says_where_the_page_is_from() -> None:
    """The page names its source, its version, and the command that makes it."""
    head = PAGE.partition("\n\n## ")[0]

    assert head.startswith(
        "# All tracked events of acme_notes\n\nGenerated from `telemetry.toml`, catalogue version 3."
    )
    assert "`python -m telemetry_sdk catalog docs telemetry.toml`" in head
    assert "`events.toml`" in events_page(parse(TEXT), "events.toml")
    assert events_page(Catalog(1, {})).startswith("# All tracked events\n")


def test_the_same_catalogue_makes_the_same_page() -> None:
    """Events come in the order of their names, however the file orders them, and nothing else moves."""
    first, second = (text for text in TEXT.split('[events."note.created"]'))
    note, identify = second.split('[events."analytics.identify"]\n')
    shuffled = parse(
        first.replace('[events."timer', f'[events."note.created"]{note}\n[events."timer', 1)
        + f'[events."analytics.identify"]\n{identify}'
    )

    assert next(iter(shuffled.events)) == "note.created"
    assert events_page(shuffled) == PAGE
    assert PAGE.index("### `note.created`") < PAGE.index("### `timer.started`")
    assert PAGE.endswith("|\n")


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("Plain words, 100 % of them: note_id (and more).", "Plain words, 100 % of them: note_id (and more)."),
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("a | b", r"a \| b"),
        ("[a](http://x.example) ![b](c)", r"\[a\](http://x.example) !\[b\](c)"),
        ("*a* _b_ `c` ~d~ \\e", r"\*a\* \_b\_ \`c\` \~d\~ \\e"),
        ("# no heading", r"\# no heading"),
        ("- no item", r"\- no item"),
        ("1. no item", r"1\. no item"),
        ("2026 was fine", "2026 was fine"),
        ("&lt;b&gt; & c", r"\&lt;b\&gt; & c"),
    ],
)
def test_a_description_is_plain_text(description: str, shown: str) -> None:
    """Nothing in a description is taken for Markdown or HTML."""
    assert described(description) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("cli", "`cli`"),
        ("a|b", r"`a\|b`"),
        ("", '`""`'),
        ("`", "`` ` ``"),
        ("a``b", "```a``b```"),
        ("<b>", "`<b>`"),
    ],
)
def test_a_value_stays_in_its_cell(value: str, shown: str) -> None:
    """Whatever a value is, it is code, and the row has its five cells."""
    found = cells(value)

    assert len(found) == 5
    assert found[2] == f" {shown} "


def test_a_strange_file_name_cannot_break_the_head() -> None:
    """The name of the file is shown as code, on one line."""
    page = events_page(Catalog(1, {}), "a`\n# b.toml")

    assert page.startswith("# All tracked events\n\nGenerated from ``a` # b.toml``, catalogue")
