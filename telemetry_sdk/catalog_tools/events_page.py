"""Writes ``all_tracked_events.md``: everything an app may send, for people to read. Pure.

The page is made from the catalogue and the table of base fields, so it cannot say less than what leaves. The same
catalogue makes the same page, byte for byte, on every machine. What the catalogue says is shown as plain text: no
description can become a heading, a link, a cell or HTML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.catalog import OWN_EVENTS
from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.model import FIRST_SEEN, HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from telemetry_sdk.analytics.catalog import Catalog, EventSpec, PropertySpec

__all__ = ["base_table", "code", "event_blocks", "plain", "render", "table"]

_SPECIAL: Final = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|&(?=[#\w])")
_LIST_OR_HEADING: Final = re.compile(r"\A(?:\d+(?=[.)])|(?=[#+=-]))")
_ADDED: Final = (
    (("identity",), "the user id that the program gives, else the install id"),
    (("install_id", "app_version", "deployment_type", "release_channel"), "as in base telemetry"),
    (("path", "browser", "device"), "with page views and web requests only: route, browser, kind of device"),
    (("log.record.uid", "occurred_at"), "a random id of the record, and its time"),
)


def render(catalog: Catalog, source: str = "telemetry.toml") -> str:
    """Return the page about *catalog*, in Markdown.

    Args:
        catalog: The catalogue.
        source: Name of the file it is in, without directories.
    """
    own = [catalog.find(name) or spec for name, spec in OWN_EVENTS.items()]
    hosts = [spec for name, spec in sorted(catalog.events.items()) if name not in OWN_EVENTS]
    blocks = [
        *_head(catalog, source),
        *_base(),
        *_analytics(),
        "## Events of the SDK",
        *(block for spec in own for block in event_blocks(spec)),
        "## Events of the program",
        *(block for spec in hosts for block in event_blocks(spec)),
        *([] if hosts else ["None."]),
    ]
    return "\n\n".join(blocks) + "\n"


def _head(catalog: Catalog, source: str) -> Iterator[str]:
    yield f"# All tracked events{f' of {plain(catalog.app)}' if catalog.app else ''}"
    yield (
        f"Generated from {code(source)}, catalogue version {catalog.version}. Do not edit this page: edit the "
        f"catalogue, then run {code(f'python -m telemetry_sdk catalog docs {source}')}."
    )


def _base() -> Iterator[str]:
    yield "## Base telemetry"
    yield (
        f"Sent unless it is switched off: {code(FIRST_SEEN)} once per install, {code(HEARTBEAT)} once per UTC day. "
        "Exactly these fields, all of them text:"
    )
    yield base_table()


def base_table() -> str:
    """Return the table of the base fields."""
    rows = ((code(it.name), it.meaning, code(it.example), it.purpose) for it in FIELDS)
    return table(("field", "what", "example", "why"), rows)


def _analytics() -> Iterator[str]:
    yield "## Detailed analytics"
    yield (
        "Sent only after the user has agreed, and only what this page lists. What came with a later version of the "
        "catalogue than the one the user agreed to stays on the user's machine. Every event carries:"
    )
    yield table(("field", "what"), ((", ".join(map(code, names)), what) for names, what in _ADDED))


def event_blocks(spec: EventSpec) -> Iterator[str]:
    """Return what the page says about one event, block by block."""
    yield f"### {code(spec.name)}"
    yield _LIST_OR_HEADING.sub(r"\g<0>\\", plain(spec.description))
    facts = [f"Purpose: {spec.purpose}.", f"Since version {spec.since}."]
    facts += [f"Asks about it go to {plain(spec.owner)}."] if spec.owner else []
    facts += [f"Not sent from {spec.expires} on."] if spec.expires else []
    yield " ".join(facts)
    if spec.properties:
        yield table(("property", "type", "values", "what", "since"), _rows(spec.properties, ""))
    else:
        yield "No properties."


def _rows(specs: Iterable[PropertySpec], prefix: str) -> Iterator[tuple[str, ...]]:
    for spec in specs:
        kind = f"list of {spec.items}" if spec.items else spec.type
        values = ", ".join(code(_value(value)) for value in spec.values)
        if not values:
            values = "as below" if spec.properties else "any"
        yield (code(f"{prefix}{spec.name}"), kind, values, plain(spec.description), str(spec.since))
        yield from _rows(spec.properties, f"{prefix}{spec.name}.")


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def plain(text: str) -> str:
    """Return *text* so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def code(text: str) -> str:
    """Return *text* as code that nothing in it can end; a bar is escaped, for it would end a table's cell."""
    shown = "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|") or '""'
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest and (shown[0] == "`" or shown[-1] == "`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
