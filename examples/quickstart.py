"""See telemetry arrive: the base layer, the consent gate, events, and what does not leave.

Starts the local receiver in a child process and sends to it. Prints each call with its answer, then a table of what
arrived, read from the receiver's file and not from memory. Exit code 1 if that is not exactly what was sent.

Everything lives in a temporary directory that is gone afterwards. Your off-switches hold here as everywhere: with
DO_NOT_TRACK=1 every call is SUPPRESSED and nothing arrives. Your own sinks and tokens are not used.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telemetry_sdk import Level, Outcome, Receipt, Telemetry

SHOWN = ("app_version", "platform", "path", "words")


def main() -> int:
    """Send, receive, compare; return the exit code."""
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_TOKEN")}
    with tempfile.TemporaryDirectory() as scratch:
        file, state = Path(scratch, "telemetry.jsonl"), Path(scratch, "state")
        with (
            receiver(file) as url,
            Telemetry("acme-notes", version="2.4.0", endpoint=url, state_dir=state, environ=environ) as telemetry,
        ):
            receipts = use(telemetry)
            sent = records(request.body for request in telemetry.sent_log())
        arrived = records(file.read_bytes().splitlines())
    show(arrived)
    suppressed = sum(receipt.outcome is Outcome.SUPPRESSED for receipt in receipts)
    print(f"\nsent: {len(sent)}, arrived: {len(arrived)}, suppressed: {suppressed}")
    return 0 if arrived == sent and len(sent) else 1


def use(telemetry: Telemetry) -> list[Receipt]:
    """Do what a program and its user do. Entering the block above has sent first_seen and today's heartbeat."""
    status = telemetry.status()
    if status.level is Level.OFF:
        print(f"Nothing leaves: {status.reason}. Unset {status.decided_by} to see records arrive.\n")
