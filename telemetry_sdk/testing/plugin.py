"""The pytest plugin. It is there once the package is installed, and holds for every test without a word from it.

Nothing any `Telemetry` of the process does leaves the test run: it goes to a `MemorySink`, and state to a temporary
directory, both anew for each test; see `stage`.

    telemetry_sink                 fixture: the `MemorySink` of this test
    telemetry_clock                fixture: a `FakeClock` that every `Telemetry` goes by in this test
    @pytest.mark.telemetry_live    lets this test through to the real sink, state and environment
    -p no:telemetry_sdk            turns the plugin off for a run
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import pytest

from telemetry_sdk.testing.stage import FakeClock, MemorySink, Stage

if TYPE_CHECKING:
    from collections.abc import Generator

    import pluggy

# Looked at before any plugin or conftest of the host sets a variable for its tests, which then counts.
_OUTSIDE: Final = dict(os.environ)
_LIVE: Final = "telemetry_live"
_stage: Final = pytest.StashKey[Stage]()
_captured: Final = pytest.StashKey[contextlib.ExitStack]()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Step in before the host's conftest files are imported, and the program with them."""
    _step_in(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known; step in here where the plugin was loaded too late for the hook above."""
    _step_in(config)
    config.addinivalue_line("markers", f"{_LIVE}: telemetry of this test really leaves; nothing is captured")


def _step_in(config: pytest.Config) -> None:
    if _stage not in config.stash:
        stage = config.stash[_stage] = Stage(_OUTSIDE)
        stage.enter()
        config.add_cleanup(lambda: stage.leave(silent=True))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin a test with nothing sent and no state, or let the world through."""
    stage = item.config.stash[_stage]
    live = item.stash[_captured] = contextlib.ExitStack()
    if item.get_closest_marker(_LIVE) is None:
        stage.renew()
    else:
        live.enter_context(stage.let_through())


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Step in again after a test that let the world through."""
    yield
    item.stash[_captured].close()


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, pluggy.Result[Any], None]:
    """Leave state that the host's tests keep below ``tmp_path`` where they keep it."""
    outcome = yield
    if fixturedef.argname == "tmp_path_factory":
        request.config.stash[_stage].kept.append(outcome.get_result().getbasetemp())


@pytest.fixture
def telemetry_sink(request: pytest.FixtureRequest) -> MemorySink:
    """What every Telemetry of this process sent, or would have sent, in this test."""
    return _stage_of(request).sink


@pytest.fixture
def telemetry_clock(request: pytest.FixtureRequest) -> FakeClock:
    """The clock that every Telemetry of this process goes by in this test."""
    clock = _stage_of(request).clock = FakeClock()
    return clock


def _stage_of(request: pytest.FixtureRequest) -> Stage:
    if request.node.get_closest_marker(_LIVE) is not None:
        pytest.fail(f"the test is marked {_LIVE}, so nothing of it is captured: take the marker or the fixture away")
    return request.config.stash[_stage]
