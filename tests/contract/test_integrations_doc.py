"""docs/integrations.md names only tests that exist, and every suite that runs a real host stands in it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "integrations.md").read_text("utf-8")


def test_every_row_names_tests_that_exist():
    """Each row of the matrix has at least one `file::test`, and each of those is a test of that file."""
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| ") and not line.startswith("| your program")]

    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            source = (ROOT / "tests" / file).read_text("utf-8")
            assert re.search(rf"def {test}\(", source), f"{file}::{test}"


def test_every_suite_with_a_real_host_is_named():
    """No suite of web servers, frameworks, kernels, packers or neighbours is missing from the matrix."""
    for name in ("frameworks", "web_servers", "neighbours", "frozen", "notebook"):
        assert f"promises/test_{name}.py" in DOCUMENT, name
