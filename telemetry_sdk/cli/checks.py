"""One check of ``doctor``: what was looked at, how it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["GOOD", "PROBLEM", "SKIPPED", "WARNING", "Check"]

GOOD: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"
SKIPPED: Final = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: What was looked at.
        result: ``ok``, ``warning`` (works, but not as one might wish), ``problem`` (does not work), or ``skipped``.
        found: What was found. Never a token, nor a proxy's password.
        advice: What to do; empty for what is ok.
    """

    name: str
    result: str
    found: str
    advice: str = ""
