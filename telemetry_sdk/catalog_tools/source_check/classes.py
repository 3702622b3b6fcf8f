"""How Python treats methods and enumerations, as far as that can be seen in the source."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from telemetry_sdk.catalog_tools.source_check.scopes import last_name

if TYPE_CHECKING:
    from telemetry_sdk.catalog_tools.source_check.scopes import Scope

__all__ = ["enum_kind", "is_bound", "is_property", "self_name"]


def is_bound(function: Scope, call: ast.Call) -> bool:
    """Tell whether *call* leaves out the first parameter, which Python gives itself."""
    owner, decorators = function.parent, _decorators(function)
    if owner is None or not isinstance(owner.node, ast.ClassDef):
        return False
    through_class = isinstance(call.func, ast.Attribute) and last_name(call.func.value) == owner.node.name
    return "staticmethod" not in decorators and ("classmethod" in decorators or not through_class)


def is_property(function: Scope) -> bool:
    """Tell whether a function is called by being read."""
    return bool({"property", "cached_property"} & set(_decorators(function)))


def self_name(function: Scope) -> str:
    """Return the name of a method's first parameter, the object it belongs to; empty if there is none."""
    node = function.node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or "staticmethod" in _decorators(function):
        return ""
    return next((it.arg for it in (*node.args.posonlyargs, *node.args.args)), "")


def _decorators(function: Scope) -> list[str]:
    node = function.node
    return (
        [last_name(it) for it in node.decorator_list]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        else []
    )


def enum_kind(family: list[Scope]) -> str:
    """Return "string" or "enum" for the class of an enumeration, by the names of its bases; else ""."""
    bases = {last_name(base) for it in family if isinstance(it.node, ast.ClassDef) for base in it.node.bases}
    if not any(name.endswith(("Enum", "Flag")) for name in bases):
        return ""
    return "string" if "str" in bases or any(name.endswith("StrEnum") for name in bases) else "enum"
