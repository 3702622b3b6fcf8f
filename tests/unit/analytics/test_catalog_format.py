"""``telemetry.toml``: what it says, and what is said about a wrong one."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from telemetry_sdk.analytics.catalog import Catalog, EventSpec, PropertySpec
from telemetry_sdk.analytics.catalog.format import LARGEST, load, parse
from telemetry_sdk.model import ConfigError

HEAD = """version = 3
[events."timer.started"]
description = "A timer was started."
purpose = "usage"
"""
PROPERTIES = HEAD + '[events."timer.started".properties]\n'
KEY = 'events."timer.started"'


def problem_with(text: str) -> str:
    """What is said about *text*, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "conf/telemetry.toml")
    assert caught.value.setting == "conf/telemetry.toml"
    return caught.value.problem


def test_everything_at_once() -> None:
    """Every key of the format arrives where it belongs."""
    text = '''
        version = 3
        app = "acme-notes"
        [events."timer.started"]
        description = """A timer
            was started."""
        purpose = "usage"
        since = 2
        owner = "Timer team"
        expires = 2027-06-30
        [events."timer.started".properties]
        source = { type = "string", description = "Where from.", values = ["cli", "gui"], since = 3 }
        "plan.name" = { type = "bool", description = "A dotted name." }
        tags = { type = "list", items = "int", description = "Tags.", values = [1, 2] }
        [events."timer.started".properties.place]
        type = "map"
        description = "Where."
        properties = { floor = { type = "float", description = "Which." } }
        [events."note.created"]
        description = "x"
        purpose = "own-word_2"
    '''

    floor = PropertySpec("floor", "float", "Which.", since=2)
    assert parse(text) == Catalog(
        3,
        {
            "timer.started": EventSpec(
                "timer.started",
                "A timer was started.",
                "usage",
                2,
                (
                    PropertySpec("source", "string", "Where from.", ("cli", "gui"), 3),
                    PropertySpec("plan.name", "bool", "A dotted name.", since=2),
                    PropertySpec("tags", "list", "Tags.", (1, 2), 2, "int"),
                    PropertySpec("place", "map", "Where.", (), 2, "", (floor,)),
                ),
                "Timer team",
                "2027-06-30",
            ),
            "note.created": EventSpec("note.created", "x", "own-word_2"),
        },
        "acme-notes",
    )


def test_the_smallest_catalogue() -> None:
    """A catalogue may have no event yet, a byte order mark, and the line ends of Windows."""
    assert parse("version = 1") == Catalog(1, {})
    assert parse("\ufeffversion = 1\r\n[events]\r\n") == Catalog(1, {})
    assert parse(HEAD.replace("\n", "\r\n")) == parse(HEAD)


def test_what_the_sdk_says_about_its_own_events() -> None:
    """For an event of the SDK that a host declares, description and purpose may be left out."""
    (spec,) = parse('version = 1\n[events."analytics.page_view"]').events.values()

    assert spec.description
    assert spec.purpose == "usage"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "version is missing: write version = 1 on the first line"),
        ("version = 0", "version: must be a whole number from 1 to 999999999"),
        ("\n\nversion = true", "version: must be"),
        ('version = "1"', "version: must be"),
        ("version = 1.0", "version: must be"),
        (f"version = {10**9}", "version: must be"),
        ('version = 1\n[event."a.b"]', "event: unknown key; did you mean events?"),
        ("version = 1\nowner = 1", "owner: unknown key; known are version, app, events"),
        ("version = 1\nevents = 3", "events: must be a table"),
        ('version = 1\n[[events."a.b"]]', 'events."a.b": must be a table'),
        ('version = 1\napp = "\\t"', "app: must be text of 1 to 64 characters"),
        ("version = 1\n[events]\n\n'a.b' = 'x'", 'events."a.b": must be a table'),
        ("version = 1\n[events.timer.started]\n", 'events.timer: .*needs quotes: [events."timer.started"]'),
        ('version = 1\n[events."Timer.Started"]', 'events."Timer.Started": names are dotted lower snake case'),
        ("version = 1\n[events.timer]", "events.timer: names are dotted lower snake case"),
        ('version = 1\n[events."base_telemetry.x"]', ".*is reserved for the base layer"),
        ('version = 1\n[events."analytics.install"]', ".*is the SDK's own"),
        ('version = 1\n[events."analytics.deletion_requested"]', ".*is the SDK's own"),
        ('version = 1\n[events."a.b"]\npurpose = "usage"', 'events."a.b": description is missing'),
        ('version = 1\n[events."a.b"]\ndescription = "x"', 'events."a.b": purpose is missing'),
        (HEAD.replace("A timer was started.", " \\t "), f"{KEY}.description: must be text of 1 to 500"),
        (HEAD.replace("A timer was started.", "x" * 501), f"{KEY}.description: must be text"),
        (HEAD.replace("A timer was started.", "\\u001b[2J"), f"{KEY}.description: must be text"),
        (HEAD.replace("A timer was started.", "\\u202e"), f"{KEY}.description: must be text"),
        (HEAD.replace('"usage"', '"Usage"'), f"{KEY}.purpose: must be one word in lower case"),
        (HEAD.replace('"usage"', '"two words"'), f"{KEY}.purpose: must be one word"),
        (HEAD.replace('"usage"', "1"), f"{KEY}.purpose: must be one word"),
        (HEAD + "since = 4", f"{KEY}.since: 4 is above this catalogue's version; raise version, on top, to 4"),
        (HEAD + "since = 0", f"{KEY}.since: must be a whole number from 1 to 3"),
        (HEAD + "since = true", f"{KEY}.since: must be a whole number"),
        (HEAD + "sinc = 1", f"{KEY}.sinc: unknown key; did you mean since?"),
        (HEAD + 'owner = "\\n"', f"{KEY}.owner: must be text of 1 to 100"),
        (HEAD + 'expires = "soon"', f"{KEY}.expires: must be a day, such as 2027-06-30"),
        (HEAD + 'expires = "2027-02-30"', f"{KEY}.expires: must be a day"),
        (HEAD + 'expires = ""', f"{KEY}.expires: must be a day"),
        (HEAD + "expires = 2027-06-30T00:00:00Z", f"{KEY}.expires: must be a day"),
        (HEAD + "properties = []", f"{KEY}.properties: must be a table"),
        (HEAD + "\n".join(["", "x = 1"]), f"{KEY}.x: unknown key"),
    ],
)
def test_wrong_catalogues_and_events(text: str, problem: str) -> None:
    """The key, by its dotted path, and what to do are named."""
    pattern = re.escape(problem).replace(r"\.\*", ".*")

    assert re.match(pattern, problem_with(text)), problem_with(text)


@pytest.mark.parametrize(
    ("declaration", "problem"),
    [
        ('source = "string"', "source: must be a table, such as source = { type"),
        ("source = {}", "source: type is missing: one of string, bool, int, float, list, map"),
        ('source = { type = "string" }', "source: description is missing"),
        ('source = { type = "str", description = "x" }', "source.type: is not a type; did you mean string?"),
        ('source = { type = "integer", description = "x" }', "source.type: is not a type; did you mean int?"),
        ('source = { type = "number", description = "x" }', "source.type: is not a type; did you mean float?"),
        ('source = { type = "zzz", description = "x" }', "source.type: is not a type; known are string"),
        ('source = { type = ["int"], description = "x" }', "source.type: is not a type"),
        (
            'source = { type = "int", description = "x", allowed = [1] }',
            "source.allowed: unknown key; did you mean values?",
        ),
        (
            'source.kind = { type = "int", description = "x" }',
            'source.kind: unknown key; a name with a dot needs quotes: "source.kind"',
        ),
        ('"1st" = { type = "int", description = "x" }', "1st: a name begins with a letter"),
        ('"a b" = { type = "int", description = "x" }', '"a b": a name begins with a letter'),
        ('"" = { type = "int", description = "x" }', '"": a name begins with a letter'),
        ('level = { type = "int", description = "x" }', "level: this name is reserved"),
        ('"Trace.ID" = { type = "int", description = "x" }', '"Trace.ID": this name is reserved'),
        ('path = { type = "string", description = "x" }', "path: this name is reserved"),
        ('a = { type = "int", description = "x", values = [] }', "a.values: must be a list of at least one value"),
        ('a = { type = "int", description = "x", values = 1 }', "a.values: must be a list"),
        ('a = { type = "int", description = "x", values = [1, true] }', "a.values: value 2 is not of type int"),
        (
            'a = { type = "int", description = "x", values = [9223372036854775808] }',
            "a.values: value 1 is not of type int",
        ),
        ('a = { type = "float", description = "x", values = [nan] }', "a.values: value 1 is not of type float"),
        ('a = { type = "float", description = "x", values = [1, 1.0] }', "a.values: value 2 is there twice"),
        ('a = { type = "string", description = "x", values = ["\\u0000"] }', "a.values: value 1 is over 128"),
        ('a = { type = "string", description = "x", values = [["a"]] }', "a.values: value 1 is not of type string"),
        ('a = { type = "list", description = "x" }', "a: items is missing: one of string, bool, int, float"),
        ('a = { type = "list", items = "list", description = "x" }', "a.items: is not a type"),
        (
            'a = { type = "list", items = "int", description = "x", values = ["a"] }',
            "a.values: value 1 is not of type int",
        ),
        ('a = { type = "int", items = "int", description = "x" }', "a.items: only a property of type list has items"),
        (
            'a = { type = "int", properties = {}, description = "x" }',
            "a.properties: only a property of type map has properties",
        ),
        ('a = { type = "map", description = "x" }', "a: properties is missing"),
        (
            'a = { type = "map", description = "x", values = [1], properties = { b = { type = "int", description = "x" } } }',
            "a.values: a map has none",
        ),
        (
            'a = { type = "map", description = "x", since = 3, properties = { b = { type = "int", description = "x", since = 2 } } }',
            "a.properties.b.since: cannot be below 3",
        ),
        ('a = { type = "int", description = "x", since = 4 }', "a.since: 4 is above"),
        (
            'install = { type = "map", description = "x", properties = { id = { type = "int", description = "x" } } }',
            "install: a log store joins the names of a map",
        ),
        (
            'a = { type = "map", description = "x", properties = { "b.c" = { type = "int", description = "x" }, b_c = { type = "int", description = "x" } } }',
            "a: a log store joins the names of a map",
        ),
    ],
)
def test_wrong_properties(declaration: str, problem: str) -> None:
    """A declaration under which nothing could be sent, or that says nothing, is an error at its key."""
    expected = f"{KEY}.properties.{problem}"

    assert problem_with(PROPERTIES + declaration)[: len(expected)] == expected


def test_names_a_store_cannot_tell_apart() -> None:
    """Two properties that become one in a log store are an error at the second one."""
    for first, second in (("a.b", "a_b"), ("a-b", "a.b"), ("a_b", "a__b")):
        text = f'{PROPERTIES}"{first}" = {{ type = "int", description = "x" }}\n"{second}" = {{ type = "int", description = "x" }}'

        second = json.dumps(second) if "." in second else second
        assert problem_with(text).startswith(f"{KEY}.properties.{second}: ")
        assert "cannot tell this from a property above" in problem_with(text)


def test_maps_end_somewhere() -> None:
    """Lists and maps stand three deep at most, as they can be sent, and no deeper nesting is a crash."""
    inner = '{ type = "list", items = "int", description = "x" }'

    def nested(depth: int) -> str:
        return (
            inner
            if depth == 0
            else f'{{ type = "map", description = "x", properties = {{ a = {nested(depth - 1)} }} }}'
        )

    assert parse(f"{PROPERTIES}a = {nested(2)}").events
    for depth in (3, 4, 60):
        assert "may stand at most 3 deep" in problem_with(f"{PROPERTIES}a = {nested(depth)}")
    assert "nested too deeply" in problem_with(f"{PROPERTIES}a = {'[' * 9999}")


def test_a_property_is_not_older_than_its_event() -> None:
    """A property without a version of its own came with its event, and cannot have come before it."""
    text = HEAD + 'since = 2\nproperties = { a = { type = "int", description = "x" } }'

    assert parse(text).events["timer.started"].properties[0].since == 2
    assert "since: cannot be below 2" in problem_with(text.replace('"x" }', '"x", since = 1 }'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = ", "not TOML: Invalid value (at end of document)"),
        ("version = 1\nversion = 2\n", "(at line 2, column 12)"),
        ("a = 1\n\nb = 'x\n", "not TOML: "),
        ('a = 1\nb = """x\n\n\ny\n', "not TOML: Unterminated string (at end of document)"),
        ("[events\n", "(at line 1, column 8)"),
        ("[a]\n[a]\n", "(at line 2, column 3)"),
        ("a = 1\r b = 2", "(at line 1, column "),
        ("\x00", "(at line 1, column 1)"),
        ('a = "\\q"', "(at line 1, column "),
        ("= 1", "(at line 1, column 1)"),
        ("a" * 100, "not TOML: "),
        ("{}", "(at line 1, column 1)"),
        ("é = 1", "(at line 1, column 1)"),
        ("a = 2026-02-30", "not TOML: Invalid date or datetime (at line 1, column "),
        ("a = " + "[" * 5000, "a value is nested too deeply to be read"),
        ("a = " + "9" * 5000, "a number is too long to be read"),
    ],
)
def test_what_is_not_toml(text: str, message: str) -> None:
    """A text that is no TOML is said to be none, with line and column as far as the parser knows them."""
    assert message in problem_with(text)


def test_a_file_that_is_no_catalogue_is_refused_early() -> None:
    """Something of another size is not read."""
    assert "is not a catalogue" in problem_with("#" * (LARGEST + 1))


@pytest.mark.parametrize(
    "text",
    [
        '"{long}" = 1',
        '[events."{long}"]',
        "[events.a.{long}]",
        '[events.a."{long}"]',
        '[events."timer.started".properties.a."{long}"]',
    ],
)
def test_names_in_messages_are_cut_and_plain(text: str) -> None:
    """A key of any length and any characters is shown short and escaped."""
    long = ("" if "a.{long}" in text else "\\u001b") + "x" * 100_000
    problem = problem_with("version = 1\n" + text.replace("{long}", long))

    assert len(problem) < 500
    assert problem.isprintable()


MANY = 300_000


@pytest.mark.parametrize(
    "text",
    [
        "a." * MANY + "a = 1",
        "[" + "a." * MANY + "a]",
        "a = {" + '"a" . ' * (MANY // 2) + "a = 1}",
        "x = 1\n" + "'a'." * (MANY // 2) + "a = 1",
    ],
    ids=["bare", "table", "inline", "quoted"],
)
def test_a_key_of_many_parts_is_refused_before_it_is_parsed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser, whose time grows with the square of a key's parts, never sees such a key."""
    monkeypatch.setattr("tomllib.loads", None)

    assert "a key, or what looks like one, of more than 16 parts" in problem_with(text)


def test_dots_that_are_no_key_are_no_matter() -> None:
    """Numbers, sentences and names with dots are read as ever, and so is the deepest property that can be declared."""
    names = '"a.b.c.d", "e.f"'
    text = f'{PROPERTIES}a = {{ type = "string", description = "Yes... No. 1.5. A.b, c.d", values = [{names}] }}\n'
    text += "b = { type = 'float', description = 'x', values = [" + ", ".join(f"{n}.5" for n in range(99))
    text += "] }\n# " + ". " * 99 + "1.5, 2.5; " * 99

    assert [len(spec.values) for spec in parse(text).events["timer.started"].properties] == [2, 99]


def test_allowed_values_by_the_hundred_thousand() -> None:
    """Values are compared with those before them at once, not with each in its turn."""
    values = ",".join(map(str, range(100_000)))

    assert len(parse(f'{PROPERTIES}a = {{ type = "int", description = "x", values = [{values}] }}').events) == 1
    assert "value 100001 is there twice" in problem_with(
        f'{PROPERTIES}a = {{ type = "int", description = "x", values = [{values},7] }}'
    )


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
    assert problem_of(tmp_path) == f"catalog: {tmp_path} cannot be read: it is not a regular file"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(file: Path) -> None:
    """A file without permission is said plainly."""
    file.chmod(0)

    assert "cannot be read: Permission denied" in problem_of(file)


def test_a_file_that_is_not_utf8(file: Path) -> None:
    """Another encoding is named with the line where it shows."""
    file.write_bytes("version = 1\n\napp = 'Zürich'\n".encode("latin-1"))

    assert problem_of(file) == f"{file}: line 3: not UTF-8; save the file as UTF-8"


def test_a_large_file_is_not_read_to_its_end(file: Path) -> None:
    """What is too large for a catalogue is refused, however large it is."""
    file.write_bytes(b"#" * (LARGEST + 1))
    os.truncate(file, 2**30)

    assert "is not a catalogue" in problem_of(file)


@pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    """A FIFO without a writer, by way of a link too, and a device without an end are refused at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")

    for path in (tmp_path / "fifo", tmp_path / "link", Path("/dev/zero")):
        assert problem_of(path) == f"catalog: {path} cannot be read: it is not a regular file"


def test_a_link_to_a_catalogue_is_followed(file: Path, tmp_path: Path) -> None:
    """A catalogue may be installed as a link."""
    (tmp_path / "link.toml").symlink_to(file)

    assert load(tmp_path / "link.toml") == load(file)


@pytest.mark.parametrize("argument", [None, 1, b"telemetry.toml", "", " ", "a\0b", {}, ["telemetry.toml"]], ids=repr)
def test_what_is_no_path(argument: object) -> None:
    """Anything else is the integrator's mistake, and the message says what may be given."""
    assert problem_of(argument).startswith("catalog: must be the path of a telemetry.toml")


def test_a_path_that_no_file_system_has() -> None:
    """Half a character in a path is no crash."""
    assert "cannot be read" in problem_of("\ud800.toml") or "there is no file" in problem_of("\ud800.toml")
