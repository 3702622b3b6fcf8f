"""The scrubber's work grows with the text and no faster, however the text is made."""

from __future__ import annotations

import time

import pytest

from telemetry_sdk.analytics.scrub import Tally, locations, shapes, tokens

pytestmark = pytest.mark.alone

ADVERSARIAL = [
    *("a", "@", "a@", "a.", "a-", "1", "1 ", "1-", "1.", "1:", "a:", "::", "/", "/a", "/home/a", "\\", "\\\\a\\", "~a"),
    *("?a=", "?", "://", "://a@", "%3A%2F%2F", "%40", "%2F", "=", "password=", 'password="', "--", "--a", "--token "),
    *(
        "-u ",
        "-u a:",
        "-u 'a:",
        "--user a:",
        " ?a=",
        "ok?a=b ",
        "it is ok?",
        "%25",
        "\\u002f",
        "0a0b.",
        "Aaa",
        "sid=1 ",
    ),
    *(
        "x-a",
        "bearer ",
        "-----BEGIN x-----",
        "-----",
        "sk-",
        "eyJ",
        "SG.",
        "A1",
        "aA1",
        "AB12 ",
        "+1 ",
        "'",
        '"',
        "\u201c",
    ),
    *("/home/a ", "/home/a'", '"/home/a', "C:\\a ", "[::", "1::", "fe80::1%", "4111 1111 1111 1111 ", '\\"', "a:b@"),
    *(
        '"a"@',
        "\u2026",
        "é@",
        "<password>",
        "/lib/python",
        "ip-1-",
        "0a",
        "Authorization: ",
        "/home/A B ",
        "<a>/data/ ",
    ),
]


STEPS = (
    *(locations.without_urls, locations.without_queries, locations.without_file_paths, locations.without_ids),
    *(tokens.without_assigned, tokens.without_known, tokens.without_random),
    *(shapes.without_emails, shapes.without_ips, shapes.without_numbers),
)


def work(text: str) -> float:
    """The processor's time, not the clock's, that one look at *text* takes; the least of two."""
    times = []
    for _ in range(2):
        begun = time.process_time()
        for step in STEPS:
            step(text, Tally().count)
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.parametrize("end", ["", "!"])
@pytest.mark.parametrize("unit", ADVERSARIAL, ids=ascii)
def test_the_work_is_linear(unit: str, end: str) -> None:
    """Eight times the text is about eight times the work, however it is made to confuse; quadratic would be 64 times."""
    small, large = (unit * (length // len(unit)) + end for length in (10_000, 80_000))

    assert work(large) < 24 * max(work(small), 0.004)
