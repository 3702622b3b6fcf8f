"""The question whether detailed analytics may be sent, asked on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.host import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry_sdk.consent.notice import About

_YES: Final = frozenset({"y", "yes"})
_NO: Final = frozenset({"n", "no"})
_MOST_NAMES: Final = 5


def can_be_answered() -> bool:
    """Tell whether somebody sits at a terminal."""
    return terminal.can_answer()


def question(about: About, names: Sequence[str] = (), *, agreed: bool = False) -> str:
    """Return what is asked, with an empty line's meaning in capitals.

    *names* are the events that it is about, as far as the program declares them; with *agreed* those that came after
    the user's yes.
    """
    what = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
    if agreed:
        ask = f"You agreed that {about.who} sends how you use it to {about.sink}. New since then: {what}."
        answers = "Agree to that too? [y: yes, n: stop all of it, Enter: leave it as it is] "
    else:
        ask = f"May {about.who} send how you use it, with a random install id, to {about.sink}?"
        answers = "Agree? [y/N] "
    lines = [
        ask,
        f"For: {about.purpose}" if about.purpose else "",
        f"That is: {what}." if names and not agreed else "",
        f"See it first: {about.command} preview" if about.command else "",
        f"To take it back: {about.command} off" if about.command else "",
        f"More: {about.privacy_url}" if about.privacy_url else "",
    ]
    return "".join(f"{line}\n" for line in lines if line) + answers


def ask(text: str, *, default: bool | None) -> bool | None:
    """Show *text* and return the answer of whoever sits at the terminal; waits for him.

    An empty line means *default*. None when he gave no answer: the input ended, or twice it was another word.
    """
    for shown in (text, "Please answer y or n: "):
        line = terminal.question(shown)
        word = line.strip().lower()
        if word in _YES:
            return True
        if word in _NO:
            return False
        if not word:
            return default if line else None
    return None
