"""The half of the facade that belongs to the user: consent, what is sent and was sent, a new identity, oblivion."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from telemetry_sdk.host.guard import shielded
from telemetry_sdk.host.lifecycle import loading
from telemetry_sdk.model import INSTALL, Forgotten, Level, Outcome, Preview, Receipt, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.client.inquiry import Inquiry
    from telemetry_sdk.model import SentRequest

__all__ = ["UserControl", "inquiry", "refused", "suppressed"]


def refused(reason: str) -> Receipt:
    """Return the receipt of a call that raised, for *reason*."""
    internal = reason.startswith("internal error")
    return Receipt(Outcome.DROPPED if internal else Outcome.REFUSED, reason=reason)


@functools.lru_cache(maxsize=8)
def suppressed(reason: str) -> Receipt:
    """Return the receipt of a call that the gate turned away for *reason*."""
    # Kept: this is the call that is made all day by a program whose user said no.
    return Receipt(Outcome.SUPPRESSED, reason=reason)


def inquiry() -> type[Inquiry]:
    """Return who answers what a host asks. Few programs ask, so it is loaded then."""
    with loading():
        from telemetry_sdk.client.inquiry import Inquiry
    return Inquiry


def _nothing(_: str) -> str | None:
    return None


def _no_requests(_: str) -> list[SentRequest]:
    return []


class UserControl(ABC):
    """What a user may ask of `Telemetry`, through the host's settings or commands."""

    strict: bool

    @property
    @abstractmethod
    def _engine(self) -> Engine:
        """What runs behind the facade."""

    @shielded(lambda _: False)
    def is_detailed_analytics_enabled(self) -> bool:
        """Tell whether an analytics event would be accepted now. Reads the environment and looks at one file."""
        self._announce()
        return self._engine.rooms.gate.right().level is Level.FULL

    @shielded(refused)
    def opt_in(self) -> Receipt:
        """Store that the user agreed to detailed analytics, and send the one install ping.

        Returns:
            The ping's receipt; ``SUPPRESSED`` when it was sent before, when the yes is stored but there is no sink or
            ``<APP>_TELEMETRY=base`` holds it back, or when a switch says OFF (then nothing is stored). Ask
            `is_detailed_analytics_enabled` for the state.
        """
        rooms = self._engine.rooms
        if rooms.gate.is_switched_off():
            return Receipt(Outcome.SUPPRESSED, reason=rooms.gate.right().reason)
        self._engine.choices.agree(rooms)
        self._announce()
        return self.check_and_send_telemetry()

    @shielded(lambda _: False)
    def opt_out(self) -> bool:
        """Store that the user declines detailed analytics, and destroy the analytics records that wait.

        Waits, at most ``timeout`` seconds, until no request with analytics is being written on this machine: from
        then on none leaves it, from any thread or process.

        Returns:
            True when all of that is certain. When False because something could not be written, this process sends
            none all the same, and `status` says what is wrong; when False because ``<APP>_TELEMETRY=full`` is set,
            the operator's word stands and events still leave.
        """
        certain = self._engine.withdraw()
        self._announce()
        return certain

    @shielded(refused)
    def check_and_send_telemetry(self) -> Receipt:
        """Send ``analytics.install``, the one opt-in install ping: once per install, after consent."""
        rooms, decision = self._engine.right()
        if decision.level < Level.FULL:
            return suppressed(decision.reason)
        if rooms.installation.read().install_ping_sent_at:
            return Receipt(Outcome.SUPPRESSED, reason="the install ping was delivered already")
        return self._engine.sending.event(rooms, decision, INSTALL)

    @shielded(lambda reason: Status(Level.OFF, "error", reason, {}))
    def status(self) -> Status:
        """Return what holds and who decided it, where state is kept, what waits and why. Makes nothing."""
        return inquiry()(self._engine).status()

    @shielded(_no_requests)
    def sent_log(self) -> list[SentRequest]:
        """Return the newest requests, byte for byte, with how each ended; oldest first."""
        return inquiry()(self._engine).sent_log()

    @shielded(lambda reason: Preview(Level.OFF, reason))
    def preview(
        self, event: str | None = None, properties: Mapping[str, object] | None = None, *, user_id: object = None
    ) -> Preview:
        """Return what would be sent, byte for byte and by layer, before any consent; with *event*, that event too.

        Makes nothing: no request, no file, no id (a row of zeros stands for one that is not made yet). While a switch
        says OFF there is nothing to show, and the reason says so.

        Raises:
            InvalidEventError: Under ``strict``: the event does not fit the rules. Else the reason says why.
        """
        return inquiry()(self._engine).preview(event, properties, user_id)

    @shielded(_nothing)
    def reset_install_id(self) -> str | None:
        """Begin as a new install: destroy what waits, forget the old id, and return a new one.

        The consent stays. Nothing that is sent from now on can be joined with what was sent before; what was sent
        stays with the sink's owner (`forget` asks for its deletion). None when telemetry is off or an id cannot be
        kept.
        """
        return self._engine.reset_identity()

    @shielded(lambda reason: Forgotten(False, Receipt(Outcome.DROPPED, reason=reason)))
    def forget(self) -> Forgotten:
        """Delete everything on this machine: id, consent, waiting records, sent log; under off-switches too.

        Of the user's decisions only a no stays. When detailed analytics had been sent, ``analytics.deletion_requested``
        with the old id alone is stored and sent like any record, so that the sink's owner can delete what he has. Waits
        like `opt_out`. The next start is that of a new install.
        """
        return inquiry()(self._engine).forget()

    @shielded(lambda _: None)
    def _announce(self) -> None:
        self._engine.choices.announce(self._engine.rooms)
