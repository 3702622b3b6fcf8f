"""What a host's calls send beside what its catalogue declares."""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.catalog import OWN_EVENTS
from telemetry_sdk.catalog_tools.source_check.calls import Place, handed_on, seen_from, sending_calls
from telemetry_sdk.catalog_tools.source_check.leaves import EnumMember
from telemetry_sdk.catalog_tools.source_check.literals import ANYTHING, entries, leaf_texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from telemetry_sdk.analytics.catalog import Catalog, EventSpec, PropertySpec
    from telemetry_sdk.catalog_tools.source_check.calls import SendingCall
    from telemetry_sdk.catalog_tools.source_check.leaves import Frame, Leaf
    from telemetry_sdk.catalog_tools.source_check.literals import Entry
    from telemetry_sdk.catalog_tools.source_check.sources import Sources
    from telemetry_sdk.catalog_tools.source_check.values import Evaluator

__all__ = ["UNCHECKED", "Comparison", "Finding"]

UNCHECKED: Final = "unchecked"

_LOOKS_LIKE_AN_EVENT: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that was found.

    Attributes:
        path: The file.
        line: The line, from 1; 0 where there is none.
        kind: What it is; see `telemetry_sdk.catalog_tools.source_check`.
        message: What was found, and where it can be told what to do.
    """

    path: str
    line: int
    kind: str
    message: str

    @property
    def is_warning(self) -> bool:
        """Whether it may be as it should be."""
        return self.kind == UNCHECKED


class Comparison:
    """Compares call by call.

    Attributes:
        findings: What was found so far.
        sent: The declared events that some call sends, or may send.
        is_open: Whether some call may send any event.
    """

    def __init__(self, catalog: Catalog, sources: Sources) -> None:
        self.findings: set[Finding] = set()
        self.sent: set[str] = set()
        self.is_open = False
        self._catalog = catalog
        self._sources = sources

    def run(self) -> None:
        """Compare every call."""
        for sending in sending_calls(self._sources):
            start = Place(sending.call.scope.module.path, sending.call.node.lineno, {})
            try:
                self._compare(sending, start)
            except RecursionError:
                self._find(start.path, start.line, UNCHECKED, "is nested too deeply to be followed")
        for path, line, name in handed_on(self._sources):
            self.is_open = True
            self._find(path, line, UNCHECKED, f"{name} is handed on; what it will be called with is not known here")

    def _find(self, path: str, line: int, kind: str, message: str) -> None:
        self.findings.add(Finding(path, line, kind, message))

    def _compare(self, sending: SendingCall, start: Place) -> None:
        def names(evaluator: Evaluator, frame: Frame) -> list[tuple[str, bool]]:
            if sending.event is not None:
                return [(sending.event, True)]
            given = sending.given(evaluator, frame)[0]
            if given is None:
                return [(ANYTHING, True)]
            return [
                (text, not isinstance(leaf.node, EnumMember))
                for leaf in evaluator.leaves(*given, frame)
                for text in leaf_texts(evaluator, _unwrapped(leaf))
            ]

        for place, found in seen_from(self._sources, start, names):
            events: dict[str, EventSpec] = {}
            for text, is_text in found:
                if text or len(found) == 1:  # an empty text is a default that is replaced
                    events |= self._events(place, text)
                    if not is_text:
                        message = f"{_shown(text)} is a member of an enumeration and no text: add .value"
                        self._find(place.path, place.line, "undeclared-event", message)
            if events:
                self._compare_properties(sending, place, list(events.values()))

    def _events(self, place: Place, text: str) -> dict[str, EventSpec]:
        """Return the declared events a name may be, and find fault with it."""
        found = {name: spec for name, spec in self._declared().items() if _fits(text, name)}
        if not text.strip(ANYTHING):
            self.is_open = self.is_open or place.is_sure
            message = "the event's name is only known while running"
            if place.is_sure:
                self._find(place.path, place.line, UNCHECKED, message)
            return {}
        self.sent.update(found)
        if ANYTHING in text and found:
            self._find(place.path, place.line, UNCHECKED, f"{_shown(text)} can be {', '.join(found)}, or another one")
        elif not found and place.is_sure:
            self._find(place.path, place.line, "undeclared-event", self._undeclared(text))
        elif not found and _LOOKS_LIKE_AN_EVENT.fullmatch(text):
            message = f"this may send an event: {self._undeclared(text)}"
            self._find(place.path, place.line, UNCHECKED, message)
        return found

    def _declared(self) -> dict[str, EventSpec]:
        return {**OWN_EVENTS, **self._catalog.events}

    def _undeclared(self, text: str) -> str:
        if ANYTHING in text:
            return f"no declared event looks like {_shown(text)}"
        return f"{_shown(text)} is not declared{_suggestion(text, self._declared())}"

    def _compare_properties(self, sending: SendingCall, start: Place, events: list[EventSpec]) -> None:
        def properties(evaluator: Evaluator, frame: Frame) -> tuple[list[Entry], bool]:
            given = sending.given(evaluator, frame)[1]
            return entries(evaluator, *given, frame) if given else ([], True)

        name = events[0].name if len(events) == 1 else "these events"
        for place, (found, complete) in seen_from(self._sources, start, properties):
            if not complete:
                message = f"{name}: not all properties are known before running"
                self._find(place.path, place.line, UNCHECKED, message)
            for entry in found:
                self._compare_entry(place, f"{name}: ", entry, [event.properties for event in events])

    def _compare_entry(self, place: Place, prefix: str, entry: Entry, declared: list[tuple[PropertySpec, ...]]) -> None:
        """Find fault with a property unless one of the events that may be sent here declares it."""
        specs = [spec for properties in declared for spec in properties if spec.name == entry.key]
        path, line = entry.scope.module.path, entry.value.lineno
        if not specs:
            known = [spec.name for properties in declared for spec in properties]
            message = f"{prefix}{_shown(entry.key)} is not declared{_suggestion(entry.key, known)}"
            self._find(path, line, "undeclared-property", message)
            return

        def value(evaluator: Evaluator, frame: Frame) -> list[tuple[Leaf, list[Entry], list[str]]]:
            leaves = evaluator.leaves(entry.value, entry.scope, {**entry.frame, **frame})
            return [
                (leaf, _inner_entries(evaluator, leaf), [_objection(evaluator, leaf, spec) for spec in specs])
                for leaf in map(_unwrapped, leaves)
            ]

        for seen, found in seen_from(self._sources, place, value):
            at = (path, line) if seen == place else (seen.path, seen.line)
            for _, inside, objections in found:
                if all(objections):
                    self._find(*at, "wrong-value", f"{prefix}{entry.key}: {objections[0]}")
                elif any(spec.type == "map" for spec in specs):
                    for inner in inside:
                        inner_specs = [spec.properties for spec in specs]
                        self._compare_entry(seen, f"{prefix}{entry.key}.", inner, inner_specs)


def _unwrapped(leaf: Leaf) -> Leaf:
    return leaf.node.value if isinstance(leaf.node, EnumMember) else leaf


def _inner_entries(evaluator: Evaluator, leaf: Leaf) -> list[Entry]:
    return entries(evaluator, leaf.node, leaf.scope, leaf.frame)[0] if isinstance(leaf.node, ast.Dict) else []


def _objection(evaluator: Evaluator, leaf: Leaf, spec: PropertySpec) -> str:
    """Return why what is written out at *leaf* is not allowed for *spec*; empty when it is, or is not known."""
    match leaf.node:
        case ast.Constant(value=None):
            return ""  # is left out, as it should be
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return _scalar_objection(spec, value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return _scalar_objection(spec, -value)
        case ast.JoinedStr():
            known = leaf_texts(evaluator, leaf)
            allowed = [value for value in spec.values if any(_fits(text, str(value)) for text in known)]
            fits = spec.type == "string" and (allowed or not spec.values)
            return "" if fits else f"a text put together here is not allowed: {_wanted(spec)}"
        case ast.Dict():
            return "" if spec.type == "map" else f"a map is not of type {spec.type}"
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            if spec.type != "list":
                return f"a list is not of type {spec.type}"
            items = [it for part in parts for it in evaluator.leaves(part, leaf.scope, leaf.frame)]
            return next(filter(None, (_item_objection(evaluator, _unwrapped(it), spec) for it in items)), "")
        case ast.Constant() | ast.Set() | ast.Lambda() | ast.GeneratorExp() | ast.SetComp():
            return "this kind of value cannot be sent"
    return ""


def _item_objection(evaluator: Evaluator, leaf: Leaf, spec: PropertySpec) -> str:
    item = type(spec)(spec.name, spec.items, spec.description, spec.values)
    return _objection(evaluator, leaf, item)


def _scalar_objection(spec: PropertySpec, value: object) -> str:
    if spec.type in ("list", "map"):
        return f"{_shown(value)} is not of type {spec.type}"
    objection = spec.objection(value)
    return f"{_shown(value)} {objection}" if objection else ""


def _wanted(spec: PropertySpec) -> str:
    return f"one of {', '.join(map(str, spec.values))}" if spec.values else f"type {spec.type}"


def _fits(text: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, text.split(ANYTHING))), name, re.DOTALL) is not None


def _shown(value: object) -> str:
    text = repr(value).replace("\\x00", "…").replace("'", '"') if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:128], list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
