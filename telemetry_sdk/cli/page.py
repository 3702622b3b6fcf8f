"""Generated pages: written to a file, or compared with it."""

from __future__ import annotations

import difflib
import sys
from typing import Final

from telemetry_sdk.cli.output import FAILED, OK, Output, safe

__all__ = ["WIDTH", "fail", "put"]

WIDTH: Final = 300
_MOST_LINES: Final = 20


def put(page: str, path: str, *, check: bool, source: str, command: str) -> int:
    """Write *page* to *path*, or with *check* say whether it is there already; return the exit code.

    Args:
        page: The page.
        path: The file.
        check: Whether to compare only.
        source: What the page is made from, for the message.
        command: The command that makes it.
    """
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
        output.line(safe(line, WIDTH))
    if len(lines) > _MOST_LINES:
        output.line(f"... and {len(lines) - _MOST_LINES} more lines")
    return FAILED


def fail(problem: str) -> int:
    """Say on standard error what could not be done, and return the exit code for that."""
    print(f"error: {safe(problem, 2 * WIDTH)}", file=sys.stderr)
    return FAILED
