"""What every command says: exit codes, and text that cannot drive a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final

from telemetry_sdk.host import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAILED", "MISUSED", "OK", "Output", "complain", "safe", "without_home"]

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
