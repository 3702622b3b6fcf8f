"""The catalogue's file: found, read, refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from telemetry_sdk.analytics.catalog import Catalog
from telemetry_sdk.analytics.catalog.file import load
from telemetry_sdk.analytics.catalog.format import LARGEST
from telemetry_sdk.model import ConfigError

TEXT = 'version = 2\napp = "Zürich"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "telemetry.toml"
    file.write_text(TEXT, "utf-8")
    return file


def problem_of(argument: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(argument)
    return str(caught.value)


def test_a_path_of_either_kind(file: Path) -> None:
    """A path may be text or a pathlib.Path; a byte order mark does not matter."""
    assert load(file) == load(str(file)) == Catalog(2, {}, "Zürich")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(file).version == 2


def test_a_parsed_catalogue_is_itself() -> None:
    """What was parsed already is taken as it is."""
    catalog = Catalog(1, {})

    assert load(catalog) is catalog


def test_a_mistake_names_the_file_and_the_key(file: Path) -> None:
    """What is wrong in the file is said with the file's name and the key."""
    file.write_text("version = 1\nfoo = 1\n")

    assert problem_of(file) == f"{file}: foo: unknown key; known are version, app, events"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file and a directory are said plainly."""
    assert problem_of(tmp_path / "no.toml").startswith(f"catalog: there is no file {tmp_path / 'no.toml'}")
    assert problem_of(tmp_path).startswith(f"catalog: {tmp_path} cannot be read: ")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(file: Path) -> None:
    """A file without permission is said plainly."""
    file.chmod(0)

    assert "cannot be read: Permission denied" in problem_of(file)


def test_a_file_that_is_not_utf8(file: Path) -> None:
    """Another encoding is named with the line where it shows."""
    file.write_bytes("version = 1\n\napp = 'Zürich'\n".encode("latin-1"))

    assert problem_of(file) == f"{file}: line 3: not UTF-8; save the file as UTF-8"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_an_endless_file_is_not_read_to_its_end(file: Path) -> None:
    """What is too large for a catalogue is refused, however large it is."""
    file.write_bytes(b"#" * (LARGEST + 1))

    assert "is not a catalogue" in problem_of(file)
    assert "is not a catalogue" in problem_of("/dev/zero")


@pytest.mark.parametrize("argument", [None, 1, b"telemetry.toml", "", " ", "a\0b", {}, ["telemetry.toml"]], ids=repr)
def test_what_is_no_path(argument: object) -> None:
    """Anything else is the integrator's mistake, and the message says what may be given."""
    assert problem_of(argument).startswith("catalog: must be the path of a telemetry.toml")


def test_a_path_that_no_file_system_has() -> None:
    """Half a character in a path is no crash."""
    assert "cannot be read" in problem_of("\ud800.toml") or "there is no file" in problem_of("\ud800.toml")
