"""The first-run notice: what it says, and its way to a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.host import terminal
from telemetry_sdk.host.guard import text_of
from telemetry_sdk.model import ConfigError


class About(NamedTuple):
    """What a user is told of the program, each line of it true for him; empty where nobody said it."""

    app: str
    sink: str  # its host
    variable: str  # the app's switch
    command: str = ""  # what he types before ``off``
    vendor: str = ""
    purpose: str = ""
    privacy_url: str = ""

    @property
    def who(self) -> str:
        """The program and its vendor."""
        return f"{self.app} ({self.vendor})" if self.vendor else self.app


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that is shown once, on a terminal, before anything leaves.

    It names who asks and what for, each field of base telemetry, where it goes, and how to turn it off, in at most
    five lines.
    It is written to standard error by `Telemetry.start`, only when that is a terminal and the program does not run
    in a CI system. Until it was shown nothing is recorded and no id is made, unless the user has agreed to detailed
    analytics or the operator has set ``<APP>_TELEMETRY=base`` or ``full``. In the process that shows it nothing
    leaves, so that a user who objects can still say so; what is recorded there leaves with the next run.

    Args:
        url: Where the user can read more: the privacy policy. Without it the ``privacy_url`` of `Telemetry`.
        version: Raise it when what is collected changes; the notice is then shown again.

    Raises:
        ConfigError: The URL is not one, or the version is not one word of at most 64 characters.
    """

    url: str = ""
    version: str = "1"

    def __post_init__(self) -> None:
        was_given = text_of(self.url) != ""
        for name, longest in (("url", 200), ("version", 64)):
            object.__setattr__(self, name, _word(getattr(self, name), longest))
        if was_given and not self.url:
            raise ConfigError("notice.url", "must be the URL of your privacy policy, at most 200 characters")
        if self.url and not self.url.startswith(("https://", "http://")):
            raise ConfigError("notice.url", "must begin with https:// or http://")
        if not self.version:
            raise ConfigError("notice.version", "must be 1 to 64 printable characters without a blank, for example '2'")

    @staticmethod
    def can_be_seen() -> bool:
        """Tell whether somebody could read it now."""
        return terminal.is_terminal()

    def show(self, about: About) -> bool:
        """Write the notice to standard error and tell whether it got there."""
        return terminal.write(self.text(about))

    def text(self, about: About) -> str:
        """Return the notice of the program that *about* tells of."""
        fields = ", ".join(field.name.replace("_", " ") for field in FIELDS)
        why = f"For: {about.purpose}\n" if about.purpose else ""
        ways = [f"{about.command} off --all"] if about.command else []
        ways += [f"{about.variable}=off", "DO_NOT_TRACK=1"]
        return (
            f"{about.who} counts installs. It sends to {about.sink}, at first and then once a day: {fields}.\n"
            f"{why}"
            "The install id is random. Detailed usage is sent only if you agree to it.\n"
            "Nothing has been sent yet, nor will be during this run.\n"
            f"To turn it off: {', or '.join(ways)}. More: {self.url or about.privacy_url}\n"
        )


def _word(value: object, longest: int) -> str:
    text = text_of(value) or ""
    return text if len(text) <= longest and text.isprintable() and " " not in text else ""
