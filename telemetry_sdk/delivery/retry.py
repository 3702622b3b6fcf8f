"""What an answer means for the records that were sent.

This module decides; it never sleeps, sends, reads a clock or touches a file. The whole behaviour under a failing
sink can be read on one screen:

| answer                                                   | verdict                                             |
|----------------------------------------------------------|-----------------------------------------------------|
| 2xx (not 260) with an empty or a JSON body               | DELIVERED; partialSuccess counts as rejected        |
| 2xx with anything else (a captive portal's HTML page)    | RETRY                                               |
| 429, 502, 503, 504, no answer                            | RETRY                                               |
| 408, 425, 500, 520 to 527                                | RETRY for a day, then as 400: a gateway's bad hour  |
| 400, 413, 422                                            | SPLIT while more than one record, else REJECTED     |
| 401, 403, 404, 405, 3xx, 260                             | HOLD until the configuration changes, or a day      |
| 410                                                      | STOP: purge, silent until the app version changes   |
| anything else                                            | REJECTED (OTLP: must not be retried)                |

Sources: OTLP 1.11 "OTLP/HTTP Response"; Loki answers 204 for success and 260 for blocked ingestion.
"""

from __future__ import annotations

import enum
import re
from datetime import UTC
from typing import TYPE_CHECKING, Final, NamedTuple

from telemetry_sdk.host.guard import pass_on
from telemetry_sdk.model import STOPPED

if TYPE_CHECKING:
    from telemetry_sdk.model import Answer, Circuit

MIN_WAIT: Final = 5.0
MAX_WAIT: Final = 6 * 3600.0
HOLD_SECONDS: Final = 24 * 3600.0
SKEW_IGNORED: Final = 300.0
_LONGEST_EXCERPT: Final = 300
_LAST_DATE: Final = 9_000_000_000.0  # in the year 2255; OTLP's nanoseconds end soon after

_RETRY: Final = frozenset({429, 502, 503, 504})
_SPLIT: Final = frozenset({400, 413, 422})
_BAD_HOUR: Final = frozenset({408, 425, 500, *range(520, 528)})
_LONGEST_BAD_HOUR: Final = 86_400.0
NOT_TAKEN: Final = frozenset({400, 425, 429, 503})  # what these answered nobody stored
_HOLD: Final = frozenset({260, 401, 403, 404, 405})


class Verdict(enum.Enum):
    """The fate of the records of one request."""

    DELIVERED = "delivered"
    RETRY = "retry"
    SPLIT = "split"
    REJECTED = "rejected"
    HOLD = "hold"
    STOP = "stop"


class Judgement(NamedTuple):
    """A verdict with its reason.

    Attributes:
        verdict: The fate of the records.
        reason: Why, in plain words; empty for a plain success.
        rejected: Records the sink says it rejected although it accepted the request (``partialSuccess``).
    """

    verdict: Verdict
    reason: str = ""
    rejected: int = 0


def judge(answer: Answer, *, records: int, acknowledged: bool, rejected: int = 0, failing_s: float = 0.0) -> Judgement:
    """Decide the fate of the *records* records of one request.

    Args:
        answer: What came back.
        records: How many records the request carried.
        acknowledged: Whether the body of a 2xx answer is that of an OTLP receiver (`otlp.read_success`).
        rejected: How many of them that body says were rejected.
        failing_s: For how many seconds the sink has had a bad hour, see `failing_seconds`.
    """
    status = answer.status
    if status is None:
        return Judgement(Verdict.RETRY, _readable(answer.error) or "no answer")
    if status in _HOLD or 300 <= status < 400:
        return Judgement(Verdict.HOLD, f"HTTP {status}")
    if 200 <= status < 300:
        if not acknowledged:
            return Judgement(Verdict.RETRY, f"HTTP {status} without an OTLP answer")
        return Judgement(Verdict.DELIVERED, rejected=min(max(rejected, 0), records))
    if status in _RETRY or (status in _BAD_HOUR and failing_s <= _LONGEST_BAD_HOUR):
        return Judgement(Verdict.RETRY, f"HTTP {status}")
    if status == 410:
        return Judgement(Verdict.STOP, "HTTP 410: the sink asked this version to stop")
    if status in _SPLIT | _BAD_HOUR and records > 1:
        return Judgement(Verdict.SPLIT, f"HTTP {status}")
    return Judgement(Verdict.REJECTED, f"HTTP {status}")


def failing_seconds(circuit: Circuit, now: float) -> float:
    """Return how long ago the first answer of a gateway's bad hour came that nothing better has followed."""
    return max(now - circuit.failing_since, 0.0) if circuit.failing_since else 0.0


def wait_seconds(failures: int, *, retry_after: float | None, draw: float) -> float:
    """Return how long to wait before the next attempt: exponential backoff with full jitter.

    Args:
        failures: Failed attempts in a row, this one included.
        retry_after: The wait the sink asked for, in seconds; a floor, never a ceiling.
        draw: A random number in [0, 1).

    Returns:
        Seconds between `MIN_WAIT` and `MAX_WAIT`, whatever the sink asked for.
    """
    ceiling = min(MAX_WAIT, MIN_WAIT * 2.0 ** min(failures, 40))
    wait = max(MIN_WAIT, draw * ceiling)
    if retry_after is not None and retry_after > wait:
        wait = retry_after
    return min(wait, MAX_WAIT)


def next_circuit(
    circuit: Circuit,
    judgement: Judgement,
    answer: Answer,
    *,
    now: float,
    draw: float,
    configuration: str,
    app_version: str,
) -> Circuit:
    """Return the circuit after an attempt that ended at *now* (seconds since 1970).

    *configuration* stands for everything a HOLD depends on: endpoint, credentials and app version.
    """
    # Only who judges records is the sink; a portal or proxy before it may have any clock.
    judged = judgement.verdict is Verdict.DELIVERED or answer.status == 400
    skew = clock_skew(answer.date, now) if answer.date and judged else circuit.skew
    ended = circuit._replace(last_status=answer.status, last_at=now, last_reason=judgement.reason, skew=skew)
    if judgement.verdict is Verdict.RETRY:
        asked = retry_after_seconds(answer.retry_after, answer.date, now)
        failures = circuit.failures + 1
        not_before = now + wait_seconds(failures, retry_after=asked, draw=draw)
        since = circuit.failing_since or (now if answer.status in _BAD_HOUR else 0.0)
        return ended._replace(failures=failures, not_before=not_before, failing_since=since)
    if judgement.verdict is Verdict.HOLD:
        return ended._replace(held_until=now + HOLD_SECONDS, held_for=configuration)
    if judgement.verdict is Verdict.STOP:
        return ended._replace(stopped_for=app_version)
    return ended._replace(failures=0, not_before=0.0, held_until=0.0, held_for="", failing_since=0.0)


def blocked(circuit: Circuit, *, now: float, configuration: str, app_version: str, force: bool = False) -> str:
    """Return why nothing may be sent now, or an empty string.

    A moment further ahead than any wait lasts was written before the clock was set back, and does not count. *force*
    passes over the backoff, never over a hold or a stop.
    """
    if circuit.stopped_for == app_version:
        return STOPPED
    if circuit.held_for == configuration and now < circuit.held_until <= now + HOLD_SECONDS:
        return f"held since the sink answered: {circuit.last_reason}"
    if not force and now < circuit.not_before <= now + MAX_WAIT:
        return f"waiting after a failed attempt: {circuit.last_reason}"
    return ""


def forgive_clock(circuit: Circuit, judgement: Judgement, answer: Answer, now: float) -> Judgement:
    """Return RETRY instead of a refusal when the answer shows that our clock is wrong and we did not know.

    A store refuses what lies an hour behind or ten minutes ahead of its own time. Once the skew is known, records
    carry the sink's time (see `delivery`).
    """
    refused = judgement.verdict in (Verdict.SPLIT, Verdict.REJECTED) and answer.status == 400
    skew = clock_skew(answer.date, now)
    if refused and answer.date and abs(skew - known_skew(circuit, now)) > SKEW_IGNORED:
        return Judgement(Verdict.RETRY, f"{judgement.reason}, and the clocks differ: sent again with the sink's time")
    return judgement


def clock_skew(date: str | None, now: float) -> float:
    """Return the seconds the sink's clock is ahead of ours by its ``Date``; zero when small or unknown."""
    moment = http_date((date or "").strip())
    if moment is None or not 0 <= moment < _LAST_DATE:
        return 0.0
    return moment - now if abs(moment - now) > SKEW_IGNORED else 0.0


def known_skew(circuit: Circuit, now: float) -> float:
    """Return the skew that was learned, or zero once our clock seems to have been set right since.

    It does when it passed the time the sink's clock showed then, or went back. In doubt a record had better keep its
    own time: a refusal of that is forgiven (`forgive_clock`), one of a time that we made up is not.
    """
    then = circuit.last_at
    still_wrong = then <= now < then + circuit.skew if circuit.skew > 0 else now >= then
    return circuit.skew if still_wrong else 0.0


def retry_after_seconds(header: str | None, date: str | None, now: float) -> float | None:
    """Return the wait a ``Retry-After`` header asks for, in seconds, or None if there is none that can be read.

    The header is a number of seconds or a date. A date is measured from the answer's own ``Date`` where there is one,
    because the sink's clock and ours may differ.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    moment = http_date(text)
    if moment is None:
        return None
    return max(moment - (http_date((date or "").strip()) or now), 0.0)


def http_date(text: str) -> float | None:
    """Return the moment of an HTTP date in seconds since 1970, or None if *text* is none."""
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        # HTTP's dates are UTC, the form that names no zone too (RFC 9110, 5.6.7).
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        pass_on(error)
        return None


def explain(judgement: Judgement, answer: Answer, message: str) -> str:
    """Return the reason for the sent log: ours, and what can be read of the sink's."""
    if judgement.rejected:
        return f"the sink rejected {judgement.rejected} of them: {_readable(message)}"
    if judgement.verdict is Verdict.DELIVERED or not answer.body:
        return judgement.reason
    # An error body may be protobuf even in answer to JSON (Loki), so it is read as text with holes.
    text = re.sub(r"[^\x20-\x7e]+", " ", answer.body.decode("ascii", "replace")).strip()
    return f"{judgement.reason}: {text[:_LONGEST_EXCERPT]}" if text else judgement.reason


def _readable(text: str) -> str:
    """Return an excerpt of a foreign text as one line that can be stored and shown.

    Controls and halves of characters become blanks; they would break a log, a terminal or the database.
    """
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST_EXCERPT])
