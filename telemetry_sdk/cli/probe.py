"""What can be found out about the way to a sink and about a directory's place, without sending anything.

The only module that looks names up and opens connections of its own. Nothing here raises for what the world does, and
nothing waits longer than it is told: what nothing bounds, a name lookup say, is left behind in a daemon thread.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Finding", "find_addresses", "kind_of_place", "shake_hands"]

_OCTAL: Final = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found.

    Attributes:
        found: What was found, in plain words.
        problem: What went wrong instead; empty when nothing did.
    """

    found: str = ""
    problem: str = ""


def find_addresses(host: str, port: int, wait_s: float) -> Finding:
    """Look *host* up, within *wait_s* seconds."""

    def look() -> Finding:
        import socket

        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            return Finding(problem=_words(error))
        count = len({answer[4][0] for answer in answers})
        return Finding(f"{count} address{'' if count == 1 else 'es'}")

    return _within(wait_s, look)


def shake_hands(host: str, port: int, trusted: str, client_cert: tuple[str, str] | None, wait_s: float) -> Finding:
    """Connect to *host* and make a TLS handshake, within *wait_s* seconds; no request is sent.

    Args:
        host: Whom to connect to, and whom the certificate must name.
        port: The port.
        trusted: File or directory of the CAs to trust.
        client_cert: Certificate and key files to show, or None.
        wait_s: Seconds.
    """

    def look() -> Finding:
        import socket
        import ssl

        try:
            place = {"capath": trusted} if os.path.isdir(trusted) else {"cafile": trusted}
            context = ssl.create_default_context(**place)  # type: ignore[arg-type]
            if client_cert:
                context.load_cert_chain(*client_cert)
            with (
                socket.create_connection((host, port), timeout=wait_s) as plain,
                context.wrap_socket(plain, server_hostname=host) as secure,
            ):
                return Finding(f"{secure.version()}, and the certificate is trusted")
        except ssl.SSLCertVerificationError as error:
            return Finding(problem=f"the certificate is not accepted: {error.verify_message}")
        except (OSError, UnicodeError, ValueError) as error:
            return Finding(problem=_words(error))

    return _within(wait_s, look)


def kind_of_place(directory: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the type of the file system that *directory* is, or would be, on; empty where that is not told."""
    try:
        table = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
    place, best, kind = os.path.realpath(directory), "", ""
    for line in table.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = words[1]
        for written, meant in _OCTAL.items():
            point = point.replace(written, meant)
        # The last one of a point hides those before it.
        if len(point) >= len(best) and os.path.join(place, "").startswith(os.path.join(point, "")):
            best, kind = point, words[2]
    return kind


def _words(error: Exception) -> str:
    """Return what *error* says, without addresses and paths: the system's words, or its class."""
    return (getattr(error, "strerror", None) if isinstance(error, OSError) else None) or type(error).__name__


def _within(wait_s: float, look: Callable[[], Finding]) -> Finding:
    found = [Finding(problem=f"no answer within {wait_s:g} seconds")]
    over = threading.Event()

    def run() -> None:
        try:
            found.append(look())
        finally:
            over.set()

    threading.Thread(target=run, name="telemetry-sdk-probe", daemon=True).start()
    over.wait(wait_s)
    return found[-1]
