"""See telemetry arrive: the base layer, the consent gate, events, and what does not leave.

Starts the local receiver in a child process and sends to it. Prints each call with its answer, then a table of what
arrived, read from the receiver's file and not from memory. Exit code 1 if that is not exactly what was sent.

Everything lives in a temporary directory that is gone afterwards. Your off-switches hold here as everywhere: with
DO_NOT_TRACK=1 every call is SUPPRESSED and nothing arrives. Your own sinks and tokens are not used.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from telemetry_sdk import Level, Outcome, Receipt, Telemetry

CALL = "{:<38}  {:<10}  {}"
ROW = "{:<8}  {:<9}  {:<25}  {:<8}  {}"
SHOWN = ("platform", "locale", "path", "words", "pinned")


def main() -> int:
    """Send, receive, compare; return the exit code."""
    receipts = []
    for name in [name for name in os.environ if name.endswith("_TOKEN")]:
        del os.environ[name]  # the token of a real sink is none of this receiver's business
    with tempfile.TemporaryDirectory() as scratch:
        file, state = Path(scratch, "telemetry.jsonl"), Path(scratch, "state")
        with receiver(file) as url:
            # sync: each receipt printed below says what the receiver answered. A program that people wait for does not.
            telemetry = Telemetry("acme-notes", version="2.4.0", endpoint=url, state_dir=state, delivery="sync")
            with telemetry:  # calls start(): first_seen once per install, a heartbeat once per day
                for call, receipt in use(telemetry):
                    receipts.append(receipt)
                    print(CALL.format(call, receipt.outcome.name, receipt.reason).rstrip())
                sent = list(records(request.body for request in telemetry.sent_log()))
        arrived = list(records(file.read_bytes().splitlines()))

    print("\n" + ROW.format("TIME UTC", "LAYER", "EVENT", "IDENTITY", "PROPERTIES"))
    for it in arrived:
        some = "  ".join(f"{name}={it[name]}" for name in SHOWN if name in it)
        print(ROW.format(it["occurred_at"][11:19], it["telemetry.layer"], it["event_name"], it["identity"][:8], some))
    suppressed = sum(receipt.outcome is Outcome.SUPPRESSED for receipt in receipts)
    print(f"\nsent: {len(sent)}, arrived: {len(arrived)}, suppressed: {suppressed}")
    accepted = {receipt.uid for receipt in receipts if receipt}
    return 0 if arrived == sent and accepted <= {it["log.record.uid"] for it in arrived} else 1


def use(telemetry: Telemetry) -> Iterator[tuple[str, Receipt]]:
    """Do what a program and its user do; yields each call with its receipt."""
    status = telemetry.status()
    if status.level is Level.OFF:
        print(f"Nothing will be sent, because {status.reason}. Unset it to see records arrive.\n")
    print(CALL.format("start()", f"level {status.level.name}", status.reason))
    yield "send_base_heartbeat(), once more", telemetry.send_base_heartbeat()
    yield "track_event('note.created')", telemetry.track_event("note.created")
    yield "opt_in()", telemetry.opt_in()
    yield "track_event('note.created', {...})", telemetry.track_event("note.created", {"words": 120, "pinned": True})
    yield "track_page_view('/notes/{id}')", telemetry.track_page_view("/notes/{id}")
    telemetry.opt_out()
    yield "opt_out(), track_event('note.deleted')", telemetry.track_event("note.deleted")


def records(requests: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the log records in these OTLP requests, each as a dict of its attributes and its layer."""
    for logs in (logs for request in requests for logs in json.loads(request)["resourceLogs"]):
        layer = [item for item in logs["resource"]["attributes"] if item["key"] == "telemetry.layer"]
        for record in (record for scope in logs["scopeLogs"] for record in scope["logRecords"]):
            yield {item["key"]: next(iter(item["value"].values())) for item in record["attributes"] + layer}


@contextlib.contextmanager
def receiver(file: Path) -> Iterator[str]:
    """Run the local receiver until the block ends; yields its URL."""
    command = [sys.executable, "-m", "telemetry_sdk", "receive", "--port", "0", "--file", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child.stdout.readline().split()[-1] if child.stdout else ""  # listening on http://...
        finally:
            child.terminate()
            child.communicate()


if __name__ == "__main__":
    sys.exit(main())
