"""Real web servers on 127.0.0.1 that run an example app, and visitors who visit them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import telemetry_sdk

EXAMPLES = Path(__file__).parents[1] / "examples"
GUARD = 60.0  # seconds; only against hanging, never a claim about speed
AGENTS = {
    "desktop": ("Firefox", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    "mobile": ("Firefox Mobile", "Mozilla/5.0 (Android 13; Mobile; rv:109.0) Gecko/118.0 Firefox/118.0"),
    "bot": ("Googlebot", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
}


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for *condition*; the guard is only against hanging."""
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


class WebServer:
    """A server process and its workers. Its socket listens before it does, so that visitors wait instead of failing.

    Args:
        command: The server's command, without its address; ``{fd}`` stands for the socket.
        directory: Where it may write.
        environ: The app's variables.
        apps: Where its app is found.
    """

    def __init__(self, command: list[str], directory: Path, environ: dict[str, str], apps: Path = EXAMPLES) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._socket.set_inheritable(True)
        fd = self._socket.fileno()
        scratch = directory / "scratch"
        scratch.mkdir(exist_ok=True)
        self.log = directory / "server.log"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_DATA_HOME") if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.startswith("COV")}
        paths = os.pathsep.join([str(apps), str(Path(telemetry_sdk.__file__).parents[1])])
        more = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(scratch), "LANG": "C.UTF-8"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *(part.format(fd=fd) for part in command)],
                pass_fds=[fd],
                cwd=directory,
                env={**kept, **more, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def workers(self) -> set[int]:
        """The processes that it started and that serve."""
        return set(filter(serves, children(self.process.pid)))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> str:
        """End it as an operator does, and return its log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(GUARD)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server hangs: {self.log.read_text()}") from None
        return self.log.read_text("utf-8", "replace")

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(GUARD)


def children(pid: int) -> list[int]:
    """The children of a process, as Linux tells them."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def serves(pid: int) -> bool:
    """Whether a process is a worker, and not multiprocessing's resource tracker or a zombie."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(command) and b"resource_tracker" not in command


@dataclass
class Visits:
    """What visitors did and what they saw.

    Attributes:
        viewed: Users whose page came whole.
        started: Users whose timer was started.
        failed: Users whose connection broke.
    """

    viewed: set[int] = field(default_factory=set)
    started: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)


class Visitor:
    """One connection, kept alive from one user to the next, as a proxy keeps it."""

    def __init__(self, port: int, *, as_json: bool) -> None:
        self._port = port
        self._as_json = as_json
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, form: dict[str, Any] | None = None, **headers: str) -> tuple[int, str]:
        """Make one request; returns status and body."""
        body = None
        if form is not None:
            kind = "application/json" if self._as_json else "application/x-www-form-urlencoded"
            body = json.dumps(form) if self._as_json else urlencode(form)
            headers["Content-Type"] = kind
        connection = self._connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=GUARD)
        self._connection = None
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = answer.status, answer.read().decode()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._connection = connection
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def visit(self, user: int, visits: Visits) -> None:
        """Be *user*: look at a page, with a secret in its query, and start a timer of so many minutes."""
        headers = {"Cookie": f"user=u-{user}", "User-Agent": agent_of(user)[2]}
        try:
            assert self.ask("GET", f"/timers/{user}?token=s3cr3t", **headers) == (200, f"<p>Timer {user}</p>")
            visits.viewed.add(user)
            assert self.ask("POST", "/timers", {"minutes": user}, **headers) == (201, "started")
            visits.started.add(user)
        except (OSError, http.client.HTTPException):
            visits.failed.add(user)


def agent_of(user: int) -> tuple[str, str, str]:
    """Browser, device and User-Agent of a user."""
    device = list(AGENTS)[user % len(AGENTS)]
    browser, header = AGENTS[device]
    return browser, device, header


@contextlib.contextmanager
def visiting(server: WebServer, *, as_json: bool, threads: int = 4) -> Iterator[Callable[[int], Visits]]:
    """Have visitors come without pause, at the same time; call it with a number to have at least so many more done."""
    visits, numbers, over = Visits(), iter(range(1, 10**9)), threading.Event()
    lock = threading.Lock()

    def come() -> None:
        visitor = Visitor(server.port, as_json=as_json)
        try:
            while not over.is_set():
                with lock:
                    user = next(numbers)
                visitor.visit(user, visits)
        finally:
            visitor.close()

    def more(number: int) -> Visits:
        enough = len(visits.started) + number
        wait_until(lambda: len(visits.started) >= enough or stopped(), "visitors")
        return visits

    def stopped() -> bool:
        for coming in come_ins:
            if coming.done():
                coming.result()
        return all(coming.done() for coming in come_ins)

    with ThreadPoolExecutor(threads) as pool:
        come_ins = [pool.submit(come) for _ in range(threads)]
        try:
            yield more
        finally:
            over.set()
        for coming in come_ins:
            coming.result()
