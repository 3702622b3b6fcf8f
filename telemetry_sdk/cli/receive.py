"""``receive``: receive records on this machine and show them."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
from typing import TYPE_CHECKING, Final

from telemetry_sdk.cli.output import OK, Output, complain, fail, safe
from telemetry_sdk.receiver import ReceivedRecord, Receiver
from telemetry_sdk.sender.endpoint import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SHOWN_ONCE: Final = frozenset({"event_name", "identity", "log.record.uid"})


def add_receive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to *commands*."""
    receive = commands.add_parser(
        "receive",
        help="receive records on this machine and show them",
        description="Receive OTLP/HTTP JSON log records as a Collector would, until interrupted.",
    )
    receive.add_argument("--host", type=_host, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    receive.add_argument(
        "--port", type=_port, default=4318, help="port to listen on, 0 for a free one (default: %(default)s)"
    )
    receive.add_argument("--file", metavar="PATH", help="append accepted requests here, one OTLP JSON line each")
    receive.set_defaults(run=_receive)


def _host(text: str) -> str:
    if not text.isascii():
        raise argparse.ArgumentTypeError("not an address or a host name")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError("not a port (0 to 65535)")
    return int(text)


def _receive(arguments: argparse.Namespace) -> int:
    output = Output()
    try:
        receiver = Receiver(arguments.host, arguments.port, arguments.file, lambda told: output.line(_line(told)))
    except OSError as error:
        return fail(_what_failed(error, arguments))
    # Started before signals may interrupt: a thread half started could not be stopped.
    receiver.start()
    with _signals_interrupt():
        with contextlib.suppress(KeyboardInterrupt), contextlib.closing(receiver):
            if not is_loopback(arguments.host):
                complain("warning: not a loopback address, so other machines can send records here")
            output.line(f"listening on {receiver.url}")
            receiver.serve_forever()
        done = receiver.counts
        output.line(f"stopped: {done.records} records in {done.requests} requests, {done.refused} refused")
    return OK


def _what_failed(error: OSError, arguments: argparse.Namespace) -> str:
    if error.filename is not None:
        return f"cannot open {safe(error.filename)}: {error.strerror}"
    return f"cannot listen on {safe(arguments.host)} port {arguments.port}: {error.strerror}"


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Make the first SIGINT or SIGTERM raise KeyboardInterrupt within the block, and ignore those after it."""
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        # Not by way of SIG_IGN: CPython reports a signal that is pending while its handler goes away.
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    # Set even where they were ignored: a shell ignores SIGINT for what it starts in the background.
    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _line(record: ReceivedRecord) -> str:
    """Return one readable line for *record*, which cannot drive the terminal whatever it holds."""
    who = f"{record.service_name or 'unknown'} {record.service_version or 'unknown'}"
    words = [record.event_name or "(no name)", record.layer or "(no layer)", who]
    words += [f"{name}={value}" for name, value in (("identity", record.identity), ("uid", record.uid)) if value]
    words += ["late"] if record.late else []
    for key, value in record.attributes.items():
        if key not in _SHOWN_ONCE:
            words.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    return "  ".join(safe(word) for word in words)
