"""The one door to the terminal: for the first-run notice, a question, and records under ``<APP>_TELEMETRY=log``."""

from __future__ import annotations

import sys


def is_terminal() -> bool:
    """Tell whether somebody can read standard error now."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (ValueError, OSError):  # closed
        return False


def can_answer() -> bool:
    """Tell whether somebody can read a question on standard error and answer it on standard input."""
    try:
        return is_terminal() and sys.stdin is not None and sys.stdin.isatty()
    except (ValueError, OSError):  # closed
        return False


def question(text: str) -> str:
    """Write *text* and return the line that is typed, with its end; empty when the input ended, or nobody was asked."""
    if not write(text):
        return ""
    try:
        return sys.stdin.readline()
    except (ValueError, OSError):
        return ""


def write(text: str) -> bool:
    """Write *text*, with what its encoding does not know escaped, and tell whether it got there."""
    stream = sys.stderr
    if stream is None:
        return False
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (ValueError, OSError):  # closed, or a pipe nobody reads
        return False
    return True
