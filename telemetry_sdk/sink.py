"""Where records go, as `settings` found it. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Settings", "Sink"]


class Sink:
    """One place records are sent to. No tuple, for whoever shows the variables of a failed call unfolds those.

    Attributes:
        url: The full URL of a request; for a file sink the ``file://`` URL.
        host: Host and port for people to read, or ``file``.
        headers: Extra request headers. Never shown.
        timeout: Seconds an operator set for one request, or None.
        compress: Whether bodies over 1 KiB are gzipped.
        ca_file: CA bundle to trust, or None for the system's settings.
        client_cert: Certificate and key files for mTLS, or None.
        from_code: Whether the host program named this sink itself.
    """

    def __init__(
        self,
        url: str,
        host: str,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        timeout: float | None = None,
        compress: bool = True,
        ca_file: str | None = None,
        client_cert: tuple[str, str] | None = None,
        from_code: bool = False,
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
    """What `resolve` found.

    Attributes:
        sink: The sink, or None.
        problem: Why there is none although something was set; empty otherwise.
        notes: Remarks for `status()`: settings that were seen and not used.
    """

    sink: Sink | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()
