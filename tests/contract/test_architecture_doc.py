"""ARCHITECTURE.md shows the floors and doors that import-linter enforces, and names only files that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "telemetry_sdk"
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
DECISIONS = ROOT / "docs" / "decisions"
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]


def section(title: str) -> str:
    """What stands under the heading *title*."""
    return re.split(r"^## ", DOCUMENT.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the first table under *title*, without its two lines of heading."""
    table = re.search(r"(?:^\|.*\n)+", section(title), re.MULTILINE)
    assert table is not None, title
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group().splitlines()[2:]]


def quoted(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def layers() -> list[list[str]]:
    """The layers of the contract, the highest first."""
    (contract,) = [it for it in CONTRACTS if it["type"] == "layers"]
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def test_the_floors_are_the_layers_of_the_contract() -> None:
    """The table of floors has the rooms of import-linter's layers, in their order, numbered down to 1."""
    shown = [(int(number), quoted(rooms)) for number, rooms in rows("The floors")]

    assert shown == [(len(layers()) - place, rooms) for place, rooms in enumerate(layers())]
    assert len(shown) == 8


def test_every_room_is_described() -> None:
    """Every folder and module of the package has a floor or stands alone, and is described."""
    there = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    rooms = {name for name in there if not name.startswith("_")}
    described = re.findall(r"^\| ((?:`\w+` ?)+)\| [a-z]", section("The floors"), re.MULTILINE)

    assert {room for layer in layers() for room in layer} | {"receiver"} == rooms
    assert {room for cell in described for room in quoted(cell)} == rooms


def test_the_doors_are_those_of_the_contracts() -> None:
    """Each door of the table is a contract, and the other way round, with the same modules behind it."""
    shown = {
        name: {path.removesuffix(".py").replace("/", ".") for path in quoted(where)}
        for name, where in rows("The doors")
    }
    doors = {
        contract["name"].removeprefix("door: "): {
            line.split(" -> ")[0].removeprefix("telemetry_sdk.")
            for line in [*contract.get("ignore_imports", []), *contract.get("allowed_importers", [])]
        }
        for contract in CONTRACTS
        if contract["name"].startswith("door: ")
    }
    # The other modules that its contract names import the library for type hints alone.
    doors["SQLite"] &= {"outbox.database"}

    assert shown == doors


def test_every_file_named_exists() -> None:
    """Every path in the document, and in the decisions, is a file or folder of the package or of the repository."""
    for page in (ROOT / "ARCHITECTURE.md", *DECISIONS.glob("*.md")):
        named = [
            name for name in quoted(page.read_text("utf-8")) if re.fullmatch(r"[\w*]+(/[\w*]+)*(/|\.py|\.md)", name)
        ]
        missing = [name for name in named if not any(PACKAGE.glob(name)) and not any(ROOT.glob(name))]
        assert missing == [], page.name


def test_every_decision_is_listed() -> None:
    """The list of decisions links each record, and each has its four parts."""
    assert re.findall(r"\(docs/decisions/(.*?)\)", DOCUMENT) == sorted(path.name for path in DECISIONS.glob("*.md"))
    for path in DECISIONS.glob("*.md"):
        parts = re.findall(r"^## (.*)$", path.read_text("utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "What it costs", "Instead"], path.name
