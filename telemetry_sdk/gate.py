"""The gate: the switches and the stored consent as they are at this moment, put to the policy."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from telemetry_sdk import policy
from telemetry_sdk.model import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry_sdk.installation import Installation
    from telemetry_sdk.policy import Decision, Inputs
    from telemetry_sdk.settings import Settings

__all__ = ["Gate"]

_log: Final = logging.getLogger("telemetry_sdk")


class Gate:
    """Says what may leave now. Looks at the state file only when no switch says OFF already."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], prefix: str, installation: Callable[[], Installation]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._prefix = prefix
        self._installation = installation
        self._warned = False

    def inputs(self) -> Inputs:
        """Return the switches as they are now; the stored consent is not looked at."""
        switches = policy.read_switches(self._environ, self._prefix)
        every_program = self._environ.get("TELEMETRY_SDK_DISABLED", "").strip().lower()
        return policy.Inputs(*switches, sink=self._settings.sink is not None, every_program=every_program)

    def right(self) -> Decision:
        """Return what may leave now."""
        inputs = self.inputs()
        decision = policy.decide(inputs, prefix=self._prefix)
        if decision.level is Level.OFF:
            self._warn_of_unknown_switch(inputs)
            return decision
        state = self._installation().read()
        inputs = replace(inputs, consent=state.telemetry_enabled, consent_id=state.consent_decided_at)
        return policy.decide(inputs, prefix=self._prefix)

    def is_switched_off(self) -> bool:
        """Tell whether a switch, not the lack of a sink, says OFF: then nothing may be written either."""
        return policy.decide(replace(self.inputs(), sink=True), prefix=self._prefix).level is Level.OFF

    def _warn_of_unknown_switch(self, inputs: Inputs) -> None:
        if not self._warned and not policy.is_known_switch(inputs.app_switch):
            self._warned = True
            _log.warning("%s_TELEMETRY has an unknown value, which counts as off", self._prefix)
