"""Opt-in events: who, what and with which properties, which are converted by `values`. Pure.

A route says where in a program somebody was (``/notes/{note_id}``), a path what they looked at. So what leaves is the
template that a framework or a programmer wrote, in one form, and none is ever made of a path: which of its segments are
names, titles or keys to a secret no rule can tell.

| in a route                                                                      | becomes    |
|---------------------------------------------------------------------------------|------------|
| ``{id:int}``, ``<id>``, ``<int:id>``, ``:id``, ``(?P<id>[0-9]+)``               | ``{id}``   |
| another group or class of a regular expression; a segment of signs without need | ``{id}``   |
| the anchors of a regular expression                                             | nothing    |
| scheme, host, credentials, query, fragment, ``;parameters``                     | nothing    |
| words, numbers, anything else                                                   | what it is |

The last row means that a raw path handed over as a route is sent: the scrubber alone looks at it then.
"""

from __future__ import annotations

import functools
import re
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from telemetry_sdk.analytics.scrub.names import ROUTE
from telemetry_sdk.analytics.values import Converter, UnencodableError, is_uuid, plain, safe_text
from telemetry_sdk.host import lazy
from telemetry_sdk.host.guard import is_hosts
from telemetry_sdk.model import DELETION_REQUESTED, InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry_sdk.analytics.scrub import Scrubber, Tally
    from telemetry_sdk.model import Limits

_EVENT_NAME: Final = lazy(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_LONGEST_NAME: Final = 128
_BAD_FORM: Final = "names are dotted lower snake case, for example timer.started"
_LONGEST_IDENTITY: Final = 256
_LONGEST_CONTEXT: Final = 512
_CONTEXT: Final = ("path", "browser", "device")
_MOST_NAMED: Final = 10
# How many properties too many are still told by name. Whatever comes after them is not even read.
_MOST_LEFT_OUT: Final = 1000

_PLACEHOLDER: Final = "{id}"
_ORIGIN: Final = lazy(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*")
_NAME: Final = "([A-Za-z_][A-Za-z0-9_]{0,31})"
_VARIABLE_ALONE: Final = lazy(rf"\{{{_NAME}\}}")
_VARIABLE_GROUP: Final = lazy(rf"\(\?P<{_NAME}>(?:[^()]|\([^()]*\))*\)[?*+]?")
_VARIABLE: Final = lazy(rf"\{{{_NAME}(?::(?:[^{{}}]|\{{[^{{}}]*\}})*)?\}}|<(?:[^<>:]*:)?{_NAME}>|(?<=/):{_NAME}(?=/|$)")
_PATTERN: Final = lazy(r"(?:\((?:[^()]|\([^()]*\))*\)|\[(?:[^\]\\]|\\.)+\])[?*+]?")
_ANCHOR: Final = lazy(r"[\^$]|\\[AZz]")
_LITERAL: Final = lazy(r"[@~]?[\w.+-]*")


class Event(NamedTuple):
    """A checked event, ready to be encoded."""

    payload: dict[str, object]  # names and values, all encodable by `otlp.any_value`
    dropped: tuple[str, ...] = ()  # names of the properties that were read and left out, dotted when nested
    scrubbed: Mapping[str, int] = MappingProxyType({})  # what the scrubber removed: kinds and how often, never a value
    unread: int | None = 0  # how many more properties there were; None for some, where only reading on would tell

    def explain(self, reason: str) -> str:
        """Return *reason* with the names of what was left out and the kinds of what was scrubbed, if anything was."""
        left_out = _listed(self.dropped, self.unread)
        scrubbed = _listed([f"{kind} ({times})" for kind, times in self.scrubbed.items()])
        parts = [reason, left_out and f"left out: {left_out}", scrubbed and f"scrubbed: {scrubbed}"]
        return "; ".join(filter(None, parts))


def _listed(names: Sequence[str], others: int | None = 0) -> str:
    unnamed = max(len(names) - _MOST_NAMED, 0) + (others or 0)
    more = f" and {'more than ' if others is None else ''}{unnamed} more" if unnamed or others is None else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def check_name(name: object) -> str:
    """Return *name* if it may name an event: dotted lower snake case, at least two words, not reserved.

    Raises:
        InvalidEventError: It may not.
    """
    if not isinstance(name, str):
        raise InvalidEventError("event", f"the name must be a string, not {type(name).__name__}")
    name = str.__str__(name)
    if problem := _BAD_FORM if len(name) > _LONGEST_NAME else _why_no_event(name):
        raise InvalidEventError(safe_text(name, 64), problem)
    return name


# A program has few events, and makes each many times.
@functools.lru_cache(maxsize=512)
def _why_no_event(name: str) -> str:
    if not _EVENT_NAME.fullmatch(name):
        return _BAD_FORM
    if name.startswith("base_telemetry."):
        return "base_telemetry.* is reserved for the base layer"
    return "is the SDK's own: forget() alone sends it" if name == DELETION_REQUESTED else ""


def identity_of(user_id: object) -> str | None:
    """Return the text of a user id (str, int or UUID), or None for None and the empty string.

    Raises:
        InvalidEventError: It is of another type.
    """
    if user_id is None:
        return None
    if type(user_id) is str:
        return safe_text(user_id, _LONGEST_IDENTITY) or None
    if isinstance(user_id, bool) or not (isinstance(user_id, (str, int)) or is_uuid(user_id)):
        raise InvalidEventError("user_id", f"user_id must be a string, an int or a UUID, not {type(user_id).__name__}")
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
    context: Mapping[str, object] | None, scrubber: Scrubber | None = None, tally: Tally | None = None
) -> dict[str, str]:
    """Return the request context to add: of ``path``, ``browser`` and ``device`` those that are given.

    A path is a route, brought into one form: no scheme, host, query or fragment; an empty one is none. With a
    *scrubber* all are scrubbed, a path as a route, and what was removed is counted in *tally*.

    Raises:
        InvalidEventError: Another name is given, or a value that is not a string.
    """
    checked: dict[str, str] = {}
    given, others = _items("event", "the context", context, len(_CONTEXT))
    for name, value in given:
        if others != 0 or not isinstance(name, str) or name not in _CONTEXT or not isinstance(value, str):
            raise InvalidEventError("context", "the context may hold path, browser and device, as strings")
        text = str.__str__(value)
        if name == "path":
            if not text.strip():
                continue
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
    """Return the event *name*, which is checked. Its cost is bounded by *limits*, whatever is given.

    The host's *properties* are neither changed nor kept, and of far more than may be kept the first are read. What the
    SDK adds, its *own*, is never scrubbed; for *context* see `request_context`.

    Raises:
        InvalidEventError: *properties* is no mapping, or *context* is not as it must be.
    """
    converter = Converter(limits, scrubber)
    # Most programs serve no requests. Only a dict may be asked whether it is empty: another mapping may raise.
    is_bare = context is None or (type(context) is dict and not context)
    around = {} if is_bare else request_context(context, scrubber, converter.scrubbed)
    given, unread = _items(name, "properties", properties, limits.properties + _MOST_LEFT_OUT)
    for key, value in given:
        converter.add(key, value)
    return Event({**own, **around, **converter.kept}, tuple(converter.dropped), converter.scrubbed, unread)


def _items(event: str, what: str, given: object, most: int) -> tuple[list[tuple[object, object]], int | None]:
    """Return the first *most* items of *given*, and how many more there are; None for some, if it is no dict."""
    if given is None:
        return [], 0
    try:
        if isinstance(given, dict):
            others = dict.__len__(given) - most
            # In one step if they are not too many, so that no other thread can add one meanwhile.
            if others <= 0:
                return list(dict.items(given)), 0
            return list(islice(dict.items(given), most)), others
        found = _pairs(given, most + 1)
        return list(dict(found[:most]).items()), None if len(found) > most else 0
    except Exception as error:  # a host's object may raise anything
        if is_hosts(error):
            raise
        raise InvalidEventError(event, f"{what} must be a mapping, not {type(given).__name__}") from None


def _pairs(given: Any, most: int) -> list[tuple[object, object]]:
    """Return the first *most* items of what `dict` would take, read no further: its iterator may have no end."""
    if hasattr(given, "keys"):
        return [(key, given[key]) for key in list(islice(given.keys(), most))]
    return [(key, value) for key, value in islice(given, most)]


def clean_route(route: str) -> str:
    """Return *route* as an absolute template, its variables as ``{name}``, in whichever way it was written.

    Cleaning it again changes nothing. An empty *route* is ``/``. One that is too long ends before the segment that
    would be cut in two.
    """
    if len(route) > _LONGEST_CONTEXT:
        route = f"{route[: route.rfind('/', 0, _LONGEST_CONTEXT) + 1]}{_PLACEHOLDER}"
    text = _VARIABLE_GROUP.sub(r"{\1}", route)
    text = _VARIABLE.sub(lambda found: f"{{{found[1] or found[2] or found[3]}}}", text)
    text = _ANCHOR.sub("", _PATTERN.sub(_PLACEHOLDER, text)).replace("\\.", ".").replace("\\-", "-")
    text = re.split("[?#]", text, maxsplit=1)[0].strip()
    origin = _ORIGIN.match(text)
    parts = [part.partition(";")[0] for part in text[origin.end() if origin else 0 :].split("/")]
    is_literal = _LITERAL.fullmatch
    segments = [part if is_literal(_VARIABLE_ALONE.sub("", part)) else _PLACEHOLDER for part in parts if part]
    return f"/{'/'.join(segments)}{'/' if segments and not parts[-1] else ''}"
