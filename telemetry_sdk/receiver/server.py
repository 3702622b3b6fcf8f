"""A small OTLP/HTTP JSON log receiver for development and tests.

It answers as an OpenTelemetry Collector does, only stricter about what is in a request (see `validation`):

    200  accepted; an empty request too, of which nothing is kept
    400  not JSON, not a valid request, broken gzip, unknown Content-Encoding, empty body, a header that is broken or
         there twice
    403  it has an Origin, so a web page made it; or, on loopback, a Host that is another name than this machine's own
    404  any path but /v1/logs
    405  any method but POST
    411  no Content-Length (chunked bodies are not read)
    413  a body over 4 MiB, before or after decompression
    415  not application/json
    503  the file could not be written; the client is to send again

Everything but 200 carries a JSON status, ``{"code": 3, "message": "..."}``. Nothing is printed, and no client's
address is stored or logged. There is no authentication: it is meant for loopback.

What clients can cost is bounded: 32 connections, each of a minute at most; for a newcomer the oldest one that has not
sent its request is ended. One request at a time is unpacked, checked, stored and shown.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import logging
import math
import os
import re
import socket
import socketserver
import stat
import sys
import threading
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Self

from telemetry_sdk.receiver.validation import InvalidRequest, ReceivedRecord, parse_request, received_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

MAX_BODY: Final = 4 * 1024 * 1024
_PATH: Final = "/v1/logs"
_ACKNOWLEDGED: Final = b'{"partialSuccess":{}}'
MAX_CONNECTIONS: Final = 32
_GRPC_CODES: Final = {400: 3, 403: 7, 404: 12, 503: 14}
_GRPC_UNKNOWN: Final = 2
_IDLE_S: Final = 30.0
_RETIRE_S: Final = 30.0
_LIFE_S: Final = 60.0
_ROOM_S: Final = 0.5
_LINGER_S: Final = 2.0
_DRAIN_S: Final = 2.0
_POLL_S: Final = 0.05
_WAIT_S: Final = 0.5
_NO_PLACE: Final = "not a regular file with one name"
_LOOKS: Final = 5
_BETWEEN_LOOKS: Final = 0.005
# Not *.localhost, which a resolver may look up elsewhere.
_THIS_MACHINE: Final = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_AT_MOST_ONCE: Final = ("Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding")
_APPENDING: Final = (
    (os.O_RDWR | os.O_APPEND | os.O_CREAT)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)

_log = logging.getLogger("telemetry_sdk")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a receiver has done so far.

    Attributes:
        requests: Requests accepted, empty ones included.
        records: Records in them.
        refused: Requests answered with anything but 200.
    """

    requests: int = 0
    records: int = 0
    refused: int = 0


class Receiver:
    """Receives OTLP/HTTP JSON log records until it is closed.

    It listens from construction on; requests are answered once `start` or `serve_forever` is called. As a context
    manager it starts on entry and closes on exit.

    Args:
        host: Address to listen on. Anything but loopback lets other machines send here.
        port: Port to listen on; 0 takes a free one, see `url`.
        file: Where each accepted request is appended as one line of compact OTLP JSON (the OpenTelemetry
            file-exporter format), before it is acknowledged. Created with mode 0600, and opened anew for each line,
            so it may be renamed or deleted meanwhile. A regular file with one name only: no link, FIFO or device. A
            line survives a kill of this process, not a power cut; a torn one is closed off by the next.
        on_record: Called for each accepted record, never twice at a time, before its request is acknowledged. An
            exception it raises ends the connection, not the receiver, and the request stays accepted.

    Raises:
        OSError: The address is in use or cannot be bound, or the file cannot be used (then `filename` is set).
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 4318,
        file: str | os.PathLike[str] | None = None,
        on_record: Callable[[ReceivedRecord], object] | None = None,
    ) -> None:
        # Bound before the file is opened: a second receiver on this port must not leave an empty file behind.
        self._server = _Server(host, port)
        try:
            self._intake = self._server.intake = Intake(file, on_record)
        except OSError:
            self._server.server_close()
            raise
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._closed = False

    @property
    def url(self) -> str:
        """The base URL, with the real port when 0 was asked for."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    @property
    def counts(self) -> Counts:
        """What has been accepted and refused so far."""
        return self._intake.counts

    def start(self) -> None:
        """Serve in a daemon thread, and return at once. Does nothing when it is already serving, or closed."""
        with self._lock:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._serve, name="receiver", daemon=True)
                thread.start()
                self._thread = thread

    def serve_forever(self) -> None:
        """Serve until `close` is called from another thread, or a signal handler raises in this one."""
        self.start()
        # In slices, because Windows does not let Ctrl-C into an endless wait. Not by way of join: interrupted by
        # an exception, it takes the thread for ended (bpo-45274).
        while self._thread is not None and not self._ended.wait(_WAIT_S):
            pass

    def close(self) -> None:
        """Stop listening, let requests in progress end, and close the file.

        Waits a little over two seconds at most; after it returns nothing is appended any more. Idle connections
        are ended at once. May be called more than once, but not from `on_record`.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._thread is not None:
            self._server.shutdown()
            self._ended.wait()
        self._server.server_close()
        self._server.end_connections(_DRAIN_S)
        self._intake.close()

    def _serve(self) -> None:
        try:
            self._server.serve_forever(_POLL_S)
        finally:
            self._ended.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Intake:
    """Appends requests to *file* as OTLP JSON lines, one at a time whatever the number of threads; None keeps nothing.

    Raises:
        OSError: The file cannot be opened for writing, or is not a regular file with one name.
    """

    def __init__(
        self, file: str | os.PathLike[str] | None, on_record: Callable[[ReceivedRecord], object] | None
    ) -> None:
        # From unpacking to showing: a request takes 100 times as much memory as its bytes.
        self.alone = threading.Lock()
        self.counts = Counts()
        self._on_record = on_record
        self._file = None if file is None else os.path.abspath(file)
        if self._file is not None:
            os.close(_opened(self._file))
        self._closed = False
        self._storing = threading.Lock()

    def store(self, request: dict[str, Any]) -> list[ReceivedRecord]:
        """Append a valid *request* as one line, if it has records, and return them.

        When this returns, the line survives a kill of this process, though not a power cut.

        Raises:
            OSError: The line was not written, or the intake is closed.
            InvalidRequest: Fields we do not know nest too deep to be written down.
        """
        records = received_records(request)
        try:
            line = json.dumps(request, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
        except RecursionError:
            raise InvalidRequest("request", "nested too deep") from None
        with self._storing:
            if self._closed:
                raise OSError(errno.EBADF, "closed")
            if records and self._file is not None:
                _write(self._file, line)
            done = self.counts
            self.counts = replace(done, requests=done.requests + 1, records=done.records + len(records))
        return records

    def show(self, records: list[ReceivedRecord]) -> None:
        """Call `on_record` for each of *records*, under the lock `alone`. What it raises leaves here."""
        if self._on_record is None:
            return
        for record in records:
            self._on_record(record)

    def count_refusal(self) -> None:
        """Count a request that was not accepted."""
        with self._storing:
            self.counts = replace(self.counts, refused=self.counts.refused + 1)

    def close(self) -> None:
        """Store nothing after this returns."""
        with self._storing:
            self._closed = True


# What follows is as in `sender.file`, which says why; of the two neither may import the other.
def _opened(path: str) -> int:
    try:
        descriptor = os.open(path, _APPENDING, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.EINVAL, _NO_PLACE, path) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, _NO_PLACE, path)
    return descriptor


def _write(path: str, line: bytes) -> None:
    descriptor = _opened(path)
    try:
        is_whole = _append(descriptor, line)
    finally:
        os.close(descriptor)
    if not is_whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _append(descriptor: int, line: bytes) -> bool:
    for lead in (b"\n" if _is_torn(descriptor) else b"", b"\n"):
        if os.write(descriptor, lead + line) != len(lead + line):
            return False
        if _is_line_start(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR) - len(line)):
            return True
    return False


def _is_torn(descriptor: int) -> bool:
    for _ in range(_LOOKS):
        if _is_line_start(descriptor, os.lseek(descriptor, 0, os.SEEK_END)):
            return False
        time.sleep(_BETWEEN_LOOKS)
    return True


def _is_line_start(descriptor: int, position: int) -> bool:
    if not position:
        return True
    os.lseek(descriptor, position - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


class _RefusedError(Exception):
    """The request is answered with this status instead of 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Server(http.server.ThreadingHTTPServer):
    """Accepts connections, each served by a daemon thread, and ends those that stay too long or stand in the way."""

    request_queue_size = 128
    # On Windows this option would let two receivers share one port.
    allow_reuse_address = os.name != "nt"

    intake: Intake

    def __init__(self, host: str, port: int) -> None:
        self._changed = threading.Condition()
        self._deadlines: dict[Any, float] = {}  # of each open connection
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.is_local = ip_address(str(self.server_address[0]).partition("%")[0]).is_loopback

    def server_bind(self) -> None:
        # HTTPServer's own would look up the host's full name, which can take seconds of DNS.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            has_room = self._make_room()
            self._deadlines[request] = time.monotonic() + _LIFE_S
        if has_room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def _make_room(self) -> bool:
        """Tell whether one more may be served, after ending the oldest that has not sent its request if need be."""
        if len(self._deadlines) >= MAX_CONNECTIONS:
            self._end(min(self._deadlines, key=self._deadlines.__getitem__))
        return self._changed.wait_for(lambda: len(self._deadlines) < MAX_CONNECTIONS, _ROOM_S)

    @contextlib.contextmanager
    def answering(self, connection: Any) -> Iterator[None]:
        """Let *connection* be, within the block: its request has been read, and what is left to do is ours."""
        with self._changed:
            deadline, self._deadlines[connection] = self._deadlines[connection], math.inf
        try:
            yield
        finally:
            with self._changed:
                self._deadlines[connection] = deadline

    def service_actions(self) -> None:
        # By a look from outside: a timeout of each read would let a client drip, a byte at a time, for days.
        now = time.monotonic()
        with self._changed:
            for connection, deadline in self._deadlines.items():
                if deadline < now:
                    self._end(connection)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._deadlines.pop(request, None)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - said nowhere, on purpose
        kind = sys.exc_info()[0]
        _log.debug("a connection of the receiver ended with %s", kind.__name__ if kind else "nothing")

    def end_connections(self, timeout: float) -> None:
        """End idle connections now and the others as soon as they have answered, or after *timeout* seconds."""
        with self._changed:
            self._shut(socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._deadlines, timeout)
            self._shut(socket.SHUT_RDWR)

    def _end(self, connection: Any) -> None:
        if self._deadlines[connection] < math.inf:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        for connection in self._deadlines:
            with contextlib.suppress(OSError):
                connection.shutdown(how)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # Otherwise what is not HTTP counts as HTTP/0.9, and is answered without a status line.
    default_request_version = "HTTP/1.1"
    timeout = _IDLE_S
    # One write for each answer: head and body in two would wait 40 ms for the client's delayed ACK.
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self._retires_at = time.monotonic() + _RETIRE_S

    def do_POST(self) -> None:
        try:
            _check_source(self.headers, is_local=self.server.is_local)
            length = _announced_length(self.path, self.headers)
        except _RefusedError as refused:
            self._refuse(refused, unread=True)
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        with self.server.answering(self.connection):
            self._take(body)

    def _take(self, body: bytes) -> None:
        intake = self.server.intake
        # The answer is given when the next request may go on: this client may take its time to read it.
        with contextlib.ExitStack() as at_last, intake.alone:
            try:
                records = intake.store(parse_request(_decompressed(body, self.headers)))
            except InvalidRequest as invalid:
                at_last.callback(self._refuse, _RefusedError(400, str(invalid)))
            except _RefusedError as refused:
                at_last.callback(self._refuse, refused)
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "unknown error")
                at_last.callback(self._refuse, _RefusedError(503, f"the request could not be stored ({name})"))
            else:
                # Stored is accepted, whatever the callback thinks of it.
                at_last.callback(self._answer, 200, _ACKNOWLEDGED)
                intake.show(records)

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        # The client waits for this line before it sends the body.
        self.wfile.flush()
        return going_on

    def send_error(self, code: int, *_quoting_the_request: str | None) -> None:
        # http.server refuses here what it cannot read, and any method without a do_ function.
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code = HTTPStatus.METHOD_NOT_ALLOWED if _is_ours(self.path) else HTTPStatus.NOT_FOUND
        self._refuse(_RefusedError(code, HTTPStatus(code).phrase), unread=True)

    def finish(self) -> None:
        # A client that is gone already takes no answer: nothing to do about it.
        with contextlib.suppress(OSError):
            super().finish()
        self.rfile.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server gave it
        """Say nothing: a client's address and what it asked for are not ours to show."""

    def version_string(self) -> str:
        return "telemetry-sdk-receiver"

    def _refuse(self, refused: _RefusedError, *, unread: bool = False) -> None:
        self.server.intake.count_refusal()
        self.close_connection |= unread
        code = _GRPC_CODES.get(refused.status, _GRPC_UNKNOWN)
        self._answer(refused.status, json.dumps({"code": code, "message": refused.message}).encode("ascii"))
        if unread:
            self._linger()

    def _answer(self, status: int, body: bytes) -> None:
        # Said in time, so that no client is cut off in the middle of its next request.
        self.close_connection |= time.monotonic() >= self._retires_at
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _linger(self) -> None:
        """Read on for a while, so that closing does not reset the connection before the answer is read."""
        deadline = time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_S)
            while time.monotonic() < deadline and self.connection.recv(65536):
                pass


def _is_ours(path: str) -> bool:
    return path.partition("?")[0] == _PATH


def _check_source(headers: Message, *, is_local: bool) -> None:
    """Refuse what a web page may have sent, or what two readers could understand in two ways.

    A browser names the page's origin with every POST. Its Host is the page's own name where that was made to lead here.
    """
    if headers.defects or any(len(headers.get_all(name, ())) > 1 for name in _AT_MOST_ONCE):
        raise _RefusedError(400, "a header is broken, or is there twice")
    if "Origin" in headers:
        raise _RefusedError(403, "web pages may not send records here, and this has an Origin")
    if is_local and not _THIS_MACHINE.fullmatch(headers.get("Host", "").strip()):
        raise _RefusedError(403, "Host must be localhost, 127.0.0.1 or [::1]")


def _announced_length(path: str, headers: Message) -> int:
    """Return the length of a body worth reading; raise `_RefusedError` when no body could save the request."""
    if not _is_ours(path):
        raise _RefusedError(404, "logs are received on /v1/logs only")
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise _RefusedError(415, "Content-Type must be application/json")
    length = headers.get("Content-Length")
    if length is None or "Transfer-Encoding" in headers:
        raise _RefusedError(411, "Content-Length is required, and no Transfer-Encoding")
    if not re.fullmatch("[0-9]{1,18}", length.strip()):
        raise _RefusedError(400, "Content-Length is not a number")
    if int(length) > MAX_BODY:
        raise _RefusedError(413, "the body is over 4 MiB")
    return int(length)


def _decompressed(body: bytes, headers: Message) -> bytes:
    """Return the body as it was before compression, never inflating more than the limit.

    Raises:
        _RefusedError: The encoding is unknown, the data are broken, or there is too much of it.
    """
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise _RefusedError(400, "Content-Encoding must be gzip or absent")
    try:
        import zlib
    except ImportError:
        raise _RefusedError(400, "this Python has no zlib: send without compression") from None
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise _RefusedError(400, "the gzip data are broken") from None
    if len(plain) > MAX_BODY:
        raise _RefusedError(413, "the body is over 4 MiB when decompressed")
    if not inflater.eof:
        raise _RefusedError(400, "the gzip data end too early")
    if inflater.unused_data:
        raise _RefusedError(400, "something follows the gzip data")
    return plain
