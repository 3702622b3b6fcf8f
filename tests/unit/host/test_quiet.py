"""What is kept quiet, in which thread, and that nothing of the host's own is."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest
from process_tools import GUARD

from telemetry_sdk.host.quiet import quiet_logs, quiet_warnings

LIBRARIES = ["urllib3.connection", "urllib3.connectionpool", "filelock", "tzlocal"]


def elsewhere(work):
    """Execute *work* in another thread and wait for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(GUARD)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_librarys_log_is_dropped_here_and_now_only(caplog, name):
    """What a library logs for us is dropped; for another thread, outside and afterwards it is logged."""
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger(name)
    with quiet_logs():
        logger.warning("dropped")
        with quiet_logs():
            logger.debug("dropped")
        logger.warning("dropped")
        logging.getLogger("host").warning("heard 1")
        elsewhere(lambda: logger.warning("heard 2"))
    logger.debug("heard 3")

    assert caplog.messages == ["heard 1", "heard 2", "heard 3"]


def test_a_log_is_heard_again_after_an_error(caplog):
    """An error inside ends the hush."""
    with pytest.raises(KeyError), quiet_logs():
        raise KeyError
    logging.getLogger("filelock").warning("heard")

    assert caplog.messages == ["heard"]


def test_a_warning_is_ignored_here_and_now_only():
    """A warning in this thread is ignored although warnings are errors; in another thread and afterwards it is one."""
    caught = []

    def warn() -> None:
        with pytest.raises(UserWarning):
            warnings.warn("there", UserWarning, stacklevel=1)
        caught.append(1)

    before = list(warnings.filters)
    with quiet_warnings():
        warnings.warn("here", UserWarning, stacklevel=1)
        elsewhere(warn)
    assert before == list(warnings.filters)
    warn()

    assert caught == [1, 1]


@pytest.mark.parametrize("first", ["host", "ours"])
def test_a_hosts_own_change_of_filters_meanwhile_leaves_nothing_behind(first):
    """Where another thread's `catch_warnings` and our hush overlap, each ends as it would alone."""
    before = list(warnings.filters)
    host, ours = warnings.catch_warnings(), quiet_warnings()
    one, other = (host, ours) if first == "host" else (ours, host)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)

    assert before == list(warnings.filters)
    with pytest.raises(UserWarning):
        warnings.warn("heard", UserWarning, stacklevel=1)
