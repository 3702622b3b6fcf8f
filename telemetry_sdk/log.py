"""Our one logger. What Python's logging costs to load is paid by those who have something to say."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

__all__ = ["logger"]


@functools.cache
def logger() -> logging.Logger:
    """Return the logger. It prints nothing unless the host wants to hear it."""
    import logging

    found = logging.getLogger("telemetry_sdk")
    found.addHandler(logging.NullHandler())
    return found
