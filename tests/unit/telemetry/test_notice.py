"""The first-run notice: shown on a terminal only, before anything leaves, once for each version."""

from __future__ import annotations

import os
import pty
import sys

import pytest
from process_tools import PRELUDE, Program

from telemetry_sdk import ConfigError, Level, Notice, Telemetry

NOTICE = "from telemetry_sdk import Notice\nnotice = Notice('https://acme.example/privacy', version={version!r})\n"
SOURCE = """
with make(notice=notice) as telemetry:
    status = telemetry.status()
    say(status.level.name, status.decided_by, status.install_id is not None)
    say(bool(telemetry.send_base_heartbeat()), bool(telemetry.track_event("timer.started")))
"""


def on_terminal(source, tmp_path, sink, **environ):
    """Run a program whose standard error is a terminal; return its standard output and what the terminal showed."""
    import json
    import subprocess

    settings = {"endpoint": sink.url, "state_dir": str(tmp_path / "state"), "delivery": "sync"}
    kept = {name: os.environ[name] for name in os.environ if name in ("PATH", "PYTHONPATH") or name.startswith("COV")}
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + source, json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=slave,
            env={**kept, "HOME": str(tmp_path), **environ},
        )
        os.close(slave)
        shown = b""
        while True:
            try:
                data = screen.read(4096)
            except OSError:  # the terminal's other end is closed
                break
            if not data:
                break
            shown += data
        out = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, shown
    return out.split(), shown.decode().replace("\r\n", "\n")


def program(version="1"):
    return NOTICE.format(version=version) + SOURCE


def test_it_is_shown_once_before_anything_leaves(tmp_path, sink):
    """The run that shows it sends nothing; the next sends what was recorded in the first, and shows nothing."""
    out, shown = on_terminal(program(), tmp_path, sink)

    assert shown.count("\n") <= 5
    for word in ("acme-notes", sink.url.removeprefix("http://"), "ACME_NOTES_TELEMETRY=off", "DO_NOT_TRACK"):
        assert word in shown
    assert "https://acme.example/privacy" in shown
    assert sink.requests == []
    assert out[0] == "BASE"

    out, shown = on_terminal(program(), tmp_path, sink)

    assert shown == ""
    assert sink.names.count("base_telemetry.first_seen") == 1
    assert sink.names.count("base_telemetry.heartbeat") == 1


def test_it_names_all_that_is_collected_who_collects_it_and_how_to_stop_it(tmp_path, sink):
    """Every field of the schema, the vendor, his purpose and address, and the command that turns all of it off."""
    from telemetry_sdk.base_payload.fields import FIELDS

    about = "vendor='Acme GmbH', purpose='to fix what breaks', privacy_url='https://acme.example/p'"
    source = f"""
from telemetry_sdk import Notice
telemetry = make(notice=Notice(), {about}, command='acme-notes telemetry')
telemetry.start()
telemetry.close()
"""
    _, shown = on_terminal(source, tmp_path, sink)

    first, why, *_, last = shown.splitlines()
    listed = first[first.index(": ") + 2 :].rstrip(".").split(", ")
    assert listed == [field.name.replace("_", " ") for field in FIELDS]
    assert first.startswith("acme-notes (Acme GmbH) counts installs. It sends to 127.0.0.1:")
    assert why == "For: to fix what breaks"
    assert last == (
        "To turn it off: acme-notes telemetry off --all, or ACME_NOTES_TELEMETRY=off, or DO_NOT_TRACK=1. "
        "More: https://acme.example/p"
    )
    assert len(shown.splitlines()) == 5


def test_a_notice_needs_an_address():
    """Its own, or the program's."""
    with pytest.raises(ConfigError, match=r"notice\.url"):
        Telemetry("acme-notes", version="1", notice=Notice())


def test_a_new_version_is_shown_again(tmp_path, sink):
    """After the notice changed nothing leaves before it was shown."""
    on_terminal(program("1"), tmp_path, sink)
    _, shown = on_terminal(program("2"), tmp_path, sink)
    assert "acme-notes" in shown
    assert sink.requests == []

    _, shown = on_terminal(program("2"), tmp_path, sink)
    assert shown == ""
    assert sink.requests != []


def test_without_a_terminal_it_is_neither_shown_nor_marked(tmp_path, sink, state_dir):
    """A program whose standard error is a file or a pipe shows nothing, records nothing and makes no id."""
    for _ in range(2):
        child = Program(program(), tmp_path, endpoint=sink.url, state_dir=state_dir)
        out = child.finish().split()

        assert out == ["OFF", "notice", "False", "False", "False"]
        assert sink.requests == []
        assert not (state_dir / "installation.json").exists()
    _, shown = on_terminal(program(), tmp_path, sink)
    assert "acme-notes" in shown


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"DO_NOT_TRACK": "1"}, {"ACME_NOTES_TELEMETRY": "off"}])
def test_nobody_is_told_who_does_not_need_to_be(tmp_path, sink, environ):
    """In CI nobody reads it, and under an off-switch there is nothing to tell."""
    _, shown = on_terminal(program(), tmp_path, sink, **environ)

    assert shown == ""
    assert sink.requests == []
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("switch", ["base", "full"])
def test_an_operator_who_decided_needs_no_notice(tmp_path, sink, switch):
    """``base`` and ``full``, set by whoever runs the program, are decisions: it is not shown and records leave."""
    _, shown = on_terminal(program(), tmp_path, sink, ACME_NOTES_TELEMETRY=switch)

    assert shown == ""
    assert "base_telemetry.first_seen" in sink.names


def test_a_user_who_agreed_needs_no_notice(make, sink):
    """An opt-in says that the user knows; from then on everything leaves."""
    telemetry = make(notice=Notice("https://acme.example/privacy"))
    telemetry.start()
    assert telemetry.status().decided_by == "notice"
    assert telemetry.status().inputs["notice"] == "not shown yet"
    assert sink.requests == []

    telemetry.opt_in()

    assert telemetry.status().level is Level.FULL
    assert sink.names == ["analytics.install"]


def test_a_user_who_declined_is_told_all_the_same(make, sink):
    """A no to the events says nothing about the base layer."""
    telemetry = make(notice=Notice("https://acme.example/privacy"))
    telemetry.opt_out()
    telemetry.start()

    assert telemetry.status().decided_by == "notice"
    assert sink.requests == []


@pytest.mark.parametrize("url", ["acme.example", "ftp://acme.example", "https://a b", "https://a\nb", 3, None])
def test_a_url_that_is_none_is_refused(url):
    """What cannot be a privacy policy's address is an integrator's mistake."""
    with pytest.raises(ConfigError, match=r"notice\.url"):
        Notice(url)


@pytest.mark.parametrize("version", ["", "a b", "x" * 65, 2, None])
def test_a_version_that_is_none_is_refused(version):
    """A version is one word."""
    with pytest.raises(ConfigError, match=r"notice\.version"):
        Notice("https://acme.example/privacy", version=version)


def test_something_else_is_refused(make):
    """Only a Notice is a notice."""
    with pytest.raises(ConfigError, match="notice"):
        make(notice="https://acme.example/privacy")
