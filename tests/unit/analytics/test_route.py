"""What is left of a path."""

from __future__ import annotations

import random
import string
from typing import Any
from uuid import UUID, uuid4

import pytest

from telemetry_sdk.analytics.route import clean_path, clean_route, route_of

# Words as programmers choose them for routes.
ROUTE_WORDS = " ".join(
    (
        "login logout signin signup register accounts profile preferences dashboard dashboards administration",
        "users groups organizations organisations projects workspace workspaces workflow notebook notebooks",
        "tasks timer timers invoices payments subscription subscriptions checkout cart orders products",
        "catalogue categories search results uploads download downloads documents reports analytics",
        "statistics metrics export exports webhooks callback authorize tokens sessions password verification",
        "confirm invitations members membership permissions security privacy helpdesk feedback survey",
        "articles calendar schedules reminders notifications messages attachments thumbnails playlists",
        "bookmarks favourites history activity monitoring healthz readiness liveness documentation openapi",
        "swagger graphql playground javascript stylesheets manifest sitemap unsubscribe newsletter",
        "marketplace templates translations localization currency addresses shipping inventory warehouse",
        "suppliers customers opportunities pipelines deployments environments repositories milestones",
        "whiteboard editor preview publish archives restore backups snapshots workshops transcripts",
        "checklists shortcuts authenticator twofactor onboarding offboarding timesheets stopwatch countdown",
        "bookkeeping",
    )
)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/notes",
            "/notes/",
            "/time-entries/recent_ones",
            "/a/b/c",
            "/api/v1/users/me",
            "/api/v1.2/oauth2/token",
        ),
        *("/.well-known/openid-configuration", "/favicon.ico", "/index.html", "/_next/static", "/app.min.js"),
        *("/getUserById", "/XMLHttpRequest", "/iPhone", "/OAuth", "/FAQ", "/en-US/docs", "/zh-Hans", "/2fa", "/mp3"),
        *("/über-uns", "/caf\u00e9", "/\u30e6\u30fc\u30b6\u30fc", "/{id}/x"),
    ],
)
def test_words_stay(path: str) -> None:
    """What reads like words that a programmer chose is kept as it is."""
    assert clean_path(path) == path


def test_route_words_stay() -> None:
    """No ordinary word of a route is taken for a secret."""
    assert [word for word in ROUTE_WORDS.split() if clean_path(f"/{word}") != f"/{word}"] == []


@pytest.mark.parametrize(
    "segment",
    [
        *(
            "1",
            "17",
            "0",
            "007",
            "-5",
            "3.14",
            "1e9",
            "k5",
            "7x",
            "2024",
            "2024-05-01",
            "20240501T1200Z",
            "10.0.0.1",
            "1,2",
            "5%",
        ),
        *("2ab2916d-a51f-4ac8-80ee-45ac31a28092", "2AB2916DA51F4AC880EE45AC31A28092", "{2ab2916d-a51f-4ac8}"),
        *("deadbeef", "DEADBEEF", "3f2a9c1b", "a1b2c3", "user42", "order-12345", "item-7", "ab12", "x1y2z3"),
        *("ada@example.org", "ada%40example.org", "@ada", "~ada", "+4366012345", "ada lovelace", "a+b", "a=b", "a&b"),
        *("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "dGhpcyBpcyBh", "aGVsbG", "aBcDeF", "KXJQWPZ", "qwkzxvbnmpl"),
        *("sk_live_4eC39HqLyjWDarjtT1", "AKIAIOSFODNN7EXAMPLE", "glc_c2VjcmV0", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        *("xkqzwpvbtrmnd", "a-title-that-is-much-too-long-for-any-route", "one-two-three-four-five-six-seven"),
        *("donaudampfschifffahrtsgesellschaft", "a" * 41, "\ud800", "a\ud800", "a\x00b", "\ufffd", "{", "{ada}", "*"),
        *("<script>", "'--", "__", "-", "a--b", "a%2Fb", "\u0663", "app.3f2a9c1b.js", "alice.example.com.backup7z9"),
    ],
)
def test_what_looks_like_an_id_or_a_secret_is_replaced(segment: str) -> None:
    """Numbers, dates, ids, tokens, addresses and everything that is no word becomes a placeholder."""
    assert clean_path(f"/notes/{segment}/edit") == "/notes/{id}/edit"


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", "/"),
        ("notes", "/notes"),
        ("/notes?q=ada", "/notes"),
        ("/notes/?q=ada", "/notes/"),
        ("/notes#ada", "/notes"),
        ("/notes?a=/b/c", "/notes"),
        ("/notes;jsessionid=AB12/list;v=2?x", "/notes/list"),
        ("/a//b///c", "/a/b/c"),
        ("/a/./b/../c", "/a/c"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/..", "/"),
        ("https://acme.example/notes?q=ada", "/notes"),
        ("https://ada:secret@acme.example:8443/notes", "/notes"),
        ("app+v1.x://host/deep/er", "/deep/er"),
        ("https://acme.example", "/"),
        ("//acme.example/notes", "/notes"),
        (" /notes ", "/notes"),
        ("*", "/{id}"),
        ("/a" * 16, "/a" * 16),
        ("/a" * 17, "/a" * 16 + "/{id}"),
        ("/a" * 9_999, "/a" * 16 + "/{id}"),
        ("/ab/" + "x" * 9_999, "/ab/{id}"),
        ("/" + "x" * 2043 + "/ada12345", "/{id}/{id}"),  # of what is cut in two, no half stays
    ],
)
def test_of_a_path_only_the_route_is_left(path: str, cleaned: str) -> None:
    """No query, fragment, parameter, host or credential stays, dots are resolved, and the length is bounded."""
    assert clean_path(path) == cleaned
    assert clean_route(path) == cleaned


@pytest.mark.parametrize(
    ("route", "cleaned"),
    [
        ("/notes/<int:note_id>", "/notes/{note_id}"),
        ("/notes/<note_id>/edit", "/notes/{note_id}/edit"),
        ("/files/<path:name>", "/files/{name}"),
        ("/<string(length=2):lang>/about", "/{lang}/about"),
        ("/notes/{note_id}", "/notes/{note_id}"),
        ("/notes/{note_id:int}/", "/notes/{note_id}/"),
        (r"/year/{year:\d{4}}", "/year/{year}"),
        ("notes/<int:pk>/", "/notes/{pk}/"),
        (r"^articles/(?P<year>[0-9]{4})/(?P<slug>[^/]+)/$", "/articles/{year}/{slug}/"),
        (r"^(?P<kind>(?:a|b)+)/x\Z", "/{kind}/x"),
        ("/users/:id/edit", "/users/{id}/edit"),
        ("/{name}.json", "/{name}.json"),
        ("/@{user}", "/@{user}"),
        ("/workflow/strengths/qwkzxvbnmpl", "/workflow/strengths/qwkzxvbnmpl"),
        ("/notes/17", "/notes/{id}"),
        ("/notes/2ab2916d-a51f-4ac8-80ee-45ac31a28092?x=1", "/notes/{id}"),
        ("/bot123456:AAF-x7/{event}", "/{id}/{event}"),
        ("/reset/{token}ab12", "/reset/{id}"),
        ("/{not a name}", "/{id}"),
        ("/caf%C3%A9/%31%37", "/caf\u00e9/{id}"),
        ("/%2e%2e/a%2Fb", "/{id}/{id}"),
        ("https://ada:secret@acme.example/notes?q", "/notes"),
        ("", "/"),
    ],
)
def test_routes_of_every_kind(route: str, cleaned: str) -> None:
    """Variables of all frameworks read alike, words are believed, and what a programmer's path leads to is replaced."""
    assert clean_route(route) == cleaned
    assert clean_route(cleaned) == cleaned


class Looked:
    """What a converter made of a value."""

    def __str__(self) -> str:
        raise RuntimeError("never asked")


@pytest.mark.parametrize(
    ("path", "values", "route", "found"),
    [
        ("/notes/17", {"note_id": 17}, "/notes/{note_id:int}", "/notes/{note_id}"),
        ("/notes/0017", {"note_id": 17}, "/notes/{note_id:int}", "/notes/{note_id}"),
        ("/notes/17", {"note_id": 17}, None, "/notes/{note_id}"),
        ("/u/ada", {"user": "ada"}, "/u/<user>", "/u/{user}"),
        ("/u/ada", {"user": "ada"}, None, "/u/{user}"),
        ("/u/ada", {"user": Looked()}, "/u/{user:account}", "/u/{user}"),
        ("/users/users", {"name": "users"}, "/users/{name}", "/users/{name}"),
        ("/users/users", {"name": "users"}, None, "/{name}/{name}"),  # rather too much than too little
        # Mounted, or included with a prefix: the template covers the end.
        ("/api/ada/notes/17", {"tenant": "ada", "note_id": "17"}, "/notes/{note_id}", "/api/{tenant}/notes/{note_id}"),
        ("/app/u/ada", {}, "/u/{user}", "/app/u/{user}"),
        ("/17/u/ada", {}, "/u/{user}", "/{id}/u/{user}"),
        # A variable that holds slashes.
        ("/files/a/b/ada", {"name": "a/b/ada"}, "/files/{name:path}", "/files/{name}"),
        ("/x/ada/a/b", {"user": "ada", "name": "a/b"}, "/{name:path}", "/x/{user}/{name}"),
        ("/x/ada/note", {"user": "ada", "name": "ada/note"}, None, "/x/{name}"),
        ("/" + "a/" * 40, {"name": "a/" * 40}, "/{name:path}", "/{name}/"),
        # The template of another route, or of none, explains nothing.
        ("/notes/17", {}, "/users/{id}/x", "/notes/{id}"),
        ("/notes/17", {}, "/a/b/c", "/notes/{id}"),
        ("/notes", {}, "", "/notes"),
        ("/", {}, "/", "/"),
        ("/notes/{ada}", {"n": "{ada}"}, None, "/notes/{id}"),
        ("/notes/ada", {"not a name": "ada"}, None, "/notes/{id}"),
        ("/notes/ada", {"n": b"ada", "m": None, "o": ""}, None, "/notes/ada"),
        (
            "/n/2ab2916d-a51f-4ac8-80ee-45ac31a28092",
            {"u": UUID("2ab2916d-a51f-4ac8-80ee-45ac31a28092")},
            None,
            "/n/{u}",
        ),
        ("/mounted/17", {}, "/mounted", "/mounted/{id}"),
    ],
)
def test_route_of_a_request(path: str, values: dict[str, Any], route: str | None, found: str) -> None:
    """The framework's template and values explain the path; what they do not explain is cleaned."""
    assert route_of(path, values, route) == found


def test_random_tokens_seldom_pass() -> None:
    """Of random tokens of sixteen letters and more, even those without a digit, few read like a word."""
    draw = random.Random(20260101)
    passed = {}
    for alphabet in (string.ascii_lowercase, string.ascii_letters, string.ascii_letters + string.digits + "-_"):
        tokens = ["".join(draw.choices(alphabet, k=draw.randint(16, 24))) for _ in range(2000)]
        passed[alphabet] = sum(clean_path(f"/{token}") != "/{id}" for token in tokens)

    assert all(number <= most for number, most in zip(passed.values(), (140, 70, 8), strict=True)), passed
    assert all(clean_path(f"/{uuid4().hex}") == "/{id}" for _ in range(2000))
