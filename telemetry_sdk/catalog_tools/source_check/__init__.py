"""Compares a host's Python source with its catalogue. Reads the files, and runs none of them.

What is found, by kind:

    undeclared-event      a call sends an event that the catalogue does not have
    undeclared-property   ... or a property that its event does not have
    wrong-value           ... or a value that is not of the declared type, or not among the allowed ones
    dead-event            the catalogue has an event that no call sends
    expired-event         ... or one that has expired, so that it does not leave any more
    unreadable            a file cannot be read, or is not Python
    unchecked             a name or property is only known while running; the one kind that is a warning
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk.catalog_tools.source_check.comparison import UNCHECKED, Comparison, Finding
from telemetry_sdk.catalog_tools.source_check.files import read_all
from telemetry_sdk.catalog_tools.source_check.reading import read_module
from telemetry_sdk.catalog_tools.source_check.sources import Sources

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from telemetry_sdk.analytics.catalog import Catalog

__all__ = ["UNCHECKED", "Finding", "check"]


def check(
    catalog: Catalog,
    paths: Iterable[str | os.PathLike[str]],
    *,
    where: str = "telemetry.toml",
    today: str = "",
) -> list[Finding]:
    """Return what does not fit, by file and line. Takes as long as reading and parsing the files.

    Args:
        catalog: The catalogue.
        paths: Files and directories, all of which count: tests too, if they are among them.
        where: Name of the catalogue's file, for what is found there.
        today: The UTC day, ``YYYY-MM-DD``; without it nothing has expired.
    """
    files = list(read_all(paths))
    sources = Sources(read_module(file.path, file.tree) for file in files if file.tree is not None)
    comparison = Comparison(catalog, sources)
    comparison.run()
    findings = comparison.findings | {
        Finding(file.path, file.line, "unreadable", file.problem) for file in files if file.problem
    }
    mentioned = {text for module in sources.modules for text in module.strings} if comparison.is_open else set()
    for kind, message in _of_catalog(catalog, comparison.sent | mentioned, today):
        findings.add(Finding(where, 0, kind, message))
    return sorted(findings)


def _of_catalog(catalog: Catalog, sent: set[str], today: str) -> Iterator[tuple[str, str]]:
    for name, spec in catalog.events.items():
        if spec.expires and today >= spec.expires:
            yield "expired-event", f"{name} expired on {spec.expires}; remove it and its calls, or prolong it"
        elif name not in sent:
            yield "dead-event", f"{name} is declared, and no call sends it"
