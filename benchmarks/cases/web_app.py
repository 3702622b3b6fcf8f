"""What a web app at saturation loses to its telemetry: Flask on gunicorn, two workers, one event a request."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import Bench, Column, Table
from peers import OURS, Peer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BARE", "PAGE_VIEWS", "measure"]

BARE = "bare app"
PAGE_VIEWS = "telemetry_sdk background, page_views=True"
# Every worker makes its app after the fork, as gunicorn does by default.
_SERVER = """
from gunicorn.app.base import BaseApplication
APP = {app!r}
class Server(BaseApplication):
    def load_config(self):
        for name, value in dict(bind="127.0.0.1:0", workers=2, loglevel="critical", when_ready=ready).items():
            self.cfg.set(name, value)
    def load(self):
        exec(APP, globals())
        return app
def ready(server):
    say(port=server.LISTENERS[0].sock.getsockname()[1])
Server().run()
"""
_APP = """
from flask import Flask
from itertools import count
app = Flask("acme_notes")
numbers = count()
@app.get("/notes/<int:note>")
def show(note):
    number = next(numbers) % 10_000_000
    track(mark(number), number)
    return "<!doctype html><title>Note</title><p>A note.</p>"
"""
_WRAP = """
from telemetry_sdk.web import WSGIMiddleware
app.wsgi_app = WSGIMiddleware(app.wsgi_app, telemetry, page_views=True)
"""
_BROWSER = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def measure(bench: Bench) -> list[Table]:
    """Measure the bare app, PostHog's, and ours in `background` mode; nothing without wrk, Flask or gunicorn."""
    if problem := _missing(bench):
        print(f"web_app is left out: needs {problem}", file=sys.stderr)
        return []
    background = next(peer for peer in OURS if "background" in peer.name)
    candidates = [
        Peer(BARE, "", "", "", "pass"),
        *(peer for peer in bench.peers if peer.name == "PostHog"),
        background,
        replace(background, name=PAGE_VIEWS, track="pass"),
    ]
    rows = bench.in_turn(candidates, lambda peer: _serve(bench, peer), rounds=1 if bench.quick else 7)
    bare = rows[BARE]["rate"]
    for row in rows.values():
        row["share"] = [100 * rate / most for rate, most in zip(row["rate"], bare, strict=True)]
    columns = (
        Column("rate", "requests a second", "1/s", ratio=True),
        Column("share", "of the bare app's", "%"),
        Column("p50", "p50", "ms"),
        Column("p99", "p99", "ms"),
        Column("events", "events that arrived, of 100 requests"),
    )
    text = (
        "Flask on gunicorn with two workers of its default kind, 16 connections of `wrk` that ask without a pause, for "
        "3 seconds after one of warming up; one event a request, with page views the page view of the middleware. "
        "Sink and `wrk` run on the same processors, as does the delivery. Events are counted when the server has ended."
    )
    return [Table("web", "A web app at saturation", text, columns, rows)]


def _missing(bench: Bench) -> str:
    if not shutil.which("wrk"):
        return "wrk"
    with bench.directory() as state:
        try:
            return "" if bench.run("import flask, gunicorn\nsay(done=True)", state) else "flask and gunicorn"
        except RuntimeError:
            return "flask and gunicorn"


def _serve(bench: Bench, peer: Peer) -> dict[str, float]:
    bench.sink.reset()
    app = peer.program(peer.construct) + _APP + (_WRAP if peer.name == PAGE_VIEWS else "")
    with bench.state(peer) as state:
        with bench.child(_SERVER.format(app=app), state) as child:
            url = f"http://127.0.0.1:{child.hear(60.0)['port']}/notes/17"
            warm, _, _, _ = _load(url, 1)
            requests, rate, p50, p99 = _load(url, bench.scale(3, 1))
            child.terminate()
        found = {"rate": rate, "p50": p50, "p99": p99}
        if "mark" in peer.track:
            found["events"] = _arrived(bench, peer, state) / (warm + requests) * 100
        return found


def _load(url: str, seconds: int) -> tuple[int, float, float, float]:
    """Return the requests answered, those a second, and the median and 99th percentile of their milliseconds."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "-H", _BROWSER, "-H", "Accept: text/html", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    if "Non-2xx" in said:
        raise RuntimeError("the app answered with errors")
    number, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec: +([\d.]+)", said)
    ranks = [re.search(rf" {part}% +([\d.]+)(us|ms|s)\n", said) for part in (50, 99)]
    p50, p99 = (float(found[1]) * _UNITS[found[2]] for found in ranks if found)
    assert number is not None
    assert rate is not None
    return int(number[1]), float(rate[1]), p50, p99


def _arrived(bench: Bench, peer: Peer, state: Path) -> int:
    """Return how many events the sink has, with those of ours that wait for the next run."""
    if peer.is_ours:
        bench.run(f"{peer.imports}\n{peer.construct}\n{peer.flush}\nsay(done=True)", state)
    report = bench.sink.report()
    return int(report["events"] + report["duplicates"])  # both workers count from 0
