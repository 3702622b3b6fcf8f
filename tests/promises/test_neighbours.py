"""Telemetry lives in a process with others: more of its kind, and a host with OpenTelemetry. Nobody notices anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from process_tools import GUARD, Program
from sink_server import SinkServer, attributes

BASE = ["base_telemetry.first_seen", "base_telemetry.heartbeat"]


@pytest.fixture
def other_sink():
    """The sink of the other object, or of the host."""
    server = SinkServer()
    yield server
    server.stop()


def names_of(sink: SinkServer, app: str) -> list[str]:
    """Names of the records of *app* that arrived, in order."""
    found = []
    for request in sink.requests:
        for logs in json.loads(request.body)["resourceLogs"]:
            resource = attributes(logs["resource"])
            records = [record for scope in logs["scopeLogs"] for record in scope["logRecords"]]
            found += [record["eventName"] for record in records if resource["service.name"] == app]
    return found


TWO_APPS = """
theirs = SETTINGS.pop("theirs")
a = make(app="acme-notes", delivery="sync")
b = make(app="acme-charts", delivery=ARGUMENT, **theirs)
a.start(); b.start()
b.opt_in()
assert not a.is_detailed_analytics_enabled() and not a.track_event("note.created")
assert b.track_event("chart.drawn", user_id="u-1")
a.opt_in()
a.identify_user("u-2")
assert b.track_event("chart.drawn")
assert a.track_event("note.created")
assert a.opt_out()
assert b.is_detailed_analytics_enabled() and b.track_event("chart.drawn")
assert not a.track_event("note.created")
a.close()
assert b.track_event("chart.closed")
assert b.flush(), b.flush()
assert a.status().install_id != b.status().install_id
assert a.status().state_dir != b.status().state_dir
b.close()
assert a.heartbeat_if_due().outcome is Outcome.SUPPRESSED
say(json.dumps([a.status().ledger, b.status().ledger]))
"""


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_two_apps_in_one_process(tmp_path, sink, other_sink, mode):
    """Two libraries, each with an app and a sink of its own, share neither consent, user, state, nor end."""
    theirs = {"endpoint": other_sink.url, "state_dir": str(tmp_path / "b")}
    program = Program(TWO_APPS, tmp_path, endpoint=sink.url, state_dir=tmp_path / "a", argument=mode, theirs=theirs)
    ledgers = json.loads(program.finish())

    assert names_of(sink, "acme-notes") == [*BASE, "analytics.install", "analytics.identify", "note.created"]
    assert sorted(names_of(other_sink, "acme-charts")) == sorted(
        [*BASE, "analytics.install", *["chart.drawn"] * 3, "chart.closed"]
    )
    assert (names_of(sink, "acme-charts"), names_of(other_sink, "acme-notes")) == ([], [])
    charts = [attributes(record) for record in other_sink.accepted if record["eventName"] == "chart.drawn"]
    assert [chart["identity"] for chart in charts] == ["u-1", charts[1]["install_id"], charts[1]["install_id"]]
    assert [(ledger["accepted"], ledger["pending"]) for ledger in ledgers] == [(5, 0), (7, 0)]


SAME_APP = """
a, b = make(), make(delivery=ARGUMENT)
threads = []
for telemetry in (a, b):
    threads += [threading.Thread(target=telemetry.start) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
a.opt_in()
assert b.is_detailed_analytics_enabled()
accepted = []
def track(telemetry, name):
    for n in range(50):
        receipt = telemetry.track_event(name, {"n": n})
        assert receipt, receipt
        accepted.append(receipt.uid)
threads = [threading.Thread(target=track, args=pair) for pair in ((a, "a.tracked"), (b, "b.tracked")) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
a.close()
receipt = b.track_event("b.tracked")
accepted.append(receipt.uid)
assert b.flush(30).kept == 0
assert b.opt_out()
assert not a.is_detailed_analytics_enabled() and not a.track_event("a.tracked")
b.close()
say(json.dumps([accepted, a.status().ledger]))
"""


@pytest.mark.parametrize("mode", ["sync", "background"])
def test_two_objects_of_one_app(tmp_path, sink, mode):
    """Two libraries that made an object of the same app are one install: nothing twice, nothing lost, one consent."""
    program = Program(SAME_APP, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state", argument=mode)
    accepted, ledger = json.loads(program.finish())

    assert len(accepted) == 201
    assert sorted(sink.names) == sorted([*BASE, "analytics.install", *["a.tracked"] * 100, *["b.tracked"] * 101])
    assert len(set(sink.uids)) == len(sink.uids)
    assert set(accepted) <= set(sink.uids)
    assert ledger["accepted"] == ledger["delivered"] == 204
    assert (ledger["pending"], ledger["rejected"]) == (0, 0)


# Everything of the process that a host could see a change of: each variable of each module, each attribute of each
# class in it, what is in its tables, and what the operating system keeps for the process.
UNCHANGED = """
import email, encodings, faulthandler, filelock, functools, gc, getpass, gzip, hashlib, http.cookiejar, http.server
import ipaddress, json, locale, logging, logging.handlers, os, platform, platformdirs, queue, requests, signal, socket
import sqlite3, ssl, subprocess, sys, tempfile, threading, tzlocal, urllib.request, urllib3, uuid, warnings, weakref

# What a program may have set up for itself.
logging.basicConfig(level=logging.INFO)
logging.getLogger("urllib3").setLevel(logging.ERROR)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
sys.excepthook = lambda *_: None
threading.excepthook = lambda *_: None
sys.unraisablehook = lambda *_: None
warnings.simplefilter("error")
socket.setdefaulttimeout(17.0)
locale.setlocale(locale.LC_ALL, "C")
os.umask(0o027)
session = requests.Session()
for _ in range(2):
    session.get(sys.argv[2])  # on its second use of a connection urllib3 chooses how to wait

# Caches, which anybody's use of the same library fills, and the threads that run at the moment.
CACHES = {("re", "_cache"), ("re", "_cache2"), ("encodings", "_cache"), ("sys", "modules"),
          ("sys", "path_importer_cache"), ("tzlocal.unix", "_cache_tz_name"), ("linecache", "cache"), ("threading", "_active"),
          ("platform", "_uname_cache"),
          ("logging", "_handlerList")}  # of every handler there is; the loggers are compared below

def world():
    seen = {}
    for name, module in list(sys.modules.items()):
        if module is None or name == "__main__" or name.partition(".")[0] == "telemetry_sdk":
            continue
        for key, value in list(vars(module).items()):
            if (name, key) in CACHES or isinstance(value, type(sys)):
                continue  # a submodule appears in its package when it is imported
            seen[name, key] = value
            if isinstance(value, type) and value.__module__ == name:
                seen.update({(name, key, inner): thing for inner, thing in list(vars(value).items())})
            elif isinstance(value, dict):
                seen[name, key, "content"] = [(repr(k), id(v)) for k, v in list(value.items())]
            elif isinstance(value, (list, set)):
                seen[name, key, "content"] = list(map(id, list(value)))
    mask = os.umask(0); os.umask(mask)
    # One filter of ours stands on the loggers of the libraries we call; it drops what our own threads say, no more.
    ours = "telemetry_sdk.host.quiet"
    loggers = {name: (it.level, it.handlers[:], it.propagate, it.disabled,
                      [one for one in it.filters if getattr(one, "__module__", "") != ours])
               for name, it in logging.root.manager.loggerDict.items()
               if isinstance(it, logging.Logger) and name not in ("telemetry_sdk", "tzlocal")}
    seen |= {("loggers", name): value for name, value in loggers.items()}
    seen |= {
        "root logger": (logging.root.level, logging.root.handlers[:], logging.root.filters[:], logging.root.manager.disable),
        "signals": {int(s): signal.getsignal(s) for s in signal.valid_signals()}, "alarm": signal.getitimer(signal.ITIMER_REAL),
        "wakeup": restored_wakeup(), "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook, sys.gettrace(), sys.getprofile()),
        "warnings": list(warnings.filters), "timeout": socket.getdefaulttimeout(), "locale": locale.setlocale(locale.LC_ALL),
        "umask": mask, "cwd": os.getcwd(), "environ": dict(os.environ), "path": list(sys.path), "argv": list(sys.argv),
        "import": (list(sys.meta_path), list(sys.path_hooks)), "gc": (gc.isenabled(), gc.get_threshold(), gc.callbacks[:]),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval(), threading.stack_size()), "fault": faulthandler.is_enabled(),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
    }
    return seen

def restored_wakeup():
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    return before

before = world()
from telemetry_sdk import Telemetry
def use(app, **options):
    telemetry = Telemetry(app, version="2.4.0", endpoint=sys.argv[1], state_dir=sys.argv[3] + app, strict=True, **{"delivery": "sync", **options})
    telemetry.start(); telemetry.opt_in(); telemetry.identify_user("u-1"); telemetry.track_event("note.created", {"n": 1})
    telemetry.track_page_view("/notes"); telemetry.status(); telemetry.sent_log(); telemetry.flush(30); telemetry.opt_out()
    return telemetry
objects = [use("acme-notes"), use("acme-charts", delivery="background"), use("acme-old", delivery="manual")]
for telemetry in objects[:2]:
    telemetry.close()
after = world()
new = {key[0] for key in after if isinstance(key, tuple)} - {key[0] for key in before if isinstance(key, tuple)}
for key in sorted(before.keys() | after.keys(), key=str):
    old, now = before.get(key, "nothing"), after.get(key, "nothing")
    is_new_module = isinstance(key, tuple) and (key[0] in new or key[0] == "loggers" and old == "nothing")
    if not is_new_module and old is not now and (isinstance(key, tuple) and len(key) == 2 and key[0] != "loggers" or old != now):
        print("CHANGED", key, repr(old)[:200], "->", repr(now)[:200])
print("compared", len(before) > 10_000)
"""


def test_nothing_of_the_process_is_changed(tmp_path, sink, other_sink):
    """No module's variable, class, table, logger, hook or setting is another after three objects have done their work."""
    program = [sys.executable, "-c", UNCHANGED, sink.url, other_sink.url, f"{tmp_path}/"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    run = subprocess.run(program, capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=GUARD)

    assert (run.stdout, run.stderr) == ("compared True\n", "")
    assert len(set(sink.uids)) == len(sink.uids) > 10


# A host with OpenTelemetry's own SDK for traces, metrics and logs, all exported, and its HTTP client instrumented.
HOST = """
import logging, os, sys
import requests
from opentelemetry import baggage, context, metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

with_telemetry, ours, service = sys.argv[1] == "with", sys.argv[2], sys.argv[3]
tracing, logs = TracerProvider(), LoggerProvider()
metering = MeterProvider(metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter(), 3_600_000)])
tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
trace.set_tracer_provider(tracing)
metrics.set_meter_provider(metering)
logging.basicConfig(level=logging.INFO, handlers=[LoggingHandler(logger_provider=logs)])
RequestsInstrumentor().instrument()
notes = metrics.get_meter("acme").create_counter("notes")
tracer = trace.get_tracer("acme")

class Nothing:
    def __getattr__(self, name):
        return lambda *arguments, **options: True

def make(app, **options):
    if not with_telemetry:
        return Nothing()
    from telemetry_sdk import Telemetry
    return Telemetry(app, version="2.4.0", state_dir=os.path.join(os.environ["HOME"], app), endpoint=ours, **{"delivery": "sync", **options})

context.attach(baggage.set_baggage("user", "Ada-of-the-host"))
with tracer.start_as_current_span("work"):
    one, two = make("acme-notes"), make("acme-charts", delivery="background", otel_env=True)
    one.start(); two.start()
    one.opt_in(); two.opt_in()
    for n in range(3):
        with tracer.start_as_current_span("note", attributes={"n": n}):
            notes.add(1, {"kind": "text"})
            logging.getLogger("acme").warning("note %d", n)
            requests.post(service, data=b"note")
            one.track_event("note.created", {"n": n})
            two.track_event("chart.drawn", {"n": n})
    assert two.flush(30) and one.flush(30)
    one.opt_out()
    one.close(); two.close()
assert trace.get_tracer_provider() is tracing and metrics.get_meter_provider() is metering
assert baggage.get_baggage("user") == "Ada-of-the-host" and trace.get_current_span() is trace.INVALID_SPAN
for provider in (tracing, metering, logs):
    provider.shutdown()
logging.getLogger().handlers.clear()  # from Python 3.12 on its flush at exit fails: it starts a thread
"""


def exported(sink: SinkServer) -> dict[str, Any]:
    """What a host's OpenTelemetry exported, without what differs from run to run: ids, times and ports."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    kinds = {
        "/v1/traces": (ExportTraceServiceRequest, "spans"),
        "/v1/metrics": (ExportMetricsServiceRequest, "metrics"),
        "/v1/logs": (ExportLogsServiceRequest, "log_records"),
    }
    found: dict[str, list[str]] = {path: [] for path in kinds}
    spans, parents = {}, []
    for request in sink.requests:
        message, items = kinds[request.path][0](), kinds[request.path][1]
        message.ParseFromString(request.body)
        for resource in next(iter(message.ListFields()))[1]:
            for scope in next(value for field, value in resource.ListFields() if field.name.startswith("scope_")):
                for item in getattr(scope, items):
                    if items == "spans":
                        spans[item.span_id] = item.name
                        parents.append((item.name, item.parent_span_id))
                    for field in list(item.DESCRIPTOR.fields_by_name):
                        if field.endswith(("_id", "unix_nano")):
                            item.ClearField(field)
                    if items == "metrics":
                        points = [point.as_int for point in item.sum.data_points]
                        histograms = [point.count for point in item.histogram.data_points]
                        found[request.path].append(f"{item.name} {points} {histograms}")
                    else:
                        found[request.path].append(f"{resource.resource} {scope.scope.name} {item}")
    return {
        **{path: sorted(items) for path, items in found.items()},
        "tree": sorted((name, spans.get(parent, "")) for name, parent in parents),
    }


def test_a_host_with_opentelemetry_is_untouched(tmp_path, sink):
    """What a host exports by its own OpenTelemetry is the same with two objects of ours, and they get none of it."""
    pytest.importorskip("opentelemetry.instrumentation.requests")
    seen, served = {}, []
    for variant in ("without", "with"):
        backend, service = SinkServer(), SinkServer()
        home = tmp_path / variant
        home.mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
            "OTEL_SERVICE_NAME": "acme-service",
            "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=1",
        }
        run = subprocess.run(
            [sys.executable, "-c", HOST, variant, sink.url, service.url],
            capture_output=True, text=True, env=environ, cwd=home, timeout=GUARD,
        )  # fmt: skip
        backend.stop()
        service.stop()
        assert (run.returncode, run.stderr) == (0, "")
        port = str(service.server_address[1])
        seen[variant] = json.loads(json.dumps(exported(backend)).replace(port, "PORT"))
        served.append([sorted(request.headers) for request in service.requests])

    assert seen["with"] == seen["without"]
    assert seen["with"]["tree"] == sorted([["work", ""], *[["note", "work"], ["POST", "note"]] * 3])
    assert all(seen["with"].values())
    assert served[0] == served[1]
    assert sorted(names_of(sink, "acme-notes")) == sorted([*BASE, "analytics.install", *["note.created"] * 3])
    assert sorted(names_of(sink, "acme-charts")) == sorted([*BASE, "analytics.install", *["chart.drawn"] * 3])
    sent = b"".join(request.body for request in sink.requests)
    assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for r in sink.requests for name in r.headers}
    assert b"Ada-of-the-host" not in sent


def test_opentelemetry_is_never_imported_by_us(tmp_path, sink):
    """A host without OpenTelemetry stays without it, though it is installed."""
    source = """
    telemetry = make()
    telemetry.start()
    assert telemetry.opt_in() and telemetry.flush()
    telemetry.close()
    say([name for name in sys.modules if name.startswith("opentelemetry")])
    """
    assert Program(source, tmp_path, endpoint=sink.url, state_dir=tmp_path / "state").finish() == "[]\n"
