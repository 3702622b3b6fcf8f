"""An integrator's arguments as plain values, of whatever class they are. Pure.

An object may lie about its class, and may raise when it is compared, counted or read. So its real type alone is asked,
and unbound methods of the built-in types read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard


def is_a(value: object, kind: type) -> TypeGuard[Any]:
    """Tell whether *value* is of *kind*, without asking it."""
    return issubclass(type(value), kind)


def text_of(value: object) -> str | None:
    """Return *value* as a plain string; None if it is no text."""
    return str.__str__(value) if is_a(value, str) else None


def number_of(value: object) -> float | None:
    """Return *value* as a plain int or float; None if it is neither."""
    if is_a(value, int) and not is_a(value, bool):
        return int.__index__(value)
    return float.__float__(value) if is_a(value, float) else None


def pairs_of(value: object) -> list[tuple[object, object]] | None:
    """Return the pairs of a mapping; None if it is none, or cannot be read."""
    if not is_a(value, Mapping):
        return None
    try:
        return [(key, item) for key, item in value.items()]
    except Exception:  # noqa: BLE001 - an integrator's mapping may raise anything
        return None


def path_of(value: object) -> str:
    """Return a path, given as text or a `pathlib.Path`, as plain text; empty, which is no path, if it is none."""
    convert = getattr(type(value), "__fspath__", None)
    try:
        return text_of(convert(value) if convert else value) or ""
    except Exception:  # noqa: BLE001 - so may its path
        return ""
