"""The gate: the switches and the stored consent as they are at this moment, put to the policy.

Both are looked at in every call. Only the policy's answer to the same words and the same state is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telemetry_sdk.consent import policy
from telemetry_sdk.host.quiet import logger
from telemetry_sdk.model import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from telemetry_sdk.consent.policy import Inputs
    from telemetry_sdk.identity.installation import Installation
    from telemetry_sdk.identity.schema import State
    from telemetry_sdk.model import Decision


class Gate:
    """Says what may leave now: to the sink, or with *to_log* to standard error.

    *environ* is looked at for every decision, the state file only when no switch says OFF already; *installation*
    opens it. *notice_version* is that of the first-run notice that must have been shown, or None.
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
        self._names = policy.switch_names(prefix)
        self._peek, self._keys = _peek_of(environ, self._names)
        self._fixed = policy.Inputs(sink=has_sink, to_log=to_log)
        self._notice_version = notice_version
        self._read_state: Callable[[], State] = lambda: self._open(installation())
        # What was asked and the answer, each replaced as one: threads share them without a lock.
        self._off: tuple[object, object, Decision] | None = None
        self._by_words: tuple[object, Inputs, Decision | None] = (None, self._fixed, None)
        self._by_state: tuple[Inputs, State, Decision] | None = None
        self._hold = ""
        self._warned = False

    def right(self) -> Decision:
        """Return what may leave now. Costs a look at four variables and one ``stat`` while nothing changed."""
        if self._off is not None and (off := self.known_off()):
            return off
        words = tuple(map(self._peek, self._keys))
        switched = self._by_words
        if switched[0] != words:
            switched = self._by_words = self._decide_by(words)
        _, inputs, off = switched
        if off is not None:
            return off
        state = self._read_state()
        decided = self._by_state
        if decided is None or decided[0] is not inputs or decided[1] is not state:
            decided = self._by_state = (inputs, state, self._decide(inputs, state))
        return decided[2]._replace(hold=self._hold) if self._hold else decided[2]

    def _open(self, installation: Installation) -> State:
        self._read_state = installation.read
        return installation.read()

    def known_off(self) -> Decision | None:
        """Return the decision while the switch that said OFF last still has the same word; no other can raise it."""
        off = self._off
        return off[2] if off is not None and self._peek(off[0]) == off[1] else None

    def inputs(self) -> Inputs:
        """Return the switches as they are now; the state file is not looked at."""
        words = map(self._look, self._names)
        do_not_track, app_switch, sdk_disabled, every_program = ((word or "").strip().lower() for word in words)
        return self._fixed._replace(
            do_not_track=do_not_track, app_switch=app_switch, sdk_disabled=sdk_disabled, every_program=every_program
        )

    def _decide_by(self, words: tuple[object, ...]) -> tuple[object, Inputs, Decision | None]:
        """Return *words*, what they say, and the decision where they leave none to the stored consent."""
        inputs = self.inputs()
        decision = policy.decide(inputs, prefix=self._prefix)
        if policy.is_switched_off(inputs):
            position = self._names.index(decision.decided_by)
            self._off = (self._keys[position], words[position], decision)
            if not self._warned and not policy.is_known_switch(inputs.app_switch):
                self._warned = True
                logger().warning("%s_TELEMETRY has an unknown value, which counts as off", self._prefix)
        return words, inputs, decision if decision.level is Level.OFF else None

    def _decide(self, inputs: Inputs, state: State) -> Decision:
        inputs = inputs._replace(
            consent=state.telemetry_enabled,
            consent_id=state.consent_decided_at,
            readable=state.is_readable,
            doubt=state.doubt if state.telemetry_enabled is None else "",
            base=state.base_enabled is not False,
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


def _peek_of(environ: Mapping[str, str], names: Sequence[str]) -> tuple[Callable[[Any], object], Sequence[object]]:
    """Return what tells whether a variable changed, and the keys to ask it for instead of *names*.

    `os.environ` encodes each name anew, and raises and catches an exception for each that is not set, which is the
    usual case: half of the gate's price. The dictionary behind it has the same keys and values, encoded.
    """
    behind, encode = getattr(environ, "_data", None), getattr(environ, "encodekey", None)
    if isinstance(behind, dict) and encode is not None:
        return behind.get, list(map(encode, names))
    return environ.get, names
