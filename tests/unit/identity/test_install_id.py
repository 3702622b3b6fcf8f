"""The identity of an install: random, made once, agreed on by all, and never one that cannot be kept."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process_tools import Program
from profiles import examples

from telemetry_sdk.identity.install_id import Identity, derived_uid, ensure_identity, known_identity, uuid_of
from telemetry_sdk.identity.installation import FILE_NAME, Installation, ProgressFile, State
from telemetry_sdk.identity.schema import Progress

ID = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"
OTHER = "3bc3916d-a51f-4ac8-80ee-45ac31a28092"
NOW_NS = 1_780_000_000_123_456_789
NOW = "2026-05-28T20:26:40Z"
COMPLETE = {"install_id": ID, "first_seen_at": "2026-01-31T09:30:00Z", "heartbeat_phase_s": 7.5}


def new_id() -> str:
    return str(uuid.uuid4())


def make(installation: Installation, **options: object) -> Identity | None:
    return ensure_identity(installation, **{"now_ns": NOW_NS, "new_id": new_id, "draw": lambda: 0.25, **options})


def never() -> None:
    raise AssertionError("must not be asked")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


@pytest.mark.parametrize("lacking", COMPLETE)
def test_identity_needs_all_three(lacking):
    """Id, first moment and phase make an identity; without one of them there is none."""
    assert known_identity(State(**COMPLETE)) == Identity(ID, "2026-01-31T09:30:00Z", 7.5)
    assert known_identity(State(**{**COMPLETE, lacking: None})) is None


def test_identity_is_made_and_kept(state_dir):
    """The first call makes a random UUID4, the moment of now, and a drawn phase; later calls return the same."""
    identity = make(Installation(state_dir))

    assert uuid.UUID(identity.install_id).version == 4
    assert identity == Identity(identity.install_id, NOW, 21_600.0)
    assert make(Installation(state_dir), now_ns=0, new_id=never, draw=never) == identity


def test_a_new_identity_starts_afresh(state_dir):
    """A new id forgets what was sent under the old one, and keeps the user's decision."""
    installation = Installation(state_dir)
    progress = ProgressFile(installation)
    installation.update(lambda _: {"install_id": OTHER})
    progress.update(lambda _: {"first_seen_sent_at": NOW, "last_heartbeat_on": "2026-05-28"})
    kept = {"telemetry_enabled": True, "consent_decided_at": NOW, "notice_version_shown": "1"}
    installation.update(lambda _: {"install_id": None, **kept})

    identity = make(installation, new_id=lambda: ID)

    assert installation.read() == State(install_id=ID, first_seen_at=NOW, heartbeat_phase_s=21_600.0, **kept)
    assert identity == known_identity(installation.read())
    assert progress.read() == ProgressFile(Installation(state_dir)).read() == Progress()


def test_an_incomplete_identity_is_completed_and_not_replaced(state_dir):
    """Where only moment or phase are missing the id stays, and what was sent stays sent."""
    installation = Installation(state_dir)
    installation.update(lambda _: {"install_id": ID})
    sent = {"first_seen_sent_at": NOW, "last_heartbeat_on": "2026-05-28"}
    ProgressFile(installation).update(lambda _: sent)

    assert make(installation, new_id=never) == Identity(ID, NOW, 21_600.0)
    assert ProgressFile(installation).read() == Progress(**sent)


def test_a_valid_moment_and_phase_are_kept_when_the_other_is_missing(state_dir):
    """Completing one part leaves the other as it is."""
    installation = Installation(state_dir)
    installation.update(lambda _: {**COMPLETE, "heartbeat_phase_s": None})

    assert make(installation) == Identity(ID, COMPLETE["first_seen_at"], 21_600.0)


@pytest.mark.parametrize("draw", [0.0, 0.999999999999])
def test_phase_lies_within_the_day(state_dir, draw):
    """Whatever is drawn becomes a phase that the file accepts when it is read again."""
    identity = make(Installation(state_dir), draw=lambda: draw)

    assert identity is not None
    assert 0 <= identity.heartbeat_phase_s < 86_400
    assert make(Installation(state_dir), new_id=never) == identity


def test_nothing_of_this_machine_is_in_an_identity(state_dir):
    """The id is what new_id made: not derived from hardware, host or user."""
    ids = {make(Installation(state_dir / str(n))).install_id for n in range(20)}

    assert len(ids) == 20
    assert all(re.fullmatch(r"[0-9a-f-]{14}4[0-9a-f-]{21}", found) for found in ids)


@pytest.mark.parametrize("directory", ["no directory", "no right to write"])
def test_no_identity_where_none_can_be_kept(tmp_path, directory):
    """Without a place for it there is no identity, and none is invented."""
    (tmp_path / "file").write_text("")
    installation = Installation(None if directory == "no directory" else tmp_path / "file" / "state")

    assert make(installation, new_id=never) is None
    assert installation.read() == State()


def test_an_identity_that_could_not_be_written_is_none_the_second_time_too(state_dir, monkeypatch):
    """On a full disk no call returns an id that would be another one after the next start."""
    installation = Installation(state_dir)
    monkeypatch.setattr(os, "fsync", full_disk)

    assert [make(installation), make(installation), installation.read().install_id] == [None, None, None]
    monkeypatch.undo()
    assert make(installation) == make(Installation(state_dir)) is not None


def test_an_identity_on_a_directory_that_became_read_only_still_counts(state_dir, monkeypatch):
    """An identity that is there needs no write."""
    installation = Installation(state_dir)
    identity = make(installation)
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert make(installation, new_id=never) == make(Installation(state_dir), new_id=never) == identity


def test_a_newer_file_without_identity_gets_none(state_dir):
    """A file of a newer schema is not written to, so an identity it lacks cannot be kept."""
    state_dir.mkdir()
    (state_dir / FILE_NAME).write_text(json.dumps({"schema": 99}))

    assert [make(Installation(state_dir)), make(Installation(state_dir))] == [None, None]


def test_one_that_lost_the_race_returns_the_winner_s(state_dir):
    """An object that found no identity returns the one another made while it waited for the lock."""
    loser, winner = Installation(state_dir), Installation(state_dir)

    def while_drawing() -> float:
        # Drawn once for the first look and once under the lock; in between the other one writes.
        if not (state_dir / FILE_NAME).exists():
            winner.update(lambda _: {**COMPLETE, "install_id": OTHER})
        return 0.5

    assert make(loser, draw=while_drawing) == Identity(OTHER, COMPLETE["first_seen_at"], 7.5)


def test_racing_processes_agree(tmp_path, state_dir):
    """Six processes that start at one moment all get the same identity."""
    source = """
    import uuid
    from telemetry_sdk.identity.install_id import ensure_identity
    from telemetry_sdk.identity.installation import Installation
    wait_for_go()
    say(ensure_identity(Installation(Path(SETTINGS["state_dir"])), now_ns=time.time_ns(), new_id=lambda: str(uuid.uuid4()),
               draw=lambda: uuid.uuid4().int / 2**128))
    """
    go = tmp_path / "go"
    programs = [Program(source, tmp_path, state_dir=state_dir, go=go) for _ in range(6)]
    for program in programs:
        program.wait_for("ready")
    go.touch()
    found = {program.finish() for program in programs}

    assert found == {f"{make(Installation(state_dir), new_id=never)}\n"}


def test_derived_uid_is_the_same_everywhere():
    """A derived uid is a UUID version 5 of install and purpose, as any other implementation computes it."""
    assert derived_uid(ID, "first_seen") == str(uuid.uuid5(uuid.UUID(ID), "first_seen"))
    assert derived_uid(ID, "heartbeat/2026-05-28") == str(uuid.uuid5(uuid.UUID(ID), "heartbeat/2026-05-28"))
    assert len({derived_uid(ID, what) for what in ("first_seen", "install_ping")} | {derived_uid(OTHER, "x")}) == 3


@given(data=st.binary(min_size=16, max_size=16), version=st.sampled_from([4, 5]))
@examples(100)
def test_a_uuid_is_written_as_the_library_writes_it(data: bytes, version: int) -> None:
    """Bit for bit, of any bytes."""
    assert uuid_of(data, version=version) == str(uuid.UUID(bytes=data, version=version))
