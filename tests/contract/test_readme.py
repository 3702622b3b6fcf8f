"""The README cannot drift from the code."""

from __future__ import annotations

import re
from pathlib import Path

from telemetry_sdk.base_payload.fields import FIELDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def field_table() -> str:
    """The table of base fields, as the README must show it."""
    rows = [f"| `{field.name}` | {field.meaning} | `{field.example}` | {field.purpose} |" for field in FIELDS]
    return "\n".join(["| field | what | example | why |", "|---|---|---|---|", *rows])


def test_field_table_is_the_schema():
    """The README's table of collected fields is generated from the schema."""
    shown = re.search(r"<!-- fields: [^\n]* -->\n(.*?)\n<!-- end of fields -->", README, re.DOTALL)

    assert shown is not None
    assert shown.group(1).strip() == field_table()


def test_ci_runs_command_two():
    """CI installs and runs what README command 2 does."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")

    assert ".venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest\n" in README
    assert "-m venv" in script
    assert "-e '.[test" in script
    assert "-m pytest" in script


def test_every_setting_named_exists():
    """Every argument the README's settings table names is an argument of the facade."""
    import inspect

    from telemetry_sdk import Telemetry

    table = README.split("## Settings")[1].split("## Events")[0]
    named = {
        name for cell in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }

    assert named <= set(inspect.signature(Telemetry).parameters)
    assert "on_consent_change" in named
