"""The examples, each run as a newcomer runs it: a process of its own, with a real receiver at the other end.

Every child is sealed: it ends with code 97 as soon as it writes outside the test's directory or talks to another
machine, and what the SDK's guard keeps from a host comes out on stderr.
"""

import ast
import base64
import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sink_server import Reply, SinkServer, attributes

import telemetry_sdk.cli
import telemetry_sdk.web
from telemetry_sdk import Telemetry
from telemetry_sdk.base_payload.fields import FIELDS

EXAMPLES = Path(__file__).parents[2] / "examples"
WEB_SERVERS = Path(__file__).parents[1] / "promises" / "test_web_servers.py"
FOR_FRAMEWORKS = {"flask_app.py", "fastapi_app.py", "django_app.py", "click_app.py"}
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))
PATIENCE_S = 60  # guards against a hang, asserts no speed
BASE = ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
PING = "analytics.install"
TOKEN = "glc_c2VjcmV0"
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals as POSIX has them")
SEAL = """
import logging, os, sys

def watch(event, arguments):
    path, host = None, None
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = arguments[0]
    elif event in ("os.mkdir", "os.symlink", "os.link", "os.rename", "sqlite3.connect"):
        path = arguments[event.startswith("os.") and event != "os.mkdir"]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    outside = isinstance(path, (str, bytes)) and not allowed(os.path.abspath(os.fsdecode(path)))
    if outside or host not in (None, "127.0.0.1", "::1", "localhost"):
        os.write(2, f"SEAL BROKEN by {event} {path or host}\\n".encode())
        os._exit(97)

def allowed(path):
    coverage = os.path.basename(path).startswith(".coverage")
    return path.startswith(os.environ["SEALED_IN"] + os.sep) or path == os.devnull or coverage

class Loud(logging.Handler):
    def emit(self, record):
        if record.exc_info:
            os.write(2, f"GUARDED {record.getMessage()}: {record.exc_info[1]!r}\\n".encode())

logging.getLogger("telemetry_sdk").addHandler(Loud())
logging.getLogger("telemetry_sdk").setLevel(logging.DEBUG)
sys.addaudithook(watch)
"""
ANSWERING = """
import sys, tkinter
from desktop_app import Telemetry, Window

telemetry = Telemetry("acme-timer", version="3.0.1", strict=True)
window = Window(tkinter.Tk(), telemetry)
for turn, answer in enumerate(sys.argv[1:]):
    window.box.invoke() if turn else window.answer(agreed=answer == "yes")
(shown,) = [name for name in ("question", "box") if getattr(window, name).winfo_manager()]
print(f"shown: {shown}, consent: {telemetry.status().consent}, ticked: {window.agreed.get()}")
telemetry.close()
"""


class Sealed:
    """Runs examples in a sealed environment below *directory*."""

    def __init__(self, directory: Path) -> None:
        self.work, self.scratch, self.home = directory / "work", directory / "scratch", Path(os.environ["HOME"])
        site = directory / "site"
        for made in (self.work, self.scratch, site):
            made.mkdir()
        (site / "sitecustomize.py").write_text(SEAL)
        inherited = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
        self.environ = {
            **inherited,
            "PYTHONPATH": os.pathsep.join([str(site), str(Path(telemetry_sdk.__file__).parents[1])]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
            "SEALED_IN": str(directory),
            "TMPDIR": str(self.scratch),
        }

    @contextlib.contextmanager
    def running(self, name: str, *arguments: str, **extra: str) -> Iterator[subprocess.Popen[str]]:
        """Start examples/*name*; it must end within the block, or is killed."""
        with subprocess.Popen(
            [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
            cwd=self.work,
            env={**self.environ, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as child:
            try:
                yield child
            finally:
                child.kill()

    def run(self, name: str, *arguments: str, code: int = 0, errors: str = "", **extra: str) -> str:
        """Run examples/*name* to its end, and return what it printed; stderr must match *errors*."""
        with self.running(name, *arguments, **extra) as child:
            printed, complaints = child.communicate(timeout=PATIENCE_S)
        assert re.fullmatch(errors, complaints, re.DOTALL), complaints
        assert child.returncode == code, printed
        assert list(self.scratch.iterdir()) == []
        return printed


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return Sealed(tmp_path)


@pytest.fixture
def run(sealed: Sealed) -> Callable[..., str]:
    return sealed.run


@pytest.fixture
def settle(sink: SinkServer, state_dir: Path) -> Callable[[str, str], list[str]]:
    """Deliver what a child that ended at once had to keep, and return the names that arrived, each record once."""

    def deliver_the_rest(app: str, version: str) -> list[str]:
        with contextlib.closing(
            Telemetry(app, version=version, endpoint=sink.url, state_dir=state_dir, delivery="manual", strict=True)
        ) as telemetry:
            telemetry.flush(PATIENCE_S)
            ledger = telemetry.status().ledger
        assert ledger is not None
        assert (ledger["pending"], ledger["rejected"]) == (0, 0)
        names = dict(zip(sink.uids, sink.names, strict=True))
        return list(names.values())

    return deliver_the_rest


def load(name: str) -> Any:
    """Import examples/*name* into this process."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paths(sink: SinkServer) -> list[str]:
    """The paths of the page views that arrived, each record once."""
    found = {uid: attributes(record).get("path") for uid, record in zip(sink.uids, sink.accepted, strict=True)}
    return [path for path in found.values() if path is not None]


def sent(sink: SinkServer) -> bytes:
    """Every byte that arrived, decompressed."""
    return b"".join(request.body for request in sink.requests)


def table(printed: str) -> list[list[str]]:
    """Layer and event of each row of the quickstart's table."""
    rows = printed.partition("PROPERTIES")[2].partition("sent:")[0].split("\n")
    return [row.split()[1:3] for row in rows if row.strip()]


def test_quickstart_shows_what_arrives(run, sealed):
    """The quickstart shows all the records it sent, none that it must not, and leaves nothing behind."""
    printed = run("quickstart.py")

    base, analytics = [["base", name] for name in BASE], ["note.created", "analytics.page_view"]
    assert table(printed) == [*base, ["analytics", PING], *(["analytics", name] for name in analytics)]
    assert printed.endswith("\nsent: 5, arrived: 5, suppressed: 3\n")
    assert printed.count("  SUPPRESSED  ") == 3
    assert "path=/notes/{id}" in printed
    assert printed.isascii()
    assert [*sealed.work.iterdir(), *sealed.home.iterdir()] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [("DO_NOT_TRACK", "1"), ("ACME_NOTES_TELEMETRY", "off"), ("OTEL_SDK_DISABLED", "true")],
)
def test_quickstart_honours_off_switches(run, variable, value):
    """Under an off-switch the quickstart sends nothing, and says so and why."""
    printed = run("quickstart.py", **{variable: value})

    assert printed.startswith(f"Nothing will be sent, because {variable} ")
    assert table(printed) == []
    assert printed.endswith("\nsent: 0, arrived: 0, suppressed: 6\n")


def test_quickstart_uses_no_sink_of_the_user(run, sink):
    """The quickstart sends to its own receiver whatever sink and token the user has set, and shows no token."""
    printed = run("quickstart.py", GRAFANA_OTLP_ENDPOINT=sink.url, GRAFANA_OTLP_TOKEN=TOKEN)

    assert "arrived: 5" in printed
    assert TOKEN not in printed
    assert sink.requests == []


@pytest.mark.parametrize(("lost", "code"), [(0, 0), (1, 1)])
def test_quickstart_fails_when_a_record_is_missing(sink, tmp_path, monkeypatch, capsys, lost, code):
    """The quickstart's exit code says whether what arrived is what was sent."""
    quickstart = load("quickstart.py")

    @contextlib.contextmanager
    def forgetful(file):
        yield sink.url
        file.write_bytes(b"\n".join(request.body for request in sink.requests[: len(sink.requests) - lost]))

    monkeypatch.setattr(quickstart, "receiver", forgetful)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert quickstart.main() == code
    assert f"sent: 5, arrived: {5 - lost}, suppressed: 3" in capsys.readouterr().out


def test_command_line_app_asks_first(run, sink, state_dir, settle):
    """The to-do list reports its commands after a yes and until a no, and never what is on the list."""
    settings = {"ACME_TODO_TELEMETRY_ENDPOINT": sink.url, "ACME_TODO_TELEMETRY_DIR": str(state_dir)}

    def todo(*arguments: str, **expected: Any) -> str:
        return run("command_line_app.py", *arguments, **expected, **settings)

    assert "Because      the user has not agreed" in todo("telemetry", "status")
    assert sink.requests == []
    assert todo("add", "buy milk") == "1. buy milk\n"
    assert settle("acme-todo", "1.3.0") == BASE

    assert "Stored: you agreed to detailed analytics on " in todo("telemetry", "on")
    assert todo("add", "call Ada") == "1. buy milk\n2. call Ada\n"
    assert todo("list") == "1. buy milk\n2. call Ada\n"
    assert todo("done", "1") == "1. call Ada\n"
    assert todo("done", "7", code=1, errors="error: there is no item 7\n") == ""
    assert settle("acme-todo", "1.3.0") == [*BASE, PING, *["todo.used"] * 3, "todo.failed"]

    assert "Stored: you declined on " in todo("telemetry", "off")
    assert todo("add", "buy bread") == "1. call Ada\n2. buy bread\n"
    assert len(settle("acme-todo", "1.3.0")) == 7
    used = {attributes(it)["log.record.uid"]: attributes(it) for it in sink.accepted if it["eventName"] == "todo.used"}
    assert [(it["command"], it["items"]) for it in used.values()] == [("add", 2), ("list", 2), ("done", 1)]
    assert not re.search(rb"milk|Ada|bread|todo\.txt|no item", sent(sink))


def test_command_line_app_works_without_a_sink(run, sealed):
    """Without a sink the to-do list works, and keeps nothing but the list."""
    assert run("command_line_app.py", "--file", "list.txt", "add", "buy milk") == "1. buy milk\n"
    assert "no usable sink" in run("command_line_app.py", "telemetry", "status")

    assert [path.name for path in sealed.work.iterdir()] == ["list.txt"]
    assert list(sealed.home.iterdir()) == []


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """Make one request of a web page; returns the status and the page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def port_of(child: subprocess.Popen[str]) -> int:
    """The port that *child* says it listens on."""
    assert child.stdout is not None
    found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", child.stdout.readline())
    assert found
    return int(found[1])


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How *child* ended by itself: its exit code, and the rest of stdout and stderr."""
    printed, complaints = child.communicate(timeout=PATIENCE_S)
    return child.returncode, printed, complaints


def test_web_app_counts_routes_while_it_may(sealed, sink, state_dir, settle):
    """The web app reports page views by route between the yes and the no on /privacy, and nothing of the visitor."""
    settings = {"ACME_WEB_TELEMETRY_ENDPOINT": sink.url, "ACME_WEB_TELEMETRY_DIR": str(state_dir)}
    with sealed.running("web_app.py", "--port", "0", "--requests", "8", **settings) as child:
        port = port_of(child)
        asking = "<p><a href=/privacy>May this program report which pages are used?</a></p>"
        assert ask(port, "GET", "/notes/4711081547110815?secret=word") == (200, f"<p>This is /notes/{{id}}</p>{asking}")
        assert "Analytics are off: the user has not agreed" in ask(port, "GET", "/privacy")[1]
        assert ask(port, "POST", "/privacy", "wish=on") == (303, "")
        assert ask(port, "GET", "/notes/4711081547110815?secret=word")[0] == 200
        assert ask(port, "GET", "/unknown/4711081547110815")[0] == 404
        assert "Analytics are on: the user agreed" in ask(port, "GET", "/privacy")[1]
        sink.wait_for(lambda: len(set(paths(sink))) == 2)
        assert ask(port, "POST", "/privacy", "wish=off") == (303, "")
        assert ask(port, "GET", "/") == (200, "<p>This is /</p>")
        assert ended(child) == (0, "", "")

    assert settle("acme-web", "0.9.2") == [*BASE, PING, "analytics.page_view", "analytics.page_view"]
    assert paths(sink) == ["/notes/{id}", "/privacy"]
    assert not re.search(rb"4711081547110815|secret|127\.0\.0\.1", sent(sink))


@posix
def test_web_app_stops_on_an_interrupt(sealed):
    """Without a number of requests the web app serves until Ctrl-C, then ends cleanly."""
    with sealed.running("web_app.py", "--port", "0") as child:
        assert port_of(child)
        # Not after a request: wsgiref swallows an interrupt while it finishes one.
        child.send_signal(signal.SIGINT)

        assert ended(child) == (0, "", "")


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """A display nobody sees."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb")
    if importlib.util.find_spec("_tkinter") is None:
        pytest.skip("needs tkinter")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with (tmp_path / "xvfb.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        with server:
            try:
                assert server.stdout is not None
                yield f":{int(server.stdout.readline())}"
            finally:
                server.terminate()


def test_desktop_app_reports_after_a_yes(run, sink, state_dir, settle, display):
    """The desktop app reports a button pressed after the user's yes, and its first run once."""
    settings = {"ACME_TIMER_TELEMETRY_ENDPOINT": sink.url, "ACME_TIMER_TELEMETRY_DIR": str(state_dir)}

    assert run("desktop_app.py", "--auto", DISPLAY=display, **settings) == ""
    assert settle("acme-timer", "3.0.1") == [*BASE, PING, "timer.started"]
    assert run("desktop_app.py", "--auto", DISPLAY=display, **settings) == ""
    assert settle("acme-timer", "3.0.1") == [*BASE, PING, "timer.started", "timer.started"]


@pytest.mark.parametrize("answers", ["", "no", "yes", "yes no", "no yes"])
def test_desktop_app_keeps_the_answer(sealed, sink, state_dir, settle, display, answers):
    """The desktop app asks until it has an answer, none is a no, and a box shows the answer and can change it."""
    environ = {"ACME_TIMER_TELEMETRY_ENDPOINT": sink.url, "ACME_TIMER_TELEMETRY_DIR": str(state_dir)}
    paths = os.pathsep.join([sealed.environ["PYTHONPATH"], str(EXAMPLES)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ANSWERING, *answers.split()],
        env={**sealed.environ, **environ, "PYTHONPATH": paths, "DISPLAY": display},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    consent = {"": None, "no": False, "yes": True}[answers.rpartition(" ")[2]]
    shown = "box" if answers else "question"
    assert (done.stdout, done.stderr) == (f"shown: {shown}, consent: {consent}, ticked: {consent is True}\n", "")
    # A yes that is taken back at once may have left, or not: it waits a moment for what else there is to send.
    if answers != "yes no":
        assert (PING in settle("acme-timer", "3.0.1")) is ("yes" in answers)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_desktop_app_needs_a_display(run, sealed, sink):
    """Without a display the desktop app says that it was skipped, and sends and keeps nothing."""
    printed = run("desktop_app.py", "--auto", ACME_TIMER_TELEMETRY_ENDPOINT=sink.url)

    assert re.fullmatch(r"skipped: .+\n", printed)
    assert sink.requests == []
    assert list(sealed.home.iterdir()) == []


def test_desktop_app_needs_tkinter(run, tmp_path, sink):
    """Where Python was built without Tk, the desktop app says that it was skipped."""
    (tmp_path / "site" / "tkinter.py").write_text("raise ImportError('no Tk here')")

    assert run("desktop_app.py", "--auto", ACME_TIMER_TELEMETRY_ENDPOINT=sink.url) == "skipped: no Tk here\n"
    assert sink.requests == []


def test_notebook_runs_as_a_script(run, sink, state_dir, settle):
    """Run from top to bottom without a decision, the notebook's cells send the base layer only."""
    settings = {"ACME_LAB_TELEMETRY_ENDPOINT": sink.url, "ACME_LAB_TELEMETRY_DIR": str(state_dir)}
    printed = run("notebook.py", **settings)

    assert printed == (
        "telemetry: BASE, because the user has not agreed to detailed analytics\n"
        "May this notebook report which tables are loaded? Run telemetry.opt_in() or telemetry.opt_out() once.\n"
        "table.loaded: SUPPRESSED the user has not agreed to detailed analytics\n"
    )
    assert settle("acme-lab", "0.4.0") == BASE


def test_click_app_counts_commands_after_a_yes(run, sink, state_dir, settle):
    """The click program reports its commands between a yes and a no, and nothing while somebody decides."""
    settings = {"ACME_CLICK_TELEMETRY_ENDPOINT": sink.url, "ACME_CLICK_TELEMETRY_DIR": str(state_dir)}

    def click(*arguments: str, **expected: Any) -> str:
        return run("click_app.py", *arguments, **expected, **settings)

    assert "telemetry: BASE, because the user has not agreed" in click("telemetry", "status")
    assert PING in click("telemetry", "preview")
    assert sink.requests == []
    assert re.fullmatch(r"ends at \d\d:\d\d\n", click("start", "25"))
    assert settle("acme-click", "1.0.0") == BASE

    assert "telemetry: FULL, because the user agreed" in click("telemetry", "on")
    click("start", "50")
    click("start", "0", code=2, errors="Usage: .+")
    assert settle("acme-click", "1.0.0") == [*BASE, PING, "timer.started"]

    logged = [line.split(" ", 2) for line in click("telemetry", "log").splitlines()]
    arrived = {request.body.decode() for request in sink.requests}
    # A command that had no time left may have ended before its request left, or before the answer: that is a "retry".
    assert arrived <= {body for _, _, body in logged}
    assert {body for _, verdict, body in logged if verdict == "delivered"} <= arrived
    assert {verdict for _, verdict, _ in logged} - {"retry"} == {"delivered"}
    assert "telemetry: BASE, because the user declined" in click("telemetry", "off")
    click("start", "75")
    assert len(settle("acme-click", "1.0.0")) == 4
    assert all(json.loads(line) for line in click("telemetry", "preview").splitlines())
    assert {attributes(it)["minutes"] for it in sink.accepted if it["eventName"] == "timer.started"} == {50}


def test_daily_heartbeat_beats_once(run, sink, state_dir):
    """However often it is called, the heartbeat of a day arrives once, with exactly the base payload."""
    settings = {"ACME_BACKUP_TELEMETRY_ENDPOINT": sink.url, "ACME_BACKUP_TELEMETRY_DIR": str(state_dir)}
    first = run("daily_heartbeat.py", **settings)
    second = run("daily_heartbeat.py", **settings)

    (record,) = sink.accepted
    found = attributes(record)
    assert first == f"DELIVERED {found['log.record.uid']}\n"
    assert second == "SUPPRESSED today's heartbeat was made already\n"
    assert list(found) == ["event_name", "identity", "log.record.uid", "occurred_at", *(it.name for it in FIELDS)]


def test_daily_heartbeat_outlives_an_outage(run, state_dir):
    """While the sink is down the heartbeat is kept, and the scheduler sees no failure."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        printed = run(
            "daily_heartbeat.py",
            ACME_BACKUP_TELEMETRY_ENDPOINT=endpoint,
            ACME_BACKUP_TELEMETRY_DIR=str(state_dir),
        )

    assert printed.startswith("QUEUED ")


def test_daily_heartbeat_without_a_sink(run):
    """Without a sink the heartbeat is suppressed, which is no failure either."""
    assert run("daily_heartbeat.py") == "SUPPRESSED no usable sink is configured\n"


@pytest.mark.parametrize("token", [f"123456:{TOKEN}", TOKEN])
def test_grafana_cloud_sends_with_its_token(run, sink, sealed, token):
    """The Grafana example sends both layers to the endpoint with the token, and never prints it."""
    printed = run(
        "grafana_cloud.py",
        GRAFANA_OTLP_ENDPOINT=f"{sink.url}/otlp",
        GRAFANA_OTLP_TOKEN=token,
        GRAFANA_OTLP_INSTANCE_ID="123456",
    )

    basic = f"Basic {base64.b64encode(f'123456:{TOKEN}'.encode()).decode()}"
    assert sink.names == [*BASE, PING, "note.created"]
    assert {(request.path, request.headers["Authorization"]) for request in sink.requests} == {("/otlp/v1/logs", basic)}
    assert "made: 4, arrived: 4\n" in printed
    assert attributes(sink.accepted[0])["identity"] in printed
    assert TOKEN not in printed
    assert list(sealed.home.iterdir()) == []


@pytest.mark.parametrize("missing", ["GRAFANA_OTLP_ENDPOINT", "GRAFANA_OTLP_TOKEN"])
def test_grafana_cloud_names_what_is_missing(run, sink, missing):
    """The Grafana example sends nothing while a variable is missing, and says which one and where to get it."""
    settings = {"GRAFANA_OTLP_ENDPOINT": sink.url, "GRAFANA_OTLP_TOKEN": f"123456:{TOKEN}"}
    del settings[missing]

    assert run("grafana_cloud.py", code=2, errors=f"{missing} is not set: .+\n\nSign in at .+", **settings) == ""
    assert sink.requests == []


def test_grafana_cloud_explains_a_bare_token(run, sink):
    """A token without its instance id is not sent, and the Grafana example says what to add."""
    settings = {"GRAFANA_OTLP_ENDPOINT": sink.url, "GRAFANA_OTLP_TOKEN": TOKEN}

    assert run("grafana_cloud.py", code=2, errors=".*set GRAFANA_OTLP_INSTANCE_ID.*", **settings) == ""
    assert sink.requests == []


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "instance id"), (403, "logs:write"), (404, "ends in /otlp"), (400, "Line too long")]
)
def test_grafana_cloud_shows_a_refusal(run, sink, status, hint):
    """When the gateway refuses, the Grafana example fails and says why, without the token."""
    sink.reply = Reply(status, b"Line too long")
    printed = run("grafana_cloud.py", code=1, GRAFANA_OTLP_ENDPOINT=sink.url, GRAFANA_OTLP_TOKEN=f"123456:{TOKEN}")

    assert f"  {status}  " in printed
    assert "made: 4, arrived: 0\n" in printed
    assert hint in printed
    assert TOKEN not in printed


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("command_line_app.py", ["add", "buy milk"], 0),
        ("command_line_app.py", ["telemetry", "on"], 1),
        ("click_app.py", ["start", "25"], 0),
        ("daily_heartbeat.py", [], 0),
        ("notebook.py", [], 0),
        ("grafana_cloud.py", [], 1),
    ],
)
def test_do_not_track_holds(run, sealed, sink, name, arguments, code):
    """With DO_NOT_TRACK set no example sends anything, or keeps a trace of telemetry."""
    settings = {"DO_NOT_TRACK": "1", "GRAFANA_OTLP_ENDPOINT": sink.url, "GRAFANA_OTLP_TOKEN": "1:token"}
    run(name, *arguments, code=code, errors="(error: .+ DO_NOT_TRACK is set\n)?", **settings)

    assert sink.requests == []
    assert list(sealed.home.iterdir()) == []


def test_do_not_track_holds_on_a_display(run, sealed, sink, display):
    """With DO_NOT_TRACK set the desktop app works, asks nothing and sends nothing, even after a yes."""
    run("desktop_app.py", "--auto", DO_NOT_TRACK="1", DISPLAY=display, GRAFANA_OTLP_ENDPOINT=sink.url)

    assert sink.requests == []
    assert list(sealed.home.iterdir()) == []


def test_do_not_track_holds_on_the_web(sealed, sink):
    """With DO_NOT_TRACK set the web app works, and a yes changes nothing."""
    with sealed.running(
        "web_app.py", "--port", "0", "--requests", "3", DO_NOT_TRACK="1", GRAFANA_OTLP_ENDPOINT=sink.url
    ) as child:
        port = port_of(child)
        assert ask(port, "POST", "/privacy", "wish=on")[0] == 303
        assert "Analytics are off: DO_NOT_TRACK is set" in ask(port, "GET", "/privacy")[1]
        assert ask(port, "GET", "/")[0] == 200
        assert ended(child) == (0, "", "")

    assert sink.requests == []
    assert list(sealed.home.iterdir()) == []


@pytest.mark.parametrize(
    ("deed", "complaint"),
    [
        ("open('/var/tmp/stray', 'w')", "SEAL BROKEN by open /var/tmp/stray"),
        ("import os; os.mkdir('/var/tmp/stray')", "SEAL BROKEN by os.mkdir /var/tmp/stray"),
        ("import socket; socket.getaddrinfo('sink.example', 80)", "SEAL BROKEN by socket.getaddrinfo sink.example"),
        ("import socket; socket.socket().connect(('192.0.2.1', 9))", "SEAL BROKEN by socket.connect 192.0.2.1"),
    ],
)
def test_the_seal_is_tight(sealed, deed, complaint):
    """A child that writes elsewhere or talks to another machine is ended before it does."""
    done = subprocess.run([sys.executable, "-c", deed], env=sealed.environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (97, f"{complaint}\n")


def test_every_example_is_run():
    """Each file in examples/ is run by a test of this file or by a web server, and introduced in the README there."""
    calls = [node for node in ast.walk(ast.parse(Path(__file__).read_text("utf-8"))) if isinstance(node, ast.Call)]
    runs = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) in ("run", "running")]
    started = {call.args[0].value for call in runs if call.args and isinstance(call.args[0], ast.Constant)}
    served = re.findall(r'"(\w+_app):app\w*"\]', WEB_SERVERS.read_text("utf-8"))

    assert started | {f"{module}.py" for module in served} >= set(NAMES)
    introduced = re.findall(r"^- \[(\w+\.py)\]\(\1\): ", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(introduced) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_short_and_public(name):
    """An example has at most 90 lines (60 for a framework), says first what it prints, and uses public names only."""
    text = (EXAMPLES / name).read_text("utf-8")
    tree = ast.parse(text)
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in froms if (node.module or "").startswith("telemetry_sdk")]

    assert len(text.splitlines()) <= (60 if name in FOR_FRAMEWORKS else 90)
    assert "print" in (ast.get_docstring(tree) or "").lower()
    assert (
        "telemetry_sdk" in {node.module for node in ours} <= {"telemetry_sdk", "telemetry_sdk.cli", "telemetry_sdk.web"}
    )
    public = {*telemetry_sdk.__all__, *telemetry_sdk.cli.__all__, *telemetry_sdk.web.__all__}
    assert {alias.name for node in ours for alias in node.names} <= public
