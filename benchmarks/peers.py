"""What is measured: our SDK in its modes, and its peers. One table of program texts, each run in a child process.

Every text sees ``URL`` (the sink), ``STATE`` (an empty directory) and ``QUEUE`` (events that must fit into memory).
``imports`` and ``construct`` are timed as they are; after them ``track(mark, number)`` sends one event and
``flush()`` returns when what was tracked has been sent, or raises.

The event is the same for all: a name, a user, and the properties of ``PROPERTIES``. All settings are the packages'
defaults except the sink, the bound of the queue, and gzip where ``gzip`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["ALL", "OURS", "PEERS", "PROPERTIES", "Peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to send events.

    Attributes:
        name: What the tables call it.
        package: The distribution whose version is recorded.
        imports: Imports what an application imports.
        construct: Makes the client, ready for events.
        track: The body of ``track(mark, number)``.
        flush: The body of ``flush()``; empty when `track` itself sends.
        prepare: What a program does once before it tracks, for example to record the user's consent.
        opted_out: Stands in for `construct` when the user has said no.
        sync: Stands in for `construct` where `track` then makes a request and waits for the answer.
        gzip: Stands in for `construct` with gzip on; empty where that is the default or impossible.
        blocks: Whether `track` talks to the network itself.
        is_ours: Whether this is the package under test.
    """

    name: str
    package: str
    imports: str
    construct: str
    track: str
    flush: str = ""
    prepare: str = ""
    opted_out: str = ""
    sync: str = ""
    gzip: str = ""
    blocks: bool = False
    is_ours: bool = False

    def program(self, construct: str = "") -> str:
        """Return the text that makes the client and defines ``track`` and ``flush``.

        *construct* stands in for the usual one; then nothing is prepared.
        """
        made = [self.imports, construct] if construct else [self.imports, self.construct, self.prepare]
        return "\n".join([*made, self.functions()])

    def functions(self) -> str:
        """Return the definitions of ``track`` and ``flush``."""
        return _function("track", "mark, number", self.track) + _function("flush", "", self.flush)


def _function(name: str, parameters: str, body: str) -> str:
    lines = "".join(f"    {line}\n" for line in (body or "pass").strip().splitlines())
    return f"def {name}({parameters}):\n{lines}"


PROPERTIES = '{"source": "cli", "duration_ms": 1234 + number, "premium": True, "mark": mark}'

_SYNC = Peer(
    name="telemetry_sdk sync",
    package="telemetry-sdk",
    imports="from telemetry_sdk import Limits, Telemetry",
    construct="""telemetry = Telemetry(
    "acme-notes", version="2.4.0", endpoint=URL, state_dir=STATE, delivery="sync",
    limits=Limits(records=QUEUE, bytes=QUEUE * 2000))""",
    prepare="telemetry.opt_in()",
    track=f'telemetry.track_event("timer.started", {PROPERTIES}, user_id="u-17")',
    flush="assert telemetry.flush(60)",
    opted_out="""telemetry = Telemetry("acme-notes", version="2.4.0", endpoint=URL, state_dir=STATE)
telemetry.opt_out()""",
    blocks=True,
    is_ours=True,
)
_SYNC = replace(_SYNC, sync=_SYNC.construct)
_MANUAL = replace(
    _SYNC, name="telemetry_sdk manual", construct=_SYNC.construct.replace('"sync"', '"manual"'), blocks=False
)
_BACKGROUND = replace(
    _SYNC, name="telemetry_sdk background", construct=_SYNC.construct.replace('"sync"', '"background"'), blocks=False
)
OURS = (_MANUAL, _BACKGROUND, _SYNC)

_OTEL_IMPORTS = """import time
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter"""
_OTEL_CONSTRUCT = """resource = Resource.create({"service.name": "acme-notes", "service.version": "2.4.0"})
provider = LoggerProvider(resource)
exporter = OTLPLogExporter(f"{URL}/v1/logs")
processor = BatchLogRecordProcessor(exporter, max_queue_size=QUEUE)
provider.add_log_record_processor(processor)
logger = provider.get_logger("acme.telemetry", "2.4.0")"""
_OTEL_ATTRIBUTES = PROPERTIES.replace("}", ', "enduser.id": "u-17"}')
_OTEL = Peer(
    name="OpenTelemetry protobuf",
    package="opentelemetry-exporter-otlp-proto-http",
    imports=_OTEL_IMPORTS,
    construct=_OTEL_CONSTRUCT,
    track=f"""logger.emit(LogRecord(
    timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, event_name="timer.started",
    attributes={_OTEL_ATTRIBUTES}))""",
    flush="assert provider.force_flush(60_000)",
    opted_out=f'import os\nos.environ["OTEL_SDK_DISABLED"] = "true"\n{_OTEL_CONSTRUCT}',
    sync=_OTEL_CONSTRUCT.replace(
        "BatchLogRecordProcessor(exporter, max_queue_size=QUEUE)", "SimpleLogRecordProcessor(exporter)"
    ),
    gzip=_OTEL_CONSTRUCT.replace('/v1/logs")', '/v1/logs", compression=Compression("gzip"))'),
)
_OTEL_JSON_IMPORTS = """import time
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.exporter.otlp.common.http import Compression
from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter"""
_OTEL_JSON = replace(
    _OTEL,
    name="OpenTelemetry JSON",
    package="opentelemetry-exporter-otlp-json-http",
    imports=_OTEL_JSON_IMPORTS,
)

_POSTHOG = Peer(
    name="PostHog",
    package="posthog",
    imports="from posthog import Posthog",
    construct='client = Posthog("phc_x", host=URL, max_queue_size=QUEUE)',
    track=f'client.capture("timer.started", distinct_id="u-17", properties={PROPERTIES})',
    flush="client.flush()",
    opted_out='client = Posthog("phc_x", host=URL, disabled=True)',
    sync='client = Posthog("phc_x", host=URL, sync_mode=True)',
    gzip='client = Posthog("phc_x", host=URL, max_queue_size=QUEUE, gzip=True)',
)
_SEGMENT = Peer(
    name="Segment",
    package="segment-analytics-python",
    imports="from segment.analytics import Client",
    construct='client = Client("k", host=URL, max_queue_size=QUEUE)',
    track=f'client.track("u-17", "timer.started", {PROPERTIES})',
    flush="client.flush()",
    opted_out='client = Client("k", host=URL, send=False)',
    sync='client = Client("k", host=URL, sync_mode=True)',
    gzip='client = Client("k", host=URL, max_queue_size=QUEUE, gzip=True)',
)
_MIXPANEL = Peer(
    name="Mixpanel (buffered)",
    package="mixpanel",
    imports="from mixpanel import BufferedConsumer, Mixpanel",
    construct='consumer = BufferedConsumer(events_url=f"{URL}/track")\nclient = Mixpanel("k", consumer=consumer)',
    track=f'client.track("u-17", "timer.started", {PROPERTIES})',
    flush="consumer.flush()",
    sync='from mixpanel import Consumer\nclient = Mixpanel("k", consumer=Consumer(events_url=f"{URL}/track"))',
    blocks=True,
)
_AMPLITUDE = Peer(
    name="Amplitude",
    package="amplitude-analytics",
    imports="from amplitude import Amplitude, BaseEvent",
    construct='client = Amplitude("k")\nclient.configuration.server_url = f"{URL}/2/httpapi"',
    track=f'client.track(BaseEvent("timer.started", user_id="u-17", event_properties={PROPERTIES}))',
    # With fewer than a batch waiting there is no future to wait for; whoever measures asks the sink.
    flush="for future in client.flush():\n    future and future.result(60)",
    opted_out='client = Amplitude("k")\nclient.configuration.opt_out = True',
)
_SENTRY = Peer(
    name="Sentry logs",
    package="sentry-sdk",
    imports="import sentry_sdk",
    construct='sentry_sdk.init(URL.replace("//", "//k@") + "/1", enable_logs=True)',
    track=f'sentry_sdk.logger.info("timer.started", attributes={_OTEL_ATTRIBUTES.replace("enduser", "user")})',
    flush="sentry_sdk.flush(60)",
    opted_out="sentry_sdk.init(None, enable_logs=True)",
)
PEERS = (_OTEL, _OTEL_JSON, _POSTHOG, _SEGMENT, _MIXPANEL, _AMPLITUDE, _SENTRY)
ALL = (*OURS, *PEERS)
