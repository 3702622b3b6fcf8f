"""The middlewares, driven as servers drive them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from sink_server import SinkServer, attributes

import telemetry_sdk.web
from telemetry_sdk import ConfigError, Telemetry
from telemetry_sdk.analytics.request import RequestContext
from telemetry_sdk.web import ROUTE_KEY, ASGIMiddleware, WSGIMiddleware

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
HTML = [("Content-Type", "text/html; charset=utf-8")]


@pytest.fixture
def telemetry(make: Callable[..., Telemetry]) -> Iterator[Telemetry]:
    """A telemetry that may send everything, and sends it when it is flushed."""
    made = make(delivery="manual")
    made.opt_in()
    yield made
    made.identify_user(None)


@pytest.fixture
def events(telemetry: Telemetry, sink: SinkServer) -> Callable[[], list[tuple[Any, ...]]]:
    """Deliver everything; returns name, user, path and device of each event, in order."""

    def delivered() -> list[tuple[Any, ...]]:
        assert telemetry.flush(60).kept == 0
        found = [(record["eventName"], attributes(record)) for record in sink.accepted]
        return [
            (name, None if it["identity"] == it["install_id"] else it["identity"], it.get("path"), it.get("device"))
            for name, it in found
            if name not in ("analytics.install", "analytics.identify")
        ]

    return delivered


def environ_of(path: str = "/notes/17", method: str = "GET", **more: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    return {
        **environ,
        "PATH_INFO": path,
        ROUTE_KEY: "/notes/<int:id>",
        "REQUEST_METHOD": method,
        "HTTP_USER_AGENT": FIREFOX,
        "QUERY_STRING": "",
        **more,
    }


class Server:
    """The server's side of WSGI. Keeps what it was given, step by step."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.written = io.BytesIO()

    def start_response(self, *arguments: Any) -> Any:
        self.steps.append(("start", *arguments))
        return self.written.write

    def serve(self, app: Any, environ: dict[str, Any]) -> bytes:
        """Answer one request and return its body."""
        response = app(environ, self.start_response)
        try:
            for chunk in response:
                self.steps.append(chunk)
                self.written.write(chunk)
        finally:
            if hasattr(response, "close"):
                self.steps.append("close")
                response.close()
        return self.written.getvalue()


def test_wsgi_events_carry_their_request(telemetry, events):
    """Events made in the call, while the body is read and when it is closed belong to the request; later ones do not."""

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            telemetry.track_event("body.first")
            yield b"one"
            telemetry.identify_user("eve")
            telemetry.track_event("body.second")
            yield b"two"

        def close(self) -> None:
            telemetry.track_event("body.closed")

    def app(environ: Any, start_response: Any) -> Any:
        telemetry.track_event("app.anonymous")
        telemetry.identify_user("ada")
        telemetry.track_event("app.called")
        start_response("200 OK", HTML)
        return Body()

    telemetry.identify_user("left behind")
    assert Server().serve(WSGIMiddleware(app, telemetry), environ_of()) == b"onetwo"
    telemetry.track_event("app.over")

    assert events() == [
        ("app.anonymous", None, "/notes/{id}", "desktop"),
        ("app.called", "ada", "/notes/{id}", "desktop"),
        ("body.first", "ada", "/notes/{id}", "desktop"),
        ("body.second", "eve", "/notes/{id}", "desktop"),
        ("body.closed", "eve", "/notes/{id}", "desktop"),
        ("app.over", "left behind", None, None),
    ]


def test_wsgi_between_two_chunks_nothing_is_bound(telemetry, events):
    """While the server waits for a slow client, its thread is not bound to the request."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HTML)
        yield b"one"
        yield b"two"

    server = Server()
    response = WSGIMiddleware(app, telemetry)(environ_of(), server.start_response)
    for _ in response:
        telemetry.track_event("server.waits")
    response.close()

    assert events() == [("server.waits", None, None, None)] * 2


def answer_list(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HTML)
    return [b"one", b"two"]


def answer_generator(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", HTML)
    yield b"one"
    yield b"two"


def answer_late(environ: Any, start_response: Any) -> Any:
    def body() -> Iterator[bytes]:
        start_response("200 OK", HTML)
        yield b"one"
        yield b"two"

    return body()


def answer_writing(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", HTML)
    write(b"one")
    return [b"two"]


def answer_error(environ: Any, start_response: Any) -> Any:
    import sys

    start_response("204 No Content", [])
    try:
        raise RuntimeError("found out later")
    except RuntimeError:
        start_response("500 Internal Server Error", HTML, sys.exc_info())
    return [b"one", b"two"]


APPS = [answer_list, answer_generator, answer_late, answer_writing, answer_error]


@pytest.mark.parametrize("page_views", [False, True])
@pytest.mark.parametrize("app", APPS)
def test_wsgi_is_kept_to_the_letter(telemetry, app, page_views):
    """By the standard library's validator both sides keep to WSGI, and the server gets the same as without us."""
    server, plain = Server(), Server()
    wrapped = validator(WSGIMiddleware(validator(app), telemetry, page_views=page_views))

    assert server.serve(wrapped, environ_of()) == plain.serve(app, environ_of()) == b"onetwo"
    starts = [step[:3] for step in server.steps if step[0] == "start"]
    assert starts == [step[:3] for step in plain.steps if step[0] == "start"]
    assert [len(step) for step in server.steps if step[0] == "start"][-1] == (4 if app is answer_error else 3)


def test_wsgi_streams(telemetry):
    """Each chunk is made when the server asks for it, and the response ends when the server closes it."""
    made: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", HTML)
        with contextlib.ExitStack() as stack:
            stack.callback(made.append, "closed")
            for number in range(10**9):
                made.append(f"chunk {number}")
                yield b"x"

    response = WSGIMiddleware(app, telemetry, page_views=True)(environ_of(), Server().start_response)
    chunks = iter(response)
    assert made == []
    next(chunks)
    assert made == ["chunk 0"]
    next(chunks)
    response.close()
    assert made == ["chunk 0", "chunk 1", "closed"]


def test_wsgi_leaves_alone_what_it_need_not_watch(telemetry):
    """A list and a file go to the server as they are, so that it may count or send them by means of its own."""
    body = [b"one"]
    file = FileWrapper(io.BytesIO(b"one"))
    environ = environ_of(**{"wsgi.file_wrapper": FileWrapper})

    for page_views in (False, True):
        wrapped = WSGIMiddleware(lambda environ, start: file, telemetry, page_views=page_views)
        assert wrapped(environ, Server().start_response) is file
    assert WSGIMiddleware(lambda environ, start: body, telemetry)(environ, Server().start_response) is body
    watched = WSGIMiddleware(lambda environ, start: body, telemetry, page_views=True)(environ, Server().start_response)
    assert len(watched) == 1
    generator = WSGIMiddleware(answer_generator, telemetry)(environ, Server().start_response)
    assert not hasattr(generator, "__len__")


class Failing:
    """A response that fails where it is told to."""

    def __init__(self, where: str, error: BaseException) -> None:
        self.where, self.error, self.closed = where, error, 0

    def __iter__(self) -> Iterator[bytes]:
        if self.where == "iter":
            raise self.error
        return self

    def __next__(self) -> bytes:
        if self.where == "next":
            raise self.error
        raise StopIteration

    def close(self) -> None:
        self.closed += 1
        if self.where == "close":
            raise self.error


@pytest.mark.parametrize("page_views", [False, True])
@pytest.mark.parametrize(
    "error", [ZeroDivisionError("no"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr
)
@pytest.mark.parametrize("where", ["call", "start", "iter", "next", "close"])
def test_wsgi_exceptions_pass(telemetry, events, where, error, page_views):
    """Whatever the application raises reaches the server unchanged, once it is closed, and no user is left behind."""
    response = Failing(where, error)

    def app(environ: Any, start_response: Any) -> Any:
        telemetry.identify_user("ada")
        if where == "call":
            raise error
        start_response("200 OK", HTML)
        return response

    def refusing(*_: object) -> Any:
        raise error

    server = Server()
    if where == "start":
        server.start_response = refusing  # type: ignore[method-assign]
    with pytest.raises(type(error)) as caught:
        server.serve(WSGIMiddleware(app, telemetry, page_views=page_views), environ_of())

    assert caught.value is error
    assert response.closed == (where in ("iter", "next", "close"))
    telemetry.track_event("app.over")
    assert events()[-1] == ("app.over", None, None, None)


@pytest.mark.parametrize("fails", [False, True])
def test_wsgi_work_left_behind_is_not_about_the_request(telemetry, events, fails):
    """What an application leaves running belongs to no request once the response is closed, or failed."""
    left: list[contextvars.Context] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        telemetry.identify_user("ada")
        left.append(contextvars.copy_context())
        left[0].run(telemetry.track_event, "left.during")
        if fails:
            raise ZeroDivisionError
        start_response("200 OK", HTML)
        return iter([b"x"])

    with contextlib.suppress(ZeroDivisionError):
        Server().serve(WSGIMiddleware(app, telemetry), environ_of())
    left[0].run(telemetry.track_event, "left.after")

    assert events() == [("left.during", "ada", "/notes/{id}", "desktop"), ("left.after", None, None, None)]


def test_wsgi_threads_take_no_user_along(telemetry, events):
    """Threads of a pool that serve one request after the other never carry a user into the next."""
    together = threading.Barrier(4)

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        number = int(environ["PATH_INFO"].rpartition("/")[2])
        telemetry.track_event("step.before", {"n": number})
        if number % 2:
            telemetry.identify_user(f"u-{number}")
        start_response("200 OK", HTML)
        together.wait(60)
        yield b"x"
        telemetry.track_event("step.body", {"n": number})
        together.wait(60)

    served = WSGIMiddleware(app, telemetry)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: Server().serve(served, environ_of(f"/notes/{number}")), range(80)))

    found = events()
    assert {user for name, user, _, _ in found if name == "step.before"} == {None}
    users = [user for name, user, _, _ in found if name == "step.body"]
    assert sorted(filter(None, users)) == sorted(f"u-{number}" for number in range(1, 80, 2))
    assert users.count(None) == 40


NAVIGATED = [
    ("GET", "200 OK", "text/html", {}, True),
    ("GET", "200 OK", "Text/HTML; charset=utf-8", {}, True),
    ("GET", "203 Non-Authoritative Information", "text/html", {}, True),
    ("GET", "200 OK", "text/html", {"sec-fetch-mode": "navigate"}, True),
    ("GET", "200 OK", "text/html", {"sec-fetch-mode": "cors"}, False),
    ("GET", "200 OK", "text/html", {"sec-fetch-mode": "navigate", "sec-purpose": "prefetch;prerender"}, False),
    ("GET", "200 OK", "text/html", {"purpose": "prefetch"}, False),
    ("GET", "200 OK", "text/html", {"x-requested-with": "XMLHttpRequest"}, False),
    ("HEAD", "200 OK", "text/html", {}, False),
    ("POST", "200 OK", "text/html", {}, False),
    ("GET", "302 Found", "text/html", {}, False),
    ("GET", "304 Not Modified", "text/html", {}, False),
    ("GET", "404 Not Found", "text/html", {}, False),
    ("GET", "500 Internal Server Error", "text/html", {}, False),
    ("GET", "200 OK", "application/json", {}, False),
    ("GET", "200 OK", "text/html-sandboxed", {}, False),
    ("GET", "200 OK", "", {}, False),
]


@pytest.mark.parametrize(("method", "status", "kind", "headers", "counted"), NAVIGATED)
def test_wsgi_page_views(telemetry, events, method, status, kind, headers, counted):
    """A page somebody navigated to is one page view with its route and user; nothing else is one."""

    def app(environ: Any, start_response: Any) -> Any:
        telemetry.identify_user("ada")
        environ[ROUTE_KEY] = "/notes/<int:note_id>"
        start_response(status, [("X-Other", "1"), *([("content-type", kind)] if kind else [])])
        return [b"<p>"]

    names = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    for page_views in (False, True):
        Server().serve(WSGIMiddleware(app, telemetry, page_views=page_views), environ_of(method=method, **names))

    assert events() == [("analytics.page_view", "ada", "/notes/{note_id}", "desktop")] * counted


@pytest.mark.parametrize("app", APPS[:4])
def test_wsgi_page_view_is_stored_before_the_page(telemetry, events, app):
    """Where it need not wait for the sink, the page view is there when the server gets the first chunk, and once."""
    response = WSGIMiddleware(app, telemetry, page_views=True)(environ_of(), Server().start_response)
    assert events() == []
    chunks = iter(response)
    next(chunks)
    assert events() == [("analytics.page_view", None, "/notes/{id}", "desktop")]
    assert list(chunks) == ([] if app is answer_writing else [b"two"])
    response.close()
    response.close()

    assert len(events()) == 1


@pytest.mark.parametrize("app", APPS[:4])
def test_wsgi_page_view_waits_for_the_sink_after_the_page(make, sink, app):
    """In sync mode the page view is sent when the server closes the response, and once."""
    telemetry = make()
    telemetry.opt_in()
    response = WSGIMiddleware(app, telemetry, page_views=True)(environ_of(), Server().start_response)
    assert list(response)
    assert sink.names == ["analytics.install"]
    response.close()
    response.close()

    assert sink.names == ["analytics.install", "analytics.page_view"]


def test_wsgi_page_view_of_an_empty_page(telemetry, events):
    """A page without a byte counts as well."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)
        return iter([])

    assert Server().serve(WSGIMiddleware(app, telemetry, page_views=True), environ_of()) == b""

    assert events() == [("analytics.page_view", None, "/notes/{id}", "desktop")]


def test_wsgi_page_view_of_a_file(telemetry, events):
    """A page sent as a file counts too."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"<p>"))

    environ = environ_of(**{"wsgi.file_wrapper": FileWrapper})
    assert Server().serve(WSGIMiddleware(app, telemetry, page_views=True), environ) == b"<p>"

    assert events() == [("analytics.page_view", None, "/notes/{id}", "desktop")]


class Odd:
    """Neither text nor anything else."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_our_own_failures_cost_the_host_nothing(make, monkeypatch):
    """Whatever fails in here, the response is the application's; under strict it is seen."""
    lenient = make(strict=False, delivery="manual")
    lenient.opt_in()

    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("telemetry_sdk.analytics.event.build", broken)
    monkeypatch.setattr("telemetry_sdk.web.WsgiRequest.note_route", broken)
    monkeypatch.setattr("telemetry_sdk.web.AsgiRequest.note_route", broken)

    def app(environ: Any, start_response: Any) -> Any:
        lenient.track_event("app.called")
        return answer_list(environ, start_response)

    assert Server().serve(WSGIMiddleware(app, lenient, page_views=True), environ_of()) == b"onetwo"
    assert [m["type"] for m in drive(ASGIMiddleware(page, lenient, page_views=True), scope_of())] == MESSAGES
    strict = make(app="acme-strict", delivery="manual")
    with pytest.raises(RuntimeError, match="a bug of ours"):
        Server().serve(WSGIMiddleware(answer_list, strict, page_views=True), environ_of())


def test_odd_responses_are_the_hosts_matter(make):
    """Status and headers that are none go to the server as they are."""
    lenient = make(strict=False, delivery="manual")

    def app(environ: Any, start_response: Any) -> Any:
        start_response(None, [(Odd(), Odd())])
        return [b"x"]

    assert Server().serve(WSGIMiddleware(app, lenient, page_views=True), environ_of()) == b"x"


@pytest.mark.parametrize("middleware", [WSGIMiddleware, ASGIMiddleware])
def test_arguments_in_the_wrong_order(middleware, telemetry):
    """Whoever mixes up application and telemetry is told so at construction."""
    with pytest.raises(ConfigError, match="app: must be the application"):
        middleware(telemetry, answer_list)
    with pytest.raises(ConfigError, match=r"telemetry: must be .* Middleware\(app, telemetry\)"):
        middleware(answer_list, answer_list)


def test_what_web_offers():
    """A host imports everything it needs for a web server from one module."""
    assert telemetry_sdk.web.__all__ == [
        "ROUTE_KEY",
        "ASGIMiddleware",
        "DjangoMiddleware",
        "RequestContext",
        "WSGIMiddleware",
    ]
    assert telemetry_sdk.web.RequestContext is RequestContext
    assert ROUTE_KEY == "telemetry_sdk.route"


# ASGI


def scope_of(path: str = "/notes/17", kind: str = "http", method: str = "GET", headers: Any = ()) -> dict[str, Any]:
    pairs = [(b"user-agent", FIREFOX.encode()), *((name.encode(), value.encode()) for name, value in headers)]
    route = {ROUTE_KEY: "/notes/{id:int}"}
    return {"type": kind, "method": method, "path": path, "root_path": "", "headers": pairs, **route}


async def receive() -> dict[str, Any]:
    return {"type": "http.request"}


def drive(app: Any, scope: Any) -> list[dict[str, Any]]:
    """Answer one request; returns the messages that were sent."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


MESSAGES = ["http.response.start", "http.response.body", "http.response.body"]


async def page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_asgi_events_carry_their_request(telemetry, events, kind):
    """Events of a request or a connection, of its tasks and executor jobs too, belong to it; later ones do not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        telemetry.track_event("app.anonymous")
        telemetry.identify_user("ada")
        await asyncio.create_task(task())
        await asyncio.to_thread(telemetry.track_event, "app.executor")

    async def task() -> None:
        await asyncio.sleep(0)
        telemetry.track_event("app.task")

    async def main() -> None:
        telemetry.identify_user("left behind")
        await ASGIMiddleware(app, telemetry)(scope_of(kind=kind), receive, receive)
        telemetry.track_event("app.over")

    asyncio.run(main())

    assert events() == [
        ("app.anonymous", None, "/notes/{id}", "desktop"),
        ("app.task", "ada", "/notes/{id}", "desktop"),
        ("app.executor", "ada", "/notes/{id}", "desktop"),
        ("app.over", "left behind", None, None),
    ]


@pytest.mark.parametrize("kind", ["lifespan", "something.new"])
def test_asgi_passes_on_what_is_no_request(telemetry, kind):
    """Lifespan, and whatever comes after this version, reach the application with the very objects of the server."""
    scope = {"type": kind}
    given: list[Any] = []

    async def app(*arguments: Any) -> None:
        given.extend(arguments)
        telemetry.track_event("app.started")

    async def send(_: Any) -> None: ...

    asyncio.run(ASGIMiddleware(app, telemetry, page_views=True)(scope, receive, send))
    assert [a is b for a, b in zip(given, (scope, receive, send), strict=True)] == [True] * 3


def test_asgi_hands_everything_on(telemetry):
    """Scope, receive and, unless page views are watched, send are the server's own; the messages always are."""
    scope, given = scope_of(), []

    async def app(*arguments: Any) -> None:
        given.extend(arguments)

    async def send(_: Any) -> None: ...

    asyncio.run(ASGIMiddleware(app, telemetry)(scope, receive, send))
    assert [a is b for a, b in zip(given, (scope, receive, send), strict=True)] == [True] * 3
    assert scope == scope_of()
    assert [m["type"] for m in drive(ASGIMiddleware(page, telemetry, page_views=True), scope_of())] == MESSAGES


@pytest.mark.parametrize("page_views", [False, True])
@pytest.mark.parametrize("error", [ZeroDivisionError("no"), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("where", ["app", "send"])
def test_asgi_exceptions_pass(telemetry, events, where, error, page_views):
    """Whatever application or server raises passes unchanged, and is no page view."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        telemetry.identify_user("ada")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        raise error

    async def send(_: Any) -> None:
        if where == "send":
            raise error

    coroutine = ASGIMiddleware(app, telemetry, page_views=page_views)(scope_of(), receive, send)
    with pytest.raises(type(error)) as caught:
        coroutine.send(None)

    assert caught.value is error
    telemetry.track_event("app.over")
    assert events() == [("app.over", None, None, None)]


def test_asgi_loads_what_it_needs_at_the_start(telemetry, monkeypatch):
    """The tables for browsers and devices are loaded at construction, so that no event holds up the loop for them."""
    loaded: list[bool] = []
    monkeypatch.setattr("telemetry_sdk.web.families", lambda _: loaded.append(True))
    ASGIMiddleware(page, telemetry)

    assert loaded


def test_asgi_streams(telemetry):
    """Each message is with the server before the application goes on."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            assert len(sent) == number + 2

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(ASGIMiddleware(app, telemetry, page_views=True)(scope_of(), receive, send))
    assert len(sent) == 4


@pytest.mark.parametrize(("method", "status", "kind", "headers", "counted"), NAVIGATED)
def test_asgi_page_views(telemetry, events, method, status, kind, headers, counted):
    """A page somebody navigated to is one page view with its route and user; nothing else is one."""
    start = {"type": "http.response.start", "status": int(status[:3]), "headers": [(b"content-type", kind.encode())]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        telemetry.identify_user("ada")
        scope[ROUTE_KEY] = "/notes/{note_id}"
        await send(start if kind else {**start, "headers": []})
        await send({"type": "http.response.body", "body": b"<p>"})

    for page_views in (False, True):
        drive(ASGIMiddleware(app, telemetry, page_views=page_views), scope_of(method=method, headers=headers.items()))

    assert events() == [("analytics.page_view", "ada", "/notes/{note_id}", "desktop")] * counted


def test_asgi_page_view_is_stored_before_the_page(telemetry, events):
    """Where it need not wait for the sink, the page view is there when the server gets the body's first byte, once."""
    seen: list[int] = []

    async def send(message: Any) -> None:
        seen.append(len(events()))

    asyncio.run(ASGIMiddleware(page, telemetry, page_views=True)(scope_of(), receive, send))

    assert seen == [0, 1, 1]
    assert events() == [("analytics.page_view", None, "/notes/{id}", "desktop")]


def test_asgi_page_view_waits_for_the_sink_after_the_page(make, sink):
    """In sync mode the page view is sent when the server has the whole page, before the application's aftermath."""
    telemetry = make()
    telemetry.opt_in()
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await page(scope, receive, send)
        seen.append(sink.names.count("analytics.page_view"))

    async def send(message: Any) -> None:
        seen.append(sink.names.count("analytics.page_view"))

    asyncio.run(ASGIMiddleware(app, telemetry, page_views=True)(scope_of(), receive, send))

    assert seen == [0, 0, 0, 1]


def test_asgi_websockets_are_no_page_views(telemetry, events):
    """A WebSocket is no page, whatever it says of itself."""
    drive(ASGIMiddleware(page, telemetry, page_views=True), scope_of(kind="websocket"))

    assert events() == []


def test_asgi_requests_at_the_same_time_never_mix(telemetry, events):
    """A hundred requests whose steps alternate: each event has the user and route of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        number = int(scope["path"].rpartition("/")[2])
        telemetry.identify_user(f"u-{number}")
        await asyncio.sleep(0)
        scope[ROUTE_KEY] = f"/{'abcde'[number % 5]}/{{id}}"
        await page(scope, receive, send)
        telemetry.track_event(f"app.n{number}")

    async def send(_: Any) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        served = ASGIMiddleware(app, telemetry, page_views=True)
        await asyncio.gather(*(served(scope_of(f"/notes/{number}"), receive, send) for number in range(100)))

    asyncio.run(main())

    found = events()
    assert len(found) == 200
    for name, user, path, _ in found:
        number = int(user.removeprefix("u-"))
        assert name in ("analytics.page_view", f"app.n{number}")
        assert path == f"/{'abcde'[number % 5]}/{{id}}"


TWICE = [("app.called", "ada", "/notes/{id}", "desktop"), ("analytics.page_view", "ada", "/notes/{id}", "desktop")]


def test_wsgi_wrapped_twice_counts_once(telemetry, make, events):
    """However often an app is wrapped for one program, a page is one view, with its user; the next one counts too."""

    def app(environ: Any, start_response: Any) -> Any:
        telemetry.identify_user("ada")
        telemetry.track_event("app.called")
        start_response("200 OK", HTML)
        return [b"<p>"]

    again = make(delivery="manual")
    wrapped = WSGIMiddleware(WSGIMiddleware(app, again, page_views=True), telemetry, page_views=True)
    environ = environ_of()
    for _ in range(2):
        assert Server().serve(wrapped, environ) == b"<p>"

    assert events() == TWICE * 2


def test_asgi_wrapped_twice_counts_once(telemetry, make, events):
    """The same for ASGI."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        telemetry.identify_user("ada")
        telemetry.track_event("app.called")
        await page(scope, receive, send)

    again = make(delivery="manual")
    wrapped = ASGIMiddleware(ASGIMiddleware(app, again, page_views=True), telemetry, page_views=True)
    scope = scope_of()
    for _ in range(2):
        drive(wrapped, scope)

    assert events() == TWICE * 2


@pytest.mark.parametrize(("app", "outer"), [("acme-other", True), ("acme-notes", False)])
def test_only_what_is_counted_already_is_skipped(telemetry, make, events, tmp_path, app, outer):
    """A middleware of another program, or one that counts nothing, keeps none further in from counting."""
    other = make(app=app, delivery="manual", state_dir=tmp_path / "other")

    def answer(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)
        return [b"<p>"]

    inner = WSGIMiddleware(answer, telemetry, page_views=True)
    Server().serve(WSGIMiddleware(inner, other, page_views=outer), environ_of())
    drive(ASGIMiddleware(ASGIMiddleware(page, telemetry, page_views=True), other, page_views=outer), scope_of())

    assert [event[0] for event in events()] == ["analytics.page_view"] * 2


@pytest.mark.parametrize("why", ["DO_NOT_TRACK", "no sink", "no consent"])
def test_no_header_is_looked_at_where_nothing_may_be_sent(make, state_dir, why):
    """The gate is asked first: a User-Agent that nobody may hear of is not even read."""
    environ = {"DO_NOT_TRACK": "1"} if why == "DO_NOT_TRACK" else {}
    telemetry = make(environ=environ, **({"endpoint": None} if why == "no sink" else {}))
    read: list[str] = []

    class Watched(dict):
        def get(self, key, default=None):
            read.append(key)
            return super().get(key, default)

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"page"]

    request = Watched(REQUEST_METHOD="GET", HTTP_USER_AGENT="Mozilla/5.0 (X11) Firefox/128.0", HTTP_ACCEPT="text/html")
    wrapped = WSGIMiddleware(app, telemetry, page_views=True)
    response = wrapped(request, lambda *_: None)
    assert b"".join(response) == b"page"
    response.close()

    assert "HTTP_USER_AGENT" not in read
