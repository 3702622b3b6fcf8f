"""``python -m telemetry_sdk COMMAND``: the commands of a developer, and those of a user for any program's state.

For a user the program need not be there. So what only it knows is not made up for it:

- ``on`` stores the decision and makes no record; the program sends when it runs.
- ``flush`` needs ``--app-version``, because what a sink says (to wait, to stop) holds for a version. Without it
  ``forget`` leaves the deletion request to the program, or to a later flush.
- A sink that the program names in its code is not known here: ``--endpoint``, or the environment, names one. There
  is no option for a token, which every user of the machine could read then.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from telemetry_sdk._version import __version__
from telemetry_sdk.cli.commands import EXIT_CODES, add_each
from telemetry_sdk.cli.vendor import add_catalog, add_privacy, add_receive
from telemetry_sdk.client import override
from telemetry_sdk.consent.policy import switch_prefix
from telemetry_sdk.model import ConfigError
from telemetry_sdk.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    parser = argparse.ArgumentParser(
        prog="python -m telemetry_sdk", description="Privacy-aware telemetry.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"telemetry_sdk {__version__}")
    group = parser.add_argument_group("which program (for status, on, off, preview, log, flush, reset, forget, doctor)")
    group.add_argument("--app", metavar="NAME", help="the name it passes to Telemetry, for example acme-notes")
    group.add_argument("--app-version", metavar="VERSION", help="its version, as it passes it to Telemetry")
    group.add_argument("--state-dir", metavar="DIR", help="where it keeps its state, unless in the usual place")
    group.add_argument("--endpoint", metavar="URL", help="its sink, unless the environment names it")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_each(commands, _make, dest="run")
    for name, command in commands.choices.items():
        command.set_defaults(telemetry_command=name, telemetry_alone=True)
    add_receive(commands)
    add_catalog(commands)
    add_privacy(commands)
    return parser


def _make(arguments: argparse.Namespace) -> Telemetry:
    """Return the `Telemetry` that the chosen command may work on.

    Raises:
        ConfigError: The options do not go together.
    """
    command = arguments.telemetry_command
    if arguments.app is None:
        raise ConfigError("--app", f"{command} needs it: python -m telemetry_sdk --app NAME {command}")
    if command == "flush" and arguments.app_version is None:
        raise ConfigError("--app-version", "flush needs it, because what the sink answers holds for that version")
    directory = arguments.state_dir and f" --state-dir {arguments.state_dir}"
    arguments.telemetry_prog = f"python -m telemetry_sdk --app {arguments.app}{directory or ''}"
    with override.supplied(environ=_without_sink(arguments.app) if command == "on" else os.environ):
        return Telemetry(
            arguments.app,
            version=arguments.app_version or "unknown",
            endpoint=arguments.endpoint if command != "on" else None,
            state_dir=arguments.state_dir,
            delivery="sync" if arguments.app_version else "manual",
        )


def _without_sink(app: str) -> dict[str, str]:
    """Return the environment without a sink: then a yes is stored, and no install ping of an unknown version made."""
    names = ("GRAFANA_OTLP_ENDPOINT", f"{switch_prefix(app)}_TELEMETRY_ENDPOINT")
    return {name: value for name, value in os.environ.items() if name not in names}
