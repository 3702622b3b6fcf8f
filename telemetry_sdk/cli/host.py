"""Adds the user's commands to an argparse parser: of a host's program with one call, or our own."""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from typing import TYPE_CHECKING, Final

from telemetry_sdk.cli import commands
from telemetry_sdk.cli.output import FAILED, MISUSED, complain
from telemetry_sdk.model import ConfigError
from telemetry_sdk.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    Command = Callable[[Telemetry, argparse.Namespace], int]

__all__ = ["EXIT_CODES", "add_each", "add_telemetry_commands"]

EXIT_CODES: Final = "Exit codes: 0 it did what was asked, 1 it could not, 2 it was not asked properly."
_HELP: Final = {
    "status": "show what is sent, who decided that, and how to turn it off",
    "on": "agree to detailed analytics",
    "off": "decline detailed analytics, and destroy what waits of them",
    "preview": "show what would be sent, before agreeing to anything",
    "log": "show what was sent, byte for byte, and how it ended",
    "flush": "send what waits, now",
    "reset": "begin as a new install, with a new id",
    "forget": "delete everything from this machine, and ask for deletion elsewhere",
    "doctor": "check this machine and the way to the sink, and say what to do",
}
_DOCTOR_CODES: Final = "Exit codes: 0 there is no problem, 1 there is one, 2 it was not asked properly."
_MORE_JSON: Final = {
    "preview": "print JSON; 'base', 'analytics' and 'next_request' are the exact bodies of requests",
    "log": "print JSON; each 'body' is the exact body of a request",
}


def add_telemetry_commands(
    parser: argparse.ArgumentParser | Commands,
    telemetry: Telemetry | Callable[[], Telemetry],
    *,
    name: str = "telemetry",
    dest: str = "run_telemetry",
) -> None:
    """Add ``telemetry status|on|off|preview|log|flush|reset|forget|doctor`` to a program's commands.

    After parsing, ``arguments.run_telemetry(arguments)`` runs the chosen one and returns its exit code: 0 it did what
    was asked, 1 it could not, 2 it was not asked properly. It prints, and raises nothing but what *telemetry* does.
    Nothing is made, read or sent before that. All else that is added to *arguments* begins with ``telemetry_``.

    Args:
        parser: What ``parser.add_subparsers()`` returned; or a parser that has no commands yet, to which the nine are
            added themselves.
        telemetry: The program's `Telemetry`, or a function without arguments that makes it when a command runs. It
            need not be started.
        name: The command's name.
        dest: The attribute under which the function is found: a program that calls ``arguments.func(arguments)`` says
            ``func``.
    """
    if isinstance(parser, argparse.ArgumentParser):
        own = parser
    else:
        own = parser.add_parser(name, help="what this program reports, and your say in it")
    own.epilog = own.epilog or EXIT_CODES
    nine = own.add_subparsers(title="commands", dest="telemetry_command", metavar="COMMAND", required=True)
    add_each(nine, partial(_make, telemetry), dest=dest)
    for command in nine.choices.values():
        command.set_defaults(telemetry_prog=own.prog, telemetry_alone=False)


def _make(telemetry: Telemetry | Callable[[], Telemetry], _: argparse.Namespace) -> Telemetry:
    return telemetry if isinstance(telemetry, Telemetry) else telemetry()


def add_each(nine: Commands, make: Callable[[argparse.Namespace], Telemetry], *, dest: str) -> None:
    """Add the nine commands to *nine*; the chosen one works on what *make* returns for the arguments."""
    parsers: dict[str, argparse.ArgumentParser] = {}
    for name, text in _HELP.items():
        epilog = _DOCTOR_CODES if name == "doctor" else EXIT_CODES
        parsers[name] = nine.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog)
        command: Command = getattr(commands, name)
        parsers[name].set_defaults(**{dest: partial(_run, command, make)})
    for name in ("status", "preview", "log", "doctor"):
        text = _MORE_JSON.get(name, "print JSON")
        parsers[name].add_argument("--json", dest="telemetry_json", action="store_true", help=text)
    _add_options(parsers)


def _add_options(parsers: dict[str, argparse.ArgumentParser]) -> None:
    add = parsers["preview"].add_argument
    add("--event", dest="telemetry_event", metavar="NAME", help="show this event too, for example timer.started")
    add(
        *("--property", "-p"),
        dest="telemetry_properties",
        metavar="KEY=VALUE",
        type=_property,
        action="append",
        default=[],
        help="a property of the event; a VALUE that is JSON is taken as such, any other as text",
    )
    add("--layer", dest="telemetry_layer", choices=["base", "analytics"], help="show this layer only")
    add = parsers["log"].add_argument
    add("--limit", dest="telemetry_limit", metavar="N", type=_count, default=100, help="show the newest N requests")
    add("--bodies", dest="telemetry_bodies", action="store_true", help="show the bodies of the requests too")
    parsers["flush"].add_argument(
        "--timeout",
        dest="telemetry_timeout",
        metavar="SECONDS",
        type=_seconds,
        default=30.0,
        help="give up after this time (default: %(default)g)",
    )
    parsers["forget"].add_argument("--yes", dest="telemetry_yes", action="store_true", help="do not ask")
    parsers["doctor"].add_argument(
        "--no-request", dest="telemetry_no_request", action="store_true", help="ask nobody: look at this machine only"
    )


def _run(command: Command, make: Callable[[argparse.Namespace], Telemetry], arguments: argparse.Namespace) -> int:
    try:
        return command(make(arguments), arguments)
    except ConfigError as error:
        complain(f"error: {error}")
        return MISUSED
    except KeyboardInterrupt:
        complain("interrupted")
        return FAILED


def _property(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError("write it as KEY=VALUE")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError("not a number above zero")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError("not a number of seconds")
    return seconds
