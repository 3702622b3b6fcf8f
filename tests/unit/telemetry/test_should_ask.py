"""When to ask the user: once, and again only for more than was agreed to."""

from __future__ import annotations

import pytest

CATALOG = """
version = {version}
[events."timer.started"]
description = "A timer was started."
purpose = "usage"
[events."timer.stopped"]
description = "A timer was stopped."
purpose = "usage"
since = 2
"""


def test_a_decision_ends_the_asking(make):
    """Undecided is the one state to ask in; yes and no are not asked again, in later runs either."""
    assert make().should_ask()
    make().opt_out()
    assert not make().should_ask()
    make().opt_in()
    assert not make().should_ask()
    make().opt_out(everything=True)
    assert not make().should_ask()


@pytest.mark.parametrize(
    "environ",
    [
        {"DO_NOT_TRACK": "1"},
        {"TELEMETRY_SDK_DISABLED": "1"},
        {"OTEL_SDK_DISABLED": "true"},
        *({"ACME_NOTES_TELEMETRY": word} for word in ("off", "base", "full", "log", "nonsense")),
    ],
)
def test_nobody_is_asked_where_a_switch_decides(make, environ):
    """The answer would change nothing."""
    assert not make(environ=environ).should_ask()
    assert make(environ={"ACME_NOTES_TELEMETRY": "on"}).should_ask()


def test_nobody_is_asked_without_a_sink(make):
    """Nothing would be sent."""
    assert not make(endpoint=None, environ={}).should_ask()


def test_nobody_is_asked_where_a_yes_is_not_believed_or_cannot_be_read(make, state_dir):
    """The question would come back at each start."""
    make().opt_in()
    file = state_dir / "installation.json"
    file.chmod(0o666)
    assert not make().should_ask()
    file.unlink()
    file.mkdir()
    assert not make().should_ask()


def test_a_newer_catalogue_is_asked_for_once(make, tmp_path):
    """Who agreed to an older list is asked about what is new; whoever said no is not."""
    path = tmp_path / "telemetry.toml"
    path.write_text(CATALOG.format(version=2).replace("since = 2", "since = 2"))
    old = tmp_path / "old.toml"
    old.write_text(CATALOG.format(version=1).split('[events."timer.stopped"]')[0])
    make(catalog=old).opt_in()
    assert not make(catalog=old).should_ask()

    assert make(catalog=path).should_ask()
    make(catalog=path).opt_in()
    assert not make(catalog=path).should_ask()
    make(catalog=path).opt_out()
    assert not make(catalog=path).should_ask()
