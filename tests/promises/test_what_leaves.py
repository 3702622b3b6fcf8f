"""Nothing leaves that we did not put there: whatever agents share the process, and whatever they patched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from process_tools import GUARD, Program

OURS = {
    *("Host", "Content-Length", "Content-Type", "Content-Encoding", "User-Agent", "Accept", "Accept-Encoding"),
    *("Authorization", "X-Scope-OrgID"),
}
# What it does to every request of the process, and the words that would tell of it.
AGENTS = {
    "an error tracker": """
import sentry_sdk
class Nowhere(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope): pass
sentry_sdk.init(dsn="https://k@sentry.example.invalid/1", transport=Nowhere, traces_sample_rate=1.0,
    environment="agents-staging", release="agents-portal@3.2", trace_propagation_targets=[".*"])
around = sentry_sdk.start_transaction(name="agents export", op="task")
""",
    "tracing of the HTTP client": """
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
RequestsInstrumentor().instrument()
context.attach(baggage.set_baggage("agents", "agents-user"))
around = trace.get_tracer("agents").start_as_current_span("agents export")
""",
    "http.client patched where a request begins": """
import http.client
putrequest = http.client.HTTPConnection.putrequest
def patched(self, *arguments, **options):
    putrequest(self, *arguments, **options)
    self.putheader("X-Agents-Trace", "agents-1")
    self.putheader("Cookie", "agents=1")
http.client.HTTPConnection.putrequest = patched
""",
    "http.client patched where headers end": """
import http.client
output = http.client.HTTPConnection._send_output
def patched(self, *arguments, **options):
    self._buffer[2:2] = [b"X-Agents-Trace: agents-1", b"user-agent: agents"]
    self._buffer[-2:-2] = [b"Host: agents.example", b" agents-folded"]
    return output(self, *arguments, **options)
http.client.HTTPConnection._send_output = patched
""",
    "urllib3 patched": """
import urllib3.connectionpool
urlopen = urllib3.connectionpool.HTTPConnectionPool.urlopen
def patched(self, method, url, body=None, headers=None, **options):
    return urlopen(self, method, url, body, {**headers, "X-Agents-Trace": "agents-1", "User-Agent": "agents"}, **options)
urllib3.connectionpool.HTTPConnectionPool.urlopen = patched
""",
    "requests patched": """
import requests
send = requests.Session.send
def patched(self, request, **options):
    request.headers["X-Agents-Trace"] = "agents-1"
    request.headers["Content-Type"] = "agents/json"
    return send(self, request, **options)
requests.Session.send = patched
""",
    "the level of http.client's own prints": """
import http.client
http.client.HTTPConnection.debuglevel = 1
http.client.HTTPSConnection.debuglevel = 1
""",
}


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
@pytest.mark.parametrize("agent", AGENTS)
def test_only_our_own_headers_are_written(tmp_path, sink, agent, mode):
    """In every mode, a tracker around it or a client patched: the sink learns nothing of it, and the log is right."""
    if "tracker" in agent:
        pytest.importorskip("sentry_sdk", reason="needs sentry-sdk")
    source = f"""
import contextlib
around = contextlib.nullcontext()
{AGENTS[agent]}
with around:
    telemetry = make(token="id:s3cr3t-token", headers={{"X-Scope-OrgID": "tenant", "X-Api-Key": "s3cr3t-key"}})
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started", {{"text": "x" * 900}})
    telemetry.flush(20)
    telemetry.close()
print(json.dumps([request.headers for request in telemetry.sent_log()]))
"""
    state = tmp_path / "state"
    program = Program(source, tmp_path, delivery=mode, endpoint=sink.url, state_dir=state, timeout=20, measured=False)
    logged = [dict(headers) for headers in json.loads(program.finish().splitlines()[-1])]

    assert sink.requests
    for request in sink.requests:
        assert set(request.headers) - {"X-Api-Key"} <= OURS
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["User-Agent"].startswith("telemetry-sdk-python/")
        assert request.headers["X-Api-Key"] == "s3cr3t-key"
        assert b"agents" not in json.dumps(request.headers).encode() + request.body
    hidden = {"Authorization": "(not shown)", "X-Api-Key": "(not shown)"}
    assert logged == [{**request.headers, **hidden} for request in sink.requests]
    assert "s3cr3t" not in json.dumps(logged)


def test_our_work_sees_nothing_that_the_host_bound(tmp_path, sink):
    """Requests and database work run in an empty context: an agent that wraps either finds no span and no user there."""
    source = """
import contextvars, requests, sqlite3
bound, seen = contextvars.ContextVar("span"), []
def watched(call):
    def wrapped(*arguments, **options):
        seen.append((call.__qualname__, bound.get(None)))
        return call(*arguments, **options)
    return wrapped
class Connection(sqlite3.Connection):
    execute, executemany = watched(sqlite3.Connection.execute), watched(sqlite3.Connection.executemany)
connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **options: connect(*arguments, **options, factory=Connection)
requests.Session.send = watched(requests.Session.send)
telemetry = make()
bound.set("the host's")
telemetry.start()
telemetry.opt_in()
telemetry.track_event("timer.started")
telemetry.status(), telemetry.preview(), telemetry.sent_log()
telemetry.flush(20)
telemetry.opt_out()
telemetry.close()
assert bound.get() == "the host's"
say(len(seen) > 20, sorted({name for name, _ in seen}), {value for _, value in seen})
"""
    for mode in ("sync", "manual", "background"):
        state = tmp_path / mode
        program = Program(source, tmp_path, delivery=mode, endpoint=sink.url, state_dir=state, measured=False)

        assert program.finish().startswith(
            "True ['Connection.execute', 'Connection.executemany', 'Session.send'] {None}"
        )


@pytest.mark.parametrize("what", ["token", "headers", "query"])
def test_no_secret_crosses_a_network_in_clear_by_a_name_that_was_believed(tmp_path, what):
    """A name of this machine that leads to another one is found out by the peer, before the first byte."""
    listener = socket.create_server(("0.0.0.0", 0))
    port = listener.getsockname()[1]
    own = _address_of_this_machine()
    if own is None:
        pytest.skip("needs an address other than loopback")
    source = f"""
import socket
found = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **named: found({own!r} if host == "sink.localhost" else host, *rest, **named)
telemetry = make(endpoint="http://sink.localhost:{port}" + ARGUMENT.get("path", ""), **ARGUMENT.get("options", {{}}))
say(telemetry.status().sink_problem or "believed")
telemetry.start()
say(telemetry.flush(5).reason)
"""
    given = {
        "token": {"options": {"token": "id:s3cr3t"}},
        "headers": {"options": {"headers": {"X-Api": "s3cr3t"}}},
        "query": {"path": "/v1/logs?key=s3cr3t"},
    }[what]
    received: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                received.append(connection.recv(65536))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    settings = {"delivery": "manual", "state_dir": tmp_path / "state", "endpoint": None, "argument": given}
    said = Program(source, tmp_path, measured=False, **settings).finish()
    listener.close()

    assert "a secret would be sent unencrypted to another machine" in said
    assert not any(received)


def _address_of_this_machine() -> str | None:
    """Return an address of this machine other than loopback: that a packet to elsewhere would carry; none is sent."""
    source = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("192.0.2.1", 9))
    print(probe.getsockname()[0])
"""
    found = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False).stdout.strip()
    return None if not found or found.startswith("127.") else found


def test_the_log_mode_writes_nothing_that_drives_a_terminal(tmp_path):
    """Control characters of both sets, marks that turn text around and separators of lines are escapes of JSON."""
    wild = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x2028, 0x202E, 0x2066, 0xFEFF, 0xE0001]))
    source = "t = make(); t.opt_in(); t.track_event('timer.started', {'text': ARGUMENT})"
    program = Program(
        source,
        tmp_path,
        environ={"ACME_NOTES_TELEMETRY": "log"},
        delivery="sync",
        endpoint="http://127.0.0.1:9",
        state_dir=tmp_path / "state",
        argument=wild,
        measured=False,
    )
    _, shown = program.process.communicate(timeout=GUARD)

    lines = [line for line in shown.split("\n") if line]
    assert all(line.isprintable() for line in lines)
    texts = [pair["value"].get("stringValue") for line in lines for pair in attributes_in(json.loads(line))]
    assert wild in texts


def attributes_in(request):
    for resource in request["resourceLogs"]:
        for record in resource["scopeLogs"][0]["logRecords"]:
            yield from record["attributes"]


HIDDEN = """
import sys, traceback
from telemetry_sdk import ConfigError, Telemetry
def shown(error):
    seen = []
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != "<string>":
                seen.append(repr(frame.f_locals))
        error = error.__cause__ or error.__context__
    return "\\n".join(seen)
try:
    Telemetry("acme-notes", version="1", endpoint="http://sink.example.invalid", {arguments})
except ConfigError as error:
    assert "s3cr3t" not in str(error), error
    assert "s3cr3t" not in shown(error), shown(error)
    print("refused")
"""


@pytest.mark.parametrize(
    "arguments",
    [
        'token="id:s3cr3t"',
        'token="s3cr3t"',
        'headers={"Authorization": "Bearer s3cr3t"}',
        'headers={"X-Api": "s3cr3t\\n"}',
        'token="id:s3cr3t", delivery="sometimes"',
    ],
)
def test_no_frame_of_a_refused_argument_shows_a_secret(tmp_path, arguments):
    """Error trackers send the variables of each frame away; none of ours holds a token or a header's value."""
    run = subprocess.run(
        [sys.executable, "-c", HIDDEN.replace("{arguments}", arguments)],
        capture_output=True,
        text=True,
        timeout=GUARD,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )

    assert (run.stdout, run.stderr) == ("refused\n", "")
