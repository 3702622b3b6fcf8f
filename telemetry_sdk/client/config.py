"""What the integrator chose, checked once at construction. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast, get_args

from telemetry_sdk.host import lazy
from telemetry_sdk.host.guard import is_a, number_of, text_of
from telemetry_sdk.model import NANOSECONDS, ConfigError, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.analytics.catalog import Catalog
    from telemetry_sdk.consent.notice import Notice

DeliveryMode: TypeAlias = Literal["background", "sync", "manual"]
Late: TypeAlias = Literal["restamp", "preserve"]

_APP: Final = lazy(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_WORD: Final = lazy(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")
_LONGEST_TIMEOUT: Final = 300.0
_LATEST_MINUTES: Final = 50
_LARGEST_LIMIT: Final = 10**12


class Config(NamedTuple):
    """The checked arguments of `Telemetry`; see there for their meaning."""

    app: str
    version: str
    release_channel: str
    deployment_type: str | None
    environment: str | None
    delivery: DeliveryMode
    late: Late
    timeout: float
    exit_timeout: float
    limits: Limits
    on_consent_change: Callable[[bool], object] | None
    strict: bool
    notice: Notice | None = None
    vendor: str | None = None
    purpose: str | None = None
    privacy_url: str | None = None
    command: str | None = None
    catalog: Catalog | None = None
    scrub: bool = True
    hash_user_ids: bool = False

    @property
    def late_ns(self) -> int | None:
        """The age, in nanoseconds, after which an unsent record is sent as late; None for never."""
        return int(self.limits.late_minutes * 60 * NANOSECONDS) if self.late == "restamp" else None


def check(config: Config) -> Config:
    """Return *options* as plain values, if every one is possible.

    Raises:
        ConfigError: One is not; the message names it and says what it may be.
    """
    if config.on_consent_change is not None and not callable(config.on_consent_change):
        raise ConfigError("on_consent_change", "must be a function that takes one bool")
    _check_notice(config.notice, config.privacy_url)
    for name in ("strict", "scrub", "hash_user_ids"):
        if not is_a(getattr(config, name), bool):
            raise ConfigError(name, "must be True or False")
    return config._replace(
        app=_app(config.app),
        version=_word("version", config.version),
        release_channel=_word("release_channel", config.release_channel),
        deployment_type=_optional_word("deployment_type", config.deployment_type),
        environment=_optional_word("environment", config.environment),
        delivery=cast("DeliveryMode", _one_of("delivery", config.delivery, get_args(DeliveryMode))),
        late=cast("Late", _one_of("late", config.late, get_args(Late))),
        timeout=_seconds("timeout", config.timeout, 0.001),
        exit_timeout=_seconds("exit_timeout", config.exit_timeout, 0.0),
        limits=_limits(config.limits),
        vendor=_line("vendor", config.vendor, 100),
        purpose=_line("purpose", config.purpose, 200),
        privacy_url=_url(config.privacy_url),
        command=_line("command", config.command, 200),
    )


def _check_notice(notice: object, privacy_url: object) -> None:
    if notice is None:
        return
    from telemetry_sdk.consent.notice import Notice  # loaded by whoever made one

    if not is_a(notice, Notice):
        raise ConfigError("notice", "must be a telemetry_sdk.Notice")
    if not (notice.url or privacy_url):
        raise ConfigError("notice.url", "must be the URL of your privacy policy, here or as privacy_url")


def _app(value: object) -> str:
    text = text_of(value)
    if text is None or not _APP.fullmatch(text):
        raise ConfigError("app", "must be 1 to 64 letters, digits, '.', '_', '-' between two of them, as in acme-notes")
    return text


def _word(name: str, value: object) -> str:
    if not is_word(value):
        raise ConfigError(name, "must be 1 to 64 printable ASCII characters")
    return text_of(value) or ""


def is_word(value: object) -> bool:
    """Tell whether *value* may be the version of a program."""
    text = text_of(value)
    return text is not None and _WORD.fullmatch(text) is not None


def _optional_word(name: str, value: object) -> str | None:
    return None if value is None else _word(name, value)


def _line(name: str, value: object, longest: int) -> str | None:
    """Return what users read on a terminal: one line, so that nothing in it drives or deceives."""
    text = text_of(value)
    if value is None:
        return None
    if not text or len(text) > longest or not text.isprintable() or text != text.strip():
        raise ConfigError(name, f"must be one line of 1 to {longest} printable characters")
    return text


def _url(value: object) -> str | None:
    text = _line("privacy_url", value, 200)
    if text is not None and (" " in text or not text.startswith(("https://", "http://"))):
        raise ConfigError("privacy_url", "must begin with https:// or http:// and hold no blank")
    return text


def _one_of(name: str, value: object, possible: tuple[str, ...]) -> str:
    text = text_of(value)
    if text is None or text not in possible:
        raise ConfigError(name, f"must be one of {', '.join(possible)}")
    return text


def _seconds(name: str, value: object, least: float) -> float:
    number = number_of(value)
    if number is None or not least <= number <= _LONGEST_TIMEOUT:
        raise ConfigError(name, f"must be a number of seconds from {least:g} to {_LONGEST_TIMEOUT:g}")
    return number


def _limits(limits: object) -> Limits:
    if not is_a(limits, Limits):
        raise ConfigError("limits", "must be a telemetry_sdk.Limits")
    plain: dict[str, float] = {}
    for name, usual in Limits().as_dict().items():
        number = number_of(getattr(limits, name))
        if number is None or not 0 < number <= _LARGEST_LIMIT:
            raise ConfigError(f"limits.{name}", f"must be a number above zero, at most {_LARGEST_LIMIT}")
        if isinstance(usual, int) and not isinstance(number, int):
            raise ConfigError(f"limits.{name}", "must be a whole number")
        plain[name] = number
    if plain["late_minutes"] > _LATEST_MINUTES:
        raise ConfigError(
            "limits.late_minutes", f"must be at most {_LATEST_MINUTES}: Loki refuses what is an hour behind"
        )
    return Limits(**plain)  # type: ignore[arg-type]
