"""The command line: ``python -m telemetry_sdk COMMAND``.

The only package that prints. One module builds the parser of a command and names the function that runs it.

Exit codes: 0 it did what was asked, 1 it could not, 2 it was not asked properly.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from telemetry_sdk._version import __version__
from telemetry_sdk.cli.catalog import add_catalog
from telemetry_sdk.cli.receive import add_receive

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
    parser = argparse.ArgumentParser(prog="python -m telemetry_sdk", description="Privacy-aware telemetry.")
    parser.add_argument("--version", action="version", version=f"telemetry_sdk {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_receive(commands)
    add_catalog(commands)
    return parser
