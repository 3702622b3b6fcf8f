"""TOML with line numbers."""

from __future__ import annotations

import pytest

from telemetry_sdk.analytics.catalog.format import TomlError, line_numbers, read_toml

DOCUMENT = '''# a comment with """ in it
version = 3

[events."timer.started"] # started
description = """
[not.a.table]
key = "inside a text"
"""
'since' = 2

[events."timer.started".properties]
source = { type = "string",
    description = "x" }
tags = [
    "a", # ]
    "b",
]
deep.er = 1
[[list]]
name = "x"
'''.replace('{ type = "string",\n    description', '{ type = "string", description')


def test_lines_of_keys() -> None:
    """Each key has the line on which it first stands, whatever texts and lists the document holds."""
    started = ("events", "timer.started")

    assert line_numbers(DOCUMENT) == {
        ("version",): 2,
        ("events",): 4,
        started: 4,
        (*started, "description"): 5,
        (*started, "since"): 9,
        (*started, "properties"): 11,
        (*started, "properties", "source"): 12,
        (*started, "properties", "source", "type"): 12,
        (*started, "properties", "source", "description"): 12,
        (*started, "properties", "tags"): 13,
        (*started, "properties", "deep"): 17,
        (*started, "properties", "deep", "er"): 17,
        ("list",): 18,
        ("list", "name"): 19,
    }
    assert line_numbers(DOCUMENT.replace("\n", "\r\n")) == line_numbers(DOCUMENT)


def test_what_was_read_is_the_document() -> None:
    """The content is that of tomllib."""
    assert read_toml('a = 1\n[b]\n"c.d" = [true]') == {"a": 1, "b": {"c.d": [True]}}
    assert read_toml("") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = ", "line 1: not TOML: invalid value"),
        ("version = 1\nversion = 2\n", "line 2"),
        ("a = 1\n\nb = 'x\n", "line 3: not TOML"),
        ("a = 1\nb = [1,\n2,\n\n\n", "line 2: not TOML"),
        ('a = 1\nb = """x\n\n\ny\n', "line 2: not TOML: unterminated string"),
        ("[events\n", "line 1, column 8"),
        ("[a]\n[a]\n", "line 2, column 3"),
        ("a = {b = 1\n}\n", "line 1, column"),
        ("a = 1\r b = 2", "line 1, column"),
        ("\x00", "line 1, column 1"),
        ("a = 2026-02-30", "line 1"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "number is too long"),
    ],
)
def test_what_is_not_toml(text: str, message: str) -> None:
    """The message says on which line the trouble is; of something unfinished, where it begins."""
    with pytest.raises(TomlError) as caught:
        read_toml(text)

    assert message in str(caught.value)


def test_a_long_text_is_given_up_on() -> None:
    """A statement of very many lines costs the line numbers of what follows it, not minutes."""
    text = 'a = 1\nb = """' + "x\n" * 20_000 + '"""\nc = 2'

    assert line_numbers(text) == {("a",): 1}
