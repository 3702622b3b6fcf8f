"""Sinks that misbehave, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading


class HostileSink:
    """Accepts connections and treats each one as *behaviour* says.

    ``refuse``: nothing listens. ``hang``: accepts, reads, never answers. ``drip``: a byte of the answer's head now
    and then. ``drip body``: a proper head, then a byte of a long body now and then. ``drip last body``: the same, of
    an answer after which the connection is to be closed. ``reset``: reads, then resets.
    ``close``: closes at once, unread. ``reset mid-answer``: half a head, then resets. ``endless``: a proper head, then a body without end. ``black
    hole``: never accepts, with a full backlog, so that a connect gets no answer.
    """

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.received = b""
        self.connections = 0
        self._stop = threading.Event()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._fillers: list[socket.socket] = []
        self.port = self._socket.getsockname()[1]
        if behaviour == "refuse":
            self._socket.close()
        elif behaviour == "black hole":
            self._socket.listen(0)
            self._fill_backlog()
        else:
            self._socket.listen(64)
            threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for filler in self._fillers:
            filler.close()

    def _fill_backlog(self) -> None:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self.behaviour not in ("hang", "close"):
                self.received += connection.recv(65536)
            getattr(self, f"_{self.behaviour.replace(' ', '_').replace('-', '_')}")(connection)

    def _hang(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                data = connection.recv(65536)
                if not data:
                    return
                self.received += data

    def _close(self, connection: socket.socket) -> None:
        """Leaving is all there is to do."""

    def _drip(self, connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"x" * 10_000:
            connection.sendall(bytes([byte]))
            if self._stop.wait(0.2):
                return

    def _bad_header(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 2\r\n\r\n{}")

    def _drip_last_body(self, connection: socket.socket) -> None:
        self._drip_body(connection, b"HTTP/1.1 200 OK\r\nConnection: close")

    def _drip_body(self, connection: socket.socket, head: bytes = b"HTTP/1.1 200 OK") -> None:
        connection.sendall(head + b"\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n")
        while not self._stop.wait(0.2):
            connection.sendall(b" ")

    def _reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _reset_mid_answer(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _endless(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not self._stop.is_set():
            connection.sendall(b" " * 65536)
