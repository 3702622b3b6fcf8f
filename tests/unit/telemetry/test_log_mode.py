"""``<APP>_TELEMETRY=log``: the same road to standard error; nothing is sent, nothing is stored."""

from __future__ import annotations

import json

import pytest
from process_tools import Program

SOURCE = """
with make() as telemetry:
    say(telemetry.opt_in().outcome.name, telemetry.is_detailed_analytics_enabled())
    receipt = telemetry.track_event("timer.started", {"source": "cli"}, user_id=42)
    say(receipt.outcome.name, telemetry.status().sink, telemetry.status().durable)
    say(telemetry.send_base_heartbeat().outcome.name)
    telemetry.flush()
    say(len(telemetry.sent_log()))
"""


def shown(stderr: str) -> list[dict]:
    """The records in the lines of standard error, each of which is a request body."""
    bodies = [json.loads(line) for line in stderr.splitlines()]
    return [
        record
        for body in bodies
        for resource in body["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def run(source, tmp_path, sink, mode, **environ):
    environ = {"ACME_NOTES_TELEMETRY": "log", **environ}
    settings = {"state_dir": tmp_path / "state", "delivery": mode, "exit_timeout": 20}
    program = Program(source, tmp_path, environ=environ, **settings, **({"endpoint": sink.url} if sink else {}))
    out, err = program.process.communicate(timeout=60)
    assert program.process.returncode == 0, err
    return out.split(), err


@pytest.mark.parametrize("mode", ["sync", "background"])
@pytest.mark.parametrize("has_sink", [True, False], ids=["sink", "no sink"])
def test_records_are_shown_and_neither_sent_nor_stored(tmp_path, sink, mode, has_sink):
    """Every record is one line of OTLP JSON on standard error; no request is made and no file."""
    out, err = run(SOURCE, tmp_path, sink if has_sink else None, mode)

    records = shown(err)
    assert [record["eventName"] for record in records] == [
        "base_telemetry.first_seen",
        "base_telemetry.heartbeat",
        "analytics.install",
        "timer.started",
    ]
    assert out[:2] == ["SUPPRESSED", "True"]
    assert out[2:5] == ["SUPPRESSED", "stderr", "False"]
    assert out[5] == "SUPPRESSED"
    assert sink.requests == []
    assert not (tmp_path / "state").exists()


def test_without_consent_only_the_base_layer_is_shown(tmp_path, sink):
    """The stored decision decides what is shown, as it decides what is sent."""
    source = "with make() as telemetry:\n    say(telemetry.track_event('timer.started').outcome.name)"
    out, err = run(source, tmp_path, sink, "sync")

    assert out == ["SUPPRESSED"]
    assert {record["eventName"].split(".")[0] for record in shown(err)} == {"base_telemetry"}


def test_a_stored_consent_and_id_are_used_and_left_alone(tmp_path, make, sink, state_dir):
    """With state there, its id and consent are shown; the files stay as they were, what waits there too."""
    telemetry = make(delivery="manual")
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    pending, install_id = telemetry.status().ledger["pending"], telemetry.status().install_id
    telemetry.close()
    before = {path.name: path.read_bytes() for path in state_dir.iterdir() if path.suffix == ".json"}

    source = "telemetry = make()\ntelemetry.track_event('timer.stopped')\ntelemetry.close()"
    _, err = run(source, tmp_path, sink, "sync")

    (record,) = shown(err)
    assert record["eventName"] == "timer.stopped"
    assert install_id in json.dumps(record)
    assert sink.requests == []
    assert {path.name: path.read_bytes() for path in state_dir.iterdir() if path.suffix == ".json"} == before
    assert make().status().ledger["pending"] == pending


def test_a_no_outlasts_the_log(tmp_path, make, sink, state_dir):
    """Whoever opts out while records are logged has opted out for good, and what waited is destroyed."""
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    telemetry.close()

    out, _ = run("say(make().opt_out())", tmp_path, sink, "sync")

    assert out == ["True"]
    assert make().status().consent is False
    assert make().flush(5).delivered == 0
    assert sink.requests == []


def test_the_switch_counts_from_call_to_call(make, sink, capsys):
    """Set in a running program it turns sending into showing, and back."""
    environ: dict[str, str] = {}
    telemetry = make(environ=environ)
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    sent = len(sink.requests)

    environ["ACME_NOTES_TELEMETRY"] = "log"
    receipt = telemetry.track_event("timer.stopped")
    assert not receipt
    assert receipt.reason == "ACME_NOTES_TELEMETRY=log shows it on standard error, and sends nothing"
    assert len(sink.requests) == sent
    assert "timer.stopped" in capsys.readouterr().err

    environ.clear()
    telemetry.track_event("timer.started")
    assert len(sink.requests) == sent + 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("switch", ["DO_NOT_TRACK", "OTEL_SDK_DISABLED"])
def test_an_off_switch_is_stronger(tmp_path, sink, switch):
    """With an off-switch beside it nothing is shown either."""
    out, err = run("with make() as t: t.opt_in(); say('end')", tmp_path, sink, "sync", **{switch: "true"})

    assert (out, err) == (["end"], "")
