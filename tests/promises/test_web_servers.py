"""The example apps on real servers, over real HTTP: every event arrives once, with its own user and request.

However many processes serve, they are one install; a reload and the kill of a worker lose nothing that a visitor was
answered.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sink_server import Reply, SinkServer, attributes
from web_servers import GUARD, Visitor, Visits, WebServer, agent_of, visiting, wait_until

from telemetry_sdk import Telemetry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")

GUNICORN = ["gunicorn", "--workers=4", "--worker-class=gthread", "--threads=2", "--bind=fd://{fd}"]
UVICORN = ["uvicorn", "--workers=2", "--no-access-log", "--fd={fd}"]
APPS = {
    "flask": [*GUNICORN, "flask_app:app"],
    "django": [*GUNICORN, "django_app:application"],
    "fastapi": [*UVICORN, "fastapi_app:app"],
}


class Site:
    """One example app on its server, with the sink it sends to."""

    def __init__(self, name: str, directory: Path, sink: SinkServer) -> None:
        self.name = name
        self.sink = sink
        self.directory = directory
        self.state_dir = directory / "state"
        self.as_json = name == "fastapi"
        variable = f"ACME_{name.upper()}_TELEMETRY"
        self.environ = {f"{variable}_ENDPOINT": sink.url, f"{variable}_DIR": str(self.state_dir)}

    def serve(self, *options: str) -> WebServer:
        *command, app = APPS[self.name]
        return WebServer([*command, *options, app], self.directory, self.environ)

    def agree(self, server: WebServer) -> None:
        """Say yes on /privacy, as the administrator."""
        visitor = Visitor(server.port, as_json=self.as_json)
        assert visitor.ask("POST", "/privacy", {"wish": "on"}) == (200, "analytics are on")
        visitor.close()

    def settle(self) -> list[dict[str, Any]]:
        """Deliver what the server had to keep, and return the attributes of all records, each once."""
        with contextlib.closing(
            Telemetry(
                f"acme-{self.name}",
                version="1.0.0",
                endpoint=self.sink.url,
                state_dir=self.state_dir,
                delivery="manual",
                strict=True,
            )
        ) as telemetry:
            assert telemetry.flush(GUARD).kept == 0
            ledger = telemetry.status().ledger
        assert ledger is not None
        assert (ledger["pending"], ledger["rejected"]) == (0, 0)
        assert ledger["accepted"] == ledger["delivered"]
        return list({it["log.record.uid"]: it for it in map(attributes, self.sink.accepted)}.values())


@pytest.fixture(params=list(APPS))
def site(request: pytest.FixtureRequest, tmp_path: Path, sink: SinkServer) -> Site:
    return Site(request.param, tmp_path, sink)


def check(records: list[dict[str, Any]], visits: Visits) -> None:
    """One install; each answered visit is there once, as that user's, with that user's browser and device."""
    names = Counter(it["event_name"] for it in records)
    assert len({it["install_id"] for it in records}) == 1
    base = ("base_telemetry.first_seen", "base_telemetry.heartbeat", "analytics.install")
    assert [names.pop(name) for name in base] == [1, 1, 1]
    assert set(names) == {"analytics.identify", "analytics.page_view", "timer.started"}
    events = [it for it in records if it["event_name"] in ("analytics.page_view", "timer.started")]
    for event in events:
        browser, device, _ = agent_of(int(event["identity"].removeprefix("u-")))
        assert (event["browser"], event["device"]) == (browser, device)
    started = [it for it in events if it["event_name"] == "timer.started"]
    viewed = [it for it in events if it["event_name"] == "analytics.page_view"]
    identified = {it["path"] for it in records if it["event_name"] == "analytics.identify"}
    assert identified == {"/timers", "/timers/{timer_id}"}
    assert {it["path"] for it in started} == {"/timers"}
    assert {it["path"] for it in viewed} == {"/timers/{timer_id}"}
    assert all(it["identity"] == f"u-{it['minutes']}" for it in started)
    for found, answered in ((started, visits.started), (viewed, visits.viewed)):
        users = Counter(int(it["identity"].removeprefix("u-")) for it in found)
        assert set(users.values()) == {1}
        assert answered <= set(users) <= answered | visits.failed, found[0]["event_name"]


def test_every_event_arrives_once_with_its_user(site: Site) -> None:
    """Four visitors at the same time on several processes: page views and events arrive once, and nothing is mixed."""
    preload = [] if site.name == "fastapi" else ["--preload"]
    with site.serve(*preload) as server:
        site.agree(server)
        with visiting(server, as_json=site.as_json) as more:
            visits = more(120)
        done = {"timer.started": len(visits.started), "analytics.page_view": len(visits.viewed)}
        site.sink.wait_for(lambda: all(site.sink.names.count(name) >= number for name, number in done.items()), GUARD)
        log = server.stop()
    records = site.settle()

    assert visits.failed == set()
    check(records, visits)
    assert len(site.sink.uids) == len(records), "a record was sent twice"
    sent = b"".join(request.body for request in site.sink.requests)
    assert b"s3cr3t" not in sent
    assert b"127.0.0.1" not in sent
    assert b"Gecko" not in sent
    assert "Traceback" not in log


def test_a_reload_and_a_killed_worker_lose_nothing(site: Site) -> None:
    """While visitors come, the workers are replaced and one is killed: whatever was answered arrives, once."""
    with site.serve() as server:
        site.agree(server)
        with visiting(server, as_json=site.as_json) as more:
            more(20)
            before = server.workers()
            server.signal(signal.SIGHUP)
            wait_until(lambda: server.workers() and not server.workers() & before, "new workers")
            more(20)
            victim = min(server.workers())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: victim not in server.workers() and len(server.workers()) == len(before), "a new worker")
            visits = more(20)
        server.stop()
    records = site.settle()

    check(records, visits)
    assert len(visits.started) >= 60


def test_do_not_track_holds(site: Site) -> None:
    """With DO_NOT_TRACK set the app serves, a yes changes nothing, and nothing is sent or kept."""
    site.environ["DO_NOT_TRACK"] = "1"
    with site.serve("--workers=1") as server:
        visitor = Visitor(server.port, as_json=site.as_json)
        assert visitor.ask("POST", "/privacy", {"wish": "on"}) == (200, "analytics are off")
        visitor.visit(7, visits := Visits())
        visitor.close()
        server.stop()

    assert visits.started == {7}
    assert site.sink.requests == []
    assert not site.state_dir.exists()


@pytest.mark.parametrize("site", ["fastapi"], indirect=True)
def test_visitors_do_not_wait_for_a_hanging_sink(site: Site) -> None:
    """While the sink does not answer, one process with one event loop answers every visitor; later all arrives."""
    released = threading.Event()
    site.sink.reply = Reply(hang=released)
    with site.serve("--workers=1") as server:
        site.agree(server)
        site.sink.wait_for(lambda: len(site.sink.requests) == 1, GUARD)
        with visiting(server, as_json=site.as_json) as more:
            visits = more(40)
        assert site.sink.accepted == []
        released.set()
        server.stop()
    records = site.settle()

    assert visits.failed == set()
    check(records, visits)
