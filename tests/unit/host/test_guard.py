"""Whatever an integrator passes is taken as a plain value or refused by name; a blocked event loop is warned of."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from telemetry_sdk import ConfigError, Limits, Notice, Telemetry
from telemetry_sdk.client import override
from telemetry_sdk.host.guard import (
    LoopWarning,
    ignoring,
    is_hosts,
    is_loop_running,
    number_of,
    pairs_of,
    path_of,
    text_of,
)

URL = "http://127.0.0.1:4318"


class Word(str):
    """Text of a class of its own that answers nothing."""

    def _bad(self, *_: object) -> Any:
        raise KeyError("bad")

    __eq__ = __str__ = __format__ = __len__ = __bool__ = strip = lower = encode = _bad
    __hash__ = str.__hash__


class Number(int):
    def _bad(self, *_: object) -> Any:
        raise KeyError("bad")

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __index__ = __int__ = __bool__ = _bad
    __hash__ = int.__hash__


class Classless:
    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError


class Attributeless:
    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class Truthless:
    def __bool__(self) -> bool:
        raise ZeroDivisionError

    __eq__ = __bool__  # type: ignore[assignment]
    __hash__ = object.__hash__


class Itemless(dict[str, str]):
    def items(self) -> Any:
        raise ZeroDivisionError

    __iter__ = keys = __len__ = items


class Unlike(Mapping[str, str]):
    def __getitem__(self, key: str) -> str:
        raise ZeroDivisionError

    def __iter__(self) -> Iterator[str]:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise ZeroDivisionError


class Pathless:
    def __fspath__(self) -> str:
        raise ZeroDivisionError


HOSTILE = [
    Word("\x00"), Number(-5), Classless(), Attributeless(), Truthless(), Itemless(a="b"), Unlike(), Pathless(), "\ud800",
    10**400, -(10**400), float("nan"), b"x", object, lambda: 1, [[]], {1: 2}, {"a": Word("\x00")}, {Word("\x00"): "a"},
    {"a": Classless()}, {Classless(): "a"},
]  # fmt: skip
ARGUMENTS = [
    "app", "version", "endpoint", "token", "headers", "release_channel", "deployment_type", "environment", "delivery",
    "state_dir", "on_consent_change", "strict", "timeout", "exit_timeout", "limits", "late", "catalog", "scrub",
    "hash_user_ids", "notice", "otel_env",
]  # fmt: skip


def construct(**options: Any) -> Telemetry:
    arguments = {"app": "acme-notes", "version": "1", "endpoint": URL} | options
    with override.supplied(environ={}):
        return Telemetry(arguments.pop("app"), **arguments)


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_hostile_argument_is_a_config_error(name: str, number: int) -> None:
    """A value that raises when it is looked at, compared, counted or read is refused, and the message names it."""
    value = HOSTILE[number]
    if name == "on_consent_change" and callable(value):
        return  # as it may be
    if name == "state_dir" and value is HOSTILE[8]:
        return  # some file systems have such names
    with pytest.raises(ConfigError) as caught:
        construct(**{name: value})

    assert caught.value.setting.partition(".")[0] in {name, "\ud800"}


@pytest.mark.parametrize("field", ["records", "bytes", "age_days", "late_minutes"])
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_limit_is_a_config_error(field: str, number: int) -> None:
    """So is one that is hidden in the limits."""
    value = HOSTILE[number]
    with pytest.raises(ConfigError) as caught:
        construct(limits=Limits(**{field: value}))

    assert caught.value.setting == f"limits.{field}"


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["url", "version"])
def test_a_hostile_notice_is_a_config_error(name: str, number: int) -> None:
    """And one that is hidden in the notice."""
    value = HOSTILE[number]
    with pytest.raises(ConfigError) as caught:
        Notice(**{"url": "https://example.org/privacy", name: value})

    assert caught.value.setting == f"notice.{name}"


def test_a_value_of_a_class_of_its_own_is_taken_as_what_it_is(make, sink, tmp_path) -> None:
    """Text and numbers of an odd class are used as plain ones: nothing of the class is asked, then or later."""
    telemetry = make(
        app=Word("acme-notes"),
        version=Word("2.4.0"),
        endpoint=Word(sink.url),
        token=Word("1:secret"),
        headers={Word("X-Tenant"): Word("mine")},
        release_channel=Word("beta"),
        deployment_type=Word("native"),
        environment=Word("production"),
        delivery=Word("sync"),
        late=Word("preserve"),
        state_dir=Word(tmp_path / "odd"),
        timeout=Number(30),
        exit_timeout=Number(1),
        limits=Limits(records=Number(10)),
    )
    telemetry.start()
    telemetry.opt_in()
    telemetry.track_event("timer.started")
    telemetry.close()

    assert sink.names[-1] == "timer.started"
    assert sink.requests[-1].headers["X-Tenant"] == "mine"
    assert (tmp_path / "odd" / "installation.json").exists()


def test_plain_values() -> None:
    """What each reader takes, and that it says None or nothing of all else."""
    assert (type(text_of(Word("a"))), text_of(7)) == (str, None)
    assert (type(number_of(Number(3))), number_of(2.5), number_of(True), number_of("3")) == (int, 2.5, None, None)
    assert (pairs_of({"a": 1}), pairs_of([("a", 1)]), pairs_of(Unlike())) == ([("a", 1)], None, None)
    assert (type(path_of(Word("/x"))), path_of(Pathless()), path_of(b"/x"), path_of(None)) == (str, "", "", "")


# -- event loops


def test_a_loop_runs_in_its_thread_only() -> None:
    """A running loop is seen in its own thread, from a coroutine and a callback, and not in an executor's thread."""

    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        loop.call_soon(lambda: called.set_result(is_loop_running()))
        return [is_loop_running(), await called, await loop.run_in_executor(None, is_loop_running)]

    assert not is_loop_running()
    assert asyncio.run(main()) == [True, True, False]
    assert not is_loop_running()


def test_a_program_without_asyncio_does_not_get_it() -> None:
    """Asking does not import asyncio."""
    program = """
import sys
from telemetry_sdk.host.guard import LoopWarning, is_loop_running
LoopWarning().check(5.0)
print(is_loop_running(), "asyncio" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]


def test_the_warning_comes_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first call within a loop warns and says what to do; no other does, and none outside a loop."""
    caplog.set_level(logging.DEBUG, "telemetry_sdk")
    warning = LoopWarning()
    warning.check(5.0)
    assert caplog.records == []

    async def main() -> None:
        for _ in range(3):
            warning.check(5.0)

    asyncio.run(main())
    asyncio.run(main())
    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()

    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "telemetry_sdk")
    assert 'up to 5 seconds: use delivery="background"' in record.getMessage()


class Limit(Exception):
    """A job's time limit, as a task queue defines it."""


def raised(error, *names):
    """*error* as it comes out of functions of modules of these *names*, the last one innermost."""

    def fail():
        raise error

    call = fail
    for name in reversed(names):
        scope = {"__name__": name, "call": call, "error": error}
        source = "def run():\n    raise error" if call is fail else "def run():\n    call()"
        exec(source, scope)
        call = scope["run"]
    try:
        call()
    except Exception as caught:
        return caught
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "names", "hosts"),
    [
        (Limit(), ["telemetry_sdk.outbox.spool"], True),  # from another thread, or a greenlet's timeout
        (Limit(), ["telemetry_sdk.outbox.spool", "threading"], True),
        (Limit(), ["telemetry_sdk.client.choices", "acme.settings"], False),  # the host's own callback
        (ValueError(), ["telemetry_sdk.outbox.spool"], False),  # our bug
        (TimeoutError(), ["telemetry_sdk.outbox.spool", "os"], False),
        (ValueError(), ["telemetry_sdk.client.choices", "acme.settings"], False),
    ],
)
def test_whose_error_it_is(error, names, hosts):
    """Not ours is what was raised in the middle of our code and is of a class that nothing we call has."""
    assert is_hosts(raised(error, *names)) is hosts


def test_the_error_of_a_signal_handler_is_the_hosts(monkeypatch):
    """Of whatever class, in whatever code of ours."""

    def ring(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with pytest.raises(TimeoutError) as caught, ignoring(OSError):
            signal.raise_signal(signal.SIGUSR1)
        assert is_hosts(caught.value)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with ignoring(OSError):
        raise TimeoutError
