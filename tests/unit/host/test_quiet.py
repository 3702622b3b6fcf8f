"""What is kept quiet, in which thread, and that nothing of the host's own is."""

from __future__ import annotations

import logging
import threading

import pytest
from process_tools import GUARD

from telemetry_sdk.host.quiet import quiet_logs

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
