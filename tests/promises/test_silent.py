"""A host program prints, logs and behaves the same to the byte, whatever telemetry does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from hostile import HostileSink

# What any program may look at; printed before and after, so that a difference shows.
HOST = """
import gc, json, locale, logging, os, signal, sys, threading, time, warnings

def world():
    mask = os.umask(0o022)
    os.umask(mask)
    return {
        "handlers": [repr(type(h)) for h in logging.getLogger().handlers],
        "level": logging.getLogger().level, "disabled": logging.root.manager.disable,
        "lastResort": logging.lastResort is not None,
        # urllib3 and requests add filters, at their import, for warnings of their own; one of ours may be there for a
        # moment, which looks at our thread only.
        "warnings": [
            repr(f) for f in warnings.filters
            if f[2].__module__.split(".")[0] not in ("urllib3", "requests")
            and type(f[3]).__module__ != "telemetry_sdk.host.quiet"
        ],
        "signals": {int(s): repr(signal.getsignal(s)) for s in signal.valid_signals()},
        "excepthook": sys.excepthook is sys.__excepthook__,
        "unraisable": sys.unraisablehook is sys.__unraisablehook__,
        "threadhook": threading.excepthook is threading.__excepthook__,
        "umask": mask, "cwd": os.getcwd(), "environ": dict(os.environ), "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(), "switch": sys.getswitchinterval(), "trace": sys.gettrace() is None,
        "stdout": [sys.stdout is sys.__stdout__, sys.stdout.encoding], "display": sys.displayhook is sys.__displayhook__,
        "alarm": signal.getitimer(signal.ITIMER_REAL), "path": list(sys.path), "timeout": __import__("socket").getdefaulttimeout(),
    }

class Bad:
    def __str__(self): raise RuntimeError("bad")
    __repr__ = __hash__ = __len__ = __iter__ = __bool__ = __str__

before = world()
print("begin")
print("to the error stream", file=sys.stderr)

from telemetry_sdk import Telemetry
sink = os.environ.get("SINK")  # named in code, so that an outage is worth a WARNING, which nobody asked to see
with Telemetry("acme-notes", version="2.4.0", endpoint=sink, delivery=sys.argv[1], timeout=1, exit_timeout=0.3) as telemetry:
    telemetry.opt_in()
    for n in range(5):
        telemetry.track_event("timer.started", {"n": n})
    telemetry.track_event("not valid", {"bad": Bad()})
    telemetry.track_event(Bad(), Bad(), user_id=Bad())
    telemetry.track_event("timer.started", {"bad": Bad(), "nan": float("nan"), "half": "\\ud800"})
    telemetry.track_page_view(Bad(), {Bad: 1})
    telemetry.identify_user(Bad())
    telemetry.send_analytics_event("timer.started", context={"path": Bad()})
    telemetry.flush(0.5)
    telemetry.status()
    telemetry.sent_log()
    telemetry.opt_out()
    print("middle")
    telemetry.opt_in()
    telemetry.track_event("timer.started")
forgotten = Telemetry("acme-other", version="1", delivery=sys.argv[1], timeout=1, exit_timeout=0.3)
forgotten.start()
del telemetry
gc.collect()
after = world()
for name in before:
    if before[name] != after[name]:
        print("CHANGED", name, before[name], after[name])
print("end")
print("end of errors", file=sys.stderr)
"""

EXPECTED = (b"begin\nmiddle\nend\n", b"to the error stream\nend of errors\n")
SITUATIONS = [
    "on",
    "off",
    "no sink",
    "refuse",
    "hang",
    "reset",
    "endless",
    "unwritable",
    "no home",
    "corrupt",
    "mistake",
]


@pytest.fixture
def situation(request, tmp_path, sink):
    """The environment of one situation."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "GRAFANA_OTLP_ENDPOINT": sink.url,
        "ACME_NOTES_TELEMETRY_DIR": str(tmp_path / "state"),
        "ACME_OTHER_TELEMETRY_DIR": str(tmp_path / "other"),
    }
    kind = request.param
    environ["SINK"] = environ["GRAFANA_OTLP_ENDPOINT"]
    hostile = HostileSink(kind) if kind in ("refuse", "hang", "reset", "endless") else None
    if hostile:
        environ["GRAFANA_OTLP_ENDPOINT"] = environ["SINK"] = hostile.url
    elif kind == "off":
        environ["DO_NOT_TRACK"] = "1"
    elif kind == "no sink":
        del environ["GRAFANA_OTLP_ENDPOINT"], environ["SINK"]
    elif kind == "unwritable":
        (tmp_path / "file").write_text("")
        environ["ACME_NOTES_TELEMETRY_DIR"] = environ["ACME_OTHER_TELEMETRY_DIR"] = str(tmp_path / "file" / "state")
    elif kind == "no home":
        environ = {name: text for name, text in environ.items() if not name.endswith("_DIR")} | {"HOME": "/dev/null"}
    elif kind == "corrupt":
        for name in ("installation.json", "outbox.sqlite3", "installation.lock"):
            (tmp_path / "state").mkdir(exist_ok=True)
            (tmp_path / "state" / name).write_bytes(os.urandom(5000))
    elif kind == "mistake":
        del environ["SINK"]
        environ |= {"GRAFANA_OTLP_ENDPOINT": "gopher://nowhere:x", "GRAFANA_OTLP_TOKEN": "\x01"}
    yield environ
    if hostile:
        hostile.stop()


@pytest.mark.parametrize("options", [[], ["-X", "dev", "-W", "error"]], ids=["plain", "dev"])
@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
@pytest.mark.parametrize("situation", SITUATIONS, indirect=True)
def test_a_host_prints_the_same_bytes(tmp_path, situation, mode, options):
    """Output and process-wide settings of a host are the same with telemetry on, off and failing in any way."""
    run = subprocess.run(
        [sys.executable, *options, "-c", HOST, mode], capture_output=True, env=situation, cwd=tmp_path, timeout=60
    )

    assert (run.stdout, run.stderr) == EXPECTED
    assert run.returncode == 0


@pytest.mark.parametrize("options", [[], ["-X", "dev", "-W", "error"]], ids=["plain", "dev"])
def test_a_host_that_ends_by_an_exception_shows_only_its_own(tmp_path, sink, options):
    """A traceback of the host's own is all that is seen, and its exit code is kept."""
    source = textwrap.dedent(
        """
        import sys
        from telemetry_sdk import Telemetry
        telemetry = Telemetry("acme-notes", version="1", delivery="background", exit_timeout=0.2)
        telemetry.start()
        telemetry.opt_in()
        telemetry.track_event("timer.started")
        sys.tracebacklimit = 0
        raise KeyError("the host's own")
        """
    )
    hostile = HostileSink("hang")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GRAFANA_OTLP_ENDPOINT": hostile.url}
    run = subprocess.run([sys.executable, *options, "-c", source], capture_output=True, env=environ, timeout=60)
    hostile.stop()

    assert run.stderr == b'KeyError: "the host\'s own"\n'
    assert run.stdout == b""
    assert run.returncode == 1


LOGGING_HOST = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
from telemetry_sdk import Telemetry
telemetry = Telemetry("acme-notes", version="1", endpoint=sys.argv[1], token=sys.argv[2], state_dir=sys.argv[3], timeout=1, delivery="sync",
                      headers={"X-Tenant": "tenant-secret"})
telemetry.start()
telemetry.opt_in()
telemetry.identify_user("user-secret")
telemetry.track_event("timer.started", {"note": "value-secret"}, user_id="user-secret")
telemetry.track_event("Not Valid secret-name", {"note": "value-secret"})
telemetry.track_event("timer.started", None, user_id=object())
telemetry.flush(1)
telemetry.opt_out()
telemetry.close()
"""


@pytest.mark.parametrize("kind", ["on", "refuse", "reset", "unwritable"])
def test_log_lines_name_no_secret(tmp_path, sink, kind):
    """A host that logs everything sees no token, path, user, host name or value in our lines."""
    import getpass
    import socket

    hostile = HostileSink(kind) if kind in ("refuse", "reset") else None
    state = tmp_path / "dir-secret"
    if kind == "unwritable":
        state.write_text("")
        state = state / "state"
    url = hostile.url if hostile else sink.url
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", LOGGING_HOST, url, "12345:token-secret", str(state)],
        capture_output=True, text=True, env=environ, timeout=60,
    )  # fmt: skip
    if hostile:
        hostile.stop()

    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    ours = [line for line in run.stderr.splitlines() if line.startswith("telemetry_sdk")]
    assert ours or kind in ("on", "unwritable")
    assert "Traceback" not in run.stderr
    for line in ours:
        for secret in ("secret", str(tmp_path), socket.gethostname(), f" {getpass.getuser()} ", "MTIzNDU6"):
            assert secret not in line
    for secret in ("token-secret", "MTIzNDU6", "value-secret", "user-secret"):
        assert secret not in run.stderr  # not even in the lines of libraries below us


OWN_LOGGING_HOST = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s %(message)s")
names = ("urllib3.connection", "urllib3.connectionpool", "filelock")
from telemetry_sdk import Telemetry
def speak(*_):
    for name in names:
        logging.getLogger(name).debug("heard")
telemetry = Telemetry("acme-notes", version="1", endpoint=sys.argv[1], state_dir=sys.argv[2], timeout=5, delivery="sync",
                      on_consent_change=speak)
telemetry.start()
telemetry.opt_in()
telemetry.track_event("timer.started")
telemetry.close()
speak()
"""


@pytest.mark.parametrize("kind", ["bad header", "close", "drip"])
def test_the_libraries_below_say_nothing_of_our_work(tmp_path, kind):
    """A host that logs everything sees no line of urllib3 or filelock about our requests and files, but all its own."""
    hostile = HostileSink(kind)
    command = [sys.executable, "-c", OWN_LOGGING_HOST, hostile.url, str(tmp_path / "state")]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    hostile.stop()

    assert run.returncode == 0, run.stderr
    assert hostile.connections
    lines = [line for line in run.stderr.splitlines() if not line.startswith("telemetry_sdk ")]
    assert lines == ["urllib3.connection heard", "urllib3.connectionpool heard", "filelock heard"] * 2


MISMATCHED_HOST = """
import sys, warnings
before = list(warnings.filters)
from telemetry_sdk import Telemetry
telemetry = Telemetry("acme-notes", version="1", endpoint=sys.argv[1], state_dir=sys.argv[2], delivery=sys.argv[3])
telemetry.opt_in()
print(telemetry.track_event("timer.started").outcome.value, telemetry.flush().kept)
telemetry.close()
theirs = ("urllib3", "requests")  # they add some for warnings of their own
assert before == [f for f in warnings.filters if f[2].__module__.split(".")[0] not in theirs], warnings.filters
assert "requests" in sys.modules
"""


@pytest.mark.parametrize("option", ["default", "error"])
@pytest.mark.parametrize("mode", ["sync", "background"])
def test_libraries_that_warn_of_each_other_are_not_heard(tmp_path, sink, mode, option):
    """An installation in which requests does not like a version it finds sends, and the host prints nothing of it."""
    (tmp_path / "chardet.py").write_text('__version__ = "99.0.0"\n')
    command = [sys.executable, "-W", option, "-c", MISMATCHED_HOST, sink.url, str(tmp_path / "state"), mode]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)

    assert (run.stdout, run.stderr) == (f"{'delivered' if mode == 'sync' else 'queued'} 0\n", "")
    assert len(sink.uids) == 2


def test_an_installation_without_a_usable_requests_keeps_its_records(tmp_path, sink):
    """Where requests cannot be imported nothing is sent and nothing is lost."""
    (tmp_path / "requests.py").write_text('raise ImportError("broken")\n')
    source = MISMATCHED_HOST.partition("theirs =")[0]
    command = [sys.executable, "-c", source, sink.url, str(tmp_path / "state"), "sync"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)

    assert (run.stdout, run.stderr) == ("queued 2\n", "")
