"""``python -m telemetry_sdk COMMAND``: the commands of a developer, and those of a user for any program's state."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from telemetry_sdk._version import __version__
from telemetry_sdk.cli.catalog import add_catalog
from telemetry_sdk.cli.host import EXIT_CODES
from telemetry_sdk.cli.privacy import add_privacy
from telemetry_sdk.cli.receive import add_receive
from telemetry_sdk.cli.standalone import add_app_options, add_user_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]


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
    add_app_options(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_user_commands(commands)
    add_receive(commands)
    add_catalog(commands)
    add_privacy(commands)
    return parser
