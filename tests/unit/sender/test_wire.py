"""The sender on real sockets: what reaches the wire, what does not, and how long an answer is waited for."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from urllib.parse import quote

import pytest
import urllib3
from process_tools import GUARD, Program
from sink_server import Reply, SinkServer

from telemetry_sdk.model import Answer
from telemetry_sdk.sender import http as sender_module
from telemetry_sdk.sender.endpoint import Sink
from telemetry_sdk.sender.file import FileSender
from telemetry_sdk.sender.http import ANSWER_LIMIT, HttpSender
from telemetry_sdk.sender.wire_gate import NotPermittedError

BODY = b'{"resourceLogs":[]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Permit:
    """Counts how often it was asked, calls *looks* then, and may refuse."""

    def __init__(self, refuse: str | None = None, looks: Callable[[], object] = lambda: None) -> None:
        self.refuse = refuse
        self.looks = looks
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        self.looks()
        if self.refuse is not None:
            raise NotPermittedError(self.refuse)


class Wire:
    """A raw server on 127.0.0.1: each connection is served by the next of *behaviours*, then by the last one again.

    `received` holds what each connection brought, byte for byte.
    """

    def __init__(self, *behaviours: Callable[[socket.socket], object], context: ssl.SSLContext | None = None) -> None:
        self.behaviours = list(behaviours)
        self.received: list[bytearray] = []
        self.changed = threading.Condition()
        self.stopped = threading.Event()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/v1/logs"

    def wait_for(self, condition: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, GUARD), "the server waited in vain"

    def read_request(self, connection: socket.socket) -> bytes:
        """Read one request whole and note its bytes."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        while len(body) < length:
            more = self._receive(connection)
            data, body = data + more, body + more
        return data

    def _receive(self, connection: socket.socket) -> bytes:
        data = connection.recv(65536)
        with self.changed:
            self._of[connection] += data
            self.changed.notify_all()
        if not data:
            raise ConnectionError
        return data

    def _accept(self) -> None:
        self._of: dict[socket.socket, bytearray] = {}
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self.changed:
                self.received.append(bytearray())
                behaviour = self.behaviours[min(len(self.received), len(self.behaviours)) - 1]
                self.changed.notify_all()
            thread = threading.Thread(target=self._serve, args=(connection, behaviour, self.received[-1]), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket, behaviour: Callable[..., object], received: bytearray) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            self._of[connection] = received
            with connection:
                behaviour(self, connection)

    def stop(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(GUARD)


def answering(*answers: bytes, times: int = 1_000) -> Callable[..., None]:
    """Read a request and send one of *answers*, the last one again and again, on a connection that is kept."""

    def behave(wire: Wire, connection: socket.socket) -> None:
        for n in range(times):
            wire.read_request(connection)
            connection.sendall(answers[min(n, len(answers) - 1)])

    return behave


def drain(wire: Wire, connection: socket.socket) -> None:
    """Read whatever comes until the client closes."""
    while wire._receive(connection):
        pass


def hang(wire: Wire, connection: socket.socket) -> None:
    """Read a request and never answer."""
    wire.read_request(connection)
    drain(wire, connection)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless(head: bytes) -> Callable[..., None]:
    """Read a request, then send *head* and bytes without end."""

    def behave(wire: Wire, connection: socket.socket) -> None:
        wire.read_request(connection)
        connection.sendall(head)
        while not wire.stopped.is_set():
            connection.sendall(b" " * 65536)

    return behave


@pytest.fixture
def serve() -> Iterator[Callable[..., Wire]]:
    made: list[Wire] = []

    def factory(*behaviours: Callable[..., object], context: ssl.SSLContext | None = None) -> Wire:
        made.append(Wire(*behaviours, context=context))
        return made[-1]

    yield factory
    for wire in made:
        wire.stop()


@pytest.fixture
def sender_to() -> Iterator[Callable[..., HttpSender]]:
    made: list[HttpSender] = []

    def factory(url: str, **options: object) -> HttpSender:
        made.append(HttpSender(Sink(url, "sink", **options)))
        return made[-1]

    yield factory
    for sender in made:
        sender.close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def send(sender: HttpSender, body: bytes = BODY, permit: Permit | None = None, timeout: float = GUARD) -> Answer:
    return sender.send(body, permit or (lambda: None), timeout)


# -- requests


def test_the_bytes_on_the_wire_are_exact(serve, sender_to):
    """A request is one head and one body and nothing else: no cookie, no Connection header, no second request."""
    wire = serve(answering(OK))

    assert send(sender_to(wire.url)) == Answer(200, b"{}", "application/json")

    lines = bytes(wire.received[0]).decode().split("\r\n")
    assert lines[0] == "POST /v1/logs HTTP/1.1"
    assert sorted(line.split(":")[0] for line in lines[1:-2]) == [
        "Accept",
        "Accept-Encoding",
        "Content-Length",
        "Content-Type",
        "Host",
        "User-Agent",
    ]
    assert lines[-2:] == ["", BODY.decode()]


def test_a_compressed_body_arrives_whole(sink, sender_to):
    """A server that decompresses gets the body byte for byte."""
    body = json.dumps({"resourceLogs": [], "x": "é" * 50_000}).encode()

    assert send(sender_to(f"{sink.url}/v1/logs"), body).status == 200
    assert sink.requests[0].body == body == gzip.decompress(sink.requests[0].raw)


def test_a_connection_is_kept_for_the_next_request(serve, sender_to):
    """Requests in a row use one connection, until it is closed."""
    wire = serve(answering(OK))
    sender = sender_to(wire.url)

    assert [send(sender).status for _ in range(3)] == [200] * 3
    assert len(wire.received) == 1
    sender.close()
    assert send(sender).status == 200
    assert len(wire.received) == 2


def test_cookies_are_not_kept(serve, sender_to):
    """A cookie the sink sets is neither sent back nor kept: it would be an identifier."""
    answer = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: id=42; Path=/\r\n\r\n")
    wire = serve(answering(answer))
    sender = sender_to(wire.url)
    for _ in range(2):
        assert send(sender).status == 200

    assert b"cookie" not in bytes(wire.received[0]).lower()


def test_redirects_are_not_followed_and_the_token_goes_nowhere_else(serve, sink, sender_to):
    """A redirect to another server is reported; that server sees nothing."""
    for status in (301, 302, 303, 307, 308):
        answer = f"HTTP/1.1 {status} Moved\r\nLocation: {sink.url}/v1/logs\r\nContent-Length: 0\r\n\r\n".encode()
        wire = serve(answering(answer))

        assert send(sender_to(wire.url, headers=(("Authorization", "Basic secret"),))).status == status
        assert len(wire.received) == 1

    assert sink.requests == []


# -- proxies and .netrc


def forwarding(sink: SinkServer) -> Callable[..., None]:
    """A tiny proxy: whatever host is asked for, the request is passed on to *sink*; CONNECT opens a tunnel."""

    def behave(wire: Wire, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += wire._receive(connection)
        with socket.create_connection(sink.server_address) as upstream:
            if data.startswith(b"CONNECT "):
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(data)
            back = threading.Thread(target=pump, args=(upstream, connection), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while data := wire._receive(connection):
                    upstream.sendall(data)
            upstream.shutdown(socket.SHUT_RDWR)
            back.join(GUARD)

    return behave


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def test_a_system_proxy_is_honoured(serve, sink, sender_to, monkeypatch):
    """A sink elsewhere is reached through the system's proxy, which looks up its name; the gate is asked there too."""
    proxy = serve(forwarding(sink))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    seen: list[bytes] = []

    def look() -> None:
        proxy.wait_for(lambda: proxy.received)
        seen.append(bytes(proxy.received[0]))

    permit = Permit(looks=look)
    answer = send(sender_to("http://sink.invalid:4318/v1/logs"), permit=permit)

    assert answer.status == 200
    assert bytes(proxy.received[0]).startswith(b"POST http://sink.invalid:4318/v1/logs HTTP/1.1\r\n")
    assert sink.requests[0].body == BODY
    assert (permit.asked, seen) == (1, [b""])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_plain_sink_on_this_machine_is_reached_directly(serve, sink, sender_to, monkeypatch, host):
    """A local Collector is not asked for through a proxy, which would look for it on its own machine."""
    proxy = serve(forwarding(sink))
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

    assert send(sender_to(f"http://{host}:{sink.server_address[1]}/v1/logs")).status == 200
    assert (len(proxy.received), len(sink.requests)) == (0, 1)


def test_no_proxy_is_honoured(serve, sink, sender_to, monkeypatch):
    """A host the system excepts from its proxy is not asked for there."""
    proxy = serve(forwarding(sink))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", "sink.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)

    assert send(sender_to("http://sink.invalid:4318/v1/logs")).status is None
    assert proxy.received == []


def unknown_host(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "unknown")


@pytest.mark.parametrize("token", [None, "Basic b3Vyczp0b2tlbg=="])
def test_netrc_is_not_read(serve, sink, sender_to, monkeypatch, tmp_path, token):
    """A password the user keeps for the sink's host in .netrc is not sent, and does not replace our token."""
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text("machine sink.invalid login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    proxy = serve(forwarding(sink))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    headers = (("Authorization", token),) if token else ()

    assert send(sender_to("http://sink.invalid:4318/v1/logs", headers=headers)).status == 200

    assert sink.requests[0].headers.get("Authorization") == token


# -- the gate


def test_the_gate_is_asked_when_the_connection_stands_and_before_the_first_byte(serve, sender_to):
    """At the last look the server has accepted, and has received nothing."""
    wire = serve(answering(OK))

    def look() -> None:
        wire.wait_for(lambda: wire.received)
        assert bytes(wire.received[0]) == b""

    permit = Permit(looks=look)

    assert send(sender_to(wire.url), permit=permit).status == 200
    assert permit.asked == 1


def test_a_refused_request_writes_not_one_byte(serve, sender_to):
    """When the permit refuses, the connection is closed without a byte, and the next request is sent as usual."""
    closed = threading.Event()

    def listen(wire: Wire, connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            drain(wire, connection)
        closed.set()

    wire = serve(listen, answering(OK))
    sender = sender_to(wire.url)

    assert send(sender, permit=Permit("the user declined")) == Answer(None, error="the user declined")
    sender.close()
    assert closed.wait(GUARD)
    assert bytes(wire.received[0]) == b""
    assert send(sender).status == 200


def test_a_refusal_without_words_is_one_too(serve, sender_to):
    """A permit that gives no reason refuses all the same."""
    wire = serve(answering(OK))

    assert send(sender_to(wire.url), permit=Permit("")) == Answer(None, error="not permitted")


def test_the_gate_is_asked_for_every_request_on_a_kept_connection(serve, sender_to):
    """The second request on a connection asks again, and may be refused."""
    wire = serve(answering(OK))
    sender = sender_to(wire.url)
    send(sender)
    before = bytes(wire.received[0])

    assert send(sender, permit=Permit("declined")).error == "declined"
    assert bytes(wire.received[0]) == before


# -- connections that break


def test_a_stale_connection_is_tried_once_more_at_once(serve, sender_to):
    """A kept connection that the sink closes at the next request is replaced by a fresh one within the same attempt."""

    def once_then_gone(wire: Wire, connection: socket.socket) -> None:
        wire.read_request(connection)
        connection.sendall(OK)
        wire.read_request(connection)

    wire = serve(once_then_gone, answering(OK))
    sender = sender_to(wire.url)
    permit = Permit()
    send(sender)

    assert send(sender, permit=permit).status == 200
    assert len(wire.received) == 2
    assert permit.asked == 2  # the right is looked at again before the second try


def test_a_fresh_connection_that_breaks_is_not_tried_again(serve, sender_to):
    """A sink that breaks a new connection gets no second request at once, also when it was a replacement."""

    def once_then_gone(wire: Wire, connection: socket.socket) -> None:
        wire.read_request(connection)
        connection.sendall(OK)
        wire.read_request(connection)

    def gone(wire: Wire, connection: socket.socket) -> None:
        wire.read_request(connection)

    wire = serve(gone, once_then_gone, gone)
    sender = sender_to(wire.url)

    assert send(sender).error == "connection broken off"
    assert len(wire.received) == 1
    assert send(sender).status == 200
    assert send(sender).status is None
    assert len(wire.received) == 3


def mid_answer(wire: Wire, connection: socket.socket) -> None:
    wire.read_request(connection)
    connection.sendall(OK[:-1])
    reset(connection)


def mid_head(wire: Wire, connection: socket.socket) -> None:
    wire.read_request(connection)
    connection.sendall(OK[:20])
    reset(connection)


def at_once(wire: Wire, connection: socket.socket) -> None:
    connection.recv(1)
    reset(connection)


@pytest.mark.parametrize(
    "behaviour", [mid_answer, mid_head, at_once, answering(OK[:-1], times=1)], ids=lambda it: it.__name__
)
def test_an_answer_that_breaks_off_is_no_answer(serve, sender_to, behaviour):
    """A reset or a close in the middle of an answer is no answer, even after the status; the next attempt is fresh."""
    wire = serve(behaviour, answering(OK))
    sender = sender_to(wire.url)

    broken = send(sender)

    assert (broken.status, broken.body) == (None, b"")
    assert broken.error
    assert send(sender).status == 200
    assert len(wire.received) == 2


MALFORMED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"\r\n\r\n",
    "zeros": bytes(1000),
    "no status": b"HTTP/1.1 \r\n\r\n",
    "word for a status": b"HTTP/1.1 OK\r\n\r\n",
    "negative status": b"HTTP/1.1 -20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length of no number": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "chunk of no number": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    "chunk without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "no gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "binary headers": b"HTTP/1.1 200 OK\r\n\xff\xfe\x00: \x01\x02\r\nContent-Length: 2\r\n\r\n{}",
    "folded header": b"HTTP/1.1 200 OK\r\nRetry-After: 5\r\n\tx\r\nContent-Length: 2\r\n\r\n{}",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
    "continue, then nothing": b"HTTP/1.1 100 Continue\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "bad cookie": OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: \xff=;;;=\x00; Expires=never\r\n\r\n"),
    "bad location": b"HTTP/1.1 302 Found\r\nLocation: http://[\xff\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_no_answer_however_malformed_raises(serve, sender_to, answer):
    """Whatever bytes come back, the attempt ends with an Answer, and the next one works."""
    wire = serve(answering(answer, times=1), answering(OK))
    sender = sender_to(wire.url)

    assert isinstance(send(sender), Answer)
    sender.close()
    assert send(sender).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",  # requests reads a redirect's body unasked
    ],
    ids=["200", "400", "302"],
)
def test_an_endless_body_is_cut_off(serve, sender_to, head):
    """Of a body without end only the limit is read; the status still counts."""
    wire = serve(endless(head))

    answer = send(sender_to(wire.url))

    assert (answer.status, answer.body) == (int(head.split()[1]), None)


@pytest.mark.parametrize("data", [gzip.compress(bytes(50_000_000), mtime=0), gzip.compress(b"{}", mtime=0), b"no gzip"])
@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "unheard-of"])
def test_an_encoded_body_is_not_unpacked(serve, sender_to, encoding, data):
    """We ask for a body as it is; one that is packed all the same, and may be a bomb, is not read as an answer."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(data)}\r\n\r\n".encode()

    answer = send(sender_to(serve(answering(head + data)).url))

    assert (answer.status, answer.body) == (200, None)


@pytest.mark.parametrize(
    "head", [b"Content-Encoding: gzip\r\nContent-Length: 0", b"Content-Encoding: identity\r\nContent-Length: 2"]
)
def test_an_encoding_of_nothing_is_none(serve, sender_to, head):
    """A server that names an encoding for an empty body, or the one we asked for, has answered."""
    body = b"" if b"gzip" in head else b"{}"

    assert send(sender_to(serve(answering(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)).url)).body == body


def test_the_longest_body_is_read_whole(serve, sender_to):
    """A body of exactly the limit is passed on."""
    body = b"x" * ANSWER_LIMIT
    wire = serve(answering(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(body) + body))

    assert send(sender_to(wire.url)).body == body


def test_an_endless_head_ends(serve, sender_to):
    """A status line without end is no answer."""
    assert send(sender_to(serve(endless(b"HTTP/1.1 200 ")).url)).status is None


def test_a_silent_sink_is_left_after_the_timeout(serve, sender_to):
    """A sink that accepts and says nothing costs the timeout."""
    answer = send(sender_to(serve(hang).url), timeout=0.2)

    assert (answer.status, answer.error) == (None, "no answer in time")


def test_a_sink_that_refuses_is_no_answer(sender_to):
    """A port nobody listens on is no answer at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert send(sender_to(f"http://127.0.0.1:{port}/v1/logs")).error == "connection refused"


# -- abandoning


def test_an_attempt_is_abandoned_from_another_thread(serve, sender_to):
    """Abandoning ends an attempt that hangs; the sender makes the next one on a new connection."""
    wire = serve(hang, answering(OK))
    sender = sender_to(wire.url)
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(send(sender)))
    thread.start()
    wire.wait_for(lambda: wire.received and wire.received[0].endswith(BODY))

    sender.abandon()

    thread.join(GUARD)
    assert [answer.status for answer in answers] == [None]
    assert send(sender).status == 200
    assert len(wire.received) == 2


def dripping(head: bytes) -> Callable[..., None]:
    """Read a request, answer with *head*, then with a byte of a body without end now and then."""

    def behave(wire: Wire, connection: socket.socket) -> None:
        wire.read_request(connection)
        connection.sendall(head)
        while not wire.stopped.wait(0.002):
            connection.sendall(b" ")

    return behave


LAST_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 60000\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("head", LAST_ANSWERS)
def test_an_attempt_is_abandoned_in_the_last_answer_of_a_connection(serve, sender_to, certificates, context, head, tls):
    """Also an answer after which the connection is to be closed can be broken off in the middle of its body."""
    wire = serve(dripping(head), context=context if tls else None)
    sender = sender_to(wire.url, ca_file=str(certificates / "sink.pem"))
    dripped, answers = threading.Event(), []
    read = http.client.HTTPResponse.read

    def reading(*arguments: object) -> bytes:
        dripped.set()
        return read(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http.client.HTTPResponse, "read", reading)
        thread = threading.Thread(target=lambda: answers.append(send(sender)), daemon=True)
        thread.start()
        assert dripped.wait(GUARD)
        sender.abandon()
        thread.join(GUARD)

    assert not thread.is_alive()
    assert len(answers) == 1


@pytest.mark.parametrize("head", LAST_ANSWERS)
def test_an_answer_that_takes_too_long_as_a_whole_is_none(serve, sender_to, head):
    """A body of which every byte comes in time is given up when all of them do not."""
    answer = send(sender_to(serve(dripping(head)).url), timeout=0.5)

    assert (answer.status, answer.error) == (None, "no answer in time")


def test_an_attempt_that_was_left_behind_does_not_meet_the_next_one(serve, sender_to, monkeypatch):
    """Two attempts at once, the older one abandoned before it had a connection: each is asked for by its own permit."""
    wire = serve(answering(OK))
    sender = sender_to(wire.url)
    send(sender)
    sender.close()
    importing, go_on = threading.Event(), threading.Event()
    load = sender_module._load_requests

    def slow() -> None:
        if threading.current_thread() is thread:
            importing.set()
            assert go_on.wait(GUARD)
        load()

    monkeypatch.setattr(sender_module, "_load_requests", slow)
    answers: list[Answer] = []
    refused = Permit("its time is up")
    thread = threading.Thread(target=lambda: answers.append(send(sender, b'{"old":1}', refused)))
    thread.start()
    assert importing.wait(GUARD)
    sender.abandon()

    lookup = socket.getaddrinfo

    def meet(*arguments: object, **options: object) -> object:
        if threading.current_thread() is not thread:
            go_on.set()
            thread.join(GUARD)
        return lookup(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", meet)
    allowed = Permit()

    assert send(sender, b'{"new":1}', allowed).status == 200
    assert (refused.asked, allowed.asked) == (1, 1)
    assert answers == [Answer(None, error="its time is up")]
    assert not [data for data in wire.received if b"old" in data]


def test_an_attempt_abandoned_while_it_looks_up_the_name_writes_nothing(serve, sender_to, monkeypatch):
    """An attempt that was given up before its connection stood sends nothing when the lookup returns at last."""
    looking, go_on = threading.Event(), threading.Event()
    lookup = socket.getaddrinfo

    def slow(*args: object, **options: object) -> object:
        looking.set()
        go_on.wait(GUARD)
        return lookup(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    permit = Permit()
    wire = serve(drain)
    sender = sender_to(wire.url)
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(send(sender, permit=permit)))
    thread.start()
    assert looking.wait(GUARD)

    sender.abandon()
    go_on.set()

    thread.join(GUARD)
    assert answers == [Answer(None, error="abandoned")]
    assert permit.asked == 0
    assert b"".join(wire.received) == b""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_leaves_its_parents_request_alone(tmp_path, serve):
    """A forked child that abandons, closes and uses the sender does not break the request its parent has under way."""
    answer_now = threading.Event()

    def patient(wire: Wire, connection: socket.socket) -> None:
        wire.read_request(connection)
        answer_now.wait(GUARD)
        connection.sendall(OK)

    wire = serve(patient, answering(OK))
    source = """
    import contextlib, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from telemetry_sdk.sender.http import HttpSender
    from telemetry_sdk.sender.endpoint import Sink
    sender = HttpSender(Sink(ARGUMENT, "sink"))
    send = lambda: sender.send(b"{}", lambda: None, 30).status
    answers = []
    thread = threading.Thread(target=lambda: answers.append(send()))
    thread.start()
    sys.stdin.readline()
    pid = os.fork()
    if pid == 0:
        sender.abandon()
        sender.close()
        os.write(1, f"child {send()}\\n".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    say("reaped")
    thread.join()
    say("parent", *answers)
    """
    program = Program(source, tmp_path, argument=wire.url)
    wire.wait_for(lambda: wire.received and wire.received[0].endswith(b"{}"))
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    assert program.wait_for("child") == "child 200"
    program.wait_for("reaped")
    answer_now.set()

    assert program.wait_for("parent") == "parent 200"
    program.finish()


# -- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """A directory with a self-signed certificate for 127.0.0.1 (`sink.pem`) and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    directory = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=sink"
    extensions = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "sink.key", "-out", "sink.pem"]
    subprocess.run([*command.split(), *extensions], cwd=directory, check=True, capture_output=True, timeout=60)
    return directory


@pytest.fixture
def context(certificates) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificates / "sink.pem", certificates / "sink.key")
    return made


def test_tls_with_the_sinks_own_authority(serve, sender_to, certificates, context):
    """A sink with a certificate of its own is reached when that is trusted; the gate is asked after the handshake."""
    shaken = threading.Event()

    def behave(wire: Wire, connection: socket.socket) -> None:
        shaken.set()
        answering(OK)(wire, connection)

    wire = serve(behave, context=context)

    def look() -> None:
        assert shaken.wait(GUARD)
        assert wire.received[0].count(b"POST") == permit.asked - 1

    permit = Permit(looks=look)
    sender = sender_to(wire.url, ca_file=str(certificates / "sink.pem"))

    assert [send(sender, permit=permit).status for _ in range(2)] == [200, 200]
    assert permit.asked == 2
    assert len(wire.received) == 1


def test_tls_refused_by_the_permit_writes_no_byte_of_the_request(serve, sender_to, certificates, context):
    """Consent withdrawn during the handshake holds: the server decrypts nothing."""
    closed = threading.Event()

    def listen(wire: Wire, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            drain(wire, connection)
        closed.set()

    wire = serve(listen, context=context)
    sender = sender_to(wire.url, ca_file=str(certificates / "sink.pem"))

    assert send(sender, permit=Permit("declined")).error == "declined"
    sender.close()
    assert closed.wait(GUARD)
    assert bytes(wire.received[0]) == b""


@pytest.mark.parametrize("why", ["unknown authority", "other name"])
def test_tls_that_cannot_be_trusted_is_no_answer(serve, sender_to, certificates, context, why):
    """A sink whose certificate is of nobody we know, or for another name, is sent nothing; the gate is not asked."""
    wire = serve(drain, context=context)
    url = wire.url.replace("127.0.0.1", "localhost") if why == "other name" else wire.url
    ca_file = str(certificates / "sink.pem") if why == "other name" else None
    permit = Permit()

    answer = send(sender_to(url, ca_file=ca_file), permit=permit)

    assert (answer.status, answer.error, permit.asked) == (None, "certificate not trusted", 0)
    assert b"".join(wire.received) == b""


def test_the_systems_ca_settings_are_honoured(serve, sender_to, certificates, context, monkeypatch):
    """A CA bundle the system names for requests is trusted, as in any other program."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "sink.pem"))

    assert send(sender_to(serve(answering(OK), context=context).url)).status == 200


@pytest.mark.parametrize("ca_file", ["missing.pem", "garbage.pem"])
def test_an_unusable_ca_file_is_no_answer(serve, sender_to, context, tmp_path, ca_file):
    """A CA file that is not there or is none sends nothing, rather than trusting anybody."""
    (tmp_path / "garbage.pem").write_text("garbage")
    wire = serve(drain, context=context)

    assert send(sender_to(wire.url, ca_file=str(tmp_path / ca_file))).status is None
    assert b"".join(wire.received) == b""


def test_a_clock_that_is_far_off_is_not_warned_of(serve, sender_to, certificates, context, monkeypatch):
    """urllib3's warning of a clock that is years behind does not reach a host, nor become an error there."""
    monkeypatch.setattr(urllib3.connection, "RECENT_DATE", date(2999, 1, 1))
    sender = sender_to(serve(answering(OK), context=context).url, ca_file=str(certificates / "sink.pem"))

    assert send(sender).status == 200


def test_a_client_certificate_is_shown(serve, sender_to, certificates, context):
    """A sink that asks for our certificate gets the one the operator configured."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates / "sink.pem")
    wire = serve(answering(OK), context=context)
    pair = (str(certificates / "sink.pem"), str(certificates / "sink.key"))
    ca_file = str(certificates / "sink.pem")

    assert send(sender_to(wire.url, ca_file=ca_file, client_cert=pair)).status == 200
    assert send(sender_to(wire.url, ca_file=ca_file)).status is None


def test_tls_through_a_proxy_asks_the_gate_after_both(serve, sender_to, certificates, context, monkeypatch):
    """Through a proxy's tunnel the gate is asked when the handshake with the sink is over."""
    wire = serve(answering(OK), context=context)
    sink_like = type("Address", (), {"server_address": ("127.0.0.1", wire.port)})
    proxy = serve(forwarding(sink_like))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    seen: list[tuple[bool, bytes]] = []
    permit = Permit(
        looks=lambda: seen.append((bytes(proxy.received[0]).startswith(b"CONNECT "), bytes(wire.received[0])))
    )

    answer = send(sender_to(wire.url, ca_file=str(certificates / "sink.pem")), permit=permit)

    assert answer.status == 200
    assert seen == [(True, b"")]


# -- the file sink


def file_sender(path: Path) -> FileSender:
    return FileSender(Sink(f"file://{quote(str(path))}", "file"))


def test_each_request_is_one_line(tmp_path):
    """A file sink holds one request a line, in a file of its owner alone, in a directory made for it."""
    path = tmp_path / "new" / "deep" / "telemetry.jsonl"
    sender = file_sender(path)

    assert [sender.send(body, lambda: None, 1) for body in (b'{"n":1}', b'{"n":2}')] == [Answer(200), Answer(200)]

    assert path.read_bytes() == b'{"n":1}\n{"n":2}\n'
    assert path.stat().st_mode & 0o777 == 0o600
    sender.abandon()
    sender.close()


@pytest.mark.parametrize("name", ["with blank.jsonl", "ümläut.jsonl", "100%.jsonl", "a#b?c.jsonl", "%41.jsonl"])
def test_percent_encoded_paths_are_decoded(tmp_path, name):
    """The file is the one the URL means, whatever characters its name has."""
    assert FileSender(Sink((tmp_path / name).as_uri(), "file")).send(BODY, lambda: None, 1).status == 200

    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [name]


def test_a_full_disk_is_no_acknowledgement(tmp_path, monkeypatch):
    """A disk without any room is no answer, and leaves the file as it was."""
    path = tmp_path / "telemetry.jsonl"
    path.write_bytes(b"{}\n")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert file_sender(path).send(BODY, lambda: None, 1) == Answer(None, error="OSError")

    assert path.read_bytes() == b"{}\n"


@pytest.mark.parametrize("place", ["a directory", "below a file", "no path"])
def test_an_impossible_place_is_no_answer(tmp_path, place):
    """A file sink that cannot be written is the world's failure, not an exception."""
    (tmp_path / "file").write_text("")
    path = {"a directory": tmp_path, "below a file": tmp_path / "file" / "x", "no path": tmp_path / "a\0b"}[place]

    answer = file_sender(path).send(BODY, lambda: None, 1)

    assert answer.status is None
    assert answer.error


def test_a_refused_request_makes_no_file(tmp_path):
    """When the permit refuses, nothing is written and no file is made."""
    path = tmp_path / "telemetry.jsonl"

    assert file_sender(path).send(BODY, Permit("declined"), 1) == Answer(None, error="declined")
    assert file_sender(path).send(BODY, Permit(""), 1) == Answer(None, error="not permitted")
    assert not path.exists()


def test_threads_that_write_at_one_moment_tear_no_line(tmp_path):
    """Lines of eight writers at once are whole, each of them."""
    path = tmp_path / "telemetry.jsonl"

    def work(n: int) -> None:
        sender = file_sender(path)
        for k in range(25):
            assert sender.send(json.dumps({"n": n, "k": k, "x": "x" * 5000}).encode(), lambda: None, 1).status == 200

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)

    found = {(line["n"], line["k"]) for line in map(json.loads, path.read_text().splitlines())}
    assert found == {(n, k) for n in range(8) for k in range(25)}


def test_a_reply_of_the_scripted_sink_is_what_the_sender_returns(sink, sender_to):
    """Against the server of the other tests: status, body and headers as scripted."""
    sink.reply = Reply(429, b"slow down", {"Content-Type": "text/plain", "Retry-After": "7"})

    assert send(sender_to(f"{sink.url}/v1/logs")) == Answer(429, b"slow down", "text/plain", "7")
