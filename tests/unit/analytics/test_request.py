"""What a WSGI or ASGI request tells about itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from telemetry_sdk.analytics.request import AsgiRequest, RequestContext, WsgiRequest

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def wsgi(path: str, **more: Any) -> dict[str, Any]:
    """An environ as a server makes it: the path as UTF-8 bytes in Latin-1 text."""
    return {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path.encode().decode("latin-1"), **more}


def asgi(path: str, **more: Any) -> dict[str, Any]:
    headers = [(b"host", b"acme.example"), (b"user-agent", FIREFOX.encode())]
    return {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": headers, **more}


def test_a_context_is_a_value() -> None:
    """A context is frozen, compares by value and goes into an event as it is."""
    context = RequestContext("/notes/<int:id>", "Firefox", "desktop")

    assert context == RequestContext(path="/notes/{id}", browser="Firefox", device="desktop")
    assert context.attributes() == {"path": "/notes/{id}", "browser": "Firefox", "device": "desktop"}
    assert RequestContext("/").attributes() == {"path": "/", "browser": "unknown", "device": "unknown"}
    assert RequestContext().attributes() == {"browser": "unknown", "device": "unknown"}
    assert RequestContext(" ") == RequestContext()
    with pytest.raises(AttributeError):
        context.path = "/x"  # type: ignore[misc]


@pytest.mark.parametrize("odd", [None, 5, b"/x", ["/x"], object()])
def test_what_is_no_text_is_unknown(odd: Any) -> None:
    """A value of another type is not looked at."""
    assert RequestContext(odd, odd, odd) == RequestContext(None, "unknown", "unknown")


def test_nothing_more_than_families_is_kept() -> None:
    """Whoever passes a whole header, a query or a device of his own keeps nothing of them."""
    context = RequestContext("/notes/{id}?q=ada", FIREFOX, "ada's phone")

    assert context == RequestContext("/notes/{id}", "unknown", "unknown")


def test_wsgi_request() -> None:
    """Of a WSGI request browser and device are kept: no path, query, address or cookie."""
    environ = wsgi(
        "/notes/17",
        QUERY_STRING="q=ada",
        REMOTE_ADDR="192.0.2.7",
        HTTP_COOKIE="session=secret",
        HTTP_REFERER="https://ada.example",
        HTTP_USER_AGENT=FIREFOX,
    )

    assert RequestContext.from_wsgi(environ) == RequestContext(None, "Firefox", "desktop")


def test_asgi_request() -> None:
    """Of an ASGI request browser and device are kept, of a WebSocket too."""
    found = RequestContext(None, "Firefox", "desktop")

    assert RequestContext.from_asgi(asgi("/notes/17", query_string=b"q=ada", client=("192.0.2.7", 5))) == found
    assert RequestContext.from_asgi({**asgi("/notes/17"), "type": "websocket"}) == found
    assert RequestContext.from_asgi({"headers": None}) == RequestContext()


def test_route_of_asgi_frameworks_is_found_when_it_is_known() -> None:
    """The route that the router writes into the scope is found from then on; before, there is none."""
    scope = asgi("/u/ada")
    request = AsgiRequest(scope)
    before = request().path
    scope |= {"route": SimpleNamespace(path="/u/{user}"), "path_params": {"user": "ada"}}

    assert (before, request().path) == (None, "/u/{user}")


def test_route_of_a_mounted_application() -> None:
    """What it is mounted at is a piece of the raw path, so the route is its own template alone."""
    scope = asgi("/deploy/t/ada/n/17", root_path="/deploy")
    scope |= {
        "root_path": "/deploy/t/ada",
        "app_root_path": "/deploy",
        "route": SimpleNamespace(path="/n/{note}"),
        "path_params": {"tenant": "ada", "note": "17"},
    }

    assert RequestContext.from_asgi(scope).path == "/n/{note}"
    assert RequestContext.from_wsgi(wsgi("/n/17", SCRIPT_NAME="/deploy/t/ada")).path is None


def table(*routes: SimpleNamespace, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(routes=list(routes), **more)


@pytest.mark.parametrize("endpoint", ["shown", "mounted", "twice", "none", "unknown", "nowhere"])
def test_route_by_the_routers_table(endpoint: str) -> None:
    """A router that says the endpoint only is asked which of its templates leads there, if that is one."""
    one = SimpleNamespace(path="/x", endpoint="twice")
    shown = SimpleNamespace(path="/u/{user}", endpoint="shown")
    inner = table(SimpleNamespace(path="/n/{note}", endpoint="mounted"), path="/t/{tenant}")
    router = table(one, shown, inner, SimpleNamespace(path="/y", endpoint="twice"), SimpleNamespace(endpoint="none"))
    router.routes.append(router)  # a table without an end
    scope = asgi("/u/ada", router=router, endpoint=endpoint)

    assert RequestContext.from_asgi(scope).path == {"shown": "/u/{user}", "mounted": "/n/{note}"}.get(endpoint)


def test_route_of_a_router_that_fastapi_includes() -> None:
    """The prefixes of routers included in one another are part of the template that FastAPI keeps."""
    route, kept = SimpleNamespace(path="/{note}"), SimpleNamespace
    context = kept(original_route=route, starlette_route=None, path="/api/{tenant}/{note}")
    plain = kept(original_route=None, starlette_route=SimpleNamespace(path="/api/x"), path="")

    for found, matched, path in (
        (context, route, "/api/{tenant}/{note}"),
        (context, SimpleNamespace(path="/inner"), "/inner"),  # mounted behind it
        (plain, SimpleNamespace(), "/api/x"),
        (None, route, "/{note}"),
    ):
        scope = asgi("/api/ada/7", route=matched, fastapi={"effective_route_context": found})
        assert RequestContext.from_asgi(scope).path == path


def test_route_of_flask_is_found_and_kept() -> None:
    """The route of Werkzeug's request is found, and kept when Flask takes the request away."""
    rule = SimpleNamespace(rule="/u/<user>")
    environ = wsgi("/u/ada")
    request = WsgiRequest(environ)
    environ["werkzeug.request"] = SimpleNamespace(url_rule=rule, view_args={"user": "ada"})
    during = request().path
    environ["werkzeug.request"] = None

    assert (during, request().path) == ("/u/{user}", "/u/{user}")


@pytest.mark.parametrize(
    "known",
    [
        {"werkzeug.request": SimpleNamespace(url_rule=None, view_args=None)},
        {"wsgiorg.routing_args": ((), {"user": "ada"})},
        {},
    ],
    ids=["unmatched", "values", "nothing"],
)
def test_no_route_is_made_of_a_path(known: dict[str, Any]) -> None:
    """A request that matched no route has none, and values alone are none."""
    assert RequestContext.from_wsgi(wsgi("/u/ada", **known)).path is None


def test_a_host_may_say_the_route() -> None:
    """What the host wrote into environ or scope comes before what the framework wrote."""
    rule = SimpleNamespace(url_rule=SimpleNamespace(rule="/x/<y>"), view_args={})
    environ = wsgi("/u/ada", **{"telemetry_sdk.route": "u/<str:user>/", "werkzeug.request": rule})
    scope = asgi("/u/ada", **{"telemetry_sdk.route": "/u/{user}", "route": SimpleNamespace(path="/x/{y}")})

    assert RequestContext.from_wsgi(environ).path == "/u/{user}/"
    assert RequestContext.from_asgi(scope).path == "/u/{user}"


def test_headers() -> None:
    """Headers are found by their name, and a missing or malformed one is empty."""
    scope = asgi(
        "/", headers=[None, (b"a",), (b"x-odd", "text"), (b"purpose", b"prefetch\xff"), (b"purpose", b"second")]
    )
    request = WsgiRequest(wsgi("/", HTTP_SEC_FETCH_MODE="navigate"))

    assert AsgiRequest(scope).header("purpose") == "prefetch\u00ff"
    assert AsgiRequest(scope).header("x-odd") == ""
    assert AsgiRequest(scope).header("user-agent") == ""
    assert (request.header("sec-fetch-mode"), request.header("purpose")) == ("navigate", "")
    assert (request.method, AsgiRequest(scope).method) == ("GET", "GET")
