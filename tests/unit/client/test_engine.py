"""What the engine behind a `Telemetry` does in the background, step by step and without its thread."""

from __future__ import annotations

import pytest
from sink_server import Reply

from telemetry_sdk.client.override import engine_of
from telemetry_sdk.delivery.deliver import BUSY, Tally


@pytest.mark.parametrize(("reason", "wait_s"), [("locked by another program", 5.0), (BUSY, 1.0)])
def test_what_passes_is_tried_again_soon(make, monkeypatch, reason, wait_s):
    """What another process stood in the way of leaves some seconds later, not at the next wake-up."""
    telemetry = make(delivery="manual")
    telemetry.opt_in()
    monkeypatch.setattr(engine_of(telemetry).session.delivery, "deliver", lambda *_, **__: Tally(reason=reason))

    assert engine_of(telemetry)._background_step() == wait_s


@pytest.mark.parametrize("held", ["by a switch", "put off"])
def test_what_may_not_leave_keeps_no_thread_awake(make, sink, held):
    """Records that wait for a consent or for tomorrow let the background thread sleep, not look again and again."""
    make(delivery="manual").opt_in()
    make(delivery="manual").track_event("timer.started")
    sink.reply = Reply(400 if held == "put off" else 200)
    environ = {"ACME_NOTES_TELEMETRY": "base"} if held == "by a switch" else {}
    telemetry = make(delivery="manual", environ=environ)
    telemetry.send_base_first_seen()
    telemetry.flush()
    assert telemetry.status().ledger["pending"] > 0

    assert engine_of(telemetry)._background_step() > 60
