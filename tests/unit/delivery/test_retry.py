"""What an answer means: the whole table of design section 7, and how long it keeps us away."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.delivery.retry import (
    HOLD_SECONDS,
    MAX_WAIT,
    MIN_WAIT,
    Judgement,
    Verdict,
    blocked,
    clock_skew,
    forgive_clock,
    judge,
    known_skew,
    next_circuit,
    retry_after_seconds,
    wait_seconds,
)
from telemetry_sdk.model import Answer, Circuit
from telemetry_sdk.sender.otlp import read_success

NOW = 1_780_000_000.0  # Thu, 28 May 2026 20:26:40 GMT
HTML = b"<!doctype html><title>Sign in to the airport</title>"
JSON = b'{"partialSuccess":{}}'

DELIVERED, RETRY, SPLIT, REJECTED, HOLD, STOP = Verdict

# Written from the design's table, status by status; what is not listed is rejected.
STATUSES = {
    **dict.fromkeys(range(200, 300), DELIVERED),
    **dict.fromkeys((260, *range(300, 400), 401, 403, 404, 405), HOLD),
    **dict.fromkeys((429, 502, 503, 504), RETRY),
    **dict.fromkeys((400, 413, 422), SPLIT),
    410: STOP,
}
BAD_HOUR = (408, 425, 500, *range(520, 528))


def verdict(answer: Answer, records: int = 1, failing_s: float = 0.0) -> Judgement:
    """Judge as the delivery does."""
    acknowledged, rejected, _ = read_success(answer)
    return judge(answer, records=records, acknowledged=acknowledged, rejected=rejected, failing_s=failing_s)


@pytest.mark.parametrize("records", [1, 2, 512])
@pytest.mark.parametrize("body", [b"", JSON], ids=["empty", "json"])
def test_every_status(records: int, body: bytes) -> None:
    """Each status from 100 to 599 has the verdict of the table, whatever the body of an error holds."""
    for status in range(100, 600):
        expected = RETRY if status in BAD_HOUR else STATUSES.get(status, REJECTED)
        if expected is SPLIT and records == 1:
            expected = REJECTED

        assert expected is verdict(Answer(status, body), records).verdict, status


@pytest.mark.parametrize("status", [100, 199, 402, 406, 409, 411, 415, 418, 451, 501, 505, 511, 599])
def test_other_statuses_are_final(status: int) -> None:
    """OTLP forbids to retry what is neither named retryable nor explained by our configuration."""
    assert verdict(Answer(status, HTML), 7).verdict is REJECTED


@pytest.mark.parametrize("status", BAD_HOUR)
def test_a_gateways_bad_hour_is_waited_out_for_a_day(status: int) -> None:
    """What a proxy may say of any request is retried; after a day it counts as said of the records, and they part."""
    assert verdict(Answer(status), 7, 86_400.0).verdict is RETRY
    assert verdict(Answer(status), 7, 86_401.0).verdict is SPLIT
    assert verdict(Answer(status), 1, 86_401.0).verdict is REJECTED


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", DELIVERED),
        (b" \r\n", DELIVERED),
        (JSON, DELIVERED),
        (b"{}", DELIVERED),
        (b"[]", DELIVERED),
        (b"null", DELIVERED),
        (b'{"partialSuccess":null}', DELIVERED),
        (b"\xef\xbb\xbf{}", DELIVERED),  # some servers begin with a byte order mark
        (HTML, RETRY),
        (b"OK", RETRY),
        (b"{", RETRY),
        (b"\xff\xfe\x00", RETRY),
        (b"[" * 60_000, RETRY),
        (b"9" * 60_000, RETRY),
        (None, RETRY),  # longer than an acknowledgement ever is
    ],
    ids=lambda value: None if value is None or isinstance(value, int | Verdict) else repr(value[:12]),
)
def test_success_bodies(status: int, body: bytes | None, expected: Verdict) -> None:
    """A 2xx is an acknowledgement only with an empty or a JSON body: a captive portal answers 200 too."""
    assert expected is verdict(Answer(status, body)).verdict


def test_blocked_ingestion_is_no_success() -> None:
    """Loki says 260 to a tenant that is not let in; nothing was stored."""
    assert verdict(Answer(260, b"")).verdict is HOLD


@pytest.mark.parametrize("error", ["connection refused", ""])
def test_no_answer_is_tried_again(error: str) -> None:
    """Without an answer nothing is known, so the records stay."""
    judgement = verdict(Answer(None, error=error), 3)

    assert judgement.verdict is RETRY
    assert judgement.reason == (error or "no answer")


@pytest.mark.parametrize(
    ("claimed", "counted"), [(0, 0), (1, 1), (5, 5), (6, 5), (10**30, 5), (-1, 0)], ids=lambda value: f"{value:g}"
)
def test_partial_success_never_counts_more_than_was_sent(claimed: int, counted: int) -> None:
    """Of five records a sink can reject none to five, whatever it says; none of them is sent again."""
    judgement = judge(Answer(200), records=5, acknowledged=True, rejected=claimed)

    assert judgement == Judgement(DELIVERED, rejected=counted)


@given(failures=st.integers(-5, 10**6), asked=st.none() | st.floats(), draw=st.floats(0, 1, exclude_max=True))
@examples(300)
def test_a_wait_has_bounds(failures: int, asked: float | None, draw: float) -> None:
    """However often it failed and whatever the sink asks for, the wait is 5 seconds to 6 hours."""
    wait = wait_seconds(failures, retry_after=asked, draw=draw)

    assert 5.0 <= wait <= 6 * 3600.0
    if asked is not None and not math.isnan(asked):
        assert wait >= min(asked, MAX_WAIT)  # a floor
        assert wait >= wait_seconds(failures, retry_after=None, draw=draw)  # never a ceiling


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 10.0), (2, 20.0), (3, 40.0), (12, 20480.0), (13, MAX_WAIT), (10**9, MAX_WAIT)]
)
def test_the_wait_doubles_with_full_jitter(failures: int, longest: float) -> None:
    """The wait is drawn from nothing up to a ceiling that doubles with each failure."""
    assert wait_seconds(failures, retry_after=None, draw=0.0) == MIN_WAIT
    assert wait_seconds(failures, retry_after=None, draw=0.75) == pytest.approx(max(0.75 * longest, MIN_WAIT))
    assert wait_seconds(failures, retry_after=None, draw=1 - 1e-12) == pytest.approx(longest)


DATE = "Thu, 28 May 2026 20:26:40 GMT"


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        ("120", None, 120.0),
        (" 0 ", None, 0.0),
        ("0000000000000000007", None, 7.0),
        ("Thu, 28 May 2026 20:27:40 GMT", None, 60.0),
        ("Thursday, 28-May-26 20:27:40 GMT", None, 60.0),  # the two forms RFC 9110 calls obsolete
        ("Thu May 28 20:27:40 2026", None, 60.0),
        ("Thu, 28 May 2026 22:27:40 +0200", None, 60.0),
        ("Thu, 28 May 2026 20:27:40 -0000", None, 60.0),
        ("Thu, 28 May 2026 20:27:40 GMT", "Thu, 28 May 2026 20:27:30 GMT", 10.0),  # the sink's clock, not ours
        ("Thu, 28 May 2026 20:27:40 GMT", "yesterday", 60.0),
        ("Wed, 27 May 2026 20:27:40 GMT", None, 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", DATE, 0.0),
        ("", None, None),
        (None, DATE, None),
        ("-5", None, None),
        ("1.5", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("1e9", None, None),
        ("0x10", None, None),
        ("\u0663", None, None),  # a digit, but not one of HTTP's
        ("soon", None, None),
        ("Thu, 99 May 2026 20:27:40 GMT", None, None),
        ("Thu, 28 May 99999 20:27:40 GMT", None, None),
        ("\x00", None, None),
    ],
)
def test_retry_after(header: str | None, date: str | None, seconds: float | None) -> None:
    """Retry-After is seconds or any of HTTP's dates; what cannot be read asks for nothing."""
    assert seconds == retry_after_seconds(header, date, NOW)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_retry_after_is_utc_everywhere(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """An HTTP date that names no zone is UTC, wherever this machine stands."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()

        assert retry_after_seconds("Thu May 28 20:27:40 2026", None, NOW) == 60.0
    time.tzset()


@pytest.mark.parametrize("header", ["9" * 20, "9" * 5_000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_an_absurd_retry_after_is_capped(header: str) -> None:
    """No sink can silence an install for more than six hours with one header."""
    asked = retry_after_seconds(header, None, NOW)

    assert wait_seconds(1, retry_after=asked, draw=0.0) == MAX_WAIT


WORDS = [
    "Thu,",
    "28",
    "May",
    "2026",
    "20:27:40",
    "GMT",
    "-0000",
    "+9999",
    "0",
    "-",
    ":",
    "\x00",
    "9" * 20,
    "10000",
    "e",
]


@given(
    header=st.text(max_size=20) | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join),
    date=st.none() | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join),
)
@examples(300)
def test_no_header_can_hurt(header: str, date: str | None) -> None:
    """Whatever a sink writes into its headers, the answer is None or a number that is not negative."""
    seconds = retry_after_seconds(header, date, NOW)

    assert seconds is None or seconds >= 0


def after(circuit: Circuit, judgement: Judgement, answer: Answer, draw: float = 0.0) -> Circuit:
    return next_circuit(circuit, judgement, answer, now=NOW, draw=draw, configuration="here", app_version="2.4.0")


def why_not(circuit: Circuit, now: float = NOW, *, configuration: str = "here", force: bool = False) -> str:
    return blocked(circuit, now=now, configuration=configuration, app_version="2.4.0", force=force)


STALE = Circuit(failures=3, not_before=NOW + 60, held_until=NOW + 60, held_for="here", last_status=503, last_at=NOW - 9)


def test_a_failure_opens_the_circuit_a_little_longer_each_time() -> None:
    """Each failure in a row is counted and doubles the longest wait."""
    circuit, answer = Circuit(), Answer(503)
    waits = []
    for failures in (1, 2, 3):
        circuit = after(circuit, Judgement(RETRY, "HTTP 503"), answer, draw=0.75)
        waits.append(circuit.not_before - NOW)

        assert circuit.failures == failures

    assert waits == [7.5, 15.0, 30.0]
    assert (circuit.last_status, circuit.last_at, circuit.last_reason) == (503, NOW, "HTTP 503")


def test_the_circuit_heeds_retry_after() -> None:
    """The wait the sink asked for is the least the circuit keeps."""
    circuit = after(Circuit(), Judgement(RETRY), Answer(429, retry_after="900"))

    assert circuit.not_before == NOW + 900


@pytest.mark.parametrize("settled", [DELIVERED, REJECTED, SPLIT])
def test_an_answer_about_the_records_closes_the_circuit(settled: Verdict) -> None:
    """A sink that judges records works: failures, wait and hold are forgotten."""
    circuit = after(STALE, Judgement(settled), Answer(200))

    assert (circuit.failures, circuit.not_before, circuit.held_until, circuit.held_for) == (0, 0.0, 0.0, "")
    assert why_not(circuit) == ""


def test_a_hold_lasts_a_day_or_until_the_configuration_changes() -> None:
    """A sink that does not take our credentials is asked again when they change, else once a day."""
    circuit = after(Circuit(), Judgement(HOLD, "HTTP 401"), Answer(401))

    assert "HTTP 401" in why_not(circuit)
    assert why_not(circuit, NOW + HOLD_SECONDS - 1)
    assert why_not(circuit, NOW + HOLD_SECONDS) == ""
    assert why_not(circuit, configuration="there") == ""
    assert circuit.failures == 0


def test_a_stop_lasts_until_the_version_changes() -> None:
    """410 silences this version for good, and no other."""
    circuit = after(Circuit(), Judgement(STOP, "HTTP 410"), Answer(410))

    assert why_not(circuit, NOW + 10 * 365 * 86_400.0)
    assert blocked(circuit, now=NOW, configuration="here", app_version="2.4.1") == ""


def test_a_wait_ends() -> None:
    """Nothing is sent before the moment the circuit names, and from then on again."""
    circuit = Circuit(failures=1, not_before=NOW + 10, last_reason="HTTP 503")

    assert "HTTP 503" in why_not(circuit)
    assert why_not(circuit, NOW + 9.999)
    assert why_not(circuit, NOW + 10) == ""


def test_force_passes_over_the_wait_only() -> None:
    """An explicit flush may ask a sink that failed, never one that refused us or told us to stop."""
    assert why_not(Circuit(not_before=NOW + 10), force=True) == ""
    assert why_not(Circuit(held_for="here", held_until=NOW + 10), force=True)
    assert why_not(Circuit(stopped_for="2.4.0"), force=True)


@pytest.mark.parametrize("force", [False, True])
def test_a_clock_set_back_does_not_silence(force: bool) -> None:
    """A moment further ahead than any wait lasts was written by a clock that was wrong, and does not count."""
    ahead = Circuit(
        not_before=NOW + 400 * 86_400.0, held_until=NOW + 400 * 86_400.0, held_for="here", last_reason="HTTP 401"
    )

    assert why_not(ahead, force=force) == ""


@pytest.mark.parametrize("back", [0.0, 1.0, 3600.0])
def test_the_longest_wait_counts_in_full(back: float) -> None:
    """The longest wait and hold hold, and a step back of the clock during them does not prolong them beyond that."""
    waiting = Circuit(not_before=NOW + MAX_WAIT)
    held = Circuit(held_until=NOW + HOLD_SECONDS, held_for="here")

    assert bool(why_not(waiting, NOW - back)) is (back == 0.0)
    assert bool(why_not(held, NOW - back)) is (back == 0.0)


def test_a_new_circuit_blocks_nothing() -> None:
    """An install that never sent may send."""
    assert why_not(Circuit()) == ""
    assert why_not(Circuit(last_reason="HTTP 503", last_status=503)) == ""


HOUR = 3600.0


@pytest.mark.parametrize(
    ("date", "skew"),
    [
        ("Thu, 28 May 2026 21:26:40 GMT", HOUR),
        ("Thu, 28 May 2026 19:26:40 GMT", -HOUR),
        ("Thu, 28 May 2026 20:31:41 GMT", 301.0),
        ("Thu, 28 May 2026 20:31:40 GMT", 0.0),  # five minutes disturb no store
        ("Thu, 28 May 2026 20:21:40 GMT", 0.0),
        (DATE, 0.0),
        ("", 0.0),
        (None, 0.0),
        ("yesterday", 0.0),
        ("Fri, 01 Jan 0100 00:00:00 GMT", 0.0),  # times OTLP cannot carry
        ("Wed, 31 Dec 1969 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 0.0),
    ],
)
def test_clock_skew(date: str | None, skew: float) -> None:
    """A Date that differs by more than five minutes shows a skew, if a record could carry that time."""
    assert skew == clock_skew(date, NOW)


AHEAD, BEHIND = "Thu, 28 May 2026 21:26:40 GMT", "Thu, 28 May 2026 19:26:40 GMT"


@pytest.mark.parametrize(
    ("judged", "status", "learned"),
    [
        (DELIVERED, 200, True),
        (RETRY, 400, True),  # a refusal that was forgiven
        (SPLIT, 400, True),
        (REJECTED, 400, True),
        (RETRY, 200, False),  # a captive portal, whose clock may stand at 1970
        (RETRY, 503, False),
        (HOLD, 302, False),
        (HOLD, 401, False),
        (REJECTED, 500, False),
        (STOP, 410, False),
    ],
)
def test_a_clock_is_learned_from_the_sink_only(judged: Verdict, status: int, learned: bool) -> None:
    """Who takes or refuses records is the sink; the Date of a portal or proxy on the way changes nothing."""
    before = Circuit(skew=-HOUR, last_at=NOW)

    assert after(before, Judgement(judged), Answer(status, date=AHEAD)).skew == (HOUR if learned else -HOUR)
    assert after(before, Judgement(judged), Answer(status)).skew == -HOUR
    assert after(before, Judgement(judged), Answer(status, date=DATE)).skew == (0.0 if learned else -HOUR)


@pytest.mark.parametrize(
    ("skew", "passed", "known"),
    [
        (0.0, 10.0, 0.0),
        (HOUR, 0.0, HOUR),
        (HOUR, HOUR - 1, HOUR),
        (HOUR, HOUR, 0.0),  # our clock shows what the sink's did: it was set forward
        (HOUR, -1.0, 0.0),
        (-HOUR, 0.0, -HOUR),
        (-HOUR, 30 * 86_400.0, -HOUR),
        (-HOUR, -1.0, 0.0),  # it was set back
    ],
)
def test_a_clock_set_right_is_believed(skew: float, passed: float, known: float) -> None:
    """A skew is applied only while our clock may still be wrong; a record's own time is the safer guess."""
    assert known == known_skew(Circuit(skew=skew, last_at=NOW), NOW + passed)


@pytest.mark.parametrize(
    ("circuit", "judged", "status", "date", "forgiven"),
    [
        (Circuit(), REJECTED, 400, AHEAD, True),
        (Circuit(), SPLIT, 400, BEHIND, True),
        (Circuit(skew=HOUR, last_at=NOW), REJECTED, 400, BEHIND, True),  # it has changed since
        (Circuit(skew=HOUR, last_at=NOW - 2 * HOUR), REJECTED, 400, AHEAD, True),  # known no more
        (Circuit(skew=HOUR, last_at=NOW), REJECTED, 400, AHEAD, False),  # known, and not the reason
        (Circuit(), REJECTED, 400, DATE, False),
        (Circuit(), REJECTED, 400, None, False),
        (Circuit(), REJECTED, 400, "Fri, 31 Dec 9999 23:59:59 GMT", False),
        (Circuit(), REJECTED, 422, AHEAD, False),
        (Circuit(), REJECTED, 500, AHEAD, False),
        (Circuit(), DELIVERED, 200, AHEAD, False),
        (Circuit(), STOP, 410, AHEAD, False),
    ],
)
def test_forgive_clock(circuit: Circuit, judged: Verdict, status: int, date: str | None, forgiven: bool) -> None:
    """A refusal counts as none when the answer shows a wrong clock that we did not know of; that is once for a skew."""
    judgement, answer = Judgement(judged, f"HTTP {status}"), Answer(status, date=date)

    found = forgive_clock(circuit, judgement, answer, NOW)

    assert (found.verdict is RETRY) is forgiven
    assert forgiven or found is judgement
    again = forgive_clock(after(circuit, found, answer), judgement, answer, NOW)
    assert again is judgement
