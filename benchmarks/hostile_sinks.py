"""What a misbehaving sink costs a program: prints the table of docs/reliability.md.

Run: ``python benchmarks/hostile_sinks.py`` (in an environment with the package installed). For every sink and delivery
mode a child process opts in, tracks five events and ends; printed are the longest call and what the end of the program
took beyond the same program without telemetry, in seconds, with the default ``timeout`` (5) and ``exit_timeout`` (0.5).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hostile import HostileSink

SINKS = ("refuse", "hang", "drip", "drip body", "reset", "reset mid-answer", "endless", "black hole", "resolver")
PROGRAM = """
import socket, sys, time
url, state, mode = sys.argv[1:]
if "unresolvable" in url:
    socket.getaddrinfo = lambda *arguments, **options: time.sleep(600)
from telemetry_sdk import Telemetry
telemetry = Telemetry("acme-notes", version="1", endpoint=url, state_dir=state, delivery=mode)
calls = [telemetry.opt_in, *[lambda: telemetry.track_event("timer.started")] * 5]
longest = 0.0
for call in calls:
    begun = time.monotonic()
    call()
    longest = max(longest, time.monotonic() - begun)
print(longest, time.time(), flush=True)
"""


def measure(name: str, mode: str) -> tuple[float, float]:
    """Return the longest call and the time from the last statement to the end of the process, in seconds."""
    sink = HostileSink("refuse" if name == "resolver" else name)
    host = "unresolvable.invalid" if name == "resolver" else "127.0.0.1"
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-c", PROGRAM, f"http://{host}:{sink.port}", state, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        ended = time.time()
    sink.stop()
    longest, last = map(float, done.stdout.split())
    return longest, ended - last


def main() -> None:
    """Print the table."""
    modes = ("sync", "background", "manual")
    print("| sink | " + " | ".join(f"{mode}: call | exit" for mode in modes) + " |")
    print("|---|" + "---|" * 6)
    for name in SINKS:
        cells = [f"{seconds:.2f}" for mode in modes for seconds in measure(name, mode)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
