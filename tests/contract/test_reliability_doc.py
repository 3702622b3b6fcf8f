"""docs/reliability.md names only tests that exist, and every suite of promises stands in it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def test_every_named_test_exists():
    """Each `file::test` in the document is a test of that file."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", DOCUMENT)

    assert len(named) > 20
    for file, test in named:
        source = (ROOT / "tests" / file).read_text("utf-8")
        assert re.search(rf"def {test}\(|^class {test}|^{test} = ", source, re.MULTILINE), f"{file}::{test}"


def test_every_suite_of_promises_is_named():
    """No suite with real processes is missing from the two tables, of promises and of hosts."""
    pages = DOCUMENT + (ROOT / "docs" / "integrations.md").read_text("utf-8")
    for file in (ROOT / "tests" / "promises").glob("test_*.py"):
        assert f"promises/{file.name}" in pages, file.name
