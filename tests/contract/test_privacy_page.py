"""docs/privacy.md is what the source says, and the source says everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from telemetry_sdk.analytics.catalog.format import load
from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.catalog_tools.pages import DONE, KEPT, privacy_page
from telemetry_sdk.cli import program
from telemetry_sdk.identity.schema import Progress, State
from telemetry_sdk.model import Limits

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date():
    """The page in the repository is the one the command writes."""
    assert program.main(["privacy", "--output", str(ROOT / "docs" / "privacy.md"), "--check"]) == 0


def test_a_stale_page_fails(tmp_path, capsys):
    """A page that says something else fails the check, and is shown to differ."""
    page = tmp_path / "privacy.md"
    assert program.main(["privacy", "--output", str(page)]) == 0
    page.write_text(page.read_text("utf-8").replace("locale", "local"), "utf-8")

    assert program.main(["privacy", "--output", str(page), "--check"]) == 1
    assert "privacy without --check" in capsys.readouterr().err


def test_every_field_and_every_key_is_on_it():
    """Nothing is collected or kept that the page does not name."""
    page = privacy_page()

    assert all(f"| `{field.name}` | {field.meaning} |" in page for field in FIELDS)
    assert set(KEPT) == {*State._fields} - {"is_readable", "doubt"}
    assert set(DONE) == {*Progress._fields}
    assert all(f"| `{key}` |" in page for key in (*KEPT, *DONE))
    assert f"{Limits().age_days:g} days" in page


def test_the_events_of_a_catalogue_are_on_it():
    """With a catalogue each event stands there with its properties."""
    catalog = load(ROOT / "examples" / "telemetry.toml")
    page = privacy_page(app="acme-notes", sink="telemetry.acme.example", catalog=catalog)

    assert all(f"### `{name}`" in page for name in catalog.events)
    assert "ACME_NOTES_TELEMETRY=off" in page
    assert "telemetry.acme.example" in page


@pytest.mark.parametrize(
    "topic", ["What, and why", "When, and where to", "How long", "How to see it, stop it", "For a vendor"]
)
def test_it_answers_what_users_ask(topic):
    """What, why, when, where, how long, how to see it, stop it and delete it; and a text for vendors."""
    assert topic in privacy_page()


def test_a_catalogue_that_is_none_is_said(tmp_path, capsys):
    """A missing catalogue is an error in words."""
    missing = str(tmp_path / "none.toml")
    assert program.main(["privacy", "--catalog", missing, "--output", str(tmp_path / "page.md")]) == 1
    assert "no file" in capsys.readouterr().err
