"""What is heard of us: our one logger, and silence from the libraries below us while they work for us.

Only in the thread that works for us, and only while it does: what they say when the host calls them is heard as ever,
and nothing the host has set up is changed. What Python's logging costs to load is paid by those who have something to
say.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

_LOGGERS: Final = (
    *("filelock", "tzlocal", "charset_normalizer", "urllib3.connection", "urllib3.connectionpool"),
    *("urllib3.poolmanager", "urllib3.response", "urllib3.util.retry"),
)
_mine: Final = threading.local()


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Drop what these libraries log in this thread: addresses, paths, the traceback of an answer's odd header."""
    _install()
    before = getattr(_mine, "is_quiet", False)
    _mine.is_quiet = True
    try:
        yield
    finally:
        _mine.is_quiet = before


@functools.cache
def _install() -> None:
    """Give each logger one filter, for good: taking it back could make another thread miss the host's own."""
    import logging

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_heard)


def _is_heard(_: logging.LogRecord) -> bool:
    return not getattr(_mine, "is_quiet", False)


@contextlib.contextmanager
def quiet_warnings() -> Iterator[None]:
    """Ignore warnings in this thread, also where the host makes errors of them.

    Not by `warnings.catch_warnings`, which would take the filters away from every other thread meanwhile.
    """
    here = _Here()
    found = warnings.filters
    quiet = ("ignore", None, Warning, here, 0)
    found.insert(0, quiet)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        here.is_over = True
        # Another thread may have entered or left a `catch_warnings`, which changes the list for a copy.
        for filters in (found, warnings.filters):
            with contextlib.suppress(ValueError):
                filters.remove(quiet)  # type: ignore[attr-defined]


class _Here:
    """Stands in a warning filter where a pattern of module names stands, and matches every module in one thread."""

    def __init__(self) -> None:
        self.is_over = False
        self._thread = threading.get_ident()

    def match(self, _: str) -> bool:
        return not self.is_over and threading.get_ident() == self._thread


@functools.cache
def logger() -> logging.Logger:
    """Return the logger. It prints nothing unless the host wants to hear it."""
    import logging

    found = logging.getLogger("telemetry_sdk")
    found.addHandler(logging.NullHandler())
    return found
