"""docs/testing.md cannot drift from the code: its examples are a test suite, and they pass."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry_sdk.testing import MemorySink, SentRecord

DOCUMENT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", DOCUMENT, re.DOTALL))


def test_every_example_is_a_file() -> None:
    """No block of code is left out of the run below."""
    assert len(EXAMPLES) == len(re.findall(r"```", DOCUMENT)) / 2
    assert len(EXAMPLES) > 5


def test_the_examples_pass(pytester: pytest.Pytester) -> None:
    """The document's examples, put together as they stand, are a test suite that passes."""
    for name, source in EXAMPLES.items():
        (pytester.path / name).write_text(source, "utf-8")
    tests = sum(len(re.findall(r"^ *def test_", source, re.MULTILINE)) for source in EXAMPLES.values())

    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "error", "--strict-markers"
    )
    result.assert_outcomes(passed=tests)


def test_the_unittest_example_needs_no_pytest(pytester: pytest.Pytester) -> None:
    """The example for other test runners passes under unittest."""
    for name in ("notes.py", "test_with_unittest.py"):
        (pytester.path / name).write_text(EXAMPLES[name], "utf-8")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "-v", "test_with_unittest"],
        capture_output=True,
        text=True,
        cwd=pytester.path,
        env={**os.environ, "PYTHONPATH": str(pytester.path)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_the_table_is_complete() -> None:
    """The table of the sink lists all that a test may use, and nothing else."""
    rows = DOCUMENT.partition("| `telemetry_sink` | is |")[2].partition("\n\n")[0]
    listed = set(re.findall(r"^\| `\.(\w+)", rows, re.MULTILINE))
    offered = {name for name in vars(MemorySink) if not name.startswith("_")}

    assert listed - {"answers"} == offered - {"send", "abandon", "close", "waits"}
    assert "answers" in vars(MemorySink())


def test_the_fields_of_a_record_are_listed() -> None:
    """Every field of a record stands in the table."""
    (row,) = re.findall(r"^\| `\.records` \|.*$", DOCUMENT, re.MULTILINE)
    fields = {*inspect.signature(SentRecord).parameters, "properties"}

    assert set(re.findall(r"`(\w+)`", row)) == fields
