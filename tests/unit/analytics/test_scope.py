"""The user and the request that are bound for a context."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from telemetry_sdk.analytics.request import ROUTE_KEY, AsgiRequest, RequestContext, WsgiRequest
from telemetry_sdk.analytics.scope import RequestScope, Scope
from telemetry_sdk.model import InvalidEventError

NOTES = RequestContext("/notes/{id}", "Firefox", "desktop")
SERVER_MADE = [WsgiRequest({"PATH_INFO": "/notes"}), AsgiRequest({"path": "/notes"})]


@pytest.fixture
def scope() -> Iterator[Scope]:
    """The bindings of one app; whatever a test binds is unbound after it."""
    made = Scope("acme-notes")
    yield made
    made.bind_user(None)


def user(scope: Scope) -> Any:
    return scope.user_or(None)


def in_thread(call: Any) -> Any:
    """What *call* returns in a new thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_a_user_is_bound_and_unbound(scope: Scope) -> None:
    """The bound user stands in for one that is not given."""
    scope.bind_user("ada")

    assert (scope.user_or(None), scope.user_or("bob"), scope.user_or(0)) == ("ada", "bob", 0)
    scope.bind_user(None)
    assert user(scope) is None


def test_each_app_has_its_own(scope: Scope) -> None:
    """Two programs in one process share neither user nor request."""
    other = Scope("acme-other")
    scope.bind_user("ada")
    with scope.request(NOTES):
        assert (user(other), other.attributes()) == (None, {})
        with other.request("/other"):
            other.bind_user("bob")
            assert (user(scope), scope.attributes()["path"]) == ("ada", "/notes/{id}")
            assert (user(other), other.attributes()["path"]) == ("bob", "/other")
    assert user(other) is None


def test_each_thread_has_its_own(scope: Scope) -> None:
    """A thread knows nothing of what is bound in another."""
    scope.bind_user("ada")
    with scope.request(NOTES):
        assert in_thread(lambda: (user(scope), dict(scope.attributes()))) == (None, {})
    in_thread(lambda: scope.bind_user("bob"))

    assert user(scope) == "ada"


def test_a_task_begins_with_what_its_maker_had(scope: Scope) -> None:
    """A task inherits the user, and what it binds itself stays its own."""

    async def child(name: str | None) -> Any:
        inherited = user(scope)
        await asyncio.sleep(0)
        if name:
            scope.bind_user(name)
        await asyncio.sleep(0)
        return inherited, user(scope)

    async def main() -> Any:
        scope.bind_user("ada")
        return await asyncio.gather(child("bob"), child("eve"), child(None)), user(scope)

    assert asyncio.run(main()) == ([("ada", "bob"), ("ada", "eve"), ("ada", "ada")], "ada")


@pytest.mark.parametrize(
    ("context", "parts", "path", "browser"),
    [
        (NOTES, {}, "/notes/{id}", "Firefox"),
        (NOTES, {"path": "/x/<int:y>"}, "/x/{y}", "Firefox"),
        (NOTES, {"browser": "Chrome"}, "/notes/{id}", "Chrome"),
        ("/notes/{id}?q=ada", {}, "/notes/{id}", "unknown"),
        ("", {"browser": "Chrome"}, None, "Chrome"),
        (None, {"path": "/users/<id>", "browser": "Chrome"}, "/users/{id}", "Chrome"),
        (lambda: NOTES, {}, "/notes/{id}", "Firefox"),
        (lambda: NOTES, {"path": "/x"}, "/x", "Firefox"),
        (WsgiRequest({"PATH_INFO": "/notes/17"}), {}, None, "unknown"),
        (WsgiRequest({"PATH_INFO": "/notes/17", ROUTE_KEY: "/notes/<id>"}), {}, "/notes/{id}", "unknown"),
        (AsgiRequest({"path": "/notes/17"}), {"path": "/x"}, "/x", "unknown"),
    ],
)
def test_a_request_is_described_in_many_ways(
    scope: Scope, context: Any, parts: dict[str, str], path: str | None, browser: str
) -> None:
    """By a context, a function that returns one, a path, or parts of these; bound for the block only."""
    with scope.request(context, **parts):
        assert (scope.attributes().get("path"), scope.attributes()["browser"]) == (path, browser)
        assert scope.attributes(path="/given")["path"] == "/given"
    assert scope.attributes() == {}


@pytest.mark.parametrize(
    ("context", "parts"), [(None, {}), (None, {"browser": "Firefox"}), (5, {}), ({"path": "/x"}, {}), (b"/x", {})]
)
def test_what_describes_no_request(scope: Scope, context: Any, parts: dict[str, str]) -> None:
    """Anything else is refused, by name and not by value."""
    with pytest.raises(InvalidEventError, match="needs a RequestContext"):
        scope.request(context, **parts)


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.mark.parametrize(
    ("context", "parts", "found"),
    [
        ("/step", {}, ("/step", "Firefox", "desktop")),
        (None, {"path": "/step/<int:n>"}, ("/step/{n}", "Firefox", "desktop")),
        (None, {"browser": "Chrome"}, ("/notes/{id}", "Chrome", "desktop")),
        ("/step", {"device": "bot"}, ("/step", "Firefox", "bot")),
        (RequestContext("/step"), {}, ("/step", "unknown", "unknown")),
        (lambda: RequestContext("/step"), {"device": "tv"}, ("/step", "unknown", "tv")),
    ],
)
def test_parts_are_parts_of_the_request_around_them(
    scope: Scope, context: Any, parts: dict[str, str], found: tuple[str, str, str]
) -> None:
    """Within a request a path alone keeps its browser and device; a whole context stands for itself."""
    environ = {"PATH_INFO": "/notes/17", "HTTP_USER_AGENT": FIREFOX, ROUTE_KEY: "/notes/<id>"}
    with scope.request(WsgiRequest(environ)):
        with scope.request(context, **parts):
            assert tuple(scope.attributes().values()) == found
        assert tuple(scope.attributes().values()) == ("/notes/{id}", "Firefox", "desktop")


def test_parts_look_at_the_request_around_them_when_asked(scope: Scope) -> None:
    """A route that becomes known within the block is seen; once the request is over, nothing of it is."""
    environ = {"PATH_INFO": "/notes/17", "HTTP_USER_AGENT": FIREFOX}
    outer = scope.request(WsgiRequest(environ))
    with outer, scope.request(None, browser="Chrome") as part:
        step = scope.request(None, path="/step")
        assert part.attributes() == {"browser": "Chrome", "device": "desktop"}
        environ[ROUTE_KEY] = "/notes/<note_id>"
        assert part.attributes() == {"path": "/notes/{note_id}", "browser": "Chrome", "device": "desktop"}
        outer.end()
        assert part.attributes() == {}
        assert step.attributes() == {"path": "/step", "browser": "unknown", "device": "unknown"}


def test_a_request_is_asked_only_when_an_event_is_made(scope: Scope) -> None:
    """Binding a request looks at nothing; each event asks again, for the route may be known by then."""
    asked: list[int] = []

    def context() -> RequestContext:
        asked.append(1)
        return RequestContext(f"/step-{'abc'[len(asked) - 1]}")

    with scope.request(context):
        assert asked == []
        assert [scope.attributes()["path"] for _ in "abc"] == ["/step-a", "/step-b", "/step-c"]


def broken() -> RequestContext:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("context", "parts"),
    [(broken, {}), (broken, {"path": "/x"}), (lambda: "/x", {}), (lambda: None, {"path": "/x"}), (lambda _: NOTES, {})],
)
def test_a_broken_context_costs_only_itself(scope: Scope, context: Any, parts: dict[str, str]) -> None:
    """A host's function that fails or returns something else leaves events without a context."""
    with scope.request(context, **parts):
        assert scope.attributes() == {}


def test_a_block_begins_with_the_user_outside_it(scope: Scope) -> None:
    """A block that the host opens knows the user bound before it, and forgets the one bound in it."""
    scope.bind_user("ada")
    with scope.request("/notes"):
        assert user(scope) == "ada"
        scope.bind_user("bob")
        with scope.request("/inner"):
            assert (user(scope), scope.attributes()["path"]) == ("bob", "/inner")
            scope.bind_user(None)
            assert user(scope) is None
        assert (user(scope), scope.attributes()["path"]) == ("bob", "/notes")

    assert user(scope) == "ada"


@pytest.mark.parametrize("request_", SERVER_MADE, ids=["wsgi", "asgi"])
def test_a_servers_request_begins_with_nobody(scope: Scope, request_: Any) -> None:
    """A user left behind in a server's thread does not become that of the next request, and comes back after it."""
    scope.bind_user("ada")
    for name in ("bob", "eve"):
        with scope.request(request_):
            assert user(scope) is None
            scope.bind_user(name)
            assert user(scope) == name

    assert user(scope) == "ada"


def test_the_parts_of_a_request_share_its_user(scope: Scope) -> None:
    """Whoever is bound in a copy of the context, as frameworks run sync functions, is bound for the whole request."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        with scope.request(SERVER_MADE[0]):
            await loop.run_in_executor(None, contextvars.copy_context().run, scope.bind_user, "ada")
            seen_here = user(scope)
            seen_there = await loop.run_in_executor(None, contextvars.copy_context().run, user, scope)
        return seen_here, seen_there, user(scope)

    assert asyncio.run(main()) == ("ada", "ada", None)


def test_tasks_of_one_request_do_not_mix(scope: Scope) -> None:
    """Tasks of one request that bind users of their own keep them apart."""

    async def part(name: str) -> Any:
        scope.bind_user(name)
        for _ in range(3):
            await asyncio.sleep(0)
        return user(scope)

    async def main() -> Any:
        with scope.request("/batch"):
            return await asyncio.gather(*(part(f"u-{n}") for n in range(20)))

    assert asyncio.run(main()) == [f"u-{n}" for n in range(20)]


def test_work_that_outlives_its_request_is_not_about_it(scope: Scope) -> None:
    """A task left behind has neither the user nor the path of a request that is over, and binds for itself alone."""

    async def main() -> Any:
        over = asyncio.Event()

        async def left_behind() -> Any:
            scope.bind_user("bob")
            await over.wait()
            after = user(scope), dict(scope.attributes())
            scope.bind_user("eve")
            return (*after, user(scope))

        with scope.request("/notes"):
            scope.bind_user("ada")
            task = asyncio.create_task(left_behind())
            await asyncio.sleep(0)
        over.set()
        return await task, user(scope)

    assert asyncio.run(main()) == ((None, {}, "eve"), None)


def test_a_scope_lets_go_of_the_request(scope: Scope) -> None:
    """What a request held is not kept alive by a context that was copied from it."""
    request = scope.request(NOTES)
    with request:
        left = contextvars.copy_context()
        scope.bind_user("ada")

    assert (request.over, request.user, request._source) == (True, None, None)
    assert left.run(scope.attributes) == {}


def test_a_scope_may_be_entered_again(scope: Scope) -> None:
    """A block within the block of the same scope ends nothing; the outer one does."""
    with scope.request("/notes") as request:
        scope.bind_user("ada")
        with request:
            assert (user(scope), scope.attributes()["path"]) == ("ada", "/notes")
        assert (user(scope), scope.attributes()["path"]) == ("ada", "/notes")

    assert scope.attributes() == {}


def test_leaving_in_another_context(scope: Scope) -> None:
    """A block that is left elsewhere, as a generator's may be, is over in the context it was entered in too."""
    request = scope.request("/notes")
    request.__enter__()
    scope.bind_user("ada")
    contextvars.Context().run(request.__exit__, None, None, None)

    assert (user(scope), scope.attributes()) == (None, {})


def test_leaving_what_was_not_entered(scope: Scope) -> None:
    """A scope that was never entered can be left."""
    RequestScope("acme-notes").__exit__(None, None, None)

    assert scope.attributes() == {}


def test_run_binds_for_one_call(scope: Scope) -> None:
    """`run` binds for the call alone, keeps the user from one call to the next, and lets exceptions through."""
    scope.bind_user("ada")
    request = scope.request(WsgiRequest({"PATH_INFO": "/notes"}))

    request.run(scope.bind_user, "bob")
    assert (user(scope), scope.attributes()) == ("ada", {})
    assert request.run(user, scope) == "bob"
    assert in_thread(lambda: request.run(user, scope)) == "bob"
    assert request.run(scope.attributes, path="/x")["path"] == "/x"
    with pytest.raises(ZeroDivisionError):
        request.run(divmod, 1, 0)
    assert user(scope) == "ada"
    request.end()
    assert request.run(user, scope) is None


def test_many_threads_and_requests(scope: Scope) -> None:
    """Threads of a pool that take one request after the other, all at the same time, never mix them."""
    barrier = threading.Barrier(8)
    mixed: list[Any] = []

    def serve(number: int) -> None:
        with scope.request(WsgiRequest({"PATH_INFO": "/x", ROUTE_KEY: f"/{'abcdefgh'[number % 8]}/x"})):
            begun = user(scope)
            scope.bind_user(f"u-{number}")
            barrier.wait(30)
            found = begun, user(scope), scope.attributes()["path"]
            barrier.wait(30)
        if found != (None, f"u-{number}", f"/{'abcdefgh'[number % 8]}/x") or user(scope) is not None:
            mixed.append(found)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(serve, range(160)))

    assert mixed == []
