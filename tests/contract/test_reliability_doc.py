"""docs/reliability.md names only tests that exist, and every process test stands in it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def test_every_named_test_exists():
    """Each `file::test` in the document is a test of that file."""
    named = re.findall(r"`(\w+/\w+\.py)::(\w+)`", DOCUMENT)

    assert len(named) > 20
    for file, test in named:
        source = (ROOT / "tests" / file).read_text("utf-8")
        assert re.search(rf"def {test}\(|^class {test}|^{test} = ", source, re.MULTILINE), f"{file}::{test}"


def test_every_process_test_file_is_named():
    """No suite with real processes is missing from the document."""
    for file in (ROOT / "tests" / "process").glob("test_*.py"):
        assert f"process/{file.name}" in DOCUMENT, file.name
