"""The vendor's commands: ``catalog`` and ``privacy`` write and check pages, ``receive`` shows what arrives.

``catalog`` writes the page about an app's events and compares the catalogue with the app's source; ``privacy`` writes
the page that tells users what is sent and what they can do about it; ``receive`` takes records on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.catalog import Catalog, unmarked
from telemetry_sdk.analytics.catalog.format import load
from telemetry_sdk.catalog_tools.pages import events_page, privacy_page
from telemetry_sdk.cli.output import FAILED, OK, Output, complain, counted, fail, safe, tell_json
from telemetry_sdk.host.files import content_of
from telemetry_sdk.model import NANOSECONDS, ConfigError, utc_day
from telemetry_sdk.receiver import ReceivedRecord, Receiver
from telemetry_sdk.sender.endpoint import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PAGE: Final = "all_tracked_events.md"
_PRIVACY_PAGE: Final = "privacy.md"
_LARGEST_PAGE: Final = 4 * 2**20
_WIDTH: Final = 300
_MOST_LINES: Final = 20
_SHOWN_ONCE: Final = frozenset({"event_name", "identity", "log.record.uid"})


def add_catalog(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to *commands*."""
    catalog = commands.add_parser(
        "catalog",
        help="document an app's events, and find those that are not declared",
        description="Work with the catalogue of an app's events, telemetry.toml.",
    )
    inner = catalog.add_subparsers(title="commands", metavar="COMMAND", required=True)
    docs = inner.add_parser(
        "docs",
        help=f"write {_PAGE}",
        description="Write the page that says everything the app may send.",
    )
    docs.add_argument("file", metavar="FILE", help="the catalogue")
    docs.add_argument("--output", metavar="PATH", default=_PAGE, help="the page (default: %(default)s)")
    docs.add_argument("--check", action="store_true", help="write nothing; fail if the page is not up to date")
    docs.set_defaults(run=_docs)
    check = inner.add_parser(
        "check",
        help="compare the catalogue with Python source",
        description="Find events and properties that are sent and not declared, or declared and not sent.",
    )
    check.add_argument("file", metavar="FILE", help="the catalogue")
    check.add_argument("paths", metavar="PATH", nargs="+", help="a Python file, or a directory of them")
    check.add_argument(
        "--released", metavar="FILE", help="the catalogue users agreed to last; finds news without since"
    )
    check.add_argument("--strict", action="store_true", help="fail on warnings too")
    check.add_argument("--json", action="store_true", help="print what was found as JSON")
    check.set_defaults(run=_check)


def _docs(arguments: argparse.Namespace) -> int:
    try:
        page = events_page(load(arguments.file), os.path.basename(arguments.file))
    except ConfigError as error:
        return fail(str(error))
    return _put(page, arguments.output, check=arguments.check, source=arguments.file, command="catalog docs")


def _check(arguments: argparse.Namespace) -> int:
    try:
        from telemetry_sdk.catalog_tools import source_check
    except ModuleNotFoundError:
        return fail("catalog check needs astroid: pip install 'telemetry-sdk[catalog]'")
    try:
        catalog = load(arguments.file)
        released = load(arguments.released) if arguments.released is not None else None
    except ConfigError as error:
        return fail(str(error))
    today = utc_day(time.time_ns() / NANOSECONDS)
    found = source_check.check(catalog, arguments.paths, where=arguments.file, today=today)
    for problem in _unmarked(catalog, released) if released else ():
        found.append(source_check.Finding(arguments.file, 0, "unmarked", problem))
    is_warning = [it.kind == source_check.UNCHECKED for it in found]
    if arguments.json:
        listed = [{**it._asdict(), "is_warning": warns} for it, warns in zip(found, is_warning, strict=True)]
        tell_json(listed)
    else:
        output = Output()
        for it, warns in zip(found, is_warning, strict=True):
            place = safe(f"{it.path}:{it.line}" if it.line else it.path, _WIDTH)
            output.line(f"{place}: {'warning' if warns else 'error'}: {safe(it.message, _WIDTH)} [{it.kind}]")
        output.line(f"{counted(is_warning.count(False), 'error')}, {counted(is_warning.count(True), 'warning')}")
    return FAILED if any(arguments.strict or not warns for warns in is_warning) else OK


def _unmarked(catalog: Catalog, released: Catalog) -> Iterator[str]:
    yield from (problem for _, problem in unmarked(catalog, released))
    if catalog.version < released.version:
        yield f"version {catalog.version} is older than the released {released.version}"


def add_privacy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to *commands*."""
    privacy = commands.add_parser(
        "privacy",
        help="write the privacy page of an app",
        description="Write what an app sends, why, when, where to, how long it is kept, and how to see, stop and "
        "delete it, with a text for the vendor's own privacy policy.",
    )
    privacy.add_argument("--name", default="the program", help="the app's name (default: %(default)s)")
    privacy.add_argument("--sink", default="", metavar="HOST", help="where records go")
    privacy.add_argument("--catalog", metavar="FILE", help="the catalogue of the app's events")
    privacy.add_argument("--output", metavar="PATH", default=_PRIVACY_PAGE, help="the page (default: %(default)s)")
    privacy.add_argument("--check", action="store_true", help="write nothing; fail if the page is not up to date")
    privacy.set_defaults(run=_privacy)


def _privacy(arguments: argparse.Namespace) -> int:
    try:
        catalog = load(arguments.catalog) if arguments.catalog is not None else None
    except ConfigError as error:
        return fail(str(error))
    page = privacy_page(app=arguments.name, sink=arguments.sink, catalog=catalog)
    return _put(page, arguments.output, check=arguments.check, source="the source", command="privacy")


def _put(page: str, path: str, *, check: bool, source: str, command: str) -> int:
    """Write *page*, made by *command* from *source*, to *path*, or *check* that it is there; return the exit code."""
    try:
        if check:
            return _compare(page, path, source, command)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a possible path"
        return fail(f"cannot {'read' if check else 'write'} {path}: {problem}")
    Output().line(f"wrote {safe(path)}")
    return OK


def _compare(page: str, path: str, source: str, command: str) -> int:
    content = content_of(path, _LARGEST_PAGE)
    if content is None:
        raise OSError(errno.EINVAL, "it is not a regular file")
    # A checkout may have changed the line ends.
    found = content.decode("utf-8", "replace").replace("\r\n", "\n")
    output = Output()
    if found == page:
        output.line(f"{safe(path)} is up to date")
        return OK
    fail(f"{path} is not what {source} says; run {command} without --check")
    lines = list(difflib.unified_diff(found.split("\n"), page.split("\n"), "page", "source", n=0, lineterm=""))
    for line in lines[:_MOST_LINES]:
        output.line(safe(line, _WIDTH))
    if len(lines) > _MOST_LINES:
        output.line(f"... and {len(lines) - _MOST_LINES} more lines")
    return FAILED


def add_receive(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to *commands*."""
    receive = commands.add_parser(
        "receive",
        help="receive records on this machine and show them",
        description="Receive OTLP/HTTP JSON log records as a Collector would, until interrupted. What a web page in a "
        "browser sends is refused.",
    )
    receive.add_argument("--host", type=_host, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    receive.add_argument(
        "--port", type=_port, default=4318, help="port to listen on, 0 for a free one (default: %(default)s)"
    )
    receive.add_argument(
        "--file", metavar="PATH", help="append accepted requests to this regular file, one OTLP JSON line each"
    )
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
