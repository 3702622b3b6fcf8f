"""A fleet of installs against one sink, simulated over the package's own rules.

When a heartbeat is due (`schedule`, `heartbeat`), what an answer means and how long an install then waits (`verdict`)
is the real code; what people do with their programs is an assumption, stated in `Habits`. Installs know nothing of
each other, so each is simulated alone and only the sink's minutes are added up. A fleet too large to simulate is
sampled and scaled; a sample's noise can only raise its busiest minute.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from telemetry_sdk.base_payload.fields import Facts, build
from telemetry_sdk.client.engine import heartbeat_step
from telemetry_sdk.delivery import retry
from telemetry_sdk.model import DAY_SECONDS, HEARTBEAT, Answer, Circuit, Layer, is_due, utc_day
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CRON", "SERVICES", "USUAL", "Fleet", "Habits", "simulate"]

_FIRST_DAY: Final = 20_000 * DAY_SECONDS
_DAYS: Final = 4
_MINUTES: Final = _DAYS * 1440
# The sink goes down and comes back when most of the programs below are in use.
_DOWN: Final = (_FIRST_DAY + DAY_SECONDS + 14 * 3600, _FIRST_DAY + 2 * DAY_SECONDS + 14 * 3600)
_HEAD_BYTES: Final = 420  # of a request with its token, and of the answer
# Where people live, by hours ahead of UTC, roughly.
_OFFSETS: Final = {-8: 8, -5: 16, -3: 5, 0: 10, 1: 22, 3: 6, 5.5: 14, 8: 14, 9: 5}


@dataclass(frozen=True, slots=True)
class Habits:
    """What the fleet is made of.

    Attributes:
        services: The share of installs that run day and night (``background``); the others are programs that people
            open (``sync``) or cron does.
        agreed: The share that opted in to detailed analytics.
        sessions: How often a person opens the program a day, between 8 and 18 o'clock of his own time.
        events: Analytics events a day of an install that opted in.
        cron: Whether the programs are started by cron at 00:00 UTC instead, all in the same second.
    """

    services: float = 0.4
    agreed: float = 0.15
    sessions: int = 3
    events: int = 20
    cron: bool = False


USUAL: Final = Habits()
SERVICES: Final = Habits(services=1.0)
CRON: Final = Habits(services=0.0, cron=True)


@dataclass
class Fleet:
    """What the sink saw, minute by minute, scaled to the whole fleet.

    Attributes:
        scale: How many installs each simulated one stands for.
        requests: Requests in each minute of the four days.
        volume: Bytes of them.
        waiting: Installs that had something to deliver when the sink came back, and when each did.
    """

    scale: float
    requests: list[float] = field(default_factory=lambda: [0.0] * _MINUTES)
    volume: float = 0.0
    returned: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return the figures of the table."""
        day = self.requests[:1440]
        mean = sum(day) / 1440
        down = self.requests[_minute(_DOWN[0]) : _minute(_DOWN[1])]
        first = _minute(_DOWN[1])
        # The recovery lasts until all but one in a hundred of those that waited have delivered.
        times = sorted(self.returned)
        last = _minute(times[math.ceil(len(times) * 0.99) - 1]) + 1
        back = self.requests[first:last]
        return {
            "requests": sum(day),
            "mib": self.volume / 2**20,
            "busiest": max(day),
            "ratio": max(day) / mean,
            "down": sum(down) / sum(day),
            "back_hours": (last - first) / 60,
            "back_ratio": max(back) / (sum(back) / len(back)),
            "back_busiest": max(back),
            "back_normal": max(back) / max(day),
        }


class _Install:
    """One install and its outbox, as the sink sees it."""

    def __init__(self, fleet: Fleet, draw: random.Random) -> None:
        self.phase = int(draw.random() * DAY_SECONDS * 1000) / 1000
        self.circuit = Circuit()
        self.base = self.events = 0
        self.last_day: str | None = None
        self._fleet = fleet
        self._draw = draw

    def beat(self, now: float) -> None:
        """Store today's heartbeat if it is due; it takes the place of one that still waits."""
        if is_due(now, self.last_day):
            self.last_day = utc_day(now)
            self.base = 1

    def deliver(self, now: float) -> None:
        """Make one attempt if something waits and the circuit allows it."""
        if not (self.base or self.events):
            return
        if retry.blocked(self.circuit, now=now, configuration="", app_version="1"):
            return
        down = _DOWN[0] <= now < _DOWN[1]
        answer = Answer(503 if down else 204)
        judgement = retry.judge(answer, records=self.base + self.events, acknowledged=True)
        self.circuit = retry.next_circuit(
            self.circuit, judgement, answer, now=now, draw=self._draw.random(), configuration="", app_version="1"
        )
        fleet, minute = self._fleet, _minute(now)
        if minute >= _MINUTES:
            return
        fleet.requests[minute] += fleet.scale
        if minute < 1440:
            fleet.volume += fleet.scale * _request_bytes(self.base, self.events)
        if not down:
            if now >= _DOWN[1] and self.waited:
                fleet.returned.append(now)
                self.waited = False
            self.base = self.events = 0
        else:
            self.waited = True

    waited = False


def simulate(installs: int, habits: Habits, *, most: int) -> Fleet:
    """Simulate four days of *installs* installs, at most *most* of them one by one; the sink is down for one day."""
    simulated = min(installs, most)
    fleet = Fleet(installs / simulated)
    draw = random.Random(installs)  # the same fleet in every run
    for _ in range(simulated):
        install = _Install(fleet, draw)
        agreed = draw.random() < habits.agreed
        events = habits.events if agreed else 0
        if draw.random() < habits.services:
            _serve(install, events, draw)
        else:
            _use(install, events, habits, draw)
    return fleet


def _serve(install: _Install, events: int, draw: random.Random) -> None:
    """Run a service day and night: its heartbeat thread sleeps as the real one, its delivery thread until it may."""
    now = (
        _FIRST_DAY - DAY_SECONDS + draw.random() * DAY_SECONDS
    )  # installed and started at some moment of the day before
    install.last_day = utc_day(now)
    moments = sorted(_FIRST_DAY + draw.random() * _DAYS * DAY_SECONDS for _ in range(events * _DAYS))
    tracked = iter([*moments, math.inf])
    next_event = next(tracked)
    next_beat = now
    end = _FIRST_DAY + _DAYS * DAY_SECONDS
    while now < end:
        if now >= next_beat:
            # At least a millisecond: a real clock moves on by itself.
            next_beat = now + max(heartbeat_step(now, install.phase, functools.partial(install.beat, now)), 0.001)
        while next_event <= now:
            install.events += 1
            next_event = next(tracked)
        install.deliver(now)
        waits = install.base or install.events
        now = min(next_beat, next_event, max(install.circuit.not_before, now + 1) if waits else math.inf)


def _use(install: _Install, events: int, habits: Habits, draw: random.Random) -> None:
    """Open a program some times a day: what waits is delivered at its start and with each event."""
    offset = draw.choices(list(_OFFSETS), list(_OFFSETS.values()))[0]
    for moment, is_start in _moments(events, habits, offset, draw):
        if is_start:
            install.beat(moment)
        else:
            install.events += 1
        install.deliver(moment)


def _moments(events: int, habits: Habits, offset: float, draw: random.Random) -> Iterator[tuple[float, bool]]:
    """Yield when the program starts (True) and when it tracks an event (False), in order."""
    for day in range(-1, _DAYS + 1):
        midnight = _FIRST_DAY + day * DAY_SECONDS
        if habits.cron:
            starts = [float(midnight)]
        else:
            begun = midnight - offset * 3600 + 8 * 3600
            starts = sorted(begun + draw.random() * 10 * 3600 for _ in range(habits.sessions))
        for start in starts:
            if start >= _FIRST_DAY:
                yield start, True
                share = events // len(starts)
                yield from sorted((start + draw.random() * 900, False) for _ in range(share))


def _minute(moment: float) -> int:
    return int(moment - _FIRST_DAY) // 60


@functools.cache
def _request_bytes(base: int, events: int) -> int:
    """Return what a request with so many records weighs, made by the real encoder and gzipped like the real one."""
    install = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"
    draw = random.Random(1)
    records = []
    for number in range(base + events):
        layer = Layer.BASE if number < base else Layer.ANALYTICS
        name = HEARTBEAT if layer is Layer.BASE else "timer.started"
        made = _FIRST_DAY * 10**9 + draw.randrange(10**12)
        own = {"install_id": install, "app_version": "2.4.0", "deployment_type": "native", "release_channel": "stable"}
        payload: dict[str, object] = {**own, "source": "cli", "duration_ms": draw.randrange(60_000)}
        if layer is Layer.BASE:
            facts = Facts("linux", "6.1.0", "amd64", "en-US", "Europe/Vienna", "native")
            payload = dict(
                build(
                    name,
                    install_id=install,
                    app_version="2.4.0",
                    facts=facts,
                    first_seen_at="2026-01-31T09:30:00Z",
                    now_ns=made,
                    release_channel="stable",
                )
            )
        uid = f"{draw.getrandbits(128):032x}"
        body = otlp.encode_record(name=name, uid=uid, identity=install, made_ns=made, payload=payload)
        records.append((otlp.encode_envelope(app="acme-notes", version="2.4.0", layer=layer), body))
    body = otlp.encode_request(records)
    return _HEAD_BYTES + len(otlp.packed(body))
