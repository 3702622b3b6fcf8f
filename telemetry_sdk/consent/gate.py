"""The gate: the switches and the stored consent as they are at this moment, put to the policy.

Both are looked at in every call. Only the policy's answer to the same words and the same state is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_sdk.consent import policy
from telemetry_sdk.host.quiet import logger
from telemetry_sdk.model import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry_sdk.consent.policy import Inputs
    from telemetry_sdk.identity.installation import Installation
    from telemetry_sdk.identity.schema import State
    from telemetry_sdk.model import Decision


class Gate:
    """Says what may leave now. Looks at the state file only when no switch says OFF already.

    Args:
        environ: The environment, looked at for every decision.
        prefix: Prefix of the app's variables.
        installation: The state file, opened when first needed.
        has_sink: Whether a usable sink is configured.
        notice_version: Version of the first-run notice that must have been shown, or None.
        to_log: Whether this is about what goes to standard error.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        prefix: str,
        installation: Callable[[], Installation],
        *,
        has_sink: bool,
        notice_version: str | None = None,
        to_log: bool = False,
    ) -> None:
        self._look = environ.get
        self._prefix = prefix
        self._installation = installation
        self._switches = policy.Inputs(sink=has_sink, to_log=to_log)
        self._notice_version = notice_version
        self._names = policy.switch_names(prefix)
        # What was asked and the answer, each replaced as one: threads share them without a lock.
        self._off: tuple[str, str | None, Decision] | None = None
        self._by_switches: tuple[object, Decision] | None = None
        self._by_state: tuple[object, State, Decision] | None = None
        self._hold = ""
        self._warned = False

    def inputs(self) -> Inputs:
        """Return the switches as they are now; the state file is not looked at."""
        return self._inputs(self._words())

    def _words(self) -> tuple[str | None, ...]:
        return tuple(map(self._look, self._names))

    def _inputs(self, words: tuple[str | None, ...]) -> Inputs:
        found = {name: word for name, word in zip(self._names, words, strict=True) if word is not None}
        do_not_track, app_switch, sdk_disabled = policy.read_switches(found, self._prefix)
        return self._switches._replace(
            do_not_track=do_not_track,
            app_switch=app_switch,
            sdk_disabled=sdk_disabled,
            every_program=found.get("TELEMETRY_SDK_DISABLED", "").strip().lower(),
        )

    def right(self) -> Decision:
        """Return what may leave now. Costs a look at four variables and one ``stat`` while nothing changed."""
        if off := self.known_off():
            return off
        words = self._words()
        switched = self._by_switches
        if switched is None or switched[0] != words:
            switched = self._by_switches = (words, self._decide_by(words))
        if switched[1].level is Level.OFF:
            return switched[1]
        state = self._installation().read()
        decided = self._by_state
        if decided is None or decided[0] != words or decided[1] is not state:
            decided = self._by_state = (words, state, self._decide(words, state))
        return decided[2]._replace(hold=self._hold) if self._hold else decided[2]

    def known_off(self) -> Decision | None:
        """Return the decision while the switch that said OFF last still has the same word; no other can raise it."""
        off = self._off
        return off[2] if off is not None and self._look(off[0]) == off[1] else None

    def _decide_by(self, words: tuple[str | None, ...]) -> Decision:
        inputs = self._inputs(words)
        decision = policy.decide(inputs, prefix=self._prefix)
        if policy.is_switched_off(inputs):
            self._off = (decision.decided_by, words[self._names.index(decision.decided_by)], decision)
            self._warn_of_unknown_switch(inputs)
        return decision

    def _decide(self, words: tuple[str | None, ...], state: State) -> Decision:
        inputs = self._inputs(words)._replace(
            consent=state.telemetry_enabled,
            consent_id=state.consent_decided_at,
            readable=state.is_readable,
            notice_due=self.is_notice_due(state),
        )
        return policy.decide(inputs, prefix=self._prefix)

    def is_notice_due(self, state: State) -> bool:
        """Tell whether the first-run notice was asked for and is not known to have been shown."""
        return self._notice_version is not None and state.notice_version_shown != self._notice_version

    def hold_all(self, reason: str) -> None:
        """Let nothing leave from this process any more; records may still be made."""
        self._hold = reason

    def is_switched_off(self) -> bool:
        """Tell whether a switch says OFF, not the lack of a sink: then nothing may be read or written either."""
        return policy.is_switched_off(self.inputs())

    def _warn_of_unknown_switch(self, inputs: Inputs) -> None:
        if not self._warned and not policy.is_known_switch(inputs.app_switch):
            self._warned = True
            logger().warning("%s_TELEMETRY has an unknown value, which counts as off", self._prefix)
