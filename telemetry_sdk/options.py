"""What the integrator chose, checked once at construction. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from telemetry_sdk.errors import ConfigError
from telemetry_sdk.model import Limits
from telemetry_sdk.notice import Notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.catalog import Catalog

__all__ = ["DELIVERY_MODES", "Options", "check"]

DELIVERY_MODES: Final = ("sync", "background", "manual")
_LATE: Final = ("restamp", "preserve")
_APP: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_WORD: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")
_LONGEST_TIMEOUT: Final = 300.0
_LARGEST_LIMIT: Final = 10**12


@dataclass(frozen=True, slots=True)
class Options:
    """The checked arguments of `Telemetry`; see there for their meaning."""

    app: str
    version: str
    release_channel: str
    deployment_type: str | None
    environment: str | None
    delivery: str
    late: str
    timeout: float
    exit_timeout: float
    limits: Limits
    on_consent_change: Callable[[bool], object] | None
    strict: bool
    notice: Notice | None = None
    catalog: Catalog | None = None
    scrub: bool = True
    hash_user_ids: bool = False


def check(options: Options) -> Options:
    """Return *options* if every one is possible.

    Raises:
        ConfigError: One is not; the message names it and says what it may be.
    """
    if not _is_text(options.app, _APP):
        raise ConfigError("app", "must be 1 to 64 letters, digits, '.', '_', '-' between two of them, as in acme-notes")
    for name in ("version", "release_channel"):
        _check_word(name, getattr(options, name))
    for name in ("deployment_type", "environment"):
        if getattr(options, name) is not None:
            _check_word(name, getattr(options, name))
    if options.delivery not in DELIVERY_MODES:
        raise ConfigError("delivery", f"must be one of {', '.join(DELIVERY_MODES)}")
    if options.late not in _LATE:
        raise ConfigError("late", f"must be one of {', '.join(_LATE)}")
    _check_seconds("timeout", options.timeout, 0.001)
    _check_seconds("exit_timeout", options.exit_timeout, 0.0)
    if options.on_consent_change is not None and not callable(options.on_consent_change):
        raise ConfigError("on_consent_change", "must be a function that takes one bool")
    if options.notice is not None and not isinstance(options.notice, Notice):
        raise ConfigError("notice", "must be a telemetry_sdk.Notice")
    _check_switches(options)
    _check_limits(options.limits)
    return options


def _is_text(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check_word(name: str, value: object) -> None:
    if not _is_text(value, _WORD):
        raise ConfigError(name, "must be 1 to 64 printable ASCII characters")


def _check_seconds(name: str, value: object, least: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= _LONGEST_TIMEOUT:  # type: ignore[operator]
        raise ConfigError(name, f"must be a number of seconds from {least:g} to {_LONGEST_TIMEOUT:g}")


def _check_switches(options: Options) -> None:
    for name in ("scrub", "hash_user_ids"):
        if not isinstance(getattr(options, name), bool):
            raise ConfigError(name, "must be True or False")


def _check_limits(limits: object) -> None:
    if not isinstance(limits, Limits):
        raise ConfigError("limits", "must be a telemetry_sdk.Limits")
    for field in fields(limits):
        value = getattr(limits, field.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LARGEST_LIMIT:
            raise ConfigError(f"limits.{field.name}", f"must be a number above zero, at most {_LARGEST_LIMIT}")
        if field.type == "int" and not isinstance(value, int):
            raise ConfigError(f"limits.{field.name}", "must be a whole number")
