"""Consent as a state machine: any order of calls, crashes, second objects and edits by hand."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from profiles import examples
from sink_server import Reply, SinkServer, attributes

from telemetry_sdk import Telemetry
from telemetry_sdk.client import override
from telemetry_sdk.client.override import engine_of

EVENT = "timer.started"
WHICH = st.integers(0, 2)


class Killed(BaseException):
    """Stands for the end of a process: nothing of the package catches it."""


class ConsentMachine(RuleBasedStateMachine):
    """Knows of each acknowledged event whether it may still leave, and compares that with what the sink received.

    ``waiting``: acknowledged, allowed, not yet seen at the sink. ``forbidden``: its consent was withdrawn before it
    was sent. ``open``: withdrawn and given again by an edit that no program saw, so that either is right.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.state = self.directory / "state"
        self.sink = SinkServer()
        self.objects: list[Telemetry] = []
        self.gone: list[Telemetry] = []
        self.consent = False
        self.waiting: set[str] = set()
        self.forbidden: set[str] = set()
        self.open: set[str] = set()
        self.arrived: set[str] = set()
        self.unsettled: set[str] = set()

    @initialize(mode=st.sampled_from(["sync", "manual"]))
    def begin(self, mode: str) -> None:
        self.mode = mode
        self.objects = [self.made(), self.made()]
        self.opt_in(0)

    def made(self) -> Telemetry:
        with override.supplied(environ={}):
            return Telemetry(
                "acme-notes", version="2.4.0", endpoint=self.sink.url, state_dir=self.state, delivery=self.mode,
                strict=True, timeout=20,
            )  # fmt: skip

    def pick(self, which: int) -> Telemetry:
        return self.objects[which % len(self.objects)]

    def look(self) -> None:
        """Take note of what the sink received, and check that it was allowed."""
        received = [attributes(r)["log.record.uid"] for r in self.sink.accepted if r["eventName"] == EVENT]
        for uid, times in Counter(received).items():
            assert times == 1 or uid in self.unsettled, "sent twice"
            if uid in self.arrived:
                continue
            assert uid not in self.forbidden, "sent although its consent had been withdrawn"
            assert uid in self.waiting | self.open, "sent although nobody acknowledged it"
            self.arrived.add(uid)
            self.waiting.discard(uid)
            self.open.discard(uid)
        assert self.consent or not (self.waiting or self.open)

    def withdrawn(self) -> None:
        self.look()
        self.consent = False
        self.forbidden |= self.waiting | self.open
        self.waiting, self.open = set(), set()

    @rule(which=WHICH, times=st.integers(1, 3))
    def track(self, which: int, times: int) -> None:
        for n in range(times):
            receipt = self.pick(which).track_event(EVENT, {"n": n})
            assert bool(receipt) is self.consent, receipt
            if receipt:
                assert receipt.uid is not None
                self.waiting.add(receipt.uid)

    @precondition(lambda self: self.consent)
    @rule(which=WHICH)
    def track_under_consent(self, which: int) -> None:
        """Once more, for hypothesis leaves out some rules of each example, and without events nothing can go wrong."""
        self.track(which, 2)

    def opt_in(self, which: int) -> None:
        self.pick(which).opt_in()
        self.consent = True
        assert all(telemetry.is_detailed_analytics_enabled() for telemetry in self.objects)

    @rule(which=WHICH, yes=st.booleans())
    def decide(self, which: int, yes: bool) -> None:
        self.opt_in(which) if yes else self.opt_out(which)

    def opt_out(self, which: int) -> None:
        assert self.pick(which).opt_out() is True
        self.withdrawn()
        assert not any(telemetry.is_detailed_analytics_enabled() for telemetry in self.objects)
        stored = (self.state / "outbox.sqlite3").read_bytes() if (self.state / "outbox.sqlite3").exists() else b""
        log = b"".join(request.body for request in self.pick(which).sent_log())
        assert not [uid for uid in self.forbidden if uid.encode() in stored and uid.encode() not in log]

    @rule(which=WHICH)
    def flush(self, which: int) -> None:
        report = self.pick(which).flush(20)
        self.look()
        assert not self.up or report.kept == 0

    @rule(which=WHICH, kind=st.sampled_from(["start", "close", "crash"]))
    def live(self, which: int, kind: str) -> None:
        if kind == "start":
            self.pick(which).start()
        elif kind == "close":
            self.pick(which).close()
        else:
            self.crash(which)

    def crash(self, which: int) -> None:
        """The object is gone without a close; another takes its place."""
        place = which % len(self.objects)
        self.gone.append(self.objects[place])
        self.objects[place] = self.made()

    @rule(which=WHICH)
    def crash_between_answer_and_settling(self, which: int) -> None:
        victim = self.pick(which)

        def dying(*_: Any, **__: Any) -> None:
            raise Killed

        outbox: Any = engine_of(victim).session.outbox
        outbox.settle = dying
        before = len(self.sink.requests)
        try:
            victim.flush(20)
        except Killed:
            uids = {attributes(r)["log.record.uid"] for q in self.sink.requests[before:] for r in q.records}
            self.unsettled |= uids
        self.look()
        self.crash(which)

    @rule(up=st.booleans())
    def turn_sink(self, up: bool) -> None:
        self.sink.reply = Reply() if up else Reply(503)

    @property
    def up(self) -> bool:
        return self.sink.reply.status == 200

    @rule(
        which=WHICH,
        value=st.sampled_from([False, False, None, "yes", 1, "gone", "spoilt"]),
        then=st.sampled_from(["nothing", "opt in", "opt in", "opt out"]),
    )
    def edit_no(self, which: int, value: object, then: str) -> None:
        """A person writes no, null or nonsense into the file, or takes the key out; before anybody looks, a call comes.

        What was made under the consent before is withdrawn, whatever is decided after.
        """
        path = self.state / "installation.json"
        if not path.exists():
            return
        if value == "spoilt":
            path.write_text('{"telemetry_enabled": true')
            then = then if then != "nothing" else "opt out"  # else `edit_yes` finds nothing to edit
        else:
            document = json.loads(path.read_text())
            document["telemetry_enabled"] = value
            if value == "gone":
                del document["telemetry_enabled"]
            path.write_text(json.dumps(document))
        self.withdrawn()
        if then != "nothing":
            self.decide(which, then == "opt in")

    @precondition(lambda self: (self.state / "installation.json").exists() and not self.consent)
    @rule()
    def edit_yes(self) -> None:
        path = self.state / "installation.json"
        document = json.loads(path.read_text())
        document["telemetry_enabled"] = True
        path.write_text(json.dumps(document))
        self.consent = True
        # The date is that of the consent before, and no program need have run in between.
        self.open |= self.forbidden - self.arrived
        self.forbidden = set()

    @invariant()
    def nothing_forbidden_arrived(self) -> None:
        self.look()

    def teardown(self) -> None:
        try:
            self.sink.reply = Reply()
            if hasattr(self, "mode"):
                last = self.made()
                self.objects.append(last)
                report = last.flush(20)
                assert report.kept == 0, report
                self.look()
                assert not self.waiting, "acknowledged and never forbidden, yet it did not arrive"
        finally:
            for telemetry in self.objects + self.gone:
                telemetry.close(0)
            self.sink.stop()
            shutil.rmtree(self.directory, ignore_errors=True)


TestConsent = pytest.mark.timeout(300)(ConsentMachine.TestCase)
TestConsent.settings = examples(
    150,
    steps=40,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
TestConsent.__doc__ = """Whatever is called in whatever order, nothing forbidden leaves, and all that was acknowledged and not forbidden
arrives, once."""
