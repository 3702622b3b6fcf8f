"""Real frameworks under the middlewares, without a server: which route each of their requests is found to have."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import flask
import pytest
from fastapi import APIRouter, Depends, FastAPI
from sink_server import SinkServer, attributes
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from telemetry_sdk import Telemetry
from telemetry_sdk.web import ASGIMiddleware, WSGIMiddleware


@pytest.fixture
def telemetry(make: Callable[..., Telemetry]) -> Iterator[Telemetry]:
    """A telemetry that may send everything, and sends it when it is flushed."""
    made = make(delivery="manual")
    made.opt_in()
    yield made
    made.identify_user(None)


@pytest.fixture
def events(telemetry: Telemetry, sink: SinkServer) -> Callable[[], list[tuple[Any, ...]]]:
    """Deliver everything; returns name, user and path of each event, in order."""

    def delivered() -> list[tuple[Any, ...]]:
        assert telemetry.flush(60).kept == 0
        found = [(record["eventName"], attributes(record)) for record in sink.accepted]
        return [
            (name, None if it["identity"] == it["install_id"] else it["identity"], it.get("path"))
            for name, it in found
            if name not in ("analytics.install", "analytics.identify")
        ]

    return delivered


def get(app: Any, path: str) -> tuple[int, bytes]:
    """Have a WSGI application answer one request."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    started: list[str] = []
    body = io.BytesIO()

    def start_response(status: str, *_: Any) -> Any:
        started.append(status)
        return body.write

    response = app({**environ, "PATH_INFO": path}, start_response)
    body.writelines(response)
    response.close()
    return int(started[-1][:3]), body.getvalue()


def get_asgi(app: Any, path: str, kind: str = "http") -> list[dict[str, Any]]:
    """Have an ASGI application answer one request or connection; returns the messages that it sent."""
    scope = {"type": kind, "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"token=s3cr3t"}
    scope |= {"root_path": "", "headers": [], "http_version": "1.1", "scheme": kind, "server": ("acme.example", 80)}
    incoming = iter([{"type": "websocket.connect" if kind == "websocket" else "http.request", "body": b""}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        for message in incoming:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


# What somebody asked for, and what of it would tell on whom or open what: no rule knows that these are no words.
RAW_PATHS = {
    "/patients/jane-doe-born-in-vienna/": "jane-doe",
    "/people/maria-garcia-lopez": "garcia",
    "/download/invoice_john_doe.pdf": "john_doe",
    "/search/my-cancer-diagnosis": "cancer",
    "/meet/kfq-wzxp-jvb": "kfq-wzxp",
    "/verify/zqxjkvbp": "zqxjkvbp",
    "/invite/correct-horse-battery-staple": "horse",
    "/users/m\u00fcller": "m\u00fcller",
    "/mac/aabb.ccdd.eeff": "aabb",
    "/x/0xdeadbeef": "deadbeef",
    "/host/srv-db-prod.corp.local": "corp",
    "/users/{lovelace}/edit": "lovelace",
    "//lovelace/a;b=lovelace?c=lovelace#lovelace": "lovelace",
}


def test_a_raw_path_is_never_sent(telemetry, sink, events):
    """An app that names no route, or one whose router found none: pages and events are counted, without a path."""

    def page(environ: Any, start_response: Any) -> Any:
        telemetry.track_event("raw.wsgi")
        start_response("200 OK", [("Content-Type", "text/html")])
        return iter([b"<p>"])

    async def page_asgi(scope: Any, receive: Any, send: Any) -> None:
        telemetry.track_event("raw.asgi")
        await HTMLResponse("<p>")(scope, receive, send)

    unmatched = flask.Flask(__name__)

    @unmatched.errorhandler(404)
    def lost(_: Exception) -> str:
        telemetry.track_event("raw.flask")
        return "<p>"

    async def lost_asgi(request: Any, _: Exception) -> Any:
        telemetry.track_event("raw.starlette")
        return HTMLResponse("<p>")

    starlette = Starlette(routes=[Route("/there/{is}", lambda _: None)], exception_handlers={404: lost_asgi})
    wsgi = [WSGIMiddleware(app, telemetry, page_views=True) for app in (page, unmatched)]
    asgi = [ASGIMiddleware(app, telemetry, page_views=True) for app in (page_asgi, starlette)]
    for path in RAW_PATHS:
        assert [get(app, path.encode().decode("latin-1"))[0] for app in wsgi] == [200, 200]
        assert [get_asgi(app, path)[0]["status"] for app in asgi] == [200, 200]

    names = ("raw.wsgi", "raw.flask", "raw.asgi", "raw.starlette")
    once = [(name, None, None) for made in names for name in (made, "analytics.page_view")]
    assert events() == once * len(RAW_PATHS)
    sent = b"".join(request.body for request in sink.requests).decode()
    assert [telling for telling in RAW_PATHS.values() if telling in sent] == []
    assert "\\u00fc" not in sent


def test_flask_routes(telemetry, events):
    """Flask: rules, blueprints, error pages, streaming after the request context is gone, and what matches nothing."""
    app = flask.Flask(__name__)
    blueprint = flask.Blueprint("api", __name__, url_prefix="/api/<tenant>")

    @app.before_request
    def identify() -> None:
        telemetry.identify_user("ada")

    @app.get("/u/<user>")
    def show(user: str) -> str:
        telemetry.track_event("flask.shown")
        return user

    @blueprint.get("/files/<path:name>")
    def file(tenant: str, name: str) -> str:
        telemetry.track_event("flask.file")
        return name

    @app.get("/stream/<name>")
    def stream(name: str) -> Any:
        def chunks() -> Iterator[str]:
            yield "one"
            telemetry.track_event("flask.streamed")
            yield "two"

        return flask.Response(chunks(), mimetype="text/html")

    @app.errorhandler(ZeroDivisionError)
    def failed(_: Exception) -> tuple[str, int]:
        telemetry.track_event("flask.failed")
        return "sorry", 500

    @app.get("/fail/<name>")
    def fail(name: str) -> str:
        raise ZeroDivisionError(name)

    app.register_blueprint(blueprint)
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, telemetry, page_views=True)  # type: ignore[method-assign]

    assert get(app, "/u/lovelace") == (200, b"lovelace")
    assert get(app, "/api/lovelace/files/a/b/c")[0] == 200
    assert get(app, "/stream/lovelace") == (200, b"onetwo")
    assert get(app, "/fail/lovelace") == (500, b"sorry")
    assert get(app, "/nothing/4711")[0] == 404
    assert events() == [
        ("flask.shown", "ada", "/u/{user}"),
        ("analytics.page_view", "ada", "/u/{user}"),
        ("flask.file", "ada", "/api/{tenant}/files/{name}"),
        ("analytics.page_view", "ada", "/api/{tenant}/files/{name}"),
        ("analytics.page_view", "ada", "/stream/{name}"),
        ("flask.streamed", "ada", "/stream/{name}"),
        ("flask.failed", "ada", "/fail/{name}"),
    ]


def test_flask_route_of_a_page_without_events(telemetry, events):
    """The route of a page view is found although Flask has forgotten it when the response is read."""
    app = flask.Flask(__name__)
    app.add_url_rule("/u/<user>", "show", lambda user: user)
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, telemetry, page_views=True)  # type: ignore[method-assign]
    get(app, "/u/lovelace")

    assert events() == [("analytics.page_view", None, "/u/{user}")]


def test_flask_mounted_by_werkzeug(telemetry, events):
    """Flask behind a dispatcher: what it is mounted at is no template, so its route is its own alone."""
    app = flask.Flask(__name__)

    @app.get("/u/<user>")
    def show(user: str) -> str:
        telemetry.track_event("flask.shown")
        return user

    inside = DispatcherMiddleware(flask.Flask("other"), {"/shop": WSGIMiddleware(app, telemetry)})
    outside = WSGIMiddleware(DispatcherMiddleware(flask.Flask("other"), {"/shop": app}), telemetry)
    assert get(inside, "/shop/u/ada")[0] == get(outside, "/shop/u/ada")[0] == 200

    assert [path for _, _, path in events()] == ["/u/{user}", "/u/{user}"]


class Account(Convertor[object]):
    """A convertor whose value does not look like the path."""

    regex = "[a-z]+"

    def convert(self, value: str) -> object:
        return object()

    def to_string(self, value: object) -> str:
        return ""


def test_starlette_routes(telemetry, events):
    """Starlette: convertors, mounts, sync endpoints, background tasks, streaming, WebSockets and what matches nothing."""
    register_url_convertor("account", Account())

    def shown(request: Any) -> Any:  # in a thread
        telemetry.track_event("starlette.shown")
        return HTMLResponse("x")

    async def streamed(request: Any) -> Any:
        async def chunks() -> Any:
            yield "one"
            telemetry.track_event("starlette.streamed")
            yield "two"

        return StreamingResponse(chunks(), background=BackgroundTask(telemetry.track_event, "starlette.background"))

    async def socket(websocket: Any) -> None:
        await websocket.accept()
        telemetry.track_event("starlette.socket")
        await websocket.close()

    async def outer(request: Any, call_next: Any) -> Any:
        telemetry.identify_user("ada")
        return await call_next(request)

    inner = [Route("/n/{note_name}", lambda request: shown(request))]  # an endpoint of its own
    app = Starlette(
        routes=[
            Route("/u/{user:account}", shown),
            Route("/n/{note:int}", shown),
            Route("/stream/{name:path}", streamed),
            Mount("/t/{tenant}", routes=inner),
            WebSocketRoute("/ws/{room}", socket),
        ],
        middleware=[
            Middleware(ASGIMiddleware, telemetry=telemetry, page_views=True),
            Middleware(BaseHTTPMiddleware, dispatch=outer),
        ],
    )

    for path in ("/u/lovelace", "/n/0017", "/t/lovelace/n/x", "/stream/a/lovelace"):
        assert get_asgi(app, path)[0]["status"] == 200
    assert get_asgi(app, "/nothing/4711")[0]["status"] == 404
    assert get_asgi(app, "/ws/lovelace", "websocket")[0]["type"] == "websocket.accept"
    assert events() == [
        ("starlette.shown", "ada", "/u/{user}"),
        ("analytics.page_view", "ada", "/u/{user}"),
        ("starlette.shown", "ada", "/n/{note}"),
        ("analytics.page_view", "ada", "/n/{note}"),
        ("starlette.shown", "ada", "/n/{note_name}"),
        ("analytics.page_view", "ada", "/n/{note_name}"),
        ("starlette.streamed", "ada", "/stream/{name}"),
        ("starlette.background", "ada", "/stream/{name}"),
        ("starlette.socket", None, "/ws/{room}"),
    ]


def test_fastapi_routes(telemetry, events):
    """FastAPI: routers with prefixes, sub-applications, and a user bound by a sync dependency in another thread."""

    def identify() -> None:
        telemetry.identify_user("ada")

    app, sub = FastAPI(dependencies=[Depends(identify)]), FastAPI()
    router = APIRouter(prefix="/notes")

    @router.get("/{note_id}")
    async def note(tenant: str, note_id: int) -> str:
        telemetry.track_event("fastapi.note")
        return "x"

    @sub.get("/{name:path}")
    def file(name: str) -> PlainTextResponse:
        telemetry.track_event("fastapi.file")
        return PlainTextResponse("x")

    app.include_router(router, prefix="/api/{tenant}")
    app.mount("/files/{owner}", sub)
    app.add_middleware(ASGIMiddleware, telemetry=telemetry)

    assert get_asgi(app, "/api/lovelace/notes/17")[0]["status"] == 200
    assert get_asgi(app, "/files/lovelace/a/b")[0]["status"] == 200
    assert events() == [
        ("fastapi.note", "ada", "/api/{tenant}/notes/{note_id}"),
        ("fastapi.file", None, "/{name}"),
    ]


DJANGO = """
import asyncio, sys
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path, re_path
from telemetry_sdk import Telemetry
from telemetry_sdk.web import ROUTE_KEY, ASGIMiddleware

def middleware(get_response):
    def handle(request):
        telemetry.identify_user("ada")
        return get_response(request)
    handle.process_view = lambda request, *_: request.scope.update({ROUTE_KEY: request.resolver_match.route})
    return handle

def show(request, **_):
    telemetry.track_event("django.shown")
    return HttpResponse("x")

async def show_async(request, **_):
    telemetry.track_event("django.async")
    return HttpResponse("x")

urlpatterns = [path("u/<slug:user>/", show), re_path(r"^y/(?P<year>[0-9]{4})/$", show_async)]
settings.configure(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.middleware"], ALLOWED_HOSTS=["*"])
telemetry = Telemetry("acme-notes", version="1", endpoint=sys.argv[1], state_dir=sys.argv[2], delivery="manual", strict=True)
telemetry.opt_in()
app = ASGIMiddleware(get_asgi_application(), telemetry, page_views=True)

async def visit(path):
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "root_path": ""}
    first = [{"type": "http.request", "body": b""}]
    async def receive():
        return first.pop() if first else await asyncio.Event().wait()
    async def send(message):
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
    await app(scope, receive, send)

async def main():
    await asyncio.gather(visit("/u/lovelace/"), visit("/y/2026/"))

asyncio.run(main())
assert telemetry.flush(60).kept == 0
"""


def test_django_routes_under_asgi(sink, state_dir):
    """Django under ASGI: sync views in threads and async ones, with the route that a middleware hands on."""
    subprocess.run([sys.executable, "-W", "error", "-c", DJANGO, sink.url, str(state_dir)], check=True, timeout=120)

    found = [attributes(record) for record in sink.accepted]
    events = sorted((it["event_name"], it["identity"], it["path"]) for it in found if "path" in it)
    assert [event for event in events if event[0] != "analytics.identify"] == [
        ("analytics.page_view", "ada", "/u/{user}/"),
        ("analytics.page_view", "ada", "/y/{year}/"),
        ("django.async", "ada", "/y/{year}/"),
        ("django.shown", "ada", "/u/{user}/"),
    ]


DJANGO_SETTINGS = """
import asyncio, io, sys
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import include, path, re_path
from telemetry_sdk import Telemetry
from telemetry_sdk.web import ASGIMiddleware, WSGIMiddleware

def show(request, **_):
    telemetry.track_event("django.shown")
    return HttpResponse("x")

async def show_async(request, **_):
    telemetry.track_event("django.async")
    return HttpResponse("x")

def stream(request, **_):
    def chunks():
        telemetry.track_event("django.streamed")
        yield b"x"
    return StreamingHttpResponse(chunks())

def fail(request, **_):
    telemetry.track_event("django.failed")
    raise ValueError("of the project")

def plain(request):
    return HttpResponse("x", content_type="text/plain")

telemetry = Telemetry("acme-notes", version="1", endpoint=sys.argv[1], state_dir=sys.argv[2], delivery="manual", strict=True)
telemetry.opt_in()
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    USE_I18N=True,
    TELEMETRY=telemetry if "object" in sys.argv else f"{__name__}.telemetry",
    TELEMETRY_PAGE_VIEWS=True,
    MIDDLEWARE=[
        "telemetry_sdk.web.DjangoMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
)
urlpatterns = [
    path("patients/<slug:name>/", show),
    path("people/", include(([path("<str:person>/notes/<int:note>", show)], "people"))),
    re_path(r"^articles/(?P<year>[0-9]{4})/$", show_async),
    *i18n_patterns(path("search/<path:words>", show)),
    path("stream/<slug:name>", stream),
    path("fail/<slug:name>", fail),
    path("plain", plain),
]
PATHS = ["/patients/jane-doe-born-in-vienna/", "/people/maria-garcia/notes/7", "/articles/2026/",
    "/en/search/my-cancer-diagnosis", "/stream/jane-doe", "/fail/jane-doe", "/plain", "/nowhere/jane-doe",
    "/patients/jane-doe-born-in-vienna"]

def wsgi(app, path):
    from wsgiref.util import setup_testing_defaults
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
    setup_testing_defaults(environ)
    response = app(environ, lambda *_: None)
    b"".join(response)
    response.close()

async def asgi(app, path):
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "root_path": ""}
    first = [{"type": "http.request", "body": b""}]
    async def receive():
        return first.pop() if first else await asyncio.Event().wait()
    async def send(message):
        pass
    await app(scope, receive, send)

async def all_of(app):
    await asyncio.gather(*(asgi(app, path) for path in PATHS))

kind = sys.argv[3]
if kind == "client":
    import django
    django.setup()
    for path in PATHS:
        response = Client(raise_request_exception=False).get(path)
        b"".join(response) if response.streaming else response.content
elif kind.startswith("wsgi"):
    app = get_wsgi_application()
    app = WSGIMiddleware(app, telemetry, page_views=True) if "wrapped" in kind else app
    for path in PATHS:
        wsgi(app, path)
else:
    app = get_asgi_application()
    app = ASGIMiddleware(app, telemetry, page_views=True) if "wrapped" in kind else app
    asyncio.run(all_of(app))
assert telemetry.flush(60).kept == 0
"""
DJANGO_EVENTS = [
    ("analytics.page_view", "/articles/{year}/"),
    ("analytics.page_view", "/en/search/{words}"),
    ("analytics.page_view", "/patients/{name}/"),
    ("analytics.page_view", "/people/{person}/notes/{note}"),
    ("analytics.page_view", "/stream/{name}"),
    ("django.async", "/articles/{year}/"),
    ("django.failed", "/fail/{name}"),
    ("django.shown", "/en/search/{words}"),
    ("django.shown", "/patients/{name}/"),
    ("django.shown", "/people/{person}/notes/{note}"),
    ("django.streamed", "/stream/{name}"),
]


@pytest.mark.parametrize("kind", ["wsgi", "asgi", "client", "wsgi wrapped", "asgi wrapped"])
def test_a_django_project_needs_no_more_than_the_middleware(sink, state_dir, kind, tmp_path):
    """Routes of paths, includes, regexes and languages, for views of both kinds; no path that was asked for."""
    (tmp_path / "site.py").write_text(DJANGO_SETTINGS)
    subprocess.run(
        [sys.executable, "-c", DJANGO_SETTINGS, sink.url, str(state_dir), kind, "object"], check=True, timeout=120
    )

    found = [attributes(record) for record in sink.accepted]
    events = sorted((it["event_name"], it.get("path")) for it in found if "path" in it)
    # Under ASGI alone a stream is read where nothing is bound; the middleware around the project binds there too.
    assert events == [it for it in DJANGO_EVENTS if kind != "asgi" or it[0] != "django.streamed"]
    assert sum(it["event_name"] == "analytics.page_view" for it in found) == 5
    sent = b"".join(request.body for request in sink.requests)
    for word in (b"jane", b"garcia", b"cancer", b"nowhere", b"2026/"):
        assert word not in sent
