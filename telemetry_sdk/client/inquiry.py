"""What a host asks: what holds, what would be sent, what was sent, and what became of it. Loaded when it first asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk.client import status
from telemetry_sdk.client.preview import NO_ID, look_ahead
from telemetry_sdk.model import FlushReport, Forgotten, Level, Preview, SentRequest, Status
from telemetry_sdk.outbox.queue import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry_sdk.client.engine import Engine

__all__ = ["Inquiry"]


class Inquiry:
    """Asks *engine*."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def status(self) -> Status:
        """Return what holds and who decided it; see `Telemetry.status`."""
        return status.gather(self._engine)

    def flush(self, timeout: float) -> FlushReport:
        """Deliver what waits, now; see `Telemetry.flush`."""
        rooms = self._engine.rooms
        if (decision := rooms.gate.right()).level is Level.OFF:
            return FlushReport(reason=decision.reason)
        try:
            before = sum(rooms.outbox.counts().dropped.values())
            tally = rooms.delivery.deliver(timeout, force=True, wait_for_lease=True)
            after = rooms.outbox.counts()
        except StoreError as error:
            return FlushReport(reason=str(error))
        dropped = sum(after.dropped.values()) - before
        kept = after.pending + rooms.outbox.aside_count()
        reason = (tally.reason or "the records may not leave now") if kept else ""
        return FlushReport(tally.delivered, kept, tally.rejected, dropped, reason)

    def sent_log(self) -> list[SentRequest]:
        """Return the newest requests; see `Telemetry.sent_log`."""
        rooms = self._engine.rooms
        if rooms.gate.is_switched_off() or not rooms.has_outbox():
            return []
        try:
            return rooms.outbox.sent_log()
        except StoreError:
            return []

    def preview(self, event: str | None, properties: Mapping[str, object] | None, user_id: object) -> Preview:
        """Return what would be sent; see `Telemetry.preview`."""
        engine, rooms = self._engine, self._engine.rooms
        if rooms.gate.is_switched_off():
            return Preview(Level.OFF, rooms.gate.right().reason)
        state, catalog, shown = rooms.installation.read(), engine.options.catalog, None
        if event is not None:
            # Before a consent it is shown as it would be sent after one given now.
            given = engine.sending.covers(state, rooms.gate.right().grants) if state.telemetry_enabled else None
            covers = given or (catalog.version if catalog else None)
            user = engine.sending.shown_user(state, user_id)
            shown = engine.sending.draft(event, lambda: state.install_id or NO_ID, properties, user, covers=covers)
        return look_ahead(rooms, engine.sending, engine.options, engine.world, shown)

    def forget(self) -> Forgotten:
        """Delete everything on this machine; see `Telemetry.forget`."""
        return Forgotten(*self._engine.forget())
