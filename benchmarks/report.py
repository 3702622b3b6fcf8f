"""Results as JSON and as Markdown. The Markdown is made from the JSON, so the document shows what was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench import Column, Table, spread
from peers import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from targets import Verdict

__all__ = ["as_json", "blocks", "read", "write_document"]

_BASE = OURS[0].name


def as_json(
    tables: Sequence[Table], verdicts: Sequence[Verdict], machine: Mapping[str, object], packages: Mapping[str, str]
) -> dict[str, Any]:
    """Return a run as plain values: every round of every measurement, rounded."""
    return {
        "machine": dict(machine),
        "packages": dict(packages),
        "targets": [asdict(verdict) for verdict in verdicts],
        "tables": [
            {
                "key": table.key,
                "title": table.title,
                "text": table.text,
                "columns": [asdict(column) for column in table.columns],
                "rows": {
                    name: {key: [_rounded(value) for value in values] for key, values in row.items()}
                    for name, row in table.rows.items()
                },
            }
            for table in tables
        ],
    }


def read(results: Mapping[str, Any]) -> dict[str, Table]:
    """Return the tables of `as_json`'s value by their keys."""
    return {
        found["key"]: Table(
            **{**found, "columns": tuple(Column(**column) for column in found["columns"])},
        )
        for found in results["tables"]
    }


def blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the document's generated blocks: ``machine``, ``targets``, ``tables`` and ``fleet``."""
    tables = read(results)
    return {
        "machine": _machine(results),
        "targets": _targets(results["targets"]),
        "tables": "\n\n".join(_table(table) for key, table in tables.items() if key != "fleet"),
        "fleet": _table(tables["fleet"]) if "fleet" in tables else "",
    }


def write_document(path: Path, results: Mapping[str, Any]) -> None:
    """Replace the generated blocks of the document at *path*.

    Raises:
        ValueError: A block's markers are missing.
    """
    text = path.read_text("utf-8")
    for name, content in blocks(results).items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{path.name} has no block {name}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"
    path.write_text(text, "utf-8")


def _machine(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    quick = " A quick run: too short for conclusions." if machine["quick"] else ""
    packages = ", ".join(f"{name} {version}" for name, version in results["packages"].items())
    return (
        f"{machine['cpus']} CPUs, {machine['system']}, Python {machine['python']}, SQLite {machine['sqlite']}, "
        f"{machine['date']}.{quick}\nPackages: {packages}."
    )


def _targets(targets: Sequence[Mapping[str, str]]) -> str:
    lines = ["| target | measured in this run | verdict |", "|---|---|---|"]
    lines += [f"| {it['target']} | {it['measured']} | **{it['verdict']}** |" for it in targets]
    return "\n".join(lines)


def _table(table: Table) -> str:
    heads = [f"{column.title}{f' [{column.unit}]' if column.unit else ''}" for column in table.columns]
    lines = [
        f"### {table.title}",
        "",
        table.text,
        "",
        f"| | {' | '.join(heads)} |",
        f"|---|{'---|' * len(heads)}",
    ]
    base = table.rows.get(_BASE, {})
    for name, row in table.rows.items():
        cells = [_cell(column, row, base) for column in table.columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(column: Column, row: Mapping[str, Sequence[float]], base: Mapping[str, Sequence[float]]) -> str:
    if column.key not in row:
        return "-"
    value = spread(row[column.key])
    text = _number(value)
    if column.ratio and base.get(column.key) and spread(base[column.key]):
        text += f" ({_number(value / spread(base[column.key]))} x)"
    return text


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
