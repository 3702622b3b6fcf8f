"""The calls in a host's source that send events, each seen from wherever its name and properties come from.

A function that sends what it is called with is looked at once for each call of it, so that a host's own wrappers are
checked where they are used.
"""

from __future__ import annotations

import ast
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from telemetry_sdk.catalog_tools.source_check.scopes import Scope
from telemetry_sdk.catalog_tools.source_check.values import Evaluator
from telemetry_sdk.model import IDENTIFY, PAGE_VIEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from telemetry_sdk.catalog_tools.source_check.leaves import Frame, Given
    from telemetry_sdk.catalog_tools.source_check.scopes import Call
    from telemetry_sdk.catalog_tools.source_check.sources import Sources

__all__ = ["Place", "SendingCall", "handed_on", "seen_from", "sending_calls"]

T = TypeVar("T")

_METHODS: Final = {
    "track_event": None,
    "send_analytics_event": None,
    "track_page_view": PAGE_VIEW,
    "identify_user": IDENTIFY,
}
_MOST_WRAPPERS: Final = 5
_MOST_PLACES: Final = 5_000


@dataclass(frozen=True, slots=True)
class SendingCall:
    """A call of one of the SDK's methods.

    Attributes:
        call: The call.
        event: The event that the method sends whatever it is given, or None.
    """

    call: Call
    event: str | None

    def given(self, evaluator: Evaluator, frame: Frame) -> tuple[Given | None, Given | None]:
        """Return the expressions of the event's name and of its properties."""
        arguments = evaluator.arguments(self.call.node, self.call.scope, frame)
        name = arguments.get(0, "name") if self.event is None else None
        return name, arguments.get(1, "properties")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sending call is looked at from.

    Attributes:
        path: The file,
        line: ... and the line.
        frame: What the wrappers on the way are called with from there.
        is_sure: Whether what is called from there is a wrapper for certain, and not only has its name.
    """

    path: str
    line: int
    frame: Frame
    is_sure: bool = True


def sending_calls(sources: Sources) -> Iterator[SendingCall]:
    """Yield the calls of the SDK's methods: of anything that has such a method, unless it is one of the host's own."""
    for call in sources.calls(*_METHODS):
        for leaf in Evaluator(sources).leaves(call.node.func, call.scope, {}):
            name = getattr(leaf.node, "attr", None) or getattr(leaf.node, "id", None)
            if name in _METHODS:
                yield SendingCall(call, _METHODS[name])
                break


def handed_on(sources: Sources) -> Iterator[tuple[str, int, str]]:
    """Yield the path, line and name of every method of the SDK that is handed on, so that its calls are not seen."""
    for module in sources.modules:
        for node, parent in module.attributes:
            if node.attr in _METHODS and not _is_seen(parent):
                yield module.path, node.lineno, node.attr


def _is_seen(parent: ast.AST) -> bool:
    """Tell whether the calls of a method that stands in *parent* are found, or there are none."""
    match parent:
        case ast.Call() | ast.Attribute() | ast.Expr() | ast.NamedExpr() | ast.keyword(arg="target"):
            return True
        case ast.Assign(targets=[ast.Name() | ast.Attribute(value=ast.Name(id="self" | "cls"))]):
            return True
    return isinstance(parent, ast.AnnAssign)


def seen_from(sources: Sources, start: Place, look: Callable[[Evaluator, Frame], T]) -> Iterator[tuple[Place, T]]:
    """Yield what *look* sees, from *start* or, as far as it depends on how functions are called, from their calls."""
    waiting, seen = deque([start]), 0
    while waiting:
        place = waiting.popleft()
        seen += 1
        evaluator = Evaluator(sources)
        result = look(evaluator, place.frame)
        function = next(iter(evaluator.open), None)
        nearer = [] if function is None or len(place.frame) >= _MOST_WRAPPERS else _places(sources, function, place)
        if nearer and seen + len(waiting) + len(nearer) <= _MOST_PLACES:
            waiting.extend(nearer)
        else:
            yield place, result


def _places(sources: Sources, function: Scope, seen_from: Place) -> list[Place]:
    """Return the calls of *function*."""
    if function not in sources.callers:
        sources.callers[function] = list(_callers(sources, function))
    found = []
    for call, is_sure in sources.callers[function]:
        given = Evaluator(sources).given(function, call.node, call.scope, seen_from.frame)
        path, line, frame = call.scope.module.path, call.node.lineno, {**seen_from.frame, function: given}
        found.append(Place(path, line, frame, seen_from.is_sure and is_sure))
    return found


def _callers(sources: Sources, function: Scope) -> Iterator[tuple[Call, bool]]:
    owner = function.parent
    is_method = owner is not None and owner.is_class
    wanted = owner if owner is not None and is_method and _name(function) == "__init__" else function
    for call in sources.calls(_name(wanted)) if _name(wanted) else ():
        nodes = [leaf.node for leaf in Evaluator(sources).leaves(call.node.func, call.scope, {})]
        # A method of an object of which nobody can tell the class.
        may_be = is_method and isinstance(call.node.func, ast.Attribute) and not call.is_handed
        if wanted in nodes or (may_be and not any(isinstance(node, Scope) for node in nodes)):
            yield call, wanted in nodes


def _name(scope: Scope) -> str:
    return getattr(scope.node, "name", "")
