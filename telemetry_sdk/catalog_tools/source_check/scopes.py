"""What each name of a source file may stand for, by Python's rules of scope and by what can have run before."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Binding",
    "Call",
    "Element",
    "Import",
    "Item",
    "Module",
    "Parameter",
    "Scope",
    "Spot",
    "Value",
    "last_name",
    "lookup",
    "put_into",
]

_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Spot:
    """A moment in the run of a scope.

    Attributes:
        position: Line and column.
        blocks: The blocks around it that may be skipped or repeated, outermost first: statement and branch.
    """

    position: tuple[int, int] = (0, 0)
    blocks: tuple[tuple[ast.AST, str], ...] = ()

    def always_before(self, other: Spot) -> bool:
        """Tell whether whoever comes to *other* has been here."""
        return self.position <= other.position and self.blocks == other.blocks[: len(self.blocks)]


@dataclass(frozen=True, slots=True)
class Value:
    """Bound to an expression of this scope; None when nobody can tell to what."""

    expression: ast.expr | None
    scope: Scope


@dataclass(frozen=True, slots=True)
class Element:
    """Bound to each element of an expression."""

    expression: ast.expr
    scope: Scope


@dataclass(frozen=True, slots=True)
class Parameter:
    """Bound to what a function is called with."""

    function: Scope
    name: str


@dataclass(frozen=True, slots=True)
class Import:
    """Bound to a module, or to a name in it.

    Attributes:
        module: Its dotted name; relative to the importing file with *level* above 0.
        level: Number of leading dots.
        name: The name in it, or empty for the module itself.
    """

    module: str
    level: int
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """``name[key] = value``."""

    key: ast.expr
    value: ast.expr
    spot: Spot


@dataclass(eq=False, slots=True)
class Scope:
    """A module, class, function or comprehension.

    Attributes:
        node: Where it is defined.
        module: The file it is in.
        parent: The scope around it.
        bindings: What each of its names may stand for, and when it was bound to it; None when that is done from
            another scope. In a class also what methods assign to ``self``.
        items: What is put into the containers it names.
        stars: ``from … import *``.
        returns: What a function may return.
        elsewhere: Names that ``global`` and ``nonlocal`` give to a scope further out.
    """

    node: ast.AST
    module: Module
    parent: Scope | None
    bindings: dict[str, list[tuple[Binding, Spot | None]]] = field(default_factory=dict)
    items: dict[str, list[Item]] = field(default_factory=dict)
    stars: list[Import] = field(default_factory=list)
    returns: list[ast.expr] = field(default_factory=list)
    elsewhere: dict[str, Scope] = field(default_factory=dict)

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return isinstance(self.node, ast.ClassDef)

    @property
    def is_comprehension(self) -> bool:
        """Whether it is a comprehension, which runs where it stands."""
        return isinstance(self.node, _COMPREHENSIONS)

    def bind(self, name: str, binding: Binding, spot: Spot | None) -> None:
        """Remember that *name* is bound at *spot*."""
        home = self.elsewhere.get(name, self)
        home.bindings.setdefault(name, []).append((binding, spot if home is self else None))


Binding = Value | Element | Parameter | Import | Scope


@dataclass(frozen=True, slots=True)
class Call:
    """A call, or a function handed over together with what it is to be called with.

    Attributes:
        node: The call; of a function handed over one that was never written.
        scope: Where it stands.
        is_handed: Whether the function is handed over.
    """

    node: ast.Call
    scope: Scope
    is_handed: bool = False


@dataclass(eq=False, slots=True)
class Module:
    """A source file.

    Attributes:
        path: Its path.
        scope: Its own names.
        calls: Every call in it.
        attributes: Every attribute that is read, with what it stands in.
        classes: Every class.
        strings: Every text constant.
        aliases: Pairs of a name and another one that it may stand for.
        spots: When each name that is read is read.
    """

    path: str
    scope: Scope = field(init=False)
    calls: list[Call] = field(default_factory=list)
    attributes: list[tuple[ast.Attribute, ast.AST]] = field(default_factory=list)
    classes: list[Scope] = field(default_factory=list)
    strings: set[str] = field(default_factory=set)
    aliases: list[tuple[str, str]] = field(default_factory=list)
    spots: dict[ast.AST, Spot] = field(default_factory=dict)


def last_name(function: ast.expr) -> str:
    """Return the name by which *function* is called: ``track_event`` of ``self.telemetry.track_event``."""
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return name
    return ""


def lookup(name: ast.Name, scope: Scope) -> Iterator[tuple[Binding, Scope]]:
    """Yield everything *name* may stand for in *scope*, with the scope that bound it."""
    home, spot = _home(name, scope)
    bindings = home.bindings[name.id] if home is not None else []
    last = _last_before(bindings, spot)
    for binding, at in bindings:
        if home is not None and (at is None or spot is None or _may_hold(at, last, spot)):
            yield binding, home


def put_into(name: ast.Name, scope: Scope) -> Iterator[tuple[Item, Scope]]:
    """Yield what may have been put into the container that *name* stands for in *scope*."""
    home, spot = _home(name, scope)
    if home is not None:
        last = _last_before(home.bindings[name.id], spot)
        for item in home.items.get(name.id, ()):
            if spot is None or _may_hold(item.spot, last, spot):
                yield item, home


def _home(name: ast.Name, scope: Scope) -> tuple[Scope | None, Spot | None]:
    """Return the scope whose name it is, and when in the run of that scope it is read, if that can be told."""
    inner: Scope | None = scope
    runs_here = True
    while inner is not None:
        # The names of a class are not seen by its methods.
        if name.id in inner.bindings and (inner is scope or not inner.is_class):
            is_known = runs_here and not inner.is_comprehension
            return inner, scope.module.spots.get(name) if is_known else None
        runs_here = runs_here and inner.is_comprehension
        inner = inner.parent
    return None, None


def _last_before(bindings: list[tuple[Binding, Spot | None]], spot: Spot | None) -> Spot | None:
    """Return the last binding that everybody comes by on the way to *spot*."""
    before = [at for _, at in bindings if at is not None and spot is not None and at.always_before(spot)]
    return max(before, key=lambda at: at.position, default=None)


def _may_hold(bound: Spot, last: Spot | None, spot: Spot) -> bool:
    """Tell whether what was bound at *bound* may hold at *spot*, before which everybody comes by *last*."""
    if bound.position <= spot.position:
        return last is None or bound.position >= last.position
    # Later in the source: in an earlier turn of a loop, unless each turn comes by the last binding first.
    loops = [it for it in bound.blocks if it in spot.blocks and isinstance(it[0], _LOOPS)]
    return any(last is None or loop not in last.blocks for loop in loops)
