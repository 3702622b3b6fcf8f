"""Whatever a request looks like, its context is had, and nothing of whoever made it is in it."""

from __future__ import annotations

import string
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from hypothesis import assume, example, given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.analytics.request import ROUTE_KEY, RequestContext
from telemetry_sdk.analytics.route import clean_path, clean_route, route_of
from telemetry_sdk.analytics.user_agent import DEVICES

WORDS = st.sampled_from(["notes", "users", "time-entries", "api", "v1", "settings", "edit"])
SECRETS = st.one_of(
    st.integers(10, 10**12).map(str),
    st.uuids().map(str),
    st.binary(min_size=4, max_size=32).map(bytes.hex),
    st.dates().map(str),
    st.emails(domains=st.just("example.org")).filter(lambda text: not set(text) & set("/?#;%")),
    st.text(string.ascii_letters + string.digits, min_size=8, max_size=40).filter(
        lambda text: sum(letter.isdigit() for letter in text) > 1
    ),
    st.from_regex(r"[a-z]{2,5}_(live|test)_[A-Za-z0-9]{16,24}[0-9]{2}", fullmatch=True),
    st.ip_addresses().map(str),
    st.from_regex(r"\+[0-9]{8,14}", fullmatch=True),
)
NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
ENVIRON = ("PATH_INFO", "SCRIPT_NAME", "HTTP_USER_AGENT", "REQUEST_METHOD", ROUTE_KEY, "wsgiorg.routing_args")
SCOPE = ("path", "root_path", "app_root_path", "headers", "method", "path_params", "route", ROUTE_KEY)
QUERIES = st.sampled_from(["?", "#", "?q=", "#token=", "?a=b&c="])
ANYTHING = st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text(), max_size=3) | st.floats()
AGENTS = st.text(max_size=80) | st.sampled_from(["curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"])


def context_by_wsgi(path: str) -> RequestContext:
    return RequestContext.from_wsgi({"PATH_INFO": path.encode("utf-8", "replace").decode("latin-1")})


def contexts(path: str) -> list[str]:
    """The path of *path* by every way a raw one takes, and what an event would carry of it."""
    found = [clean_path(path), context_by_wsgi(path).path, RequestContext.from_asgi({"path": path}).path]
    return [*found, clean_route(path), RequestContext(path).path, route_of(path, {}, "/x/{y}")]


@given(before=st.lists(WORDS, max_size=4), secret=SECRETS, after=st.lists(WORDS, max_size=4))
@example(before=[], secret="0aaaaaca", after=[])
@example(before=[], secret="aaaaaaaa", after=[])
@examples(1500)
def test_no_id_or_secret_stays_in_a_path(before: list[str], secret: str, after: list[str]) -> None:
    """Whatever stands for a person, a thing or a right in a raw path is replaced, and the words around it stay."""
    expected = "/" + "/".join([*before, "{id}", *after])

    for path in contexts("/" + "/".join([*before, secret, *after])):
        assert path == expected
    assert clean_route("/" + "/".join([*before, quote(secret, safe=""), *after])) == expected


@given(words=st.lists(WORDS, max_size=4), mark=QUERIES, secret=SECRETS | st.text(max_size=30), scheme=st.booleans())
@examples(500)
def test_no_query_stays(words: list[str], mark: str, secret: str, scheme: bool) -> None:
    """Query and fragment are cut off, whatever is in them, and so are host and credentials."""
    path = "/" + "/".join(words)
    origin = "https://ada:secret@acme.example" if scheme else ""

    assert clean_path(f"{origin}{path}{mark}{secret}") == path
    assert clean_route(f"{origin}{path}{mark}{secret}") == path
    assert context_by_wsgi(f"{origin}{path}{mark}{secret}").path == path


@given(path=st.text() | st.lists(st.text(), max_size=20).map("/".join))
@examples(1500)
def test_cleaning_ends(path: str) -> None:
    """Any text becomes an absolute path of bounded size that stays as it is when cleaned again, by either rule."""
    for cleaned in contexts(path):
        assert cleaned.startswith("/")
        assert len(cleaned) <= 17 * 42
        assert not set("?#;%@ \t\n\\") & set(cleaned.replace("@{", "{"))
        assert clean_route(cleaned) == cleaned
        cleaned.encode()
    assert clean_path(clean_path(path)) == clean_path(path)


@given(
    values=st.dictionaries(NAMES, st.text(string.ascii_lowercase, min_size=1), max_size=6),
)
@examples(500)
def test_no_value_the_framework_found_stays(values: dict[str, str]) -> None:
    """Of a path's variables only the names stay, words or not, and with the template all of them are known."""
    assume(not set(values.values()) & {"x", "y"})
    path = "/x/" + "".join(f"{value}/y/" for value in values.values())
    template = "/x/" + "".join(f"{{{name}}}/y/" for name in values)

    assert not set(route_of(path, values).split("/")) & set(values.values())
    assert route_of(path, values, template) == template
    assert route_of(path, {}, template) == template


@given(
    environ=st.dictionaries(st.sampled_from((*ENVIRON, "werkzeug.request")), ANYTHING),
    agent=AGENTS,
)
@examples(500)
def test_any_environ(environ: dict[str, Any], agent: str) -> None:
    """An environ of whatever content has a context, and no header is in it."""
    for given_ in (environ, {**environ, "HTTP_USER_AGENT": agent}):
        context = RequestContext.from_wsgi(given_)
        assert context.path.startswith("/")
        assert context.device in DEVICES
        assert len(context.browser) <= 32


@given(
    scope=st.dictionaries(st.sampled_from(SCOPE), ANYTHING | st.dictionaries(st.text() | st.integers(), ANYTHING)),
    route=ANYTHING,
    agent=AGENTS,
)
@examples(500)
def test_any_scope(scope: dict[str, Any], route: Any, agent: str) -> None:
    """A scope of whatever content has a context, and no header is in it."""
    headers = [(b"user-agent", agent.encode("utf-8", "replace"))]
    for given_ in (scope, {**scope, "headers": headers, "route": SimpleNamespace(path=route)}):
        context = RequestContext.from_asgi(given_)
        assert context.path.startswith("/")
        assert context.device in DEVICES
        assert len(context.browser) <= 32
