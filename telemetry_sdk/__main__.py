"""Lets ``python -m telemetry_sdk`` run the command line."""

from __future__ import annotations

import sys

from telemetry_sdk.cli.program import main

sys.exit(main())
