"""What is heard of us: our one logger, and silence from the libraries below us while they work for us.

Only in the thread that works for us, and only while it does: what they say when the host calls them is heard as ever,
and nothing the host has set up is changed. What Python's logging costs to load is paid by those who have something to
say.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

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


def nobodys_context() -> Context:
    """Return what work of ours is to be run in: an empty context, so that nothing of it is found in the host's traces.

    What an agent bound for the host's own requests and database calls is not there, nor are its ids sent with ours.
    """
    return Context()


def untraced() -> AbstractContextManager[object]:
    """Return what to enter in `nobodys_context`, for the instrumentations that act in an empty one too.

    OpenTelemetry's are told not to by this function of theirs; where it was not imported, nothing is instrumented.
    """
    instrumentation = sys.modules.get("opentelemetry.instrumentation.utils")
    suppressed: Callable[[], AbstractContextManager[object]]
    suppressed = getattr(instrumentation, "suppress_instrumentation", contextlib.nullcontext)
    return suppressed()


@functools.cache
def _install() -> None:
    """Give each logger one filter, for good: taking it back could make another thread miss the host's own."""
    import logging

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_heard)


def _is_heard(_: logging.LogRecord) -> bool:
    return not getattr(_mine, "is_quiet", False)


@functools.cache
def logger() -> logging.Logger:
    """Return the logger. It prints nothing unless the host wants to hear it."""
    import logging

    found = logging.getLogger("telemetry_sdk")
    found.addHandler(logging.NullHandler())
    return found
