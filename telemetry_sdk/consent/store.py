"""The user's decision on detailed analytics. Unreadable, unknown and undecided all mean no."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk.host.background import new_lock
from telemetry_sdk.model import timestamp

if TYPE_CHECKING:
    from telemetry_sdk.analytics.catalog import Catalog
    from telemetry_sdk.identity.installation import Installation
    from telemetry_sdk.identity.schema import State


class ConsentStore:
    """Reads and writes the decision, and notices when somebody else changed it."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._announced: bool | None = None
        self._lock = new_lock()

    def after_fork(self) -> None:
        """Forget the lock a parent's thread may have held at the moment of a fork."""
        self._lock = new_lock()

    def record(self, *, enabled: bool, now_ns: int, catalog: Catalog | None = None, everything: bool = False) -> bool:
        """Store the decision and the version of the catalogue it is about; whether it is on disk, not only held here.

        An unchanged one keeps its date, and a repeated yes to an older catalogue takes nothing back. A no to
        *everything* is one to base telemetry too, until a yes.
        """

        def decide(state: State) -> dict[str, object]:
            changes: dict[str, object] = {}
            is_new = state.telemetry_enabled is not enabled or state.consent_decided_at is None
            stored = None if is_new else state.consent_catalog_version
            agreed = catalog.agreed_to(stored) if enabled and catalog else stored
            if agreed != state.consent_catalog_version:
                changes["consent_catalog_version"] = agreed
            if is_new:
                # To the microsecond, because the moment also names the consent that records are made under.
                changes |= {"telemetry_enabled": enabled, "consent_decided_at": timestamp(now_ns, "microseconds")}
            if everything and state.base_enabled is not False:
                changes["base_enabled"] = False
            elif enabled and state.base_enabled is False:
                changes["base_enabled"] = None
            return changes

        state = self._installation.update(decide, must_lock=enabled)
        # A no that cannot be written over a yes which nobody believes is as good as stored.
        is_certain = self._installation.is_kept("telemetry_enabled") or (not enabled and bool(state.doubt))
        is_base_certain = not everything or self._installation.is_kept("base_enabled")
        return state.telemetry_enabled is enabled and is_certain and is_base_certain

    def changed(self, state: State) -> bool | None:
        """Return the decision in *state* unless it was announced last; from now on it counts as announced."""
        decision = state.telemetry_enabled
        with self._lock:
            if decision is None or decision is self._announced:
                return None
            self._announced = decision
            return decision
