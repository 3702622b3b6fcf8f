"""The catalogue at the gate: what it does not declare does not leave, nor what is newer than the user's consent."""

from __future__ import annotations

import json

import pytest
from sink_server import attributes

from telemetry_sdk import ConfigError, InvalidEventError, Outcome

FIRST = """
version = 1
[events."timer.started"]
description = "A timer was started."
purpose = "usage"
[events."timer.started".properties]
source = { type = "string", description = "Where from.", values = ["cli", "gui"] }
"""
SECOND = (
    FIRST.replace("version = 1", "version = 2")
    + """
length_s = { type = "float", description = "For how long.", since = 2 }
[events."timer.stopped"]
description = "A timer was stopped."
purpose = "usage"
since = 2
"""
)


@pytest.fixture
def catalogue(tmp_path):
    """Write a catalogue and return its path."""

    def write(text, name="telemetry.toml"):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


def sent(sink, name):
    return [attributes(record) for record in sink.accepted if record["eventName"] == name]


def test_what_is_not_declared_does_not_leave(make, sink, catalogue):
    """An undeclared event is refused, an undeclared property or value left out by name."""
    telemetry = make(catalog=catalogue(FIRST), strict=False)
    telemetry.opt_in()

    refused = telemetry.track_event("timer.paused")
    kept = telemetry.track_event("timer.started", {"source": "cli", "path_of_file": "/home/ada"})
    wrong = telemetry.track_event("timer.started", {"source": "somewhere else"})

    assert refused.outcome is Outcome.REFUSED
    assert "not declared" in refused.reason
    assert "path_of_file" in kept.reason
    assert "source" in wrong.reason
    assert [e.get("source") for e in sent(sink, "timer.started")] == ["cli", None]
    assert b"path_of_file" not in b"".join(request.body for request in sink.requests)
    assert "timer.paused" not in sink.names


def test_under_strict_an_undeclared_event_raises(make, catalogue):
    """A host's tests see the mistake."""
    telemetry = make(catalog=catalogue(FIRST))
    telemetry.opt_in()

    with pytest.raises(InvalidEventError, match="not declared"):
        telemetry.track_event("timer.paused")


def test_what_came_after_the_consent_stays_until_asked_again(make, sink, catalogue):
    """A consent to version 1 does not cover version 2; a new yes does."""
    first = make(catalog=catalogue(FIRST))
    first.opt_in()
    first.close()
    second = make(catalog=catalogue(SECOND))

    newer = second.track_event("timer.stopped")
    second.track_event("timer.started", {"source": "cli", "length_s": 1.5})

    assert newer.outcome is Outcome.SUPPRESSED
    assert "ask again" in newer.reason
    assert "length_s" not in sent(sink, "timer.started")[-1]
    status = second.status()
    assert (status.catalog_version, status.consent_catalog_version) == (2, "1")
    assert status.unagreed == ("timer.started: length_s", "timer.stopped")

    second.opt_in()

    assert second.track_event("timer.stopped")
    second.track_event("timer.started", {"source": "cli", "length_s": 1.5})
    assert sent(sink, "timer.started")[-1]["length_s"] == 1.5
    assert second.status().unagreed == ()


def test_a_consent_from_before_there_was_a_catalogue_covers_its_first_version(make, sink, catalogue):
    """A host that adds a catalogue later keeps its consents for what is not marked as newer."""
    make().opt_in()
    telemetry = make(catalog=catalogue(SECOND))

    assert telemetry.track_event("timer.started")
    assert telemetry.track_event("timer.stopped").outcome is Outcome.SUPPRESSED


@pytest.mark.parametrize("nonsense", ["latest", -1, 1.5, True, [], 10**30, ""])
def test_a_consent_edited_by_hand_to_nonsense_covers_nothing(make, state_dir, catalogue, nonsense):
    """A version that cannot be read is no version."""
    make(catalog=catalogue(FIRST)).opt_in()
    path = state_dir / "installation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "consent_catalog_version": nonsense}))

    assert make(catalog=catalogue(FIRST)).track_event("timer.started").outcome is Outcome.SUPPRESSED


def test_an_operator_agrees_to_all_of_it(make, sink, catalogue):
    """``full`` is about the catalogue as it is."""
    telemetry = make(catalog=catalogue(SECOND), environ={"ACME_NOTES_TELEMETRY": "full"})

    assert telemetry.track_event("timer.stopped")
    assert telemetry.track_event("timer.started", {"length_s": 2.0})
    assert sent(sink, "timer.started")[-1]["length_s"] == 2.0


def test_what_only_an_operator_agreed_to_ends_with_his_word(make, sink, catalogue):
    """An event newer than the user's own consent does not leave under that once the operator's switch is gone."""
    make(catalog=catalogue(FIRST)).opt_in()
    environ = {"ACME_NOTES_TELEMETRY": "full"}
    telemetry = make(catalog=catalogue(SECOND), environ=environ, delivery="manual")
    newer, older = telemetry.track_event("timer.stopped"), telemetry.track_event("timer.started", {"source": "cli"})
    assert newer
    assert older

    environ.clear()
    telemetry.flush(5)

    assert newer.uid not in sink.uids


def test_a_yes_to_an_older_catalogue_takes_nothing_back(make, catalogue):
    """An older version of the program that asks again leaves the newer consent; a no and a yes do not."""
    make(catalog=catalogue(SECOND)).opt_in()
    older = make(catalog=catalogue(FIRST))
    older.opt_in()
    assert older.status().consent_catalog_version == "2"

    older.opt_out()
    older.opt_in()
    assert older.status().consent_catalog_version == "1"


def test_the_sdks_own_events_need_no_declaration(make, sink, catalogue):
    """Install ping, page views and identification leave; a property of theirs must be declared."""
    telemetry = make(catalog=catalogue(FIRST))
    telemetry.opt_in()
    telemetry.track_page_view("/notes?q=secret", {"title": "Secret"})
    telemetry.identify_user("ada")
    telemetry.identify_user(None)

    assert sink.names == ["analytics.install", "analytics.page_view", "analytics.identify"]
    assert "title" not in sent(sink, "analytics.page_view")[0]


def test_preview_shows_an_event_as_it_would_be_sent_after_a_yes(make, catalogue):
    """Before the consent the catalogue as it is holds; what is not in it is said to stay."""
    telemetry = make(catalog=catalogue(SECOND), strict=False)

    assert b"timer.stopped" in telemetry.preview("timer.stopped").analytics
    assert telemetry.preview("timer.started", {"source": "cli", "x": 1}).left_out == ("x",)
    assert "not declared" in telemetry.preview("timer.paused").reason


@pytest.mark.parametrize("text", ["version = ", "events = 3", 'version = 1\n[events."Timer"]', ""])
def test_a_catalogue_that_is_none_is_an_integrators_mistake(make, catalogue, text):
    """A broken catalogue raises at construction and names its place."""
    with pytest.raises(ConfigError, match=r"telemetry\.toml"):
        make(catalog=catalogue(text))


def test_a_missing_catalogue_is_an_integrators_mistake(make, tmp_path):
    """So does one that is not there."""
    with pytest.raises(ConfigError, match="no file"):
        make(catalog=tmp_path / "missing.toml")
