"""The decision on detailed analytics: stored with its moment, and announced once per change, whoever made it."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from telemetry_sdk.consent.store import ConsentStore
from telemetry_sdk.host.files import file_lock
from telemetry_sdk.identity import installation as installation_module
from telemetry_sdk.identity.installation import Installation, State

NOW_NS = 1_780_000_000_123_456_789
AT = "2026-05-28T20:26:40.123456Z"
SECOND = 1_000_000_000


@pytest.fixture
def installation(state_dir):
    return Installation(state_dir)


@pytest.fixture
def consent(installation):
    return ConsentStore(installation)


def full_disk(path: object, flags: int, mode: int = 0o777) -> int:
    """Stand in for `os.open` where nothing can be written, not even in place."""
    if flags & os.O_WRONLY:
        raise OSError(errno.ENOSPC, "no space")
    return really_open(path, flags, mode)


really_open = os.open


@pytest.mark.parametrize("enabled", [True, False])
def test_a_decision_is_stored_with_its_moment(consent, installation, state_dir, enabled):
    """A decision is on disk, with the microsecond it was made, when `record` returns True."""
    assert consent.record(enabled=enabled, now_ns=NOW_NS) is True

    assert Installation(state_dir).read() == State(telemetry_enabled=enabled, consent_decided_at=AT)


def test_an_unchanged_decision_keeps_its_moment(consent, installation):
    """Saying yes twice is one consent: its moment, which names it, stays."""
    consent.record(enabled=True, now_ns=NOW_NS)

    assert consent.record(enabled=True, now_ns=NOW_NS + SECOND) is True
    assert installation.read().consent_decided_at == AT


def test_a_new_consent_is_another_one(consent, installation):
    """A yes after a no has a moment of its own, so records of the first yes do not belong to it."""
    consent.record(enabled=True, now_ns=NOW_NS)
    consent.record(enabled=False, now_ns=NOW_NS + SECOND)
    consent.record(enabled=True, now_ns=NOW_NS + 2 * SECOND)

    assert installation.read().consent_decided_at == "2026-05-28T20:26:42.123456Z"


def test_a_decision_without_a_moment_gets_one(consent, installation):
    """A yes written into the file by hand, without its moment, gets one when the user says yes again."""
    installation.update(lambda _: {"telemetry_enabled": True})

    consent.record(enabled=True, now_ns=NOW_NS)

    assert installation.read() == State(telemetry_enabled=True, consent_decided_at=AT)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_decision_that_cannot_be_stored_holds_here_and_says_so(consent, installation, monkeypatch, enabled):
    """On a full disk the decision holds for this process, `record` returns False, and a later try succeeds."""
    consent.record(enabled=not enabled, now_ns=NOW_NS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full_disk)
        assert consent.record(enabled=enabled, now_ns=NOW_NS + SECOND) is False
        assert installation.read().telemetry_enabled is enabled

    assert consent.record(enabled=enabled, now_ns=NOW_NS + 2 * SECOND) is True
    assert installation.read().telemetry_enabled is enabled


@pytest.mark.parametrize("enabled", [True, False])
def test_the_newest_decision_wins_over_one_that_could_not_be_stored(consent, installation, monkeypatch, enabled):
    """Taking back a decision that never reached the disk leaves what is on disk, for this process too."""
    consent.record(enabled=enabled, now_ns=NOW_NS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full_disk)
        consent.record(enabled=not enabled, now_ns=NOW_NS + SECOND)

    assert consent.record(enabled=enabled, now_ns=NOW_NS + 2 * SECOND) is True
    assert installation.read().telemetry_enabled is enabled


def test_a_no_that_is_on_disk_already_needs_no_write(consent, state_dir, monkeypatch):
    """Where the file says no, `record` of a no is True although nothing can be written any more."""
    consent.record(enabled=False, now_ns=NOW_NS)
    monkeypatch.setattr(os, "access", lambda *_: False)
    later = Installation(state_dir)
    later.check_writable()

    assert ConsentStore(later).record(enabled=False, now_ns=NOW_NS + SECOND) is True


def test_a_no_does_not_wait_for_a_lock_forever(consent, state_dir, monkeypatch):
    """With the lock held by another program a yes is not stored, a no is; it is certain only once locked."""
    consent.record(enabled=True, now_ns=NOW_NS)
    monkeypatch.setattr(installation_module, "LOCK_WAIT", 0.05)
    with file_lock(state_dir / "installation.lock", 1):
        assert consent.record(enabled=False, now_ns=NOW_NS + SECOND) is False
        assert Installation(state_dir).read().telemetry_enabled is False
        assert ConsentStore(Installation(state_dir)).record(enabled=True, now_ns=NOW_NS) is False
        assert Installation(state_dir).read().telemetry_enabled is False

    assert consent.record(enabled=False, now_ns=NOW_NS + 2 * SECOND) is True


def test_without_a_directory_a_decision_holds_here_only():
    """Where there is no home, `record` is False and the decision holds for this process."""
    homeless = Installation(None)

    assert ConsentStore(homeless).record(enabled=True, now_ns=NOW_NS) is False
    assert homeless.read().telemetry_enabled is True


def test_each_change_is_announced_once(consent):
    """A decision is announced when it differs from the one announced last; an undecided state never."""
    yes, no, undecided = State(telemetry_enabled=True), State(telemetry_enabled=False), State()

    heard = [consent.changed(state) for state in (undecided, no, no, undecided, no, yes, yes, no)]

    assert heard == [None, False, None, None, None, True, None, False]


def test_threads_announce_a_change_once(consent):
    """Of sixteen threads that look at one moment, one announces."""
    barrier, heard = threading.Barrier(16), []

    def look() -> None:
        barrier.wait(20)
        heard.append(consent.changed(State(telemetry_enabled=True)))

    threads = [threading.Thread(target=look) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(heard, key=bool) == [None] * 15 + [True]


def test_a_child_does_not_inherit_a_held_lock(consent):
    """After a fork decisions are announced although a thread of the parent held the lock."""
    consent._lock.acquire()

    consent.after_fork()

    assert consent.changed(State(telemetry_enabled=True)) is True
