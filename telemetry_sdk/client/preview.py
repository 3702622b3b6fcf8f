"""What would be sent: the bytes of the next requests, made as the sender's are, from what is stored or would be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.identity.install_id import Identity, known_identity
from telemetry_sdk.model import FIRST_SEEN, HEARTBEAT, INSTALL, NANOSECONDS, Layer, Preview, is_due, timestamp
from telemetry_sdk.outbox.queue import StoreError
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from telemetry_sdk.client.config import Options
    from telemetry_sdk.client.pipeline import Draft, Sending
    from telemetry_sdk.client.records import World
    from telemetry_sdk.client.session import Rooms
    from telemetry_sdk.identity.schema import State
    from telemetry_sdk.model import Record
    from telemetry_sdk.outbox.tables import Pending

__all__ = ["NO_ID", "look_ahead"]

# Stands where the id will be: none is made for looking.
NO_ID: Final = "00000000-0000-4000-8000-000000000000"


def look_ahead(rooms: Rooms, sending: Sending, options: Options, world: World, shown: Draft | None) -> Preview:
    """Return what would be sent now, by layer, *shown* with it. Makes no id, no file and no request."""
    decision, state, now_ns = rooms.gate.right(), rooms.installation.read(), world.now_ns()
    waiting, batch = _waiting(rooms, decision.grants, now_ns)
    base: list[Pending | Record] = [r for r in waiting if r.layer is Layer.BASE]
    base += _base_due(waiting, sending, state, now_ns)
    events: list[Pending | Record] = [r for r in waiting if r.layer is Layer.ANALYTICS]
    if state.install_ping_sent_at is None and INSTALL not in {record.name for record in waiting}:
        events.append(sending.draft(INSTALL, lambda: state.install_id or NO_ID).record)
    events += [shown.record] if shown and not shown.withheld else []

    def body(records: Sequence[Pending | Record]) -> bytes:
        late_ns = options.late_ns
        times = ((r.envelope, otlp.timed(r.body, r.made_ns, now_ns, late_ns=late_ns)) for r in records)
        return otlp.encode_request(times) if records else b""

    return Preview(
        level=decision.level,
        reason=(shown.withheld if shown else "") or decision.hold or decision.reason,
        base=body(base),
        analytics=body(events),
        next_request=body(batch) if decision.level and not decision.hold else b"",
        removed=shown.event.scrubbed if shown else {},
        left_out=shown.event.dropped if shown else (),
    )


def _waiting(rooms: Rooms, grants: frozenset[str], now_ns: int) -> tuple[Sequence[Pending], Sequence[Pending]]:
    if not rooms.has_outbox():
        return (), ()
    try:
        return rooms.outbox.peek(grants, now_ns / NANOSECONDS)
    except StoreError:
        return (), ()


def _base_due(waiting: Sequence[Pending], sending: Sending, state: State, now_ns: int) -> Iterable[Record]:
    """Make the base records that are due and not stored yet, without storing them."""
    named = {record.name for record in waiting}
    me = known_identity(state) or Identity(NO_ID, timestamp(now_ns), 0.0)
    if state.first_seen_sent_at is None and FIRST_SEEN not in named:
        yield sending.maker.base(FIRST_SEEN, me, now_ns)
    if is_due(now_ns / NANOSECONDS, state.last_heartbeat_on) and HEARTBEAT not in named:
        yield sending.maker.base(HEARTBEAT, me, now_ns)
