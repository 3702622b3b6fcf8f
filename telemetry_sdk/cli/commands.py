"""What a user may ask of telemetry: nine commands for an argparse parser, of a host's program or our own.

Each command prints, and returns its exit code.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from telemetry_sdk.cli import output
from telemetry_sdk.cli.doctor import PROBLEM, check_lines, checks_value, examine
from telemetry_sdk.cli.output import FAILED, MISUSED, OK, complain, fail, tell, tell_json, without_home
from telemetry_sdk.host import terminal
from telemetry_sdk.model import ConfigError, InvalidEventError, Level, Outcome
from telemetry_sdk.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from telemetry_sdk.model import Forgotten, Preview, Status

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    Command = Callable[[Telemetry, argparse.Namespace], int]

EXIT_CODES: Final = "Exit codes: 0 it did what was asked, 1 it could not, 2 it was not asked properly."
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
    for name, (command, text) in _COMMANDS.items():
        epilog = _DOCTOR_CODES if name == "doctor" else EXIT_CODES
        parsers[name] = nine.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog)
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
    add("--limit", dest="telemetry_limit", metavar="N", type=_count, default=10, help="show the newest N requests (10)")
    add("--bodies", dest="telemetry_bodies", action="store_true", help="show headers and bodies byte for byte instead")
    parsers["flush"].add_argument(
        "--timeout",
        dest="telemetry_timeout",
        metavar="SECONDS",
        type=_seconds,
        default=30.0,
        help="give up after this time (default: %(default)g)",
    )
    parsers["off"].add_argument(
        "--all", dest="telemetry_all", action="store_true", help="decline everything: nothing at all is sent any more"
    )
    for name in ("reset", "forget"):
        parsers[name].add_argument("--yes", dest="telemetry_yes", action="store_true", help="do not ask")
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


def _here(telemetry: Telemetry, text: str) -> str:
    return without_home(text, telemetry._engine.providers.environ)


def _tell_here(telemetry: Telemetry, lines: Iterable[str]) -> None:
    tell(_here(telemetry, line) for line in lines)


def _status(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Show what holds and who decided it. Makes nothing and sends nothing."""
    found = telemetry.status()
    if arguments.telemetry_json:
        tell_json(output.status_value(found))
    else:
        _tell_here(telemetry, output.status_lines(found, arguments.telemetry_prog))
    return OK


def _on(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Store that the user agrees to detailed analytics; fails when it is not on disk."""
    receipt = telemetry.opt_in()
    found, session = telemetry.status(), telemetry._engine.session
    if session.is_log:
        return _could_not(f"{output.variable_of(found)}=log stores nothing")
    if found.consent is not True or not session.installation.is_kept("telemetry_enabled"):
        return _could_not(found.state_problem or receipt.reason or found.reason)
    lines = [f"Stored: you agreed to detailed analytics{_since(found)}."]
    if arguments.telemetry_alone:
        lines.append("The program itself sends them, when it runs and has a sink.")
    elif found.level is Level.FULL and found.install_id is None and not receipt:
        lines.append(f"Nothing of them is sent yet: {receipt.reason}.")
    elif found.level is Level.FULL:
        lines.append(f"From now on they may be sent to {found.sink}.")
    else:
        lines.append(f"Nothing of them is sent now: {found.reason}.")
    if receipt.outcome is Outcome.DELIVERED:
        lines.append("One install ping was sent ('log' shows it byte for byte).")
    elif receipt.outcome is Outcome.QUEUED:
        lines.append(f"One install ping is stored and leaves later{f' ({receipt.reason})' if receipt.reason else ''}.")
    tell([*lines, f"To take it back: {arguments.telemetry_prog} off"])
    return OK


def _off(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Store that the user declines detailed analytics, and destroy what waits; fails when that is not certain."""
    certain = telemetry.opt_out(everything=arguments.telemetry_all)
    found = telemetry.status()
    if not certain:
        return _could_not(found.state_problem or found.reason)
    what = "Nothing at all leaves" if arguments.telemetry_all else "No detailed analytics leave"
    lines = [
        f"{what} this machine from now on; what waited of {'it' if arguments.telemetry_all else 'them'} is destroyed."
    ]
    if found.consent is False and telemetry._engine.has_stored_no():
        lines.append(f"Stored: you declined{' everything' if arguments.telemetry_all else ''}{_since(found)}.")
    if arguments.telemetry_all:
        tell([*lines, f"To take it back: {arguments.telemetry_prog} on"])
        return OK
    if telemetry._engine.session.is_log:
        lines.append(f"Nothing else is sent either while {output.variable_of(found)}=log shows it instead.")
    elif found.level is Level.OFF:
        lines.append(f"Nothing else is sent either: {found.reason}.")
    else:
        command = arguments.telemetry_prog
        # Without the program nobody knows here whether it has a sink.
        still = "is still sent" if found.sink else "is still sent if the program has a sink"
        lines.append(f"Base telemetry (installs, versions, platforms) {still}. Turn that off too with")
        lines.append(f"{command} off --all. To delete everything: {command} forget")
    tell(lines)
    return OK


def _since(found: Status) -> str:
    return f" on {output.local(found.consent_decided_at)}" if found.consent_decided_at else ""


def _could_not(reason: str) -> int:
    return fail(f"it could not be done: {reason or 'see doctor'}")


def _preview(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Show what would be sent, before anybody agreed to anything. Makes nothing and sends nothing."""
    properties = dict(arguments.telemetry_properties)
    try:
        found = telemetry.preview(arguments.telemetry_event, properties or None)
    except InvalidEventError as error:
        complain(f"error: {error.problem}")
        return MISUSED
    if arguments.telemetry_event is not None and _is_refused(telemetry, found):
        complain(f"error: {found.reason}")
        return MISUSED
    layers = [arguments.telemetry_layer] if arguments.telemetry_layer else ["base", "analytics"]
    if arguments.telemetry_json:
        tell_json(output.preview_value(found, layers))
    else:
        tell(output.preview_lines(found, layers, telemetry.status().sink))
    return OK


def _is_refused(telemetry: Telemetry, found: Preview) -> bool:
    """Tell whether it shows nothing because of the event that was asked for, and not for another reason."""
    return not found.analytics and found.reason != telemetry.preview().reason


def _log(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Show the newest requests and how each ended. Makes nothing and sends nothing."""
    log = telemetry.sent_log()
    newest = log[-arguments.telemetry_limit :]
    if arguments.telemetry_json:
        tell_json(output.log_value(newest))
    elif newest:
        tell(output.log_lines(newest, bodies=arguments.telemetry_bodies))
        if len(newest) < len(log):
            tell([f"{len(log) - len(newest)} older ones are not shown: --limit {len(log)} shows them too."])
    else:
        found = telemetry.status()
        looked = not telemetry._engine.session.gate.is_switched_off()
        tell(["No request is in the log." if looked else f"The log is not looked at: {found.reason}."])
    return OK


def _flush(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Send what waits, now; fails unless all of it was delivered."""
    report = telemetry.flush(arguments.telemetry_timeout)
    names = ("delivered", "kept", "rejected", "dropped")
    lines = [", ".join(f"{getattr(report, name)} {name}" for name in names)]
    if report.reason:
        lines.append(f"In the way: {report.reason}.")
    tell(lines)
    return OK if report else FAILED


def _reset(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Begin as a new install; fails when the old id may still be there; asks first, unless told not to."""
    question = "Forget the install id and destroy what waits to be sent, to begin as a new install?"
    if (refusal := _unconfirmed(question, arguments)) is not None:
        return refusal
    install_id = telemetry.reset_install_id()
    if install_id is not None:
        tell(
            [
                f"New install id: {install_id}. What waited under the old one is destroyed; your decision stays.",
                "What was sent under it stays with the sink's owner, who cannot join it with what is sent from now on.",
            ]
        )
        return OK
    found = telemetry.status()
    is_gone = telemetry._engine.session.installation.is_kept("install_id")
    is_log = telemetry._engine.session.is_log
    if not (is_log or found.level is Level.OFF) or found.state_problem or not is_gone:
        return _could_not(found.state_problem or found.reason)
    why = f"{output.variable_of(found)}=log stores none" if is_log else found.reason
    tell([f"The old install id is gone. No new one is made now: {why}."])
    return OK


def _forget(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Delete everything on this machine and ask the sink's owner to delete too; asks first, unless told not to."""
    question = "Delete the install id, your decision, what waits and the log from this machine?"
    if (refusal := _unconfirmed(question, arguments)) is not None:
        return refusal
    forgotten = telemetry.forget()
    if not forgotten:
        return _could_not(telemetry.status().state_problem)
    tell(_forgotten_lines(forgotten, telemetry.status()))
    return OK


def _unconfirmed(question: str, arguments: argparse.Namespace) -> int | None:
    """Ask, unless told not to; return the exit code for a no, None for a yes."""
    if arguments.telemetry_yes:
        return None
    if not terminal.can_answer():
        complain("error: without a terminal to ask on, say --yes")
        return MISUSED
    if terminal.question(f"{question} [y/N] ").strip().lower() in ("y", "yes"):
        return None
    complain("Nothing was deleted.")
    return FAILED


def _forgotten_lines(forgotten: Forgotten, found: Status) -> Iterable[str]:
    yield "Deleted from this machine: install id, consent, what waited, log."
    if found.consent is False:
        yield "Of your decisions your no is kept, and nothing else."
    request = forgotten.deletion_request
    if request.outcome is Outcome.DELIVERED:
        yield f"{found.sink} was asked to delete what it has of this install, and has the request."
    elif request.outcome is Outcome.QUEUED:
        why = f" ({request.reason})" if request.reason else ""
        yield f"The request to delete, with the old id alone, waits and is sent later{why}."
    else:
        yield f"Nobody else was asked to delete: {request.reason}."


def _doctor(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Check everything telemetry needs, and say what to do; fails when there is a problem."""
    checks = examine(telemetry, ask=not arguments.telemetry_no_request)
    if arguments.telemetry_json:
        # Often shown to others, so the home directory is left out here too.
        tell_json(checks_value([replace(it, found=_here(telemetry, it.found)) for it in checks]))
    else:
        _tell_here(telemetry, check_lines(checks))
    return FAILED if any(check.result is PROBLEM for check in checks) else OK


_COMMANDS: Final[dict[str, tuple[Command, str]]] = {
    "status": (_status, "show what is sent, who decided that, and how to turn it off"),
    "on": (_on, "agree to detailed analytics"),
    "off": (_off, "decline detailed analytics, and destroy what waits of them"),
    "preview": (_preview, "show what would be sent, before agreeing to anything"),
    "log": (_log, "show what was sent, byte for byte, and how it ended"),
    "flush": (_flush, "send what waits, now"),
    "reset": (_reset, "begin as a new install, with a new id"),
    "forget": (_forget, "delete everything from this machine, and ask for deletion elsewhere"),
    "doctor": (_doctor, "check this machine and the way to the sink, and say what to do"),
}
