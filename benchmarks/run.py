"""Measure what telemetry costs its host, beside the peers: one command, one run, a table and a JSON file.

    python benchmarks/run.py             everything; makes an environment for the peers in .venv-bench at first
    python benchmarks/run.py --docs      the same, and writes the tables into docs/performance.md
    python benchmarks/run.py --quick     every case once and short, to see that it works
    python benchmarks/run.py --only call --peer PostHog            one case; both may be given again
    python benchmarks/run.py --only sync_call --against e317fb2    beside an older state of ours

Nothing but 127.0.0.1 is talked to (except by pip, for the peers), and nothing is asserted: the numbers are this
machine's.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
from bench import ROOT, Bench, Table
from peers import ALL, PEERS, Peer
from sink import Sink
from targets import judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CASES = (
    *("import_cost", "run_price", "call", "call_price", "sync_call", "throughput", "web_app", "size", "memory"),
    *("exit_time", "depth", "idle", "limits", "fleet"),
)
_HERE = Path(__file__).resolve().parent
_ENVIRONMENT = ROOT / ".venv-bench"
# What a peer may talk to while its adapter is tried out, before anything is measured.
_GUARD = """
def _guard(event, arguments):
    if event == "socket.connect" and arguments[1][0] not in ("127.0.0.1", "::1"):
        sys.stderr.write("it talks to somebody else\\n")
        sys.stderr.flush()
        import os
        os._exit(1)
sys.addaudithook(_guard)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and write the results."""
    options = _parser().parse_args(arguments)
    python, peers = _candidates(options.peers)
    peers = [peer for peer in peers if not options.peer or peer.name in options.peer]
    with Sink() as sink, _older(options.against) as against:
        bench = Bench(python, peers, sink, quick=options.quick)
        bench = Bench(python, _that_work(bench), sink, quick=options.quick, against=against)
        tables: list[Table] = []
        for name in options.only or CASES:
            begun = time.monotonic()
            tables += importlib.import_module(f"cases.{name}").measure(bench)
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    results = report.as_json(tables, judge({table.key: table for table in tables}), _machine(options.quick), {})
    results["packages"] = _versions(python, bench.peers)
    options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print("\n\n".join(text for text in report.blocks(results).values() if text))
    if options.docs:
        report.write_document(ROOT / "docs" / "performance.md", results)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="every case once and short")
    parser.add_argument("--only", action="append", choices=CASES, help="this case; may be given again")
    parser.add_argument("--json", type=Path, default=_HERE / "results.json", help="where the results go")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument("--peers", default="", help="'none', or the Python of an environment that has them")
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in PEERS], help="no peers but this one")
    parser.add_argument("--against", default="", help="a commit or a work tree of it: measure that state of ours too")
    return parser


@contextmanager
def _older(against: str) -> Iterator[tuple[str, Path] | None]:
    """Yield the commit and the tree of the older state; its requirements are taken to be today's."""
    if not against:
        yield None
        return
    where, commit = (Path(against).resolve(), "HEAD") if Path(against).is_dir() else (ROOT, against)
    git = ["git", "-C", str(where)]
    name = subprocess.run([*git, "rev-parse", "--short=7", commit], capture_output=True, text=True, check=True).stdout
    if where != ROOT:
        yield name.strip(), where
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        archive = Path(place, "older.tar")
        subprocess.run([*git, "archive", "-o", str(archive), commit, "telemetry_sdk"], check=True)
        shutil.unpack_archive(archive, place)
        yield name.strip(), Path(place)


def _candidates(peers: str) -> tuple[str, Sequence[Peer]]:
    if peers == "none":
        return sys.executable, ()
    return peers or _environment(), PEERS


def _environment() -> str:
    """Return the Python of the peers' environment, made when it is missing or its requirements changed."""
    python = _ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = hashlib.sha256((_HERE / "peers.txt").read_bytes()).hexdigest()
    stamp = _ENVIRONMENT / "requirements.sha256"
    if not stamp.exists() or stamp.read_text("ascii") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(_HERE / "peers.txt"), str(ROOT)], check=True)
        stamp.write_text(wanted, "ascii")
    return str(python)


def _that_work(bench: Bench) -> list[Peer]:
    """Return the peers whose events arrive; the others are named and left out."""
    working = []
    for peer in bench.candidates:
        bench.sink.reset()
        program = (
            f"{_GUARD}{peer.program()}\nfor n in range(3):\n    track(mark(n), n)\nflush()\nsay(done=True)\nwait()"
        )
        problem = ""
        with bench.directory() as state, bench.child(program, state) as child:
            try:
                child.hear(60.0)
                arrived = bench.arrived(3, patience=5.0)["events"]
                problem = "" if arrived == 3 else f"{arrived} of 3 events arrived"
            except RuntimeError as error:
                problem = str(error)
        if problem:
            print(f"{peer.name} is left out: {problem}", file=sys.stderr)
        elif not peer.is_ours:
            working.append(peer)
    bench.sink.reset()
    return working


def _machine(quick: bool) -> dict[str, object]:
    """Return what a reader must know of this machine, and nothing that names it."""
    return {
        "cpus": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "quick": quick,
    }


def _versions(python: str, peers: Sequence[Peer]) -> dict[str, Any]:
    names = sorted({peer.package for peer in ALL if peer.is_ours or peer in peers})
    program = (
        "import importlib.metadata as m, json, sys\n"
        "found = {d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}\n"
        "print(json.dumps({n: found[n] for n in sys.argv[1:] if n in found}))"
    )
    done = subprocess.run([python, "-I", "-c", program, *names], capture_output=True, text=True, check=True)
    versions: dict[str, Any] = json.loads(done.stdout)
    return versions


if __name__ == "__main__":
    sys.exit(main())
