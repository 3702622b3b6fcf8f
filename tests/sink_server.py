"""A real HTTP server on 127.0.0.1 that answers from a script and remembers what it was sent."""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One scripted answer.

    Attributes:
        status: HTTP status.
        body: Sent as it is.
        headers: Sent beside ``Content-Length``.
        hang: Wait for this event before answering.
        close: Close the connection instead of answering.
    """

    status: int = 200
    body: bytes = b'{"partialSuccess":{}}'
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    hang: threading.Event | None = None
    close: bool = False


@dataclass
class Request:
    """One request as it arrived; ``body`` is decompressed."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: bytes
    connection: int = 0  # the port it came from

    @property
    def records(self) -> list[dict[str, Any]]:
        document = json.loads(self.body)
        return [
            record
            for resource in document["resourceLogs"]
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]


class SinkServer(ThreadingHTTPServer):
    """Answers each request with the next reply of `script`, or with `reply` when the script has ended.

    `reply` may be a function of the `Request` too. `requests` holds every request that was read whole; `accepted`
    the records of those answered with 2xx.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Reply] = []
        self.reply: Any = Reply()
        self.requests: list[Request] = []
        self.accepted: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def names(self) -> list[str]:
        """Names of the accepted records, in order."""
        return [record["eventName"] for record in self.accepted]

    @property
    def uids(self) -> list[str]:
        """Uids of the accepted records, in order."""
        return [attributes(record)["log.record.uid"] for record in self.accepted]

    def wait_for(self, condition: Any, timeout: float = 20.0) -> None:
        """Wait until *condition* holds; the timeout only guards against hanging."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), "the sink waited in vain"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: SinkServer

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        request = Request(self.command, self.path, dict(self.headers.items()), raw, body, self.client_address[1])
        server = self.server
        with server.changed:
            server.requests.append(request)
            reply = server.script.pop(0) if server.script else server.reply
            reply = reply(request) if callable(reply) else reply
            server.changed.notify_all()
        if reply.hang is not None:
            reply.hang.wait(60)
        if reply.close:
            self.close_connection = True
            self.connection.close()
            return
        if 200 <= reply.status < 300:
            with server.changed:
                server.accepted += request.records if request.body.startswith(b"{") else []
                server.changed.notify_all()
        self.send_response_only(reply.status)  # no Date: the tests have clocks of their own
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


def attributes(record: dict[str, Any]) -> dict[str, Any]:
    """The attributes of an OTLP record as a dict, in order."""
    return {attribute["key"]: value(attribute["value"]) for attribute in record["attributes"]}


def value(any_value: dict[str, Any]) -> Any:
    """The Python value of an OTLP AnyValue."""
    ((kind, content),) = any_value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [value(item) for item in content["values"]]
    if kind == "kvlistValue":
        return {pair["key"]: value(pair["value"]) for pair in content["values"]}
    return content
