"""Events of requests that run at the same time: each carries its own user and its own request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from sink_server import SinkServer, attributes

from telemetry_sdk import Outcome, Telemetry
from telemetry_sdk.analytics.request import ROUTE_KEY, AsgiRequest, RequestContext, WsgiRequest
from telemetry_sdk.model import Answer, InvalidEventError

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omega".split()  # noqa: SIM905


@pytest.fixture
def telemetry(make: Callable[..., Telemetry]) -> Iterator[Telemetry]:
    """A telemetry that may send everything, and sends it when it is flushed."""
    made = make(delivery="manual")
    made.opt_in()
    yield made
    made.identify_user(None)


@pytest.fixture
def events(telemetry: Telemetry, sink: SinkServer) -> Callable[[str], list[dict[str, Any]]]:
    """Deliver everything, and return the attributes of the events of a name, in order."""

    def delivered(name: str) -> list[dict[str, Any]]:
        report = telemetry.flush(60)
        assert (report.kept, report.rejected, report.dropped) == (0, 0, 0)
        return [attributes(record) for record in sink.accepted if record["eventName"] == name]

    return delivered


def test_events_carry_the_bound_request(telemetry, events):
    """Within the block every event carries path, browser and device; outside it, and when sent explicitly, none."""
    with telemetry.request_context(RequestContext("/notes/{id}", "Firefox", "desktop")):
        telemetry.track_event("timer.started", {"source": "web"})
        telemetry.identify_user("ada")
        telemetry.track_page_view("/other/{id}?q=1")
        telemetry.track_page_view(None)
        telemetry.send_analytics_event("timer.reset")
        telemetry.send_analytics_event("timer.reset", context={"path": "/given/<id>"})
    telemetry.track_event("timer.stopped")

    (started,) = events("timer.started")
    (identify,) = events("analytics.identify")
    view, bound_view = events("analytics.page_view")
    bound = ["path", "browser", "device"]
    assert [started[name] for name in bound] == ["/notes/{id}", "Firefox", "desktop"]
    assert [identify[name] for name in bound] == ["/notes/{id}", "Firefox", "desktop"]
    assert [view[name] for name in bound] == ["/other/{id}", "Firefox", "desktop"]
    assert [bound_view[name] for name in bound] == ["/notes/{id}", "Firefox", "desktop"]
    assert list(started)[-4:] == [*bound, "source"]
    bare, explicit = events("timer.reset")
    assert [name for name in bound if name in bare] == []
    assert explicit["path"] == "/given/{id}"
    assert bare["identity"] == bare["install_id"]
    (stopped,) = events("timer.stopped")
    assert [name for name in bound if name in stopped] == []


def test_a_user_bound_in_a_request_is_its_own(telemetry, events):
    """Whoever is identified in a request is the user of its events only; unbinding says so."""
    telemetry.identify_user("outer")
    with telemetry.request_context(path="/a"):
        telemetry.identify_user("ada")
        telemetry.track_event("timer.a")
        assert telemetry.identify_user(None).outcome is Outcome.SUPPRESSED
        telemetry.track_event("timer.b")
    telemetry.track_event("timer.c")
    telemetry.identify_user(None)

    found = {name: events(name)[0] for name in ("timer.a", "timer.b", "timer.c")}
    assert found["timer.a"]["identity"] == "ada"
    assert found["timer.b"]["identity"] == found["timer.b"]["install_id"]
    assert found["timer.c"]["identity"] == "outer"


def test_without_consent_no_request_is_looked_at(make):
    """Before the user agreed, neither headers nor route are read."""
    telemetry = make(delivery="manual")

    def never() -> RequestContext:
        raise AssertionError("asked without consent")

    with telemetry.request_context(never):
        assert telemetry.track_event("timer.started").outcome is Outcome.SUPPRESSED
        assert telemetry.track_page_view("/x").outcome is Outcome.SUPPRESSED


def test_an_impossible_context(make):
    """A context that is none raises under strict; otherwise the block runs, and its events carry none."""
    with pytest.raises(InvalidEventError):
        make(app="acme-strict").request_context(5)
    telemetry = make(strict=False)
    telemetry.opt_in()
    with telemetry.request_context(5):
        assert telemetry.track_event("timer.started")
    with telemetry.request_context(lambda: 1 / 0):
        assert telemetry.track_event("timer.started")


async def steps(telemetry: Telemetry, number: int, gate: asyncio.Event) -> None:
    """A request that identifies its user late, and whose events are interleaved with those of all others."""
    scope = {"path": f"/x/{number}", ROUTE_KEY: f"/{WORDS[number % len(WORDS)]}/<id>", "headers": []}
    with telemetry.request_context(AsgiRequest(scope)):
        telemetry.track_event("step.before", {"n": number})
        await gate.wait()
        telemetry.identify_user(f"u-{number}")
        for _ in range(number % 5):
            await asyncio.sleep(0)
        telemetry.track_event("step.first", {"n": number})
        inner = asyncio.create_task(in_a_task(telemetry, number))
        loop = asyncio.get_running_loop()
        context = copy_context()
        await loop.run_in_executor(None, lambda: context.run(telemetry.track_event, "step.executor", {"n": number}))
        await inner
    telemetry.track_event("step.after", {"n": number})


async def in_a_task(telemetry: Telemetry, number: int) -> None:
    await asyncio.sleep(0)
    telemetry.track_event("step.task", {"n": number})


def test_concurrent_tasks_never_mix(telemetry, events):
    """Two hundred interleaved requests in one event loop: each event has the user and the path of its own."""

    async def main() -> None:
        gate = asyncio.Event()
        tasks = [asyncio.create_task(steps(telemetry, number, gate)) for number in range(200)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())

    for name in ("step.first", "step.task", "step.executor"):
        found = events(name)
        assert sorted(event["n"] for event in found) == list(range(200))
        for event in found:
            assert event["identity"] == f"u-{event['n']}"
            assert event["path"] == f"/{WORDS[event['n'] % len(WORDS)]}/{{id}}"
    assert all(event["identity"] == event["install_id"] for event in events("step.before"))
    assert all(event["identity"] == event["install_id"] and "path" not in event for event in events("step.after"))


def test_concurrent_threads_never_mix(telemetry, events):
    """A pool whose threads take one request after the other: each event has the user and the path of its own."""
    together = threading.Barrier(6)

    def serve(number: int) -> None:
        environ = {"PATH_INFO": f"/x/{number}", ROUTE_KEY: f"/{WORDS[number % len(WORDS)]}/<id>"}
        with telemetry.request_context(WsgiRequest(environ)):
            telemetry.track_event("step.before", {"n": number})
            if number % 3:
                telemetry.identify_user(f"u-{number}")
            together.wait(60)
            telemetry.track_event("step.first", {"n": number})
            together.wait(60)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(serve, range(120)))

    found = events("step.first")
    assert sorted(event["n"] for event in found) == list(range(120))
    for event in found:
        assert event["identity"] == (f"u-{event['n']}" if event["n"] % 3 else event["install_id"])
        assert event["path"] == f"/{WORDS[event['n'] % len(WORDS)]}/{{id}}"
    assert all(event["identity"] == event["install_id"] for event in events("step.before"))


class Hanging:
    """A sender that hangs until it is released; it notes the thread, and whether anybody waited for it in vain."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()
        self.threads: set[int] = set()
        self.sent: list[bytes] = []
        self.in_vain = False

    def send(self, body: bytes, permit: Any, timeout: float) -> Answer:
        permit()
        self.threads.add(threading.get_ident())
        self.entered.set()
        self.in_vain = self.in_vain or not self.released.wait(10)
        self.sent.append(body)
        return Answer(200)

    def abandon(self) -> None: ...

    def close(self) -> None: ...


def test_a_hanging_sink_does_not_hold_up_an_event_loop(make):
    """In background mode no request to the sink is made in the loop's thread, and the loop goes on while one hangs."""
    sender = Hanging()
    telemetry = make(delivery="background", timeout=300.0, sender=sender)
    telemetry.opt_in()
    ticks = {"while hanging": 0}

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            ticks["while hanging"] += sender.entered.is_set() and not sender.released.is_set()

    async def request(number: int) -> bool:
        with telemetry.request_context(AsgiRequest({"path": f"/notes/{number}"})):
            telemetry.identify_user(f"u-{number}")
            await asyncio.sleep(0)
            return bool(telemetry.track_event("step.first", {"n": number}))

    async def main() -> list[bool]:
        ticking = asyncio.create_task(tick())
        while not sender.entered.is_set():
            await asyncio.sleep(0)
        accepted = await asyncio.gather(*(request(number) for number in range(100)))
        while ticks["while hanging"] < 1000:
            await asyncio.sleep(0)
        sender.released.set()
        ticking.cancel()
        return accepted

    assert all(asyncio.run(main()))
    assert telemetry.flush(60).kept == 0
    assert not sender.in_vain
    assert threading.get_ident() not in sender.threads
    assert b"".join(sender.sent).count(b"step.first ") == 100


@pytest.mark.parametrize(
    "call", ["track_event", "start", "send_base_heartbeat"], ids=lambda name: name.replace("_", " ")
)
def test_sync_mode_in_an_event_loop_warns_once(make, caplog, call):
    """A sync call within a running loop is made, and warned of once; neither other modes nor other threads are."""
    telemetry = make()
    telemetry.opt_in()
    calls = {"track_event": lambda: telemetry.track_event("timer.started"), "start": telemetry.start}
    made = calls.get(call, telemetry.send_base_heartbeat)

    async def main() -> None:
        await asyncio.to_thread(telemetry.track_event, "timer.started")
        make(app="acme-background", delivery="background").track_event("timer.started")
        assert caplog.records == []
        made()
        telemetry.track_event("timer.stopped")

    with caplog.at_level("WARNING", "telemetry_sdk"):
        asyncio.run(main())
        asyncio.run(main_again(telemetry))

    (record,) = caplog.records
    assert "within a running event loop" in record.getMessage()


async def main_again(telemetry: Telemetry) -> None:
    telemetry.track_event("timer.started")


@pytest.mark.parametrize(("waits", "warnings"), [({}, 1), ({"waits": True}, 1), ({"waits": False}, 0)], ids=str)
def test_a_sender_that_never_waits_is_not_warned_of(make, caplog, waits, warnings):
    """Only a sender that says it never waits is no danger to a loop; one that says nothing is taken to wait."""
    sender = type("Own", (Hanging,), waits)()
    sender.released.set()
    telemetry = make(sender=sender)

    async def main() -> None:
        telemetry.start()

    with caplog.at_level("WARNING", "telemetry_sdk"):
        asyncio.run(main())

    assert len(caplog.records) == warnings
