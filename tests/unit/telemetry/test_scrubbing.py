"""Scrubbing on the whole road: what is planted in an event is in no stored byte, no log and no request."""

from __future__ import annotations

import pytest
from sink_server import attributes

from telemetry_sdk import ConfigError

SECRETS = {
    "e-mail": "ada.lovelace@example.org",
    "path": "/home/ada/secret-plans.txt",
    "windows path": "C:\\Users\\Ada\\plans.docx",
    "address": "203.0.113.77",
    "token": "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "url": "https://example.org/reset?code=4711-swordfish",
    "card": "4111 1111 1111 1111",
}


def stored(state_dir) -> bytes:
    return b"".join(path.read_bytes() for path in state_dir.rglob("*") if path.is_file())


def parts(secret: str) -> list[bytes]:
    """What of a secret must not be found: its telling part, in any spelling of JSON."""
    telling = {"url": "swordfish"}.get(next(k for k, v in SECRETS.items() if v == secret), secret)
    return [telling.encode(), telling.replace("\\", "\\\\").encode()]


@pytest.mark.parametrize("kind", sorted(SECRETS))
def test_a_planted_secret_is_nowhere(make, sink, state_dir, kind):
    """Whatever property, list, map, message, path or user id it stands in."""
    secret = SECRETS[kind]
    telemetry = make()
    telemetry.opt_in()

    receipt = telemetry.track_event(
        "error.shown",
        {"message": f"cannot open {secret} now", "list": [secret], "map": {"inner": {"deep": secret}}},
        user_id=secret,
    )
    telemetry.identify_user(secret)
    telemetry.track_page_view(f"/open?file={secret}" if kind == "path" else f"/open/{secret}")
    telemetry.identify_user(None)
    telemetry.flush(5)
    telemetry.close()

    assert receipt
    assert "scrubbed" in receipt.reason
    everything = stored(state_dir) + b"".join(request.body for request in sink.requests)
    assert b"error.shown" in everything
    for telling in parts(secret):
        assert telling not in everything


def test_what_is_named_like_a_secret_goes(make, sink):
    """A property's name gives it away, in any spelling and nesting; what was removed is counted."""
    telemetry = make()
    telemetry.opt_in()
    properties = {"userEmail": "n/a", "smtp": {"password": "hunter2"}, "tokens_used": 17, "version": "1.2.3.4"}

    seen = telemetry.preview("settings.saved", properties)
    telemetry.track_event("settings.saved", properties)

    sent = attributes(sink.accepted[-1])
    assert sent["tokens_used"] == 17
    assert sent["version"] == "1.2.3.4"
    assert b"hunter2" not in sink.requests[-1].body
    assert sum(seen.removed.values()) == 2
    assert b"hunter2" not in seen.analytics


def test_a_host_may_turn_it_off(make, sink):
    """With ``scrub=False`` events leave as they are."""
    telemetry = make(scrub=False)
    telemetry.opt_in()
    telemetry.track_event("error.shown", {"message": "ada@example.org"}, user_id="ada@example.org")

    assert attributes(sink.accepted[-1])["message"] == "ada@example.org"
    assert attributes(sink.accepted[-1])["identity"] == "ada@example.org"


def test_user_ids_can_be_hashed(make, sink, state_dir):
    """One user has one hash on this machine, over restarts; another machine has another, and a reset a new one."""
    for _ in range(2):
        telemetry = make(hash_user_ids=True)
        telemetry.opt_in()
        telemetry.track_event("timer.started", user_id="ada")
        telemetry.track_event("timer.started", user_id=17)
        telemetry.close()
    other = make(hash_user_ids=True, state_dir=state_dir.with_name("other"))
    other.opt_in()
    other.track_event("timer.started", user_id="ada")
    telemetry.reset_install_id()
    telemetry.track_event("timer.started", user_id="ada")

    users = [attributes(r)["identity"] for r in sink.accepted if r["eventName"] == "timer.started"]
    assert users[0] == users[2]
    assert users[1] == users[3]
    assert len(set(users)) == 4
    assert all(user.startswith("u_") for user in users)
    assert b'"ada"' not in stored(state_dir) + b"".join(request.body for request in sink.requests)


def test_without_a_user_the_install_is_meant_as_ever(make, sink):
    """Hashing concerns user ids; the install id is random already."""
    telemetry = make(hash_user_ids=True)
    telemetry.opt_in()
    telemetry.track_event("timer.started")

    assert attributes(sink.accepted[-1])["identity"] == telemetry.status().install_id


def test_a_preview_hashes_too(make, state_dir):
    """What is shown before any consent holds no user id either, and makes no secret."""
    seen = make(hash_user_ids=True).preview("timer.started", user_id="ada-lovelace")

    assert b"ada-lovelace" not in seen.analytics
    assert b"u_" in seen.analytics
    assert not state_dir.exists()


@pytest.mark.parametrize("setting", ["scrub", "hash_user_ids"])
def test_a_switch_is_a_bool(make, setting):
    """Anything else is an integrator's mistake."""
    with pytest.raises(ConfigError, match=setting):
        make(**{setting: "yes"})
