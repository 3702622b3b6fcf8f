"""The last look before bytes leave: what a sender is, which headers a request has, and who is at the other end."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry_sdk.model import Answer

HIDDEN: Final = "(not shown)"
# What may be shown, and may cross a network in clear: anything else may be a secret, whatever it is called.
HARMLESS_HEADERS: Final = frozenset({
    *("host", "content-length", "content-type", "content-encoding", "user-agent", "accept", "accept-encoding"),
    *("connection", "x-scope-orgid"),
})  # fmt: skip
_END: Final = b"\r\n\r\n"


class NotPermittedError(Exception):
    """The permit says that this request may not leave."""


class Sender(Protocol):
    """Makes one attempt at a time. Never raises for what the world does.

    One that has a true attribute ``takes_packed`` is given bodies as `otlp.packed` makes them.
    One that answers at once, without network or disk, may say ``waits = False``: then no event loop is warned of it.
    One that sends headers may have a method ``headers(body)``, which returns them for the sent log, without secrets.
    """

    def send(self, body: bytes, permit: Callable[[], None], timeout: float) -> Answer:
        """Send *body* and return the answer; *permit* is called right before its first byte is written."""
        ...

    def abandon(self) -> None:
        """Break off an attempt from another thread; the sender stays usable."""
        ...

    def close(self) -> None:
        """Close idle connections; the sender stays usable."""
        ...


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* as they may be shown: the values of all but the harmless ones are hidden."""
    return {name: value if name.lower() in HARMLESS_HEADERS else HIDDEN for name, value in headers.items()}


def only_ours(head: bytes, ours: Mapping[str, str]) -> bytes:
    """Return the *head* of a request, about to be written, with *ours* and the headers of HTTP itself alone.

    Whatever an agent in the process put there, by whichever library: trace ids, baggage, cookies. For a proxy that is
    asked for an address (not for a tunnel) its authorization stays.

    Raises:
        NotPermittedError: It is not the head of a request of ours.
    """
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    if not (first.startswith(b"POST ") and head.endswith(_END)):
        raise NotPermittedError("another library changed the request")
    found: dict[bytes, bytes] = {}
    for line in lines:
        found.setdefault(line.partition(b":")[0].lower(), line)
    http = [b"host", b"content-length", *([b"proxy-authorization"] if b"://" in first.split(b" ")[1] else [])]
    own = [f"{name}: {value}".encode("latin-1") for name, value in ours.items()]
    return b"\r\n".join([first, *(found[name] for name in http if name in found), *own]) + _END


def is_this_machine(address: object) -> bool:
    """Tell whether a connected socket's peer *address* is this machine's own loopback."""
    if not isinstance(address, tuple):
        return True  # a socket of the file system has no other end elsewhere
    try:
        peer = ip_address(str(address[0]).partition("%")[0])
    except (ValueError, IndexError):
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return (mapped or peer).is_loopback
