"""What an integrator may choose, and that everything else is said at construction."""

from __future__ import annotations

import math
from typing import Any, get_args, get_type_hints

import pytest

from telemetry_sdk.client.config import Config, DeliveryMode, check
from telemetry_sdk.model import ConfigError, Limits

GOOD = Config(
    app="acme-notes",
    version="2.4.0",
    release_channel="stable",
    deployment_type=None,
    environment=None,
    delivery="sync",
    late="restamp",
    timeout=5.0,
    exit_timeout=0.5,
    limits=Limits(),
    on_consent_change=None,
    strict=False,
)


def refusal(**changes: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        check(GOOD._replace(**changes))
    return caught.value


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"app": "a"},
        {"app": "A.b_c-9"},
        {"app": "x" * 64},
        {"version": "1"},
        {"version": "2.4.0 (build 7, dirty)"},
        {"version": "v" * 64},
        {"release_channel": "beta/weekly"},
        {"deployment_type": "docker", "environment": "production"},
        {"late": "preserve"},
        {"timeout": 1},
        {"timeout": 0.001, "exit_timeout": 0},
        {"timeout": 300, "exit_timeout": 300.0},
        {"on_consent_change": print},
        {"limits": Limits(records=1, age_days=0.5)},
        *({"delivery": mode} for mode in get_args(DeliveryMode)),
    ],
    ids=repr,
)
def test_possible_options(changes: dict[str, Any]) -> None:
    """What is possible is returned as it was given."""
    options = GOOD._replace(**changes)

    assert check(options) == options


WORDS = ("version", "release_channel", "deployment_type", "environment")
BAD_WORDS: list[Any] = ["", " ", " 1", "1 ", "1\n", "v" * 65, "1\x00", "ü", "\ud800", 1, b"1", ["1"]]
BAD_NUMBERS: list[Any] = [None, "5", True, math.nan, math.inf, -math.inf, -1, -0.001, 10**400, 300.001, 1j]
BAD_LIMITS: list[Any] = [None, "5", True, math.nan, math.inf, 0, -1, 0.0, 10**400, 10**12 + 1]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("app", value) for value in [None, 7, "", "-a", "a-", "ä", "a b", "a/b", "..", "x" * 65, "a\n", b"a"]),
        *((name, value) for name in WORDS for value in BAD_WORDS),
        *((name, None) for name in ("version", "release_channel")),
        *(("delivery", value) for value in ["", "SYNC", "async", None, 1, ["sync"]]),
        *(("late", value) for value in ["", "drop", None, True]),
        *(("timeout", value) for value in [*BAD_NUMBERS, 0, 0.0]),
        *(("exit_timeout", value) for value in BAD_NUMBERS),
        *(("on_consent_change", value) for value in [True, "yes", 0]),
        *(("limits", value) for value in [None, {"records": 5}, 5]),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_impossible_options(setting: str, value: Any) -> None:
    """An impossible argument is a ConfigError that names it, never another exception."""
    error = refusal(**{setting: value})

    assert setting == error.setting
    assert str(error).startswith(f"{setting}: must ")


@pytest.mark.parametrize("name", Limits._fields)
def test_limits_are_numbers_above_zero(name: str) -> None:
    """No limit can be nothing, endless or a word."""
    for value in BAD_LIMITS:
        assert refusal(limits=Limits().replace(**{name: value})).setting == f"limits.{name}"


@pytest.mark.parametrize("name", [name for name, kind in get_type_hints(Limits).items() if kind is int])
def test_counts_are_whole(name: str) -> None:
    """A limit that counts records or bytes is a whole number."""
    assert "whole" in refusal(limits=Limits().replace(**{name: 1.5})).problem


def test_a_message_says_what_would_be_possible() -> None:
    """An integrator can correct the call from the message alone."""
    assert all(mode in refusal(delivery="async").problem for mode in get_args(DeliveryMode))
    assert "300" in refusal(timeout=301).problem
    assert "acme-notes" in refusal(app="-").problem
