"""Pages for people, in Markdown: ``all_tracked_events.md`` and the privacy page. Pure.

They are made from the catalogue, the table of base fields, the switches' words and the bounds, so they cannot say less
than what happens. The same arguments make the same page, byte for byte, on every machine. What the catalogue says is
shown as plain text: no description can become a heading, a link, a cell or HTML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.catalog import OWN_EVENTS
from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.model import FIRST_SEEN, HEARTBEAT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from telemetry_sdk.analytics.catalog import Catalog, EventSpec, PropertySpec

_SPECIAL: Final = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|&(?=[#\w])")
_LIST_OR_HEADING: Final = re.compile(r"\A(?:\d+(?=[.)])|(?=[#+=-]))")
_ADDED: Final = (
    (("identity",), "the user id that the program gives, else the install id"),
    (("install_id", "app_version", "deployment_type", "release_channel"), "as in base telemetry"),
    (("path", "browser", "device"), "with page views and web requests only: route, browser, kind of device"),
    (("log.record.uid", "occurred_at"), "a random id of the record, and its time"),
)
_ANY_APP: Final = "the program"

# What each key of installation.json and of progress.json is for. A test compares them with the files' keys.
KEPT: Final = {
    "install_id": "the random id; never made from the machine, its name or the user",
    "first_seen_at": "when it was made",
    "telemetry_enabled": "the user's decision: true, false, or not there while undecided",
    "base_enabled": "false when the user wants nothing at all to be sent",
    "consent_decided_at": "when it was made",
    "consent_catalog_version": "the version of the list of events it is about",
    "notice_version_shown": "the newest first-run notice that was shown",
    "user_id_secret": "a random key that makes user ids unreadable; never sent",
    "heartbeat_phase_s": "this install's moment of the day for the daily record",
}
DONE: Final = {
    "first_seen_sent_at": "when the sink confirmed the first record",
    "last_heartbeat_on": "day of the newest daily record",
    "last_seen_at": "the moment of the newest base record that the sink confirmed",
    "install_ping_sent_at": "when the sink confirmed the install ping",
    "analytics_sent_at": "when detailed analytics were first sent, so that their deletion can be asked for",
    "sink_host": "where the program sends to",
    "app_version": "the version of the program that ran last",
    "refused_at": "when the program last made an event that does not fit the rules, a mistake of its own",
    "refused_for": "why that did not fit",
}


def events_page(catalog: Catalog, source: str = "telemetry.toml") -> str:
    """Return the page about *catalog*, in Markdown.

    Args:
        catalog: The catalogue.
        source: Name of the file it is in, without directories.
    """
    own = [catalog.find(name) or spec for name, spec in OWN_EVENTS.items()]
    hosts = [spec for name, spec in sorted(catalog.events.items()) if name not in OWN_EVENTS]
    blocks = [
        *_beginning(catalog, source),
        "## Events of the SDK",
        *(block for spec in own for block in _event_blocks(spec)),
        "## Events of the program",
        *(block for spec in hosts for block in _event_blocks(spec)),
        *([] if hosts else ["None."]),
    ]
    return "\n\n".join(blocks) + "\n"


def _beginning(catalog: Catalog, source: str) -> Iterator[str]:
    yield f"# All tracked events{f' of {_plain(catalog.app)}' if catalog.app else ''}"
    yield (
        f"Generated from {_code(source)}, catalogue version {catalog.version}. Do not edit this page: edit the "
        f"catalogue, then run {_code(f'python -m telemetry_sdk catalog docs {source}')}."
    )
    yield "## Base telemetry"
    yield (
        f"Sent unless it is switched off: {_code(FIRST_SEEN)} once per install, {_code(HEARTBEAT)} once per UTC day. "
        "Exactly these fields, all of them text:"
    )
    yield _base_table()
    yield "## Detailed analytics"
    yield (
        "Sent only after the user has agreed, and only what this page lists. What came with a later version of the "
        "catalogue than the one the user agreed to stays on the user's machine. Every event carries:"
    )
    yield _table(("field", "what"), ((", ".join(map(_code, names)), what) for names, what in _ADDED))


def _base_table() -> str:
    rows = ((_code(it.name), it.meaning, _code(it.example), it.purpose) for it in FIELDS)
    return _table(("field", "what", "example", "why"), rows)


def _event_blocks(spec: EventSpec) -> Iterator[str]:
    """Return what the page says about one event, block by block."""
    yield f"### {_code(spec.name)}"
    yield _LIST_OR_HEADING.sub(r"\g<0>\\", _plain(spec.description))
    facts = [f"Purpose: {spec.purpose}.", f"Since version {spec.since}."]
    facts += [f"Asks about it go to {_plain(spec.owner)}."] if spec.owner else []
    facts += [f"Not sent from {spec.expires} on."] if spec.expires else []
    yield " ".join(facts)
    if spec.properties:
        yield _table(("property", "type", "values", "what", "since"), _rows(spec.properties, ""))
    else:
        yield "No properties."


def _rows(specs: Iterable[PropertySpec], prefix: str) -> Iterator[tuple[str, ...]]:
    for spec in specs:
        kind = f"list of {spec.items}" if spec.items else spec.type
        values = ", ".join(_code(_value(value)) for value in spec.values)
        if not values:
            values = "as below" if spec.properties else "any"
        yield (_code(f"{prefix}{spec.name}"), kind, values, _plain(spec.description), str(spec.since))
        yield from _rows(spec.properties, f"{prefix}{spec.name}.")


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def privacy_page(*, app: str = _ANY_APP, sink: str = "", catalog: Catalog | None = None) -> str:
    """Return the page, in Markdown; the same arguments make the same bytes.

    Args:
        app: Name of the program.
        sink: Where records go, in words or as a host name; empty leaves a gap to fill in.
        catalog: The program's events, if it has a catalogue.
    """
    sink = sink or "[the sink's host]"
    prefix = switch_prefix(app) if app != _ANY_APP else "ACME_NOTES"
    blocks = [
        f"# What {_plain(app)} sends, and what you can do about it",
        "Generated from the tables in the source: run `python -m telemetry_sdk privacy` again after a change.",
        *_what(catalog),
        *_when(sink),
        *_how_long(),
        *_control(prefix),
        *_policy_text(app, sink, prefix),
    ]
    return "\n\n".join(blocks) + "\n"


def _what(catalog: Catalog | None) -> Iterator[str]:
    yield "## What, and why"
    yield "*Base telemetry* counts installs, versions and platforms. Exactly these fields, all of them text:"
    yield _base_table()
    yield (
        "*Detailed analytics* is sent only after you agreed. Every event carries its name, a random id, its time, the "
        "install id, the program's version and kind of installation, and the user id if the program gives one."
    )
    if catalog is None:
        rows = ((_code(spec.name), _plain(spec.description)) for spec in OWN_EVENTS.values())
        yield _table(("event of the SDK", "when"), rows)
        yield "The program's own events are listed by its vendor."
    else:
        yield f"These events and no others (version {catalog.version} of the list):"
        own = [spec for name, spec in OWN_EVENTS.items() if name not in catalog.events]
        for spec in [*own, *(spec for _, spec in sorted(catalog.events.items()))]:
            yield from _event_blocks(spec)
    yield (
        "Never: the machine's name, your account's name, a MAC or IP address, a path of your files, the content of "
        "what you work on. Before an event is stored, e-mail addresses, IP addresses, paths, tokens, card numbers and "
        "the names of this machine and its user are taken out of it."
    )


def _when(sink: str) -> Iterator[str]:
    yield "## When, and where to"
    yield _table(
        ("record", "when"),
        (
            (_code(FIRST_SEEN), "once for each install"),
            (_code(HEARTBEAT), "at most once each UTC day on which the program runs"),
            ("events", "when they happen, after you agreed"),
            (_code("analytics.deletion_requested"), "when you have everything deleted, if events had been sent"),
        ),
    )
    yield (
        f"They go to {_plain(sink)} and nowhere else, encrypted if its address begins with https. While it cannot be "
        "reached they wait on your machine. The sink sees the IP address of the connection, as any server does; no "
        "record carries it."
    )


def _how_long() -> Iterator[str]:
    limits = Limits()
    yield "## How long it stays on your machine"
    yield _table(
        ("what", "where", "how long"),
        (
            (
                "records that wait",
                _code("outbox.sqlite3"),
                (
                    f"until they are sent; events at most {limits.age_days:g} days, all of them at most "
                    f"{limits.records:,} records or {limits.bytes // 2**20} MiB, the oldest events go first"
                ),
            ),
            (
                "what was sent, byte for byte",
                _code("outbox.sqlite3"),
                f"the newest {limits.sent_log_requests} requests, at most {limits.sent_log_bytes // 2**20} MiB",
            ),
            ("decision and id", _code("installation.json"), "until you have them deleted"),
            ("what the program did", _code("progress.json"), "until then, or until a reset"),
        ),
    )
    yield "In `installation.json`, which you may read and edit:"
    yield _table(("key", "what"), ((_code(key), what) for key, what in KEPT.items()))
    yield "In `progress.json`, beside the `install_id` it is about; it decides nothing:"
    yield _table(("key", "what"), ((_code(key), what) for key, what in DONE.items()))


def _control(prefix: str) -> Iterator[str]:
    yield "## How to see it, stop it and delete it"
    command = "python -m telemetry_sdk --app <name>"
    yield _table(
        ("you want to", "do this"),
        (
            ("see what would be sent", f"{_code(f'{command} preview')}; it sends nothing"),
            ("see every record instead of sending it", _code(f"{prefix}_TELEMETRY=log")),
            ("see what was sent, byte for byte", _code(f"{command} log --json")),
            ("see what holds, and who decided it", _code(f"{command} status")),
            ("agree to detailed analytics, or take it back", f"{_code(f'{command} on')}, {_code(f'{command} off')}"),
            ("stop everything, base telemetry too", f"{_code('DO_NOT_TRACK=1')} or {_code(f'{prefix}_TELEMETRY=off')}"),
            ("stop detailed analytics only", _code(f"{prefix}_TELEMETRY=base")),
            ("begin as a new install", _code(f"{command} reset")),
            ("delete everything, and ask the sink's owner to", _code(f"{command} forget")),
        ),
    )
    yield (
        "Taking consent back destroys what waits to be sent; when the command has returned, no event leaves this "
        "machine any more. A switch in the environment is stronger than any stored decision."
    )


def _policy_text(app: str, sink: str, prefix: str) -> Iterator[str]:
    names = ", ".join(it.meaning for it in FIELDS)
    yield "## For a vendor's privacy policy"
    yield "Fill in what stands in square brackets and delete what does not fit."
    yield "\n>\n> ".join(
        (
            f"> **Usage data of {_plain(app)}.** Controller: [company, address, contact].",
            (
                f"**What.** Each install has a random, pseudonymous id. Once, and then once a day of use, it sends: "
                f"{names}."
            ),
            (
                "**More, if you agree.** Only after you agreed, the program also sends the events listed at "
                "[address of all_tracked_events.md]."
            ),
            (
                "**Why, and on what ground.** To know which versions and platforms are in use (legitimate interest, "
                "Art. 6(1)(f) GDPR) and, with your consent (Art. 6(1)(a)), how features are used. [Adapt.]"
            ),
            f"**Where.** {_plain(sink)}, operated by [processor], stored in [country] for [number] days, then deleted.",
            (
                f"**Your choice.** You can refuse or withdraw at any time: [menu or command], or set "
                f"{_code(f'{prefix}_TELEMETRY=off')} or {_code('DO_NOT_TRACK=1')}. Deletion: [menu or command], or "
                "write to [contact] and name the install id that the program shows you."
            ),
        )
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _plain(text: str) -> str:
    """Return *text* so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _code(text: str) -> str:
    """Return *text* as code that nothing in it can end; a bar is escaped, for it would end a table's cell."""
    shown = "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|") or '""'
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest and (shown[0] == "`" or shown[-1] == "`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
