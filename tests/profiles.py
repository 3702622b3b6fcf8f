"""How much a run does: the profile `ci` (the default) for every push, `thorough` for a night.

`HYPOTHESIS_PROFILE=thorough pytest`, or `pytest --hypothesis-profile thorough`. What a test asks for is what it gets in
`thorough`; `ci` cuts it: 50 examples, 25 steps of a state machine, the short length of a soak.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

from hypothesis import settings

T = TypeVar("T")

_EXAMPLES = 50
_STEPS = 25


def register() -> None:
    """Make both profiles known to Hypothesis, and load the one that the environment names."""
    settings.register_profile("ci", max_examples=_EXAMPLES, stateful_step_count=_STEPS, deadline=None)
    settings.register_profile("thorough", max_examples=500, stateful_step_count=50, deadline=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def is_thorough() -> bool:
    """Whether the profile `thorough` is loaded."""
    return settings.default.max_examples == settings.get_profile("thorough").max_examples


def examples(number: int, *, steps: int = 50, **others: Any) -> settings:
    """Settings for a property that takes *number* examples (a state machine: of *steps* each) where there is time."""
    if not is_thorough():
        number, steps = min(number, _EXAMPLES), min(steps, _STEPS)
    return settings(max_examples=number, stateful_step_count=steps, **others)


def soak(full: T, short: T) -> T:
    """The length of something long: *full* where there is time, else *short*, which must prove the same."""
    return full if is_thorough() else short
