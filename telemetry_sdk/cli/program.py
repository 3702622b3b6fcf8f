"""``python -m telemetry_sdk COMMAND``: the commands of a developer, and those of a user for any program's state.

For a user the program need not be there. So what only it knows is not made up for it:

- ``on`` stores the decision and makes no record; the program sends when it runs.
- Its version and its sink's host are those of its last run, as its state tells. ``flush`` needs the version, because
  what a sink says (to wait, to stop) holds for one, and a sink that is named here: ``--endpoint``, or the environment,
  does. There is no option for a token, which every user of the machine could read then.
- A program that has kept no state here is an error, and nothing is made for it: it may be a name mistyped.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from telemetry_sdk._version import __version__
from telemetry_sdk.cli.commands import EXIT_CODES, add_each
from telemetry_sdk.cli.output import OK, kept_lines, kept_value, tell, tell_json, without_home
from telemetry_sdk.cli.vendor import add_catalog, add_privacy, add_receive
from telemetry_sdk.client import override
from telemetry_sdk.client.config import is_word
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.identity.directory import has_state, kept, locate
from telemetry_sdk.identity.installation import Installation, ProgressFile
from telemetry_sdk.model import ConfigError
from telemetry_sdk.sender.endpoint import resolve
from telemetry_sdk.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from telemetry_sdk.identity.schema import Progress, State

_SCRIPT: Final = "telemetry-sdk"


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
    parser = argparse.ArgumentParser(prog=_prog(), description="Privacy-aware telemetry.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"telemetry_sdk {__version__}")
    group = parser.add_argument_group("which program (for status, on, off, preview, log, flush, reset, forget, doctor)")
    group.add_argument("--app", metavar="NAME", help="the name it passes to Telemetry, for example acme-notes")
    group.add_argument("--app-version", metavar="VERSION", help="its version, as it passes it to Telemetry")
    group.add_argument("--state-dir", metavar="DIR", help="where it keeps its state, unless in the usual place")
    group.add_argument("--endpoint", metavar="URL", help="its sink, unless the environment names it")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(commands)
    add_each(commands, _make, dest="run")
    for name, command in commands.choices.items():
        if name != "list":
            command.set_defaults(telemetry_command=name, telemetry_alone=True)
    add_receive(commands)
    add_catalog(commands)
    add_privacy(commands)
    return parser


def _prog() -> str:
    """Return how this was called, for people to type."""
    name = os.path.basename(sys.argv[0]).removesuffix(".exe")
    return _SCRIPT if name == _SCRIPT else "python -m telemetry_sdk"


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    found = commands.add_parser(
        "list",
        help="which programs have kept state on this machine, for this user",
        description="Which programs have kept state on this machine, for this user. A directory that a program names "
        "in its code is not found.",
    )
    found.add_argument("--json", dest="telemetry_json", action="store_true", help="print JSON")
    found.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> int:
    """Show what was decided and where each sends. Makes nothing and sends nothing."""
    found = [(app, str(path), *_known(path)) for path, app in kept(os.environ).items()]
    if arguments.telemetry_json:
        tell_json(kept_value(found))
    else:
        tell(without_home(line, os.environ) for line in kept_lines(found))
    return OK


def _known(directory: Path) -> tuple[State, Progress]:
    installation = Installation(directory, read_only=True)
    return installation.read(), ProgressFile(installation, read_only=True).read()


def _make(arguments: argparse.Namespace) -> Telemetry:
    """Return the `Telemetry` that the chosen command may work on.

    Raises:
        ConfigError: The options do not go together, or the program has kept no state here.
    """
    command, app, prog = arguments.telemetry_command, arguments.app, _prog()
    if app is None:
        raise ConfigError("--app", f"{command} needs it: {prog} --app NAME {command}. '{prog} list' shows the names")
    before = _before(app, arguments.state_dir)
    version = arguments.app_version or (before.app_version if is_word(before.app_version) else None)
    if command == "flush" and version is None:
        raise ConfigError("--app-version", "flush needs it, because what the sink answers holds for that version")
    has_sink = resolve(os.environ, switch_prefix(app), endpoint=arguments.endpoint).sink is not None
    directory = arguments.state_dir and f" --state-dir {arguments.state_dir}"
    arguments.telemetry_prog = f"{prog} --app {app}{directory or ''}"
    is_on = command == "on"
    with override.supplied(
        environ=_without_sink(app) if is_on else os.environ, elsewhere=None if is_on else before.sink_host or ""
    ):
        return Telemetry(
            app,
            version=version or "unknown",
            endpoint=None if is_on else arguments.endpoint,
            state_dir=arguments.state_dir,
            delivery="sync" if version and has_sink else "manual",
        )


def _before(app: str, state_dir: str | None) -> Progress:
    """Return what the program did when it ran.

    Raises:
        ConfigError: It has not run here, as far as is known.
    """
    prefix = switch_prefix(app)
    directory = locate(app, prefix, os.environ, state_dir)
    if directory is None or not has_state(directory):
        raise ConfigError(
            "--app",
            f"no program named {app} has kept state here, so there is nothing to show or to change: '{_prog()} list' "
            f"names those that have; {prefix}_TELEMETRY=off turns one off before it first runs",
        )
    return _known(directory)[1]


def _without_sink(app: str) -> dict[str, str]:
    """Return the environment without a sink: then a yes is stored, and no install ping of an unknown version made."""
    names = ("GRAFANA_OTLP_ENDPOINT", f"{switch_prefix(app)}_TELEMETRY_ENDPOINT")
    return {name: value for name, value in os.environ.items() if name not in names}
