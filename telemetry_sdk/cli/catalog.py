"""``catalog`` and ``privacy``: pages made from the catalogue and the schema, and the check of an app's source.

``catalog`` writes the page about an app's events and compares the catalogue with the app's source; ``privacy`` writes
the page that tells users what is sent and what they can do about it.
"""

from __future__ import annotations

import difflib
import os
import time
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.catalog import Catalog, unmarked
from telemetry_sdk.analytics.catalog.format import load
from telemetry_sdk.catalog_tools.pages import events_page, privacy_page
from telemetry_sdk.cli.output import FAILED, OK, Output, counted, fail, safe, tell_json
from telemetry_sdk.model import NANOSECONDS, ConfigError, utc_day

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_PAGE: Final = "all_tracked_events.md"
_PRIVACY_PAGE: Final = "privacy.md"
_WIDTH: Final = 300
_MOST_LINES: Final = 20


def add_catalog(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to *commands*."""
    catalog = commands.add_parser(
        "catalog",
        help="document an app's events, and find those that are not declared",
        description="Work with the catalogue of an app's events, telemetry.toml.",
    )
    inner = catalog.add_subparsers(title="commands", metavar="COMMAND", required=True)
    docs = inner.add_parser(
        "docs",
        help=f"write {_PAGE}",
        description="Write the page that says everything the app may send.",
    )
    docs.add_argument("file", metavar="FILE", help="the catalogue")
    docs.add_argument("--output", metavar="PATH", default=_PAGE, help="the page (default: %(default)s)")
    docs.add_argument("--check", action="store_true", help="write nothing; fail if the page is not up to date")
    docs.set_defaults(run=_docs)
    check = inner.add_parser(
        "check",
        help="compare the catalogue with Python source",
        description="Find events and properties that are sent and not declared, or declared and not sent.",
    )
    check.add_argument("file", metavar="FILE", help="the catalogue")
    check.add_argument("paths", metavar="PATH", nargs="+", help="a Python file, or a directory of them")
    check.add_argument(
        "--released", metavar="FILE", help="the catalogue users agreed to last; finds news without since"
    )
    check.add_argument("--strict", action="store_true", help="fail on warnings too")
    check.add_argument("--json", action="store_true", help="print what was found as JSON")
    check.set_defaults(run=_check)


def _docs(arguments: argparse.Namespace) -> int:
    try:
        page = events_page(load(arguments.file), os.path.basename(arguments.file))
    except ConfigError as error:
        return fail(str(error))
    return _put(page, arguments.output, check=arguments.check, source=arguments.file, command="catalog docs")


def _check(arguments: argparse.Namespace) -> int:
    try:
        from telemetry_sdk.catalog_tools import source_check
    except ModuleNotFoundError:
        return fail("catalog check needs astroid: pip install 'telemetry-sdk[catalog]'")
    try:
        catalog = load(arguments.file)
        released = load(arguments.released) if arguments.released is not None else None
    except ConfigError as error:
        return fail(str(error))
    today = utc_day(time.time_ns() / NANOSECONDS)
    found = source_check.check(catalog, arguments.paths, where=arguments.file, today=today)
    for problem in _unmarked(catalog, released) if released else ():
        found.append(source_check.Finding(arguments.file, 0, "unmarked", problem))
    is_warning = [it.kind == source_check.UNCHECKED for it in found]
    if arguments.json:
        listed = [{**it._asdict(), "is_warning": warns} for it, warns in zip(found, is_warning, strict=True)]
        tell_json(listed)
    else:
        output = Output()
        for it, warns in zip(found, is_warning, strict=True):
            place = safe(f"{it.path}:{it.line}" if it.line else it.path, _WIDTH)
            output.line(f"{place}: {'warning' if warns else 'error'}: {safe(it.message, _WIDTH)} [{it.kind}]")
        output.line(f"{counted(is_warning.count(False), 'error')}, {counted(is_warning.count(True), 'warning')}")
    return FAILED if any(arguments.strict or not warns for warns in is_warning) else OK


def _unmarked(catalog: Catalog, released: Catalog) -> Iterator[str]:
    yield from (problem for _, problem in unmarked(catalog, released))
    if catalog.version < released.version:
        yield f"version {catalog.version} is older than the released {released.version}"


def add_privacy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to *commands*."""
    privacy = commands.add_parser(
        "privacy",
        help="write the privacy page of an app",
        description="Write what an app sends, why, when, where to, how long it is kept, and how to see, stop and "
        "delete it, with a text for the vendor's own privacy policy.",
    )
    privacy.add_argument("--name", default="the program", help="the app's name (default: %(default)s)")
    privacy.add_argument("--sink", default="", metavar="HOST", help="where records go")
    privacy.add_argument("--catalog", metavar="FILE", help="the catalogue of the app's events")
    privacy.add_argument("--output", metavar="PATH", default=_PRIVACY_PAGE, help="the page (default: %(default)s)")
    privacy.add_argument("--check", action="store_true", help="write nothing; fail if the page is not up to date")
    privacy.set_defaults(run=_privacy)


def _privacy(arguments: argparse.Namespace) -> int:
    try:
        catalog = load(arguments.catalog) if arguments.catalog is not None else None
    except ConfigError as error:
        return fail(str(error))
    page = privacy_page(app=arguments.name, sink=arguments.sink, catalog=catalog)
    return _put(page, arguments.output, check=arguments.check, source="the source", command="privacy")


def _put(page: str, path: str, *, check: bool, source: str, command: str) -> int:
    """Write *page*, made by *command* from *source*, to *path*, or *check* that it is there; return the exit code."""
    try:
        if check:
            return _compare(page, path, source, command)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a possible path"
        return fail(f"cannot {'read' if check else 'write'} {path}: {problem}")
    Output().line(f"wrote {safe(path)}")
    return OK


def _compare(page: str, path: str, source: str, command: str) -> int:
    with open(path, "rb") as file:
        # A checkout may have changed the line ends.
        found = file.read().decode("utf-8", "replace").replace("\r\n", "\n")
    output = Output()
    if found == page:
        output.line(f"{safe(path)} is up to date")
        return OK
    fail(f"{path} is not what {source} says; run {command} without --check")
    lines = list(difflib.unified_diff(found.split("\n"), page.split("\n"), "page", "source", n=0, lineterm=""))
    for line in lines[:_MOST_LINES]:
        output.line(safe(line, _WIDTH))
    if len(lines) > _MOST_LINES:
        output.line(f"... and {len(lines) - _MOST_LINES} more lines")
    return FAILED
