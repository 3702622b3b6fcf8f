"""What an expression of a host may be, found by following names through files, classes and calls. Nothing is run.

An expression is followed to its *leaves*: the expressions, classes, functions and modules it may stand for. What
cannot be followed is a leaf itself. A *frame* says what the functions on the way are called with, so that a parameter
stands for what was given; a parameter of a function that no frame knows is *open*.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from telemetry_sdk.catalog_tools.source_check.classes import enum_kind, is_bound, is_property, self_name
from telemetry_sdk.catalog_tools.source_check.leaves import Arguments, EnumMember, Frame, Given, Leaf, Package
from telemetry_sdk.catalog_tools.source_check.scopes import Element, Import, Parameter, Scope, Value, lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from telemetry_sdk.catalog_tools.source_check.scopes import Binding
    from telemetry_sdk.catalog_tools.source_check.sources import Sources

__all__ = ["Evaluator"]

_DEEPEST: Final = 30
_MOST_STEPS: Final = 1_000
_UNKNOWN: Final = ast.Name("")
_NO_FRAME: Final[Frame] = {}


class Evaluator:
    """Follows expressions. `open` gathers the functions whose parameters were met and are in no frame.

    With *statically* it does not follow them into functions.
    """

    def __init__(self, sources: Sources, *, statically: bool = False) -> None:
        self.sources = sources
        self.open: dict[Scope, None] = {}
        self._statically = statically
        self._active: set[object] = set()
        self._steps = 0

    def leaves(self, expression: ast.expr, scope: Scope, frame: Frame) -> list[Leaf]:
        """Return what *expression* may stand for. A cycle adds nothing; beyond a limit it is not followed."""
        return self._guarded((expression, id(frame)), lambda: self._follow(expression, scope, frame), scope, frame)

    def _guarded(self, key: object, follow: Callable[[], Iterable[Leaf]], scope: Scope, frame: Frame) -> list[Leaf]:
        if key in self._active:
            return []
        self._steps += 1
        if self._steps > _MOST_STEPS or len(self._active) > _DEEPEST:
            return [Leaf(_UNKNOWN, scope, frame)]
        self._active.add(key)
        try:
            # Each once: what a class inherits is found again in every class below it.
            return list({it.key: it for it in follow()}.values())
        except RecursionError:
            return [Leaf(_UNKNOWN, scope, frame)]
        finally:
            self._active.discard(key)

    def _follow(self, expression: ast.expr, scope: Scope, frame: Frame) -> Iterator[Leaf]:
        here = Leaf(expression, scope, frame)
        match expression:
            case ast.Name():
                yield from self._name(expression, scope, frame)
            case ast.Attribute(value=base, attr=name):
                for leaf in self.leaves(base, scope, frame):
                    yield from self._member(leaf, name) or [here]
            case ast.Subscript(value=base, slice=key):
                for leaf in self.leaves(base, scope, frame):
                    yield from self._item(leaf, key) or [here]
            case ast.Call():
                yield from self._result(expression, scope, frame) or [here]
            case ast.IfExp() | ast.BoolOp() | ast.NamedExpr():
                for part in _alternatives(expression):
                    yield from self.leaves(part, scope, frame)
            case _:
                yield here

    def _name(self, name: ast.Name, scope: Scope, frame: Frame) -> Iterator[Leaf]:
        found = list(lookup(name, scope))
        if not found:
            yield from self._starred(name.id, scope.module.scope) or [Leaf(name, scope, frame)]
        for binding, home in found:
            yield from self._bound(binding, home, frame) or [Leaf(name, scope, frame)]

    def _starred(self, name: str, home: Scope) -> list[Leaf]:
        return [leaf for star in home.stars for leaf in self._imported(star, home, name)]

    def _bound(self, binding: Binding, home: Scope, frame: Frame) -> list[Leaf]:
        """Return what a binding stands for; empty when that cannot be told."""
        match binding:
            case Value(expression=ast.expr() as value, scope=scope):
                return self.leaves(value, scope, frame)
            case Element(expression=elements, scope=scope):
                return [it for leaf in self.leaves(elements, scope, frame) for it in self._elements(leaf)]
            case Parameter(function=function, name=name):
                return self._argument(function, name, frame)
            case Import(name=""):
                path = self.sources.locate(binding, home.module)
                return [Leaf(Package(path), home, frame)] if path else []
            case Import(name=name):
                # What is imported from elsewhere keeps the name it has there.
                return self._imported(binding, home, name) or [Leaf(ast.Name(name), home, frame)]
            case Scope():
                return [Leaf(binding, home, frame)]
        return []

    def _imported(self, imported: Import, home: Scope, name: str) -> list[Leaf]:
        path = self.sources.locate(imported, home.module)
        if path is None:
            return []
        return self._guarded((path, name), lambda: self._package_member(path, name, home), home, _NO_FRAME)

    def _package_member(self, path: str, name: str, home: Scope) -> list[Leaf]:
        module, inner = self.sources.module(path), self.sources.inside(path, name)
        if module is not None:
            bound = [it for binding, _ in module.scope.bindings.get(name, ()) for it in self._of(binding, module.scope)]
            bound = bound or self._starred(name, module.scope)
            if bound:
                return bound
        return [Leaf(Package(inner), home, _NO_FRAME)] if inner else []

    def _of(self, binding: Binding, home: Scope, frame: Frame = _NO_FRAME) -> list[Leaf]:
        return self._bound(binding, home, frame) or [Leaf(_UNKNOWN, home, frame)]

    def _argument(self, function: Scope, name: str, frame: Frame) -> list[Leaf]:
        owner = function.parent
        if self._statically:
            return []
        if owner is not None and owner.is_class and name == self_name(function):
            return [Leaf(it, it, frame) for it in (owner, *self._subclasses(owner))]
        if function in frame:
            given = frame[function].get(name)
            return self.leaves(*given, frame) if given else []
        self.open[function] = None
        return [Leaf(Parameter(function, name), function, frame)]

    def _member(self, base: Leaf, name: str) -> list[Leaf]:
        match base.node:
            case Package(path=path):
                return self._guarded(
                    (path, name), lambda: self._package_member(path, name, base.scope), base.scope, _NO_FRAME
                )
            case Scope(is_class=True):
                return self._class_member(base.node, name, base.frame)
            case EnumMember(value=value) if name == "value":
                return [value]
            case ast.Constant(value=str()) if name == "value":  # a member of an enumeration of strings
                return [base]
        return []

    def _class_member(self, owner: Scope, name: str, frame: Frame) -> list[Leaf]:
        family = self.family(owner)
        kind = enum_kind(family)
        if kind and name == "value" and not any(name in it.bindings for it in family):
            # Within the enumeration: self.value.
            return [it for member in self._members(owner, frame) for it in self._member(member, "value")]
        for scope in family:
            if name in scope.bindings:
                found = [it for binding, _ in scope.bindings[name] for it in self._of(binding, scope, frame)]
                read = [value for it in found for value in self._read(it)]
                return [_as_member(it) for it in read] if kind == "enum" else read
        return []

    def _read(self, leaf: Leaf) -> list[Leaf]:
        """Return what reading an attribute gives: of a property what it returns."""
        if not (isinstance(leaf.node, Scope) and is_property(leaf.node)):
            return [leaf]
        function = leaf.node
        return [it for value in function.returns for it in self.leaves(value, function, leaf.frame)]

    def _members(self, owner: Scope, frame: Frame) -> list[Leaf]:
        names = [name for name, bound in owner.bindings.items() if isinstance(bound[0][0], Value) and name[0] != "_"]
        return [leaf for name in names for leaf in self._class_member(owner, name, frame)]

    def family(self, owner: Scope) -> list[Scope]:
        """Return a class and those it inherits from, as far as they are among the files; its own members first."""
        if owner not in self.sources.families:
            bases, found, waiting = Evaluator(self.sources, statically=True), [], [owner]
            while waiting:
                scope = waiting.pop(0)
                if scope not in found and isinstance(scope.node, ast.ClassDef) and scope.parent is not None:
                    found.append(scope)
                    for base in scope.node.bases:
                        nodes = [leaf.node for leaf in bases.leaves(base, scope.parent, _NO_FRAME)]
                        waiting.extend(node for node in nodes if isinstance(node, Scope))
            self.sources.families[owner] = found
        return self.sources.families[owner]

    def _subclasses(self, owner: Scope) -> list[Scope]:
        if owner not in self.sources.heirs:
            families = ((it, Evaluator(self.sources).family(it)) for it in self.sources.classes if it is not owner)
            self.sources.heirs[owner] = [it for it, family in families if owner in family]
        return self.sources.heirs[owner]

    def _elements(self, leaf: Leaf) -> list[Leaf]:
        """Return what iterating over *leaf* gives."""
        unknown = Leaf(_UNKNOWN, leaf.scope, leaf.frame)
        match leaf.node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return [it for part in parts for it in self.leaves(part, leaf.scope, leaf.frame)]
            case ast.Dict(keys=keys):
                return [it for key in keys for it in (self.leaves(key, leaf.scope, leaf.frame) if key else [unknown])]
            case Scope(is_class=True) if enum_kind(self.family(leaf.node)):
                return self._members(leaf.node, leaf.frame)
        return [unknown]

    def _item(self, base: Leaf, key: ast.expr) -> list[Leaf]:
        """Return what ``base[key]`` may be: every item, unless both sides are written out."""
        wanted = key.value if isinstance(key, ast.Constant) else None
        match base.node:
            case ast.Dict(keys=keys, values=values):
                constant = {it.value: at for at, it in enumerate(keys) if isinstance(it, ast.Constant)}
                if wanted is not None and wanted in constant:
                    values = [values[constant[wanted]]]
                return [it for value in values for it in self.leaves(value, base.scope, base.frame)]
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                if isinstance(wanted, int) and wanted < len(parts):
                    parts = [parts[wanted]]
                return [it for part in parts for it in self.leaves(part, base.scope, base.frame)]
            case Scope(is_class=True) if isinstance(wanted, str):
                return self._class_member(base.node, wanted, base.frame)
        return []

    def _result(self, call: ast.Call, scope: Scope, frame: Frame) -> list[Leaf]:
        """Return what a call of one of the host's own functions may return; empty when that is not known."""
        match call:
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
                return self.leaves(ast.Attribute(owner, name, ast.Load()), scope, frame)
            case ast.Call(func=ast.Name(id="cast") | ast.Attribute(attr="cast"), args=[_, value]):
                return self.leaves(value, scope, frame)
            case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[key, *default]):
                items = [it for base in self.leaves(owner, scope, frame) for it in self._item(base, key)]
                return items + [it for value in default if items for it in self.leaves(value, scope, frame)]
        found: list[Leaf] = []
        if self._statically:
            return found
        for leaf in self.leaves(call.func, scope, frame):
            function = leaf.node
            if not isinstance(function, Scope):
                return []
            if function.is_class:
                found.append(leaf)
                continue
            inner = {**frame, function: self.given(function, call, scope, frame)}
            found.extend(it for value in function.returns for it in self.leaves(value, function, inner))
        return found

    def arguments(self, call: ast.Call, scope: Scope, frame: Frame) -> Arguments:
        """Return what *call* gives, with ``*`` and ``**`` laid out where they are written out."""
        found = Arguments()
        for argument in call.args:
            inner = self._only(argument.value, scope, frame) if isinstance(argument, ast.Starred) else None
            if not isinstance(argument, ast.Starred):
                found.positional.append((argument, scope))
            elif inner is not None and isinstance(inner.node, (ast.Tuple, ast.List)):
                found.positional.extend((part, inner.scope) for part in inner.node.elts)
            else:
                found.complete = False
                break
        for keyword in call.keywords:
            inner = self._only(keyword.value, scope, frame) if keyword.arg is None else None
            if keyword.arg is not None:
                found.named[keyword.arg] = (keyword.value, scope)
            elif inner is not None and isinstance(inner.node, ast.Dict):
                pairs = zip(inner.node.keys, inner.node.values, strict=True)
                found.named |= {str(k.value): (v, inner.scope) for k, v in pairs if isinstance(k, ast.Constant)}
            else:
                found.complete = False
        return found

    def _only(self, expression: ast.expr, scope: Scope, frame: Frame) -> Leaf | None:
        found = self.leaves(expression, scope, frame)
        return found[0] if len(found) == 1 else None

    def given(self, function: Scope, call: ast.Call, scope: Scope, frame: Frame) -> dict[str, Given]:
        """Return what each parameter of *function* stands for in *call*; one that nobody can tell is left out."""
        node = function.node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or function.parent is None:
            return {}
        arguments = self.arguments(call, scope, frame)
        names = [it.arg for it in (*node.args.posonlyargs, *node.args.args)]
        names = names[is_bound(function, call) :]
        found = dict(zip(names, arguments.positional, strict=False))
        rest = {name: value for name, value in arguments.named.items() if name not in names}
        found |= {name: value for name, value in arguments.named.items() if name in names}
        found |= {it.arg: rest.pop(it.arg) for it in node.args.kwonlyargs if it.arg in rest}
        if arguments.complete:
            defaults = zip(names[::-1], node.args.defaults[::-1], strict=False)
            keyword_only = zip((it.arg for it in node.args.kwonlyargs), node.args.kw_defaults, strict=True)
            for name, default in (*defaults, *keyword_only):
                if default is not None:
                    found.setdefault(name, (default, function.parent))
            if node.args.kwarg is not None:
                laid_out = ast.Dict([ast.Constant(name) for name in rest], [value for value, _ in rest.values()])
                found[node.args.kwarg.arg] = (laid_out, scope)
        return found


def _as_member(leaf: Leaf) -> Leaf:
    plain = isinstance(leaf.node, ast.expr) and not isinstance(leaf.node, ast.Name)
    return Leaf(EnumMember(leaf), leaf.scope, leaf.frame) if plain else leaf


def _alternatives(expression: ast.IfExp | ast.BoolOp | ast.NamedExpr) -> list[ast.expr]:
    match expression:
        case ast.IfExp(body=one, orelse=other):
            return [one, other]
        case ast.BoolOp(values=values):
            return values
    return [expression.value]
