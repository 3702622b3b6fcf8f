"""Where the request that a host describes finds what its events carry, each time one is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from telemetry_sdk.model import InvalidEventError
from telemetry_sdk.request_context import AsgiRequest, RequestContext, WsgiRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Source = Callable[[], Mapping[str, str]]

__all__ = ["source_of"]


def source_of(context: object, given: Mapping[str, str], around: Source | None) -> tuple[Source, bool]:
    """Return the source that *context* and the parts *given* describe, and whether a server handed the request over.

    Parts alone, a path among them, describe a part of the request *around*: the rest is as it is there.

    Raises:
        InvalidEventError: *context* is nothing that describes a request.
    """
    if isinstance(context, str) or (context is None and ("path" in given or (given and around))):
        return _part_of(around, given if context is None else {"path": context, **given}), False
    find = (lambda: context) if isinstance(context, RequestContext) else context
    if not callable(find):
        raise InvalidEventError("request_context", "needs a RequestContext, a function that returns one, or a path")
    return _whole_of(find, given), isinstance(context, (WsgiRequest, AsgiRequest))


def _part_of(around: Source | None, given: Mapping[str, str]) -> Source:
    """Return the source of what *given* makes of the request *around* it: nothing where no path is known."""

    def source() -> Mapping[str, str]:
        known = {**(around() if around is not None else {}), **given}
        return RequestContext(**known).attributes() if "path" in known else {}

    return source


def _whole_of(find: Callable[[], object], given: Mapping[str, str]) -> Source:
    def source() -> Mapping[str, str]:
        found = find()
        if not isinstance(found, RequestContext):
            return {}
        return (replace(found, **given) if given else found).attributes()

    return source
