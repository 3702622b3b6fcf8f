"""Which level holds, and who decided it.

This module decides; it reads no file and no environment, it is given them. The first rule that speaks wins:

1. ``DO_NOT_TRACK``, or ``TELEMETRY_SDK_DISABLED`` (every program that
   uses this SDK), set to anything but empty, 0, false, no, off       -> OFF
2. ``<APP>_TELEMETRY`` is off, 0, false, no, disabled or unknown      -> OFF
3. ``OTEL_SDK_DISABLED=true``, or no sink is configured               -> OFF
4. the stored "nothing at all"                                        -> OFF
   the first-run notice the host asked for was not shown yet, and
   neither the user nor the operator has decided                      -> OFF
5. ``<APP>_TELEMETRY=base``                                           -> BASE
6. ``<APP>_TELEMETRY=full`` (the operator's explicit opt-in)          -> FULL
7. the stored consent is true                                         -> FULL
8. the stored consent is false, undecided or unreadable, or a yes
   that somebody else may have written                                -> BASE

``<APP>_TELEMETRY`` set to 1, true, yes, on, enabled or empty adds nothing: the stored consent decides. A switch can
lower the level freely; only ``full``, written out, raises it. ``log`` likewise adds nothing, except that records then
go to standard error and to no sink.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from telemetry_sdk.model import OPERATOR_GRANT, Decision, Level

_NOT_TRACKING: Final = frozenset({"", "0", "false", "no", "off"})
_OFF_WORDS: Final = frozenset({"off", "0", "false", "no", "disabled"})
_OTHER_WORDS: Final = frozenset({"", "1", "true", "yes", "on", "enabled", "base", "full", "log"})


class Inputs(NamedTuple):
    """Everything the decision depends on. The switches' words are stripped and in lower case; empty is not set."""

    do_not_track: str = ""
    app_switch: str = ""  # <APP>_TELEMETRY
    sdk_disabled: str = ""  # OTEL_SDK_DISABLED
    sink: bool = True  # whether a usable one is configured
    consent: bool | None = None  # the stored one; None while the user has not decided or the file cannot be read
    consent_id: str | None = None  # the moment it was given, which names it
    readable: bool = True  # whether it could be read; if not, it may be either
    doubt: str = ""  # why a stored yes is not believed; it may be one all the same
    base: bool = True  # False by the user's stored "nothing at all"
    notice_due: bool = False  # whether the first-run notice was asked for and not shown yet
    to_log: bool = False  # whether this is about what goes to standard error under <APP>_TELEMETRY=log
    every_program: str = ""  # TELEMETRY_SDK_DISABLED


def switch_prefix(app: str) -> str:
    """Return the prefix of the app's own variables: ``acme-notes`` -> ``ACME_NOTES``."""
    prefix = "".join(c if c.isalnum() else "_" for c in app).upper()
    return f"_{prefix}" if prefix[:1].isdigit() else prefix


def switch_names(prefix: str) -> tuple[str, str, str, str]:
    """Return the names of the variables that switch."""
    return ("DO_NOT_TRACK", f"{prefix}_TELEMETRY", "OTEL_SDK_DISABLED", "TELEMETRY_SDK_DISABLED")


def decide(inputs: Inputs, *, prefix: str = "APP") -> Decision:
    """Return the level that holds for *inputs*. Pure; see the rules at the top of this module."""
    variable = f"{prefix}_TELEMETRY"
    switch = inputs.app_switch
    is_known = inputs.readable and not inputs.doubt  # if not, it may be a yes all the same
    revoked = inputs.consent is not True and is_known
    if off := _switched_off(inputs, variable):
        return off
    if (switch == "log") != inputs.to_log:
        return Decision(Level.OFF, variable, f"{variable}=log shows records on standard error instead of sending them")
    if not (inputs.sink or inputs.to_log):
        return Decision(Level.OFF, "sink", "no usable sink is configured", destroys_others=revoked)
    if not inputs.base:
        return Decision(Level.OFF, "consent", "the user wants nothing at all to be sent", destroys_others=True)
    if inputs.notice_due and not inputs.consent and switch not in ("base", "full", "log"):
        return Decision(Level.OFF, "notice", "the first-run notice was not shown yet", destroys_others=revoked)
    if switch == "base":
        return Decision(Level.BASE, variable, f"{variable}=base", destroys_others=revoked)
    own = {inputs.consent_id or "consent"} if inputs.consent else set()
    if switch == "full":
        return Decision(Level.FULL, variable, f"{variable}=full", frozenset(own | {OPERATOR_GRANT}), is_known)
    if inputs.consent and inputs.readable:
        return Decision(Level.FULL, "consent", "the user agreed to detailed analytics", frozenset(own), True)
    return _without_yes(inputs)


def _without_yes(inputs: Inputs) -> Decision:
    if not inputs.readable:
        return Decision(Level.BASE, "consent", "the stored consent cannot be read, which counts as no for now")
    if inputs.doubt:
        return Decision(Level.BASE, "consent", f"the stored yes is not believed: {inputs.doubt}")
    said = "has not agreed to" if inputs.consent is None else "declined"
    return Decision(Level.BASE, "consent", f"the user {said} detailed analytics", destroys_others=True)


def _switched_off(inputs: Inputs, variable: str) -> Decision | None:
    words = {"DO_NOT_TRACK": inputs.do_not_track, "TELEMETRY_SDK_DISABLED": inputs.every_program}
    for name, word in words.items():
        if word not in _NOT_TRACKING:
            return Decision(Level.OFF, name, f"{name} is set")
    if inputs.app_switch in _OFF_WORDS:
        return Decision(Level.OFF, variable, f"{variable} turns telemetry off")
    if not is_known_switch(inputs.app_switch):
        return Decision(Level.OFF, variable, f"{variable} has an unknown value, which counts as off")
    if inputs.sdk_disabled == "true":
        return Decision(Level.OFF, "OTEL_SDK_DISABLED", "OTEL_SDK_DISABLED is true")
    return None


def is_switched_off(inputs: Inputs) -> bool:
    """Tell whether a switch, not the lack of a sink or of a notice, says OFF."""
    return _switched_off(inputs, "") is not None


def is_known_switch(value: str) -> bool:
    """Tell whether a (lower-case) value of ``<APP>_TELEMETRY`` is one of the documented words."""
    return value in _OFF_WORDS or value in _OTHER_WORDS
