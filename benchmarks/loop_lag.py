"""What telemetry costs an event loop: prints the loop's lag while requests are served, in milliseconds.

Run: ``python benchmarks/loop_lag.py`` (in an environment with the package and its extra ``web``). In a child process an
ASGI application behind `ASGIMiddleware` answers 2,000 requests, 20 at a time, each of which identifies its user and
tracks an event; beside it a task sleeps 5 ms again and again, and notes by how much it was late. Compared are no
telemetry, and ``background`` mode with a sink that answers and with one that hangs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hostile import HostileSink
from sink_server import SinkServer

PROGRAM = """
import asyncio, statistics, sys, time
from telemetry_sdk import Telemetry
from telemetry_sdk.web import ASGIMiddleware
url, state = sys.argv[1:]
telemetry = Telemetry("acme-notes", version="1", endpoint=url or None, state_dir=state, delivery="background")
telemetry.opt_in()
late = []

async def app(scope, receive, send):
    telemetry.identify_user(scope["user"])
    await asyncio.sleep(0)
    telemetry.track_event("timer.started")

async def visitor(served, number):
    for visit in range(100):
        headers = [(b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/%d.0" % visit)]
        scope = {"type": "http", "method": "GET", "path": f"/timers/{visit}", "headers": headers}
        await served({**scope, "user": f"u-{number}"}, None, None)
        await asyncio.sleep(0.01)

async def watch():
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append((time.perf_counter() - begun - 0.005) * 1000)

async def main():
    watching = asyncio.create_task(watch())
    served = ASGIMiddleware(app, telemetry)
    await asyncio.gather(*(visitor(served, number) for number in range(20)))
    watching.cancel()

asyncio.run(main())
print(f"{statistics.median(late):.1f} | {sorted(late)[len(late) * 99 // 100]:.1f} | {max(late):.1f}")
"""


def measure(url: str) -> str:
    """Return median, 99th percentile and longest lag, as cells of a table."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-c", PROGRAM, url, state]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Print the table."""
    answering, hanging = SinkServer(), HostileSink("hang")
    print("| sink | median | 99 % | longest |\n|---|---|---|---|")
    for name, url in (("none: no telemetry", ""), ("answers", answering.url), ("hangs", hanging.url)):
        print(f"| {name} | {measure(url)} |", flush=True)
    hanging.stop()
    answering.stop()


if __name__ == "__main__":
    main()
