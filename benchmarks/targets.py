"""The targets, each judged from the tables of the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import Table, spread
from cases.run_price import FLOOR
from cases.web_app import PAGE_VIEWS
from peers import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Verdict", "judge"]

_MANUAL, _BACKGROUND, _SYNC = (peer.name for peer in OURS)
_OTEL, _POSTHOG = "OpenTelemetry protobuf", "PostHog"
_LOOK = "os.stat of the state file and four variables looked up in os.environ"
_NEAR = 2.0  # times what cannot be left out, within which a call is held to be at its limit
_CALL_BOUNDS = (
    (_MANUAL, "modules", 15),
    (_MANUAL, "changes", 40),
    (_SYNC, "transactions", 4),
    (_SYNC, "looks", 3),
    (_SYNC, "upward", 2),
)
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

    def ratio(self, table: str, row: str, column: str, to: str) -> float:
        """Return the middle of the rounds' ratios: what disturbs the machine disturbs neighbours alike."""
        rows = self._tables[table].rows
        return spread([one / other for one, other in zip(rows[row][column], rows[to][column], strict=False)])

    def row(self, table: str, beginning: str) -> str:
        """Return the name of the row that begins so."""
        return next(name for name in self._tables[table].rows if name.startswith(beginning))

    def peers(self, table: str, column: str) -> dict[str, float]:
        rows = self._tables[table].rows
        ours = ("telemetry_sdk", "no SDK", "bare app")
        return {name: spread(row[column]) for name, row in rows.items() if column in row and not name.startswith(ours)}


def judge(tables: Mapping[str, Table]) -> list[Verdict]:
    """Return the verdicts that these tables allow; a target whose tables or peers are missing is left out."""
    run = _Run(tables)
    verdicts = []
    for rule in _RULES:
        try:
            verdicts.append(rule(run))
        except (KeyError, StopIteration, ValueError):  # a case was not run, or no peer that has it
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


def _run_price(run: _Run) -> Verdict:
    ratio = run.ratio("run", _MANUAL, "added", FLOOR)
    parts = ", ".join(f"{run.value('run', row, 'added'):.1f} ms" for row in (_MANUAL, FLOOR))
    measured = f"{parts} ({FLOOR}): {ratio:.2f} x"
    return Verdict("CPU added by a run in manual mode <= 2.0 x its least parts", measured, _said(met=ratio <= 2.0))


def _durable(run: _Run) -> Verdict:
    ratios = {name: run.ratio("call", name, "tight", _POSTHOG) for name in (_MANUAL, _BACKGROUND)}
    paced = {name: run.ratio("call", name, "p50", _POSTHOG) for name in ratios}
    measured = f"{run.value('call', _POSTHOG, 'tight'):.1f} us there; " + "; ".join(
        f"{name.split()[-1]} {run.value('call', name, 'tight'):.1f} us: {ratio:.2f} x back to back, "
        f"{paced[name]:.2f} x with pauses"
        for name, ratio in ratios.items()
    )
    return Verdict(
        "durable call <= 0.85 x PostHog's in-memory call (p50)", measured, _said(met=max(ratios.values()) <= 0.85)
    )


def _processes(run: _Run) -> Verdict:
    slowest = {name: run.value("processes", name, "p99") for name in (_MANUAL, _BACKGROUND)}
    ratios = {name: run.ratio("processes", name, "p50", _POSTHOG) for name in slowest}
    measured = "; ".join(f"{name.split()[-1]} {ratios[name]:.2f} x, p99 {slowest[name]:.0f} us" for name in slowest)
    met = max(ratios.values()) <= 1.0 and max(slowest.values()) <= 600
    return Verdict("durable call with 4 processes: p50 <= 1.0 x PostHog's, p99 <= 600 us", measured, _said(met=met))


def _call_price(run: _Run) -> Verdict:
    found = [(mode, key, run.value("call_price", mode, key), most) for mode, key, most in _CALL_BOUNDS]
    measured = ", ".join(f"{mode.split()[-1]} {value:.0f} {key} (at most {most})" for mode, key, value, most in found)
    return Verdict("how far a call travels", measured, _said(met=all(value <= most for _, _, value, most in found)))


def _sync(run: _Run) -> Verdict:
    older = run.row("sync", f"{_SYNC}, ")
    ratio = run.ratio("sync", _SYNC, "beyond", older)
    values = " against ".join(f"{run.value('sync', row, 'beyond'):.0f} us" for row in (_SYNC, older))
    measured = f"{values} ({older.rpartition(' ')[2]}): {ratio:.2f} x"
    return Verdict("sync call beyond the round trip <= 0.5 x the older state", measured, _said(met=ratio <= 0.5))


def _web(run: _Run) -> Verdict:
    rate, p99 = (run.ratio("web", _BACKGROUND, column, _POSTHOG) for column in ("rate", "p99"))
    shares = ", ".join(f"{name} {run.value('web', name, 'share'):.0f} %" for name in (_BACKGROUND, _POSTHOG))
    measured = f"{rate:.2f} x the requests, {p99:.2f} x the p99; of the bare app's requests: {shares}"
    met = rate >= 1.15 and p99 <= 1.0
    return Verdict("web app: requests >= 1.15 x and p99 <= 1.0 x those with PostHog", measured, _said(met=met))


def _page_views(run: _Run) -> Verdict:
    share = run.value("web", PAGE_VIEWS, "share")
    measured = f"{share:.0f} % of the requests of the bare app"
    return Verdict("web app with page views >= 45 % of the bare app", measured, _said(met=share >= 45))


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
    peers = run.peers("throughput", "drain")
    best = max(peers, key=peers.__getitem__)
    ratios = {name: run.ratio("throughput", name, "drain", best) for name in (_MANUAL, _BACKGROUND)}
    measured = f"{peers[best]:,.0f}/s ({best}); " + ", ".join(
        f"{name.split()[-1]} {run.value('throughput', name, 'drain'):,.0f}/s: {ratio:.2f} x"
        for name, ratio in ratios.items()
    )
    # In manual mode all of them lay in the spool when the clock began; in background some had been taken in.
    return Verdict(
        "drain of waiting events, the take-in included, >= 0.85 x the best peer's from memory",
        measured,
        _said(met=ratios[_MANUAL] >= 0.85),
    )


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
    _run_price,
    _durable,
    _processes,
    _call_price,
    _sync,
    _opted_out,
    _throughput,
    _web,
    _page_views,
    _size,
    _exit,
    _flat,
    _idle,
    _herd,
)
