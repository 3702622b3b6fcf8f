"""Compares a host's Python source with its catalogue; needs astroid, the extra ``catalog``.

Files are parsed, never imported or run. astroid infers what a name stands for, kept to the files that were given:
neither this interpreter's path nor astroid's helpers, some of which import, are used, and nothing is computed. By kind:

    undeclared-event      a call sends an event that the catalogue does not have
    undeclared-property   ... or a property that its event does not have
    wrong-value           ... or a value that is not of the declared type, or not among the allowed ones
    dead-event            the catalogue has an event that no call sends
    expired-event         ... or one that has expired, so that it does not leave any more
    unreadable            a file cannot be read, or is not Python
    unchecked             what is sent cannot be inferred, so it was not compared; the one kind that is a warning
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
import sys
import tokenize
import warnings
from collections import defaultdict
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from astroid import MANAGER, AstroidError, AstroidImportError, Context, UnboundMethod, Uninferable, nodes
from astroid.builder import AstroidBuilder
from astroid.context import CallContext, InferenceContext

from telemetry_sdk.analytics.catalog import OWN_EVENTS
from telemetry_sdk.model import IDENTIFY, PAGE_VIEW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from telemetry_sdk.analytics.catalog import Catalog, PropertySpec

UNCHECKED: Final = "unchecked"

_PYTHON: Final = f"Python {sys.version_info.major}.{sys.version_info.minor}"
_SENT: Final = {"track_event": "", "send_analytics_event": "", "track_page_view": PAGE_VIEW, "identify_user": IDENTIFY}
_NOT_THE_HOSTS: Final = frozenset({"__pycache__", "__pypackages__", "node_modules", "site-packages", "telemetry_sdk"})
_CHANGES: Final = frozenset({"update", "setdefault", "pop", "popitem", "clear"})
_LARGEST: Final = 4 * 2**20
_MOST_VALUES: Final = 200


class Finding(NamedTuple):
    """What was found in a file: the line, from 1, or 0 where there is none; the kind, as above; and what to do."""

    path: str
    line: int
    kind: str
    message: str


def check(
    catalog: Catalog, paths: Iterable[str | os.PathLike[str]], *, where: str = "telemetry.toml", today: str = ""
) -> list[Finding]:
    """Return what does not fit, by file and line; *where* is the catalogue's file, *today* the UTC day."""
    comparison = _Comparison(catalog, paths)
    for name, spec in catalog.events.items():
        kind, message = "dead-event", f"{name} is declared, and no call sends it"
        if spec.expires and today >= spec.expires:
            kind, message = "expired-event", f"{name} expired on {spec.expires}; remove it and its calls, or prolong it"
        elif comparison.is_open:
            kind, message = UNCHECKED, f"{name} is declared, and no call that could be checked sends it"
        if kind == "expired-event" or name not in comparison.sent:
            comparison.findings.add(Finding(where, 0, kind, message))
    return sorted(comparison.findings)


class _Place(NamedTuple):
    """Where a sending call is looked at from: itself, or a call of the wrapper around it, with what that is given."""

    node: Any
    call: CallContext | None = None
    bound: Any = None
    is_whole: bool = True


class _Comparison:
    """Compares call by call. *sent* are the events that calls send or may send; others may be sent if *is_open*."""

    def __init__(self, catalog: Catalog, paths: Iterable[str | os.PathLike[str]]) -> None:
        self.sent: set[str] = set()
        self.is_open = False
        self._declared = {**OWN_EVENTS, **catalog.events}
        self._wrappers: dict[Any, list[tuple[Any, Any]]] = {}
        self.findings: set[Finding] = set()
        self._calls: dict[str, list[Any]] = defaultdict(list)
        self._references: dict[str, list[Any]] = defaultdict(list)
        self._aliases: dict[str, set[str]] = defaultdict(set)
        self._rebound: set[str] = set()
        self._members: dict[str, list[Any]] = defaultdict(list)
        self._modules: dict[tuple[str, ...], Any] = {}
        # What astroid would do to one file at once, and what needs the others: put off until all are there.
        imports, attributes = list[Any](), list[Any]()
        self._builder = it = AstroidBuilder(MANAGER, apply_transforms=False)
        add_names, add_attribute = it.add_from_names_to_locals, it.delayed_assattr
        it.add_from_names_to_locals = lambda *given: imports.append(partial(add_names, *given))
        it.delayed_assattr = lambda node: attributes.append(partial(add_attribute, node))
        files = [file for path in paths for file in self._files_in(os.fspath(path))]
        for file in {os.path.realpath(file): file for file in reversed(files)}.values():
            self._read(file)
        changed = [node for module in self._modules.values() for node in self._index(module)]
        for add in (*imports, *attributes):
            with contextlib.suppress(AstroidError, RecursionError, AttributeError):
                add()
        for node in (it for uses in self._references.values() for it in uses if self._is_unsteady(it)):
            node._explicit_inference = lambda *_, **__: iter([Uninferable])
        self._changed = {_spot(it) for node in changed for it in self._infer(node)}
        self._run()

    def _files_in(self, path: str) -> list[str]:
        if not os.path.isdir(path):
            return [path]
        found = []
        for directory, inner, names in os.walk(path, onerror=lambda error: self._unreadable(error.filename, error)):
            inner[:] = [name for name in inner if _is_the_hosts(directory, name)]
            found += [os.path.join(directory, name) for name in names if name.endswith((".py", ".pyw"))]
        if not found:
            self.findings.add(Finding(path, 0, "unreadable", "no Python file in it"))
        return found

    def _unreadable(self, path: str, error: Any) -> None:
        why = str(getattr(error, "msg", "it is nested too deeply, or no text")).removesuffix(f" for {path!r}")
        problem = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else f"not {_PYTHON}: {why}"
        self.findings.add(Finding(path, getattr(error, "lineno", 0) or 0, "unreadable", problem))

    def _read(self, path: str) -> None:
        parts = tuple(os.path.splitext(os.path.abspath(path))[0].split(os.sep))
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                raise OSError(0, f"not a file of at most {_LARGEST} bytes")
            with tokenize.open(path) as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old sources are full of escapes that Python warns about
                text, name = file.read(_LARGEST), ".".join(part.replace(".", "_") for part in parts)
                module = self._builder.string_build(text, name, path)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError, AstroidError) as error:
            self._unreadable(path, getattr(error, "error", error))
            return
        MANAGER.astroid_cache.pop(module.name, None)
        module.file, module.is_hosts = path, True
        parts = parts[:-1] if module.package else parts
        module.import_module = partial(self._imported, parts)
        self._modules[parts] = module

    def _imported(self, importer: Any, name: str, relative_only: Any = False, level: Any = None, **_: Any) -> Any:
        """Return the file that an import means; of several the one nearest to the importing file, never itself."""
        wanted = tuple(name.split(".")) if name else ()
        if relative_only:
            up = (level or 0) - bool(level and self._modules[importer].package)
            found = [(*importer[: len(importer) - up], *wanted)]
        else:
            found = [it for it in self._modules if it[-len(wanted) :] == wanted and it != importer]
            found.sort(key=lambda it: (-sum(a == b for a, b in zip(it, importer, strict=False)), len(it), it))
        if found and found[0] in self._modules:
            return self._modules[found[0]]
        raise AstroidImportError(f"{name} is not among the files", modname=name)

    def _index(self, module: Any) -> Iterator[Any]:  # noqa: C901, PLR0912 - a case a kind of node
        """Note calls and other uses of names in *module*; yield what is changed in place."""
        waiting: list[Any] = [module]
        while waiting:
            node = waiting.pop()
            waiting.extend(node.get_children())
            match node:
                case nodes.Call():
                    self._calls[_last(node.func)].append(node)
                    if _last(node.func) in _CHANGES and isinstance(node.func, nodes.Attribute):
                        yield node.func.expr
                    if _last(node.func) == "getattr" and len(node.args) > 1:
                        self._references[_text(node.args[1]) or ""].append(node)
                case nodes.Name() | nodes.Attribute():
                    self._references[_last(node)].append(node)
                case nodes.ImportFrom():
                    for name, alias in node.names:
                        self._aliases[name].add(alias or name)
                        if alias and name in _SENT:
                            self._references[name].append(node)
                case nodes.Subscript(ctx=Context.Store | Context.Del):
                    yield node.value
                case nodes.Nonlocal():
                    self._rebound.update(node.names)
                case nodes.ClassDef() if node.bases:
                    for name in node.locals:
                        self._members[name].append(node)
                case nodes.AugAssign():
                    yield node.target
            if isinstance(node, (nodes.BinOp, nodes.AugAssign, nodes.JoinedStr)) or any(
                isinstance(it, nodes.Starred) for it in getattr(node, "elts", ())
            ):
                node._explicit_inference = lambda *_, **__: iter([Uninferable])

    def _is_unsteady(self, node: Any) -> bool:
        """Tell whether a loop or an inner function gives a name other values, or a subclass a member."""
        if isinstance(node, nodes.Name):
            loops = [it for it in node.node_ancestors() if isinstance(it, (nodes.For, nodes.While))]
            later = [it for it in node.scope().locals.get(node.name, ()) if (it.lineno or 0) > node.lineno]
            return node.name in self._rebound or any(loop.parent_of(it) for loop in loops for it in later)
        owners = [it for it in node.node_ancestors() if isinstance(it, nodes.ClassDef)][:1]
        heirs = self._members[_last(node)] if _last(getattr(node, "expr", None)) in ("self", "cls") else ()
        return any(it is not owner and it.is_subtype_of(owner.qname()) for owner in owners for it in heirs)

    def _infer(self, node: Any, place: _Place | None = None) -> list[Any]:
        """Return what *node* may stand for, seen from *place*, and `Uninferable` where that is not all."""
        context = InferenceContext()
        context.callcontext, context.boundnode = (place.call, place.bound) if place else (None, None)
        found: list[Any] = []
        try:
            found.extend(islice(node.infer(context), _MOST_VALUES))
        except Exception:  # noqa: BLE001 - an odd source can make astroid raise anything
            found.append(Uninferable)
        # What has no place in a file is made up by astroid: what a method of a str returns, say.
        known = [it if it is node or getattr(_spot(it)[0], "is_hosts", False) else Uninferable for it in found]
        return known if 0 < len(known) < _MOST_VALUES else [*known, Uninferable]

    def _run(self) -> None:
        for name, event in _SENT.items():
            for call in self._calls[name]:
                if Uninferable in self._infer(call.func):
                    self._compare(call, event)
            self._look_for_uses(name, None)
        for wrapper, name in [(it, name) for it in self._wrappers for name in {it.name, *self._aliases[it.name]}]:
            self._look_for_uses(name, wrapper)

    def _look_for_uses(self, name: str, wrapper: Any) -> None:
        """Report where a method of the SDK, or a *wrapper*, gets out of sight: handed on, or under another name."""
        for node in self._references[name]:
            is_called = getattr(node.parent, "func", None) is node and not isinstance(node, nodes.Call)
            if not (is_called or isinstance(node.parent, (nodes.Attribute, nodes.Expr))):
                found = self._infer(node)
                if wrapper in map(_function, found) if wrapper else Uninferable in found:
                    self._find(node, UNCHECKED, f"{name} is handed on: its calls are not seen here", opens=True)

    def _find(self, node: Any, kind: str, message: str, *, opens: bool = False) -> None:
        self.is_open = self.is_open or opens
        self.findings.add(Finding(node.root().file, node.lineno or 0, kind, message))

    def _compare(self, call: Any, event: str) -> None:
        named = {it.arg: it.value for it in call.keywords}
        positional = list(takewhile(lambda it: not isinstance(it, nodes.Starred), call.args))
        name = positional[0] if positional else named.get("name")
        properties = positional[1] if len(positional) > 1 else named.get("properties")
        is_whole = None not in named and len(positional) == len(call.args)
        for place in self._places(call, [it for it in (None if event else name, properties) if it is not None]):
            events = [event] if event else self._events(place, name)
            self.sent.update(events)
            if events:
                prefix = f"{events[0]}: " if len(events) == 1 else "these events: "
                place = place._replace(is_whole=is_whole and place.is_whole)  # noqa: PLW2901
                self._compare_properties(place, prefix, properties, [self._declared[it].properties for it in events])

    def _places(self, call: Any, given: list[Any]) -> Iterator[_Place]:
        """Yield from where *given* is to be looked at: from each call of the function whose parameters are in it."""
        functions = list(dict.fromkeys(it for node in given for it in _parameters(node)))
        calls = self._calls_of(functions[0]) if functions and isinstance(functions[0], nodes.FunctionDef) else []
        for caller, bound in calls:
            values = [*caller.args, *(it.value for it in caller.keywords)]
            has_star = not all(it.arg for it in caller.keywords) or any(isinstance(it, nodes.Starred) for it in values)
            is_whole = not (has_star or len(functions) > 1 or any(map(_parameters, values)))
            context = CallContext(caller.args, caller.keywords, functions[0])
            yield _Place(caller, context if is_whole else None, bound, is_whole)
        if not calls:
            yield _Place(call, is_whole=not functions)

    def _calls_of(self, function: Any) -> list[tuple[Any, Any]]:
        if function in self._wrappers:
            return self._wrappers[function]
        found = self._wrappers[function] = []
        owner = function.parent.frame() if function.is_method() else None
        wanted = owner if owner and function.name == "__init__" else function
        for call in [it for name in {wanted.name, *self._aliases[wanted.name]} for it in self._calls[name]]:
            values = self._infer(call.func)
            bound = None if wanted is function else owner
            found += [(call, getattr(it, "bound", bound)) for it in values if _function(it) is wanted]
            if Uninferable in values and _last(call.func) not in _SENT:
                self._find(call, UNCHECKED, f"this may send an event: whose {function.name} is it?", opens=True)
        return found

    def _events(self, place: _Place, name: Any) -> list[str]:
        """Return the declared events that the call may send, and find fault with its name."""
        values = self._infer(name, place) if name is not None else [Uninferable]
        texts = dict.fromkeys(map(_text, values))
        for text in texts:
            if text is None or texts == {"": None}:
                self._find(place.node, UNCHECKED, "the event's name is only known while running", opens=True)
            elif text and text not in self._declared:  # an empty one is a default that is replaced
                self._find(place.node, "undeclared-event", _undeclared(text, self._declared))
        return [text for text in texts if text in self._declared]

    def _compare_properties(self, place: _Place, prefix: str, node: Any, declared: list[Any]) -> None:
        is_whole = place.is_whole
        for mapping in self._infer(node, place) if node is not None else ():
            is_dict = isinstance(mapping, nodes.Dict)
            is_whole = is_whole and (_text(mapping) == "" or (is_dict and _spot(mapping) not in self._changed))
            for key, value in mapping.items if is_dict else ():
                names = list(map(_text, self._infer(key, place)))
                is_whole = is_whole and None not in names
                for name in filter(None, names):
                    self._compare_property(place, prefix, name, value, declared)
        if not is_whole:
            self._find(place.node, UNCHECKED, f"{prefix}not all properties are known before running")

    def _compare_property(self, place: _Place, prefix: str, name: str, node: Any, declared: list[Any]) -> None:
        """Find fault with a property unless one of the events that may be sent here declares it."""
        specs = [spec for properties in declared for spec in properties if spec.name == name]
        if not specs:
            known = [spec.name for properties in declared for spec in properties]
            self._find(node, "undeclared-property", f"{prefix}{_undeclared(name, known)}")
        for value in self._infer(node, place) if specs else ():
            objections = [self._objection(place, value, spec) for spec in specs]
            if all(objections):
                self._find(place.node if _parameters(node) else node, "wrong-value", f"{prefix}{name}: {objections[0]}")
            elif isinstance(value, nodes.Dict):
                inner = [it.properties for it in specs]
                self._compare_properties(place._replace(is_whole=True), f"{prefix}{name}.", value, inner)

    def _objection(self, place: _Place, value: Any, spec: PropertySpec) -> str:
        """Return why what is written out is not allowed for *spec*; empty when it is, or is not known."""
        match value:
            case nodes.List() | nodes.Tuple() if spec.type == "list":
                item = type(spec)(spec.name, spec.items, spec.description, spec.values)
                items = (it for part in value.elts for it in self._infer(part, place))
                return next(filter(None, (self._objection(place, it, item) for it in items)), "")
            case nodes.Const(value=bool() | int() | float() | str() as plain):
                objection = f"is not of type {spec.type}" if spec.type in ("list", "map") else spec.objection(plain)
                return f"{repr(plain)[:80].replace(chr(39), chr(34))} {objection}" if objection else ""
            case nodes.Dict() | nodes.List() | nodes.Tuple():
                kind = "map" if isinstance(value, nodes.Dict) else "list"
                return "" if spec.type == kind else f"a {kind} is not of type {spec.type}"
            case nodes.Const(value=bytes() | complex()) | nodes.Set() | nodes.Lambda():
                return "this kind of value cannot be sent"
        return ""


def _parameters(node: Any) -> list[Any]:
    """Return the functions whose parameters *node* depends on."""
    found: dict[Any, None] = {}
    waiting, seen = [node], set[Any]()
    while waiting:
        it = waiting.pop()
        if it in seen:
            continue
        seen.add(it)
        # Of a dict the keys count, but not the values.
        pairs = it.items if isinstance(it, nodes.Dict) else ()
        waiting.extend([value if isinstance(key, nodes.DictUnpack) else key for key, value in pairs])
        waiting.extend([] if pairs else it.get_children())
        for target in it.lookup(it.name)[1] if isinstance(it, nodes.Name) else ():
            parent = target if isinstance(target, nodes.Arguments) else target.parent
            while isinstance(parent, (nodes.Tuple, nodes.List, nodes.Starred)):
                parent = parent.parent
            value = getattr(parent, "value", None) or getattr(parent, "iter", None)
            if isinstance(parent, nodes.Arguments) and it.name not in ("self", "cls"):
                found[parent.parent] = None
            elif value is not None:
                waiting.append(value)
    return list(found)


def _text(value: Any) -> str | None:
    """Return the text that *value* is; empty for None, and None for what is no text or cannot be told."""
    owner = value.parent.parent if isinstance(getattr(value, "parent", None), nodes.Assign) else None
    bases = {_last(base) for base in getattr(owner, "bases", ())}
    is_member = any(name.endswith("Enum") for name in bases) and not {"str", "StrEnum"} & bases
    text = value.value if isinstance(value, nodes.Const) and not is_member else Uninferable
    return text or "" if isinstance(text, str | None) else None


def _function(value: Any) -> Any:
    while isinstance(value, UnboundMethod):
        value = value._proxied
    return value


def _last(node: Any) -> str:
    return str(getattr(node, "attrname", None) or getattr(node, "name", None) or "")


def _spot(value: Any) -> tuple[object, ...]:
    """Return where *value* stands: file, line and column."""
    return (None,) if value is Uninferable else (value.root(), value.lineno, value.col_offset)


def _undeclared(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:128], list(known), 1)
    return f'"{word[:80]}" is not declared{f"; did you mean {near[0]}?" if near else ""}'


def _is_the_hosts(directory: str, name: str) -> bool:
    hidden = name.startswith(".") or name in _NOT_THE_HOSTS or name.endswith(".egg-info")
    return not hidden and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
