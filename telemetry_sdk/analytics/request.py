"""What a request tells about itself: the route, and the families of browser and device. Never who made it.

No path, no address, no query, no full header. What a route is, `event` says.

The route of a request is known only once the framework has matched it, which is after a middleware sees the request.
So a middleware binds a `WsgiRequest` or an `AsgiRequest`, which is asked when an event is made. It finds the route

1. where the host put it: ``environ["telemetry_sdk.route"]`` or ``scope["telemetry_sdk.route"]``,
2. where the framework keeps the template it matched: ``scope["route"]`` (FastAPI, newer Starlette), the table of
   ``scope["router"]`` (older Starlette), ``environ["werkzeug.request"]`` (Flask),
3. nowhere: then there is none, and the event carries no path. The path that was asked for is never read.

What an application is mounted at is known to the one that mounts it, mostly as a piece of the path that was asked for.
So the route of a mounted application is its own template alone. No framework is imported.

The families are those that ua-parser (extra ``web``) finds in the User-Agent: no version and no model, which with the
rest of the header can tell one person from all others. Without ua-parser, and for what it does not know, both are
``unknown``.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.event import clean_route
from telemetry_sdk.host import lazy
from telemetry_sdk.model import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Source = Callable[[], Mapping[str, str]]

UNKNOWN: Final = "unknown"
DEVICES: Final = ("desktop", "mobile", "tablet", "tv", "console", "bot", UNKNOWN)
ROUTE_KEY: Final = "telemetry_sdk.route"
_DEEPEST: Final = 8  # applications mounted in one another; a table that contains itself has an end

_LONGEST_HEADER: Final = 256  # which bounds the time a hostile one can take
_MOST_KNOWN: Final = 1024
_MOST_PARSED: Final = 10  # in a second
# What was found, by the header's hash, for no header is kept; and when the newest were parsed.
_known: Final[dict[int, tuple[str, str]]] = {}
_parsed_at: Final[deque[float]] = deque(maxlen=_MOST_PARSED)
_FAMILY: Final = lazy(r"[A-Za-z0-9][A-Za-z0-9 .+_-]{0,31}")
# The first that is found in what ua-parser says of the device and the system, or in the header, names the device.
_DEVICES: Final = (
    ("bot", lazy(r"(?i)spider|(?<!cu)bot\b|crawl|headless|^(?:kube-probe|elb-health|googlehc|postman)")),
    ("bot", lazy(r"(?i)^(?:curl|wget|python|go-http|java/|okhttp|axios|node|ruby|php)")),
    ("console", lazy(r"(?i)playstation|xbox|nintendo")),
    ("tv", lazy(r"(?i)\btv\b|smart-?tv|appletv|googletv|bravia|web0s|roku|chromecast|\baft[a-z]{1,4}\b")),
    ("tablet", lazy(r"(?i)ipad|tablet(?! ?pc)|kindle|playbook")),
    ("mobile", lazy(r"(?i)mobi|phone|ipod|blackberry")),
    ("tablet", lazy(r"(?i)android")),
    ("desktop", lazy(r"(?i)windows|macintosh|mac os|x11|linux|cros")),
)


def families(user_agent: str) -> tuple[str, str]:
    """Return the families of the browser or program and of the device that sent *user_agent*.

    The first call loads ua-parser's tables, about 0.1 s once per process; one header takes about half a millisecond. No
    more than 256 characters of it are looked at, and the families of 1,024 are remembered, not the headers. Of those
    that are not, ten in a second are parsed; the others of that second are ``unknown``.
    """
    text = user_agent[:_LONGEST_HEADER].encode("ascii", "replace").decode()
    key, now = hash(text), time.monotonic()
    if (found := _known.get(key)) is not None:
        return found
    if len(_parsed_at) == _MOST_PARSED and now - _parsed_at[0] < 1.0:
        return UNKNOWN, UNKNOWN
    _parsed_at.append(now)
    found = _parsed(text)
    with contextlib.suppress(KeyError, StopIteration, RuntimeError):  # another thread was here
        while len(_known) >= _MOST_KNOWN:
            del _known[next(iter(_known))]
    _known[key] = found
    return found


def _parsed(user_agent: str) -> tuple[str, str]:
    try:
        from ua_parser import parse
    except ImportError:
        return UNKNOWN, UNKNOWN
    if not user_agent:
        return UNKNOWN, UNKNOWN
    found = parse(user_agent)
    browser = found.user_agent.family if found.user_agent else ""
    device, system = found.device, found.os
    words = (device.family, device.brand, device.model) if device else ()
    facts = " ".join(word for word in (*words, system.family if system else "") if word)
    kinds = (kind for kind, pattern in _DEVICES if pattern.search(facts) or pattern.search(user_agent))
    return family_name(browser), next(kinds, UNKNOWN)


def family_name(text: str) -> str:
    """Return *text* if it may be a family's name, which no header is, else ``unknown``."""
    return text if _FAMILY.fullmatch(text) else UNKNOWN


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What events made during a request carry. Whatever is given, no more than this is kept of it.

    Attributes:
        path: The route, such as ``/notes/{id}``, its variables in braces; None or empty where it is not known.
        browser: Family of the browser, such as ``Firefox``; ``unknown`` if it is no family's name.
        device: ``desktop``, ``mobile``, ``tablet``, ``tv``, ``console``, ``bot`` or ``unknown``.
    """

    path: str | None = None
    browser: str = UNKNOWN
    device: str = UNKNOWN

    def __post_init__(self) -> None:
        device = _text(self.device)
        route = _text(self.path).strip()
        object.__setattr__(self, "path", clean_route(route) if route else None)
        object.__setattr__(self, "browser", family_name(_text(self.browser)))
        object.__setattr__(self, "device", device if device in DEVICES else UNKNOWN)

    @classmethod
    def from_wsgi(cls, environ: Mapping[str, Any]) -> RequestContext:
        """Return the context of a WSGI request, as far as it is known now. Never raises."""
        return WsgiRequest(environ)()

    @classmethod
    def from_asgi(cls, scope: Mapping[str, Any]) -> RequestContext:
        """Return the context of an ASGI connection, as far as it is known now. Never raises."""
        return AsgiRequest(scope)()

    def attributes(self) -> dict[str, str]:
        """Return it as an event carries it: without a path where no route is known."""
        families = {"browser": self.browser, "device": self.device}
        return families if self.path is None else {"path": self.path, **families}


class WsgiRequest:
    """A WSGI request whose context is asked for later. Holds on to *environ*, and changes nothing in it."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.method = _text(environ.get("REQUEST_METHOD"))
        self._environ = environ
        self._route = ""

    def __call__(self) -> RequestContext:
        """Return the context as it is known now."""
        self.note_route()
        return RequestContext(self._route, *families(self.header("user-agent")))

    def header(self, name: str) -> str:
        """Return the header *name*, given in lower case, or an empty string."""
        return _text(self._environ.get(f"HTTP_{name.replace('-', '_').upper()}"))

    def note_route(self) -> None:
        """Keep the route if it is known now: Flask takes it away before the response is read."""
        rule = getattr(self._environ.get("werkzeug.request"), "url_rule", None)
        if found := _text(self._environ.get(ROUTE_KEY)) or _text(getattr(rule, "rule", None)):
            self._route = found


class AsgiRequest:
    """An ASGI connection whose context is asked for later. Holds on to *scope*, and changes nothing in it."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.method = _text(scope.get("method"))
        self._scope = scope

    def __call__(self) -> RequestContext:
        """Return the context as it is known now."""
        return RequestContext(self._route(), *families(self.header("user-agent")))

    def header(self, name: str) -> str:
        """Return the header *name*, given in lower case, or an empty string."""
        headers = self._scope.get("headers")
        wanted = name.encode()
        for pair in headers if isinstance(headers, (list, tuple)) else ():
            if isinstance(pair, (list, tuple)) and len(pair) == 2 and pair[0] == wanted and isinstance(pair[1], bytes):
                return pair[1].decode("latin-1")
        return ""

    def note_route(self) -> None:
        """Do nothing: a route that is in the scope stays there."""

    def _route(self) -> str:
        scope = self._scope
        if own := _text(scope.get(ROUTE_KEY)):
            return own
        route = scope.get("route")
        if route is None:
            return _template_in(scope.get("router"), scope.get("endpoint"))
        return _included_in_fastapi(scope.get("fastapi"), route) or _text(getattr(route, "path", None))


def _included_in_fastapi(kept: object, route: object) -> str:
    """Return the template of *route* with the prefixes of the routers it is included by: FastAPI keeps it beside it."""
    found = kept.get("effective_route_context") if isinstance(kept, dict) else None
    if found is None or (getattr(found, "original_route", None) is not route and hasattr(route, "path")):
        return ""
    return _text(getattr(getattr(found, "starlette_route", None) or found, "path", None))


def _template_in(router: object, endpoint: object) -> str:
    """Return the template by which *router* came to *endpoint*; nothing where several lead there."""
    found = set(_templates_in(router, endpoint, _DEEPEST)) if endpoint is not None else set()
    return found.pop() if len(found) == 1 else ""


def _templates_in(router: object, endpoint: object, deepest: int) -> Iterator[str]:
    routes = getattr(router, "routes", None)
    for route in routes if isinstance(routes, (list, tuple)) and deepest else ():
        if getattr(route, "endpoint", None) is endpoint:
            yield _text(getattr(route, "path", None))
        else:
            yield from _templates_in(route, endpoint, deepest - 1)


def _text(value: object) -> str:
    """Return *value* if it is a string, else an empty one. Unbound, for subclasses may lie."""
    return str.__str__(value) if issubclass(type(value), str) else ""


def source_of(context: object, given: Mapping[str, str], around: Source | None) -> tuple[Source, bool]:
    """Return the source that *context* and the parts *given* describe, and whether a server handed the request over.

    Parts alone, a path among them, describe a part of the request *around*: the rest is as it is there.

    Raises:
        InvalidEventError: *context* is nothing that describes a request.
    """
    if isinstance(context, str) or (context is None and ("path" in given or (given and around))):
        return _part_of(around, given if context is None else {"path": context, **given}), False
    find = (lambda: context) if isinstance(context, RequestContext) else context
    if not callable(find):
        raise InvalidEventError("request_context", "needs a RequestContext, a function that returns one, or a path")
    return _whole_of(find, given), isinstance(context, (WsgiRequest, AsgiRequest))


def _part_of(around: Source | None, given: Mapping[str, str]) -> Source:
    """Return the source of what *given* makes of the request *around* it: nothing once that is over, but for a path."""

    def source() -> Mapping[str, str]:
        known = around() if around is not None else {}
        return RequestContext(**{**known, **given}).attributes() if known or "path" in given else {}

    return source


def _whole_of(find: Callable[[], object], given: Mapping[str, str]) -> Source:
    def source() -> Mapping[str, str]:
        found = find()
        if not isinstance(found, RequestContext):
            return {}
        return (replace(found, **given) if given else found).attributes()

    return source
