"""The command line: ``python -m telemetry_sdk COMMAND``.

The only module that prints. One function builds the parser of each command and names the function that runs it.

Exit codes: 0 it did what was asked, 1 it could not, 2 it was not asked properly.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from telemetry_sdk._version import __version__
from telemetry_sdk.collector import ReceivedRecord, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

__all__ = ["main"]

_OK: Final = 0
_FAILED: Final = 1
_SHOWN_CHARACTERS: Final = 200
_SHOWN_ONCE: Final = frozenset({"event_name", "identity", "log.record.uid"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Blocks for as long as the command runs.

    Raises:
        SystemExit: With code 2 when *argv* (default: the process's own arguments) is not a valid command, with 0
            after ``--help`` and ``--version``.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m telemetry_sdk", description="Privacy-aware telemetry.")
    parser.add_argument("--version", action="version", version=f"telemetry_sdk {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_receive(commands)
    return parser


def _add_receive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    output = _Output()
    try:
        receiver = Receiver(arguments.host, arguments.port, arguments.file, lambda told: output.line(_line(told)))
    except OSError as error:
        print(f"error: {_what_failed(error, arguments)}", file=sys.stderr)
        return _FAILED
    # Started before signals may interrupt: a thread half started could not be stopped.
    receiver.start()
    with _signals_interrupt():
        with contextlib.suppress(KeyboardInterrupt), contextlib.closing(receiver):
            if not _is_loopback(arguments.host):
                print("warning: not a loopback address, so other machines can send records here", file=sys.stderr)
            output.line(f"listening on {receiver.url}")
            receiver.serve_forever()
        done = receiver.counts
        output.line(f"stopped: {done.records} records in {done.requests} requests, {done.refused} refused")
    return _OK


def _what_failed(error: OSError, arguments: argparse.Namespace) -> str:
    if error.filename is not None:
        return f"cannot open {_safe(error.filename)}: {error.strerror}"
    return f"cannot listen on {_safe(arguments.host)} port {arguments.port}: {error.strerror}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
    return "  ".join(_safe(word) for word in words)


def _safe(text: str) -> str:
    """Return *text* cut to a readable length, with everything that is not plainly visible escaped."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return visible.encode(encoding, "backslashreplace").decode(encoding)


class _Output:
    """Standard output, for as long as somebody reads it."""

    def __init__(self) -> None:
        self._lost = False

    def line(self, text: str) -> None:
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
