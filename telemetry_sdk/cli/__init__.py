"""The command line: of a host's program (`add_telemetry_commands`), and ``python -m telemetry_sdk``.

The only package that prints.

Exit codes: 0 it did what was asked, 1 it could not, 2 it was not asked properly.
"""

from __future__ import annotations

from telemetry_sdk.cli.commands import add_telemetry_commands

__all__ = ["add_telemetry_commands"]
