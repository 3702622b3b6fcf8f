"""``doctor``: each check seen both ways, as a real process against real servers and file systems."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hostile import HostileSink
from sink_server import Reply, SinkServer

if sys.platform == "win32":
    pytest.skip("needs files as POSIX has them", allow_module_level=True)

from command_tools import Notes

from telemetry_sdk.cli.doctor import GOOD, PROBLEM, SKIPPED, WARNING, examine, setting_checks
from telemetry_sdk.host.files import StateError
from telemetry_sdk.sender.endpoint import resolve
from telemetry_sdk.testing import capture

MADE = ["permissions", "storage", "installation.json", "outbox"]
SINK = ["sink", "request", "clock"]
QUICK = '{"timeout": 1.5}'
EMPTY = b'{"resourceLogs":[]}'
JSON = {"Content-Type": "application/json"}


def dated(shift: float = 0.0, **reply: Any) -> Reply:
    """A reply that tells the time, *shift* seconds from ours."""
    return Reply(**{"headers": {**JSON, "Date": formatdate(time.time() + shift, usegmt=True)}, **reply})


@pytest.fixture
def notes(sink: SinkServer, tmp_path: Path) -> Notes:
    sink.reply = lambda _: dated()
    return Notes(tmp_path, sink.url)


def examined(notes: Notes, *words: str, code: int | None = 0, **environ: str) -> dict[str, Any]:
    """Run doctor; returns the checks by name."""
    done = notes.run("doctor", "--json", *words, code=code, **environ)
    document = json.loads(done.out)
    assert done.err == ""
    assert document["healthy"] is (done.code == 0)
    checks = {check["name"]: check for check in document["checks"]}
    assert len(checks) == len(document["checks"])
    for check in checks.values():
        # What is not as it should be always comes with what to do.
        assert bool(check["advice"]) is (check["result"] in (WARNING, PROBLEM)), check
    return checks


def results(checks: dict[str, Any], *names: str) -> set[str]:
    return {checks[name]["result"] for name in names or checks}


def test_all_is_well(notes, sink):
    """Where all is well every check says so, a request without a record is sent, and the exit code is 0."""
    notes.run("on")
    before = notes.files()
    checks = examined(notes)

    assert list(checks) == ["switches", "directory", *MADE, "consent", *SINK]
    assert results(checks) == {GOOD}
    assert [request.body for request in sink.requests[1:]] == [EMPTY]
    assert notes.files() == before
    in_words = notes.run("doctor").out
    assert "ok       request            HTTP 200: the sink takes requests from here\n" in in_words
    assert in_words.splitlines()[-1] == "All is well."


def test_a_new_machine(notes):
    """Before the first run there is no directory; it is not made, only told that it can be."""
    checks = examined(notes)

    assert checks["directory"]["found"] == "~/state can be made when needed"
    assert list(checks) == ["switches", "directory", *SINK]
    assert notes.files() == []


# -- switches


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("DO_NOT_TRACK", "1"),
        ("ACME_NOTES_TELEMETRY", "off"),
        ("ACME_NOTES_TELEMETRY", "log"),
        ("OTEL_SDK_DISABLED", "true"),
    ],
)
def test_a_switch_holds_for_doctor_too(notes, sink, switch, value):
    """Under a switch nobody is asked and nothing is opened, and doctor says why."""
    checks = examined(notes, **{switch: value})

    assert list(checks) == ["switches", "sink"]
    assert checks["switches"]["result"] == WARNING
    assert f"unset {switch}" in checks["switches"]["advice"]
    assert (sink.requests, notes.files()) == ([], [])


def test_nobody_is_asked_against_the_users_wish(notes, sink):
    """With --no-request the sink is left alone."""
    checks = examined(notes, "--no-request")

    assert checks["request"] == {"name": "request", "result": SKIPPED, "found": "not made, as you asked", "advice": ""}
    assert "clock" not in checks
    assert sink.requests == []


def test_nobody_is_asked_before_the_notice(notes, sink):
    """While the first-run notice is due nothing leaves, a request without a record neither."""
    checks = examined(notes, OPTIONS='{"notice": "https://acme.example/privacy"}')

    assert checks["request"]["found"] == "not made: the first-run notice was not shown yet"
    assert checks["switches"]["result"] == GOOD
    assert sink.requests == []


def test_a_test_runs_sink_is_no_sink_to_ask():
    """What a test captures has no way to it, and none is looked for."""
    with capture() as it:
        checks = {check.name: check for check in examine(it.telemetry)}

    assert checks["request"].result == SKIPPED
    assert "clock" not in checks


# -- the state


def test_a_file_in_the_way(notes):
    """Where the directory cannot be, doctor says what is in the way and which variable names another place."""
    notes.state.write_text("in the way")
    checks = examined(notes, code=1)

    assert checks["directory"]["result"] == PROBLEM
    assert checks["directory"]["found"] == "~/state is in the way: it is not a directory"
    assert "set ACME_NOTES_TELEMETRY_DIR" in checks["directory"]["advice"]


def in_a_mount(options: str, directory: Path, *command: str) -> list[str]:
    """A command that runs with a file system of its own, of these options, at *directory*."""
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" || exit 99; shift 2; exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh", options, str(directory), *command]


def test_a_directory_that_cannot_be_written(notes):
    """A directory without the right to write is a problem."""
    notes.state.mkdir(mode=0o500)
    command = notes.command("telemetry", "doctor", "--json", "--no-request")
    if os.geteuid() == 0:  # who may write anywhere but to what is mounted for reading
        command = in_a_mount("ro", notes.state, *command)
    try:
        done = notes.end(command, code=None)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if done.code not in (0, 1):
        pytest.skip("needs mount")
    checks = {check["name"]: check for check in json.loads(done.out)["checks"]}

    assert checks["directory"]["result"] == PROBLEM
    assert checks["directory"]["found"] == "~/state cannot be written by this user"
    assert "storage" not in checks


def test_others_may_not_get_at_it(notes):
    """Rights of others on the directory or a file of it are told, with the command that takes them away."""
    notes.run("on")
    notes.state.chmod(0o755)
    (notes.state / "installation.json").chmod(0o644)
    checks = examined(notes)

    assert checks["permissions"]["result"] == WARNING
    assert checks["permissions"]["found"] == "others on this machine may get at: installation.json, state"
    subprocess.run(
        checks["permissions"]["advice"].removeprefix("run: ").replace("~", str(notes.home)), shell=True, check=True
    )
    assert examined(notes)["permissions"]["result"] == GOOD


def test_a_full_disk(notes):
    """A place that is nearly full is told, one that is full is a problem: not even a trial can be written."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs mount")
    notes.state.mkdir(mode=0o700)

    def on_small_disk(size: str, filler: str) -> dict[str, Any]:
        command = notes.command("telemetry", "doctor", "--json", "--no-request")
        fill = 'head -c "$1" /dev/zero > "$2/filler"; shift 2; exec "$@"'
        filling = ["sh", "-c", fill, "sh", filler, str(notes.state), *command]
        done = notes.end(in_a_mount(f"size={size},mode=700", notes.state, *filling), code=None)
        if done.code not in (0, 1):
            pytest.skip("needs mount")
        return {check["name"]: check for check in json.loads(done.out)["checks"]}

    little = on_small_disk("20m", "1")["storage"]
    assert (little["result"], little["found"]) == (WARNING, "works, and 19 MiB are free")
    none = on_small_disk("1m", "1m")["storage"]
    assert none["result"] == PROBLEM
    assert "free some space" in none["advice"]


def test_files_that_cannot_be_locked(notes, monkeypatch, make):
    """Where files cannot be locked, doctor says so and names the variable for another place."""
    telemetry = make()
    telemetry.start()

    def refuse(*_: Any) -> Any:
        raise StateError("this file system has no locks")

    monkeypatch.setattr("telemetry_sdk.cli.doctor.file_lock", refuse)
    check = {check.name: check for check in examine(telemetry, ask=False)}["storage"]

    assert (check.result, "no locks" in check.found) == (PROBLEM, True)
    assert "_TELEMETRY_DIR" in check.advice


@pytest.mark.parametrize(
    ("content", "result", "found"),
    [
        (b"{", PROBLEM, "is not valid JSON"),
        (b"[" * 100_000, PROBLEM, "is not valid JSON"),
        (b"\xff", PROBLEM, "is not valid JSON"),
        (b'{"schema": 99}', WARNING, "was written by a newer version and is not changed"),
        (
            b'{"telemetry_enabled": "yes", "install_id": "x"}',
            WARNING,
            "holds what cannot be: install_id, telemetry_enabled",
        ),
        (b'{"telemetry_enabled": null, "theirs": 1}', GOOD, "can be read"),
    ],
)
def test_the_state_file(notes, content, result, found):
    """What is wrong with installation.json is told, not only taken for a no."""
    notes.state.mkdir(mode=0o700)
    (notes.state / "installation.json").write_bytes(content)
    (notes.state / "installation.json").chmod(0o600)
    check = examined(notes, code=int(result == PROBLEM))["installation.json"]

    assert (check["result"], check["found"]) == (result, found)


def test_a_damaged_outbox(notes):
    """A damaged outbox is set aside by whoever meets it first, and doctor shows where."""
    notes.run("on")
    (notes.state / "outbox.sqlite3").write_bytes(b"no database" * 1000)
    checks = examined(notes)

    assert checks["damaged files"]["found"].startswith("set aside: outbox.sqlite3.corrupt-")
    assert checks["outbox"]["result"] == GOOD


def test_an_outbox_of_a_newer_version(notes):
    """An outbox that this version must not touch is a problem."""
    notes.run("on")
    with contextlib.closing(sqlite3.connect(notes.state / "outbox.sqlite3")) as database:
        database.execute("PRAGMA user_version=99")

    assert "newer version" in examined(notes, code=1)["outbox"]["found"]


def test_nothing_of_a_trial_is_left(notes):
    """What a killed doctor left behind is gone after the next one."""
    leftover = notes.state / "doctor-1"
    leftover.mkdir(mode=0o700, parents=True)
    notes.state.chmod(0o700)
    (leftover / "written").write_text("x")
    examined(notes)

    assert notes.files() == ["state"]


# -- the sink's settings


def checked(**options: Any) -> dict[str, Any]:
    environ = options.pop("environ", {})
    found = setting_checks(resolve(environ, "ACME_NOTES", **options), "ACME_NOTES_TELEMETRY_ENDPOINT")
    return {check.name: check for check in found}


def test_no_sink(tmp_path):
    """Without a sink nothing is collected; that is told, and how to change it, and is no problem."""
    checks = examined(Notes(tmp_path))

    assert checks["sink"]["result"] == WARNING
    assert "ACME_NOTES_TELEMETRY_ENDPOINT" in checks["sink"]["advice"]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ACME_NOTES_TELEMETRY_ENDPOINT": "localhost:4318"}, "must begin with http://"),
        ({"ACME_NOTES_TELEMETRY_TOKEN": "glc_bare"}, "is a bare token"),
        ({"ACME_NOTES_TELEMETRY_ENDPOINT": "http://sink.example", "ACME_NOTES_TELEMETRY_TOKEN": "1:t"}, "unencrypted"),
    ],
)
def test_a_setting_that_cannot_be(notes, environ, said):
    """An endpoint or a token of no usable form is a problem, named without its value."""
    check = examined(notes, code=1, **environ)["sink"]

    assert said in check["found"]
    assert "glc_bare" not in check["found"]


def test_a_token_is_never_shown(notes, sink):
    """A sink that repeats the token it was sent does not make doctor show it; Grafana's form is in the advice."""
    sink.reply = Reply(401, b"bad token secret-9000")
    done = notes.run("doctor", code=1, ACME_NOTES_TELEMETRY_TOKEN="4711:secret-9000")

    assert "bad token ***" in done.out
    assert "secret-9000" not in done.out + done.err
    assert "'<instance id, a number>:<token>'" in done.out


def test_an_open_way():
    """Records that anybody on the way can read are told."""
    assert checked(endpoint="http://sink.example")["sink"].result == WARNING
    assert checked(endpoint="http://localhost:4318")["sink"].result == GOOD


def test_settings_that_are_not_used():
    """A token that was set for another sink is told."""
    checks = checked(endpoint="https://sink.example", environ={"GRAFANA_OTLP_TOKEN": "1:t"})

    assert checks["settings"].result == WARNING


def test_a_file_sink(notes, tmp_path):
    """A file needs no way to it."""
    checks = examined(notes, ACME_NOTES_TELEMETRY_ENDPOINT=f"file://{tmp_path}/out.jsonl")

    assert checks["sink"]["found"] == "a file"
    assert "request" not in checks


# -- the way to the sink

PAGE = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    ("reply", "result", "found", "advice"),
    [
        (Reply(204, b""), GOOD, "HTTP 204", ""),
        (Reply(422, b"at least one valid stream is required"), GOOD, "HTTP 422: let in", ""),
        (Reply(400, b"\x08\x03 no"), WARNING, "HTTP 400: no", "refuse an empty request"),
        (Reply(401, b"no scope"), PROBLEM, "HTTP 401: no scope", "token is missing or wrong"),
        (Reply(403), PROBLEM, "HTTP 403", "logs:write"),
        (Reply(404), PROBLEM, "HTTP 404", "ends in /otlp"),
        (Reply(405), PROBLEM, "HTTP 405", "check the endpoint"),
        (Reply(302, b"", {"Location": "https://elsewhere.example/"}), PROBLEM, "HTTP 302", "never followed"),
        (Reply(200, b"<html>sign in</html>", PAGE), PROBLEM, "HTTP 200 without an OTLP answer", "captive portal"),
        (Reply(260, b""), PROBLEM, "HTTP 260", "ask the sink's owner"),
        (Reply(410), PROBLEM, "HTTP 410", "update the program"),
        (Reply(429), WARNING, "HTTP 429", "leave later"),
        (Reply(503), PROBLEM, "HTTP 503", "leave later"),
    ],
)
def test_what_the_sink_answers(notes, sink, reply, result, found, advice):
    """Each answer is told with what to do, and none of them changes when records leave."""
    sink.reply = reply
    check = examined(notes, code=int(result == PROBLEM))["request"]

    assert check["result"] == result
    assert check["found"].startswith(found)
    assert advice in check["advice"]
    assert len(sink.requests) == 1
    assert notes.files() == []


@pytest.mark.parametrize(
    ("behaviour", "found", "advice"),
    [
        ("refuse", "connection refused", "nothing listens there"),
        ("hang", "no answer in time", "does not answer"),
        ("reset", "connection broken off", "that the sink runs"),
        ("black hole", "no connection in time", "firewall"),
    ],
)
def test_a_sink_that_does_not_answer(tmp_path, behaviour, found, advice):
    """No answer is a problem, told within the time a request may take."""
    hostile = HostileSink(behaviour)
    check = examined(Notes(tmp_path, hostile.url), code=1, OPTIONS=QUICK)["request"]
    hostile.stop()

    # Whichever of the two bounds is over first: that of the connection, or that of the whole attempt.
    assert check["found"] in (found, "timed out")
    assert advice in check["advice"] or check["found"] == "timed out"


def test_a_name_that_cannot_be_found(tmp_path):
    """A host whose name cannot be found is told as that."""
    check = examined(Notes(tmp_path, "https://sink.invalid"), code=1, OPTIONS=QUICK)["request"]

    assert check["found"] in ("host name not found", "timed out")


@pytest.mark.parametrize(("shift", "words"), [(3600, "behind"), (-3600, "ahead of")])
def test_a_wrong_clock(notes, sink, shift, words):
    """A clock that differs from the sink's by more than a minute is told, and in which direction."""
    sink.reply = lambda _: dated(shift)
    clock = examined(notes)["clock"]

    assert clock["result"] == WARNING
    assert f"seconds {words} the sink's" in clock["found"]
    sink.reply = Reply()
    assert examined(notes)["clock"]["result"] == SKIPPED


def test_a_proxy_is_named_without_its_password(notes, sink):
    """Which proxy requests go through is told, and the request goes that way."""
    proxy = f"http://alice:pass-word@127.0.0.1:{sink.server_address[1]}"
    environ = {"http_proxy": proxy, "ACME_NOTES_TELEMETRY_ENDPOINT": "http://sink.invalid"}
    done = notes.run("doctor", **environ)

    assert re.search(rf"ok +proxy +127\.0\.0\.1:{sink.server_address[1]}\n", done.out)
    assert "pass-word" not in done.out + done.err
    assert [request.path for request in sink.requests] == ["http://sink.invalid/v1/logs"]
    assert results(examined(notes, **environ), "proxy", "request") == {GOOD}


def test_a_proxy_that_is_gone(notes):
    """A proxy that nobody listens at is a problem."""
    gone = HostileSink("refuse")
    environ = {"https_proxy": gone.url, "ACME_NOTES_TELEMETRY_ENDPOINT": "https://sink.invalid", "OPTIONS": QUICK}
    checks = examined(notes, code=1, **environ)

    assert checks["request"]["found"] == "the proxy did not let it through"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody signed, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=sink"
    command = ["openssl", *words.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "-", "-out", "-"]
    file.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return file


@pytest.fixture
def secure_sink(certificate: Path):
    server = SinkServer()
    server.reply = lambda _: dated()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    yield server
    server.stop()


def test_a_certificate_nobody_trusts(secure_sink, certificate, tmp_path):
    """A certificate that is not accepted is a problem with its reason; one that the user's bundle knows is fine."""
    notes = Notes(tmp_path, f"https://127.0.0.1:{secure_sink.server_address[1]}")
    check = examined(notes, code=1)["request"]
    assert check["found"] == "certificate not trusted"
    assert "REQUESTS_CA_BUNDLE" in check["advice"]
    assert secure_sink.requests == []

    checks = examined(notes, REQUESTS_CA_BUNDLE=str(certificate))
    assert results(checks, "request", "clock") == {GOOD}


def test_tls_where_there_is_none(notes, sink):
    """An https endpoint at a port that speaks http is told as such."""
    check = examined(notes, code=1, ACME_NOTES_TELEMETRY_ENDPOINT=sink.url.replace("http", "https"))["request"]

    assert check["result"] == PROBLEM
    assert "scheme" in check["advice"]


def test_a_hold_is_told(notes, sink):
    """What keeps records back is told, until when, and that nothing needs to be done."""
    sink.reply = Reply(401)
    notes.use(3)
    sink.reply = lambda _: dated()
    checks = examined(notes)

    assert checks["request"]["result"] == GOOD
    assert checks["delivery"]["result"] == WARNING
    assert checks["delivery"]["found"].startswith("held since the sink answered: HTTP 401; the next attempt is due at ")


def test_a_lookup_that_never_ends_is_left_behind(monkeypatch, make):
    """Where the system's name lookup hangs, doctor goes on after its time."""
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: over.wait(60) and [])
    begun = time.monotonic()
    checks = {check.name: check for check in examine(make(endpoint="http://sink.example", timeout=0.2))}
    over.set()

    assert time.monotonic() - begun < 30
    assert checks["request"].result == PROBLEM
    assert "name server" in checks["request"].advice
