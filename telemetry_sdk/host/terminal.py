"""The one door to standard error: for the first-run notice, and for records under ``<APP>_TELEMETRY=log``."""

from __future__ import annotations

import sys


def is_terminal() -> bool:
    """Tell whether somebody can read standard error now."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (ValueError, OSError):  # closed
        return False


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
