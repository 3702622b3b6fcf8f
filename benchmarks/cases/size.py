"""How many bytes one event takes on the wire and, where there is one, on the disk."""

from __future__ import annotations

from dataclasses import replace

from bench import Bench, Column, Table
from peers import PROPERTIES, Peer

__all__ = ["measure"]

# An app's day, the same for everyone: twelve events of it in turn, each with properties and users of its own.
_DAY = """
import random
_draw = random.Random(20)
_NAMES = ("app.started", "app.closed", "timer.started", "timer.stopped", "note.created", "note.deleted",
          "search.submitted", "export.finished", "sync.failed", "settings.changed", "support.opened", "report.viewed")
_MIX = []
for _number in range(2000):
    _properties = {"source": _draw.choice(("cli", "menu", "shortcut", "api")), "duration_ms": _draw.randrange(60_000)}
    if _number % 2:
        _properties |= {"premium": _draw.random() < 0.3, "items": _draw.randrange(500)}
    if _number % 3 == 0:
        _properties |= {"feature": _draw.choice(("tags", "folders", "sharing", "templates", "history"))}
    _MIX.append((_draw.choice(_NAMES), f"u-{_draw.randrange(100_000)}", _properties))
def day(number, what):
    return _MIX[number % 2000][what]
"""
_PROGRAM = """
import os
def used():
    return sum(os.path.getsize(os.path.join(STATE, name)) for name in os.listdir(STATE)) if os.path.isdir(STATE) else 0
before = used()
for number in range(COUNT):
    track(mark(number), number)
if globals().get("telemetry"):
    telemetry.close(0)
say(disk=(used() - before) / COUNT)
flush()
say(done=True)
wait()
"""


def _varied(peer: Peer) -> Peer:
    """Return *peer* tracking the day's events instead of one."""
    properties = 'day(number, 2) | {"mark": mark}'
    spread = PROPERTIES[1:-1]
    track = peer.track.replace(PROPERTIES, properties).replace(f"{{{spread}, ", f"{{**{properties}, ")
    for fixed, what in (('"timer.started"', 0), ('"u-17"', 1)):
        track = track.replace(fixed, f"day(number, {what})")
    return replace(peer, track=track)


def _variants(peer: Peer) -> list[Peer]:
    """Return *peer* with its defaults, with gzip, and with gzip and a deduplication id where it sends none itself."""
    if peer.is_ours:
        return [] if peer.blocks or "background" in peer.name else [peer]
    if not peer.gzip:
        return [peer]
    packed = replace(peer, name=f"{peer.name}, gzip", construct=peer.gzip)
    if not peer.name.startswith("OpenTelemetry"):
        return [peer, packed]
    uid = '"log.record.uid": str(uuid4()), "enduser.id"'
    track = packed.track.replace('"enduser.id"', uid)
    imports = f"from uuid import uuid4\n{packed.imports}"
    return [peer, packed, replace(packed, name=f"{packed.name}, with a uid", track=track, imports=imports)]


def measure(bench: Bench) -> list[Table]:
    """Measure every candidate with its defaults, and those that can compress with gzip too."""
    count = bench.scale(2000, 200)
    candidates = [variant for peer in bench.candidates for variant in _variants(peer)]

    def once(peer: Peer) -> dict[str, float]:
        bench.sink.reset()
        program = _DAY + _varied(peer).program(peer.construct) + _PROGRAM
        with bench.state(peer) as state, bench.child(program, state, count) as child:
            disk = child.hear()["disk"]
            child.hear()
            report = bench.arrived(count)
        events = max(report["events"], 1)
        sizes = {
            "wire": report["wire_bytes"] / events,
            "body": report["body_bytes"] / events,
            "plain": report["plain_bytes"] / events,
            "batch": events / max(report["requests"], 1),
        }
        return sizes | ({"disk": disk} if peer.is_ours else {})

    columns = (
        Column("wire", "on the wire, with headers", "B", ratio=True),
        Column("body", "body", "B"),
        Column("plain", "body before compression", "B"),
        Column("batch", "events a request"),
        Column("disk", "on disk while it waits", "B"),
    )
    text = (
        f"Bytes per event over {count:,} events, a mix of twelve with varied properties and users, flushed at once. "
        "The request's head is counted, TCP and TLS are not. Ours carries eight attributes of its own, among them the "
        "`log.record.uid` by which a receiver drops what it has already; OpenTelemetry sends none by itself, so it is "
        "also shown with one."
    )
    return [Table("size", "Bytes per event", text, columns, bench.in_turn(candidates, once, rounds=1))]
