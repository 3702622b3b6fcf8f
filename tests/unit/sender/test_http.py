"""What a request looks like, and what is made of an answer; the wire itself is in unit/sender/test_wire.py."""

from __future__ import annotations

import gzip
import http.client

import pytest
import requests
import responses
import urllib3.exceptions

from telemetry_sdk import __version__
from telemetry_sdk.model import Answer
from telemetry_sdk.sender.endpoint import Sink
from telemetry_sdk.sender.http import ANSWER_LIMIT, HttpSender

URL = "http://sink.example:4318/v1/logs"
BODY = b'{"resourceLogs":[]}'


@pytest.fixture
def net():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def send(body: bytes = BODY, **options: object) -> Answer:
    sender = HttpSender(Sink(URL, "sink.example:4318", **options))
    try:
        return sender.send(body, lambda: None, 5.0)
    finally:
        sender.close()


def request_of(net: responses.RequestsMock, body: bytes = BODY, **options: object) -> requests.PreparedRequest:
    net.post(URL, status=204)
    send(body, **options)
    return net.calls[0].request


def test_a_request_has_exactly_these_headers(net):
    """The Content-Type is application/json without a charset, which Loki refuses; nothing names program or machine."""
    request = request_of(net)

    assert (request.method, request.url, request.body) == ("POST", URL, BODY)
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"telemetry-sdk-python/{__version__}",
        "Content-Length": str(len(BODY)),
    }


def test_the_sinks_headers_are_sent_as_they_are(net):
    """Authorization and the integrator's headers go along unchanged."""
    headers = (("Authorization", "Basic MTIzOnNlY3JldA=="), ("X-Scope-OrgID", "tenant"))

    found = request_of(net, headers=headers).headers

    assert found["Authorization"] == "Basic MTIzOnNlY3JldA=="
    assert found["X-Scope-OrgID"] == "tenant"


@pytest.mark.parametrize("name", ["content-type", "ACCEPT-ENCODING", "User-agent", "accept"])
def test_our_own_headers_win(net, name):
    """However it is written, no header of the integrator takes the place of one of ours."""
    found = request_of(net, headers=((name, "theirs"),)).headers

    assert "theirs" not in found.values()


@pytest.mark.parametrize(
    ("size", "compress", "compressed"),
    [(1024, True, False), (1025, True, True), (100_000, True, True), (100_000, False, False)],
)
def test_bodies_over_one_kib_are_compressed(net, size, compress, compressed):
    """A body over 1 KiB travels as gzip unless the operator switched that off; a small one as it is."""
    body = b"x" * size

    request = request_of(net, body, compress=compress)

    assert request.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(request.body) if compressed else request.body) == body
    assert request.headers["Content-Length"] == str(len(request.body))


def test_a_retry_is_byte_identical_also_compressed(net):
    """The same body gives the same bytes at any time: no time stamp in the gzip header."""
    net.post(URL, status=204)
    for _ in range(2):
        send(b"x" * 5000)

    first, second = (call.request for call in net.calls)
    assert first.body == second.body
    assert first.body[4:8] == bytes(4)


@pytest.mark.parametrize("status", [200, 201, 204, 260, 302, 400, 401, 404, 410, 413, 422, 429, 500, 503, 599])
def test_status_and_headers_are_passed_on(net, status):
    """Every status is an answer, with the headers that verdicts are made of."""
    headers = {
        "Retry-After": "120",
        "Date": "Thu, 28 May 2026 20:26:40 GMT",
        "Content-Type": "Text/HTML; Charset=UTF-8",
    }
    body = b"" if status == 204 else b"some\xffbytes"
    net.post(URL, status=status, body=body, headers=headers)

    assert send() == Answer(status, body, "text/html; charset=utf-8", "120", "Thu, 28 May 2026 20:26:40 GMT")


def test_an_answer_without_headers(net):
    """Headers that are not there are empty or None."""
    net.post(URL, status=204, content_type=None)

    assert send() == Answer(204, b"", "", None, None)


@pytest.mark.parametrize(("size", "kept"), [(ANSWER_LIMIT, True), (ANSWER_LIMIT + 1, False)])
def test_an_answer_is_kept_up_to_its_limit(net, size, kept):
    """A body up to 64 KiB is passed on; of a longer one nothing."""
    net.post(URL, body=b"x" * size)

    assert send().body == (b"x" * size if kept else None)


@pytest.mark.parametrize("location", ["http://elsewhere.example/", "/v1/logs", "", "http://[bad", "//", "\xff", None])
def test_redirects_are_not_followed(net, location):
    """A redirect is an answer like any other, wherever it points, also where that makes no sense."""
    net.post(URL, status=302, headers={"Location": location} if location is not None else {})

    assert send(headers=(("Authorization", "Basic secret"),)).status == 302
    assert len(net.calls) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ConnectTimeout("http://sink.example"), "no connection in time"),
        (requests.ReadTimeout("http://sink.example"), "no answer in time"),
        (requests.exceptions.SSLError("sink.example"), "no TLS there"),
        (requests.exceptions.InvalidURL("sink.example"), "no connection (InvalidURL)"),
        (requests.exceptions.ProxyError("sink.example"), "the proxy did not let it through"),
        (OSError("sink.example"), "no connection (OSError)"),
        (ValueError("sink.example"), "no connection (ValueError)"),
        (UnicodeError("sink.example"), "no connection (UnicodeError)"),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("x", http.client.RemoteDisconnected("x"))),
            "connection broken off",
        ),
        (
            requests.ConnectionError(
                urllib3.exceptions.MaxRetryError(
                    None, URL, urllib3.exceptions.NameResolutionError("sink.example", None, OSError("sink.example"))
                )
            ),
            "host name not found",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_answer_says_why_in_plain_words(net, error, words):
    """What the world does is an Answer without a status, and why: no host, no path, no secret."""
    net.post(URL, body=error)

    assert send() == Answer(None, error=words)


def test_a_bug_of_ours_is_raised(net):
    """An error that is not the world's is not hidden here."""
    net.post(URL, body=KeyError("bug"))

    with pytest.raises(KeyError):
        send()


def test_a_sender_may_be_closed_and_abandoned_at_any_time(net):
    """Before the first request, twice, and between requests: the next one is sent all the same."""
    net.post(URL, status=204)
    sender = HttpSender(Sink(URL, "sink.example"))
    for _ in range(2):
        sender.close()
        sender.abandon()
        assert sender.send(BODY, lambda: None, 5.0).status == 204
    sender.close()
