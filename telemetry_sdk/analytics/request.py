"""What a request tells about itself: the route, and the families of browser and device. Never who made it.

No path, no address, no query, no full header: see `route` for what a route is and `user_agent` for the families.

The route of a request is known only once the framework has matched it, which is after a middleware sees the request.
So a middleware binds a `WsgiRequest` or an `AsgiRequest`, which is asked when an event is made. It finds the route

1. where the host put it: ``environ["telemetry_sdk.route"]`` or ``scope["telemetry_sdk.route"]``,
2. where the framework keeps the template it matched: ``scope["route"]`` (FastAPI, newer Starlette), the table of
   ``scope["router"]`` (older Starlette), ``environ["werkzeug.request"]`` (Flask),
3. nowhere: then there is none, and the event carries no path. The path that was asked for is never read.

What an application is mounted at is known to the one that mounts it, mostly as a piece of the path that was asked for.
So the route of a mounted application is its own template alone. No framework is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.route import clean_route
from telemetry_sdk.analytics.user_agent import DEVICES, UNKNOWN, browser_family, device_family, family_name
from telemetry_sdk.model import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Source = Callable[[], Mapping[str, str]]

ROUTE_KEY: Final = "telemetry_sdk.route"
_DEEPEST: Final = 8  # applications mounted in one another; a table that contains itself has an end


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
        agent = self.header("user-agent")
        return RequestContext(self._route, browser_family(agent), device_family(agent))

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
        agent = self.header("user-agent")
        return RequestContext(self._route(), browser_family(agent), device_family(agent))

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
