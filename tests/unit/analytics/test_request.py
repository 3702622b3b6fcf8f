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
    with pytest.raises(AttributeError):
        context.path = "/x"  # type: ignore[misc]


@pytest.mark.parametrize("odd", [None, 5, b"/x", ["/x"], object()])
def test_what_is_no_text_is_unknown(odd: Any) -> None:
    """A value of another type is not looked at."""
    assert RequestContext(odd, odd, odd) == RequestContext("/", "unknown", "unknown")


def test_nothing_more_than_families_is_kept() -> None:
    """Whoever passes a whole header, a query or a device of his own keeps nothing of them."""
    context = RequestContext("/notes/17?q=ada", FIREFOX, "ada's phone")

    assert context == RequestContext("/notes/{id}", "unknown", "unknown")


def test_wsgi_request() -> None:
    """Of a WSGI request path, browser and device are kept: no query, address or cookie."""
    environ = wsgi(
        "/notes/17",
        QUERY_STRING="q=ada",
        REMOTE_ADDR="192.0.2.7",
        HTTP_COOKIE="session=secret",
        HTTP_REFERER="https://ada.example",
        HTTP_USER_AGENT=FIREFOX,
    )

    assert RequestContext.from_wsgi(environ) == RequestContext("/notes/{id}", "Firefox", "desktop")


def test_asgi_request() -> None:
    """Of an ASGI request path, browser and device are kept, of a WebSocket too."""
    found = RequestContext("/notes/{id}", "Firefox", "desktop")

    assert RequestContext.from_asgi(asgi("/notes/17", query_string=b"q=ada", client=("192.0.2.7", 5))) == found
    assert RequestContext.from_asgi({**asgi("/notes/17"), "type": "websocket"}) == found


@pytest.mark.parametrize(
    ("path_info", "path"),
    [
        ("/caf\u00c3\u00a9/17", "/caf\u00e9/{id}"),  # UTF-8, as WSGI carries it
        ("/caf\u00e9", "/{id}"),  # Latin-1 bytes, which are no UTF-8
        ("/\u30e6\u30fc", "/\u30e6\u30fc"),  # a server that decoded it against the rule
        ("//notes/17", "/notes/{id}"),
        ("http://acme.example/notes/17?q=ada", "/notes/{id}"),
        ("", "/"),
        ("notes", "/notes"),
        ("/notes/\xff\xfe", "/notes/{id}"),
        ("/a%2Fb", "/{id}"),
        ("/notes?q=ada", "/notes"),
    ],
)
def test_bytes_of_a_wsgi_path(path_info: str, path: str) -> None:
    """PATH_INFO is read as UTF-8; what is none is replaced, and no two slashes hide a segment."""
    assert RequestContext.from_wsgi({"PATH_INFO": path_info}).path == path


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/deploy/notes/17", "root_path": "/deploy"}, "/notes/{id}"),
        ({"path": "/deploy/notes/17", "root_path": "/deploy/"}, "/notes/{id}"),
        ({"path": "/deploy", "root_path": "/deploy"}, "/"),
        ({"path": "/deployed/17", "root_path": "/deploy"}, "/deployed/{id}"),
        ({"path": "/notes/17", "root_path": "/deploy"}, "/notes/{id}"),  # servers that leave it out
        ({"path": "/deploy/sub/n", "root_path": "/deploy/sub", "app_root_path": "/deploy"}, "/sub/n"),
        ({"path": "//notes"}, "/notes"),
        ({"path": "/notes", "headers": None}, "/notes"),
        ({}, "/"),
    ],
)
def test_root_paths_are_the_operators(scope: dict[str, Any], path: str) -> None:
    """Where an application is mounted by whoever runs it says nothing about it."""
    assert RequestContext.from_asgi(scope).path == path


def test_script_name_is_the_operators() -> None:
    """SCRIPT_NAME is left out, and what a dispatcher moves to it while the request runs is not."""
    environ = wsgi("/notes/17", SCRIPT_NAME="/deploy")
    request = WsgiRequest(environ)
    environ |= {"SCRIPT_NAME": "/deploy/notes", "PATH_INFO": "/17"}

    assert request().path == "/notes/{id}"


def test_route_of_asgi_frameworks_is_found_when_it_is_known() -> None:
    """The route that the router writes into the scope is found from then on; before, the raw path is cleaned."""
    scope = asgi("/u/ada")
    request = AsgiRequest(scope)
    before = request().path
    scope |= {"route": SimpleNamespace(path="/u/{user}"), "path_params": {"user": "ada"}}

    assert (before, request().path) == ("/u/ada", "/u/{user}")


def test_route_of_a_mounted_application() -> None:
    """The variables of the mount are found too."""
    scope = asgi("/deploy/t/ada/n/17", root_path="/deploy")
    request = AsgiRequest(scope)
    scope |= {
        "root_path": "/deploy/t/ada",
        "app_root_path": "/deploy",
        "route": SimpleNamespace(path="/n/{note}"),
        "path_params": {"tenant": "ada", "note": "17"},
    }

    assert request().path == "/t/{tenant}/n/{note}"
    assert RequestContext.from_asgi(scope).path == "/t/{tenant}/n/{note}"


def test_route_of_flask_is_found_and_kept() -> None:
    """The route of Werkzeug's request is found, and kept when Flask takes the request away."""
    rule = SimpleNamespace(rule="/u/<user>")
    environ = wsgi("/u/ada")
    request = WsgiRequest(environ)
    environ["werkzeug.request"] = SimpleNamespace(url_rule=rule, view_args={"user": "ada"})
    during = request().path
    environ["werkzeug.request"] = None

    assert (during, request().path) == ("/u/{user}", "/u/{user}")


def test_no_route_was_found() -> None:
    """A request that matched no route has its path cleaned."""
    environ = wsgi("/wp-admin/17", **{"werkzeug.request": SimpleNamespace(url_rule=None, view_args=None)})

    assert RequestContext.from_wsgi(environ).path == "/wp-admin/{id}"


@pytest.mark.parametrize(
    ("routing_args", "path"),
    [
        (((), {"user": "ada"}), "/u/{user}"),
        (((), {}), "/u/ada"),
        (None, "/u/ada"),
        ((1, 2, 3), "/u/ada"),
        ("ab", "/u/ada"),
    ],
)
def test_route_by_routing_args(routing_args: Any, path: str) -> None:
    """Routers that follow wsgiorg.routing_args tell the variables of the route."""
    assert RequestContext.from_wsgi(wsgi("/u/ada", **{"wsgiorg.routing_args": routing_args})).path == path


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
