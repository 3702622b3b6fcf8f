"""For web servers: events made during a request carry its route, browser and device, and its user and no other's.

    app.wsgi_app = WSGIMiddleware(app.wsgi_app, telemetry)              # Flask
    app.add_middleware(ASGIMiddleware, telemetry=telemetry)             # FastAPI, Starlette
    MIDDLEWARE = ["telemetry_sdk.web.DjangoMiddleware", ...]            # Django's settings

The route of Flask, Starlette, FastAPI and Django is found. Another framework's host says it before the first event, in
``environ[ROUTE_KEY]`` or ``scope[ROUTE_KEY]``, or binds it: ``with telemetry.request_context(path="/users/{id}"):``.
Where no route is known, events carry no ``path``: the one that was asked for never leaves. Identify after the route is
set, for ``identify_user`` makes an event too.

With ``page_views=True`` each page that somebody navigated to is an ``analytics.page_view``: a GET answered with 2xx
and HTML, neither fetched by a script nor ahead of time where the browser says so (a redirect is none, or one click
would count twice). In ``background`` mode it is stored right before the body's first byte leaves, so that no page is
answered and not counted, whatever becomes of the worker. In ``sync`` mode, where it may take up to ``timeout``, it is
sent when the response is complete: no visitor waits for it, but the worker does, and a kill may lose it. A page whose
route is not known is counted too, without a ``path``: how much is used is true then, if not what.

An app wrapped twice for one program (say, mounted in another one that is wrapped too) counts a page once: the outermost
middleware that counts leaves word of it in the request, under ``telemetry_sdk.page_views.<app>``, until the request is
over, and those further in hand everything on.

Else the middlewares change nothing in request or response, keep no body back, let every exception through, and import
no framework. ``lifespan`` and what they do not know is passed on untouched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.analytics.request import ROUTE_KEY, AsgiRequest, RequestContext, WsgiRequest, families
from telemetry_sdk.host.guard import guarded
from telemetry_sdk.model import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from telemetry_sdk.analytics.scope import RequestScope
    from telemetry_sdk.telemetry import Telemetry

__all__ = ["ROUTE_KEY", "ASGIMiddleware", "DjangoMiddleware", "RequestContext", "WSGIMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# Headers that tell a navigation from what a script or a prefetching browser asks for, with their value in one.
_NAVIGATED: Final = (("sec-fetch-mode", "navigate"), ("sec-purpose", ""), ("purpose", ""), ("x-requested-with", ""))


class _Watch:
    """Watches one response, for the request's route and for a page view. Nothing of it reaches the host."""

    def __init__(self, telemetry: Telemetry, request: WsgiRequest | AsgiRequest, *, page_views: bool) -> None:
        self.strict = telemetry.strict
        self._telemetry = telemetry
        self._request = request
        self._page_views = page_views
        self._waits_for_sink = telemetry._config.delivery == "sync"
        self._is_page = False

    @guarded(lambda _: None)
    def begin(self, status: object, headers: Iterable[tuple[object, object]]) -> None:
        """Look at the beginning of the response: *status* is a number or begins with one."""
        self._request.note_route()
        if self._page_views and self._is_navigation():
            names = {_ascii(name).lower(): _ascii(value).lower() for name, value in headers}
            is_html = names.get("content-type", "").partition(";")[0].strip() == "text/html"
            self._is_page = is_html and _ascii(status).startswith("2")

    def before_body(self) -> None:
        """Store the page view now unless that means to wait for the sink."""
        if not self._waits_for_sink:
            self.end()

    @guarded(lambda _: None)
    def end(self) -> None:
        """Send the page view, once, if it is one."""
        if self._is_page:
            self._is_page = False
            self._telemetry.track_page_view(None)  # of the bound request, which is asked only if it may be sent

    def _is_navigation(self) -> bool:
        header = self._request.header
        return self._request.method == "GET" and all(header(name) in ("", value) for name, value in _NAVIGATED)


class WSGIMiddleware:
    """Binds each request for the call of *app* and for as long as its response is read.

    Args:
        app: The WSGI application.
        telemetry: The program's telemetry.
        page_views: Send ``analytics.page_view`` for each page; see above.

    Raises:
        ConfigError: An argument is of another kind.
    """

    def __init__(self, app: WSGIApplication, telemetry: Telemetry, *, page_views: bool = False) -> None:
        _check(app, telemetry)
        self._app = app
        self._telemetry = telemetry
        self._page_views = page_views

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request as the application does."""
        if _is_counted(environ, self._telemetry):
            return self._app(environ, start_response)
        request = WsgiRequest(environ)
        watch = _Watch(self._telemetry, request, page_views=self._page_views)
        scope = self._telemetry.request_context(request)
        if self._page_views:
            environ[_word(self._telemetry)] = scope

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            watch.begin(status, headers)
            return start_response(status, headers, *exc_info)

        try:
            response = scope.run(self._app, environ, start)
        except BaseException:
            scope.end()
            raise
        if _is_file(response, environ) or (type(response) in (list, tuple) and not self._page_views):
            # No code of the application is left to run, and servers can do more with these than with an iterator.
            scope.run(watch.end)
            scope.end()
            return response
        return (_SizedResponse if hasattr(response, "__len__") else _Response)(response, scope, watch)


class _Response:
    """A response whose reading runs code of the application, so with its request bound."""

    def __init__(self, response: Iterable[bytes], scope: RequestScope, watch: _Watch) -> None:
        self._response = response
        self._scope = scope
        self._watch = watch
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> _Response:
        self._begun()
        return self

    def __next__(self) -> bytes:
        chunk = self._scope.run(next, self._begun())
        self._scope.run(self._watch.before_body)
        return chunk

    def _begun(self) -> Iterator[bytes]:
        if self._chunks is None:
            self._chunks = self._scope.run(iter, self._response)
        return self._chunks

    def close(self) -> None:
        """Close the application's response, and end the request."""
        try:
            close = getattr(self._response, "close", None)
            if close is not None:
                self._scope.run(close)
        finally:
            self._scope.run(self._watch.end)
            self._scope.end()


class _SizedResponse(_Response):
    """One that knows how many chunks it has, of which a server may make a Content-Length."""

    def __len__(self) -> int:
        return len(self._response)  # type: ignore[arg-type]


class ASGIMiddleware:
    """Binds each HTTP request and each WebSocket connection for the call of *app*.

    Args:
        app: The ASGI application.
        telemetry: The program's telemetry.
        page_views: Send ``analytics.page_view`` for each page; see above.

    Raises:
        ConfigError: An argument is of another kind.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, *, page_views: bool = False) -> None:
        _check(app, telemetry)
        # Loads its tables here, or the first event would hold up the event loop for it.
        families("Mozilla/5.0")
        self._app = app
        self._telemetry = telemetry
        self._page_views = page_views

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, connection or lifespan as the application does."""
        if scope["type"] not in ("http", "websocket") or _is_counted(scope, self._telemetry):
            await self._app(scope, receive, send)
            return
        request = AsgiRequest(scope)
        bound = self._telemetry.request_context(request)
        if self._page_views and scope["type"] == "http":
            send = _watched(send, _Watch(self._telemetry, request, page_views=True))
            scope[_word(self._telemetry)] = bound
        with bound:
            await self._app(scope, receive, send)


class DjangoMiddleware:
    """Binds each request of a Django project, under WSGI and ASGI, and finds its route.

    In the settings, as early in ``MIDDLEWARE`` as can be::

        TELEMETRY = Telemetry("acme-notes", version="2.4.0")  # or where it is: "acme.telemetry.telemetry"
        TELEMETRY_PAGE_VIEWS = True
        MIDDLEWARE = ["telemetry_sdk.web.DjangoMiddleware", ...]

    A page view is stored before the response leaves; in ``sync`` mode a visitor waits for that. Under ASGI what runs
    while a streaming response is read has no request bound. Beside one of the other middlewares it tells that one the
    route, and counts nothing twice.

    Raises:
        ConfigError: ``TELEMETRY`` is no telemetry.
    """

    sync_capable: Final = True
    async_capable: Final = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction
        from django.conf import settings  # type: ignore[import-untyped]
        from django.utils.module_loading import import_string  # type: ignore[import-untyped]

        telemetry: Any = getattr(settings, "TELEMETRY", None)
        if isinstance(telemetry, str):
            telemetry = import_string(telemetry)
        if not callable(getattr(telemetry, "request_context", None)):
            raise ConfigError("TELEMETRY", "must be, in the settings, the program's Telemetry or its dotted path")
        families("Mozilla/5.0")
        self._get_response = get_response
        self._telemetry: Telemetry = telemetry
        self._page_views = bool(getattr(settings, "TELEMETRY_PAGE_VIEWS", False))
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer one request as the project does."""
        telemetry, meta = self._telemetry, request.META
        if _is_counted(meta, telemetry) or _is_counted(getattr(request, "scope", {}), telemetry):
            return self._get_response(request)
        source = WsgiRequest(meta)
        watch = _Watch(telemetry, source, page_views=self._page_views)
        bound = telemetry.request_context(source)
        if self._page_views:
            meta[_word(telemetry)] = bound
        if self._is_async:
            return self._answer(request, bound, watch)
        try:
            response = bound.run(self._get_response, request)
            bound.run(self._count, response, watch)
        except BaseException:
            bound.end()
            raise
        if getattr(response, "streaming", False) and not getattr(response, "is_async", False):
            response.streaming_content = _streamed(response.streaming_content, bound)
        else:
            bound.end()
        return response

    async def _answer(self, request: Any, bound: RequestScope, watch: _Watch) -> Any:
        with bound:
            response = await self._get_response(request)
            self._count(response, watch)
            return response

    def _count(self, response: Any, watch: _Watch) -> None:
        watch.begin(response.status_code, response.items())
        watch.end()

    def process_view(self, request: Any, *_: object) -> None:
        """Keep the route, for the events of the view and for a middleware around the project."""
        route = request.resolver_match.route
        request.META[ROUTE_KEY] = route
        if isinstance(scope := getattr(request, "scope", None), dict):
            scope[ROUTE_KEY] = route


def _streamed(content: Iterable[bytes], bound: RequestScope) -> Iterator[bytes]:
    """Yield *content*, whose reading runs code of the project, with its request *bound*."""
    chunks = bound.run(iter, content)
    try:
        while (chunk := bound.run(next, chunks, None)) is not None:
            yield chunk
    finally:
        bound.end()


def _watched(send: Send, watch: _Watch) -> Send:
    """Return *send*, which shows *watch* what was sent."""

    async def watched(message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        if is_body:
            watch.before_body()
        await send(message)
        if message["type"] == "http.response.start":
            watch.begin(message["status"], message.get("headers", ()))
        elif is_body and not message.get("more_body"):
            watch.end()

    return watched


def _check(app: object, telemetry: object) -> None:
    if not callable(app):
        raise ConfigError("app", "must be the application to wrap")
    if not callable(getattr(telemetry, "request_context", None)):
        raise ConfigError("telemetry", "must be the program's Telemetry: Middleware(app, telemetry)")


def _word(telemetry: Telemetry) -> str:
    """Return the key under which a middleware says that it counts the page."""
    return f"telemetry_sdk.page_views.{telemetry._config.app}"


def _is_counted(request: Mapping[str, Any], telemetry: Telemetry) -> bool:
    """Tell whether a middleware further out counts the page of *request*, which is not over yet."""
    return not getattr(request.get(_word(telemetry)), "over", True)


def _is_file(response: object, environ: WSGIEnvironment) -> bool:
    """Tell whether the server will send *response* with means of its own (``wsgi.file_wrapper``)."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(response, wrapper)


def _ascii(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
