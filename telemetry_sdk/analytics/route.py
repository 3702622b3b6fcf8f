"""Routes as they may leave: a template that a framework or a programmer wrote, in one form. Pure.

A route says where in a program somebody was (``/notes/{note_id}``), a path what they looked at. So no route is ever
made of a path: which of its segments are names, titles or keys to a secret no rule can tell. What is no template is
not sent, unless a programmer handed it over as one.

| in a route                                                                      | becomes    |
|---------------------------------------------------------------------------------|------------|
| ``{id:int}``, ``<id>``, ``<int:id>``, ``:id``, ``(?P<id>[0-9]+)``               | ``{id}``   |
| another group or class of a regular expression; a segment of signs without need | ``{id}``   |
| the anchors of a regular expression                                             | nothing    |
| scheme, host, credentials, query, fragment, ``;parameters``                     | nothing    |
| words, numbers, anything else                                                   | what it is |

The last row means that a raw path handed over as a route is sent: the scrubber alone looks at it then.
"""

from __future__ import annotations

import re
from typing import Final

from telemetry_sdk.host import lazy

PLACEHOLDER: Final = "{id}"

_LONGEST: Final = 512
_ORIGIN: Final = lazy(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*")
_NAME: Final = "([A-Za-z_][A-Za-z0-9_]{0,31})"
_NAMED: Final = lazy(rf"\{{{_NAME}\}}")
_NAMED_GROUP: Final = lazy(rf"\(\?P<{_NAME}>(?:[^()]|\([^()]*\))*\)[?*+]?")
_VARIABLE: Final = lazy(rf"\{{{_NAME}(?::(?:[^{{}}]|\{{[^{{}}]*\}})*)?\}}|<(?:[^<>:]*:)?{_NAME}>|(?<=/):{_NAME}(?=/|$)")
_PATTERN: Final = lazy(r"(?:\((?:[^()]|\([^()]*\))*\)|\[(?:[^\]\\]|\\.)+\])[?*+]?")
_ANCHOR: Final = lazy(r"[\^$]|\\[AZz]")
_LITERAL: Final = lazy(r"[@~]?[\w.+-]*")


def clean_route(route: str) -> str:
    """Return *route* as an absolute template, its variables as ``{name}``, in whichever way it was written.

    Cleaning it again changes nothing. An empty *route* is ``/``.
    """
    text = _with_plain_variables(_bounded(route))
    text = re.split("[?#]", text, maxsplit=1)[0].strip()
    origin = _ORIGIN.match(text)
    parts = [part.partition(";")[0] for part in text[origin.end() if origin else 0 :].split("/")]
    segments = [_cleaned(part) for part in parts if part]
    return f"/{'/'.join(segments)}{'/' if segments and not parts[-1] else ''}"


def _with_plain_variables(route: str) -> str:
    text = _NAMED_GROUP.sub(r"{\1}", route)
    text = _VARIABLE.sub(lambda found: f"{{{found[1] or found[2] or found[3]}}}", text)
    return _ANCHOR.sub("", _PATTERN.sub(PLACEHOLDER, text)).replace("\\.", ".").replace("\\-", "-")


def _bounded(route: str) -> str:
    """Return *route* without what lies behind its bound, and without the segment that would be cut in two."""
    return route if len(route) <= _LONGEST else f"{route[: route.rfind('/', 0, _LONGEST) + 1]}{PLACEHOLDER}"


def _cleaned(segment: str) -> str:
    return segment if _LITERAL.fullmatch(_NAMED.sub("", segment)) else PLACEHOLDER
