"""Whatever a request looks like, its context is had, and nothing of whoever made it is in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.analytics.event import build, clean_route
from telemetry_sdk.analytics.request import DEVICES, ROUTE_KEY, RequestContext
from telemetry_sdk.model import Limits

# What the raw path of a request stands in, and what is made of it, under WSGI and ASGI.
RAW_WSGI = (
    "PATH_INFO",
    "SCRIPT_NAME",
    "RAW_URI",
    "REQUEST_URI",
    "QUERY_STRING",
    "HTTP_REFERER",
    "wsgiorg.routing_args",
)
RAW_ASGI = ("path", "raw_path", "root_path", "app_root_path", "query_string", "path_params")
ANYTHING = st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text(), max_size=3) | st.floats()
AGENTS = st.text(max_size=80) | st.sampled_from(["curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"])
PATHS = st.lists(st.text(max_size=30), max_size=8).map(lambda segments: "/" + "/".join(segments)) | st.text()
TEMPLATES = (
    st.text() | st.text("ab/{}<>()[]?:^$\\*+.#; @P_1", max_size=60) | st.lists(st.text(), max_size=20).map("/".join)
)


def payloads(path: str) -> list[dict[str, Any]]:
    """What events made during a request for *path* carry, before a router has seen it, and where none has a route."""
    wsgi: dict[str, Any] = dict.fromkeys(RAW_WSGI, path)
    asgi: dict[str, Any] = dict.fromkeys(RAW_ASGI, path)
    unmatched = {"werkzeug.request": SimpleNamespace(url_rule=None, path=path, view_args={path: path})}
    values = {"wsgiorg.routing_args": ((path,), {path: path})}
    router = {"router": SimpleNamespace(routes=[SimpleNamespace(path="/x", endpoint=None)]), "endpoint": object()}
    found = [RequestContext.from_wsgi(environ) for environ in (wsgi, wsgi | unmatched, wsgi | values)]
    found += [RequestContext.from_asgi(scope) for scope in (asgi, asgi | router, asgi | {"path_params": {path: path}})]
    return [build("a.b", {}, own={}, limits=Limits(), context=it.attributes()).payload for it in found]


@given(path=PATHS)
@example(path="/patients/jane-doe-born-in-vienna/")
@examples(1000)
def test_of_a_raw_path_nothing_is_sent(path: str) -> None:
    """Where no route is known the event is the same, whatever path was asked for: no byte of it is in there."""
    assert payloads(path) == [{"browser": "unknown", "device": "unknown"}] * 6


@given(path=PATHS, values=st.dictionaries(st.text(), st.text()))
@examples(500)
def test_where_a_route_is_known_it_alone_is_sent(path: str, values: dict[str, str]) -> None:
    """The template leaves as it is, whatever path it matched and whatever its variables stand for."""
    rule = SimpleNamespace(url_rule=SimpleNamespace(rule="/x/<y>"), view_args=values)
    mounted = {**dict.fromkeys(RAW_ASGI, path), "path_params": values, "route": SimpleNamespace(path="/x/{y}")}

    assert RequestContext.from_wsgi({**dict.fromkeys(RAW_WSGI, path), "werkzeug.request": rule}).path == "/x/{y}"
    assert RequestContext.from_asgi(mounted).path == "/x/{y}"


@given(route=TEMPLATES)
@example(route="/a/{b}:/c")
@examples(1500)
def test_cleaning_ends(route: str) -> None:
    """Any text becomes an absolute route of bounded size that stays as it is when cleaned again."""
    cleaned = clean_route(route)

    assert cleaned.startswith("/")
    assert len(cleaned) <= 2 * 512
    assert not set("?#;% \t\n\\<>()[]^$") & set(cleaned)
    assert clean_route(cleaned) == cleaned
    cleaned.encode()


@given(
    environ=st.dictionaries(st.sampled_from((*RAW_WSGI, "HTTP_USER_AGENT", ROUTE_KEY, "werkzeug.request")), ANYTHING),
    agent=AGENTS,
)
@examples(500)
def test_any_environ(environ: dict[str, Any], agent: str) -> None:
    """An environ of whatever content has a context, and no header is in it."""
    for given_ in (environ, {**environ, "HTTP_USER_AGENT": agent}):
        context = RequestContext.from_wsgi(given_)
        assert (context.path or "/").startswith("/")
        assert context.device in DEVICES
        assert len(context.browser) <= 32


@given(
    scope=st.dictionaries(
        st.sampled_from((*RAW_ASGI, "headers", "method", "route", "router", "endpoint", "fastapi", ROUTE_KEY)),
        ANYTHING | st.dictionaries(st.text() | st.integers(), ANYTHING),
    ),
    route=ANYTHING,
    agent=AGENTS,
)
@examples(500)
def test_any_scope(scope: dict[str, Any], route: Any, agent: str) -> None:
    """A scope of whatever content has a context, and no header is in it."""
    headers = [(b"user-agent", agent.encode("utf-8", "replace"))]
    for given_ in (scope, {**scope, "headers": headers, "route": SimpleNamespace(path=route)}):
        context = RequestContext.from_asgi(given_)
        assert (context.path or "/").startswith("/")
        assert context.device in DEVICES
        assert len(context.browser) <= 32
