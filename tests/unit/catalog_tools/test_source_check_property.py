"""Whatever a host's source looks like, comparing it ends, without a traceback, and always with the same result."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.analytics.catalog.format import parse
from telemetry_sdk.catalog_tools.source_check import Finding, check

CATALOG = parse("""
version = 1
[events."timer.started"]
description = "x"
purpose = "usage"
[events."timer.started".properties]
source = { type = "string", description = "x", values = ["cli"] }
place = { type = "map", description = "x", properties = { floor = { type = "list", items = "int", description = "x" } } }
""")
# Statements about few names, so that they get into each other's way.
STATEMENTS = st.sampled_from(
    [
        *("a = b", "b = a or c", "c = 'timer.started'", "a, b = b, a", "a = [b, c]", "d = {'source': a, **d}"),
        *("a = f'{b}.{c}'", "b = '.'.join([a, c])", "a = '%s' % b", "a = '{}'.format(a)", "c += b", "d[a] = b"),
        *("a = d[b]", "a = d.get(b, c)", "b = [a for a in b]", "c = (a := b)", "del a", "global a", "nonlocal b"),
        *("from a import *", "from . import a", "from a import b as a", "import a.b", "import b as a", "a = b.a"),
        *("t.track_event(a)", "t.track_event(b, d)", "t.track_event(*a, **d)", "t.track_event(f(a), {b: c})"),
        *("a = t.track_event", "a(b)", "f(t.track_event, a)", "f(a, b=c)", "g(*a)", "f = g = lambda a, *b: f(a)"),
        *("t.track_page_view(a, {'x': {'y': [b]}})", "t.track_event('timer.started', {'place': {'floor': a}})"),
        *("def f(a, b=None, *c, **d):\n  return g(a)", "def g(a):\n  t.track_event(a, d)\n  f(a, b)\n  return a"),
        *(
            "class A(B):\n  a = b\n  def f(self, a):\n    self.a = a\n    t.track_event(self.a)",
            "class B(A, f(a)):\n  b = A.a",
        ),
        *(
            "class E(Enum):\n  a = 'timer.started'\n  def f(self): t.track_event(self.value)",
            "a = E.a.value",
            "A(a).f(b)",
        ),
        *("for a in b:\n  t.track_event(a)\n  a = c", "while a:\n  b = a", "if a:\n  a = b\nelse:\n  a = c"),
        *(
            "try:\n  a = b\nexcept E as a:\n  pass",
            "with a as b:\n  t.track_event(b)",
            "match a:\n  case {'x': b, **c}: pass",
        ),
        *(
            "@f(a)\ndef h(): t.track_event(a)",
            "a = getattr(t, 'track_event')",
            "x = '\ud800'.encode",
            "print 'old'",
            "  a",
        ),
    ]
)
SOURCES = st.lists(STATEMENTS, max_size=12).map("\n".join)


def compared(files: dict[str, str]) -> list[Finding]:
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files.items():
            Path(directory, name).write_bytes(text.encode("utf-8", "surrogatepass"))
        return [Finding(Path(it.path).name, it.line, it.kind, it.message) for it in check(CATALOG, [directory])]


@given(st.fixed_dictionaries({"a.py": SOURCES, "b.py": SOURCES}))
@examples(300)
def test_any_source(files: dict[str, str]) -> None:
    """Statements in any order are compared, twice with the same result, and each finding is in one of the files."""
    found = compared(files)

    assert found == compared(files)
    assert {it.path for it in found} <= {*files, "telemetry.toml"}
    assert all(it.message and it.line >= 0 for it in found)


@given(SOURCES, st.data())
@examples(200)
def test_a_source_with_a_slip(source: str, data: st.DataObject) -> None:
    """A source that lost or gained something anywhere is compared, or reported as unreadable."""
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, min(start + 9, len(source))))
    text = (
        source[:start]
        + data.draw(st.sampled_from(["", "(", ")", '"', "\\", "\x00", "\n", "\t", "é", ":", "[["]))
        + source[end:]
    )

    for finding in compared({"a.py": text}):
        assert finding.message
