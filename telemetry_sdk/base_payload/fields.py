"""The base payload: exactly the twelve fields of `FIELDS`, all strings, in this order, never more. Pure.

The table is the schema. The payload, the privacy page, the notice and the tests are made from it, so they cannot
disagree.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from telemetry_sdk.model import FIRST_SEEN, timestamp

UNKNOWN: Final = "unknown"
_LONGEST: Final = 128


class Field(NamedTuple):
    """One field of the base payload.

    Attributes:
        name: Its name on the wire.
        meaning: What it holds.
        example: A value it may have.
        purpose: Why it is collected.
    """

    name: str
    meaning: str
    example: str
    purpose: str


FIELDS: Final = (
    Field(
        "install_id",
        "random id made on this machine, not derived from hardware, host or user",
        "2ab2916d-a51f-4ac8-80ee-45ac31a28092",
        "count installs once",
    ),
    Field("app_version", "version of the program", "2.4.0", "know which versions are in use"),
    Field("platform", "operating system", "linux", "decide which systems to support"),
    Field("os_version", "release of the operating system", "6.1.0", "decide which releases to support"),
    Field("architecture", "processor architecture", "amd64", "decide which builds to publish"),
    Field("locale", "language and region of the system", "en-US", "decide which translations to make"),
    Field("timezone", "IANA name of the time zone", "Europe/Vienna", "know where in the world it is used, coarsely"),
    Field("first_seen_at", "when this install was first seen", "2026-01-31T09:30:00Z", "tell new installs from old"),
    Field(
        "last_seen_at",
        "moment of the heartbeat before this one; of this one itself where there is none",
        "2026-02-28T18:40:02Z",
        "count each install once in any period, by a sum",
    ),
    Field("heartbeat_at", "moment of the heartbeat", "2026-03-01T07:12:45Z", "count active installs per day"),
    Field("release_channel", "channel the release came from", "stable", "compare stable and preview releases"),
    Field("deployment_type", "how it is run", "docker", "decide which kinds of deployment to support"),
)


class Facts(NamedTuple):
    """What `platform` found out about the platform. Every unknown is ``"unknown"``."""

    platform: str = UNKNOWN
    os_version: str = UNKNOWN
    architecture: str = UNKNOWN
    locale: str = UNKNOWN
    timezone: str = UNKNOWN
    deployment_type: str = UNKNOWN


def build(
    name: str,
    *,
    install_id: str,
    app_version: str,
    facts: Facts,
    first_seen_at: str,
    now_ns: int,
    release_channel: str,
) -> dict[str, str]:
    """Return the payload of the base record *name*.

    Args:
        name: `FIRST_SEEN` or `HEARTBEAT`. On first_seen ``heartbeat_at`` equals ``first_seen_at``.
        install_id: The install's id.
        app_version: The program's version.
        facts: The platform, and the kind of deployment.
        first_seen_at: Fixed when the identity was made, RFC 3339.
        now_ns: The record's moment, nanoseconds since 1970 UTC. It stands for the moment of the heartbeat before, too,
            until that is known: when the record leaves (see `sender.otlp.with_last_seen`).
        release_channel: The release channel.

    Returns:
        One value for every field of `FIELDS`, in that order; an empty one becomes ``"unknown"``.
    """
    moment = first_seen_at if name == FIRST_SEEN else timestamp(now_ns)
    values = {
        "install_id": install_id,
        "app_version": app_version,
        "platform": facts.platform,
        "os_version": facts.os_version,
        "architecture": facts.architecture,
        "locale": facts.locale,
        "timezone": facts.timezone,
        "first_seen_at": first_seen_at,
        "last_seen_at": moment,
        "heartbeat_at": moment,
        "release_channel": release_channel,
        "deployment_type": facts.deployment_type,
    }
    return {field.name: values[field.name][:_LONGEST] or UNKNOWN for field in FIELDS}
