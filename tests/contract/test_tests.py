"""The tests themselves: they look at what others see, and do as much as the profile says."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import telemetry_sdk

TESTS = Path(__file__).parents[1]
SDK = Path(telemetry_sdk.__file__).parent
PUBLIC = {"_fields", "_replace", "_asdict", "_make", "_version"}  # those of a named tuple, and a file's
FILES = sorted(TESTS.rglob("*.py"))
PRIVATE = re.compile(r"(?:\b(?!(?:self|cls|sys|os)\b)\w+|[)\]])\.(_[a-z]\w*)", re.IGNORECASE)


def is_own(node: ast.Attribute) -> bool:
    """Whether an attribute is one of the object at work, or of Python."""
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "sys", "os")


def defined(tree: ast.Module) -> Iterator[str]:
    """The private names that the code defines."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node):
            name = node.attr
        if name.startswith("_") and not name.endswith("__"):
            yield name


@functools.cache
def private_names() -> dict[str, set[str]]:
    """Each private name that the package defines, and the rooms that do."""
    rooms = defaultdict(set)
    for path in SDK.rglob("*.py"):
        room = path.relative_to(SDK).parts[0].removesuffix(".py")
        for name in defined(ast.parse(path.read_text("utf-8"))):
            rooms[name].add(room)
    return {name: found for name, found in rooms.items() if name not in PUBLIC}


def room_of(path: Path) -> str:
    """The room whose tests are in *path*; none for a test that spans rooms."""
    parts = path.relative_to(TESTS).parts
    return parts[1] if parts[0] == "unit" and len(parts) > 2 else ""


def looked_at(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The private names that the code looks at in something else: attributes, also as text, and also in a child's code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not is_own(node):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in PRIVATE.findall(node.value):
                yield node.lineno, name
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if called in ("setattr", "delattr", "getattr", "hasattr", "object") and len(node.args) > 1:
                name = node.args[1]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield node.lineno, name.value


def trespasses(source: str, room: str) -> list[str]:
    """What *source*, a test of *room*, looks at that is another room's own."""
    tree = ast.parse(source)
    own = set(defined(tree))
    return sorted(
        f"line {line}: {name} of {', '.join(sorted(private_names()[name]))}"
        for line, name in set(looked_at(tree))
        if name in private_names() and room not in private_names()[name] and name not in own
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_private_name_of_another_room_is_used(path: Path) -> None:
    """A test of a room may look behind its doors; all others go by what is public, `testing` and `override`."""
    assert trespasses(path.read_text("utf-8"), room_of(path)) == []


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("make().%s.outbox", "delivery"),
        ("telemetry.%s", ""),
        ("from telemetry_sdk.outbox.database import %s", "consent"),
        ("monkeypatch.setattr(module, '%s', 1)", ""),
        ("monkeypatch.setattr('telemetry_sdk.outbox.database.%s', 1)", ""),
        ("CHILD = '''\nmake().%s\n'''", ""),
    ],
)
def test_a_private_name_is_found(source: str, room: str) -> None:
    """However it is reached, a private name of another room is noticed; in its own room it is not."""
    name = "_AVOID_S"

    assert trespasses(source % name, room) == [f"line 1: {name} of outbox"]
    assert trespasses(source % name, "outbox") == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_every_property_says_how_many_examples_it_takes(path: Path) -> None:
    """Each property has `examples`, which the profile cuts; nobody sets numbers past it."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            called = [getattr(it.func, "id", "") for it in node.decorator_list if isinstance(it, ast.Call)]
            assert ("given" in called) == ("examples" in called), node.name
    if path.name != "profiles.py":
        assert "max_examples" not in {
            keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords
        }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_file_is_alone_as_a_whole(path: Path) -> None:
    """`alone` is said of a file, in the one way that tests/conftest.py understands."""
    text = path.read_text("utf-8")
    said = re.findall(r"^.*\bmark\.alone\b.*$", text, re.MULTILINE)

    assert path.name in ("conftest.py", "test_tests.py") or said in ([], ["pytestmark = pytest.mark.alone"])
