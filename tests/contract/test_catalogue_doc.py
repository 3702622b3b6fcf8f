"""docs/catalogue.md and the examples' catalogue cannot drift from the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from telemetry_sdk import ConfigError
from telemetry_sdk.analytics.catalog.format import parse
from telemetry_sdk.catalog_tools import source_check
from telemetry_sdk.cli import program

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "catalogue.md").read_text("utf-8")
EXAMPLES = ROOT / "examples"


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_format_example_is_a_catalogue() -> None:
    """The TOML on the page is read as it stands, and says what the page says about it."""
    catalog = parse(blocks("toml")[0])

    assert catalog.version == 2
    assert catalog.unagreed(1) == ("note.created: words", "note.exported")


def known_keys(table: str) -> list[str]:
    """The keys of *table*, as the complaint about one that is like none of them lists them."""
    with pytest.raises(ConfigError, match=r"unknown key; known are ") as caught:
        parse(f"version = 1\n{table.format('qqqqqqqq')}")
    return re.findall(r"\w+", str(caught.value).partition("known are ")[2])


def test_every_key_is_described() -> None:
    """The table of keys names every key the format knows, and no other."""
    table = DOCUMENT.split("| key | of | what |")[1].split("\n\n")[0]
    named = {
        name for cells in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cells)
    }

    event, prop = '[events."a.b"]\n{} = 1', '[events."a.b"]\ndescription = "x"\n[events."a.b".properties.c]\n{} = 1'
    assert named == {"version", "app", *known_keys(event), *known_keys(prop)}


def test_the_check_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of ``catalog check`` is what the command prints."""
    monkeypatch.chdir(tmp_path)
    Path("telemetry.toml").write_text(blocks("toml")[0], "utf-8")
    Path("app.py").write_text(blocks("python")[1], "utf-8")

    assert program.main(["catalog", "check", "telemetry.toml", "app.py"]) == 1
    assert capsys.readouterr().out == blocks("text")[0]


def test_every_kind_is_described() -> None:
    """The table of findings has every kind that the check's own page has, and the one of ``--released``."""
    table = DOCUMENT.split("| kind | what")[1].split("\n\n")[0]
    described = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))

    assert described == {*re.findall(r"^    ([a-z-]+)  ", source_check.__doc__ or "", re.MULTILINE), "unmarked"}


def test_the_examples_send_what_their_catalogue_declares(capsys: pytest.CaptureFixture[str]) -> None:
    """No example sends an undeclared event or property, and no declared event is dead."""
    assert program.main(["catalog", "check", str(EXAMPLES / "telemetry.toml"), str(EXAMPLES), "--strict"]) == 0
    assert capsys.readouterr().out == "0 errors, 0 warnings\n"


def test_the_page_of_the_examples_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """examples/all_tracked_events.md is what its catalogue says."""
    page = str(EXAMPLES / "all_tracked_events.md")

    assert program.main(["catalog", "docs", str(EXAMPLES / "telemetry.toml"), "--output", page, "--check"]) == 0
    assert capsys.readouterr().out.endswith("is up to date\n")
