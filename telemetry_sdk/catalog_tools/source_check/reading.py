"""Reads the scopes and calls of a source file from its syntax tree. Nothing is run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from telemetry_sdk.catalog_tools.source_check.scopes import (
    Call,
    Element,
    Import,
    Item,
    Module,
    Parameter,
    Scope,
    Spot,
    Value,
    last_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_module"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_SAYS_NOTHING: Final = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
_BRANCHES: Final = frozenset({"body", "orelse", "finalbody", "pattern", "guard"})
_BRANCHING: Final = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.ExceptHandler, ast.match_case)


@dataclass(slots=True)
class _Visit:
    """A node on its way to be read: in which scope, in which blocks, within what."""

    node: ast.AST
    scope: Scope
    blocks: tuple[tuple[ast.AST, str], ...]
    parent: ast.AST

    def spot(self, at: ast.AST | None = None) -> Spot:
        """Return the moment at which *at*, by default the node itself, is done."""
        node = at or self.node
        return Spot((getattr(node, "end_lineno", 0) or 0, getattr(node, "end_col_offset", 0) or 0), self.blocks)


def read_module(path: str, tree: ast.Module) -> Module:
    """Return the names and calls of a source file."""
    module = Module(path)
    module.scope = Scope(tree, module, None)
    # With a stack of its own, because a source may be nested deeper than Python's.
    waiting = [_Visit(tree, module.scope, (), tree)]
    while waiting:
        visit = waiting.pop()
        inner = _enter(visit)
        _note(visit)
        waiting.extend(reversed(list(_children(visit, inner))))
    return module


def _children(visit: _Visit, inner: Scope) -> Iterator[_Visit]:
    node = visit.node
    is_branching, is_new = isinstance(node, _BRANCHING), inner is not visit.scope and not inner.is_comprehension
    for name, content in ast.iter_fields(node):
        scope, blocks = visit.scope, visit.blocks
        if inner.is_comprehension or (is_new and name == "body"):
            scope, blocks = inner, () if is_new else blocks
        elif is_branching and name in _BRANCHES:
            blocks = (*blocks, (node, name))
        for child in content if isinstance(content, list) else [content]:
            if isinstance(child, ast.AST) and not isinstance(child, _SAYS_NOTHING):
                yield _Visit(child, scope, blocks, node)


def _enter(visit: _Visit) -> Scope:
    """Return the scope of what is inside a node: a new one for a function, class or comprehension."""
    node, scope = visit.node, visit.scope
    if isinstance(node, _Comprehension):
        return Scope(node, scope.module, scope)
    if not isinstance(node, (_Function, ast.ClassDef)):
        return scope
    inner = Scope(node, scope.module, scope)
    if not isinstance(node, ast.Lambda):
        scope.bind(node.name, inner, visit.spot())
    if isinstance(node, ast.ClassDef):
        scope.module.classes.append(inner)
        return inner
    arguments = node.args
    for it in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg):
        if it is not None:
            inner.bind(it.arg, Parameter(inner, it.arg), Spot())
    return inner


def _note(visit: _Visit) -> None:
    """Remember what a node binds, calls or says."""
    node, scope = visit.node, visit.scope
    module = scope.module
    match node:
        case ast.Name(ctx=ast.Load()):
            module.spots[node] = Spot((node.lineno, node.col_offset), visit.blocks)
        case ast.Call():
            module.calls.append(Call(node, scope))
            module.calls.extend(Call(call, scope, True) for call in _handed_over(node))
        case ast.Attribute(ctx=ast.Load()):
            module.attributes.append((node, visit.parent))
        case ast.Constant(value=str(text)):
            module.strings.add(text)
        case ast.Return(value=ast.expr() as value):
            scope.returns.append(value)
        case ast.Global(names=names):
            scope.elsewhere.update(dict.fromkeys(names, module.scope))
        case ast.Nonlocal(names=names) if scope.parent is not None:
            scope.elsewhere.update(dict.fromkeys(names, scope.parent))
        case ast.Import() | ast.ImportFrom():
            _bind_import(node, visit)
        case _:
            _bind_targets(node, visit)


def _bind_import(node: ast.Import | ast.ImportFrom, visit: _Visit) -> None:
    scope = visit.scope
    for alias in node.names:
        name = alias.asname or alias.name
        if isinstance(node, ast.Import):
            name = alias.asname or alias.name.partition(".")[0]
            scope.bind(name, Import(alias.name if alias.asname else name, 0, ""), visit.spot())
        elif alias.name == "*":
            scope.stars.append(Import(node.module or "", node.level, ""))
        else:
            scope.bind(name, Import(node.module or "", node.level, alias.name), visit.spot())
            scope.module.aliases.append((name, alias.name))


def _bind_targets(node: ast.AST, visit: _Visit) -> None:
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                _bind(target, value, visit)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            _bind(target, value, visit)
        case ast.NamedExpr(target=ast.Name(id=name), value=value):
            home = visit.scope
            while home.is_comprehension and home.parent is not None:
                home = home.parent
            # In a comprehension it may be read before the place where it is written.
            home.bind(name, Value(value, visit.scope), visit.spot() if home is visit.scope else None)
            _alias(name, value, home)
        case ast.For() | ast.AsyncFor():
            body = (*visit.blocks, (node, "body"))
            _bind_elements(node.target, node.iter, _Visit(node.target, visit.scope, body, node))
        case ast.comprehension(target=target, iter=elements):
            _bind_elements(target, elements, visit)
        case ast.AugAssign(target=target):
            _bind(target, None, visit)
        case _:
            _bind_unknown(node, visit)


def _bind_unknown(node: ast.AST, visit: _Visit) -> None:
    """Remember names bound to what a statement is given while running."""
    match node:
        case ast.withitem(optional_vars=ast.expr() as target):
            _bind(target, None, _Visit(target, visit.scope, visit.blocks, node))
        case (
            ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
            | ast.ExceptHandler(name=str(name))
        ):
            at = Spot((getattr(node, "lineno", 0), getattr(node, "col_offset", 0)), visit.blocks)
            visit.scope.bind(name, Value(None, visit.scope), at)


def _bind(target: ast.expr, value: ast.expr | None, visit: _Visit) -> None:
    scope = visit.scope
    if value is not None:
        _alias(last_name(target), value, scope)
    match target:
        case ast.Name(id=name):
            scope.bind(name, Value(value, scope), visit.spot())
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            home: Scope | None = scope
            while home is not None and not home.is_class:
                home = home.parent
            if home is not None:
                home.bind(name, Value(value, scope), None)
        case ast.Subscript(value=ast.Name(id=name), slice=key) if value is not None:
            scope.items.setdefault(name, []).append(Item(key, value, visit.spot()))
        case ast.Starred(value=inner):
            _bind(inner, None, visit)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            given = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            paired = len(given) == len(targets) and not any(isinstance(it, ast.Starred) for it in (*given, *targets))
            for position, inner in enumerate(targets):
                _bind(inner, given[position] if paired else None, visit)


def _alias(name: str, value: ast.expr, scope: Scope) -> None:
    if last_name(value):
        scope.module.aliases.append((name, last_name(value)))


def _bind_elements(target: ast.expr, elements: ast.expr, visit: _Visit) -> None:
    if isinstance(target, ast.Name):
        visit.scope.bind(target.id, Element(elements, visit.scope), visit.spot(target))
        return
    rows: list[ast.expr | None] = [None]
    if isinstance(elements, (ast.Tuple, ast.List, ast.Set)):
        rows = [*elements.elts]
    for row in rows:
        _bind(target, row, visit)


def _handed_over(call: ast.Call) -> Iterator[ast.Call]:
    """Yield the calls that will be made of what *call* is given: ``submit(f, 1)``, ``Thread(target=f, args=(1,))``."""
    for position, argument in enumerate(call.args):
        if isinstance(argument, (ast.Name, ast.Attribute)):
            made = ast.Call(argument, call.args[position + 1 :], call.keywords)
            yield ast.copy_location(made, argument)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    target, listed, named = given.get("target"), given.get("args"), given.get("kwargs")
    if isinstance(target, (ast.Name, ast.Attribute)):
        positional: list[ast.expr] = [ast.Starred(listed, ast.Load())] if listed is not None else []
        keywords = [ast.keyword(None, named)] if named is not None else []
        yield ast.copy_location(ast.Call(target, positional, keywords), target)
