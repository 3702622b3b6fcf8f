"""What commands show: exit codes, text that cannot drive a terminal; status, preview and sent log in plain words.

The one module of the commands that prints.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.base_payload.fields import FIELDS
from telemetry_sdk.client.diagnostics import NO_ID
from telemetry_sdk.host import terminal
from telemetry_sdk.model import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from telemetry_sdk.identity.schema import Progress, State
    from telemetry_sdk.model import Preview, SentRequest, Status

OK: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
_SHOWN_CHARACTERS: Final = 200
_LONGEST_COMPLAINT: Final = 2000
_LONGEST_LINE: Final = 64 * 1024
_LEVELS: Final = {
    Level.OFF: "nothing is sent",
    Level.BASE: "base telemetry only: installs, versions and platforms; no detailed analytics",
    Level.FULL: "base telemetry and detailed analytics",
}
_CONSENTS: Final = {True: "yes", False: "no", None: "not decided"}
_MEANINGS: Final = {field.name: field.meaning for field in FIELDS} | {
    "identity": "who it is about: the install, or the user the program names",
    "log.record.uid": "id of this record, so that it counts once",
    "occurred_at": "when it happened",
}
_MOST_NAMES: Final = 5


def safe(text: str, limit: int = _SHOWN_CHARACTERS) -> str:
    """Return *text* cut to *limit* characters, with everything that is not plainly visible escaped."""
    cut = text if len(text) <= limit else f"{text[:limit]}..."
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return visible.encode(encoding, "backslashreplace").decode(encoding)


def without_home(text: str, environ: Mapping[str, str]) -> str:
    """Return *text* with ``~`` for the user's home directory, whose name is often the user's."""
    home = (environ.get("HOME") or environ.get("USERPROFILE") or "").rstrip("/\\")
    return text.replace(home, "~") if len(home) > 1 else text


def local(moment: str | None) -> str:
    """Return *moment*, RFC 3339 UTC, to the second and by this machine's clock; as it is where it is none."""
    try:
        return datetime.fromisoformat(moment or "").astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return moment or ""


def counted(number: int, what: str) -> str:
    """Return *number* and *what*, in the plural if it is not one."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def complain(text: str) -> None:
    """Say on standard error what went wrong."""
    terminal.write(f"{safe(text, _LONGEST_COMPLAINT)}\n")


def fail(problem: str) -> int:
    """Say on standard error what could not be done, and return the exit code for that."""
    complain(f"error: {problem}")
    return FAILED


class Output:
    """Standard output, for as long as somebody reads it."""

    def __init__(self) -> None:
        self._lost = False

    def line(self, text: str = "") -> None:
        """Print one line at once. When the reader is gone, this and all later lines are dropped in silence."""
        if self._lost:
            return
        try:
            print(text, flush=True)
        except OSError:
            self._lost = True
            # Python flushes what is left at exit, and would complain again.
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


def tell(lines: Iterable[str]) -> None:
    """Print *lines*."""
    output = Output()
    for line in lines:
        output.line(safe(line, _LONGEST_LINE))


def tell_json(value: object) -> None:
    """Print *value* as JSON in plain ASCII, which cannot drive a terminal whatever it holds."""
    Output().line(json.dumps(value, indent=2))


def _body_text(body: bytes) -> str:
    """Return a request's body as text, from which ``text.encode("utf-8", "surrogateescape")`` makes the same bytes."""
    return body.decode("utf-8", "surrogateescape")


def variable_of(status: Status) -> str:
    """Return the name of the program's own switch."""
    own = (name for name in status.inputs if name.endswith("_TELEMETRY"))
    return next(own, "<APP>_TELEMETRY")


def status_value(status: Status) -> dict[str, Any]:
    """Return *status* for JSON."""
    return {**status.as_dict(), "level": status.level.name, "refused": dict(status.refused)}


def status_lines(status: Status, command: str) -> Iterator[str]:
    """Return *status* in plain words; *command* is what a user types before ``off``."""
    yield f"Level        {status.level.name}: {_LEVELS[status.level]}"
    yield f"Because      {status.reason} (decided by {status.decided_by})"
    yield from _in_columns("Inputs", {name: value or "not set" for name, value in status.inputs.items()})
    since = f", since {local(status.consent_decided_at)}" if status.consent_decided_at else ""
    version = status.consent_catalog_version
    about = f", to version {version} of the list of events" if version else ""
    yield f"Consent      {_CONSENTS[status.consent]}{since}{about} (detailed analytics)"
    if status.unagreed:
        yield f"Not sent     newer than your yes: {', '.join(status.unagreed)} ('{command} on' agrees to them)"
    yield f"Install id   {status.install_id or 'not made yet'}"
    yield f"State        {status.state_dir or 'nowhere'}"
    yield f"Sink         {status.sink or 'none'}"
    for name, said in (("Vendor", status.vendor), ("Purpose", status.purpose), ("Read more", status.privacy_url)):
        if said:
            yield f"{name:12} {said}"
    if status.ledger is not None:
        yield from _queue_lines(status)
    for why, times in status.refused:
        yield f"Refused      {why} ({counted(times, 'time')})"
    for problem in (status.sink_problem, status.state_problem, *status.notes):
        if problem:
            yield f"Note         {problem}"
    yield ""
    ways = {
        f"{command} off": "no detailed analytics",
        f"{command} off --all": "nothing at all from this program, for this user",
        f"{variable_of(status)}=off": "nothing at all from this program",
        "DO_NOT_TRACK=1": "nothing at all from every program that honours it",
    }
    yield from _in_columns("Turn it off:", ways)


def _in_columns(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, rows), default=0)
    for number, (name, value) in enumerate(rows.items()):
        yield f"{'' if number else title:12} {name:{width}}  {value}"


def _queue_lines(status: Status) -> Iterator[str]:
    ledger = dict(status.ledger or {})
    pending = ledger.pop("pending", 0)
    kept = "kept on this machine" if status.durable else "in memory, gone with the program"
    yield f"Waiting      {counted(pending, 'record')}{f', {kept}' if pending else ''}"
    yield f"So far       {', '.join(f'{number} {what}' for what, number in ledger.items())}"
    if status.last_attempt_at:
        answer = f"HTTP {status.last_status}" if status.last_status else "no answer"
        row = f", {counted(status.failures, 'failure')} in a row" if status.failures else ""
        yield f"Last try     {local(status.last_attempt_at)}, {status.last_outcome or answer}{row}"
    if status.waiting:
        until = f", until {local(status.next_attempt_at)}" if status.next_attempt_at else ""
        yield f"Held back    {status.waiting}{until}"


def preview_value(preview: Preview, layers: Sequence[str]) -> dict[str, Any]:
    """Return the *layers* of *preview* for JSON, each with the exact body of a request."""
    bodies = {layer: _body_text(getattr(preview, layer)) for layer in layers}
    return {
        "level": preview.level.name,
        "reason": preview.reason,
        **bodies,
        "next_request": _body_text(preview.next_request),
        "removed": dict(preview.removed),
        "left_out": list(preview.left_out),
        "events": list(preview.events) if "analytics" in layers else [],
    }


def preview_lines(preview: Preview, layers: Sequence[str], sink: str | None) -> Iterator[str]:
    """Return the *layers* of *preview* in plain words, each record with its fields."""
    yield f"Level {preview.level.name}: {_LEVELS[preview.level]}, because {preview.reason}."
    where = f" to {sink}" if sink else ""
    if preview.level is Level.OFF and not (preview.base or preview.analytics):
        yield "Nothing would be sent now."
        if "analytics" in layers:
            yield from _possible_lines(preview)
        return
    if preview.level is Level.OFF:
        yield "Without that, this would be sent."
    for layer in layers:
        yield ""
        yield from _layer_lines(preview, layer, where)
    if preview.removed:
        yield f"  removed from it: {', '.join(f'{number} {kind}' for kind, number in preview.removed.items())}"
    if preview.left_out:
        yield f"  left out of it: {', '.join(preview.left_out)}"
    if "analytics" in layers:
        yield from _possible_lines(preview)
    if NO_ID.encode() in preview.base + preview.analytics:
        yield ""
        yield "The id of zeros stands for a random one that is made when the first record may leave."


def _layer_lines(preview: Preview, layer: str, where: str) -> Iterator[str]:
    records = list(_records(getattr(preview, layer)))
    if layer == "base":
        yield f"Base telemetry{where}:" if records else "Base telemetry: nothing is due now."
    elif preview.level is Level.FULL:
        yield f"Detailed analytics{where}:" if records else "Detailed analytics: nothing waits."
    else:
        yield f"Detailed analytics{where}, only after you agree:" if records else "Detailed analytics: nothing."
    for record in records:
        yield from _record_lines(record)


def _possible_lines(preview: Preview) -> Iterator[str]:
    """Show every event that may ever be sent, before anybody agreed to it."""
    yield ""
    yield "Events that this program may send, once you agree:"
    for event in preview.events:
        newer = " (newer than your yes: not sent)" if preview.level is Level.FULL and not event["agreed"] else ""
        yield f"  {event['name']}: {event['description']} [{event['purpose']}]{newer}"
        yield from _property_lines(event["properties"], "    ")
    if not preview.declared:
        yield "  and others: it keeps no list of them. 'log' shows what was sent."


def _property_lines(properties: Sequence[Mapping[str, Any]], indent: str) -> Iterator[str]:
    width = max((len(it["name"]) for it in properties), default=0)
    for it in properties:
        values = f" ({', '.join(map(str, it['values']))})" if it["values"] else ""
        yield f"{indent}{it['name']:{width}}  {it['type']}: {it['description']}{values}"
        yield from _property_lines(it["properties"], f"{indent}  ")


def _record_lines(record: Mapping[str, Any]) -> Iterator[str]:
    fields = {pair["key"]: _plain(pair["value"]) for pair in record["attributes"]}
    yield f"  {fields.pop('event_name')}"
    width = max(map(len, fields))
    for name, value in fields.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        meaning = _MEANINGS.get(name)
        yield f"    {name:{width}}  {f'{shown:36}  {meaning}' if meaning else shown}"


def _records(body: bytes) -> Iterator[dict[str, Any]]:
    for resource in json.loads(body)["resourceLogs"] if body else ():
        for scope in resource["scopeLogs"]:
            yield from scope["logRecords"]


def _plain(value: Mapping[str, Any]) -> object:
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [_plain(item) for item in content["values"]]
    if kind == "kvlistValue":
        return {pair["key"]: _plain(pair["value"]) for pair in content["values"]}
    return int(content) if kind == "intValue" else content


def log_value(log: Sequence[SentRequest]) -> list[dict[str, Any]]:
    """Return *log* for JSON; each body holds the exact bytes of its request ."""
    return [{**it.as_dict(), "body": _body_text(it.body), "headers": dict(it.headers)} for it in log]


def log_lines(log: Sequence[SentRequest], *, bodies: bool) -> Iterator[str]:
    """Return *log* in plain words: each request with its records as a preview shows them, or if *bodies* its bytes."""
    for request in log:
        status = f"HTTP {request.status}" if request.status else "no answer"
        reason = f": {request.reason}" if request.reason else ""
        head = f"{local(request.at)}  {request.sink}  {request.verdict}, {status}{reason}"
        yield f"{head}  {counted(request.records, 'record')}: {_names(request.body)}"
        if bodies:
            yield from (f"{name}: {value}" for name, value in request.headers)
            yield _body_text(request.body)
        else:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                for record in _records(request.body):
                    yield from _record_lines(record)


def kept_value(found: Sequence[tuple[str, str, State, Progress]]) -> list[dict[str, Any]]:
    """Return the programs that have kept state here, for JSON."""
    return [
        {
            "app": app or None,
            "state_dir": directory,
            "consent": state.telemetry_enabled,
            "base_enabled": state.base_enabled is not False,
            "consent_decided_at": state.consent_decided_at,
            "app_version": done.app_version,
            "sink": done.sink_host,
            "last_heartbeat_on": done.last_heartbeat_on,
        }
        for app, directory, state, done in found
    ]


def kept_lines(found: Sequence[tuple[str, str, State, Progress]]) -> Iterator[str]:
    """Return the programs that have kept state here in plain words, one with each line that it needs."""
    if not found:
        yield "No program has kept state in the usual places."
    for app, directory, state, done in found:
        answer = "nothing at all" if state.base_enabled is False else _CONSENTS[state.telemetry_enabled]
        since = f", since {local(state.consent_decided_at)}" if state.consent_decided_at else ""
        version = f" {done.app_version}" if done.app_version else ""
        yield f"{app or 'a program whose directory is set in the environment'}{version}"
        yield f"  consent    {answer}{since} (detailed analytics)"
        yield f"  last sink  {done.sink_host or 'not known'}"
        yield f"  state      {directory}"


def _names(body: bytes) -> str:
    try:
        names = Counter(str(record.get("eventName")) for record in _records(body))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "unreadable"
    words = [name if number == 1 else f"{name} ({number})" for name, number in names.items()]
    more = [f"and {len(words) - _MOST_NAMES} more"] if len(words) > _MOST_NAMES else []
    return ", ".join(words[:_MOST_NAMES] + more)
