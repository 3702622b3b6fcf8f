"""The first-run notice: what it says, and its way to a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from telemetry_sdk.host import terminal
from telemetry_sdk.host.guard import text_of
from telemetry_sdk.model import ConfigError


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that is shown once, on a terminal, before anything leaves.

    It is written to standard error by `Telemetry.start`, only when that is a terminal and the program does not run
    in a CI system. Until it was shown nothing is recorded and no id is made, unless the user has agreed to detailed
    analytics or the operator has set ``<APP>_TELEMETRY=base`` or ``full``. In the process that shows it nothing
    leaves, so that a user who objects can still say so; what is recorded there leaves with the next run.

    Args:
        url: Where the user can read more: the privacy policy.
        version: Raise it when what is collected changes; the notice is then shown again.

    Raises:
        ConfigError: The URL is not one, or the version is not one word of at most 64 characters.
    """

    url: str
    version: str = "1"

    def __post_init__(self) -> None:
        for name, longest in (("url", 200), ("version", 64)):
            object.__setattr__(self, name, _word(getattr(self, name), longest))
        if not self.url:
            raise ConfigError("notice.url", "must be the URL of your privacy policy, at most 200 characters")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError("notice.url", "must begin with https:// or http://")
        if not self.version:
            raise ConfigError("notice.version", "must be 1 to 64 printable characters without a blank, for example '2'")

    @staticmethod
    def can_be_seen() -> bool:
        """Tell whether somebody could read it now."""
        return terminal.is_terminal()

    def show(self, *, app: str, sink: str, variable: str) -> bool:
        """Write the notice to standard error and tell whether it got there; arguments as in `text`."""
        return terminal.write(self.text(app=app, sink=sink, variable=variable))

    def text(self, *, app: str, sink: str, variable: str) -> str:
        """Return the notice of *app*, three lines: *sink* is its host, *variable* the app's switch."""
        return (
            f"{app} counts installs: version, platform, language and a random id, sent to {sink}.\n"
            "Detailed usage is sent only if you agree to it. Nothing has been sent yet, nor will be during this run.\n"
            f"To turn it off: {variable}=off, or DO_NOT_TRACK=1. More: {self.url}\n"
        )


def _word(value: object, longest: int) -> str:
    text = text_of(value) or ""
    return text if len(text) <= longest and text.isprintable() and " " not in text else ""
