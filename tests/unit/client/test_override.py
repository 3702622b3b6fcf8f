"""A test run can have every `Telemetry` of its process work by another setup; nobody else is affected by that."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from sink_server import Reply, SinkServer

from telemetry_sdk import Outcome
from telemetry_sdk.client import override
from telemetry_sdk.sender.endpoint import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def other() -> Iterator[SinkServer]:
    """Another sink than the one objects are made for."""
    server = SinkServer()
    yield server
    server.stop()


@pytest.fixture
def redirected(other: SinkServer, tmp_path: Path) -> Iterator[Callable[[override.Setup], override.Setup]]:
    """A redirection to the other sink and another directory; undone after the test."""

    def elsewhere(mine: override.Setup) -> override.Setup:
        def find_sink(environ: Any) -> Any:
            settings = mine.find_sink(environ)
            return settings._replace(sink=Sink(f"{other.url}/v1/logs", settings.sink.host, settings.sink.headers))

        return mine._replace(find_sink=find_sink, state_dir=tmp_path / "elsewhere")

    yield elsewhere
    override.redirect(None)


def test_without_a_redirection_nothing_is_changed(make: Any) -> None:
    """Outside of test runs an object works by its own setup."""
    seen: list[Any] = []
    override.redirect(lambda mine: seen.append(mine) or mine)
    make()
    override.redirect(None)
    mine = seen[0]

    assert override.current(mine) is mine


def test_what_an_object_holds_shows_no_token(make: Any) -> None:
    """Whoever shows the variables of a failed call, as text or unfolded, shows no token."""
    telemetry = make(token="Bearer top-secret")
    (sink,) = {id(held.sink): held.sink for held in vars(telemetry).values() if hasattr(held, "sink")}.values()

    assert "secret" not in repr([sink, vars(telemetry)])
    assert not isinstance(sink, tuple)


def test_objects_made_before_and_after_are_redirected(make: Any, redirected: Any, sink: Any, other: Any) -> None:
    """From the call on every object of the process works by the other setup, whenever it was made."""
    before = make()
    assert before.send_base_first_seen().outcome is Outcome.DELIVERED

    assert override.redirect(redirected) is None
    before.opt_in()
    after = make(app="acme-other")
    after.send_base_first_seen()

    assert other.names == ["analytics.install", "base_telemetry.first_seen", "base_telemetry.heartbeat"]
    assert sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    assert before.status().state_dir.endswith("elsewhere")


def test_undone_every_object_works_by_its_own_wiring_again(make: Any, redirected: Any, sink: Any, other: Any) -> None:
    """A redirection that ends leaves no trace: the object goes on where it was, with its own state."""
    telemetry = make()
    telemetry.send_base_first_seen()
    override.redirect(redirected)
    telemetry.opt_in()

    assert override.redirect(None) is redirected
    assert telemetry.send_base_first_seen().outcome is Outcome.SUPPRESSED
    assert not telemetry.is_detailed_analytics_enabled()
    assert sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    assert other.names == ["analytics.install"]


@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_what_waited_stays_where_it_was(make: Any, redirected: Any, sink: Any, other: Any, mode: str) -> None:
    """Records that wait are neither sent nor taken along by a redirection, and leave when it ends."""
    sink.reply = Reply(503)
    telemetry = make(delivery=mode)
    telemetry.start()
    if mode != "manual":
        sink.wait_for(lambda: sink.requests)
    attempts = len(sink.requests)

    override.redirect(redirected)
    telemetry.flush()
    assert (len(sink.requests), other.requests) == (attempts, [])

    override.redirect(None)
    sink.reply = Reply()
    assert telemetry.flush()
    assert sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]


def test_no_user_stays_bound(make: Any, redirected: Any, other: Any) -> None:
    """The user bound before a redirection is not the user after it."""
    telemetry = make()
    telemetry.opt_in()
    telemetry.identify_user("u-17")

    override.redirect(redirected)
    telemetry.opt_in()
    telemetry.track_event("timer.started")

    assert "u-17" not in str(other.accepted)


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("telemetry-sdk")]


def test_no_thread_is_left_behind(make: Any, redirected: Any) -> None:
    """An object's threads end with the setup they worked by."""
    telemetry = make(delivery="background")
    telemetry.start()
    assert our_threads()

    override.redirect(redirected)

    assert our_threads() == []


def test_an_object_is_not_kept_alive(make: Any, tmp_path: Path) -> None:
    """Being watched does not keep an object that nobody holds any more."""
    from telemetry_sdk import Telemetry

    forgotten = weakref.ref(Telemetry("acme-notes", version="1", state_dir=tmp_path / "state"))
    gc.collect()

    assert forgotten() is None
