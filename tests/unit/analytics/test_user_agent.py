"""Families of browsers and devices."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
import ua_parser

from telemetry_sdk.analytics import request as user_agent
from telemetry_sdk.analytics.request import DEVICES, families, family_name


@pytest.fixture(autouse=True)
def any_number(monkeypatch):
    """Parse as many headers a second as come, and know none before the test."""
    monkeypatch.setattr(user_agent, "_MOST_PARSED", 10**9)
    user_agent._known.clear()


WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("header", "browser", "device"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/126.0.0.0 Safari/537.36", "Chrome", "desktop"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/126.0 Safari/537.36 Edg/126.0", "Edge", "desktop"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox", "desktop"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/126.0.0.0 Safari/537.36", "Chrome", "desktop"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/17.5 Safari/605.1.15", "Safari", "desktop"),
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; Tablet PC 2.0)", "IE", "desktop"),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1",
            "Mobile Safari",
            "mobile",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36",
            "Chrome Mobile",
            "mobile",
        ),
        ("Mozilla/5.0 (Android 13; Mobile; rv:109.0) Gecko/118.0 Firefox/118.0", "Firefox Mobile", "mobile"),
        (
            f"Mozilla/5.0 (Linux; Android 8; CUBOT) {WEBKIT} Chrome/70.0.3538.80 Mobile Safari/537.36",
            "Chrome Mobile",
            "mobile",
        ),
        (
            f"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) {WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1",
            "Mobile Safari",
            "tablet",
        ),
        (f"Mozilla/5.0 (Linux; Android 14; SM-X710) {WEBKIT} Chrome/126.0.0.0 Safari/537.36", "Chrome", "tablet"),
        ("Mozilla/5.0 (Android 13; Tablet; rv:109.0) Gecko/118.0 Firefox/118.0", "Firefox Mobile", "tablet"),
        (f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) {WEBKIT} Version/6.0 TV Safari/538.1", "Safari", "tv"),
        (f"Mozilla/5.0 (Web0S; Linux/SmartTV) {WEBKIT} Chrome/94.0 Safari/537.36 WebAppManager", "Chrome", "tv"),
        (f"Mozilla/5.0 (PlayStation; PlayStation 5/6.50) {WEBKIT} Version/13.0 Safari/605.1.15", "Safari", "console"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot", "bot"),
        (f"Mozilla/5.0 (Linux; Android 6; Nexus 5X) {WEBKIT} (compatible; Googlebot/2.1)", "Googlebot", "bot"),
        ("Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", "UptimeRobot", "bot"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/126.0.0.0 Safari/537.36", "HeadlessChrome", "bot"),
        ("curl/8.5.0", "curl", "bot"),
        ("python-requests/2.32.3", "Python Requests", "bot"),
        ("AcmeCrawler/1.0", "AcmeCrawler", "bot"),
        ("", "unknown", "unknown"),
        ("-", "unknown", "unknown"),
        ("Mozilla/5.0", "unknown", "unknown"),
        ("\ud800\u0000 \uffff", "unknown", "unknown"),
    ],
)
def test_families(header: str, browser: str, device: str) -> None:
    """Browser and device are told by family; whatever is no person's is a bot."""
    assert families(header) == (browser, device)
    assert device in DEVICES


@pytest.mark.parametrize(
    "header", ["kube-probe/1.29", "ELB-HealthChecker/2.0", "GoogleHC/1.0", "PostmanRuntime/7.39.0"]
)
def test_health_checks_are_bots(header: str) -> None:
    """Probes of a cluster or a load balancer and tools that try requests are no person's."""
    assert families(header)[1] == "bot"


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "A",
            "(",
            ")",
            " ",
            "; ",
            "a b",
            "1.1.",
            "Android ",
            "Android 1; ",
            "Build/",
            "; en-us; ",
            "x;",
            "-",
            "\\",
            "[",
        ),
        *("Mozilla/5.0 (Linux; Android 4.4; ", "bot ", "Version/", "compatible; ", "\ud800", "\u00e9"),
    ],
)
def test_hostile_headers_are_looked_at_for_256_characters(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a header is, no more than 256 ASCII characters of it are parsed."""
    parsed: list[str] = []
    parse = ua_parser.parse

    def spy(text: str) -> ua_parser.Result:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(ua_parser, "parse", spy)
    user_agent._known.clear()

    assert families(unit * (100_000 // len(unit)))[1] in DEVICES
    (text,) = parsed
    assert (len(text), text.isascii()) == (256, True)


def test_a_header_looked_at_early_leaves_nothing_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """After that ua-parser has looked at a header once, which is when it reads its tables."""
    parsed: list[str] = []
    parse = ua_parser.parse

    def spy(text: str) -> ua_parser.Result:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(ua_parser, "parse", spy)
    user_agent._known.clear()

    user_agent.families("Mozilla/5.0")

    assert len(parsed) == 1


def test_the_families_of_the_newest_headers_are_remembered_and_no_header() -> None:
    """However many headers come, the memory for them is bounded, and holds none of their text."""
    for number in range(1100):
        families(f"curl/{number}")

    assert len(user_agent._known) == 1024
    assert all(isinstance(key, int) for key in user_agent._known)
    assert "1099" not in repr(user_agent._known.values())


def test_only_a_few_headers_a_second_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends another one with each request is ``unknown`` after ten; what is known stays known."""
    now = [1000.0]
    monkeypatch.setattr(user_agent, "_MOST_PARSED", 10)
    monkeypatch.setattr(user_agent, "_parsed_at", deque(maxlen=10))
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    found = [families(f"curl/{number}") for number in range(15)]

    assert found == [("curl", "bot")] * 10 + [("unknown", "unknown")] * 5
    assert families("curl/3") == ("curl", "bot")
    now[0] += 1.0
    assert families("curl/14") == ("curl", "bot")


def test_loading_ahead() -> None:
    """A first header, looked at early, makes ua-parser ready, so that no request has to wait for its tables."""
    program = "import sys; from telemetry_sdk.analytics import request as user_agent; print('ua_parser' in sys.modules); user_agent.families('Mozilla/5.0'); print('ua_parser' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("broken", ["raise ImportError('not installed')", "VERSION = (0, 18, 0)"])
def test_without_ua_parser_all_is_unknown(tmp_path: Path, broken: str) -> None:
    """Without ua-parser, or with one too old to have `parse`, both families are unknown and nothing else changes."""
    (tmp_path / "ua_parser.py").write_text(broken)
    program = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from telemetry_sdk.web import RequestContext
from telemetry_sdk.analytics import request as user_agent
user_agent.families("Mozilla/5.0")
print(RequestContext.from_wsgi({{"PATH_INFO": "/notes/17", "HTTP_USER_AGENT": "curl/8.5.0"}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "RequestContext(path=None, browser='unknown', device='unknown')\n"


@pytest.mark.parametrize("name", ["Firefox", "Mobile Safari", "IE", "360 Browser", "Opera Mini", "Chrome-Lite 2.0"])
def test_names_of_families(name: str) -> None:
    """Short words name a family."""
    assert family_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Mozilla/5.0 (X11; Linux x86_64)",
        "curl/8.5.0",
        "a" * 33,
        "Firefox\n",
        "ada@example.org",
        "Fuchsbau\u00e4",
    ],
)
def test_a_header_names_no_family(text: str) -> None:
    """A whole header, or whatever else is no family's name, is unknown."""
    assert family_name(text) == "unknown"
