"""What a request tells about itself: the route, and the families of browser and device. Never who made it.

No address, no query, no full header: see `route` for what is left of a path and `user_agent` for the families.

The route of a request is known only once the framework has matched it, which is after a middleware sees the request.
So a middleware binds a `WsgiRequest` or an `AsgiRequest`, which is asked when an event is made. It finds the route

1. where the host put it: ``environ["telemetry_sdk.route"]`` or ``scope["telemetry_sdk.route"]``,
2. where the framework puts it: ``scope["route"]`` and ``scope["path_params"]`` (Starlette, FastAPI),
   ``environ["werkzeug.request"]`` (Flask, Werkzeug), ``environ["wsgiorg.routing_args"]``,
3. nowhere: then the raw path is cleaned, segment by segment.

No framework is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.route import clean_path, clean_route, route_of
from telemetry_sdk.analytics.user_agent import DEVICES, UNKNOWN, browser_family, device_family, family_name
from telemetry_sdk.model import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Source = Callable[[], Mapping[str, str]]

__all__ = ["ROUTE_KEY", "AsgiRequest", "RequestContext", "WsgiRequest", "source_of"]

ROUTE_KEY: Final = "telemetry_sdk.route"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What events made during a request carry. Whatever is given, no more than this is kept of it.

    Attributes:
        path: The route, such as ``/notes/{id}``: variables in braces, whatever looks like an id or a secret replaced.
        browser: Family of the browser, such as ``Firefox``; ``unknown`` if it is no family's name.
        device: ``desktop``, ``mobile``, ``tablet``, ``tv``, ``console``, ``bot`` or ``unknown``.
    """

    path: str
    browser: str = UNKNOWN
    device: str = UNKNOWN

    def __post_init__(self) -> None:
        device = _text(self.device)
        object.__setattr__(self, "path", clean_route(_text(self.path)))
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
        """Return it as an event carries it."""
        return {"path": self.path, "browser": self.browser, "device": self.device}


class WsgiRequest:
    """A WSGI request whose context is asked for later. Holds on to *environ*, and changes nothing in it."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.method = _text(environ.get("REQUEST_METHOD"))
        self._environ = environ
        # Taken now, for a dispatcher further in moves a part of it to SCRIPT_NAME.
        self._path = _wsgi_path(_text(environ.get("PATH_INFO")))
        self._route = ""

    def __call__(self) -> RequestContext:
        """Return the context as it is known now."""
        self.note_route()
        agent = self.header("user-agent")
        return RequestContext(self._route or clean_path(self._path), browser_family(agent), device_family(agent))

    def header(self, name: str) -> str:
        """Return the header *name*, given in lower case, or an empty string."""
        return _text(self._environ.get(f"HTTP_{name.replace('-', '_').upper()}"))

    def note_route(self) -> None:
        """Keep the route if it is known now: Flask takes it away before the response is read."""
        environ = self._environ
        request = environ.get("werkzeug.request")
        rule = _text(getattr(getattr(request, "url_rule", None), "rule", None))
        if own := _text(environ.get(ROUTE_KEY)):
            self._route = clean_route(own)
        elif rule:
            self._route = route_of(self._path, _values(getattr(request, "view_args", None)), rule)
        elif values := _values(_second(environ.get("wsgiorg.routing_args"))):
            self._route = route_of(self._path, values)


class AsgiRequest:
    """An ASGI connection whose context is asked for later. Holds on to *scope*, and changes nothing in it."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.method = _text(scope.get("method"))
        self._scope = scope
        path = _text(scope.get("path"))
        # A router adds what it mounts to root_path, and keeps the server's own beside it.
        root = _text(scope.get("app_root_path", scope.get("root_path"))).rstrip("/")
        inside = path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path
        self._path = f"/{inside.lstrip('/')}" if inside.startswith("/") else inside

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
        if own := _text(self._scope.get(ROUTE_KEY)):
            return clean_route(own)
        template = _text(getattr(self._scope.get("route"), "path", None))
        return route_of(self._path, _values(self._scope.get("path_params")), template or None)


def _wsgi_path(path_info: str) -> str:
    """Return PATH_INFO as it is meant: WSGI carries bytes as Latin-1 text, and they are UTF-8."""
    try:
        decoded = path_info.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        decoded = path_info
    # Two slashes at its beginning are no host's name here.
    return f"/{decoded.lstrip('/')}" if decoded.startswith("/") else decoded


def _text(value: object) -> str:
    """Return *value* if it is a string, else an empty one. Unbound, for subclasses may lie."""
    return str.__str__(value) if issubclass(type(value), str) else ""


def _values(found: object) -> Mapping[str, object]:
    return found if type(found) is dict and all(type(name) is str for name in found) else {}


def _second(value: object) -> object:
    return value[1] if isinstance(value, (tuple, list)) and len(value) == 2 else None


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
    """Return the source of what *given* makes of the request *around* it: nothing where no path is known."""

    def source() -> Mapping[str, str]:
        known = {**(around() if around is not None else {}), **given}
        return RequestContext(**known).attributes() if "path" in known else {}

    return source


def _whole_of(find: Callable[[], object], given: Mapping[str, str]) -> Source:
    def source() -> Mapping[str, str]:
        found = find()
        if not isinstance(found, RequestContext):
            return {}
        return (replace(found, **given) if given else found).attributes()

    return source
