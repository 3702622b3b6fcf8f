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
from telemetry_sdk.analytics.scope import Ambient, RequestScope
from telemetry_sdk.model import InvalidEventError

NOTES = RequestContext("/notes/{id}", "Firefox", "desktop")
SERVER_MADE = [WsgiRequest({"PATH_INFO": "/notes"}), AsgiRequest({"path": "/notes"})]


@pytest.fixture
def ambient() -> Iterator[Ambient]:
    """The bindings of one app; whatever a test binds is unbound after it."""
    made = Ambient("acme-notes")
    yield made
    made.bind_user(None)


def user(ambient: Ambient) -> Any:
    return ambient.user_or(None)


def in_thread(call: Any) -> Any:
    """What *call* returns in a new thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_a_user_is_bound_and_unbound(ambient: Ambient) -> None:
    """The bound user stands in for one that is not given."""
    ambient.bind_user("ada")

    assert (ambient.user_or(None), ambient.user_or("bob"), ambient.user_or(0)) == ("ada", "bob", 0)
    ambient.bind_user(None)
    assert user(ambient) is None


def test_each_app_has_its_own(ambient: Ambient) -> None:
    """Two programs in one process share neither user nor request."""
    other = Ambient("acme-other")
    ambient.bind_user("ada")
    with ambient.request(NOTES):
        assert (user(other), other.attributes()) == (None, {})
        with other.request("/other"):
            other.bind_user("bob")
            assert (user(ambient), ambient.attributes()["path"]) == ("ada", "/notes/{id}")
            assert (user(other), other.attributes()["path"]) == ("bob", "/other")
    assert user(other) is None


def test_each_thread_has_its_own(ambient: Ambient) -> None:
    """A thread knows nothing of what is bound in another."""
    ambient.bind_user("ada")
    with ambient.request(NOTES):
        assert in_thread(lambda: (user(ambient), dict(ambient.attributes()))) == (None, {})
    in_thread(lambda: ambient.bind_user("bob"))

    assert user(ambient) == "ada"


def test_a_task_begins_with_what_its_maker_had(ambient: Ambient) -> None:
    """A task inherits the user, and what it binds itself stays its own."""

    async def child(name: str | None) -> Any:
        inherited = user(ambient)
        await asyncio.sleep(0)
        if name:
            ambient.bind_user(name)
        await asyncio.sleep(0)
        return inherited, user(ambient)

    async def main() -> Any:
        ambient.bind_user("ada")
        return await asyncio.gather(child("bob"), child("eve"), child(None)), user(ambient)

    assert asyncio.run(main()) == ([("ada", "bob"), ("ada", "eve"), ("ada", "ada")], "ada")


@pytest.mark.parametrize(
    ("context", "parts", "path", "browser"),
    [
        (NOTES, {}, "/notes/{id}", "Firefox"),
        (NOTES, {"path": "/x/<int:y>"}, "/x/{y}", "Firefox"),
        (NOTES, {"browser": "Chrome"}, "/notes/{id}", "Chrome"),
        ("/notes/17?q=ada", {}, "/notes/{id}", "unknown"),
        ("", {"browser": "Chrome"}, RequestContext("").path, "Chrome"),
        (None, {"path": "/users/<id>", "browser": "Chrome"}, "/users/{id}", "Chrome"),
        (lambda: NOTES, {}, "/notes/{id}", "Firefox"),
        (lambda: NOTES, {"path": "/x"}, "/x", "Firefox"),
        (WsgiRequest({"PATH_INFO": "/notes/17"}), {}, "/notes/{id}", "unknown"),
        (AsgiRequest({"path": "/notes/17"}), {"path": "/x"}, "/x", "unknown"),
    ],
)
def test_a_request_is_described_in_many_ways(
    ambient: Ambient, context: Any, parts: dict[str, str], path: str, browser: str
) -> None:
    """By a context, a function that returns one, a path, or parts of these; bound for the block only."""
    with ambient.request(context, **parts):
        assert (ambient.attributes()["path"], ambient.attributes()["browser"]) == (path, browser)
        assert ambient.attributes(path="/given")["path"] == "/given"
    assert ambient.attributes() == {}


@pytest.mark.parametrize(
    ("context", "parts"), [(None, {}), (None, {"browser": "Firefox"}), (5, {}), ({"path": "/x"}, {}), (b"/x", {})]
)
def test_what_describes_no_request(ambient: Ambient, context: Any, parts: dict[str, str]) -> None:
    """Anything else is refused, by name and not by value."""
    with pytest.raises(InvalidEventError, match="needs a RequestContext"):
        ambient.request(context, **parts)


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
    ambient: Ambient, context: Any, parts: dict[str, str], found: tuple[str, str, str]
) -> None:
    """Within a request a path alone keeps its browser and device; a whole context stands for itself."""
    with ambient.request(WsgiRequest({"PATH_INFO": "/notes/17", "HTTP_USER_AGENT": FIREFOX})):
        with ambient.request(context, **parts):
            assert tuple(ambient.attributes().values()) == found
        assert tuple(ambient.attributes().values()) == ("/notes/{id}", "Firefox", "desktop")


def test_parts_look_at_the_request_around_them_when_asked(ambient: Ambient) -> None:
    """A route that becomes known within the block is seen; once the request is over, nothing of it is."""
    environ = {"PATH_INFO": "/notes/17", "HTTP_USER_AGENT": FIREFOX}
    outer = ambient.request(WsgiRequest(environ))
    with outer, ambient.request(None, browser="Chrome") as part:
        step = ambient.request(None, path="/step")
        environ[ROUTE_KEY] = "/notes/<note_id>"
        assert part.attributes() == {"path": "/notes/{note_id}", "browser": "Chrome", "device": "desktop"}
        outer.end()
        assert part.attributes() == {}
        assert step.attributes() == {"path": "/step", "browser": "unknown", "device": "unknown"}


def test_a_request_is_asked_only_when_an_event_is_made(ambient: Ambient) -> None:
    """Binding a request looks at nothing; each event asks again, for the route may be known by then."""
    asked: list[int] = []

    def context() -> RequestContext:
        asked.append(1)
        return RequestContext(f"/step-{'abc'[len(asked) - 1]}")

    with ambient.request(context):
        assert asked == []
        assert [ambient.attributes()["path"] for _ in "abc"] == ["/step-a", "/step-b", "/step-c"]


def broken() -> RequestContext:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("context", "parts"),
    [(broken, {}), (broken, {"path": "/x"}), (lambda: "/x", {}), (lambda: None, {"path": "/x"}), (lambda _: NOTES, {})],
)
def test_a_broken_context_costs_only_itself(ambient: Ambient, context: Any, parts: dict[str, str]) -> None:
    """A host's function that fails or returns something else leaves events without a context."""
    with ambient.request(context, **parts):
        assert ambient.attributes() == {}


def test_a_block_begins_with_the_user_outside_it(ambient: Ambient) -> None:
    """A block that the host opens knows the user bound before it, and forgets the one bound in it."""
    ambient.bind_user("ada")
    with ambient.request("/notes"):
        assert user(ambient) == "ada"
        ambient.bind_user("bob")
        with ambient.request("/inner"):
            assert (user(ambient), ambient.attributes()["path"]) == ("bob", "/inner")
            ambient.bind_user(None)
            assert user(ambient) is None
        assert (user(ambient), ambient.attributes()["path"]) == ("bob", "/notes")

    assert user(ambient) == "ada"


@pytest.mark.parametrize("request_", SERVER_MADE, ids=["wsgi", "asgi"])
def test_a_servers_request_begins_with_nobody(ambient: Ambient, request_: Any) -> None:
    """A user left behind in a server's thread does not become that of the next request, and comes back after it."""
    ambient.bind_user("ada")
    for name in ("bob", "eve"):
        with ambient.request(request_):
            assert user(ambient) is None
            ambient.bind_user(name)
            assert user(ambient) == name

    assert user(ambient) == "ada"


def test_the_parts_of_a_request_share_its_user(ambient: Ambient) -> None:
    """Whoever is bound in a copy of the context, as frameworks run sync functions, is bound for the whole request."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        with ambient.request(SERVER_MADE[0]):
            await loop.run_in_executor(None, contextvars.copy_context().run, ambient.bind_user, "ada")
            seen_here = user(ambient)
            seen_there = await loop.run_in_executor(None, contextvars.copy_context().run, user, ambient)
        return seen_here, seen_there, user(ambient)

    assert asyncio.run(main()) == ("ada", "ada", None)


def test_tasks_of_one_request_do_not_mix(ambient: Ambient) -> None:
    """Tasks of one request that bind users of their own keep them apart."""

    async def part(name: str) -> Any:
        ambient.bind_user(name)
        for _ in range(3):
            await asyncio.sleep(0)
        return user(ambient)

    async def main() -> Any:
        with ambient.request("/batch"):
            return await asyncio.gather(*(part(f"u-{n}") for n in range(20)))

    assert asyncio.run(main()) == [f"u-{n}" for n in range(20)]


def test_work_that_outlives_its_request_is_not_about_it(ambient: Ambient) -> None:
    """A task left behind has neither the user nor the path of a request that is over, and binds for itself alone."""

    async def main() -> Any:
        over = asyncio.Event()

        async def left_behind() -> Any:
            ambient.bind_user("bob")
            await over.wait()
            after = user(ambient), dict(ambient.attributes())
            ambient.bind_user("eve")
            return (*after, user(ambient))

        with ambient.request("/notes"):
            ambient.bind_user("ada")
            task = asyncio.create_task(left_behind())
            await asyncio.sleep(0)
        over.set()
        return await task, user(ambient)

    assert asyncio.run(main()) == ((None, {}, "eve"), None)


def test_a_scope_lets_go_of_the_request(ambient: Ambient) -> None:
    """What a request held is not kept alive by a context that was copied from it."""
    scope = ambient.request(NOTES)
    with scope:
        left = contextvars.copy_context()
        ambient.bind_user("ada")

    assert (scope.over, scope.user, scope._source) == (True, None, None)
    assert left.run(ambient.attributes) == {}


def test_a_scope_may_be_entered_again(ambient: Ambient) -> None:
    """A block within the block of the same scope ends nothing; the outer one does."""
    with ambient.request("/notes") as scope:
        ambient.bind_user("ada")
        with scope:
            assert (user(ambient), ambient.attributes()["path"]) == ("ada", "/notes")
        assert (user(ambient), ambient.attributes()["path"]) == ("ada", "/notes")

    assert ambient.attributes() == {}


def test_leaving_in_another_context(ambient: Ambient) -> None:
    """A block that is left elsewhere, as a generator's may be, is over in the context it was entered in too."""
    scope = ambient.request("/notes")
    scope.__enter__()
    ambient.bind_user("ada")
    contextvars.Context().run(scope.__exit__, None, None, None)

    assert (user(ambient), ambient.attributes()) == (None, {})


def test_leaving_what_was_not_entered(ambient: Ambient) -> None:
    """A scope that was never entered can be left."""
    RequestScope("acme-notes").__exit__(None, None, None)

    assert ambient.attributes() == {}


def test_run_binds_for_one_call(ambient: Ambient) -> None:
    """`run` binds for the call alone, keeps the user from one call to the next, and lets exceptions through."""
    ambient.bind_user("ada")
    scope = ambient.request(WsgiRequest({"PATH_INFO": "/notes"}))

    scope.run(ambient.bind_user, "bob")
    assert (user(ambient), ambient.attributes()) == ("ada", {})
    assert scope.run(user, ambient) == "bob"
    assert in_thread(lambda: scope.run(user, ambient)) == "bob"
    assert scope.run(ambient.attributes, browser="Firefox")["browser"] == "Firefox"
    with pytest.raises(ZeroDivisionError):
        scope.run(divmod, 1, 0)
    assert user(ambient) == "ada"
    scope.end()
    assert scope.run(user, ambient) is None


def test_many_threads_and_requests(ambient: Ambient) -> None:
    """Threads of a pool that take one request after the other, all at the same time, never mix them."""
    barrier = threading.Barrier(8)
    mixed: list[Any] = []

    def serve(number: int) -> None:
        with ambient.request(WsgiRequest({"PATH_INFO": f"/{'abcdefgh'[number % 8]}/x"})):
            begun = user(ambient)
            ambient.bind_user(f"u-{number}")
            barrier.wait(30)
            found = begun, user(ambient), ambient.attributes()["path"]
            barrier.wait(30)
        if found != (None, f"u-{number}", f"/{'abcdefgh'[number % 8]}/x") or user(ambient) is not None:
            mixed.append(found)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(serve, range(160)))

    assert mixed == []
