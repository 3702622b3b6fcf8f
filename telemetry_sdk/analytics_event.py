"""Opt-in events: who, what and with which properties. Pure.

Every Python value becomes valid OTLP or is left out by name, as `properties` says: no value makes a record that a
strict receiver would refuse, for one such record loses its whole request.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from telemetry_sdk.errors import InvalidEventError
from telemetry_sdk.event_names import DELETION_REQUESTED
from telemetry_sdk.patterns import lazy
from telemetry_sdk.properties import Converter, UnencodableError, is_reserved, plain, property_name, safe_text, shown
from telemetry_sdk.request_path import clean_route
from telemetry_sdk.scrub import ROUTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry_sdk.model import Limits
    from telemetry_sdk.scrub import Scrubber, Tally

__all__ = [
    "Event",
    "build",
    "check_name",
    "hashed_identity",
    "identity_of",
    "request_context",
]

_EVENT_NAME: Final = lazy(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_LONGEST_NAME: Final = 128
_LONGEST_IDENTITY: Final = 256
_LONGEST_CONTEXT: Final = 512
_MOST_NAMED: Final = 10


class Event(NamedTuple):
    """A checked event, ready to be encoded.

    Attributes:
        payload: Names and values, all encodable by `otlp.any_value`.
        dropped: Names of the properties that were left out, dotted when nested.
        scrubbed: What the scrubber removed: kinds and how often, never a value.
    """

    payload: dict[str, object]
    dropped: tuple[str, ...] = ()
    scrubbed: Mapping[str, int] = MappingProxyType({})

    def explain(self, reason: str) -> str:
        """Return *reason* with the names of what was left out and the kinds of what was scrubbed, if anything was."""
        left_out = _listed(list(self.dropped))
        scrubbed = _listed([f"{kind} ({times})" for kind, times in self.scrubbed.items()])
        parts = [reason, left_out and f"left out: {left_out}", scrubbed and f"scrubbed: {scrubbed}"]
        return "; ".join(filter(None, parts))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


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
    if name == DELETION_REQUESTED:
        raise InvalidEventError(short, "is the SDK's own: forget() alone sends it")
    return name


def identity_of(user_id: object) -> str | None:
    """Return the text of a user id (str, int or UUID), or None for None and the empty string.

    Raises:
        InvalidEventError: It is of another type.
    """
    if user_id is None:
        return None
    if type(user_id) is str:
        return safe_text(user_id, _LONGEST_IDENTITY) or None
    if isinstance(user_id, bool) or not isinstance(user_id, (str, int, UUID)):
        raise InvalidEventError("user_id", f"must be a string, an int or a UUID, not {type(user_id).__name__}")
    try:
        return safe_text(str(plain(user_id)), _LONGEST_IDENTITY) or None
    except UnencodableError:
        raise InvalidEventError("user_id", "is too large a number") from None


def hashed_identity(user: str, secret: bytes) -> str:
    """Return what stands for *user* where the id itself must not leave: one of its own for every *secret*.

    The same user has the same one as long as the secret stays, and without the secret nobody can tell whose it is or
    try whether it is a certain person's: HMAC-SHA256.
    """
    import hmac

    return f"u_{hmac.digest(secret, user.encode('utf-8', 'replace'), 'sha256').hex()}"


def request_context(
    context: Mapping[str, object], scrubber: Scrubber | None = None, tally: Tally | None = None
) -> dict[str, str]:
    """Return the request context to add: of ``path``, ``browser`` and ``device`` those that are given.

    Of a path only the route is kept: no scheme, host, query or fragment, and no segment that looks like an id. With a
    *scrubber* all are scrubbed, a path as a route, and what was removed is counted in *tally*.

    Raises:
        InvalidEventError: Another name is given, or a value that is not a string.
    """
    checked: dict[str, str] = {}
    for name, value in _items("event", "the context", context):
        if not isinstance(name, str) or name not in ("path", "browser", "device") or not isinstance(value, str):
            raise InvalidEventError("context", "may hold path, browser and device, as strings")
        text = str.__str__(value)
        if name == "path":
            text = "[path]" if text.strip()[:5].lower() == "file:" else clean_route(text)
        if scrubber is not None:
            text = scrubber.text(text, tally, ROUTE if name == "path" else "")
        checked[name] = safe_text(text, _LONGEST_CONTEXT)
    return checked


def build(
    name: str,
    properties: Mapping[str, object] | None,
    *,
    own: Mapping[str, str],
    limits: Limits,
    context: Mapping[str, object] | None = None,
    scrubber: Scrubber | None = None,
) -> Event:
    """Return the checked event *name*.

    Args:
        name: The event's name, checked by `check_name`.
        properties: The host's properties; not changed and not kept.
        own: What the SDK adds: install id, version. Never scrubbed.
        limits: The bounds.
        context: The request context; see `request_context`.
        scrubber: Removes from properties and context what must not leave.

    Raises:
        InvalidEventError: *properties* is no mapping, it names a reserved property, or *context* is not as it must be.
    """
    converter = Converter(limits, scrubber)
    around = request_context({} if context is None else context, scrubber, converter.scrubbed)
    for key, value in _items(name, "properties", properties):
        checked = property_name(key)
        if checked is None:
            converter.drop(shown(key))
        elif is_reserved(checked):
            raise InvalidEventError(name, f"the property name {checked} is reserved; choose another")
        else:
            converter.add(checked, value)
    return Event({**own, **around, **converter.kept}, tuple(converter.dropped), converter.scrubbed)


def _items(event: str, what: str, given: object) -> list[tuple[object, object]]:
    if given is None:
        return []
    try:
        return list(dict.items(given if isinstance(given, dict) else dict(given)))  # type: ignore[call-overload]
    except Exception:  # noqa: BLE001 - a host's object may raise anything
        raise InvalidEventError(event, f"{what} must be a mapping, not {type(given).__name__}") from None
