"""Who this install is: a random id, made once, agreed on by all processes. Pseudonymous, never derived."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from telemetry_sdk.model import DAY_SECONDS, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.identity.installation import Installation
    from telemetry_sdk.identity.schema import State


class Identity(NamedTuple):
    """The identity of this install; the fields are those of `State`, and all there."""

    install_id: str
    first_seen_at: str
    heartbeat_phase_s: float


def known_identity(state: State) -> Identity | None:
    """Return the identity in *state*, or None when it is missing or incomplete."""
    if state.install_id is None or state.first_seen_at is None or state.heartbeat_phase_s is None:
        return None
    return Identity(state.install_id, state.first_seen_at, state.heartbeat_phase_s)


def ensure_identity(
    installation: Installation, *, now_ns: int, new_id: Callable[[], str], draw: Callable[[], float]
) -> Identity | None:
    """Return the identity, made if there is none; None when it cannot be kept: new ids would inflate the count.

    Any number of processes may call this at one moment; all get the same one. Call it only when base telemetry is
    allowed: nobody who opted out gets an id.
    """
    identity = known_identity(installation.read())
    if identity is not None or not installation.check_writable():
        return identity

    def complete(state: State) -> dict[str, object]:
        changes: dict[str, object] = {} if state.install_id else {"install_id": new_id()}
        if changes or state.first_seen_at is None:
            changes["first_seen_at"] = timestamp(now_ns)
        if state.heartbeat_phase_s is None:
            # Cut, not rounded: the end of the day is no moment of it.
            changes["heartbeat_phase_s"] = int(draw() * DAY_SECONDS * 1000) / 1000
        return changes

    return known_identity(installation.update(complete, hold_here=False))


def derived_uid(install_id: str, what: str) -> str:
    """Return the uid that *what* has for this install, the same in every process: a UUID version 5 (RFC 9562)."""
    import hashlib

    namespace = bytes.fromhex(install_id.replace("-", ""))
    return uuid_of(hashlib.sha1(namespace + what.encode(), usedforsecurity=False).digest()[:16], version=5)


def uuid_of(data: bytes, *, version: int) -> str:
    """Return the UUID of 16 bytes, as `uuid.UUID` writes it, whose module takes longer to load than a call takes."""
    digits = data.hex()
    variant = f"{int(digits[16], 16) & 3 | 8:x}"
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
