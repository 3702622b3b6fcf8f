"""What an expression may stand for, and what the calls on the way to it give."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from telemetry_sdk.catalog_tools.source_check.scopes import Parameter, Scope

__all__ = ["Arguments", "EnumMember", "Frame", "Given", "Leaf", "Package"]

Given = tuple[ast.expr, Scope]
Frame = dict[Scope, dict[str, Given]]


@dataclass(frozen=True, slots=True)
class Package:
    """A module or a directory of modules, by its path without ``.py``."""

    path: str


@dataclass(frozen=True, slots=True)
class EnumMember:
    """A member, which is no string itself, of an enumeration."""

    value: Leaf


@dataclass(frozen=True, slots=True)
class Leaf:
    """What an expression may stand for; an instance of a class is shown as the class.

    Attributes:
        node: An expression that cannot be followed further, or what was found.
        scope: Where it stands.
        frame: What the functions around it are called with.
    """

    node: ast.expr | Scope | Package | EnumMember | Parameter
    scope: Scope
    frame: Frame

    @property
    def key(self) -> object:
        """What tells one leaf from another."""
        node = self.node.value.node if isinstance(self.node, EnumMember) else self.node
        return type(self.node), node, self.scope, id(self.frame)


@dataclass(slots=True)
class Arguments:
    """What a call gives: by position, by name, and whether that is all."""

    positional: list[Given] = field(default_factory=list)
    named: dict[str, Given] = field(default_factory=dict)
    complete: bool = True

    def get(self, position: int, name: str) -> Given | None:
        """Return what is given at *position* or as *name*."""
        return self.positional[position] if position < len(self.positional) else self.named.get(name)
