"""Many processes on one state directory behave like one install."""

from __future__ import annotations

import sqlite3

import pytest
from process_tools import Program
from sink_server import attributes

pytestmark = pytest.mark.alone

START = """
telemetry = make()
wait_for_go()
def work():
    telemetry.start()
    telemetry.opt_in()
    for n in range(ARGUMENT["events"]):
        receipt = telemetry.track_event("timer.started", {"n": n})
        os.write(1, f"uid {receipt.uid} {receipt.outcome.value}\\n".encode())
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
telemetry.close()
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", ["sync", "background", "manual"])
def test_sixteen_processes_are_one_install(tmp_path, sink, mode):
    """16 processes x 4 threads start at one moment in an empty directory: one of everything, and nothing lost."""
    go, state = tmp_path / "go", tmp_path / "state"
    programs = [
        Program(
            START,
            tmp_path,
            delivery=mode,
            endpoint=sink.url,
            state_dir=state,
            go=go,
            argument={"events": 5},
            timeout=30,
            exit_timeout=20,
        )
        for _ in range(16)
    ]
    for program in programs:
        program.wait_for("ready")
    go.touch()
    output = "".join(program.finish() for program in programs)
    accepted = {line.split()[1] for line in output.splitlines() if line.endswith(("queued", "delivered"))}

    Program(
        "report = make().flush(60)\nassert report.kept == 0, report", tmp_path, endpoint=sink.url, state_dir=state
    ).finish()

    assert len(accepted) == 16 * 4 * 5
    assert accepted <= set(sink.uids)
    assert len(sink.uids) == len(set(sink.uids))
    for once in ("base_telemetry.first_seen", "base_telemetry.heartbeat", "analytics.install"):
        assert sink.names.count(once) == 1
    assert len({attributes(record)["install_id"] for record in sink.accepted}) == 1
    db = sqlite3.connect(state / "outbox.sqlite3")
    totals = db.execute("SELECT accepted, delivered, pending, rejected FROM totals").fetchone()
    db.close()
    assert totals == (323, 323, 0, 0)
