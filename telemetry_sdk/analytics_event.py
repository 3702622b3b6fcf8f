"""Opt-in events: who, what and with which properties. Pure.

Every Python value becomes valid OTLP or is left out by name, as `properties` says: no value makes a record that a
strict receiver would refuse, for one such record loses its whole request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from telemetry_sdk.errors import InvalidEventError
from telemetry_sdk.properties import Converter, UnencodableError, is_reserved, plain, property_name, safe_text, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry_sdk.model import Limits

__all__ = [
    "DELETION_REQUESTED",
    "IDENTIFY",
    "INSTALL",
    "PAGE_VIEW",
    "Event",
    "build",
    "check_name",
    "identity_of",
    "request_context",
]

PAGE_VIEW: Final = "analytics.page_view"
IDENTIFY: Final = "analytics.identify"
INSTALL: Final = "analytics.install"
DELETION_REQUESTED: Final = "analytics.deletion_requested"

_EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_LONGEST_NAME: Final = 128
_LONGEST_IDENTITY: Final = 256
_LONGEST_CONTEXT: Final = 512
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Event:
    """A checked event, ready to be encoded.

    Attributes:
        payload: Names and values, all encodable by `otlp.any_value`.
        dropped: Names of the properties that were left out, dotted when nested.
    """

    payload: dict[str, object]
    dropped: tuple[str, ...] = ()

    def explain(self, reason: str) -> str:
        """Return *reason* with the names of what was left out."""
        names = ", ".join(self.dropped[:_MOST_NAMED])
        more = f" and {len(self.dropped) - _MOST_NAMED} more" if len(self.dropped) > _MOST_NAMED else ""
        return f"{reason}; left out: {names}{more}".removeprefix("; ")


def check_name(name: object) -> str:
    """Return *name* if it may name an event: dotted lower snake case, at least two words, not reserved.

    Raises:
        InvalidEventError: It may not.
    """
    if not isinstance(name, str):
        raise InvalidEventError("event", f"the name must be a string, not {type(name).__name__}")
    name = str.__str__(name)
    short = safe_text(name, 64)
    if len(name) > _LONGEST_NAME or not _EVENT_NAME.fullmatch(name):
        raise InvalidEventError(short, "names are dotted lower snake case, for example timer.started")
    if name.startswith("base_telemetry."):
        raise InvalidEventError(short, "base_telemetry.* is reserved for the base layer")
    return name


def identity_of(user_id: object) -> str | None:
    """Return the text of a user id (str, int or UUID), or None for None and the empty string.

    Raises:
        InvalidEventError: It is of another type.
    """
    if user_id is None:
        return None
    if isinstance(user_id, bool) or not isinstance(user_id, (str, int, UUID)):
        raise InvalidEventError("user_id", f"must be a string, an int or a UUID, not {type(user_id).__name__}")
    try:
        return safe_text(str(plain(user_id)), _LONGEST_IDENTITY) or None
    except UnencodableError:
        raise InvalidEventError("user_id", "is too large a number") from None


def request_context(context: Mapping[str, object]) -> dict[str, str]:
    """Return the request context to add: of ``path``, ``browser`` and ``device`` those that are given.

    Of a path only the path is kept: no scheme, host, query or fragment.

    Raises:
        InvalidEventError: Another name is given, or a value that is not a string.
    """
    checked: dict[str, str] = {}
    for name, value in _items("event", "the context", context):
        if not isinstance(name, str) or name not in ("path", "browser", "device") or not isinstance(value, str):
            raise InvalidEventError("context", "may hold path, browser and device, as strings")
        text = str.__str__(value)
        checked[name] = safe_text(_path_only(text) if name == "path" else text, _LONGEST_CONTEXT)
    return checked


def _path_only(text: str) -> str:
    path = re.split(r"[?#;]", text.strip(), maxsplit=1)[0]
    return re.sub(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*", "", path) or "/"


def build(name: str, properties: Mapping[str, object] | None, *, own: Mapping[str, str], limits: Limits) -> Event:
    """Return the checked event *name*.

    Args:
        name: The event's name, checked by `check_name`.
        properties: The host's properties; not changed and not kept.
        own: What the SDK adds: install id, version, request context.
        limits: The bounds.

    Raises:
        InvalidEventError: *properties* is no mapping, or it names a reserved property.
    """
    converter = Converter(limits)
    for key, value in _items(name, "properties", properties):
        checked = property_name(key)
        if checked is None:
            converter.drop(shown(key))
        elif is_reserved(checked):
            raise InvalidEventError(name, f"the property name {checked} is reserved; choose another")
        else:
            converter.add(checked, value)
    return Event({**own, **converter.kept}, tuple(converter.dropped))


def _items(event: str, what: str, given: object) -> list[tuple[object, object]]:
    if given is None:
        return []
    try:
        return list(dict.items(given if isinstance(given, dict) else dict(given)))  # type: ignore[call-overload]
    except Exception:  # noqa: BLE001 - a host's object may raise anything
        raise InvalidEventError(event, f"{what} must be a mapping, not {type(given).__name__}") from None
