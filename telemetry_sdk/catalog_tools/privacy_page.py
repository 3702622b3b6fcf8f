"""Writes the privacy page: what, why, when, where, how long, and how to see it, stop it and delete it. Pure.

Made from the table of base fields, the catalogue, the switches' words and the bounds, so it cannot say less than what
happens. At its end stands a text that a vendor can put into his own privacy policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.catalog import OWN_EVENTS
from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.catalog_tools.events_page import base_table, code, event_blocks, plain, table
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.identity.schema import Progress, State
from telemetry_sdk.model import FIRST_SEEN, HEARTBEAT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from telemetry_sdk.analytics.catalog import Catalog

__all__ = ["DONE", "KEPT", "render"]

# What each key of installation.json and of progress.json is for. A test compares them with the files' keys.
KEPT: Final = {
    "install_id": "the random id; never made from the machine, its name or the user",
    "first_seen_at": "when it was made",
    "telemetry_enabled": "the user's decision: true, false, or not there while undecided",
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
}


def render(*, app: str = "the program", sink: str = "", catalog: Catalog | None = None) -> str:
    """Return the page, in Markdown; the same arguments make the same bytes.

    Args:
        app: Name of the program.
        sink: Where records go, in words or as a host name; empty leaves a gap to fill in.
        catalog: The program's events, if it has a catalogue.
    """
    sink = sink or "[the sink's host]"
    prefix = switch_prefix(app) if app != "the program" else "ACME_NOTES"
    blocks = [
        f"# What {plain(app)} sends, and what you can do about it",
        "Generated from the tables in the source: run `python -m telemetry_sdk privacy` again after a change.",
        *_what(catalog),
        *_when(sink),
        *_how_long(),
        *_control(prefix),
        *_template(app, sink, prefix),
    ]
    return "\n\n".join(blocks) + "\n"


def _what(catalog: Catalog | None) -> Iterator[str]:
    yield "## What, and why"
    yield "*Base telemetry* counts installs, versions and platforms. Exactly these fields, all of them text:"
    yield base_table()
    yield (
        "*Detailed analytics* is sent only after you agreed. Every event carries its name, a random id, its time, the "
        "install id, the program's version and kind of installation, and the user id if the program gives one."
    )
    if catalog is None:
        rows = ((code(spec.name), plain(spec.description)) for spec in OWN_EVENTS.values())
        yield table(("event of the SDK", "when"), rows)
        yield "The program's own events are listed by its vendor."
    else:
        yield f"These events and no others (version {catalog.version} of the list):"
        own = [spec for name, spec in OWN_EVENTS.items() if name not in catalog.events]
        for spec in [*own, *(spec for _, spec in sorted(catalog.events.items()))]:
            yield from event_blocks(spec)
    yield (
        "Never: the machine's name, your account's name, a MAC or IP address, a path of your files, the content of "
        "what you work on. Before an event is stored, e-mail addresses, IP addresses, paths, tokens, card numbers and "
        "the names of this machine and its user are taken out of it."
    )


def _when(sink: str) -> Iterator[str]:
    yield "## When, and where to"
    yield table(
        ("record", "when"),
        (
            (code(FIRST_SEEN), "once for each install"),
            (code(HEARTBEAT), "at most once each UTC day on which the program runs"),
            ("events", "when they happen, after you agreed"),
            (code("analytics.deletion_requested"), "when you have everything deleted, if events had been sent"),
        ),
    )
    yield (
        f"They go to {plain(sink)} and nowhere else, encrypted if its address begins with https. While it cannot be "
        "reached they wait on your machine. The sink sees the IP address of the connection, as any server does; no "
        "record carries it."
    )


def _how_long() -> Iterator[str]:
    limits = Limits()
    yield "## How long it stays on your machine"
    yield table(
        ("what", "where", "how long"),
        (
            (
                "records that wait",
                code("outbox.sqlite3"),
                (
                    f"until they are sent; events at most {limits.age_days:g} days, all of them at most "
                    f"{limits.records:,} records or {limits.bytes // 2**20} MiB, the oldest events go first"
                ),
            ),
            (
                "what was sent, byte for byte",
                code("outbox.sqlite3"),
                f"the newest {limits.sent_log_requests} requests, at most {limits.sent_log_bytes // 2**20} MiB",
            ),
            ("decision and id", code("installation.json"), "until you have them deleted"),
            ("what the program did", code("progress.json"), "until then, or until a reset"),
        ),
    )
    yield "In `installation.json`, which you may read and edit:"
    yield table(("key", "what"), ((code(key), KEPT[key]) for key in State._fields if key in KEPT))
    yield "In `progress.json`, beside the `install_id` it is about; it decides nothing:"
    yield table(("key", "what"), ((code(key), DONE[key]) for key in Progress._fields))


def _control(prefix: str) -> Iterator[str]:
    yield "## How to see it, stop it and delete it"
    command = "python -m telemetry_sdk --app <name>"
    yield table(
        ("you want to", "do this"),
        (
            ("see what would be sent", f"{code(f'{command} preview')}; it sends nothing"),
            ("see every record instead of sending it", code(f"{prefix}_TELEMETRY=log")),
            ("see what was sent, byte for byte", code(f"{command} log --json")),
            ("see what holds, and who decided it", code(f"{command} status")),
            ("agree to detailed analytics, or take it back", f"{code(f'{command} on')}, {code(f'{command} off')}"),
            ("stop everything, base telemetry too", f"{code('DO_NOT_TRACK=1')} or {code(f'{prefix}_TELEMETRY=off')}"),
            ("stop detailed analytics only", code(f"{prefix}_TELEMETRY=base")),
            ("begin as a new install", code(f"{command} reset")),
            ("delete everything, and ask the sink's owner to", code(f"{command} forget")),
        ),
    )
    yield (
        "Taking consent back destroys what waits to be sent; when the command has returned, no event leaves this "
        "machine any more. A switch in the environment is stronger than any stored decision."
    )


def _template(app: str, sink: str, prefix: str) -> Iterator[str]:
    names = ", ".join(it.meaning for it in FIELDS)
    yield "## For a vendor's privacy policy"
    yield "Fill in what stands in square brackets and delete what does not fit."
    yield "\n>\n> ".join(
        (
            f"> **Usage data of {plain(app)}.** Controller: [company, address, contact].",
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
            f"**Where.** {plain(sink)}, operated by [processor], stored in [country] for [number] days, then deleted.",
            (
                f"**Your choice.** You can refuse or withdraw at any time: [menu or command], or set "
                f"{code(f'{prefix}_TELEMETRY=off')} or {code('DO_NOT_TRACK=1')}. Deletion: [menu or command], or "
                "write to [contact] and name the install id that the program shows you."
            ),
        )
    )
