"""The pytest plugin, in test suites of a host that knows nothing of it: real runs, with a real sink that must get nothing.

The host makes its `Telemetry` where it is hardest to reach: at import, with its sink in code, started at once, and it
tracks once more when the process ends.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sink_server import SinkServer, attributes

BASE = ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
HOST = """
import atexit, os
from telemetry_sdk import Telemetry

telemetry = Telemetry("acme-notes", version="2.4.0", endpoint="{url}", delivery="background")
telemetry.start()
atexit.register(telemetry.track_event, "notes.closed")
atexit.register(telemetry.send_base_first_seen)

def create(words):
    telemetry.track_event("note.created", {{"words": words}}, user_id="u-17")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, sink: SinkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a test suite in a process of its own; nothing may reach the sink or stay on the disk unless *leaves*."""
    scratch, state = tmp_path / "scratch", tmp_path / "state"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    pytester.makepyfile(notes=HOST.format(url=sink.url))

    def run_suite(
        *arguments: str, leaves: bool = False, options: str = "-p no:cacheprovider -W error", **files: str
    ) -> Any:
        if files:
            pytester.makepyfile(**files)
        # Two other plugins take longer to load than all these tests to run.
        without = ["-p", "no:hypothesispytest", *([] if "-n" in arguments else ["-p", "no:xdist"])]
        result = pytester.runpytest_subprocess(*options.split(), "--strict-markers", *without, *arguments)
        if not leaves:
            assert sink.requests == []
            assert [*scratch.iterdir(), *tmp_path.glob("data*"), *tmp_path.glob("state*")] == []
        return result

    run_suite.state = state  # type: ignore[attr-defined]
    return run_suite


def passed(result: Any, count: int) -> None:
    result.assert_outcomes(passed=count)


SEEN = """
import notes

def test_what_a_note_sends(telemetry_sink):
    notes.telemetry.opt_in()
    telemetry_sink.clear()
    notes.create(120)
    assert telemetry_sink.only("note.created").properties == {"words": 120}
    assert telemetry_sink.only("note.created").identity == "u-17"
    assert telemetry_sink.names == ["note.created"]
    assert len(telemetry_sink.requests) == 1

def test_what_a_start_sends(telemetry_sink):
    notes.telemetry.start()
    assert telemetry_sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    assert telemetry_sink.events() == []

def test_nothing_is_seen_without_consent(telemetry_sink):
    notes.create(120)
    assert telemetry_sink.requests == []
    assert notes.telemetry.status().consent is None

def test_the_fixture_is_not_needed():
    notes.telemetry.start()
    notes.telemetry.opt_in()
    notes.create(1)
"""


def test_nothing_leaves_and_everything_is_seen(run: Any) -> None:
    """A host's tests see what would be sent; the real sink gets nothing and no file is left, at exit neither."""
    passed(run(test_notes=SEEN), 4)


IN_A_LOOP = """
import asyncio, notes

def test_no_call_waits(telemetry_sink, caplog):
    async def main():
        notes.telemetry.start()
        notes.telemetry.opt_in()
        notes.create(120)

    asyncio.run(main())
    assert telemetry_sink.only("note.created")
    assert caplog.records == []
"""


def test_a_test_in_an_event_loop_is_not_warned(run: Any) -> None:
    """A host that chose background mode is not told that it blocks its loop: what stands for its sink never waits."""
    passed(run(test_notes=IN_A_LOOP), 1)


FOR_THE_MODULE = """
import notes, pytest

@pytest.fixture(scope="module", autouse=True)
def agreed():
    notes.telemetry.opt_in()

def test_first():
    assert notes.telemetry.status().consent is True

def test_second():
    assert notes.telemetry.status().consent is None
"""


def test_a_modules_consent_holds_for_its_first_test(run: Any) -> None:
    """What a module-scoped fixture sets up is undone with the first test: each test starts afresh."""
    passed(run(test_notes=FOR_THE_MODULE), 2)


def test_the_host_may_be_imported_by_its_conftest(run: Any) -> None:
    """A program that is imported and used by conftest.py, long before the first test, is captured too."""
    conftest = "import notes\nnotes.telemetry.opt_in()\nnotes.create(1)\nnotes.telemetry.flush()"

    passed(run(conftest=conftest, test_notes=SEEN), 4)


def test_the_host_may_be_imported_before_the_plugin(run: Any, pytester: pytest.Pytester, sink: SinkServer) -> None:
    """An object made before pytest was even begun is captured from then on."""
    main = f"""
        import sys, pytest
        from telemetry_sdk import Telemetry
        early = Telemetry("acme-notes", version="2.4.0", endpoint="{sink.url}")
        sys.exit(pytest.main(["-p", "no:cacheprovider", "-q"]))
    """
    test = """
        import sys
        def test_early(telemetry_sink):
            sys.modules["__main__"].early.start()
            assert len(telemetry_sink.records) == 2
    """
    pytester.makepyfile(main=main, test_early=test)
    result = pytester.runpython("main.py")

    passed(result, 1)
    assert sink.requests == []


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_each_test_begins_afresh(run: Any, order: str) -> None:
    """No consent, record, user or state of one test is there in the next, whichever comes first."""
    test = """
        import notes
        def test_{}(telemetry_sink):
            assert notes.telemetry.status().consent is None
            notes.telemetry.opt_in()
            notes.telemetry.identify_user("u-1")
            notes.telemetry.track_event("note.opened")
            notes.telemetry.start()
            assert telemetry_sink.names[:3] == ["analytics.install", "analytics.identify", "note.opened"]
            assert len(telemetry_sink.records) == 5
        def test_{}(telemetry_sink):
            notes.telemetry.opt_in()
            notes.telemetry.track_event("note.opened")
            assert telemetry_sink.only("note.opened").identity != "u-1"
            notes.telemetry.start()
            assert len(telemetry_sink.records) == 4
    """
    passed(run(test_notes=test.format(*order)), 2)


def test_objects_of_session_fixtures_begin_each_test_afresh_too(run: Any) -> None:
    """An object that lives as long as the session is captured in each of its tests by the sink of that test."""
    conftest = """
        import pytest
        from telemetry_sdk import Telemetry
        @pytest.fixture(scope="session")
        def shared():
            with Telemetry("acme-shared", version="1", strict=True) as telemetry:
                yield telemetry
    """
    test = """
        import pytest
        @pytest.mark.parametrize("turn", range(3))
        def test_turn(turn, shared, telemetry_sink):
            telemetry_sink.clear()
            assert shared.send_base_first_seen() or turn == 0
            shared.opt_in()
            shared.track_event("turn.taken", {"turn": turn})
            assert telemetry_sink.only("turn.taken").properties == {"turn": turn}
    """
    passed(run(conftest=conftest, test_turns=test), 3)


def test_with_xdist(run: Any) -> None:
    """Spread over processes, each test sees its own records and nothing else."""
    test = (
        SEEN
        + """
import pytest
@pytest.mark.parametrize("n", range(12))
def test_many(n, telemetry_sink):
    notes.telemetry.opt_in()
    notes.create(n)
    assert telemetry_sink.only("note.created").properties == {"words": n}
"""
    )
    passed(run("-n", "2", test_notes=test), 16)


LIVE = """
import os, pytest, notes

def test_before(telemetry_sink):
    notes.telemetry.send_base_first_seen()
    assert telemetry_sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]

@pytest.mark.telemetry_live
def test_live():
    assert "TELEMETRY_SDK_DISABLED" not in os.environ
    assert notes.telemetry.send_base_heartbeat()
    assert notes.telemetry.flush()

def test_after(telemetry_sink):
    assert os.environ["TELEMETRY_SDK_DISABLED"]
    notes.telemetry.send_base_first_seen()
    assert telemetry_sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]

@pytest.mark.telemetry_live
def test_last():
    pass
"""
AFTERWARDS = "import notes\ndef pytest_sessionfinish(): notes.telemetry.send_base_first_seen(); notes.telemetry.flush()"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_marker_lets_one_test_through(
    run: Any, sink: SinkServer, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """A test marked ``telemetry_live`` really sends, from the program's own state; the others still do not."""
    monkeypatch.setenv("ACME_NOTES_TELEMETRY_DIR", str(run.state))
    passed(run("-n", workers, leaves=True, test_notes=LIVE, conftest=AFTERWARDS), 4)

    assert sink.names == ["base_telemetry.heartbeat"]
    assert (run.state / "installation.json").exists()


def test_a_live_test_obeys_the_developers_switches(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let through means as outside of the test run: a developer's DO_NOT_TRACK holds."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    test = """
        import notes, pytest
        @pytest.mark.telemetry_live
        def test_live():
            assert notes.telemetry.status().decided_by == "DO_NOT_TRACK"
    """
    passed(run(test_notes=test), 1)


def test_a_live_test_has_nothing_to_look_at(run: Any) -> None:
    """Asking for the sink in a live test fails with what to do about it."""
    test = "import pytest\n@pytest.mark.telemetry_live\ndef test_live(telemetry_sink): pass"
    result = run(test_notes=test)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*marked telemetry_live, so nothing of it is captured: take the marker or the fixture*")


@pytest.mark.parametrize(
    "variable", ["DO_NOT_TRACK", "TELEMETRY_SDK_DISABLED", "ACME_NOTES_TELEMETRY", "OTEL_SDK_DISABLED", "GRAFANA"]
)
def test_the_developers_environment_has_no_say(run: Any, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The same tests pass whatever off-switch, sink or directory is set where they are run."""
    value = {"ACME_NOTES_TELEMETRY": "off", "OTEL_SDK_DISABLED": "true"}.get(variable, "1")
    if variable == "GRAFANA":
        monkeypatch.setenv("GRAFANA_OTLP_ENDPOINT", "gopher://nowhere")
        monkeypatch.setenv("GRAFANA_OTLP_TOKEN", "\t")
        monkeypatch.setenv("ACME_NOTES_TELEMETRY_DIR", str(run.state))
    else:
        monkeypatch.setenv(variable, value)

    passed(run(test_notes=SEEN), 4)


def test_what_the_test_itself_sets_counts(run: Any) -> None:
    """A host can test what its program does under an off-switch, and with state in a directory it names."""
    test = """
        import notes
        def test_off(monkeypatch, telemetry_sink):
            monkeypatch.setenv("DO_NOT_TRACK", "1")
            notes.telemetry.start()
            assert notes.telemetry.status().level.name == "OFF"
            assert telemetry_sink.requests == []
        def test_base(monkeypatch, telemetry_sink):
            monkeypatch.setenv("ACME_NOTES_TELEMETRY", "base")
            notes.telemetry.opt_in()
            notes.create(1)
            assert telemetry_sink.events() == []
        def test_on():
            assert notes.telemetry.status().level.name == "BASE"
    """
    passed(run(test_notes=test), 3)


def test_state_below_tmp_path_stays_where_the_test_puts_it(run: Any) -> None:
    """A test may look at the files of a program that it gives a directory of its own, and start that program twice."""
    test = """
        from telemetry_sdk import Telemetry
        def make(directory):
            return Telemetry("acme-own", version="1", endpoint="http://127.0.0.1:9", state_dir=directory)
        def test_restart(tmp_path, telemetry_sink):
            with make(tmp_path / "state"):
                pass
            with make(tmp_path / "state") as telemetry:
                assert telemetry.status().state_dir == str(tmp_path / "state")
            assert (tmp_path / "state" / "installation.json").exists()
            assert telemetry_sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
        def test_other(tmp_path, telemetry_sink):
            with make("/nowhere/to/write") as telemetry:
                assert "/nowhere" not in telemetry.status().state_dir
            with make("/nowhere/to/write"):
                assert len(telemetry_sink.records) == 2
    """
    passed(run("--basetemp", "base", test_own=test), 2)


def test_the_clock_of_every_object(run: Any) -> None:
    """A test that asks for the clock moves the time of the whole program, for itself only."""
    test = """
        import notes
        from datetime import UTC, datetime
        def test_days(telemetry_clock, telemetry_sink):
            telemetry_clock.set(datetime(2030, 12, 31, 23, 59, tzinfo=UTC))
            assert notes.telemetry.heartbeat_if_due()
            assert not notes.telemetry.heartbeat_if_due()
            telemetry_clock.move(minutes=1)
            assert notes.telemetry.heartbeat_if_due()
            assert [r.occurred_at.isoformat() for r in telemetry_sink.records] == [
                "2030-12-31T23:59:00+00:00", "2031-01-01T00:00:00+00:00"]
        def test_now(telemetry_sink):
            notes.telemetry.heartbeat_if_due()
            assert abs(datetime.now(UTC) - telemetry_sink.records[0].occurred_at).days == 0
    """
    passed(run(test_notes=test), 2)


def test_a_failure_shows_what_was_sent(run: Any) -> None:
    """A failing assertion names the events that were sent, and the property that differs."""
    test = """
        import notes
        def test_names(telemetry_sink):
            notes.telemetry.opt_in()
            notes.create(120)
            assert telemetry_sink.names == ["note.created"]
        def test_properties(telemetry_sink):
            notes.telemetry.opt_in()
            notes.create(120)
            assert telemetry_sink.only("note.created").properties == {"words": 121}
        def test_missing(telemetry_sink):
            notes.telemetry.opt_in()
            telemetry_sink.only("note.created")
    """
    result = run(test_notes=test)

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "telemetry_sink = <MemorySink: analytics.install, note.created>",
            "*At index 0 diff: 'analytics.install' != 'note.created'",
            "*{'words': 120} != {'words': 121}*",
            "*AssertionError: note.created was sent 0 times, not once; sent were: ?'analytics.install'?",
        ]
    )


CHILD = """
import subprocess, sys
def test_child():
    program = "import notes; notes.telemetry.opt_in(); notes.create(1); print(notes.telemetry.status().decided_by)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "TELEMETRY_SDK_DISABLED\\n"
"""


def test_child_processes_are_silent(run: Any) -> None:
    """A child process that inherits the environment sends and stores nothing."""
    passed(run(test_child=CHILD), 1)


def test_a_child_process_can_be_looked_at(run: Any) -> None:
    """With the switch taken back, a file for a sink and a directory of its own, a child shows what it sends."""
    test = """
        import os, subprocess, sys
        from telemetry_sdk.testing import read_records
        def test_child(tmp_path):
            file = tmp_path / "sent.jsonl"
            environ = {**os.environ, "TELEMETRY_SDK_DISABLED": "", "ACME_CLI_TELEMETRY_ENDPOINT": file.as_uri(),
                       "ACME_CLI_TELEMETRY_DIR": str(tmp_path / "state")}
            program = "from telemetry_sdk import Telemetry\\nwith Telemetry('acme-cli', version='1'): pass"
            subprocess.run([sys.executable, "-c", program], env=environ, check=True)
            names = [record.name for line in file.read_bytes().splitlines() for record in read_records(line)]
            assert names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    """
    passed(run(test_child=test), 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_captured(run: Any) -> None:
    """A child made by fork goes on sending to memory, and leaves the parent's files alone."""
    test = """
        import os, notes
        def test_fork(telemetry_sink):
            notes.telemetry.opt_in()
            pid = os.fork()
            if pid == 0:
                receipt = notes.telemetry.track_event("note.created")
                os._exit(0 if receipt and telemetry_sink.names[-1] == "note.created" else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert telemetry_sink.names == ["analytics.install"]
            notes.create(1)
            assert telemetry_sink.names == ["analytics.install", "note.created"]
    """
    passed(run(test_notes=test, options="-p no:cacheprovider"), 1)


def test_turned_off_for_a_run(run: Any, sink: SinkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-p no:telemetry_sdk`` is as if the plugin were not installed."""
    monkeypatch.setenv("ACME_NOTES_TELEMETRY_DIR", str(run.state))
    test = """
        import os, notes
        def test_real():
            assert "TELEMETRY_SDK_DISABLED" not in os.environ
            notes.telemetry.flush()
    """
    passed(run("-p", "no:telemetry_sdk", leaves=True, test_notes=test), 1)

    assert {attributes(record)["event_name"] for record in sink.accepted} == set(BASE)


@pytest.mark.parametrize("named", ["telemetry_sdk", "telemetry_sdk.testing.plugin"])
def test_turned_on_by_name(run: Any, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """Where pytest is told to load no plugins by itself, naming this one is enough."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    passed(run("-p", named, test_notes=SEEN), 4)


def test_loaded_by_a_conftest(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded as late as by a conftest.py, it captures every test all the same."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    passed(run(conftest='pytest_plugins = ["telemetry_sdk.testing.plugin"]', test_notes=SEEN), 4)


def test_a_run_within_a_run(run: Any) -> None:
    """A test that runs pytest in its own process is still captured when that run has ended."""
    test = """
        import os, notes
        pytest_plugins = ["pytester"]
        def test_inner(pytester, telemetry_sink):
            pytester.makepyfile("import notes\\ndef test_it(telemetry_sink):\\n"
                                "    notes.telemetry.start(); assert len(telemetry_sink.records) == 2")
            pytester.runpytest_inprocess("-q").assert_outcomes(passed=1)
            assert os.environ["TELEMETRY_SDK_DISABLED"]
            notes.telemetry.send_base_first_seen()
            assert telemetry_sink.names == ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
    """
    passed(
        run(conftest='pytest_plugins = ["pytester"]', test_notes=test.replace('pytest_plugins = ["pytester"]', "")), 1
    )


def test_the_process_stays_silent_after_the_run(run: Any, pytester: pytest.Pytester, sink: SinkServer) -> None:
    """A program that runs its tests itself sends nothing afterwards either, and its environment is as it was."""
    main = """
        import os, pytest
        before = dict(os.environ)
        assert pytest.main(["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-q", "test_notes.py"]) == 0
        import notes
        assert "TELEMETRY_SDK_DISABLED" not in os.environ
        assert not notes.telemetry.send_base_first_seen()
        assert notes.telemetry.status().level.name == "OFF"
        print("silent")
    """
    pytester.makepyfile(main=main, test_notes=SEEN)
    result = pytester.runpython("main.py")

    result.stdout.fnmatch_lines(["*4 passed*", "silent"])
    assert sink.requests == []


def test_an_object_made_for_the_test_is_left_alone(run: Any) -> None:
    """`capture` works under the plugin as without it, and what it captures is its own."""
    test = """
        from telemetry_sdk.testing import capture
        def test_both(telemetry_sink):
            with capture(delivery="manual") as captured:
                assert captured.telemetry.track_event("timer.started")
                assert captured.sink.requests == []
                captured.telemetry.flush()
                assert captured.sink.names == ["timer.started"]
            assert telemetry_sink.requests == []
    """
    passed(run(test_both=test), 1)


def test_what_the_plugin_shows(run: Any) -> None:
    """The marker and the fixtures are described where pytest lists them."""
    run("--markers").stdout.fnmatch_lines("@pytest.mark.telemetry_live: telemetry of this test really leaves*")
    run("--fixtures").stdout.fnmatch_lines_random(["telemetry_sink -- *", "telemetry_clock -- *"])
