"""What commands show: exit codes, text that cannot drive a terminal, generated pages.

The one module of the commands that prints.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAILED", "MISUSED", "OK", "WIDTH", "Output", "complain", "counted", "fail", "put", "safe", "without_home"]

OK: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
_SHOWN_CHARACTERS: Final = 200
_LONGEST_COMPLAINT: Final = 2000


def safe(text: str, limit: int = _SHOWN_CHARACTERS) -> str:
    """Return *text* cut to *limit* characters, with everything that is not plainly visible escaped."""
    cut = text if len(text) <= limit else f"{text[:limit]}..."
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return visible.encode(encoding, "backslashreplace").decode(encoding)


def without_home(text: str, environ: Mapping[str, str]) -> str:
    """Return *text* with ``~`` for the user's home directory, whose name is often the user's."""
    home = (environ.get("HOME") or environ.get("USERPROFILE") or "").rstrip("/\\")
    return text.replace(home, "~") if len(home) > 1 else text


def counted(number: int, what: str) -> str:
    """Return *number* and *what*, in the plural if it is not one."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def complain(text: str) -> None:
    """Say on standard error what went wrong."""
    terminal.write(f"{safe(text, _LONGEST_COMPLAINT)}\n")


class Output:
    """Standard output, for as long as somebody reads it."""

    def __init__(self) -> None:
        self._lost = False

    def line(self, text: str = "") -> None:
        """Print one line at once. When the reader is gone, this and all later lines are dropped in silence."""
        if self._lost:
            return
        try:
            print(text, flush=True)
        except OSError:
            self._lost = True
            # Python flushes what is left at exit, and would complain again.
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


WIDTH: Final = 300
_MOST_LINES: Final = 20


def put(page: str, path: str, *, check: bool, source: str, command: str) -> int:
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
        output.line(safe(line, WIDTH))
    if len(lines) > _MOST_LINES:
        output.line(f"... and {len(lines) - _MOST_LINES} more lines")
    return FAILED


def fail(problem: str) -> int:
    """Say on standard error what could not be done, and return the exit code for that."""
    complain(f"error: {problem}")
    return FAILED
