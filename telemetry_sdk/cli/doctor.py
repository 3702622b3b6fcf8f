"""``doctor``: `status`, a look at the state, and one request without a record: is all well, and if not, what to do."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shutil
import stat
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from telemetry_sdk.cli.output import counted, local
from telemetry_sdk.client.override import engine_of
from telemetry_sdk.delivery import retry
from telemetry_sdk.delivery.retry import Verdict
from telemetry_sdk.delivery.worker import Permit, Worker
from telemetry_sdk.host.files import file_lock, replace_file
from telemetry_sdk.identity.installation import FILE_NAME
from telemetry_sdk.identity.schema import SCHEMA, known, parse
from telemetry_sdk.model import DAY_SECONDS, NANOSECONDS, Answer, Level, moment_of
from telemetry_sdk.outbox.database import NO_SQLITE, has_sqlite
from telemetry_sdk.sender import otlp
from telemetry_sdk.sender.endpoint import is_loopback
from telemetry_sdk.sender.http import HttpSender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from telemetry_sdk.client.engine import Engine
    from telemetry_sdk.identity.schema import Progress
    from telemetry_sdk.model import Decision, Status
    from telemetry_sdk.sender.endpoint import Settings, Sink
    from telemetry_sdk.telemetry import Telemetry

GOOD: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"
SKIPPED: Final = "skipped"
_COPIED_LATER: Final = 60.0
_ENOUGH: Final = 64 * 1024 * 1024
_WEEK_NS: Final = 7 * DAY_SECONDS * NANOSECONDS
# No record at all: Collectors accept it, Loki and fluent-bit refuse it as empty, after they let it in.
_EMPTY_REQUEST: Final = b'{"resourceLogs":[]}'
_ADVICE: Final = {
    301: "the sink is elsewhere, and a redirect is never followed: set the endpoint to the final address",
    401: "the token is missing or wrong: set this sink's own (Grafana Cloud: '<instance id, a number>:<token>')",
    403: "the token may not write logs here: give it that right (Grafana Cloud: logs:write), or use another one",
    404: "nothing receives logs at this path: check the endpoint (Grafana Cloud: it ends in /otlp)",
    405: "something else answers at this path: check the endpoint",
    410: "the sink's owner has stopped this version: update the program",
    400: "some sinks refuse an empty request so; see 'log' for what became of real ones",
    429: "the sink asks to be left alone for now: records wait and leave later",
    500: "the sink fails: it refuses records for good with such an answer, so ask its owner at once",
}
_CAUSES: Final = {
    "the proxy's kind is not known": "it needs another package: check HTTPS_PROXY and ALL_PROXY",
    "the proxy did not let it through": "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    "certificate not trusted": "an own CA goes in REQUESTS_CA_BUNDLE; check the clock too",
    "no TLS there": "check the endpoint's port and scheme",
    "host name not found": "check the endpoint, and that this machine is online",
    "no connection in time": "a firewall may be in the way",
    "no answer in time": "it takes the request and does not answer: ask the sink's owner",
    "connection refused": "nothing listens there: check the endpoint, and that the sink runs",
    "host not reachable": "check the endpoint, and that this machine is online",
    "timed out": "no answer in time: a firewall or a name server may be in the way",
}
_UNKNOWN_CAUSE: Final = "check the endpoint, and that the sink runs"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, how it is, what was found (never a token), and what to do if it is not ok."""

    name: str
    result: str
    found: str
    advice: str = ""


def examine(telemetry: Telemetry, *, ask: bool = True) -> list[Check]:
    """Look at everything telemetry needs on this machine and, if *ask*, at what the sink answers; nothing is made.

    While a switch says OFF nothing is opened and nobody is asked. Takes little more than its ``timeout``.
    """
    engine = engine_of(telemetry)
    session, decision = engine.session, engine.session.gate.right()
    sink_checks = list(setting_checks(engine.settings, f"{engine.prefix}_TELEMETRY_ENDPOINT"))
    if session.is_log or session.gate.is_switched_off():
        by = f"{engine.prefix}_TELEMETRY" if session.is_log else decision.decided_by
        why = "records are shown on standard error instead" if session.is_log else decision.reason
        advice = f"nothing is read, stored or sent; unset {by} if that is not what you want"
        return [Check("switches", WARNING, why, advice), *sink_checks]
    status = telemetry.status()
    checks = [_switches(decision), *_state(session.installation.directory, f"{engine.prefix}_TELEMETRY_DIR", status)]
    checks += _consent(session.installation.directory, status)
    checks += _events(session.progress.read(), engine.providers.now_ns())
    return [*checks, *sink_checks, *_request(engine, decision, ask=ask), *_delivery(status)]


def _switches(decision: Decision) -> Check:
    is_off = decision.level is Level.OFF
    if is_off and decision.decided_by == "consent":
        return Check("switches", GOOD, f"nothing leaves, because {decision.reason}")
    if is_off and decision.decided_by not in ("sink", "notice"):
        return Check("switches", WARNING, decision.reason, f"unset {decision.decided_by} to have records sent")
    level = "none is off; nothing is sent yet" if is_off else decision.level.name
    return Check("switches", GOOD, f"{level}, because {decision.reason}")


def _state(directory: Path | None, variable: str, status: Status) -> Iterator[Check]:
    """Look at the state. Where there is no directory yet, none is made; in one that is there, a trial is made."""
    elsewhere = f"set {variable} to a directory that can be written and stays"
    if directory is None:
        yield Check("directory", PROBLEM, "there is no home directory to keep state in", elsewhere)
        return
    # Looked at piece by piece: a file in the way of a directory is not the same as nothing.
    place = next((it for it in (directory, *directory.parents) if os.path.lexists(it)), directory)
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        why = "cannot be written by this user" if os.path.isdir(place) else "is in the way: it is not a directory"
        yield Check("directory", PROBLEM, f"{place} {why}", elsewhere)
        return
    yield Check("directory", GOOD, f"{directory}" if place == directory else f"{directory} can be made when needed")
    if place == directory:
        yield from (_permissions(directory), _storage(directory, elsewhere), _installation(directory))
        if status.level is not Level.OFF:
            yield _outbox(status)
        names = sorted(it.name for it in directory.glob("*.corrupt-*") if not it.name.endswith(("-wal", "-shm")))
        if names:
            advice = "delete it once nobody needs it ('forget' deletes it too)"
            yield Check("damaged files", WARNING, f"set aside: {', '.join(names)}", advice)


def _permissions(directory: Path) -> Check:
    if not hasattr(os, "geteuid"):
        return Check("permissions", SKIPPED, "not known on this system")
    try:
        found = {entry: entry.lstat() for entry in (directory, *directory.iterdir())}
    except OSError as error:
        return Check("permissions", PROBLEM, f"cannot be looked at ({error.strerror})", "make the directory your own")
    strangers = sorted(entry.name for entry, it in found.items() if os.geteuid() not in (0, it.st_uid))
    wide = [entry for entry, it in found.items() if not stat.S_ISLNK(it.st_mode) and stat.S_IMODE(it.st_mode) & 0o077]
    if strangers:
        advice = "give it to the user who runs the program (chown), or delete it"
        return Check("permissions", PROBLEM, f"belongs to another user: {', '.join(strangers)}", advice)
    if wide:
        names, advice = ", ".join(sorted(entry.name for entry in wide)), f"run: chmod -R go= '{directory}'"
        return Check("permissions", WARNING, f"others on this machine may get at: {names}", advice)
    return Check("permissions", GOOD, "for this user alone")


def _storage(directory: Path, elsewhere: str) -> Check:
    """Write and lock a file in a directory of its own, which is removed."""
    for leftover in directory.glob("doctor-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = directory / f"doctor-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700)
        replace_file(folder / "written", b"x")
        with file_lock(folder / "lock", 1.0):
            free = shutil.disk_usage(folder).free if hasattr(shutil, "disk_usage") else _ENOUGH
    except OSError as error:
        advice = f"free some space if the disk is full; where files cannot be locked, {elsewhere}"
        return Check("storage", PROBLEM, f"a file cannot be kept there ({error.strerror or error})", advice)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if free < _ENOUGH:
        advice = "free some space: what cannot be stored is not sent later"
        return Check("storage", WARNING, f"works, and {free // (1024 * 1024)} MiB are free", advice)
    return Check("storage", GOOD, "files can be written and locked")


def _installation(directory: Path) -> Check:
    """Look at the file itself: what the SDK reads of a bad one is a no, which does not say why."""
    decide = "decide again with 'on' or 'off': until then it counts as a no"
    try:
        raw = parse((directory / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return Check(FILE_NAME, GOOD, "not made yet")
    except OSError as error:
        return Check(FILE_NAME, PROBLEM, f"cannot be read ({error.strerror})", "make it readable for this user")
    except (ValueError, RecursionError):
        return Check(FILE_NAME, PROBLEM, "is not valid JSON", decide)
    schema = raw.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        return Check(FILE_NAME, WARNING, "was written by a newer version and is not changed", "update this program")
    state = known(raw)
    strange = sorted(key for key in raw if raw[key] is not None and getattr(state, key, raw[key]) is None)
    if strange:
        advice = decide if "telemetry_enabled" in strange else "correct it, or remove it: it counts as missing"
        return Check(FILE_NAME, WARNING, f"holds what cannot be: {', '.join(strange)}", advice)
    return Check(FILE_NAME, GOOD, "can be read")


def _outbox(status: Status) -> Check:
    ledger = status.ledger
    if not has_sqlite():
        return Check("outbox", PROBLEM, NO_SQLITE, "install the system's sqlite3 for Python, or another Python")
    if ledger is None and status.waiting:
        return Check("outbox", PROBLEM, status.waiting, "close the program that holds it, or try again")
    if ledger is None:
        return Check("outbox", GOOD, "not made yet")
    if not status.durable:
        advice = "update this program, if it is older than the state; until this is mended, records wait in memory only"
        return Check("outbox", PROBLEM, status.state_problem, advice)
    pending = ledger["pending"]
    return Check("outbox", GOOD, f"{counted(pending, 'record')} {'waits' if pending == 1 else 'wait'}")


def _consent(directory: Path | None, status: Status) -> Iterator[Check]:
    """Tell when and where the decision at hand was given, which in a copy of a machine was somebody else's."""
    if status.consent is None or directory is None:
        return
    file = directory / FILE_NAME
    said = "yes" if status.consent else "no"
    found = f"{said}, given {local(status.consent_decided_at) or 'at an unknown time'}, in {file}"
    try:
        at = os.stat(file)
    except OSError:
        return
    if at.st_ctime - at.st_mtime > _COPIED_LATER:
        put = datetime.fromtimestamp(at.st_ctime, UTC).astimezone().isoformat(" ", "seconds")
        advice = "if this is a copy of another machine, or of an image, begin anew with 'reset' or delete the directory"
        yield Check("consent", WARNING, f"{found}, which was put there later, {put}", advice)
    else:
        yield Check("consent", GOOD, found)


def _events(done: Progress, now_ns: int) -> Iterator[Check]:
    """Tell of an event that the program made and that did not fit the rules, for a week."""
    if done.refused_for and now_ns - moment_of(done.refused_at) < _WEEK_NS:
        found = f"one was refused on {local(done.refused_at)}: {done.refused_for}"
        yield Check("events", WARNING, found, "a mistake of the program: its log has each reason, at WARNING")


def setting_checks(settings: Settings, variable: str) -> Iterator[Check]:
    """Look at the sink's settings; asks nobody. *variable* may name the endpoint."""
    sink = settings.sink
    if sink is None and settings.elsewhere is not None:
        last = f"the last one was {settings.elsewhere}" if settings.elsewhere else "if it has one"
        yield Check("sink", SKIPPED, f"the program names it, {last}", "--endpoint URL has that one looked at")
    elif sink is None and settings.problem:
        yield Check("sink", PROBLEM, settings.problem, "correct that setting; until then nothing is sent")
    elif sink is None:
        yield Check("sink", WARNING, "none is configured, so nothing is collected", f"to change that, set {variable}")
    else:
        url = urlsplit(sink.url)
        is_http = url.scheme in ("http", "https")
        found = f"{url.scheme}://{url.netloc}{url.path}" if is_http else "a file" if sink.is_file else sink.host
        is_open = url.scheme == "http" and not is_loopback(url.hostname)
        advice = "records can be read on the way: use an https:// endpoint" if is_open else ""
        yield Check("sink", WARNING if is_open else GOOD, found, advice)
        yield from (Check("settings", WARNING, note, "remove it, or use it") for note in settings.notes)


def _request(engine: Engine, decision: Decision, *, ask: bool) -> list[Check]:
    """Send one request without a record, if that may be; tell what the answer means, and what the time is there."""
    sink = engine.settings.sink
    if sink is None or not sink.url.startswith("http"):
        return []
    own = "this program has a sender of its own" if engine.providers.sender is not None else ""
    why = decision.hold or (decision.reason if decision.level is Level.OFF else own)
    if why or not ask:
        return [Check("request", SKIPPED, f"not made: {why}" if ask else "not made, as you asked")]
    sender, checks = HttpSender(sink), []
    if proxy := _proxy(sender):
        via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        checks = [Check("proxy", GOOD, f"{via.hostname}{f':{via.port}' if via.port else ''}")]
    answer = _answer(sender, engine.session.gate.right, engine.config.timeout)
    return [*checks, _judged(answer, sink), _clock(answer, engine.providers.now_ns())]


def _proxy(sender: HttpSender) -> str:
    try:
        return sender.proxy()
    except ImportError:  # what is missing is said of the request
        return ""


def _answer(sender: HttpSender, right: Callable[[], Decision], wait_s: float) -> Answer:
    """Ask by the road of all requests: bounded, name lookup included, and with the last look at the right to send."""
    permit = Permit(right, frozenset())
    worker = Worker()
    with contextlib.closing(sender):
        answer = worker.run(lambda: sender.send(_EMPTY_REQUEST, permit, wait_s), wait_s)
        if answer is None:
            permit.cancelled = True
            sender.abandon()
        worker.stop()
    return answer or Answer(None, error="timed out")


def _judged(answer: Answer, sink: Sink) -> Check:
    status, acknowledged = answer.status, otlp.read_success(answer)[0]
    if status is None:
        return Check("request", PROBLEM, answer.error, _CAUSES.get(answer.error, _UNKNOWN_CAUSE))
    judged = retry.judge(answer, records=1, acknowledged=acknowledged)
    said = _masked(retry.explain(judged, answer, ""), sink)
    if status == 422:
        return Check("request", GOOD, f"HTTP {status}: let in; only an empty request is refused, as Loki does")
    if judged.verdict is Verdict.DELIVERED:
        return Check("request", GOOD, f"HTTP {status}: the sink takes requests from here")
    advice = _ADVICE.get(301 if 300 <= status < 400 else status, "ask the sink's owner")
    if 200 <= status < 300 and status != 260:
        said = judged.reason
        advice = "a page answers instead of the sink: sign in to this network (captive portal), or check the endpoint"
    elif status >= 500:
        waits = judged.verdict is Verdict.RETRY
        advice = "the sink is not well: records wait and leave later" if waits else _ADVICE[500]
    return Check("request", WARNING if status in (400, 429) else PROBLEM, said, advice)


def _masked(text: str, sink: Sink) -> str:
    """Return *text* without the sink's secrets: some servers say in their answer what they were sent."""
    for _, value in sink.headers:
        secrets = [value.rpartition(" ")[2]]
        with contextlib.suppress(binascii.Error, ValueError):
            secrets += base64.b64decode(secrets[0], validate=True).decode().split(":")[1:]
        for secret in secrets:
            text = text.replace(secret, "***") if len(secret) >= 6 else text
    return text


def _clock(answer: Answer, now_ns: int) -> Check:
    moment = retry.http_date(answer.date or "")
    if moment is None:
        return Check("clock", SKIPPED, "the sink does not tell the time")
    skew = now_ns / NANOSECONDS - moment
    if abs(skew) <= 60:
        return Check("clock", GOOD, "agrees with the sink's")
    found = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the sink's"
    return Check("clock", WARNING, found, "set this machine's clock: days and times of records are wrong with it")


def _delivery(status: Status) -> Iterator[Check]:
    if status.waiting and status.ledger and status.decided_by not in ("sink", "notice"):
        until = f"; the next attempt is due at {local(status.next_attempt_at)}" if status.next_attempt_at else ""
        advice = "nothing, if the request above is ok: records wait and leave by themselves"
        yield Check("delivery", WARNING, f"{status.waiting}{until}", advice)


def checks_value(checks: Sequence[Check]) -> dict[str, Any]:
    """Return *checks* for JSON."""
    healthy = all(check.result is not PROBLEM for check in checks)
    return {"healthy": healthy, "checks": [asdict(check) for check in checks]}


def check_lines(checks: Sequence[Check]) -> Iterator[str]:
    """Return *checks* in plain words, each with what to do, and the sum of them."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"{check.result:8} {check.name:{width}}  {check.found}"
        if check.advice:
            yield f"{'':8} {'':{width}}  -> {check.advice}"
    yield ""
    count = Counter(check.result for check in checks)
    if count[PROBLEM] or count[WARNING]:
        yield f"{counted(count[PROBLEM], 'problem')}, {counted(count[WARNING], 'warning')}."
    else:
        yield "All is well."
