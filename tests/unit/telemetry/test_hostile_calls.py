"""Whatever a host passes to a public method, nothing escapes, the answer has its type, and what leaves is valid OTLP."""

from __future__ import annotations

import enum
import inspect
import io
import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.json_format import Parse
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from profiles import examples

from telemetry_sdk import Telemetry
from telemetry_sdk.analytics.scope import RequestScope
from telemetry_sdk.client import override
from telemetry_sdk.model import Answer, ConfigError, FlushReport, Outcome, Receipt, SentRequest, Status

RESULTS: dict[str, Any] = {
    "start": type(None),
    "close": type(None),
    "send_base_first_seen": Receipt,
    "send_base_heartbeat": Receipt,
    "heartbeat_if_due": Receipt,
    "send_analytics_event": Receipt,
    "track_event": Receipt,
    "track_page_view": Receipt,
    "identify_user": Receipt,
    "request_context": RequestScope,
    "opt_in": Receipt,
    "check_and_send_telemetry": Receipt,
    "is_detailed_analytics_enabled": bool,
    "opt_out": bool,
    "flush": FlushReport,
    "status": Status,
    "sent_log": list,
}
METHODS = sorted(name for name, found in inspect.getmembers(Telemetry, inspect.isfunction) if not name.startswith("_"))


class Spite:
    """Hostile objects are hostile only while our code looks at them, for hypothesis and pytest look at them too."""

    active = False

    def __enter__(self) -> None:
        Spite.active = True

    def __exit__(self, *_: object) -> None:
        Spite.active = False


DUNDERS = [
    "str", "repr", "hash", "eq", "ne", "len", "iter", "bool", "getitem", "contains", "call", "int", "float", "index",
    "format", "fspath", "lt", "le", "gt", "ge", "add", "radd", "next", "enter", "exit", "bytes", "reduce_ex", "dir",
    "sizeof", "round", "instancecheck", "mod", "rmod", "or", "ror", "and", "max", "min",
]  # fmt: skip
WORDS = [
    "items", "keys", "values", "get", "encode", "decode", "lower", "upper", "strip", "split", "partition", "isoformat",
    "name", "value", "hex", "copy", "startswith", "isascii", "isdecimal", "join", "replace", "is_finite", "utcoffset",
]  # fmt: skip
ERRORS = [RuntimeError, ValueError, TypeError, RecursionError, MemoryError, StopIteration, UnicodeError, OSError]


def hostile_class(kind: type, error: type[Exception], members: list[str]) -> type:
    """Return a subclass of *kind* of which every overridable member raises *error*."""
    made: dict[str, Any] = {}

    def raising(name: str) -> Any:
        def member(self: Any, *arguments: Any, **options: Any) -> Any:
            if Spite.active:
                raise error(f"{name} was called")
            return getattr(super(cls, self), name)(*arguments, **options)

        return member

    for name in members:
        if kind is object or hasattr(kind, name):
            made[name] = raising(name)
    cls = type(f"Hostile{kind.__name__}", (kind,), made)
    return cls


class Closed:
    """Whose attributes cannot even be asked for."""

    def __getattribute__(self, name: str) -> Any:
        if Spite.active:
            raise RuntimeError(name)
        return object.__getattribute__(self, name)


class Endless:
    """Never ends, whoever asks: every attribute, item and call is another one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not Spite.active:
            raise AttributeError(name)
        return Endless()

    def __call__(self, *_: object, **__: object) -> Any:
        return Endless()


class Unending(Mapping[str, object]):
    """A mapping whose items never end."""

    def __getitem__(self, key: str) -> object:
        return self

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[str]:
        return (f"p{number}" for number in itertools.count()) if Spite.active else iter(())


class Claims:
    """Says that it is of another class."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    @property
    def __class__(self) -> Any:
        return self.kind if Spite.active else Claims


class Shade(str, enum.Enum):
    DARK = "dark"

    @property
    def value(self) -> Any:
        if Spite.active:
            raise RuntimeError("value")
        return "dark"


MEMBERS = [f"__{name}__" for name in DUNDERS] + WORDS
CLASSES = [
    hostile_class(kind, error, MEMBERS) for kind in (object, str, int, float, dict, list, tuple) for error in ERRORS
]
PLAIN_START = {str: "timer.started", int: 7, float: 0.5, dict: {"a": 1}, list: [1], tuple: (1,)}


def instance(cls: type) -> Any:
    """Return an instance; one of a hashable kind, too, is made while nothing is hostile."""
    base = cls.__mro__[1]
    return cls(PLAIN_START[base]) if base in PLAIN_START else cls()


def cyclic() -> Any:
    inside: dict[Any, Any] = {"a": []}
    inside["a"].append(inside)
    inside["self"] = inside
    return inside


def deep(levels: int) -> Any:
    found: Any = "x"
    for _ in range(levels):
        found = {"a": [found]}
    return found


LIARS = st.one_of(
    st.sampled_from(CLASSES).map(instance),
    st.sampled_from([Closed, Endless, Unending]).map(lambda kind: kind()),
    st.sampled_from([str, int, dict, list, float, UUID, enum.Enum, type(None), bool]).map(Claims),
)
WRONG = st.one_of(
    st.just(None).map(lambda _: cyclic()),
    st.sampled_from([10, 900, 5000]).map(deep),
    st.sampled_from([Shade.DARK, math.nan, math.inf, -math.inf, -(10**400), 1e308, 2**63, True, object()]),
    st.just(5000).map((10).__pow__),  # whose text Python refuses to make
    st.sampled_from([Telemetry, abs, len, math, ..., NotImplemented, type, Exception("x"), b"bytes", bytearray(3)]),
    st.sampled_from(
        ["x" * 200_000, "\ud800", "\0", "a.b", "a" * 300, "", " ", "base_telemetry.first_seen", "é.é", "%s{}"]
    ),
    st.text(st.characters(), max_size=20),
    st.integers() | st.floats() | st.none() | st.binary(max_size=9) | st.complex_numbers(),
    st.just(None).map(lambda _: (n for n in range(3))),
)
OBJECTS = LIARS | WRONG
KEYS = st.text(st.characters(), max_size=9) | st.sampled_from(["a", "b.c", "install_id", "email", "\ud800"]) | OBJECTS


def as_dict(pairs: list[tuple[Any, Any]]) -> Any:
    found = {}
    for key, value in pairs:
        try:
            found[key] = value
        except TypeError:
            found["unhashable"] = value
    return found


VALUES = st.recursive(
    OBJECTS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(KEYS, inner), max_size=4).map(as_dict),
    max_leaves=8,
)
NAMES = st.just("timer.started") | OBJECTS
ARGUMENTS = {
    "name": NAMES,
    "path": st.just("/notes?x=1") | OBJECTS,
    "properties": st.lists(st.tuples(KEYS, VALUES), max_size=5).map(as_dict) | OBJECTS,
    "context": st.dictionaries(st.sampled_from(["path", "browser", "device", "other"]), OBJECTS, max_size=4) | OBJECTS,
}


class Collecting:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.ahead_ns = 0

    def clock(self) -> int:
        return time.time_ns() + self.ahead_ns

    def send(self, body: bytes, permit: Any, timeout: float) -> Answer:
        permit()
        self.bodies.append(body)
        return Answer(200)

    def abandon(self) -> None: ...

    def close(self) -> None: ...


@st.composite
def calls(draw: Any) -> tuple[str, dict[str, Any]]:
    """A method and hostile arguments for some of its parameters."""
    name = draw(st.sampled_from(METHODS))
    parameters = list(inspect.signature(getattr(Telemetry, name)).parameters.values())[1:]
    given_ = {}
    for parameter in parameters:
        if parameter.default is parameter.empty or draw(st.booleans()):
            given_[parameter.name] = draw(ARGUMENTS.get(parameter.name, VALUES))
    return name, given_


@pytest.fixture(scope="module")
def host():
    """One telemetry for all examples: damage done by one call must not show in a later one either."""
    with tempfile.TemporaryDirectory() as directory:
        sender: Any = Collecting()
        with override.supplied(environ={}, sender=sender, clock=sender.clock):
            telemetry = Telemetry(
                "acme-notes", version="2.4.0", endpoint="http://127.0.0.1:9", state_dir=Path(directory),
                delivery="manual",
            )  # fmt: skip
        telemetry.start()
        yield telemetry, sender
        telemetry.close(0)


def valid(body: bytes) -> ExportLogsServiceRequest:
    return Parse(body, ExportLogsServiceRequest(), ignore_unknown_fields=False)


@pytest.mark.timeout(300)
@given(made=st.lists(calls(), min_size=1, max_size=4))
@example(made=[("track_event", {"name": "timer.started", "properties": cyclic(), "user_id": Closed()})])
@example(made=[("track_event", {"name": "timer.started", "properties": Unending()})])
@example(made=[("identify_user", {"user_id": "u-17", "properties": Unending()})])
@example(made=[("send_analytics_event", {"name": "timer.started", "context": Unending()})])
@example(made=[("flush", {"timeout": math.inf}), ("flush", {"timeout": math.nan}), ("close", {"timeout": math.nan})])
@examples(400, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nothing_escapes(host: Any, made: list[tuple[str, dict[str, Any]]]) -> None:
    """No public method lets an exception out or prints, each returns its type, and all that leaves is strictly valid."""
    telemetry, sender = host
    telemetry.identify_user(None)
    telemetry.opt_in()
    sender.bodies.clear()
    out, err = io.StringIO(), io.StringIO()
    results = []
    with redirect_stdout(out), redirect_stderr(err), Spite():
        for name, arguments in made:
            results.append((name, getattr(telemetry, name)(**arguments)))
            if isinstance(results[-1][1], RequestScope):
                with results[-1][1]:
                    results.append(("track_event", telemetry.track_event("timer.reset")))
    accepted = [r.uid for _, r in results if isinstance(r, Receipt) and r.outcome is Outcome.QUEUED]
    kept = telemetry.is_detailed_analytics_enabled() and not any(
        name in ("forget", "reset_install_id") for name, _ in made
    )
    if any(name == "forget" for name, _ in made):
        telemetry.flush()
        sender.ahead_ns += 86_400 * 10**9  # no new id is made beside the request to delete the old one
    telemetry.opt_in()
    again = telemetry.track_event("timer.stopped", {"n": 1})
    report = telemetry.flush()

    assert (out.getvalue(), err.getvalue()) == ("", "")
    for name, result in results:
        assert type(result) is RESULTS.get(name, type(result)), name
        if isinstance(result, Receipt):
            assert result.outcome in Outcome
            assert isinstance(result.reason, str)
            assert result.uid is None or UUID(result.uid)
        if isinstance(result, list):
            assert all(isinstance(request, SentRequest) for request in result)
    assert again
    assert report.kept == 0
    sent = b"".join(sender.bodies)
    assert again.uid.encode() in sent
    opted_out = any(name == "opt_out" for name, _ in made)
    assert not kept or opted_out or all(uid.encode() in sent for uid in accepted)
    for body in sender.bodies:
        valid(body)


CONSTRUCTOR = [
    name for name in inspect.signature(Telemetry).parameters
    if name not in ("environ", "clock", "new_id", "draw", "sender", "strict")
]  # fmt: skip


@pytest.mark.timeout(300)
@given(name=st.sampled_from(CONSTRUCTOR), value=WRONG)
@examples(400, derandomize=True, suppress_health_check=list(HealthCheck))
def test_an_impossible_setting_is_a_config_error(name: str, value: Any) -> None:
    """A wrong argument of the constructor is taken, or refused by ConfigError and nothing else."""
    arguments: dict[str, Any] = {
        "app": "acme-notes", "version": "2.4.0", "endpoint": "http://127.0.0.1:9", "delivery": "manual",
        "state_dir": "/nonexistent/telemetry",
    } | {name: value}  # fmt: skip
    if name == "state_dir" and isinstance(value, str):
        return  # any text names a directory
    with Spite(), override.supplied(environ={}):
        try:
            made = Telemetry(**arguments)
        except ConfigError as error:
            Spite.active = False
            assert str(error)
            return
    assert made.status() is not None
