"""Who decides how much may leave: the precedence table over every combination of its inputs."""

from __future__ import annotations

import itertools

import pytest

from telemetry_sdk.consent.gate import Gate
from telemetry_sdk.consent.policy import Inputs, decide, is_known_switch, switch_prefix
from telemetry_sdk.identity.installation import Installation
from telemetry_sdk.model import OPERATOR_GRANT, Decision, Level

DECIDED_AT = "2026-05-28T20:26:40.000001Z"
SWITCH = "ACME_TELEMETRY"

DO_NOT_TRACK = {
    "track": ["", "0", "false", "no", "off"],
    "do not": ["1", "true", "yes", "on", "please", "2", "disabled"],
}
APP_SWITCH = {
    "off": ["off", "0", "false", "no", "disabled"],
    "unknown": ["nope", "ful", "full!", "base,full", "-1", "none"],
    "neutral": ["", "1", "true", "yes", "on", "enabled"],
    "base": ["base"],
    "full": ["full"],
    "log": ["log"],
}
SDK_DISABLED = {"enabled": ["", "false", "0", "1", "yes", "no"], "disabled": ["true"]}
SINK = {"sink": [True], "no sink": [False]}
CONSENT = {
    "yes": [True],
    "no": [False],
    "undecided": [None],
    "unreadable": ["unreadable", "doubtful"],
    "nothing": ["nothing"],
}
NOTICE = {"no notice": [False], "notice due": [True]}
ROAD = {"to sink": [False], "to log": [True]}

# The rules of the design, first one that fits: ANY matches everything. The last two columns are the consents whose
# analytics records may leave, and whether those of any other consent are destroyed rather than kept back.
ANY = None
OWN, OPERATOR, BOTH, NONE = {DECIDED_AT}, {OPERATOR_GRANT}, {DECIDED_AT, OPERATOR_GRANT}, set()
TABLE = [
    # DO_NOT_TRACK  switch      OTEL        sink       consent      notice        road       level       decided by           grants    destroys
    ("do not",      ANY,        ANY,        ANY,       ANY,         ANY,          ANY,       Level.OFF,  "DO_NOT_TRACK",      NONE,     False),
    ("track",       "off",      ANY,        ANY,       ANY,         ANY,          ANY,       Level.OFF,  SWITCH,              NONE,     False),
    ("track",       "unknown",  ANY,        ANY,       ANY,         ANY,          ANY,       Level.OFF,  SWITCH,              NONE,     False),
    ("track",       ANY,        "disabled", ANY,       ANY,         ANY,          ANY,       Level.OFF,  "OTEL_SDK_DISABLED", NONE,     False),
    ("track",       "log",      "enabled",  ANY,       ANY,         ANY,          "to sink", Level.OFF,  SWITCH,              NONE,     False),
    ("track",       "log",      "enabled",  ANY,       "nothing",   ANY,          "to log",  Level.OFF,  "consent",           NONE,     True),
    ("track",       "log",      "enabled",  ANY,       "yes",       ANY,          "to log",  Level.FULL, "consent",           OWN,      True),
    ("track",       "log",      "enabled",  ANY,       "no",        ANY,          "to log",  Level.BASE, "consent",           NONE,     True),
    ("track",       "log",      "enabled",  ANY,       "undecided", ANY,          "to log",  Level.BASE, "consent",           NONE,     True),
    ("track",       "log",      "enabled",  ANY,       "unreadable", ANY,         "to log",  Level.BASE, "consent",           NONE,     False),
    ("track",       ANY,        "enabled",  ANY,       ANY,         ANY,          "to log",  Level.OFF,  SWITCH,              NONE,     False),
    ("track",       ANY,        "enabled",  "no sink", "yes",       ANY,          "to sink", Level.OFF,  "sink",              NONE,     False),
    ("track",       ANY,        "enabled",  "no sink", "no",        ANY,          "to sink", Level.OFF,  "sink",              NONE,     True),
    ("track",       ANY,        "enabled",  "no sink", "undecided", ANY,          "to sink", Level.OFF,  "sink",              NONE,     True),
    ("track",       ANY,        "enabled",  "no sink", "unreadable", ANY,         "to sink", Level.OFF,  "sink",              NONE,     False),
    ("track",       ANY,        "enabled",  "no sink", "nothing",   ANY,          "to sink", Level.OFF,  "sink",              NONE,     True),
    ("track",       ANY,        "enabled",  "sink",    "nothing",   ANY,          "to sink", Level.OFF,  "consent",           NONE,     True),
    ("track",       "base",     "enabled",  "sink",    "unreadable", ANY,         "to sink", Level.BASE, SWITCH,              NONE,     False),
    ("track",       "full",     "enabled",  "sink",    "unreadable", ANY,         "to sink", Level.FULL, SWITCH,              OPERATOR, False),
    ("track",       "neutral",  "enabled",  "sink",    "unreadable", "no notice", "to sink", Level.BASE, "consent",           NONE,     False),
    ("track",       "neutral",  "enabled",  "sink",    "unreadable", "notice due", "to sink", Level.OFF, "notice",            NONE,     False),
    ("track",       "base",     "enabled",  "sink",    "yes",       ANY,          "to sink", Level.BASE, SWITCH,              NONE,     False),
    ("track",       "base",     "enabled",  "sink",    "no",        ANY,          "to sink", Level.BASE, SWITCH,              NONE,     True),
    ("track",       "base",     "enabled",  "sink",    "undecided", ANY,          "to sink", Level.BASE, SWITCH,              NONE,     True),
    ("track",       "full",     "enabled",  "sink",    "yes",       ANY,          "to sink", Level.FULL, SWITCH,              BOTH,     True),
    ("track",       "full",     "enabled",  "sink",    "no",        ANY,          "to sink", Level.FULL, SWITCH,              OPERATOR, True),
    ("track",       "full",     "enabled",  "sink",    "undecided", ANY,          "to sink", Level.FULL, SWITCH,              OPERATOR, True),
    ("track",       "neutral",  "enabled",  "sink",    "yes",       ANY,          "to sink", Level.FULL, "consent",           OWN,      True),
    ("track",       "neutral",  "enabled",  "sink",    "no",        "notice due", "to sink", Level.OFF,  "notice",            NONE,     True),
    ("track",       "neutral",  "enabled",  "sink",    "undecided", "notice due", "to sink", Level.OFF,  "notice",            NONE,     True),
    ("track",       "neutral",  "enabled",  "sink",    "no",        "no notice",  "to sink", Level.BASE, "consent",           NONE,     True),
    ("track",       "neutral",  "enabled",  "sink",    "undecided", "no notice",  "to sink", Level.BASE, "consent",           NONE,     True),
]  # fmt: skip
ALL = (DO_NOT_TRACK, APP_SWITCH, SDK_DISABLED, SINK, CONSENT, NOTICE, ROAD)
KINDS = list(itertools.product(*ALL))


def made(
    do_not_track: str, switch: str, disabled: str, sink: bool, consent: bool | str | None, notice: bool, to_log: bool
) -> Inputs:
    decision = consent if isinstance(consent, bool) else None
    return Inputs(
        do_not_track,
        switch,
        disabled,
        sink,
        decision,
        DECIDED_AT if decision else None,
        readable=consent != "unreadable",
        doubt="others may write to installation.json" if consent == "doubtful" else "",
        base=consent != "nothing",
        notice_due=notice,
        to_log=to_log,
    )


def rule(kinds: tuple[str, ...]) -> int:
    """Return the number of the first row that fits."""
    fits = (all(cell in (ANY, kind) for cell, kind in zip(row[:7], kinds, strict=True)) for row in TABLE)
    return list(fits).index(True)


@pytest.mark.parametrize("kinds", KINDS, ids=["-".join(kinds) for kinds in KINDS])
def test_the_first_rule_that_speaks_wins(kinds: tuple[str, ...]) -> None:
    """Every combination of inputs is decided as the table of the design says."""
    words = zip(ALL, kinds, strict=True)
    for found in itertools.product(*(values[kind] for values, kind in words)):
        inputs = made(*found)

        decision = decide(inputs, prefix="ACME")

        decided = (decision.level, decision.decided_by, set(decision.grants), decision.destroys_others)
        assert TABLE[rule(kinds)][7:] == decided, inputs


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in DO_NOT_TRACK.items() for word in words])
def test_one_switch_for_every_program(kind: str, word: str) -> None:
    """``TELEMETRY_SDK_DISABLED`` is read like ``DO_NOT_TRACK``, and no consent or word raises what it lowers."""
    for switch, consent in itertools.product(("", "full"), (True, None)):
        decision = decide(Inputs(app_switch=switch, consent=consent, every_program=word))

        assert (decision.decided_by == "TELEMETRY_SDK_DISABLED") is (kind == "do not")
        assert (decision.level is Level.OFF) is (kind == "do not")
        assert not decision.grants or kind == "track"


def test_the_table_has_no_dead_row() -> None:
    """Each row of the table decides some combination, so none of them is there in vain."""
    assert set(range(len(TABLE))) == {rule(kinds) for kinds in KINDS}


def test_only_a_yes_or_the_word_full_opens_the_second_layer() -> None:
    """Without the user's consent, no word but ``full`` makes analytics leave."""
    words = [word for kind, listed in APP_SWITCH.items() if kind != "full" for word in listed]

    levels = {decide(Inputs(app_switch=word, consent=consent)).level for word in words for consent in (None, False)}

    assert levels == {Level.OFF, Level.BASE}


def test_consent_without_a_date_still_has_a_grant() -> None:
    """A file edited by hand may hold a yes without its date; its records belong to a consent all the same."""
    decision = decide(Inputs(consent=True))

    assert decision.level is Level.FULL
    assert decision.grants == {decision.grant}
    assert decision.grant


@pytest.mark.parametrize(
    ("grants", "grant"),
    [
        (set(), None),
        ({OPERATOR_GRANT}, OPERATOR_GRANT),
        ({DECIDED_AT}, DECIDED_AT),
        ({OPERATOR_GRANT, DECIDED_AT}, DECIDED_AT),
    ],
    ids=["none", "operator", "user", "both"],
)
def test_a_record_belongs_to_the_users_own_consent_first(grants: set[str], grant: str | None) -> None:
    """A record made under both consents survives the end of the operator's."""
    assert grant == Decision(Level.FULL, "consent", "", frozenset(grants)).grant


def test_every_decision_says_why() -> None:
    """The reason names the input that decided, and is never empty."""
    for kinds in KINDS:
        words = zip(ALL, kinds, strict=True)
        decision = decide(made(*(values[kind][0] for values, kind in words)), prefix="ACME")

        assert decision.reason
        assert decision.decided_by in {"sink", "notice", "consent"} or decision.decided_by in decision.reason


@pytest.mark.parametrize(
    ("app", "prefix"),
    [
        ("acme-notes", "ACME_NOTES"),
        ("acme.notes", "ACME_NOTES"),
        ("AcmeNotes2", "ACMENOTES2"),
        ("a_b-c.d", "A_B_C_D"),
        ("7zip", "_7ZIP"),  # no shell can set a variable that begins with a digit
    ],
)
def test_switch_prefix(app: str, prefix: str) -> None:
    """The prefix of an app's variables can be set in any shell."""
    assert prefix == switch_prefix(app)
    assert prefix.isidentifier()


def read_switches(environ: dict[str, str]) -> tuple[str, str, str]:
    inputs = Gate(environ, "ACME", lambda: Installation(None), has_sink=True).inputs()
    return inputs.do_not_track, inputs.app_switch, inputs.sdk_disabled


def test_switches_are_read_stripped_and_in_lower_case() -> None:
    """Blanks and case around a switch's word change nothing."""
    environ = {"DO_NOT_TRACK": " 1 ", "ACME_TELEMETRY": " Off\n", "OTEL_SDK_DISABLED": "TRUE"}

    assert read_switches(environ) == ("1", "off", "true")
    assert read_switches({}) == ("", "", "")


def test_another_apps_switch_is_not_read() -> None:
    """One app's variable says nothing about another app."""
    assert read_switches({"OTHER_TELEMETRY": "full", "ACME_TELEMETRY_DIR": "/tmp"}) == ("", "", "")


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in APP_SWITCH.items() for word in words])
def test_known_words(kind: str, word: str) -> None:
    """A word is known exactly when the documentation lists it; the others count as off, with a warning."""
    assert is_known_switch(word) is (kind != "unknown")
