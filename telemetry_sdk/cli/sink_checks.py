"""The checks of ``doctor`` that concern the sink: its settings, and the way to it.

The only module that looks names up and opens connections of its own. Nothing here raises for what the world does, and
nothing waits longer than it is told: what nothing bounds, a name lookup say, is left behind in a daemon thread.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from telemetry_sdk.cli.checks import GOOD, PROBLEM, SKIPPED, WARNING, Check
from telemetry_sdk.delivery import retry
from telemetry_sdk.delivery.retry import Verdict
from telemetry_sdk.delivery.worker import Permit, Worker
from telemetry_sdk.model import NANOSECONDS, Answer
from telemetry_sdk.sender import otlp
from telemetry_sdk.sender.endpoint import is_loopback
from telemetry_sdk.sender.http import HttpSender

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from telemetry_sdk.model import Decision
    from telemetry_sdk.sender.endpoint import Settings, Sink

__all__ = ["Finding", "find_addresses", "setting_checks", "shake_hands", "way_checks"]

# No record at all: Collectors accept it, Loki and fluent-bit refuse it as empty, after they let it in.
_EMPTY_REQUEST: Final = b'{"resourceLogs":[]}'
_SKEW_NOTED: Final = 60.0
_SHORTEST_SECRET: Final = 6
_ADVICE: Final = {
    301: "the sink is elsewhere, and a redirect is never followed: set the endpoint to the final address",
    401: "the token is missing or wrong: set the one that belongs to this sink",
    403: "the token may not write logs here: give it that right (Grafana Cloud: logs:write), or use another one",
    404: "nothing receives logs at this path: check the endpoint (Grafana Cloud: it ends in /otlp)",
    405: "something else answers at this path: check the endpoint",
    410: "the sink's owner has stopped this version: update the program",
    429: "the sink asks to be left alone for now: records wait and leave later",
}
# The first that is named says most: a proxy that is gone is a refused connection too.
_CAUSES: Final = {
    "InvalidSchema": "the proxy is of a kind that needs another package: check HTTPS_PROXY and ALL_PROXY",
    "ProxyError": "the proxy does not let it through: check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    "SSLError": "see tls",
    "NameResolutionError": "the host's name cannot be found: check the endpoint",
    "ConnectTimeout": "a firewall may be in the way",
    "ReadTimeout": "it takes the request and does not answer: ask the sink's owner",
    "NewConnectionError": "nothing listens there: check the endpoint, and that the sink runs",
    "timeout": "no answer in time: a firewall may be in the way",
}
_UNKNOWN_CAUSE: Final = "check the endpoint, and that the sink runs"


def setting_checks(settings: Settings, variable: str) -> list[Check]:
    """Look at the sink's settings; asks nobody. *variable* may name the endpoint."""
    checks = [Check("settings", WARNING, note, "remove it, or use it") for note in settings.notes]
    sink = settings.sink
    if sink is None:
        advice = f"if something should be sent, set {variable}"
        if settings.problem:
            return [Check("sink", PROBLEM, settings.problem, "correct that setting; until then nothing is sent")]
        return [Check("sink", WARNING, "none is configured, so nothing is collected", advice)]
    url = urlsplit(sink.url)
    if url.scheme not in ("http", "https"):
        return [Check("sink", GOOD, "a file" if sink.is_file else sink.host), *checks]
    is_open = url.scheme == "http" and not is_loopback(url.hostname)
    found = f"{url.scheme}://{url.netloc}{url.path}"
    advice = "records can be read on the way: use an https:// endpoint"
    checks.insert(0, Check("sink", WARNING, found, advice) if is_open else Check("sink", GOOD, found))
    return [*checks, _token(sink, url)]


def _token(sink: Sink, url: SplitResult) -> Check:
    """Look at the token's form. It is never shown."""
    is_grafana = (url.hostname or "").endswith(".grafana.net")
    value = next((value for name, value in sink.headers if name.lower() == "authorization"), "")
    scheme, _, secret = value.partition(" ")
    advice = "Grafana Cloud needs '<instance id>:<token>', where the instance id is a number"
    if not value:
        if is_grafana:
            return Check("token", PROBLEM, "none", advice)
        return Check("token", GOOD, "none; some sinks need none")
    if is_grafana and scheme.lower() == "basic" and not _user(secret).isdecimal():
        return Check("token", WARNING, "Basic, and its user is not a number (not shown)", advice)
    return Check("token", GOOD, f"{scheme.capitalize()} (not shown)")


def _user(secret: str) -> str:
    try:
        return base64.b64decode(secret).decode("ascii", "replace").partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def way_checks(sink: Sink, right: Callable[[], Decision], now_ns: Callable[[], int], wait_s: float) -> list[Check]:
    """Go the way to an http sink: proxy, name, TLS, one request without a record, clock.

    Args:
        sink: The sink.
        right: What may leave now; asked right before the request too.
        now_ns: The clock.
        wait_s: Seconds for each step.
    """
    url, sender = urlsplit(sink.url), HttpSender(sink)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    proxy, trusted = sender.route()
    checks = []
    if proxy:
        via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        checks.append(Check("proxy", GOOD, f"{via.hostname}{f':{via.port}' if via.port else ''}"))
        host, port = via.hostname or "", via.port or 80
    else:
        checks.append(Check("proxy", GOOD, "none: it is reached directly"))
    name = find_addresses(host, port, wait_s)
    if name.problem:
        advice = f"check that {host} is written as it should be, and that this machine is online"
        return [*checks, Check("dns", PROBLEM, f"{host}: {name.problem}", advice)]
    checks.append(Check("dns", GOOD, f"{host}: {name.found}"))
    if url.scheme == "https":
        checks.append(_tls(sink, host, port, trusted, wait_s, has_proxy=bool(proxy)))
    answer = _ask(sender, right, wait_s)
    return [*checks, _judged(answer, sink), _clock(answer, now_ns())]


def _tls(sink: Sink, host: str, port: int, trusted: str, wait_s: float, *, has_proxy: bool) -> Check:
    if has_proxy:
        return Check("tls", SKIPPED, "it is made through the proxy: see the request")
    found = shake_hands(host, port, trusted, sink.client_cert, wait_s)
    if not found.problem:
        return Check("tls", GOOD, found.found)
    advice = "check the endpoint's port and scheme, and that the sink runs"
    if "certificate" in found.problem:
        advice = (
            "if the host is right: where a company's proxy or an own CA signs, set REQUESTS_CA_BUNDLE to its "
            "certificate; if it expired or is not valid yet, check this machine's clock or tell the sink's owner"
        )
    return Check("tls", PROBLEM, found.problem, advice)


def _ask(sender: HttpSender, right: Callable[[], Decision], wait_s: float) -> Answer:
    """Send a request without a record, by the road of all requests: bounded, and asking for permission last."""
    permit = Permit(right, frozenset())
    worker = Worker()
    with contextlib.closing(sender):
        answer = worker.run(lambda: sender.send(_EMPTY_REQUEST, permit, wait_s), wait_s)
        if answer is None:
            permit.cancelled = True
            sender.abandon()
        worker.stop()
    return answer or Answer(None, error="timeout")


def _judged(answer: Answer, sink: Sink) -> Check:
    status, acknowledged = answer.status, otlp.read_success(answer)[0]
    if status is None:
        named = answer.error.split(": ")
        advice = next((advice for cause, advice in _CAUSES.items() if cause in named), _UNKNOWN_CAUSE)
        return Check("request", PROBLEM, f"no answer ({answer.error})", advice)
    judged = retry.judge(answer, records=1, acknowledged=acknowledged)
    said = _masked(retry.explain(judged, answer, ""), sink)
    if 200 <= status < 300 and status != 260:
        if acknowledged:
            return Check("request", GOOD, f"HTTP {status}: the sink takes requests from here")
        advice = "a page answers instead of the sink: sign in to this network (captive portal), or check the endpoint"
        return Check("request", PROBLEM, judged.reason, advice)
    if status == 422:
        return Check("request", GOOD, f"HTTP {status}: let in; only an empty request is refused, as Loki does")
    if status == 400:
        advice = "some sinks refuse an empty request so; see 'log' for what became of real ones"
        return Check("request", WARNING, said, advice)
    advice = _ADVICE.get(301 if 300 <= status < 400 else status, "ask the sink's owner")
    if judged.verdict is Verdict.RETRY and status >= 500:
        advice = "the sink is not well: records wait and leave later"
    elif judged.verdict is Verdict.REJECTED and status >= 500:
        advice = "the sink fails: it refuses records for good with such an answer, so ask its owner at once"
    return Check("request", WARNING if status == 429 else PROBLEM, said, advice)


def _masked(text: str, sink: Sink) -> str:
    """Return *text* without the sink's secrets: some servers say in their answer what they were sent."""
    for _, value in sink.headers:
        secrets = [value.rpartition(" ")[2]]
        with contextlib.suppress(binascii.Error, ValueError):
            secrets += base64.b64decode(secrets[0], validate=True).decode().split(":")[1:]
        for secret in secrets:
            text = text.replace(secret, "***") if len(secret) >= _SHORTEST_SECRET else text
    return text


def _clock(answer: Answer, now_ns: int) -> Check:
    moment = retry.http_date(answer.date or "")
    if moment is None:
        return Check("clock", SKIPPED, "the sink does not tell the time")
    skew = now_ns / NANOSECONDS - moment
    if abs(skew) <= _SKEW_NOTED:
        return Check("clock", GOOD, "agrees with the sink's")
    words = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the sink's"
    return Check("clock", WARNING, words, "set this machine's clock: days and times of records are wrong with it")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found.

    Attributes:
        found: What was found, in plain words.
        problem: What went wrong instead; empty when nothing did.
    """

    found: str = ""
    problem: str = ""


def find_addresses(host: str, port: int, wait_s: float) -> Finding:
    """Look *host* up, within *wait_s* seconds."""

    def look() -> Finding:
        import socket

        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            return Finding(problem=_words(error))
        count = len({answer[4][0] for answer in answers})
        return Finding(f"{count} address{'' if count == 1 else 'es'}")

    return _within(wait_s, look)


def shake_hands(host: str, port: int, trusted: str, client_cert: tuple[str, str] | None, wait_s: float) -> Finding:
    """Connect to *host* and make a TLS handshake, within *wait_s* seconds; no request is sent.

    Args:
        host: Whom to connect to, and whom the certificate must name.
        port: The port.
        trusted: File or directory of the CAs to trust.
        client_cert: Certificate and key files to show, or None.
        wait_s: Seconds.
    """

    def look() -> Finding:
        import socket
        import ssl

        try:
            place = {"capath": trusted} if os.path.isdir(trusted) else {"cafile": trusted}
            context = ssl.create_default_context(**place)  # type: ignore[arg-type]
            if client_cert:
                context.load_cert_chain(*client_cert)
            with (
                socket.create_connection((host, port), timeout=wait_s) as plain,
                context.wrap_socket(plain, server_hostname=host) as secure,
            ):
                return Finding(f"{secure.version()}, and the certificate is trusted")
        except ssl.SSLCertVerificationError as error:
            return Finding(problem=f"the certificate is not accepted: {error.verify_message}")
        except (OSError, UnicodeError, ValueError) as error:
            return Finding(problem=_words(error))

    return _within(wait_s, look)


def _words(error: Exception) -> str:
    """Return what *error* says, without addresses and paths: the system's words, or its class."""
    return (getattr(error, "strerror", None) if isinstance(error, OSError) else None) or type(error).__name__


def _within(wait_s: float, look: Callable[[], Finding]) -> Finding:
    found = [Finding(problem=f"no answer within {wait_s:g} seconds")]
    over = threading.Event()

    def run() -> None:
        try:
            found.append(look())
        finally:
            over.set()

    threading.Thread(target=run, name="telemetry-sdk-probe", daemon=True).start()
    over.wait(wait_s)
    return found[-1]
