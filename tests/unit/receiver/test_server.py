"""The local receiver, spoken to over real HTTP on loopback."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import json
import logging
import math
import os
import socket
import stat
import struct
import sys
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from telemetry_sdk.receiver import Counts, InvalidRequest, Receiver
from telemetry_sdk.receiver import server as receiver_module
from telemetry_sdk.receiver.server import MAX_BODY, Intake
from telemetry_sdk.receiver.validation import received_records, validate_request

JSON_TYPE = {"Content-Type": "application/json"}
HEAD = b"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GZIP = {**JSON_TYPE, "Content-Encoding": "gzip"}
PATIENCE_S = 20.0  # guards against a hang, asserts no speed


def request_of(*names, padding=""):
    """A valid request with one record for each name."""
    records = [
        {
            "timeUnixNano": "1756000000123456789",
            "eventName": name,
            "attributes": [
                {"key": "log.record.uid", "value": {"stringValue": f"uid-{name}"}},
                {"key": "grüße", "value": {"stringValue": f"\u2028 \U0001f600{padding}"}},
            ],
        }
        for name in names
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "acme-notes"}}]}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}


def body_of(*names, padding=""):
    return json.dumps(request_of(*names, padding=padding), indent=2, ensure_ascii=False).encode()


def address_of(receiver):
    host, _, port = receiver.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def connect(receiver):
    return http.client.HTTPConnection(*address_of(receiver), timeout=PATIENCE_S)


def ask(connection, body=None, headers=JSON_TYPE, *, method="POST", path="/v1/logs"):
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    return response, response.read()


def send(receiver, body=None, headers=JSON_TYPE, *, method="POST", path="/v1/logs"):
    """Make one request on a connection of its own; return status, headers and decoded body."""
    connection = connect(receiver)
    try:
        response, content = ask(connection, body, headers, method=method, path=path)
    finally:
        connection.close()
    return response.status, response.headers, json.loads(content) if content else None


def raw(receiver, *pieces):
    """Send raw bytes and return everything that comes back until the receiver ends the connection."""
    with socket.create_connection(address_of(receiver), timeout=PATIENCE_S) as client:
        for piece in pieces:
            client.sendall(piece)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


def lines_of(file):
    text = Path(file).read_bytes()
    assert text.endswith(b"\n") or not text
    return text.split(b"\n")[:-1]


@pytest.fixture
def seen():
    return []


@pytest.fixture
def file(tmp_path):
    return tmp_path / "telemetry.jsonl"


@pytest.fixture
def receiver(file, seen):
    with Receiver(port=0, file=file, on_record=seen.append) as receiver:
        yield receiver


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", " application/json ;x=y"],
)
def test_a_valid_request_is_acknowledged_as_a_collector_does(receiver, seen, content_type):
    """A valid request is answered 200 with an empty partialSuccess, in JSON."""
    status, headers, answer = send(receiver, body_of("auth.login"), {"Content-Type": content_type})

    assert (status, answer) == (200, {"partialSuccess": {}})
    assert headers["Content-Type"] == "application/json"
    assert [record.event_name for record in seen] == ["auth.login"]
    assert seen[0].service_name == "acme-notes"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity", ""])
def test_known_encodings(receiver, seen, encoding):
    """Gzip is read, and so is a body that says it is not compressed."""
    body = gzip.compress(body_of("a.b")) if encoding.lower() == "gzip" else body_of("a.b")

    assert send(receiver, body, {**JSON_TYPE, "Content-Encoding": encoding})[0] == 200
    assert [record.uid for record in seen] == ["uid-a.b"]


def test_a_query_string_is_ignored(receiver):
    """The path decides, not what follows its question mark."""
    assert send(receiver, body_of("a.b"), path="/v1/logs?tenant=1")[0] == 200


@pytest.mark.parametrize("request_", [{}, {"resourceLogs": []}, {"resourceLogs": [{"scopeLogs": [{}]}]}])
def test_an_empty_request_is_accepted_and_not_kept(receiver, file, request_):
    """A request without records is a success that leaves no trace."""
    assert send(receiver, json.dumps(request_))[0] == 200
    assert lines_of(file) == []
    assert receiver.counts == Counts(requests=1)


BROKEN = b'{"resourceLogs": [{"resource": null}], "token": "s3cr3t"}'
SQUEEZED = gzip.compress(body_of("a.b"), mtime=0)


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"", JSON_TYPE),
        (400, b'{"resourceLogs":[', JSON_TYPE),
        (400, b"s3cr3t", JSON_TYPE),
        (400, BROKEN, JSON_TYPE),
        (400, b'{"x":NaN}', JSON_TYPE),
        (400, b'{"x":1e999}', JSON_TYPE),
        (400, b'{"resourceLogs":[],"resourceLogs":[]}', JSON_TYPE),
        (400, b'{"x":' + b"[" * 50_000, JSON_TYPE),
        (400, body_of("a.b"), GZIP),  # says gzip, is plain
        (400, SQUEEZED, JSON_TYPE),  # is gzip, does not say so
        (400, SQUEEZED[:-1], GZIP),
        (400, SQUEEZED[:20], GZIP),
        (400, SQUEEZED[:-8] + b"\0" * 8, GZIP),  # wrong checksum
        (400, SQUEEZED + b"x", GZIP),
        (400, SQUEEZED + SQUEEZED, GZIP),
        (400, b"", GZIP),
        (400, zlib.compress(body_of("a.b")), GZIP),  # deflate is not gzip
        (400, body_of("a.b"), {**JSON_TYPE, "Content-Encoding": "br"}),
        (400, body_of("a.b"), {**JSON_TYPE, "Content-Encoding": "gzip, gzip"}),
        (413, b" " * (MAX_BODY + 1), JSON_TYPE),
        (413, b" " * (25 * 1024 * 1024), JSON_TYPE),  # more than the sockets buffer: the client is still sending
        (413, gzip.compress(b" " * (MAX_BODY + 1), mtime=0), GZIP),
        (415, body_of("a.b"), {}),
        (415, body_of("a.b"), {"Content-Type": "text/plain"}),
        (415, body_of("a.b"), {"Content-Type": "application/jsonx"}),
        (415, body_of("a.b"), {"Content-Type": "application/x-protobuf"}),
    ],
)
def test_refusals(receiver, file, status, body, headers):
    """Each fault has its own status, says why in JSON without quoting the request, and keeps nothing."""
    got, answered, answer = send(receiver, body, headers)

    assert (got, answered["Content-Type"]) == (status, "application/json")
    assert set(answer) == {"code", "message"}
    assert isinstance(answer["code"], int)
    assert answer["message"]
    assert "s3cr3t" not in answer["message"]
    assert lines_of(file) == []
    assert receiver.counts == Counts(refused=1)


def test_an_invalid_request_is_told_where_it_is_wrong(receiver):
    """The message of a 400 names the place, and the code is gRPC's INVALID_ARGUMENT."""
    _, _, answer = send(receiver, BROKEN)

    assert answer == {"code": 3, "message": "resourceLogs[0].resource: not an object"}


@pytest.mark.parametrize("size", [0, 1])
def test_the_limit_is_four_mebibytes(receiver, size):
    """A body of exactly 4 MiB is read, compressed or not, and one byte more is not."""
    empty = len(body_of("a.b"))
    body = body_of("a.b", padding="x" * (MAX_BODY - empty + size))

    assert len(body) == MAX_BODY + size
    assert send(receiver, body)[0] == (413 if size else 200)
    assert send(receiver, gzip.compress(body, 1), GZIP)[0] == (413 if size else 200)


def test_a_zip_bomb_is_not_inflated(receiver):
    """However much a small body would inflate to, no more than the limit is ever in memory."""
    squeeze = zlib.compressobj(9, wbits=31)
    bomb = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(64)) + squeeze.flush()
    tracemalloc.start()
    try:
        status = send(receiver, bomb, GZIP)[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert status == 413
    assert peak < 4 * MAX_BODY


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_other_methods(receiver, method):
    """Only POST is allowed on /v1/logs, and nothing but 404 is found elsewhere."""
    status, headers, answer = send(receiver, method=method)

    assert (status, headers["Allow"]) == (405, "POST")
    assert answer == (None if method == "HEAD" else {"code": 2, "message": "Method Not Allowed"})
    assert send(receiver, method=method, path="/other")[0] == 404


def test_an_answer_to_head_has_no_body(receiver):
    """HEAD is answered as HTTP wants it: with a head only."""
    answer = raw(receiver, b"HEAD /v1/logs HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.index(b"\r\n\r\n") == len(answer) - 4


@pytest.mark.parametrize(
    "path", ["/", "/v1/logs/", "/v1/traces", "/V1/LOGS", "/v1/logs%2F", "http://127.0.0.1/v1/logs"]
)
def test_other_paths(receiver, path):
    """A POST anywhere else is not found, whatever it carries."""
    status, _, answer = send(receiver, body_of("a.b"), path=path)

    assert (status, answer["code"]) == (404, 12)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (411, b""),
        (411, b"Transfer-Encoding: chunked\r\n"),
        (411, b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n"),  # two lengths: which one is smuggled?
        (400, b"Content-Length: -1\r\n"),
        (400, b"Content-Length: +2\r\n"),
        (400, b"Content-Length: 1_0\r\n"),
        (400, b"Content-Length: \xb2\r\n"),
        (400, b"Content-Length: 2, 2\r\n"),
        (400, b"Content-Length: 2\r\n 0\r\n"),
        (400, b"Content-Length: 2\r\nContent-Length: 2\r\n"),
        (400, b"Content-Length: 2\r\ncontent-length: 20\r\n"),
        (400, b"X: y\rContent-Length: 20\r\nContent-Length: 2\r\n"),
        (400, b"Content-Length: 2\r\nX : y\r\nTransfer-Encoding: chunked\r\n"),
        (400, b"Content-Length: 2\r\nHost: localhost\r\n"),
        (400, b"Content-Length: 2\r\nContent-Type: text/plain\r\n"),
        (400, b"Content-Length: 2\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\n"),
        (400, b"Content-Length: " + b"9" * 5000 + b"\r\n"),
        (413, b"Content-Length: " + b"9" * 18 + b"\r\n"),
    ],
)
def test_lengths(receiver, status, headers):
    """A body whose length is not said once, and plainly, is not read, and the connection ends."""
    answer = raw(receiver, HEAD + headers + b"\r\n{}")

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in answer
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"code", "message"}


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (400, b"s3cr3t nonsense on a line\r\n\r\n"),
        (400, b"\x16\x03\x01 a TLS client\r\n\r\n"),
        (505, b"POST /v1/logs HTTP/3.0\r\n\r\n"),
        (404, b"GET /\r\n\r\n"),
        (414, b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n"),
        (431, b"POST /v1/logs HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n"),
    ],
)
def test_what_is_not_http(receiver, status, head):
    """Even what cannot be read as a request is answered in JSON, without an echo of it."""
    answer = raw(receiver, head)

    assert b" %d " % status in answer.partition(b"\r\n")[0]
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"code", "message"}
    assert b"s3cr3t" not in answer


def test_two_requests_on_one_connection(receiver, seen):
    """A connection is kept for the next request, after a refusal of what was read too."""
    connection = connect(receiver)
    try:
        connection.connect()
        connection.auto_open = False  # otherwise http.client would open another one in silence
        statuses = [ask(connection, body)[0].status for body in (body_of("a"), BROKEN, body_of("b"))]
        statuses.append(ask(connection, gzip.compress(body_of("c")), GZIP)[0].status)
    finally:
        connection.close()

    assert statuses == [200, 400, 200, 200]
    assert [record.event_name for record in seen] == ["a", "b", "c"]


def test_unknown_fields_of_any_depth(receiver):
    """What cannot be written down again, for its depth, is refused; the connection never just breaks."""
    depths = (10, *range(900, 1000), 200_000)  # around CPython's limit, where reading may do and writing may not
    statuses = [send(receiver, b'{"x":' + b"[" * depth + b"]" * depth + b"}")[0] for depth in depths]

    assert (statuses[0], statuses[-1]) == (200, 400)
    assert statuses == sorted(statuses)


def test_http_1_0(receiver):
    """An old client that cannot keep a connection gets its answer, and the end."""
    body = body_of("a.b")
    head = HEAD.replace(b"1.1", b"1.0") + b"Content-Length: %d\r\n\r\n" % len(body)

    assert raw(receiver, head + body).endswith(b'\r\n\r\n{"partialSuccess":{}}')


def test_expect_continue(receiver):
    """A client that asks before it sends a body is told to go on."""
    body = body_of("a.b")
    head = HEAD + b"Connection: close\r\n"
    with socket.create_connection(address_of(receiver), timeout=PATIENCE_S) as client:
        client.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))

        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_an_answer_leaves_in_one_write(receiver, monkeypatch):
    """Head and body of an answer leave together, so no client's delayed ACK holds them up."""
    here = threading.current_thread()
    writes = []

    def counting(name):
        real = getattr(socket.socket, name)

        def write(self, data, *flags):
            if threading.current_thread() is not here:
                writes.append(bytes(data))
            return real(self, data, *flags)

        return write

    for name in ("send", "sendall"):
        monkeypatch.setattr(socket.socket, name, counting(name), raising=True)
    send(receiver, body_of("a.b"))
    send(receiver, BROKEN)

    assert [write.partition(b"\r\n")[0] for write in writes] == [b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request"]


def vanish(receiver, data):
    """Send *data* and reset the connection instead of ending it."""
    client = socket.create_connection(address_of(receiver), timeout=PATIENCE_S)
    client.sendall(data)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_vanishing_clients_do_no_harm(receiver, seen, capfd, caplog):
    """Clients that vanish at any point leave the receiver working, and nothing on stderr."""
    caplog.set_level(logging.DEBUG, "telemetry_sdk")
    body = body_of("a.b")
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for data in (b"", b"POST", whole[:60], whole[:-1], whole, whole * 20, b"GET / HTTP/1.1\r\n\r\n"):
        vanish(receiver, data)
    with socket.create_connection(address_of(receiver), timeout=PATIENCE_S) as half:
        half.sendall(whole[:-1])  # ends in order, but too early

    assert send(receiver, body_of("still.here"))[0] == 200
    receiver.close()
    assert "still.here" in [record.event_name for record in seen]
    assert capfd.readouterr() == ("", "")
    assert "127.0.0.1" not in caplog.text


def test_a_body_that_ends_early_is_no_request(receiver):
    """A body shorter than announced counts for nothing, even if what arrived would be valid."""
    head = HEAD + b"Content-Length: 9\r\n\r\n"
    with socket.create_connection(address_of(receiver), timeout=PATIENCE_S) as client:
        client.sendall(head + b"{}")
        client.shutdown(socket.SHUT_WR)

        assert client.recv(65536) == b""
    assert receiver.counts == Counts()


def test_an_idle_connection_is_ended(receiver, monkeypatch):
    """A client that says nothing does not hold a thread for ever."""
    assert receiver_module._Handler.timeout == 30
    monkeypatch.setattr(receiver_module._Handler, "timeout", 0.05)

    assert raw(receiver, b"POST /v1/logs HTTP/1.1\r\n") == b""


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost:4318"},  # even a page of this machine's own
        {"Host": "example.com"},  # a name that was made to lead here
        {"Host": "example.com:4318"},
        {"Host": "localhost.example.com"},
        {"Host": "127.0.0.1.example.com"},
        {"Host": "127.0.0.1@example.com"},
        {"Host": "app.localhost"},
        {"Host": "192.168.1.5:4318"},
        {"Host": "[::2]"},
        {"Host": ""},
    ],
    ids=repr,
)
def test_a_web_page_cannot_send(receiver, seen, headers):
    """What a browser sends for a page, by any name and from any origin, is refused with 403 and not kept."""
    status, _, answer = send(receiver, body_of("a.b"), {**JSON_TYPE, **headers})

    assert (status, answer["code"], seen) == (403, 7, [])
    assert "example" not in answer["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:4318"])
def test_this_machine_by_its_own_names(receiver, host):
    """A client on this machine is served by each name that loopback has."""
    assert send(receiver, body_of("a.b"), {**JSON_TYPE, "Host": host})[0] == 200


def test_a_browser_is_never_told_that_it_may(receiver):
    """What a browser asks before it sends JSON to another origin is answered without a permission."""
    asks = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    for method in ("OPTIONS", "POST"):
        status, headers, _ = send(receiver, method=method, headers=asks)

        assert status in (403, 405)
        assert not [name for name in headers if name.lower().startswith("access-control")]


def test_beyond_loopback_any_name_may_be_used(receiver):
    """A receiver that others can reach does not know by which names; an Origin is refused there too."""
    assert receiver._server.is_local
    receiver._server.is_local = False

    assert send(receiver, body_of("a"), {**JSON_TYPE, "Host": "receiver:4318"})[0] == 200
    assert send(receiver, body_of("a"), {**JSON_TYPE, "Origin": "http://receiver:4318"})[0] == 403


def drip(client):
    """Send a request a byte at a time until the receiver ends the connection."""
    client.settimeout(0.005)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 4000:
            client.sendall((HEAD + b"X: ")[sent : sent + 1] or b"x")
            sent += 1
            with contextlib.suppress(TimeoutError):
                if not client.recv(65536):
                    return True
        return False
    return True


def test_a_client_that_drips_is_ended(monkeypatch):
    """A client that sends just enough never to be idle is ended when its connection's time is over."""
    assert receiver_module._LIFE_S == 60
    monkeypatch.setattr(receiver_module, "_LIFE_S", 0.2)
    with Receiver(port=0) as receiver, socket.create_connection(address_of(receiver)) as client:
        assert drip(client)
        assert receiver.counts.requests == 0


def test_a_connection_is_retired_in_time(receiver, monkeypatch):
    """Half a minute before it is ended a connection is told to close with its answer, so that nothing is cut off."""
    assert receiver_module._RETIRE_S == 30
    monkeypatch.setattr(receiver_module, "_RETIRE_S", 0.0)
    connection = connect(receiver)
    try:
        response, _ = ask(connection, body_of("a"))
    finally:
        connection.close()

    assert (response.status, response.headers["Connection"]) == (200, "close")


def test_idle_connections_keep_nobody_out(receiver, seen):
    """However many connections are open and silent, a few threads serve them, and a request is answered."""
    clients = [socket.create_connection(address_of(receiver), timeout=PATIENCE_S)]
    try:
        for _ in range(4 * receiver_module.MAX_CONNECTIONS):
            clients.append(socket.create_connection(address_of(receiver), timeout=PATIENCE_S))
            clients[-1].sendall(b"POST /v1/logs HT")
        assert clients[0].recv(1) == b""  # the oldest had to go

        assert send(receiver, body_of("a.b"))[0] == 200
        with receiver._server._changed:
            assert len(receiver._server._deadlines) <= receiver_module.MAX_CONNECTIONS
        serving = [thread for thread in threading.enumerate() if "process_request" in thread.name]
        assert len(serving) <= 2 * receiver_module.MAX_CONNECTIONS  # some may be about to end
    finally:
        for client in clients:
            client.close()
    assert [record.event_name for record in seen] == ["a.b"]


def test_a_request_that_was_read_is_ended_by_nobody(monkeypatch):
    """Neither a newcomer nor the deadline ends a connection whose answer is being made; the newcomer is turned away."""
    monkeypatch.setattr(receiver_module, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(receiver_module, "_ROOM_S", 0.05)
    entered, go_on = threading.Event(), threading.Event()

    def on_record(record):
        entered.set()
        go_on.wait(PATIENCE_S)

    with Receiver(port=0, on_record=on_record) as receiver, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, receiver, body_of("a.b"))
        try:
            assert entered.wait(PATIENCE_S)
            for _ in range(3):
                with contextlib.suppress(ConnectionError):
                    assert raw(receiver) == b""
            assert math.inf in receiver._server._deadlines.values()
        finally:
            go_on.set()

        assert answer.result(PATIENCE_S)[0] == 200


def test_requests_are_unpacked_one_at_a_time(receiver, monkeypatch):
    """Many bombs at once take the memory of one."""
    inside, crowds = [], []
    real = receiver_module.parse_request

    def parse(body):
        inside.append(body)
        threading.Event().wait(0.001)  # lets another thread in, if it may
        crowds.append(len(inside))
        inside.pop()
        return real(body)

    monkeypatch.setattr(receiver_module, "parse_request", parse)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: send(receiver, gzip.compress(body_of("a")), GZIP)[0], range(16)))

    assert statuses == [200] * 16
    assert crowds == [1] * 16


def test_each_request_is_one_replayable_line(receiver, file):
    """The file holds one valid request for each accepted one, in ASCII, as it was sent."""
    requests = [request_of("a"), request_of("b", "c"), {**request_of("d"), "unknown": [{"x": None}, 1.5]}]
    for request in requests:
        assert send(receiver, json.dumps(request, indent=2))[0] == 200
    lines = lines_of(file)

    assert [validate_request(json.loads(line)) for line in lines] == requests
    assert b"".join(lines).isascii()
    assert b"127.0.0.1" not in b"".join(lines)
    names = [record.event_name for line in lines for record in received_records(json.loads(line))]
    assert names == ["a", "b", "c", "d"]
    # Sent again, as a Collector's file receiver would, a line is accepted as it stands.
    assert send(receiver, lines[1])[0] == 200
    assert lines_of(file) == [*lines, lines[1]]


def test_the_file_is_private_and_grows_over_restarts(file):
    """Only the owner may read the file, and a new receiver appends to it."""
    for name in ("a", "b"):
        with Receiver(port=0, file=str(file)) as receiver:
            send(receiver, body_of(name))

    assert [received_records(json.loads(line))[0].event_name for line in lines_of(file)] == ["a", "b"]
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.fixture
def hasty_threads():
    """Let threads take turns as often as they can, so that a missing lock is missed."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_concurrent_requests_make_whole_lines(receiver, file, seen, hasty_threads):
    """Any number of clients at once: each request is one line, and everything is counted."""
    names = [f"event.n{i}" for i in range(120)]
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda name: send(receiver, body_of(name, padding="x" * 9000))[0], names))

    assert statuses == [200] * 120
    stored = [received_records(json.loads(line))[0].event_name for line in lines_of(file)]
    assert sorted(stored) == sorted(names)
    assert sorted(record.event_name for record in seen) == sorted(names)
    assert receiver.counts == Counts(requests=120, records=120)


def test_on_record_is_never_called_twice_at_a_time():
    """The callback needs no lock of its own."""
    inside, crowds = [], []

    def on_record(record):
        inside.append(record)
        threading.Event().wait(0.001)  # lets another thread in, if it may
        crowds.append(len(inside))
        inside.pop()

    with Receiver(port=0, on_record=on_record) as receiver, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: send(receiver, body_of("a", "b")), range(16)))

    assert crowds == [1] * 32


def test_a_failing_callback_harms_nobody(file, capfd):
    """A request that is stored is acknowledged, though the callback raises."""

    def on_record(record):
        raise RuntimeError("s3cr3t")

    with Receiver(port=0, file=file, on_record=on_record) as receiver:
        assert [send(receiver, body_of("a", "b"))[0] for _ in range(2)] == [200, 200]
        assert receiver.counts == Counts(requests=2, records=4)
    assert len(lines_of(file)) == 2
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_asks_the_client_to_send_again(file, monkeypatch):
    """What could not be written is not acknowledged: 503 keeps it with the client."""
    seen = []

    def full(fd, data):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "write", full)
    with Receiver(port=0, file=file, on_record=seen.append) as receiver:
        status, _, answer = send(receiver, body_of("a.b"))

        assert (status, answer["code"]) == (503, 14)
        assert "ENOSPC" in answer["message"]
        assert seen == []
        assert receiver.counts == Counts(refused=1)
        assert send(receiver, b"{}")[0] == 200  # nothing to write


def test_a_failing_write_names_no_path(receiver, monkeypatch):
    """The answer to a client tells what went wrong, not where this machine keeps its files."""

    def fail(fd, data):
        raise OSError(errno.EIO, "input/output error", "/home/me/telemetry.jsonl")

    monkeypatch.setattr(os, "write", fail)
    status, _, answer = send(receiver, body_of("a"))

    assert (status, answer["message"]) == (503, "the request could not be stored (EIO)")


def test_close_lets_a_request_in_progress_end(file, monkeypatch):
    """A request being handled when the receiver closes is answered, and the file has its line."""
    monkeypatch.setattr(receiver_module, "_DRAIN_S", PATIENCE_S)
    entered, go_on = threading.Event(), threading.Event()

    def on_record(record):
        entered.set()
        go_on.wait(PATIENCE_S)

    receiver = Receiver(port=0, file=file, on_record=on_record)
    receiver.start()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(send, receiver, body_of("a.b"))
        assert entered.wait(PATIENCE_S)
        closed = pool.submit(receiver.close)
        with pytest.raises(TimeoutError):
            closed.result(0.2)  # it waits; were it slow to begin, this would prove less, but never fail
        go_on.set()

        assert answer.result(PATIENCE_S)[0] == 200
        closed.result(PATIENCE_S)
    assert len(lines_of(file)) == 1


def test_close_does_not_wait_for_a_callback_that_hangs(file, monkeypatch):
    """A callback that never returns delays closing by its bound only."""
    monkeypatch.setattr(receiver_module, "_DRAIN_S", 0.05)
    entered, go_on = threading.Event(), threading.Event()

    def on_record(record):
        entered.set()
        go_on.wait(PATIENCE_S)

    with ThreadPoolExecutor(1) as pool:
        with Receiver(port=0, file=file, on_record=on_record) as receiver:
            answer = pool.submit(send, receiver, body_of("a.b"))
            assert entered.wait(PATIENCE_S)
        assert not go_on.is_set()
        go_on.set()

        with pytest.raises((OSError, http.client.HTTPException)):
            answer.result(PATIENCE_S)


def test_nothing_is_kept_after_close(receiver, file, monkeypatch):
    """Closing ends idle connections at once: no request gets in by an old one."""
    monkeypatch.setattr(receiver_module, "_DRAIN_S", 3 * PATIENCE_S)
    connection = connect(receiver)
    try:
        assert ask(connection, body_of("a"))[0].status == 200
        closing = threading.Thread(target=receiver.close)
        closing.start()
        closing.join(PATIENCE_S)
        assert not closing.is_alive()
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(connection, body_of("b"))
    finally:
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        send(receiver, body_of("c"))

    assert len(lines_of(file)) == 1


def test_a_closed_intake_stores_nothing(file):
    """A request that is still being read when the file is closed is not acknowledged."""
    intake = Intake(file, None)
    intake.close()

    with pytest.raises(OSError, match="closed"):
        intake.store(request_of("a"))


def test_what_nests_too_deep_to_be_written_is_refused():
    """Fields we do not know may nest deeper than a line can be written: that is the request's fault."""
    nested = []
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(InvalidRequest, match="nested too deep"):
        Intake(None, None).store({**request_of("a"), "unknown": nested})


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a list of open files")
def test_close_lets_go_of_everything(file):
    """A closed receiver holds no file and no socket."""
    before = set(os.listdir("/proc/self/fd"))
    with Receiver(port=0, file=file) as receiver:
        send(receiver, body_of("a"))
        assert not set(os.listdir("/proc/self/fd")) <= before

    assert set(os.listdir("/proc/self/fd")) <= before


def test_close_and_start_at_odd_times():
    """A receiver that never served closes too, closing twice is once, and a closed one stays closed."""
    receiver = Receiver(port=0)
    receiver.close()
    receiver.close()
    receiver.start()
    receiver.serve_forever()
    with Receiver(port=0) as started:
        started.start()

        assert send(started, body_of("a"))[0] == 200


def test_serve_forever_ends_with_close():
    """Serving in one thread ends when another one closes the receiver."""
    receiver = Receiver(port=0)
    serving = threading.Thread(target=receiver.serve_forever)
    serving.start()
    assert send(receiver, body_of("a"))[0] == 200

    receiver.close()
    serving.join(PATIENCE_S)

    assert not serving.is_alive()


def test_a_port_in_use(receiver, tmp_path):
    """A second receiver on the same port fails when made, and leaves no file."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is the match
        Receiver(port=address_of(receiver)[1], file=tmp_path / "other.jsonl")

    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.filename is None
    assert not (tmp_path / "other.jsonl").exists()


def test_a_file_that_cannot_be_opened(receiver, tmp_path):
    """An impossible file fails at construction, by name, and frees the port at once."""
    receiver.close()
    port = address_of(receiver)[1]
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the file name is the match
        Receiver(port=port, file=tmp_path / "absent" / "t.jsonl")
    Receiver(port=port).close()

    assert caught.value.filename == str(tmp_path / "absent" / "t.jsonl")


def test_it_listens_on_loopback_unless_told_otherwise():
    """The default address cannot be reached from another machine."""
    receiver = Receiver(port=0)
    try:
        assert receiver.url.startswith("http://127.0.0.1:")
        assert not receiver.url.endswith(":0")
    finally:
        receiver.close()


def test_ipv6():
    """An IPv6 address works, and its URL is one."""
    try:
        receiver = Receiver("::1", 0)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with receiver:
        host, port = address_of(receiver)

        assert host == "[::1]"
        connection = http.client.HTTPConnection("::1", port, timeout=PATIENCE_S)
        try:
            assert ask(connection, body_of("a"))[0].status == 200
        finally:
            connection.close()
