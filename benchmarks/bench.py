"""How a measurement is made: each in a fresh child process, the candidates in turn, several rounds, the median kept.

A child sees a sealed environment: an empty home, no proxy, no telemetry switch of this machine, and no address but
127.0.0.1. It reports one JSON object. Nothing of this machine's names or paths reaches a result.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers import OURS, Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sink import Sink

__all__ = ["Bench", "Child", "Column", "Table", "spread"]

ROOT = Path(__file__).resolve().parents[1]

# A child's arguments are the sink, its state directory and a count; it may import nothing before what is measured.
_PRELUDE = """import sys, time
sys.path.insert(0, sys.argv[1]) if sys.argv[1] else None
URL, STATE, QUEUE, COUNT = sys.argv[2], sys.argv[3], 100_000, int(sys.argv[4])
def mark(number):
    return f"mk{number:07d}mk"
def say(**values):
    import json
    sys.stdout.write(json.dumps(values) + "\\n")
    sys.stdout.flush()
def wait():
    sys.stdin.readline()
def rank(values, part):
    values = sorted(values)
    return values[min(int(len(values) * part), len(values) - 1)]
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One measured quantity.

    Attributes:
        key: Its name in the JSON file.
        title: Its name in the table.
        unit: ``us``, ``ms``, ``s``, ``B``, ``KiB``, ``1/s`` or empty.
        ratio: Whether the table also shows it as a multiple of our first mode.
    """

    key: str
    title: str
    unit: str = ""
    ratio: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what was measured for whom. A missing value means that the case does not exist there.

    Attributes:
        key: Its name in the JSON file.
        title: Its heading.
        text: What exactly was measured.
        columns: What was measured.
        rows: Candidate to column key to the value of every round.
    """

    key: str
    title: str
    text: str
    columns: tuple[Column, ...]
    rows: dict[str, dict[str, list[float]]]


class Child:
    """A running child process that reports lines and is told to go on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def hear(self, patience: float = 300.0) -> dict[str, Any]:
        """Return the next report.

        Raises:
            RuntimeError: The child ended without one, or was killed when *patience* (seconds) was over; the message
                is its last words.
        """
        assert self._process.stdout is not None
        guard = threading.Timer(patience, self._process.kill)
        guard.start()
        try:
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        if not line:
            raise RuntimeError(self.finish()[1].strip().rpartition("\n")[2] or "the child said nothing")
        report: dict[str, Any] = json.loads(line)
        return report

    def tell(self) -> None:
        """Let the child go on after its ``wait()``."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def finish(self, timeout: float = 120.0) -> tuple[float | None, str]:
        """Wait for the end; return when it was (seconds since 1970), None for a child that had to be killed."""
        try:
            errors = self._process.communicate(timeout=timeout)[1]
        except subprocess.TimeoutExpired:
            self._process.kill()
            return None, self._process.communicate()[1]
        return time.time(), errors

    def terminate(self) -> None:
        """Ask for the end and wait for it."""
        self._process.terminate()
        self.finish()


class Bench:
    """What every case needs: the candidates, the sink, and children."""

    def __init__(
        self, python: str, peers: Sequence[Peer], sink: Sink, *, quick: bool, against: tuple[str, Path] | None = None
    ) -> None:
        self.peers = tuple(peers)
        self.candidates = (*OURS, *peers)
        self.sink = sink
        self.quick = quick
        self.rounds = 1 if quick else 5
        self._python = python
        self._against = against

    def older(self, peer: Peer) -> list[Peer]:
        """Return our *peer* again as the older tree has it, if one was named; it goes by that tree's commit."""
        if self._against is None:
            return []
        commit, tree = self._against
        first = f"sys.path.insert(0, {str(tree)!r})\n"
        return [replace(peer, name=f"{peer.name}, {commit}", imports=first + peer.imports)]

    def scale(self, number: int, quick: int) -> int:
        """Return *number*, or *quick* in a quick run."""
        return quick if self.quick else number

    def arrived(self, count: int, patience: float = 15.0) -> dict[str, Any]:
        """Return the sink's report once *count* events arrived: some flushes do not wait for all of theirs."""
        deadline = time.monotonic() + patience
        while (report := self.sink.report())["events"] < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return report

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """Make a directory for the time of a measurement."""
        path = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def state(self, peer: Peer) -> Iterator[Path]:
        """Make a state directory as an earlier run of the program left it: the user's decision is in it."""
        with self.directory() as path:
            if peer.is_ours:
                self.run(f"{peer.program()}\nflush()", path)
                self.sink.reset()
            yield path

    def run(self, program: str, state: Path, count: int = 0, url: str | None = None) -> dict[str, Any]:
        """Run *program* in a child and return what it says; an empty dict when it says nothing."""
        with self.child(program, state, count, url) as child:
            try:
                return child.hear()
            except RuntimeError as error:
                if str(error) == "the child said nothing":
                    return {}
                raise

    @contextmanager
    def child(self, program: str, state: Path, count: int = 0, url: str | None = None) -> Iterator[Child]:
        """Start *program* in a child; it is killed in the end."""
        home = state.parent / f"{state.name}-home"
        home.mkdir(exist_ok=True)
        keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        ours = str(ROOT) if "telemetry_sdk" in program else ""
        process = subprocess.Popen(
            [self._python, "-I", "-c", _PRELUDE + program, ours, url or self.sink.url, str(state), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
            env={**keep, "HOME": str(home), "XDG_DATA_HOME": str(home), "APPDATA": str(home), "PYTHONHASHSEED": "0"},
        )
        try:
            yield Child(process)
        finally:
            process.kill()
            process.communicate()
            shutil.rmtree(home, ignore_errors=True)

    def in_turn(
        self, candidates: Sequence[Peer], once: Callable[[Peer], dict[str, float]], rounds: int | None = None
    ) -> dict[str, dict[str, list[float]]]:
        """Measure every candidate once, then every candidate again, and so on: what disturbs one disturbs all."""
        rows: dict[str, dict[str, list[float]]] = {peer.name: {} for peer in candidates}
        for _ in range(rounds or self.rounds):
            for peer in candidates:
                for key, value in once(peer).items():
                    rows[peer.name].setdefault(key, []).append(value)
        return rows


def spread(values: Sequence[float]) -> float:
    """Return the middle of the rounds."""
    return statistics.median(values)
