"""Telemetry in a notebook: a real Jupyter kernel, whose event loop is running while cells track."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from process_tools import GUARD, Program
from sink_server import Reply, attributes

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ipykernel") is None, reason="needs ipykernel"),
    pytest.mark.skipif(importlib.util.find_spec("jupyter_client") is None, reason="needs jupyter_client"),
    pytest.mark.filterwarnings("ignore"),  # Jupyter's own
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook.py"
CELLS = re.split(r"^# %%$", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)[1:]
MADE, _, TRACKED, AWAITED, _ = CELLS
BASE = ["base_telemetry.first_seen", "base_telemetry.heartbeat"]
OURS = "print(sum(t.name.startswith('telemetry-sdk') for t in __import__('threading').enumerate()))"


class Kernel:
    """A running kernel."""

    def __init__(self, manager: Any, client: Any, environ: dict[str, str]) -> None:
        self.manager = manager
        self._client = client
        self._environ = environ

    async def run(self, cell: str) -> str:
        """Run *cell* to its end and return what it printed; neither an error nor a word on stderr is accepted."""
        printed: dict[str, str] = {"stdout": "", "stderr": ""}

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed[message["content"]["name"]] += message["content"]["text"]

        reply = await self._client.execute_interactive(cell, output_hook=hear, allow_stdin=False, timeout=GUARD)
        content = reply["content"]
        assert content["status"] == "ok", "\n".join(content["traceback"])
        assert printed["stderr"] == ""
        return printed["stdout"]

    async def restart(self, *, killed: bool) -> None:
        """Restart it as the menu does, which kills it when *killed*."""
        await self.manager.restart_kernel(now=killed, env=self._environ)
        await self._client.wait_for_ready(timeout=GUARD)


@pytest.fixture
def notebook(tmp_path: Path, sink: Any, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Start a kernel whose program sends to *sink*; it is shut down at the end of the block."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "PYTHONWARNINGS": "ignore",
        "ACME_LAB_TELEMETRY_ENDPOINT": sink.url,
        "ACME_LAB_TELEMETRY_DIR": str(state_dir),
        **{name: value for name, value in os.environ.items() if name.startswith("COV")},
    }

    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Kernel]:
        from jupyter_client import AsyncKernelManager

        manager = AsyncKernelManager()
        await manager.start_kernel(env=environ, cwd=str(tmp_path))
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=GUARD)
            yield Kernel(manager, client, environ)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel()
            manager.cleanup_resources()

    return start


def deliver_the_rest(tmp_path: Path, sink: Any, state_dir: Path) -> None:
    """Start once more, as the next notebook does, and deliver what was left."""
    later = 'report = make(app="acme-lab", version="0.4.0").flush(30)\nassert report.kept == 0, report'
    Program(later, tmp_path, endpoint=sink.url, state_dir=state_dir).finish()


def arrived(sink: Any) -> list[dict[str, Any]]:
    """What arrived, each record once: an answer that a kernel does not live to see is asked for again."""
    return list({uid: attributes(record) for uid, record in zip(sink.uids, sink.accepted, strict=True)}.values())


def names(sink: Any) -> list[str]:
    return sorted(it["event_name"] for it in arrived(sink))


def test_the_example_cell_by_cell(notebook, sink, state_dir, tmp_path):
    """The example's cells, one run twice, one awaited, one in a thread, report each thing once; closing loses nothing."""

    async def story() -> list[str]:
        printed = []
        async with notebook() as kernel:
            printed += [await kernel.run(cell) for cell in CELLS]
            threads = await kernel.run(OURS)
            printed.append(await kernel.run(MADE))
            assert await kernel.run(OURS) == threads
            assert await kernel.run("import asyncio; telemetry.opt_in(); asyncio.get_running_loop()") == ""
            printed.append(await kernel.run(TRACKED))
            await kernel.run("await load_slowly(7); await asyncio.gather(*(load_slowly(n) for n in range(3)))")
            await kernel.run("await asyncio.to_thread(load, 9)")
        return printed

    printed = asyncio.run(story())
    deliver_the_rest(tmp_path, sink, state_dir)

    assert printed[0] == printed[-2] == "telemetry: BASE, because the user has not agreed to detailed analytics\n"
    assert printed[2].startswith("table.loaded: SUPPRESSED")
    assert printed[-1] == "table.loaded: QUEUED\n"
    assert names(sink) == sorted([*BASE, "analytics.install", *["table.loaded"] * 6])
    loaded = [it for it in arrived(sink) if it["event_name"] == "table.loaded"]
    assert sorted((it["rows"], it["kind"], it["identity"] == "analyst-7") for it in loaded) == [
        *[(n, "parquet", True) for n in (0, 1, 2, 7)],
        (9, "csv", False),
        (1200, "csv", False),
    ]


TRACK = """
def track(count):
    receipts = [telemetry.track_event("table.loaded", {"rows": n}) for n in range(count)]
    assert all(receipts), receipts
    print(*(receipt.uid for receipt in receipts))

async def track_within_the_loop(count):
    track(count)
"""


@pytest.mark.parametrize("how", ["restarted", "killed"])
@pytest.mark.parametrize("mode", ["sync", "background"])
def test_a_restart_loses_nothing(notebook, sink, state_dir, tmp_path, mode, how):
    """What cells tracked while the sink was away arrives once, though the kernel was restarted or killed in between."""
    made = MADE.replace('delivery="background"', f'delivery="{mode}"')
    assert f'"{mode}"' in made

    async def story() -> list[str]:
        uids: list[str] = []
        async with notebook() as kernel:
            await kernel.run(made + TRACK)
            await kernel.run("telemetry.opt_in()")
            sink.reply = Reply(503)
            uids += (await kernel.run("track(5)")).split()
            uids += (await kernel.run("await track_within_the_loop(5)")).split()
            await kernel.restart(killed=how == "killed")
            sink.reply = Reply()
            await kernel.run(made + TRACK)
            assert await kernel.run("print(telemetry.is_detailed_analytics_enabled())") == "True\n"
            uids += (await kernel.run("await track_within_the_loop(5)")).split()
            assert await kernel.run("print(telemetry.flush(30).kept)") == "0\n"
        return uids

    uids = asyncio.run(story())

    assert len(uids) == 15
    assert names(sink) == sorted([*BASE, "analytics.install", *["table.loaded"] * 15])
    assert sorted(uids) == sorted(
        uid for uid, name in zip(sink.uids, sink.names, strict=True) if name == "table.loaded"
    )


def test_a_cell_does_not_wait_for_the_sink(notebook, sink, state_dir, tmp_path):
    """In the background mode cells run and the kernel's loop turns while the sink has not answered."""
    answering = threading.Event()
    sink.reply = Reply(hang=answering)

    async def story() -> str:
        async with notebook() as kernel:
            await kernel.run(MADE + TRACK)
            await asyncio.to_thread(sink.wait_for, lambda: sink.requests)
            await kernel.run("telemetry.opt_in(); track(3)")
            turned = await kernel.run("import asyncio; await asyncio.sleep(0); track(1); print('turned')")
            assert sink.accepted == []
            answering.set()
        return turned

    turned = asyncio.run(story())
    deliver_the_rest(tmp_path, sink, state_dir)

    assert turned.endswith("turned\n")
    assert names(sink) == sorted([*BASE, "analytics.install", *["table.loaded"] * 4])


def test_a_bound_user_holds_in_later_cells(notebook, sink, state_dir, tmp_path):
    """The user that a cell binds is the user of the next cell too, and a cell that awaits sees it."""

    async def story() -> None:
        async with notebook() as kernel:
            await kernel.run(MADE + TRACK)
            await kernel.run("telemetry.opt_in(); telemetry.identify_user('analyst-7')")
            await kernel.run("track(1)")
            await kernel.run("await track_within_the_loop(1)")

    asyncio.run(story())
    deliver_the_rest(tmp_path, sink, state_dir)

    loaded = [it["identity"] for it in arrived(sink) if it["event_name"] == "table.loaded"]
    assert loaded == ["analyst-7"] * 2
