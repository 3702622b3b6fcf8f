"""The only module that talks to the network, and the only one that imports requests.

A sender gets bytes and returns an `Answer`; it knows no records. It makes one attempt. It asks its *permit* after the
connection stands and before the first byte of the request is written, so that a consent withdrawn during a slow DNS
lookup or handshake still holds.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from telemetry_sdk._version import __version__
from telemetry_sdk.host.lifecycle import loading, wait_first
from telemetry_sdk.host.quiet import logger, quiet_logs
from telemetry_sdk.model import Answer
from telemetry_sdk.sender import otlp, wire_gate
from telemetry_sdk.sender.endpoint import is_loopback
from telemetry_sdk.sender.wire_gate import NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from telemetry_sdk.sender.endpoint import Sink

ANSWER_LIMIT: Final = 64 * 1024
_AT_ONCE: Final = 256  # a read returns when it has all of that, so the time is looked at this often
_USER_AGENT: Final = f"telemetry-sdk-python/{__version__}"

_DEEPEST: Final = 6
# The first that is in the chain of errors says most: a proxy that is gone is a refused connection too.
_CAUSES: Final = {
    "InvalidSchema": "the proxy's kind is not known",
    "ProxyError": "the proxy did not let it through",
    "SSLCertVerificationError": "certificate not trusted",
    "SSLError": "no TLS there",
    "NameResolutionError": "host name not found",
    "ConnectTimeout": "no connection in time",
    "ReadTimeout": "no answer in time",
    "ConnectionRefusedError": "connection refused",
    "NewConnectionError": "host not reachable",
    "TimeoutError": "no answer in time",
    "ConnectionError": "connection broken off",
    "ProtocolError": "connection broken off",
}


class HttpSender:
    """POSTs OTLP/JSON to one endpoint, keeping one connection alive."""

    def __init__(self, sink: Sink) -> None:
        self.takes_packed = sink.compress
        self._sink = sink
        self._idle: _Line | None = None
        self._in_use: list[_Line] = []

    def __del__(self) -> None:
        """Close the connection of a forgotten sender at once: urllib3 holds it in a cycle, until that is collected."""
        self.close()

    def send(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:
        """Send *body*.

        The connect and every single read are bounded by *timeout*; the whole attempt is bounded by the caller, who
        may `abandon` it. Redirects are not followed, cookies not kept, ``.netrc`` not read. System proxies and CA
        settings are honoured, except that a plain http sink on this machine is reached directly.
        """
        with quiet_logs():
            try:
                _load_requests()
                return self._send(body, permit, timeout)
            except ImportError as error:
                return Answer(None, error=f"this Python has no {error.name or 'HTTP client that can be loaded'}")
            except Warning as error:  # an installation that does not fit together
                return Answer(None, error=type(error).__name__)

    def _send(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:
        from requests.exceptions import BaseHTTPError, RequestException  # type: ignore[attr-defined]

        line = self._take()
        is_fit = True
        try:
            return line.post(body, permit, timeout)
        except NotPermittedError as error:
            return Answer(None, error=str(error) or "not permitted")
        except (RequestException, BaseHTTPError, OSError, ValueError) as error:
            is_fit = False
            return Answer(None, error=_cause(error))
        finally:
            with contextlib.suppress(ValueError):  # it was abandoned
                self._in_use.remove(line)
            if is_fit and not line.is_cut and self._idle is None:
                self._idle = line
            else:
                line.close()

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers of a request with *body*, for people to read: without secrets."""
        http = {"Host": urlsplit(self._sink.url).netloc, "Content-Length": str(len(body))}
        return wire_gate.without_secrets(http | _headers(self._sink, body))

    def _take(self) -> _Line:
        """Return a line for one attempt alone: one that was left behind may still be under way, with its own permit."""
        line, self._idle = self._idle, None
        if line is None or line.is_cut or not line.is_own:
            line = _Line(self._sink)
        self._in_use.append(line)
        return line

    def abandon(self) -> None:
        """Break the connection of a running attempt, or close that of one that just ended; the next opens a new one."""
        in_use, self._in_use = self._in_use, []
        for line in in_use:
            if line.is_own:
                line.cut()
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        line, self._idle = self._idle, None
        if line is not None and line.is_own:
            line.close()

    def proxy(self) -> str:
        """Return the proxy a request would take, a URL that may carry credentials, or nothing; sends nothing."""
        _load_requests()
        with contextlib.closing(_Line(self._sink)) as line:
            return line.proxy()


@functools.cache
def _load_requests() -> None:
    """Import requests, which warns of versions of other libraries that it does not know."""
    with loading(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger()  # its library holds a lock over a fork, and requests would wait for the fork's end while we hold ours
        wait_first()
        import requests  # noqa: F401


class _Line:
    """One requests session with its connections, used by one thread at a time.

    A connection asks it for the permit before it writes a request; by it they can be cut or closed.
    """

    def __init__(self, sink: Sink) -> None:
        from http.cookiejar import DefaultCookiePolicy

        import requests

        self.permit: Callable[[], None] = _not_asked
        self.headers: Mapping[str, str] = {}
        self.is_cut = False
        self._sink = sink
        self._pid = os.getpid()
        self._is_reused = False
        self._connection: Any = None
        self._socket: Any = None
        self._session = session = requests.Session()
        session.headers.clear()
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # requests prepares the next request of a redirect it is told not to follow: it reads the whole body for that,
        # and raises where the Location makes no sense.
        session.get_redirect_target = lambda _: None  # type: ignore[method-assign, assignment]
        adapter = _gated_adapter(self)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        url = urlsplit(sink.url)
        if url.scheme == "http" and is_loopback(url.hostname):
            session.trust_env = False

    @property
    def is_own(self) -> bool:
        """Whether it is of this process: over a fork came the parent's, perhaps with a request under way."""
        return self._pid == os.getpid()

    def post(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:
        import requests

        body = otlp.packed(body) if self._sink.compress and not otlp.is_packed(body) else body
        self.permit = permit
        try:
            return self._post_once(body, timeout)
        except requests.exceptions.ConnectionError:
            # A kept-alive connection that the sink closed meanwhile says nothing about the sink.
            if not self._is_reused:
                raise
            self.close()
            return self._post_once(body, timeout)
        finally:
            # urllib3 holds an idle connection until its pool is forgotten, and that would hold all behind the permit.
            self.permit = _not_asked

    def _post_once(self, body: bytes, timeout: float) -> Answer:
        self._is_reused = False
        self.headers = _headers(self._sink, body)
        response = self._session.post(
            self._sink.url,
            data=body,
            headers=self.headers,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
            auth=lambda request: request,  # else requests puts a password from .netrc in the place of our header
            verify=self._sink.ca_file or True,
            cert=self._sink.client_cert,
        )
        with contextlib.closing(response):
            return _answer(response, time.monotonic() + timeout)

    def proxy(self) -> str:
        from requests.utils import select_proxy

        chosen = self._session.merge_environment_settings(self._sink.url, {}, None, None, None)
        return select_proxy(self._sink.url, chosen["proxies"]) or ""

    def attach(self, connection: Any, *, is_reused: bool) -> None:
        """Remember the connection that is about to write a request."""
        self._connection = connection
        # Kept apart: the connection forgets its socket when an answer is its last one, while that is still being read.
        self._socket = connection.sock
        self._is_reused = is_reused
        if self.is_cut:
            raise NotPermittedError("abandoned")

    def check_peer(self, connection: Any) -> None:
        """Let no secret cross a network in clear, whatever the name of this machine's sink was resolved to.

        Raises:
            NotPermittedError: It would.
        """
        url = urlsplit(self._sink.url)
        is_secret = url.query or any(name.lower() not in wire_gate.HARMLESS_HEADERS for name, _ in self._sink.headers)
        if url.scheme == "http" and is_secret and not wire_gate.is_this_machine(connection.sock.getpeername()):
            raise NotPermittedError("a secret would be sent unencrypted to another machine")

    def cut(self) -> None:
        """Break the connection under the thread that is using it, which then closes it."""
        import socket

        self.is_cut = True
        if self._socket is not None:
            plain = getattr(self._socket, "socket", self._socket)  # below TLS within TLS
            with contextlib.suppress(OSError, ValueError):
                socket.socket.shutdown(plain, socket.SHUT_RDWR)

    def close(self) -> None:
        self._session.close()
        # Said to the connection itself: urllib3 closes a pool's connections when the pool is garbage, some time later.
        if self._connection is not None:
            self._connection.close()


def _headers(sink: Sink, body: bytes) -> dict[str, str]:
    """Return our own headers of a request with *body*, which are all that is sent beside those of HTTP itself."""
    return {
        **dict(sink.headers),
        **({"Content-Encoding": "gzip"} if otlp.is_packed(body) else {}),
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": _USER_AGENT,
    }


def _not_asked() -> None:
    """Stand where no attempt is under way."""


def _answer(response: requests.Response, deadline: float) -> Answer:
    data: bytes | None = b""
    # Read as it comes: unpacking what we asked to be sent unpacked could take any amount of memory.
    while data is not None and (chunk := response.raw.read(_AT_ONCE, decode_content=False)):
        data += chunk
        is_encoded = response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
        if is_encoded or len(data) > ANSWER_LIMIT:
            data = None
        elif time.monotonic() > deadline:
            raise TimeoutError
    return Answer(
        status=response.status_code,
        body=data,
        content_type=response.headers.get("Content-Type", "").lower(),
        retry_after=response.headers.get("Retry-After"),
        date=response.headers.get("Date"),
    )


def _cause(error: BaseException) -> str:
    """Return in plain words what stood in the way: no address and no path, unlike the errors' own texts."""
    names: list[str] = []
    found: BaseException | None = error
    for _ in range(_DEEPEST):
        if found is None:
            break
        names += [it.__name__ for it in type(found).__mro__]
        inner = (getattr(found, "reason", None), *found.args, found.__cause__)
        found = next((it for it in inner if isinstance(it, BaseException)), None)
    return next((words for name, words in _CAUSES.items() if name in names), f"no connection ({names[0]})")


def _gated_adapter(line: _Line) -> Any:
    """Return a requests adapter whose connections ask *line* before they write.

    Built in a function because its bases live in requests, which is imported only when something is sent.
    """
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            is_new = proxy not in self.proxy_manager
            manager = super().proxy_manager_for(proxy, **options)
            if is_new:
                _put_gate(manager, line)
            return manager

    adapter = Adapter(pool_connections=1, pool_maxsize=1, max_retries=0)
    _put_gate(adapter.poolmanager, line)
    return adapter


def _silent_about_the_clock() -> contextlib.AbstractContextManager[object]:
    """Keep urllib3 from warning of a clock that is years behind, where there is one."""
    from datetime import date

    # Its own date of that, so that the filters of the process are touched only where it would warn.
    earliest = getattr(sys.modules.get("urllib3.connection"), "RECENT_DATE", date.min)
    return (
        contextlib.nullcontext()
        if date(*time.localtime()[:3]) >= earliest
        else warnings.catch_warnings(action="ignore")
    )


def _put_gate(manager: Any, line: _Line) -> None:
    """Have the connections of a urllib3 pool manager ask *line*, of whatever kind they are (direct, proxied, SOCKS)."""

    class GatedMixin:
        sock: Any
        fresh = False
        debuglevel = 0  # what is set for all connections of the process would print our token
        awaited: Mapping[str, str] | None = None  # the headers of the head that is written next

        def connect(self) -> None:
            with _silent_about_the_clock():
                super().connect()  # type: ignore[misc]
            self.fresh = True

        def request(self, *args: Any, **options: Any) -> None:
            if self.sock is None:
                self.connect()
            line.attach(self, is_reused=not self.fresh)
            self.fresh = False
            line.check_peer(self)
            line.permit()
            self.awaited = line.headers
            super().request(*args, **options)  # type: ignore[misc]

        def send(self, data: Any) -> None:
            awaited, self.awaited = self.awaited, None
            super().send(data if awaited is None else wire_gate.only_ours(data, awaited))  # type: ignore[misc]

    def gated(pool: Any) -> Any:
        connection = type("GatedConnection", (GatedMixin, pool.ConnectionCls), {})
        return type("GatedPool", (pool,), {"ConnectionCls": connection})

    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: gated(pool) for scheme, pool in pools.items()}
