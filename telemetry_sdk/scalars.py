"""A single value of a host as text or number that OTLP can hold. Pure."""

from __future__ import annotations

import functools
import math
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from telemetry_sdk.scrub import CUT_MARK

if TYPE_CHECKING:
    from collections.abc import Callable

    _Conversions = tuple[tuple[type, Callable[[Any], str | float]], ...]

__all__ = ["INT64", "UnencodableError", "plain", "safe_text"]

INT64: Final = 2**63

_HUGE_INT_BITS: Final = 996


class UnencodableError(Exception):
    """A value that has no OTLP form."""


def plain(value: object) -> str | float:
    """Return a scalar as str, bool, int or float, as the table of `properties` says.

    Unbound methods do it, for subclasses may lie.

    Raises:
        UnencodableError: The table leaves it out.
    """
    for kind, convert in _COMMON:
        if isinstance(value, kind):
            return convert(value)
    for kind, convert in _uncommon():
        if isinstance(value, kind):
            return convert(value)
    raise UnencodableError


def _integer(value: int) -> str | int:
    number = int.__index__(value)
    if -INT64 <= number < INT64:
        return number
    if number.bit_length() > _HUGE_INT_BITS:
        raise UnencodableError
    return int.__repr__(number)


def _real(value: float) -> float:
    number = float.__float__(value)
    if not math.isfinite(number):
        raise UnencodableError
    return number


def _moment(value: datetime) -> str:
    if value != value:  # noqa: PLR0124 - pandas' "not a time", a datetime that equals nothing
        raise UnencodableError
    if datetime.utcoffset(value) is None:
        return datetime.isoformat(value)
    return datetime.isoformat(datetime.astimezone(value, UTC)).replace("+00:00", "Z")


_COMMON: Final[_Conversions] = ((str, str.__str__), (int, _integer), (float, _real))


@functools.cache
def _uncommon() -> _Conversions:
    from decimal import Decimal

    def decimal(value: Decimal) -> str:
        if not Decimal.is_finite(value):
            raise UnencodableError
        return Decimal.__str__(value)

    return (
        (Decimal, decimal),
        (datetime, _moment),
        (date, date.isoformat),
        (time, time.isoformat),
        (UUID, UUID.__str__),
    )


def safe_text(text: str, limit: int) -> str:
    """Return *text* without lone surrogates, cut to *limit* UTF-8 bytes; a cut text ends in a mark."""
    if text.isascii() and len(text) <= limit:
        return text
    data = text[: limit + 1].encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    mark = CUT_MARK if limit >= len(CUT_MARK.encode()) else ""
    return data[: limit - len(mark.encode())].decode("utf-8", "ignore") + mark
