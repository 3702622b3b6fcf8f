"""The targets, each judged from the tables of the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Table, spread
from peers import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Verdict", "judge"]

_MANUAL, _BACKGROUND, _SYNC = (peer.name for peer in OURS)
_OTEL = "OpenTelemetry protobuf"
_SQLITE = "SQLite: one row inserted and committed, WAL, synchronous=NORMAL, connection held"
_LOOK = "os.stat of the state file and four variables looked up in os.environ"
_NEAR = 2.0  # times what cannot be left out, within which a call is held to be at its limit
_DRAIN = "SQLite: 512 rows read, deleted, overwritten and committed at once, per row"
_CHECK = "checksum of one record, by which a damaged one is told"
_JSON = "json.dumps of one record with twelve attributes"
_GZIP = "gzip level 8 of 512 records, per record"
_POST = "one loopback POST by requests, kept alive"
_BATCH = 512
_FLAT = 1.25  # medians of loops on a machine that does other things too differ by as much


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target as this run shows it.

    Attributes:
        target: What was to be reached.
        measured: What was measured, in words.
        verdict: ``met``, ``not met`` or ``physical limit``: what one unavoidable part costs alone is more already.
    """

    target: str
    measured: str
    verdict: str


class _Run:
    """Looks up medians in the tables of a run."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    def value(self, table: str, row: str, column: str) -> float:
        return spread(self._tables[table].rows[row][column])

    def limit(self, *rows: str) -> float:
        """Return what these parts cost alone, in microseconds."""
        return sum(self.value("limits", row, "p50") for row in rows)

    def peers(self, table: str, column: str) -> dict[str, float]:
        rows = self._tables[table].rows
        ours = ("telemetry_sdk", "no SDK")
        return {name: spread(row[column]) for name, row in rows.items() if column in row and not name.startswith(ours)}


def judge(tables: Mapping[str, Table]) -> list[Verdict]:
    """Return the verdicts that these tables allow; a target whose tables or peers are missing is left out."""
    run = _Run(tables)
    verdicts = []
    for rule in _RULES:
        try:
            verdicts.append(rule(run))
        except (KeyError, ValueError):  # a case was not run, or no peer that has it
            continue
    return verdicts


def _said(*, met: bool) -> str:
    return "met" if met else "not met"


def _import(run: _Run) -> Verdict:
    ours = run.value("import", _MANUAL, "both")
    peers = run.peers("import", "both")
    lightest = min(peers, key=peers.__getitem__)
    ratio = ours / peers[lightest]
    measured = f"{ours:.1f} ms against {peers[lightest]:.1f} ms ({lightest}): {ratio:.2f} x"
    return Verdict("import + construction <= 0.5 x the lightest peer", measured, _said(met=ratio <= 0.5))


def _durable(run: _Run) -> Verdict:
    ours, otel = run.value("call", _MANUAL, "tight"), run.value("call", _OTEL, "tight")
    paced = run.value("call", _MANUAL, "p50") / run.value("call", _OTEL, "p50")
    sqlite = run.value("limits", _SQLITE, "p50")
    measured = (
        f"{ours:.1f} us against {otel:.1f} us: {ours / otel:.1f} x back to back, {paced:.1f} x with pauses; "
        f"SQLite alone takes {sqlite:.1f} us ({sqlite / otel:.1f} x)"
    )
    limit = "physical limit" if sqlite > otel else "not met"
    return Verdict(
        "durable call <= 1.0 x OpenTelemetry's in-memory emit (p50)", measured, "met" if ours <= otel else limit
    )


def _processes(run: _Run) -> Verdict:
    taken = {name: run.value("processes", name, "p99") for name in (_MANUAL, _BACKGROUND)}
    measured = ", ".join(f"{name.split()[-1]} {value:.0f} us" for name, value in taken.items())
    return Verdict("durable call, p99 <= 600 us with 4 processes", measured, _said(met=max(taken.values()) <= 600))


def _opted_out(run: _Run) -> Verdict:
    ours = {what: run.value("opted_out", f"telemetry_sdk {what}", "mean") for what in ("declined", "DO_NOT_TRACK")}
    posthog, look = run.value("opted_out", "PostHog", "mean"), run.value("limits", _LOOK, "p50")
    allowed = max(2.0, 0.1 * posthog)
    measured = ", ".join(f"{what} {value:.2f} us ({value / posthog:.2f} x)" for what, value in ours.items())
    measured += f"; the state file and the switches, which every call looks at, take {look:.2f} us alone"
    over = [what for what, value in ours.items() if value > allowed]
    # A switch that is set decides alone; only who declined is looked up in the file.
    at_limit = over == ["declined"] and allowed < look and ours["declined"] <= _NEAR * look
    return Verdict(
        "opted-out call <= 0.1 x PostHog's disabled call, or <= 2 us",
        measured,
        "physical limit" if at_limit else _said(met=not over),
    )


def _throughput(run: _Run) -> Verdict:
    """Judge both ways of counting; what each cannot do without is summed from the parts measured in the same run."""
    drained = run.limit(_DRAIN, _CHECK, _GZIP) + run.limit(_POST) / _BATCH
    ways = (("drain", "all waiting", drained), ("whole", "from the first call", drained + run.limit(_SQLITE, _JSON)))
    parts, verdicts = [], []
    for column, words, least in ways:
        ours = max(run.value("throughput", name, column) for name in (_MANUAL, _BACKGROUND))
        peers = run.peers("throughput", column)
        best = max(peers, key=peers.__getitem__)
        allowed = 1e6 / (1.5 * peers[best])
        parts.append(
            f"{words} {ours:,.0f}/s against {peers[best]:,.0f}/s ({best}): {ours / peers[best]:.2f} x; {allowed:.1f} "
            f"us an event are allowed, its parts take {least:.1f} us alone"
        )
        verdicts.append("met" if 1e6 / ours <= allowed else "physical limit" if least > allowed else "not met")
    worst = max(verdicts, key=("met", "physical limit", "not met").index)
    return Verdict("delivered events per second >= 1.5 x the best peer", "; ".join(parts), worst)


def _size(run: _Run) -> Verdict:
    ours, otel = run.value("size", _MANUAL, "body"), run.value("size", f"{_OTEL}, gzip", "body")
    measured = f"{ours:.1f} B against {otel:.1f} B: {ours / otel:.2f} x"
    return Verdict(
        "gzip bytes per event <= 1.2 x OpenTelemetry's protobuf with gzip", measured, _said(met=ours <= 1.2 * otel)
    )


def _exit(run: _Run) -> Verdict:
    peers = run.peers("exit", "hang_exit")
    best = min(peers, key=peers.__getitem__)
    ours = {name.split()[-1]: run.value("exit", name, "hang_exit") for name in (_MANUAL, _BACKGROUND, _SYNC)}
    parts = ", ".join(f"{mode} {value:.2f} s ({value / peers[best]:.2f} x)" for mode, value in ours.items())
    late = {mode for mode, value in ours.items() if value > 0.1 * peers[best]}
    short, full = (run.value("far", f"exit_timeout {seconds}", "arrived") for seconds in (0.1, 0.5))
    far = f"of a short program's events {short:.0f} had reached a far sink after 0.1 s, {full:.0f} after 0.5 s"
    is_limit = late == {"background"} and short == 0 < full and 0.1 * peers[best] < 0.2
    return Verdict(
        "exit with a hanging sink <= 0.1 x the best peer",
        f"{parts} against {peers[best]:.2f} s ({best}); {far}",
        "physical limit" if is_limit else _said(met=not late),
    )


def _flat(run: _Run) -> Verdict:
    growth = {name.split()[-1]: run.value("depth", name, "growth") for name in (_MANUAL, _BACKGROUND)}
    measured = ", ".join(f"{mode}: last tenth {value:.2f} x the first" for mode, value in growth.items())
    met = max(growth.values()) <= _FLAT
    return Verdict("cost per call flat from an empty outbox to 10,000 pending", measured, _said(met=met))


def _idle(run: _Run) -> Verdict:
    names = (_MANUAL, _BACKGROUND, _SYNC)
    woken = max(run.value("idle", name, "woken") for name in names)
    cpu = max(run.value("idle", name, "cpu") - run.value("idle", "no SDK", "cpu") for name in names)
    measured = f"{woken:.1f} wake-ups a second, {max(cpu, 0):.2f} ms CPU a second more than no SDK"
    return Verdict("an idle Telemetry uses no CPU (no polling)", measured, _said(met=woken < 0.5 and cpu < 0.5))


def _herd(run: _Run) -> Verdict:
    rows = ("100,000 installs", "10,000,000 installs")
    ratios = {name: run.value("fleet", name, "back_ratio") for name in rows}
    measured = ", ".join(f"{name}: {ratio:.2f} x the mean" for name, ratio in ratios.items())
    met = max(ratios.values()) <= 3.0
    return Verdict("a sink back after a day: busiest minute <= 3 x the mean", measured, _said(met=met))


_RULES: tuple[Callable[[_Run], Verdict], ...] = (
    _import,
    _durable,
    _processes,
    _opted_out,
    _throughput,
    _size,
    _exit,
    _flat,
    _idle,
    _herd,
)
