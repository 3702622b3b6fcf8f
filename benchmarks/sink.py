"""A sink fast enough not to be what is measured: raw sockets, one thread a connection, in a process of its own.

It answers every POST with one fixed success that all SDKs under test understand, keeps the bodies, and looks into
them only when asked. An event is recognised by its marker, ``mk0000017mk``: letters and digits alone, which every
wire format leaves as they are.

Run as a program it is driven by lines on its standard input: ``report`` answers with one JSON line, ``reset`` forgets,
``gate`` holds answers back, ``open`` lets them go, ``far`` lets each go 0.3 seconds after its request.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

__all__ = ["FAR", "Sink", "marker", "raw_ceiling"]

FAR = 0.3  # seconds: DNS, TCP, TLS and one request to another continent
_MARKER = re.compile(rb"mk(\d{7})mk")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ENCODING = re.compile(rb"\r\ncontent-encoding: *(\w+)", re.IGNORECASE)
_BODY = b'{"partialSuccess":{},"status":1,"success":true,"code":200,"error":null,"id":"0"}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


def marker(number: int) -> str:
    """Return the mark of event *number*."""
    return f"mk{number:07d}mk"


class _Server:
    """The server inside the sink's process."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, bytes, bytes, bool]] = []
        self.opened = threading.Event()
        self.opened.set()
        self.distance = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError), connection:
            while True:
                while (end := data.find(b"\r\n\r\n")) < 0:
                    received = connection.recv(262_144)
                    if not received:
                        return
                    data += received
                head, rest = data[:end], data[end + 4 :]
                found = _LENGTH.search(head)
                length = int(found.group(1)) if found else 0
                parts = [rest]
                missing = length - len(rest)
                while missing > 0:
                    received = connection.recv(262_144)
                    if not received:
                        return
                    parts.append(received)
                    missing -= len(received)
                whole = b"".join(parts)
                body, data = whole[:length], whole[length:]
                was_held = not self.opened.is_set()
                self.opened.wait()
                time.sleep(self.distance)
                connection.sendall(_ANSWER)
                self.requests.append((time.monotonic(), head, body, was_held))

    def report(self) -> dict[str, Any]:
        """Return what arrived: unique markers, duplicates, requests, bytes, and when the newest answer was given.

        ``held`` of the events had arrived before `gate` was lifted: only their answer was waited for.
        """
        marks: list[bytes] = []
        held: set[bytes] = set()
        for _, head, body, was_held in self.requests:
            found = _MARKER.findall(_plain(head, body))
            marks += found
            held.update(found if was_held else ())
        bodies = sum(len(body) for _, _, body, _ in self.requests)
        return {
            "events": len(set(marks)),
            "held": len(held),
            "duplicates": len(marks) - len(set(marks)),
            "requests": len(self.requests),
            "body_bytes": bodies,
            "plain_bytes": sum(len(_plain(head, body)) for _, head, body, _ in self.requests),
            "wire_bytes": bodies + sum(len(head) + 4 for _, head, _, _ in self.requests),
            "last_at": max((at for at, _, _, _ in self.requests), default=0.0),
        }


def _plain(head: bytes, body: bytes) -> bytes:
    encoding = _ENCODING.search(head)
    if encoding is None:
        return body
    name = encoding.group(1).lower()
    return gzip.decompress(body) if name == b"gzip" else zlib.decompress(body) if name == b"deflate" else body


class Sink:
    """The handle on a sink running in another process."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._answer())
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def report(self) -> dict[str, Any]:
        """Return what arrived since the last `reset`."""
        report: dict[str, Any] = json.loads(self._ask("report"))
        return report

    def reset(self) -> None:
        """Forget what arrived, and answer at once."""
        self._ask("open")
        self._ask("reset")

    def gate(self) -> None:
        """Hold every answer back until `open`."""
        self._ask("gate")

    def move_away(self) -> None:
        """Answer each request only after 0.3 seconds until `reset`."""
        self._ask("far")

    def open(self) -> float:
        """Let the answers go; return when, by the monotonic clock."""
        now = time.monotonic()
        self._ask("open")
        return now

    def _ask(self, word: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def raw_ceiling(sink: Sink, *, size: int, requests: int) -> float:
    """Return the requests a second the sink takes from one connection that does nothing else, bodies of *size* bytes.

    What an SDK reaches beyond that would be a fault of the measurement.
    """
    request = b"POST / HTTP/1.1\r\nHost: sink\r\nContent-Length: %d\r\n\r\n%s" % (size, b"x" * size)
    with socket.create_connection(("127.0.0.1", sink.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.perf_counter()
        for _ in range(requests):
            connection.sendall(request)
            received = 0
            while received < len(_ANSWER):
                received += len(connection.recv(4096))
        return requests / (time.perf_counter() - begun)


def _main() -> None:
    server = _Server()
    print(server.port, flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "reset":
            server.requests.clear()
        elif word == "gate":
            server.opened.clear()
        elif word == "open":
            server.opened.set()
            server.distance = 0.0
        elif word == "far":
            server.distance = FAR
        print(json.dumps(server.report() if word == "report" else {}), flush=True)


if __name__ == "__main__":
    _main()
