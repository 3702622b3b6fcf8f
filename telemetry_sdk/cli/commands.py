"""What a user may ask of telemetry, as commands: each prints, and returns its exit code."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from telemetry_sdk.cli import show
from telemetry_sdk.cli.doctor import PROBLEM, examine
from telemetry_sdk.cli.output import FAILED, MISUSED, OK, Output, complain, progress, safe, without_home
from telemetry_sdk.host import terminal
from telemetry_sdk.model import InvalidEventError, Level, Outcome

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from telemetry_sdk.model import Forgotten, Preview, Status
    from telemetry_sdk.telemetry import Telemetry

__all__ = ["doctor", "flush", "forget", "log", "off", "on", "preview", "reset", "status"]

_LONGEST_LINE: Final = 64 * 1024


def _tell(lines: Iterable[str]) -> None:
    output = Output()
    for line in lines:
        output.line(safe(line, _LONGEST_LINE))


def _here(telemetry: Telemetry, text: str) -> str:
    return without_home(text, telemetry._engine.providers.environ)


def _tell_here(telemetry: Telemetry, lines: Iterable[str]) -> None:
    _tell(_here(telemetry, line) for line in lines)


def _tell_json(value: object) -> None:
    Output().line(show.as_json(value))


def status(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Show what holds and who decided it. Makes nothing and sends nothing."""
    found = telemetry.status()
    if arguments.telemetry_json:
        _tell_json(show.status_value(found))
    else:
        _tell_here(telemetry, show.status_lines(found, arguments.telemetry_prog))
    return OK


def on(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Store that the user agrees to detailed analytics; fails when it is not on disk."""
    receipt = telemetry.opt_in()
    found, session = telemetry.status(), telemetry._engine.session
    if session.is_log:
        return _could_not(f"{show.variable_of(found)}=log stores nothing")
    if found.consent is not True or not session.installation.is_kept("telemetry_enabled"):
        return _could_not(found.state_problem or receipt.reason or found.reason)
    lines = [f"Stored: you agreed to detailed analytics{_since(found)}."]
    if arguments.telemetry_alone:
        lines.append("The program itself sends them, when it runs and has a sink.")
    elif found.level is Level.FULL:
        lines.append(f"From now on they may be sent to {found.sink}.")
    else:
        lines.append(f"Nothing of them is sent now: {found.reason}.")
    if receipt.outcome is Outcome.DELIVERED:
        lines.append("One install ping was sent ('log' shows it byte for byte).")
    elif receipt.outcome is Outcome.QUEUED:
        lines.append(f"One install ping is stored and leaves later{f' ({receipt.reason})' if receipt.reason else ''}.")
    _tell([*lines, f"To take it back: {arguments.telemetry_prog} off"])
    return OK


def off(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Store that the user declines detailed analytics, and destroy what waits; fails when that is not certain."""
    certain = telemetry.opt_out()
    found = telemetry.status()
    if not certain:
        return _could_not(found.state_problem or found.reason)
    lines = ["No detailed analytics leave this machine from now on; what waited of them is destroyed."]
    if found.consent is False and telemetry._engine.has_stored_no():
        lines.append(f"Stored: you declined{_since(found)}.")
    if telemetry._engine.session.is_log:
        lines.append(f"Nothing else is sent either while {show.variable_of(found)}=log shows it instead.")
    elif found.level is Level.OFF:
        lines.append(f"Nothing else is sent either: {found.reason}.")
    else:
        lines.append("Base telemetry (installs, versions, platforms) is still sent. Turn that off too with")
        lines.append(
            f"{show.variable_of(found)}=off in the environment. To delete everything: {arguments.telemetry_prog} forget"
        )
    _tell(lines)
    return OK


def _since(found: Status) -> str:
    return f" on {found.consent_decided_at}" if found.consent_decided_at else ""


def _could_not(reason: str) -> int:
    complain(f"error: it could not be done: {reason or 'see doctor'}")
    return FAILED


def preview(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
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
        _tell_json(show.preview_value(found, layers))
    else:
        _tell(show.preview_lines(found, layers, telemetry.status().sink))
    return OK


def _is_refused(telemetry: Telemetry, found: Preview) -> bool:
    """Tell whether it shows nothing because of the event that was asked for, and not for another reason."""
    return not found.analytics and found.reason != telemetry.preview().reason


def log(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Show the newest requests and how each ended. Makes nothing and sends nothing."""
    newest = telemetry.sent_log()[-arguments.telemetry_limit :]
    if arguments.telemetry_json:
        _tell_json(show.log_value(newest))
    elif newest:
        _tell(show.log_lines(newest, bodies=arguments.telemetry_bodies))
    else:
        found = telemetry.status()
        looked = found.state_dir or found.level is not Level.OFF
        _tell(["No request is in the log." if looked else f"The log is not looked at: {found.reason}."])
    return OK


def flush(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Send what waits, now; fails unless all of it was delivered."""
    with progress(telemetry):
        report = telemetry.flush(arguments.telemetry_timeout)
    names = ("delivered", "kept", "rejected", "dropped")
    lines = [", ".join(f"{getattr(report, name)} {name}" for name in names)]
    if report.reason:
        lines.append(f"In the way: {report.reason}.")
    _tell(lines)
    return OK if report else FAILED


def reset(telemetry: Telemetry, arguments: argparse.Namespace) -> int:  # noqa: ARG001 - as all commands
    """Begin as a new install; fails when the old id may still be there."""
    install_id = telemetry.reset_install_id()
    if install_id is not None:
        _tell(
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
    why = f"{show.variable_of(found)}=log stores none" if is_log else found.reason
    _tell([f"The old install id is gone. No new one is made now: {why}."])
    return OK


def forget(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Delete everything on this machine and ask the sink's owner to delete too; asks first, unless told not to."""
    if not arguments.telemetry_yes:
        if not (sys.stdin is not None and sys.stdin.isatty() and terminal.is_terminal()):
            complain("error: without a terminal to ask on, say --yes")
            return MISUSED
        terminal.write("Delete the install id, your decision, what waits and the log from this machine? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            complain("Nothing was deleted.")
            return FAILED
    forgotten = telemetry.forget()
    if not forgotten:
        return _could_not(telemetry.status().state_problem)
    _tell(_forgotten_lines(forgotten, telemetry.status()))
    return OK


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


def doctor(telemetry: Telemetry, arguments: argparse.Namespace) -> int:
    """Check everything telemetry needs, and say what to do; fails when there is a problem."""
    checks = examine(telemetry, ask=not arguments.telemetry_no_request)
    if arguments.telemetry_json:
        # Often shown to others, so the home directory is left out here too.
        _tell_json(show.checks_value([replace(it, found=_here(telemetry, it.found)) for it in checks]))
    else:
        _tell_here(telemetry, show.check_lines(checks))
    return FAILED if any(check.result is PROBLEM for check in checks) else OK
