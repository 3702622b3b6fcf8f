"""The records of one app: clock, facts, derived ids and envelopes put together."""

from __future__ import annotations

import itertools
import json
import os
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import tzlocal

from telemetry_sdk.analytics.event import Event
from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.client.config import Config
from telemetry_sdk.client.override import Providers
from telemetry_sdk.client.pipeline import RecordMaker
from telemetry_sdk.identity.install_id import Identity
from telemetry_sdk.model import FIRST_SEEN, HEARTBEAT, INSTALL, PAGE_VIEW, Layer, Limits, Record
from telemetry_sdk.sender.otlp import encode_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_780_000_000_123_456_789  # 2026-05-28T20:26:40Z
DAY = 86_400 * 10**9
ME = Identity("2ab2916d-a51f-4ac8-80ee-45ac31a28092", "2026-01-31T09:30:00Z", 1234.5)
OTHER = Identity("7b0d2f0e-3f52-4a0c-8b66-0f2f0c1f5a11", "2026-01-31T09:30:00Z", 1234.5)


def options(**changes: Any) -> Config:
    chosen: dict[str, Any] = {
        "app": "acme-notes",
        "version": "2.4.0",
        "release_channel": "beta",
        "deployment_type": None,
        "environment": "production",
        "delivery": "sync",
        "late": "restamp",
        "timeout": 5.0,
        "exit_timeout": 0.5,
        "limits": Limits(),
        "on_consent_change": None,
        "strict": True,
    }
    return Config(**{**chosen, **changes})


def providers(clock: Callable[[], int] = lambda: NOW, **environ: str) -> Providers:
    ids = (str(UUID(int=n, version=4)) for n in itertools.count())
    return Providers(environ, clock, lambda: next(ids), lambda: 0.5)


def maker(clock: Callable[[], int] = lambda: NOW, environ: dict[str, str] | None = None, **changes: Any) -> RecordMaker:
    return RecordMaker(options(**changes), providers(clock, **(environ or {"CI": "true"})))


def attributes(record: Record) -> dict[str, Any]:
    pairs = json.loads(record.body)["attributes"]
    return {pair["key"]: next(iter(pair["value"].values())) for pair in pairs}


def analytics(name: str = "timer.started", event: Event | None = None, user: str | None = None) -> Record:
    return maker().analytics(name, event or Event({"source": "cli"}), ME.install_id, user, "grant")


@pytest.mark.parametrize("name", [FIRST_SEEN, HEARTBEAT])
def test_a_base_record(name: str) -> None:
    """A base record is about the install, carries the twelve fields and the four of every record, and no grant."""
    record = maker().base(name, ME, NOW)

    own = ["event_name", "identity", "log.record.uid", "occurred_at"]
    assert [*own, *(field.name for field in FIELDS)] == list(attributes(record))
    assert attributes(record)["identity"] == attributes(record)["install_id"] == ME.install_id
    assert attributes(record)["release_channel"] == "beta"
    assert (record.name, record.layer, record.made_ns) == (name, Layer.BASE, NOW)
    assert (record.derived, record.grant) == (True, None)
    assert record.uid == attributes(record)["log.record.uid"]


def test_racing_processes_make_one_record() -> None:
    """Two processes that make first_seen, or a day's heartbeat, at different moments give it the same uid."""
    for name in (FIRST_SEEN, HEARTBEAT):
        assert maker().base(name, ME, NOW).uid == maker(lambda: NOW + 1).base(name, ME, NOW + 3600 * 10**9).uid


def test_each_day_each_install_and_each_kind_has_its_own_uid() -> None:
    """first_seen keeps its uid for ever; a heartbeat's differs from day to day, and all from install to install."""
    records = maker()
    moments = [NOW, NOW + DAY, NOW + 2 * DAY]

    assert len({records.base(FIRST_SEEN, ME, now).uid for now in moments}) == 1
    assert len({records.base(HEARTBEAT, me, now).uid for now in moments for me in (ME, OTHER)}) == 6
    kinds = {records.base(name, ME, NOW).uid for name in (FIRST_SEEN, HEARTBEAT)}
    assert len(kinds | {analytics(INSTALL).uid}) == 3


def test_a_derived_uid_does_not_reveal_the_install() -> None:
    """A derived uid is a well-formed UUID version 5 that does not contain the install id."""
    uid = UUID(maker().base(HEARTBEAT, ME, NOW).uid)

    assert uid.version == 5
    assert uid != UUID(ME.install_id)


def test_an_analytics_record() -> None:
    """An event carries its properties under its own names, a fresh uid and the consent it was made under."""
    record = analytics(event=Event({"install_id": ME.install_id, "source": "cli"}, ("secret", "more")))

    assert attributes(record)["source"] == "cli"
    assert (record.layer, record.grant, record.derived) == (Layer.ANALYTICS, "grant", False)
    assert UUID(record.uid).version == 4
    assert json.loads(record.body)["droppedAttributesCount"] == 2
    assert b"secret" not in record.body


@pytest.mark.parametrize(("user", "identity"), [("u-17", "u-17"), (None, ME.install_id), ("", ME.install_id)])
def test_an_event_is_about_the_user_or_the_install(user: str | None, identity: str) -> None:
    """Without a user an event is about the install."""
    assert attributes(analytics(user=user))["identity"] == identity


def test_the_install_ping_is_made_once() -> None:
    """Only the install ping has a derived uid among events: a second one could never be accepted."""
    pings = [analytics(INSTALL), analytics(INSTALL)]
    views = [maker().analytics(PAGE_VIEW, Event({}), ME.install_id, None, None) for _ in range(2)]

    assert pings[0].uid == pings[1].uid
    assert all(ping.derived for ping in pings)
    assert not any(view.derived for view in views)


def test_envelopes_name_the_layer() -> None:
    """Each layer has its own resource, so that a store can keep each for its own time."""
    records = maker()

    for layer, record in {
        Layer.BASE: records.base(HEARTBEAT, ME, NOW),
        Layer.ANALYTICS: records.analytics("timer.started", Event({}), ME.install_id, None, None),
    }.items():
        expected = encode_envelope(app="acme-notes", version="2.4.0", layer=layer, environment="production")
        assert expected == record.envelope


def test_own_attributes() -> None:
    """Every event says which install, version, channel and kind of deployment it comes from."""
    assert maker().own_attributes(ME.install_id) == {
        "install_id": ME.install_id,
        "app_version": "2.4.0",
        "deployment_type": "ci",
        "release_channel": "beta",
    }
    assert maker(deployment_type="flatpak").own_attributes("")["deployment_type"] == "flatpak"


def test_facts_are_read_when_first_needed_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a maker reads nothing; its records agree on the facts of the first."""
    zones = iter(["Europe/Vienna", "Asia/Tokyo"])
    monkeypatch.setattr(tzlocal, "get_localzone_name", lambda: next(zones))

    records = maker()

    assert attributes(records.base(HEARTBEAT, ME, NOW))["timezone"] == "Europe/Vienna"
    assert attributes(records.base(HEARTBEAT, ME, NOW + DAY))["timezone"] == "Europe/Vienna"
    assert next(zones) == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("clock", "seen"),
    [
        (1_795_570_220_408_992_396, 1_795_570_220_408_000_000),
        (1_999_999, 1_000_000),
        (5, 1_000_000),  # 0 would mean that the time is not known
        (-(10**30), 1_000_000),
        (10**30, 9_214_646_399_999_000_000),
    ],
)
def test_the_time_of_a_record_is_a_millisecond(clock: int, seen: int) -> None:
    """What is finer says nothing about use, so it is not collected; and no record is older than OTLP can say."""
    assert providers(lambda: clock).now_ns() == seen


@pytest.mark.parametrize("tick", [-(10**30), -1, 0, 2**63, 10**30])
def test_a_broken_clock_makes_a_valid_record(tick: int) -> None:
    """Before 1970 and far in the future the time is the nearest that can be sent, so the record is not lost."""
    records = maker(lambda: tick)

    for record in (
        records.base(HEARTBEAT, ME, providers(lambda: tick).now_ns()),
        records.analytics("timer.started", Event({}), ME.install_id, None, None),
    ):
        made = json.loads(record.body)
        assert 0 <= int(made["timeUnixNano"]) < 2**63
        assert attributes(record)["occurred_at"][:4] in {"1970", "2261"}


def test_uids_of_events_are_unique_and_differ_in_their_end() -> None:
    """Each event has a uid of its own, a UUID4; neighbours share all but four digits, which compresses well."""
    records = RecordMaker(options(), random_world())
    uids = [analytics_uid(records) for _ in range(0x10000 + 2)]

    assert len(set(uids)) == len(uids)
    assert {UUID(uid).version for uid in uids} == {4}
    assert len({uid[:-4] for uid in uids}) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_begins_uids_of_its_own() -> None:
    """Parent and child never give two events one uid."""
    records = RecordMaker(options(), random_world())
    analytics_uid(records)
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, analytics_uid(records).encode())
        os._exit(0)
    theirs = os.read(reader, 36).decode()
    os.wait()

    assert theirs[:-4] != analytics_uid(records)[:-4]


def random_world() -> Providers:
    return Providers({"CI": "true"}, lambda: NOW, lambda: str(uuid4()), lambda: 0.5)


def analytics_uid(records: RecordMaker) -> str:
    return records.analytics("timer.started", Event({}), ME.install_id, None, "grant").uid
