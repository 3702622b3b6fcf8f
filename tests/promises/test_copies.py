"""What docs/deployment.md says of images, containers and copies of a machine."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from command_tools import Notes

MANUAL = '{"delivery": "manual"}'


@pytest.fixture
def notes(sink, tmp_path):
    return Notes(tmp_path, sink.url)


def installed(notes, state):
    return json.loads((state / "installation.json").read_text())


def use(notes, state, **environ):
    notes.use(3, ACME_NOTES_TELEMETRY_DIR=str(state), **environ)


def test_a_build_under_a_switch_leaves_nothing_in_the_image(notes, sink):
    """No file, no id, no request."""
    use(notes, notes.state, DO_NOT_TRACK="1")

    assert notes.files() == []
    assert sink.requests == []


def test_copies_are_one_install_and_go_by_one_decision(notes, sink, tmp_path):
    """One id, one consent; the heartbeats that both make on one day are one record."""
    image, other = notes.state, tmp_path / "other"
    notes.run("on", OPTIONS=MANUAL)
    shutil.copytree(image, other)
    for state in (image, other):
        use(notes, state)

    assert installed(notes, image)["install_id"] == installed(notes, other)["install_id"]
    made = [record for record in sink.accepted if record["eventName"] == "base_telemetry.heartbeat"]
    assert len(made) == 2
    assert (
        len({it["value"]["stringValue"] for r in made for it in r["attributes"] if it["key"] == "log.record.uid"}) == 1
    )
    assert sink.names.count("note.created") == 2


@pytest.mark.parametrize("way", ["reset", "deleted"])
def test_a_copy_that_begins_anew_is_an_install_of_its_own(notes, sink, tmp_path, way):
    """After a reset the decision stays; with the directory everything is gone."""
    other = tmp_path / "other"
    notes.run("on")
    use(notes, notes.state)
    shutil.copytree(notes.state, other)
    if way == "reset":
        notes.run("reset", "--yes", ACME_NOTES_TELEMETRY_DIR=str(other))
    else:
        shutil.rmtree(other)
    use(notes, other)

    found = installed(notes, other)
    assert found["install_id"] != installed(notes, notes.state)["install_id"]
    assert (found.get("telemetry_enabled") is True) is (way == "reset")
    assert sink.names.count("base_telemetry.first_seen") == 2


def test_what_forget_leaves_in_an_image_leaves_from_each_container(notes, sink, tmp_path):
    """So the directory is to be deleted instead."""
    notes.run("on")
    use(notes, notes.state)
    gone = {"ACME_NOTES_TELEMETRY_ENDPOINT": "http://127.0.0.1:9", "OPTIONS": MANUAL}
    notes.run("forget", "--yes", **gone)
    for name in ("one", "two"):
        shutil.copytree(notes.state, tmp_path / name)
        use(notes, tmp_path / name)

    assert sink.names.count("analytics.deletion_requested") == 2


def test_doctor_says_when_and_where_the_decision_was_given(notes):
    """And warns of a file that was put there later than it was written."""
    notes.run("on")
    assert "consent" in notes.run("doctor").out
    line = next(it for it in notes.run("doctor").out.splitlines() if " consent " in it)
    assert line.startswith("ok ")
    assert "yes, given 2" in line
    assert line.endswith("in ~/state/installation.json")

    before = installed(notes, notes.state)
    os.utime(notes.state / "installation.json", (1_700_000_000, 1_700_000_000))
    said = notes.run("doctor").out
    assert "warning  consent" in said
    assert "which was put there later, 2" in said
    assert "begin anew with 'reset' or delete the directory" in said
    assert installed(notes, notes.state) == before
