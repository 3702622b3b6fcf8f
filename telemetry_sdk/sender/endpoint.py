"""Where records go: arguments before environment before nothing.

The endpoint chooses the family its token may come from, so that a secret set for one sink never reaches another:

| endpoint from                  | token from, first one set                                                     |
|--------------------------------|-------------------------------------------------------------------------------|
| argument                       | argument, ``<APP>_TELEMETRY_TOKEN``, and for a host of Grafana Cloud or       |
|                                | loopback ``GRAFANA_OTLP_TOKEN``                                               |
| ``GRAFANA_OTLP_ENDPOINT``      | argument, ``GRAFANA_OTLP_TOKEN``                                              |
| ``<APP>_TELEMETRY_ENDPOINT``   | argument, ``<APP>_TELEMETRY_TOKEN``, ``<APP>_TELEMETRY_HEADERS``              |
| ``OTEL_EXPORTER_OTLP_…``       | argument, ``OTEL_EXPORTER_OTLP_[LOGS_]HEADERS`` (only with ``otel_env=True``) |

An ``Authorization`` in the ``headers`` argument takes the place of all of them.

Pure: the environment is a parameter. A wrong argument raises `ConfigError`; a wrong environment variable is the
world's failure, so it becomes `Settings.problem`, telemetry stays off and `status()` says what to do.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from telemetry_sdk.host import lazy
from telemetry_sdk.host.guard import is_a, pairs_of, text_of
from telemetry_sdk.model import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HEADER_NAME: Final = lazy(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = lazy(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_ID: Final = lazy(r"[A-Za-z0-9_.-]+")
_ID_AND_TOKEN: Final = lazy(r"[A-Za-z0-9_.-]+:[\x21-\x7e]+")
_MILLISECONDS: Final = lazy(r"[0-9]{1,9}")
_OWN_HEADERS: Final = frozenset(
    {"content-type", "content-encoding", "content-length", "transfer-encoding", "host", "user-agent", "connection"}
)
# What may cross a network in clear beside the SDK's own headers; anything else may be a secret, whatever it is called.
_HARMLESS: Final = frozenset({"x-scope-orgid", "accept", "accept-encoding"})


def resolve(
    environ: Mapping[str, str],
    prefix: str,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    otel_env: bool = False,
) -> Settings:
    """Find the sink, by the arguments of `Telemetry` and variables that begin with *prefix*; empty counts as unset.

    Raises:
        ConfigError: An argument is impossible.
    """
    endpoint, token = _plain("endpoint", endpoint), _plain("token", token)
    if not is_a(otel_env, bool):
        raise ConfigError("otel_env", "must be True or False")
    own_headers = _checked_headers([] if headers is None else pairs_of(headers), "headers")
    family = _family(environ, prefix, endpoint, otel_env=otel_env)
    if family is None:
        return Settings()
    try:
        sink = _sink(environ, family, token=token, own_headers=own_headers)
    except ConfigError as error:
        if error.setting in ("endpoint", "token", "headers"):
            raise
        return Settings(problem=str(error))
    return Settings(sink, notes=tuple(_unused(environ, family, sink, token)))


def _plain(setting: str, value: object) -> str:
    text = text_of(value)
    if text is None and value is not None:
        raise ConfigError(setting, "must be a string")
    return (text or "").strip()


class _Family(NamedTuple):
    """What may be combined: the setting that names an endpoint, and the variables that may go with it."""

    setting: str
    tokens: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    generic: bool = False
    endpoint: str = ""


def _family(environ: Mapping[str, str], prefix: str, argument: str, *, otel_env: bool) -> _Family | None:
    own = f"{prefix}_TELEMETRY"
    if argument:
        host = parse_endpoint(argument).hostname or ""
        grafanas = ("GRAFANA_OTLP_TOKEN",) if is_loopback(host) or host.endswith(".grafana.net") else ()
        return _Family("endpoint", (f"{own}_TOKEN", *grafanas), endpoint=argument)
    families = [
        _Family("GRAFANA_OTLP_ENDPOINT", ("GRAFANA_OTLP_TOKEN",)),
        _Family(f"{own}_ENDPOINT", (f"{own}_TOKEN",), (f"{own}_HEADERS",)),
    ]
    if otel_env:
        families += [_Family(name, (), _both("HEADERS"), generic=True) for name in _both("ENDPOINT")]
    for family in families:
        if endpoint := environ.get(family.setting, "").strip():
            return family._replace(endpoint=endpoint)
    return None


def _both(option: str) -> tuple[str, str]:
    """Return OpenTelemetry's two variables for *option*: that of the logs goes before the general one."""
    return f"OTEL_EXPORTER_OTLP_LOGS_{option}", f"OTEL_EXPORTER_OTLP_{option}"


def _first_set(environ: Mapping[str, str], names: Iterable[str]) -> str:
    return next((name for name in names if environ.get(name, "").strip()), "")


def _sink(environ: Mapping[str, str], family: _Family, *, token: str, own_headers: dict[str, tuple[str, str]]) -> Sink:
    from_code = family.setting == "endpoint"
    url = parse_endpoint(family.endpoint, family.setting, literal=family.setting == _both("ENDPOINT")[0])
    if url.scheme == "file":
        return Sink(urlunsplit(url), "file", from_code=from_code)
    if "authorization" in own_headers:
        if token:
            raise ConfigError("token", "set either a token or an Authorization header, not both")
        secret, origin = "", "headers"
    elif token:
        secret, origin = token, "token"
    else:
        origin = _first_set(environ, family.tokens)
        secret = environ.get(origin, "")
    listed = _first_set(environ, family.headers)
    found = _checked_headers(parse_header_list(environ.get(listed, "")), listed) | own_headers
    if secret:
        value = authorization(secret, origin, environ.get("GRAFANA_OTLP_INSTANCE_ID", ""))
        found["authorization"] = ("Authorization", value)
    has_secret = not _HARMLESS.issuperset(found) or bool(url.query)
    if has_secret and url.scheme == "http" and not is_loopback(url.hostname):
        # An endpoint of the environment cannot make an argument of the host wrong, so it is blamed itself.
        from_query = "endpoint" if url.query and _HARMLESS.issuperset(found) else "headers"
        setting = (origin or from_query) if from_code else family.setting
        problem = "a secret would be sent unencrypted: use an https:// endpoint, or a host on loopback"
        raise ConfigError(setting, problem)
    extra = _generic_options(environ) if family.generic else {}
    return Sink(urlunsplit(url), url.netloc, tuple(found.values()), from_code=from_code, **extra)  # type: ignore[arg-type]


def _unused(environ: Mapping[str, str], family: _Family, sink: Sink, token: str) -> Iterable[str]:
    unused = environ.get("GRAFANA_OTLP_TOKEN", "").strip() and "GRAFANA_OTLP_TOKEN" not in family.tokens
    if unused and not sink.is_file and not token:
        yield (
            f"GRAFANA_OTLP_TOKEN is set but was not used, because the sink is named by {family.setting}: "
            "pass token=… to send it there"
        )


_OTHER_SIGNALS: Final = ("/v1/traces", "/v1/metrics", "/v1development/profiles", "/v1/profiles")


def parse_endpoint(endpoint: str, setting: str = "endpoint", *, literal: bool = False) -> SplitResult:
    """Return the URL requests go to: ``/v1/logs`` is added unless it is there (never with *literal*).

    Raises:
        ConfigError: It is not a usable http, https or file URL.
    """
    text = endpoint.strip()
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - the property raises on a bad port
    except ValueError:
        raise ConfigError(setting, "is not a valid URL") from None
    if url.scheme == "file":
        if url.netloc not in ("", "localhost") or not url.path.startswith("/") or url.path.endswith("/"):
            raise ConfigError(setting, "write a file sink as file:///path/to/telemetry.jsonl")
        return url._replace(netloc="")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(setting, "must begin with http://, https:// or file:///, for example http://127.0.0.1:4318")
    # A backslash ends the host for some readers of URLs and not for others.
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in text):
        raise ConfigError(setting, "contains a blank, a backslash or a control character")
    if url.username is not None or url.password is not None:
        raise ConfigError(setting, "must not carry credentials; pass them as the token, 'id:token'")
    if literal:
        return url._replace(path=url.path or "/", fragment="")
    path = url.path.rstrip("/")
    if path.endswith(_OTHER_SIGNALS):
        raise ConfigError(setting, "is the address of another signal; logs go to the base URL, or to one with /v1/logs")
    return url._replace(path=path if path.endswith("/v1/logs") else f"{path}/v1/logs", fragment="")


def authorization(token: str, setting: str = "token", instance_id: str = "") -> str:
    """Return the ``Authorization`` header for a token in any of its usual forms.

    ``Basic …`` and ``Bearer …`` are used as they are; ``id:token`` and the base64 of it become Basic; a bare token
    needs *instance_id*.

    Raises:
        ConfigError: The token has no usable form. The message does not repeat it.
    """
    token = token.strip()
    if not (token and token.isascii() and token.isprintable()):
        raise ConfigError(setting, "contains a character that no HTTP header may carry")
    scheme, _, rest = token.partition(" ")
    if rest:
        if scheme.lower() not in ("basic", "bearer"):
            raise ConfigError(setting, "has an unknown scheme; write 'Basic …', 'Bearer …' or 'id:token'")
        return token
    if ":" in token:
        return _basic(token)
    if _is_encoded_pair(token):
        return f"Basic {token}"
    if instance_id.strip():
        if not _ID.fullmatch(instance_id.strip()):
            raise ConfigError("GRAFANA_OTLP_INSTANCE_ID", "must be the OTLP instance id, a number")
        return _basic(f"{instance_id.strip()}:{token}")
    raise ConfigError(
        setting,
        "is a bare token: write it as 'id:token' (Grafana Cloud: the OTLP instance id, a number), "
        "set GRAFANA_OTLP_INSTANCE_ID, or write 'Bearer …' where the sink expects that",
    )


def _basic(pair: str) -> str:
    return f"Basic {binascii.b2a_base64(pair.encode(), newline=False).decode()}"


def _is_encoded_pair(token: str) -> bool:
    try:
        decoded = binascii.a2b_base64(token, strict_mode=True).decode("ascii")
    except ValueError:  # binascii.Error is one
        return False
    return _ID_AND_TOKEN.fullmatch(decoded) is not None


def is_loopback(host: str | None) -> bool:
    """Tell whether *host* is this machine: localhost, 127.0.0.0/8 or ::1."""
    import ipaddress

    name = (host or "").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _checked_headers(pairs: Iterable[tuple[object, object]] | None, setting: str) -> dict[str, tuple[str, str]]:
    """Return *pairs*, checked, by their names in lower case."""
    if pairs is None:
        raise ConfigError(setting, "must be a mapping of names to values")
    checked: dict[str, tuple[str, str]] = {}
    for name, value in ((text_of(name), text_of(value)) for name, value in pairs):
        if name is None or not _HEADER_NAME.fullmatch(name):
            raise ConfigError(setting, "has a name that is not a valid HTTP header name")
        if value is None or not _HEADER_VALUE.fullmatch(value):
            raise ConfigError(setting, f"{name}: the value is not a valid HTTP header value")
        if name.lower() in _OWN_HEADERS:
            raise ConfigError(setting, f"{name} is set by the sender and cannot be replaced")
        checked[name.lower()] = (name, value)
    return checked


def parse_header_list(text: str) -> list[tuple[str, str]]:
    """Read ``k1=v1,k2=v2`` with percent-decoding, as OpenTelemetry writes headers; parts without ``=`` are skipped.

    A raw blank in a value (``Authorization=Basic abc``) is accepted too, as OpenTelemetry's own SDK does.
    """
    pairs = (part.partition("=") for part in text.split(","))
    return [(unquote(name.strip()), unquote(value.strip())) for name, equals, value in pairs if equals and name.strip()]


def _generic_options(environ: Mapping[str, str]) -> dict[str, object]:
    def option(name: str) -> str:
        return environ.get(_first_set(environ, _both(name)), "").strip()

    milliseconds, pair = option("TIMEOUT"), (option("CLIENT_CERTIFICATE"), option("CLIENT_KEY"))
    return {
        "compress": option("COMPRESSION").lower() != "none",
        "timeout": (int(milliseconds) / 1000 or None) if _MILLISECONDS.fullmatch(milliseconds) else None,
        "ca_file": option("CERTIFICATE") or None,
        "client_cert": pair if all(pair) else None,
    }


class Sink:
    """One place records are sent to. No tuple, for whoever shows the variables of a failed call unfolds those."""

    def __init__(
        self,
        url: str,  # the full URL of a request; for a file sink the file:// URL
        host: str,  # host and port for people to read, or "file"
        headers: tuple[tuple[str, str], ...] = (),  # extra ones of a request, never shown
        *,
        timeout: float | None = None,  # seconds an operator set for one request
        compress: bool = True,  # bodies over 1 KiB
        ca_file: str | None = None,  # whom to trust instead of the system's settings
        client_cert: tuple[str, str] | None = None,  # certificate and key files for mTLS
        from_code: bool = False,  # whether the host program named this sink itself
    ) -> None:
        self.url: Final = url
        self.host: Final = host
        self.headers: Final = headers
        self.timeout: Final = timeout
        self.compress: Final = compress
        self.ca_file: Final = ca_file
        self.client_cert: Final = client_cert
        self.from_code: Final = from_code

    def __repr__(self) -> str:
        return f"Sink({self.host!r})"

    @property
    def is_file(self) -> bool:
        """Whether this is a ``file://`` sink."""
        return self.url.startswith("file:")


class Settings(NamedTuple):
    """What `resolve` found: the sink, or why there is none although something was set; and what was set in vain.

    For a tool without the program *elsewhere* says that the program may name a sink in its code, and, unless it is
    empty, to which host that last sent: what would leave is told by it, and nothing is sent.
    """

    sink: Sink | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()
    elsewhere: str | None = None

    @property
    def may_have_sink(self) -> bool:
        """Whether the program has a sink, as far as can be known here."""
        return self.sink is not None or self.elsewhere is not None
