"""Records that find the outbox locked: small files that the next delivery takes in, each once."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from telemetry_sdk.model import Layer, Limits, Record
from telemetry_sdk.outbox import database
from telemetry_sdk.outbox.queue import FILE_NAME, Outbox, Put, StoreError, Terms
from telemetry_sdk.outbox.spill import MOST_ASIDE, Spill

YES = frozenset({"yes"})


def record(uid: str, *, layer: Layer = Layer.ANALYTICS, derived: bool = False, name: str = "timer.started") -> Record:
    grant = "yes" if layer is Layer.ANALYTICS else None
    return Record(uid, layer, name, 1000 + len(uid), b"E\xff", f"body {uid}".encode(), derived, grant)


@pytest.fixture
def outbox(state_dir):
    return Outbox(state_dir, Limits())


@pytest.fixture
def locked(outbox, state_dir):
    """The outbox, while another program holds its file; call the second to end that."""
    outbox.counts()
    db = sqlite3.connect(state_dir / FILE_NAME, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")

    def free():
        db.execute("ROLLBACK")
        db.close()

    yield outbox, free
    db.close()


def take(outbox, *, destroy=True):
    return outbox.take(lambda _: Terms(YES, destroy), now=2.0)


def test_what_is_kept_is_what_is_loaded(state_dir):
    """Every field of a record comes back as it was, whatever its bytes."""
    aside = Spill(state_dir)
    first, second = record("a"), record("bb", layer=Layer.BASE, derived=True)

    assert aside.keep(first, replaces=False)
    assert aside.keep(second, replaces=True)

    assert [aside.load(name) for name in aside.names()] == [(first, False), (second, True)]


def test_a_record_that_finds_the_outbox_locked_is_set_aside_and_taken_in_later(locked):
    """It is accepted, waits visibly, and is part of the ledger and of a request once the file is free."""
    outbox, free = locked

    assert outbox.put(record("one")) is Put.SPILLED
    assert outbox.put(record("two")) is Put.SPILLED
    assert outbox.spilled_count() == 2
    assert outbox.has_waiting()
    free()

    assert [r.uid for r in take(outbox).records] == ["one", "two"]
    assert outbox.spilled_count() == 0
    assert outbox.counts().accepted == 2


def test_the_next_records_do_not_try_the_locked_file_again(locked, monkeypatch):
    """For a second after one was set aside, others are at once: a host that tracks a lot is not held up."""
    outbox, free = locked
    outbox.put(record("one"))
    monkeypatch.setattr(outbox.database, "_guarded", None)

    assert outbox.put(record("two")) is Put.SPILLED
    free()


def test_a_kill_between_taking_in_and_deleting_makes_no_second_record(locked, monkeypatch):
    """A file that is still there although its record was taken in is not taken in again, delivered or not."""
    outbox, free = locked
    outbox.put(record("one"))
    outbox.put(record("ping", derived=True))
    free()
    monkeypatch.setattr(Spill, "remove", lambda *_: None)
    take(outbox)
    assert outbox.spilled_count() == 2
    monkeypatch.undo()

    assert [r.uid for r in take(outbox).records] == ["one", "ping"]
    assert outbox.counts().accepted == 2
    outbox.purge("delivered, say")
    assert not take(outbox).records


def test_a_derived_record_is_taken_in_once(locked):
    """Of two set aside under one derived uid, one is accepted."""
    outbox, free = locked
    outbox.put(record("ping", derived=True))
    outbox.put(record("ping", derived=True))
    free()

    assert [r.uid for r in take(outbox).records] == ["ping"]


@pytest.mark.usefixtures("impatient")
def test_a_withdrawal_destroys_what_is_set_aside(locked):
    """Analytics records made under another consent go, base records stay."""
    outbox, free = locked
    outbox.put(record("event"))
    outbox.put(record("beat", layer=Layer.BASE))

    outbox.destroy_withdrawn(lambda: frozenset())

    assert [name.split("-")[1] for name in outbox._enqueuer.spill.names()] == ["beat.json"]
    free()


def test_what_was_withdrawn_meanwhile_is_not_taken_in(locked):
    """A record set aside under a consent that no longer holds is destroyed by the delivery that takes it in."""
    outbox, free = locked
    outbox.put(record("event"))
    free()

    claimed = outbox.take(lambda _: Terms(frozenset(), True), now=2.0)

    assert claimed.records == ()
    assert outbox.counts().dropped == {"consent withdrawn": 1}
    assert outbox.spilled_count() == 0


@pytest.mark.usefixtures("impatient")
def test_purging_and_withdrawing_one_reach_what_is_set_aside(locked):
    """`withdraw` takes one uid, `purge` everything."""
    outbox, free = locked
    for uid in ("one", "two", "three"):
        outbox.put(record(uid))
    with pytest.raises(StoreError):
        outbox.withdraw("two", "consent withdrawn")
    assert outbox.spilled_count() == 2
    free()

    outbox.purge("stop")

    assert outbox.spilled_count() == 0


def test_the_folder_is_bounded(state_dir, monkeypatch):
    """When too many wait there already, one more is refused."""
    aside = Spill(state_dir)
    monkeypatch.setattr(aside, "names", lambda: ["x.json"] * MOST_ASIDE)

    assert aside.keep(record("one"), replaces=False) is False


def test_without_a_directory_nothing_is_set_aside():
    """An outbox in memory has nowhere to set aside."""
    aside = Spill(None)

    assert aside.keep(record("one"), replaces=False) is False
    assert aside.names() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"uid": 1}', b"\xff", b'{"replaces": true}'])
def test_a_file_that_is_not_ours_is_no_record(outbox, state_dir, content):
    """A torn file, or another one under such a name, costs nothing and is cleared away."""
    outbox.counts()
    (state_dir / "spill").mkdir()
    (state_dir / "spill" / f"{5:020d}-x.json").write_bytes(content)

    assert take(outbox).records == ()
    assert outbox.spilled_count() == 0


def test_other_files_in_the_folder_are_left_alone(outbox, state_dir):
    """What is not named as a record set aside is neither read nor deleted."""
    folder = state_dir / "spill"
    folder.mkdir(parents=True)
    for name in ("notes.json", "0-x.json", "x", f"{5:020d}.json"):
        (folder / name).write_text('{"precious": 1}')
    outbox.put(record("one"))

    assert [it.uid for it in take(outbox).records] == ["one"]
    outbox.purge("stop")
    outbox.forget("forgotten", None)

    assert len(list(folder.iterdir())) == 4


def test_a_link_planted_in_place_of_the_folder_is_not_followed(locked, state_dir, tmp_path):
    """Nothing is written or deleted where it leads, whatever the names there."""
    outbox, free = locked
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{5:020d}-x.json").write_text('{"precious": 1}')
    (state_dir / "spill").symlink_to(elsewhere)

    with pytest.raises(StoreError):
        outbox.put(record("one"))
    free()
    assert take(outbox).records == ()
    outbox.purge("stop")

    assert [path.name for path in elsewhere.iterdir()] == [f"{5:020d}-x.json"]


def test_what_was_taken_in_is_remembered_only_while_its_file_may_be_there(outbox, state_dir):
    """The memory of what was delivered does not fill with it, or the oldest of that, first_seen, would be forgotten."""
    aside = Spill(state_dir)
    for number in range(5):
        aside.keep(record(f"event {number}"), replaces=False)
        take(outbox)

    with contextlib.closing(sqlite3.connect(state_dir / FILE_NAME)) as db:
        assert db.execute("SELECT uid FROM done").fetchall() == [("event 4",)]


def test_a_file_that_outlived_its_taking_in_is_not_taken_in_again(outbox, state_dir, monkeypatch):
    """As after a kill between the transaction and the deletion, also when others were taken in meanwhile."""
    aside = Spill(state_dir)
    aside.keep(record("one"), replaces=False)
    with monkeypatch.context() as patch:
        patch.setattr(Spill, "remove", lambda *_: None)
        assert [it.uid for it in take(outbox).records] == ["one"]
        aside.keep(record("two"), replaces=False)
        assert [it.uid for it in take(outbox).records] == ["one", "two"]

    assert [it.uid for it in take(outbox).records] == ["one", "two"]
    assert outbox.counts().accepted == 2
    assert aside.names() == []


def test_the_wait_is_short():
    """The documented second."""
    assert database._AVOID_S == 1.0
