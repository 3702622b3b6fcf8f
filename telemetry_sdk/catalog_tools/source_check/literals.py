"""What of an expression is written out in the source: texts, the entries of a dict, plain values."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Final

from telemetry_sdk.catalog_tools.source_check.scopes import put_into

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.catalog_tools.source_check.leaves import Frame, Leaf
    from telemetry_sdk.catalog_tools.source_check.scopes import Scope
    from telemetry_sdk.catalog_tools.source_check.values import Evaluator

__all__ = ["ANYTHING", "Entry", "entries", "texts"]

ANYTHING: Final = "\0"
"""Stands in a text for the part that is only known while running."""

_MOST_TEXTS: Final = 64
_DEEPEST: Final = 30
_FIELD: Final = re.compile(r"\{[^{}]*\}")
_PERCENT: Final = re.compile(r"%(?:\(\w*\))?[-#0 +]*[\d.*]*[a-zA-Z]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a dict: its key, and its value with where that is to be understood."""

    key: str
    value: ast.expr
    scope: Scope
    frame: Frame


def texts(evaluator: Evaluator, expression: ast.expr, scope: Scope, frame: Frame, depth: int = 0) -> list[str]:
    """Return the texts *expression* may be; one that is only known while running is `ANYTHING`. None is no text."""
    found: dict[str, None] = {}
    for leaf in evaluator.leaves(expression, scope, frame):
        found |= dict.fromkeys(leaf_texts(evaluator, leaf, depth))
    return list(found)


def leaf_texts(evaluator: Evaluator, leaf: Leaf, depth: int = 0) -> list[str]:
    """Return the texts *leaf* may be."""
    if depth > _DEEPEST:
        return [ANYTHING]

    def inside(expression: ast.expr) -> list[str]:
        return texts(evaluator, expression, leaf.scope, leaf.frame, depth + 1) or [ANYTHING]

    match leaf.node:
        case ast.Constant(value=str(text)):
            return [text.replace(ANYTHING, " ")]
        case ast.Constant(value=None):
            return []
        case ast.JoinedStr(values=parts):
            return _joined("", [inside(_shown(part)) for part in parts])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined("", [inside(left), inside(right)])
        case ast.BinOp(left=left, op=ast.Mod()):
            return [_PERCENT.sub(ANYTHING, text) for text in inside(left)]
        case ast.Call():
            return _made(leaf.node, inside)
    return [ANYTHING]


def _made(call: ast.Call, inside: Callable[[ast.expr], list[str]]) -> list[str]:
    """Return the texts a call of ``format``, ``join`` or ``str`` makes."""
    match call:
        case ast.Call(func=ast.Attribute(value=template, attr="format")):
            return [_FIELD.sub(ANYTHING, text) for text in inside(template)]
        case ast.Call(
            func=ast.Attribute(value=joint, attr="join"), args=[ast.Tuple(elts=parts) | ast.List(elts=parts)]
        ):
            return [text for between in inside(joint) for text in _joined(between, list(map(inside, parts)))]
        case ast.Call(func=ast.Name(id="str"), args=[value]):
            return inside(value)
    return [ANYTHING]


def _shown(part: ast.expr) -> ast.expr:
    """Return a part of an f-string as an expression that gives the same text."""
    if not isinstance(part, ast.FormattedValue):
        return part
    plain = part.format_spec is None and part.conversion in (-1, ord("s"))
    return part.value if plain else ast.Name("")


def _joined(joint: str, parts: list[list[str]]) -> list[str]:
    found = [joint.join(chosen) for chosen in islice(product(*parts), _MOST_TEXTS + 1)]
    return found if len(found) <= _MOST_TEXTS else [ANYTHING]


def entries(evaluator: Evaluator, expression: ast.expr, scope: Scope, frame: Frame) -> tuple[list[Entry], bool]:
    """Return the entries the dict *expression* may have, and whether those are all."""
    found, complete = _added_later(evaluator, expression, scope, frame)
    for leaf in evaluator.leaves(expression, scope, frame):
        more, all_of_it = _leaf_entries(evaluator, leaf)
        found, complete = found + more, complete and all_of_it
    return found, complete


def _leaf_entries(evaluator: Evaluator, leaf: Leaf) -> tuple[list[Entry], bool]:
    scope, frame = leaf.scope, leaf.frame
    match leaf.node:
        case ast.Constant(value=None):
            return [], True
        case ast.Dict(keys=keys, values=values):
            pairs = list(zip(keys, values, strict=True))
        case ast.Call(func=ast.Name(id="dict"), args=given, keywords=keywords):
            named = [(ast.Constant(it.arg) if it.arg else None, it.value) for it in keywords]
            pairs = [*((None, value) for value in given), *named]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            pairs = [(None, left), (None, right)]
        case _:
            return [], False
    found: list[Entry] = []
    complete = True
    for key, value in pairs:
        more, all_of_it = (
            entries(evaluator, value, scope, frame) if key is None else _entry(evaluator, key, value, scope, frame)
        )
        found, complete = found + more, complete and all_of_it
    return found, complete


def _entry(
    evaluator: Evaluator, key: ast.expr, value: ast.expr, scope: Scope, frame: Frame
) -> tuple[list[Entry], bool]:
    keys = texts(evaluator, key, scope, frame)
    exact = [text for text in keys if ANYTHING not in text]
    return [Entry(text, value, scope, frame) for text in exact], len(exact) == len(keys)


def _added_later(evaluator: Evaluator, expression: ast.expr, scope: Scope, frame: Frame) -> tuple[list[Entry], bool]:
    """Return the entries of ``properties[key] = value``, which stand beside the dict."""
    found: list[Entry] = []
    complete = True
    if not isinstance(expression, ast.Name):
        return found, complete
    for item, home in put_into(expression, scope):
        more, all_of_it = _entry(evaluator, item.key, item.value, home, frame)
        found, complete = found + more, complete and all_of_it
    return found, complete
