"""What installation.json and progress.json say, and how it is written. Pure: `installation` has the files."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Final, NamedTuple

from telemetry_sdk.model import DAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = 1
DECISIONS: Final = frozenset({"telemetry_enabled", "base_enabled"})


class State(NamedTuple):
    """Who this install is and what the user decided: installation.json. Times are RFC 3339 UTC; None means not yet."""

    install_id: str | None = None
    first_seen_at: str | None = None  # when the identity was made
    telemetry_enabled: bool | None = None  # the user's decision on detailed analytics
    base_enabled: bool | None = None  # False by the user's "nothing at all"
    consent_decided_at: str | None = None
    consent_catalog_version: str | None = None  # of the catalogue it was decided on
    notice_version_shown: str | None = None
    user_id_secret: str | None = None  # what user ids are hashed under; never sent
    heartbeat_phase_s: float | None = None  # the install's own moment of the day, seconds after midnight UTC
    is_readable: bool = True  # whether the file could be read, if there is one; not part of it
    doubt: str = ""  # why a yes in the file is not believed; nor is this part of it


class Progress(NamedTuple):
    """What the program itself did: progress.json. Times are RFC 3339 UTC, days ISO dates; None means not yet."""

    first_seen_sent_at: str | None = None  # when the sink acknowledged it
    last_heartbeat_on: str | None = None
    last_seen_at: str | None = None  # the moment of the newest base record that the sink acknowledged
    install_ping_sent_at: str | None = None  # when it was accepted
    analytics_sent_at: str | None = None  # when the first request with analytics was begun
    sink_host: str | None = None
    app_version: str | None = None  # of the program that ran last
    refused_at: str | None = None  # when an event last did not fit the rules
    refused_for: str | None = None  # why


_TEXT_KEYS: Final = frozenset(State._fields) - DECISIONS - {"heartbeat_phase_s", "is_readable", "doubt"}


def parse(data: bytes) -> dict[str, object]:
    """Return the object in *data*. Where it has a decision twice, a no wins over a yes wherever it stands.

    Raises:
        ValueError, RecursionError: There is none.
    """
    value = json.loads(data.removeprefix(codecs.BOM_UTF8).decode(), object_pairs_hook=_without_late_yes)
    if isinstance(value, dict):
        return value
    raise ValueError("not an object")


def _without_late_yes(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    for key in DECISIONS & found.keys():
        said = [value for name, value in pairs if name == key]
        if len(said) > 1 and not all(value is True for value in said):
            found[key] = False if False in said else None
    return found


def known(raw: Mapping[str, object]) -> State:
    """Return the known keys of *raw*; a value of the wrong type counts as missing, so a strange consent is no."""
    found: dict[str, object] = {key: raw[key] for key in _TEXT_KEYS if _is_text(raw.get(key))}
    if raw.get("consent_catalog_version") is not None and "consent_catalog_version" not in found:
        found["consent_catalog_version"] = ""  # there, but of no known form: not the same as from before catalogues
    if not _is_uuid(str(found.get("install_id"))):
        found.pop("install_id", None)
    found |= {key: raw[key] for key in DECISIONS if isinstance(raw.get(key), bool)}
    phase = raw.get("heartbeat_phase_s")
    # Compared before it is converted: JSON knows integers that no float can hold, and Python's knows NaN.
    if isinstance(phase, (int, float)) and not isinstance(phase, bool) and 0 <= phase < DAY_SECONDS:
        found["heartbeat_phase_s"] = float(phase)
    return State(**found)  # type: ignore[arg-type]


def known_progress(raw: Mapping[str, object]) -> Progress:
    """Return the known keys of *raw*; a value that is no text counts as missing."""
    return Progress(**{key: raw[key] for key in Progress._fields if _is_text(raw.get(key))})  # type: ignore[arg-type]


def _is_uuid(text: str) -> bool:
    return [*map(len, text.split("-"))] == [8, 4, 4, 4, 12] and set(text) <= set("0123456789abcdef-")


def _is_text(value: object) -> bool:
    # Half a character, which JSON can write, could neither be stored nor sent.
    return isinstance(value, str) and value == value.encode(errors="ignore").decode()


def serialize(content: Mapping[str, object]) -> bytes:
    """Return *content* as people like to read it, where that can be done."""
    try:
        return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
    except (UnicodeEncodeError, RecursionError):
        # An unknown key may hold half a character, or a tree that only the serializer without indents is fit for.
        return json.dumps(content).encode() + b"\n"
