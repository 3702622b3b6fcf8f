"""``python -m telemetry_sdk receive``, run as a user runs it: a process, a port, a signal."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import telemetry_sdk.receiver
from telemetry_sdk._version import __version__
from telemetry_sdk.cli import program, vendor

ROOT = Path(telemetry_sdk.receiver.__file__).parents[2]
PATIENCE_S = 60  # guards against a hang, asserts no speed
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals as POSIX has them")


def body_of(name, attributes=(), resource=()):
    pairs = [{"key": key, "value": value} for key, value in dict(attributes).items()]
    facts = [{"key": key, "value": {"stringValue": value}} for key, value in dict(resource).items()]
    records = [{"timeUnixNano": "1", "eventName": name, "attributes": pairs}]
    scope_logs = [{"logRecords": records}]
    return json.dumps({"resourceLogs": [{"resource": {"attributes": facts}, "scopeLogs": scope_logs}]})


def post(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v1/logs", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def command(*arguments):
    return [sys.executable, "-W", "error", "-m", "telemetry_sdk", *arguments]


def environment(**extra):
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **extra}


@contextlib.contextmanager
def receiving(directory, *arguments, env=None, **options):
    """Run the receiver until the block ends; yield it with its port, once it says that it listens."""
    with subprocess.Popen(
        command("receive", "--port", "0", *arguments),
        cwd=directory,
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    ) as child:
        try:
            listening = child.stdout.readline()
            found = re.fullmatch(r"listening on http://[0-9.]+:(\d+)\n", listening)
            assert found, listening or child.stderr.read()
            yield child, int(found[1])
        finally:
            child.kill()


def run(*arguments, **options):
    """Run a command that ends by itself."""
    return subprocess.run(
        command(*arguments),
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_records_are_shown_and_stored_until_a_signal(tmp_path, number):
    """It says where it listens, shows and stores each record, and a signal ends it cleanly."""
    facts = {"service.name": "acme-notes", "service.version": "2.4.0", "telemetry.layer": "base"}
    attributes = {
        "event_name": {"stringValue": "base_telemetry.heartbeat"},
        "identity": {"stringValue": "2ab2916d"},
        "log.record.uid": {"stringValue": "0198d0c2"},
        "platform": {"stringValue": "linux"},
        "count": {"intValue": "3"},
    }
    with receiving(tmp_path, "--file", "telemetry.jsonl") as (child, port):
        assert post(port, body_of("base_telemetry.heartbeat", attributes, facts)) == 200
        shown = child.stdout.readline()
        assert post(port, "{}") == 200
        assert post(port, "[]") == 400
        child.send_signal(number)
        rest, errors = child.communicate(timeout=PATIENCE_S)

    assert shown == (
        'base_telemetry.heartbeat  base  acme-notes 2.4.0  identity=2ab2916d  uid=0198d0c2  platform="linux"  count=3\n'
    )
    assert (rest, errors) == ("stopped: 1 records in 2 requests, 1 refused\n", "")
    assert child.returncode == 0
    (line,) = (tmp_path / "telemetry.jsonl").read_text("ascii").splitlines()
    assert json.loads(line) == json.loads(body_of("base_telemetry.heartbeat", attributes, facts))


@posix
def test_a_file_that_is_none_is_refused_at_the_start(tmp_path):
    """A FIFO without a reader is not waited for, a link not followed; the message says what is wrong."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("absent")
    for name in ("fifo", "link"):
        done = run("receive", "--port", "0", "--file", str(tmp_path / name))

        said = f"error: cannot open {tmp_path / name}: not a regular file with one name\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert not (tmp_path / "absent").exists()


@posix
def test_it_can_be_interrupted_in_the_background(tmp_path):
    """SIGINT works even where a shell has set it to be ignored."""

    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with receiving(tmp_path, preexec_fn=ignore) as (child, _):
        child.send_signal(signal.SIGINT)

        assert child.wait(PATIENCE_S) == 0


@posix
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_record_cannot_drive_the_terminal(tmp_path, encoding):
    """Whatever a record holds is one printable line, on a terminal of any encoding."""
    visible = r"\x1b[2J\x07\r\n\t\x00\x9b31m\u202e\u2028\U000e0041" + ("ü" if encoding == "utf-8" else r"\xfc")
    nasty = "\x1b[2J\x07\r\n\t\x00\x9b31m\u202e\u2028\U000e0041ü"
    attributes = {nasty: {"stringValue": nasty}, "list": {"arrayValue": {"values": [{"stringValue": nasty}]}}}
    with receiving(tmp_path, env=environment(PYTHONIOENCODING=encoding)) as (child, port):
        assert post(port, body_of(nasty, attributes, {"service.name": nasty})) == 200
        assert post(port, body_of("x" * 100_000)) == 200
        child.send_signal(signal.SIGTERM)
        shown, errors = child.communicate(timeout=PATIENCE_S)

    first, second, stopped = shown.removesuffix("\n").split("\n")
    assert first.isprintable()
    assert first.startswith(f"{visible}  (no layer)  {visible} unknown  {visible}=")
    assert len(second) < 300
    assert stopped.startswith("stopped: 2 records")
    assert errors == ""


@posix
def test_a_reader_that_goes_away_does_not_end_it(tmp_path):
    """When nobody reads what it prints, it goes on receiving, without a complaint."""
    with receiving(tmp_path, "--file", "t.jsonl") as (child, port):
        child.stdout.close()
        statuses = [post(port, body_of(f"event.n{i}")) for i in range(3)]
        child.send_signal(signal.SIGTERM)
        errors = child.stderr.read()

        assert child.wait(PATIENCE_S) == 0

    assert statuses == [200, 200, 200]
    assert errors == ""
    assert len((tmp_path / "t.jsonl").read_bytes().splitlines()) == 3


def test_a_port_in_use_is_said_plainly(tmp_path):
    """A port somebody else has is one line on stderr and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("receive", "--port", str(port), "--file", "t.jsonl", cwd=tmp_path)

    problem = os.strerror(errno.EADDRINUSE)
    assert ended.stderr == f"error: cannot listen on 127.0.0.1 port {port}: {problem}\n"
    assert (ended.returncode, ended.stdout) == (1, "")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_file_that_cannot_be_opened_is_said_plainly(tmp_path, capsys):
    """An impossible file is one line on stderr and exit code 1."""
    file = str(tmp_path / "absent" / "t.jsonl")

    assert program.main(["receive", "--port", "0", "--file", file]) == 1
    assert capsys.readouterr() == ("", f"error: cannot open {file}: {os.strerror(errno.ENOENT)}\n")


def test_an_address_of_another_machine_is_said_plainly(capsys):
    """An address that is not this machine's is one line on stderr and exit code 1."""
    assert program.main(["receive", "--host", "192.0.2.1", "--port", "0"]) == 1
    problem = os.strerror(errno.EADDRNOTAVAIL)
    assert capsys.readouterr() == ("", f"error: cannot listen on 192.0.2.1 port 0: {problem}\n")


@posix
def test_other_machines_are_warned_about(tmp_path):
    """Listening beyond loopback is done, with a warning."""
    with receiving(tmp_path, "--host", "0.0.0.0") as (child, port):
        assert post(port, body_of("a.b")) == 200
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=PATIENCE_S)

    assert errors == "warning: not a loopback address, so other machines can send records here\n"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),  # to a socket, every address
        ("192.168.1.5", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_loopback(host, loopback):
    """Only an address that no other machine can reach is loopback."""
    assert vendor.is_loopback(host) is loopback


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["recieve"],
        ["receive", "extra"],
        ["receive", "--port"],
        *(["receive", "--port", port] for port in ("-1", "65536", "x", "", "1_0", "٤٣١٨", "9" * 5000)),
        ["receive", "--host", "ü" * 70],
    ],
)
def test_usage_errors(arguments, capsys):
    """What cannot be understood exits with 2, and shows the usage."""
    with pytest.raises(SystemExit) as caught:
        program.main(arguments)

    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m telemetry_sdk")


def test_the_module_runs_the_command_line():
    """``python -m telemetry_sdk`` is the command line, exit code included."""
    version, nothing = run("--version"), run()

    assert (version.returncode, version.stdout, version.stderr) == (0, f"telemetry_sdk {__version__}\n", "")
    assert nothing.returncode == 2


class Interrupting:
    """A standard output that raises a signal with each line the command prints."""

    encoding = "utf-8"

    def __init__(self, number):
        self.number = number
        self.text = ""

    def write(self, text):
        self.text += text
        if text != "\n":
            signal.raise_signal(self.number)

    def flush(self):
        pass


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_hosts_signal_handlers_come_back(monkeypatch, number):
    """A second signal changes nothing, and a program that calls main() has its own handlers again afterwards."""
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    output = Interrupting(number)
    monkeypatch.setattr(sys, "stdout", output)

    try:
        code = program.main(["receive", "--port", "0"])
    except KeyboardInterrupt:
        pytest.fail("the second signal got through")

    assert code == 0
    assert output.text.endswith("stopped: 0 records in 0 requests, 0 refused\n")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
