"""Secrets planted anywhere are in no byte of the record, and harmless values come through as they are."""

from __future__ import annotations

import json
import os
import string
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st
from profiles import examples

from telemetry_sdk.analytics.event import build
from telemetry_sdk.analytics.scrub import QUANTITY, ROUTE, VERSION, Scrubber, Tally, is_plain, without_shapes
from telemetry_sdk.analytics.scrub.shapes import is_card_number
from telemetry_sdk.base_payload import platform
from telemetry_sdk.model import Limits
from telemetry_sdk.sender import otlp

UID = "2ab2916d-a51f-4ac8-80ee-45ac31a28092"
MADE = 1_780_000_000_123_456_789
OWN = {"install_id": UID, "app_version": "2.4.0", "deployment_type": "native", "release_channel": "stable"}
SCRUBBER = Scrubber(("jsmith", "quaxbox", "quaxbox.corp.example"))
READINGS = st.sampled_from(["", ROUTE, VERSION, QUANTITY])


def encoded(properties: dict[str, Any], scrubber: Scrubber = SCRUBBER, context: Any = None) -> bytes:
    event = build("note.saved", properties, own=OWN, limits=Limits(), context=context, scrubber=scrubber)
    return otlp.encode_record(name="note.saved", uid=UID, identity=UID, made_ns=MADE, payload=event.payload)


def lower(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(string.ascii_lowercase, min_size=least, max_size=most)


# Secrets, each with the part that must be nowhere. Names end as no word does that a record may have.

NAMES = lower(5, 9).map("{}qzx".format)
FOREIGN = st.text("äöüßéñпривет用户例子αβγ", min_size=4, max_size=8)
RANDOM = st.text(string.ascii_letters + string.digits, min_size=36, max_size=48).filter(
    lambda text: any(map(str.isdigit, text[:30]))
)
BYTES = st.integers(0, 255)


def patterns(*forms: str, of: st.SearchStrategy[str] = NAMES) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.sampled_from(forms), of).map(lambda pair: (pair[0].replace("NAME", pair[1]), pair[1]))


EMAILS = patterns(
    *("NAME@example.com", "NAME+news@sub.example.co.uk", "a.NAME@example.org", "a@NAME.com", "NAME@NAME.example"),
    *("mailto:NAME@example.com", "NAME%40example.com", '"NAME x"@example.com', "NAME@localhost-2", "NAME@[192.0.2.1]"),
    of=NAMES | FOREIGN,
)
PATHS = patterns(
    *(
        "/home/NAME",
        "/home/NAME/a b/c.txt",
        "/Users/NAME/Documents",
        "/root/NAME",
        "C:\\Users\\NAME\\x",
        "C:/Users/NAME",
    ),
    *(
        "C:\\\\Users\\\\NAME\\\\x.txt",
        "D:\\NAME",
        "\\\\NAME\\share",
        "\\\\server\\NAME\\x",
        "/Volumes/NAME/x",
        "/mnt/NAME",
    ),
    *("/mnt/c/Users/NAME/x", "/media/NAME/usb", "/data/NAME/x", "/var/NAME", "/private/var/NAME", "/srv/NAME/app.py"),
    *("/opt/NAME/bin", "/tmp/NAME", "/etc/NAME.conf", "~/NAME", "~NAME/x", "$HOME/NAME", "file:///home/NAME/x"),
    *(
        "file://NAME/share",
        "/app/NAME/main.py",
        'File "/NAME/x", line 3',
        "../../home/NAME/x",
        "/usr/home/NAME/.ssh/id",
    ),
    of=NAMES | FOREIGN,
)
URLS = patterns(
    *(
        "https://NAME:pw@example.com/a",
        "https://u:NAME@example.com",
        "postgres://u:NAME@db/x",
        "redis://:NAME@cache:6379",
    ),
    *(
        "https://example.com/a?q=NAME",
        "https://example.com/?a=1&NAME=2",
        "https://example.com/a#NAME",
        "ftp://NAME@h.example",
    ),
    *(
        "https://example.com/a;id=NAME",
        "/search?q=NAME",
        "example.com/x?a=NAME&b=1",
        "http://NAME/wiki",
        "http://NAME.local/",
    ),
    *(
        "https:\\/\\/example.com\\/a?q=NAME",
        "https%3A%2F%2Fexample.com%2Fa%3Fq%3DNAME",
        "mongodb+srv://u:NAME@c.example.net/x",
    ),
)
ASSIGNED = patterns(
    *("password=NAME", "password: NAME", "DB_PASSWORD=NAME", "accessToken=NAME", '{"api_key": "NAME"}', "--token NAME"),
    *("{'client_secret': 'NAME'}", "secret => NAME", "Authorization: Bearer NAME", "Authorization: Basic NAME"),
    *("Cookie: session=NAME", "X-Api-Key: NAME", "Bearer NAMENAME1", "username=NAME", "<password>NAME</password>"),
    *("Server=x;Password=NAME;", "https://example.com/?token=NAME", "jdbc:x://db.example.com/y?password=NAME"),
)
TOKENS = patterns(
    *(
        "ghp_NAME",
        "gho_NAME",
        "github_pat_NAME",
        "glpat-NAME",
        "xoxb-NAME",
        "sk_live_NAME",
        "AIzaNAME",
        "sk-NAME",
        "npm_NAME",
    ),
    *("glc_NAME", "glsa_NAME", "hf_NAME", "eyJNAME.NAME.NAME", "Bearer NAME", "whsec_NAME", "ya29.NAME", "xapp-NAME"),
    of=RANDOM,
)
KEYS = st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16).map(lambda text: ("AKIA" + text, text))
PEMS = RANDOM.map(lambda text: (f"-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----", text))
IPV4 = st.tuples(BYTES, BYTES, BYTES, BYTES).map(lambda four: ".".join(map(str, four))).map(lambda text: (text, text))
IPV6 = st.one_of(
    # Not ``::``, which is no machine, and stands in programs.
    st.ip_addresses(v=6).filter(int).map(lambda address: address.compressed),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.integers(1, 2**64 - 1).map(lambda low: f"fe80::{low & 0xFFFF:x}%eth0"),
).map(lambda text: (text, text))


def with_check_digit(digits: str) -> str:
    return next(digits + last for last in string.digits if is_card_number(digits + last))


def digits(first: str, length: int) -> st.SearchStrategy[str]:
    rest = length - len(first) - 1
    return st.text(string.digits, min_size=rest, max_size=rest).map(lambda text: with_check_digit(first + text))


CARDS = st.tuples(
    digits("4", 16) | digits("51", 16) | digits("2221", 16) | digits("6011", 16) | digits("37", 15),
    st.sampled_from([("", ()), (" ", (4, 8, 12)), ("-", (4, 8, 12))]),
).map(lambda pair: (grouped(*pair),) * 2)


def grouped(number: str, how: tuple[str, tuple[int, ...]]) -> str:
    sign, cuts = how if len(number) == 16 else (how[0], (4, 10))
    if not sign:
        return number
    return sign.join(number[start:end] for start, end in zip((0, *cuts), (*cuts, len(number)), strict=True))


OWN_WORDS = st.sampled_from(["jsmith", "JSmith", "quaxbox", "QUAXBOX.corp.example"]).map(lambda word: (word, word))
SECRETS = st.one_of(EMAILS, PATHS, URLS, ASSIGNED, TOKENS, KEYS, PEMS, IPV4, IPV6, CARDS, OWN_WORDS)

# Where they are planted

SIGNS = st.sampled_from(
    [" ", "\n", "\t", " (", ") ", ' "', '" ', " '", "' ", ", ", "; ", " = ", " <", "> ", " | ", " - ", " [", "] "]
)
WORDS = st.lists(st.text(st.characters(categories=["L", "N", "M", "S"]), max_size=8) | lower(1, 9), max_size=6).map(
    " ".join
)
NAMES_OF_PROPERTIES = st.sampled_from(["note", "source", "text", "last_error", "args", "a.b", "lastCommand", "n2"])


@st.composite
def surrounded(draw: st.DrawFn, secret: str) -> str:
    before, after = draw(WORDS), draw(WORDS)
    return f"{before}{draw(SIGNS) if before else ''}{secret}{draw(SIGNS) if after else ''}{after}"


@st.composite
def planted(draw: st.DrawFn, value: Any) -> dict[str, Any]:
    """*value* somewhere in properties, up to three containers deep, beside other things."""
    for _ in range(draw(st.integers(0, 3))):
        value = draw(
            st.sampled_from(
                [[value], ["x", value, 1], (value,), {draw(NAMES_OF_PROPERTIES): value}, {"n": 1, "v": value}]
            )
        )
    return {"first": "dark", draw(NAMES_OF_PROPERTIES): value, "last": 2}


EMPTY = encoded({}).decode().lower()


def assert_is_nowhere(secret: str, record: bytes) -> None:
    """Neither as it is nor as JSON writes it, in any case."""
    assume(secret.lower() not in EMPTY)
    text = record.decode().lower()
    assert secret.lower() not in text
    assert json.dumps(secret, ensure_ascii=False)[1:-1].lower() not in text


@given(secret=SECRETS, data=st.data())
@examples(1000)
def test_a_planted_secret_is_in_no_byte(secret: tuple[str, str], data: st.DataObject) -> None:
    """Whatever text stands around a secret and however deep it lies, no byte of the record has it."""
    text, hidden = secret
    value = data.draw(surrounded(text))
    assume(value.count(hidden) == text.count(hidden))

    assert_is_nowhere(hidden, encoded(data.draw(planted(value))))


@given(
    secret=NAMES | st.integers(10**9, 10**12),
    name=st.sampled_from(["password", "userEmail", "smtp.token", "API-KEY", "client_ip"]),
    data=st.data(),
)
@examples(300)
def test_the_value_of_a_forbidden_name_is_in_no_byte(secret: Any, name: str, data: st.DataObject) -> None:
    """What stands under a forbidden name, of any type and in any nesting, does not leave."""
    value = data.draw(st.sampled_from([secret, [secret], {"v": secret}, {"a": [{"b": secret}]}]))

    assert_is_nowhere(str(secret), encoded(data.draw(planted({name: value}))))


@given(
    number=CARDS.map(lambda pair: int("".join(filter(str.isdigit, pair[0])))),
    kind=st.sampled_from([int, float]),
    data=st.data(),
)
@examples(200)
def test_a_card_number_is_no_number_either(number: int, kind: type, data: st.DataObject) -> None:
    """A card number that is passed as a number is found like one in a text."""
    assert_is_nowhere(str(number), encoded(data.draw(planted(kind(number)))))


@given(secret=EMAILS | IPV4 | TOKENS | CARDS | OWN_WORDS, before=lower(0, 9))
@examples(200)
def test_a_secret_in_the_request_context_is_in_no_byte(secret: tuple[str, str], before: str) -> None:
    """A page's path and a browser's header carry nothing either."""
    text, hidden = secret
    assume(hidden not in before)
    context = {"path": f"/{before}/{text}/edit", "browser": f"x {text}", "device": text}

    assert_is_nowhere(hidden, encoded({}, context=context))


@given(length=st.integers(0, 1200), secret=EMAILS | PATHS | TOKENS | PEMS)
@examples(300)
def test_a_secret_that_the_limit_would_cut_is_in_no_byte(length: int, secret: tuple[str, str]) -> None:
    """A text is scrubbed before it is cut, so no beginning of a secret is left either."""
    text, hidden = secret
    record = encoded({"note": "." * length + " " + text})

    assert_is_nowhere(hidden[:7], record)


def test_the_names_of_this_machine_are_in_no_byte() -> None:
    """User and host of the machine that runs this test are removed, as far as they name anybody."""
    words = platform.own_words(os.environ)
    scrubber = Scrubber(words)
    for word in words:
        if not scrubber.is_clean(word):
            assert_is_nowhere(word, encoded({"note": f"run by {word} on {word.upper()}", "a": [{"b": word}]}, scrubber))


# Harmless values

HARMLESS_WORDS = st.lists(
    lower(1, 12) | st.text("äöüßéñ", min_size=1, max_size=6) | st.text("привет日本語", min_size=1, max_size=5),
    max_size=6,
)
VERSIONS = st.lists(st.integers(0, 999).map(str), min_size=2, max_size=3).map(".".join)
HEXES = st.sampled_from([7, 8, 12, 32, 40, 64]).flatmap(
    lambda length: st.text("0123456789abcdef", min_size=length, max_size=length)
)
HARMLESS = st.one_of(
    HARMLESS_WORDS.map(" ".join),
    st.lists(lower(2, 9), min_size=1, max_size=5).map("_".join),
    st.lists(lower(2, 9), min_size=1, max_size=5).map("-".join),
    st.lists(lower(2, 9), min_size=1, max_size=4).map(".".join),
    st.lists(lower(2, 9), min_size=1, max_size=4).map(lambda words: "".join(word.title() for word in words)),
    st.lists(lower(2, 7), min_size=1, max_size=4).map(lambda words: "/api/" + "/".join(words)),
    st.tuples(lower(1, 9), st.sampled_from(["pdf", "py", "jpg", "tar.gz"])).map(".".join),
    VERSIONS,
    st.tuples(VERSIONS, lower(1, 5)).map("-".join),
    HEXES,
    HEXES.map("sha256:{}".format),
    st.uuids(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.decimals(-(10**6), 10**6, places=2),
    st.integers(-(10**12), 10**12),
    st.floats(-1e9, 1e9, allow_nan=False),
    st.booleans(),
)


@given(value=HARMLESS, name=st.sampled_from(["note", "source", "label", "plan.kind", "tokens_used", "author"]))
@examples(500)
def test_harmless_values_come_through(value: Any, name: str) -> None:
    """Words, versions, dates, ids, hashes, numbers and routes are what they are without a scrubber, and none is counted."""
    scrubbed = build("note.saved", {name: value}, own={}, limits=Limits(), scrubber=SCRUBBER)

    assert scrubbed == build("note.saved", {name: value}, own={}, limits=Limits())
    assert scrubbed.scrubbed == {}


@examples(100)
@given(
    quad=st.lists(BYTES.map(str), min_size=4, max_size=4).map(".".join),
    name=st.sampled_from(["version", "osVersion", "build", "app.release"]),
)
def test_a_version_of_four_numbers_comes_through(quad: str, name: str) -> None:
    """Where the name says version, four numbers are no address."""
    assert build("note.saved", {name: quad}, own={}, limits=Limits(), scrubber=SCRUBBER).payload == {name: quad}


# Any text

PIECES = st.sampled_from(
    [
        *(
            "a",
            "1",
            " ",
            "\n",
            ".",
            ":",
            "::",
            "/",
            "\\",
            "@",
            "=",
            "?",
            "&",
            "#",
            "'",
            '"',
            "(",
            ")",
            "[",
            "]",
            "{",
            "<",
            ">",
        ),
        *(
            "|",
            ";",
            ",",
            "-",
            "--",
            "_",
            "~",
            "%",
            "%40",
            "%2F",
            "+",
            "*",
            "\u2026",
            "\u201c",
            "é",
            "用",
            "\ud800",
            "\x00",
        ),
        *(
            "token",
            "password",
            "secret",
            "Bearer ",
            "Basic ",
            "user",
            "cookie:",
            "authorization:",
            "http://",
            "file://",
        ),
        *(
            "/home/",
            "/data/",
            "C:\\",
            "x.com",
            "a@b.co",
            "1.2.3.4",
            "fe80::1",
            "4111111111111111",
            "4111 1111",
            "jsmith",
        ),
        *(
            "[token]",
            "[path]",
            "[ip]",
            "[email]",
            "[local]",
            "token]",
            "eyJabcdef",
            ".py",
            'File "',
            "-----BEGIN x-----",
        ),
        *(
            "--token ",
            "~/",
            "$HOME/",
            "ghp_abcdefghijklmnopqrst",
            "GB29 NWBK 6016",
            "+49 30 1234567",
            "00:1a:2b:3c:4d:5e",
        ),
    ]
)
TEXTS = st.text(st.characters(), max_size=60) | st.lists(PIECES, max_size=14).map("".join)


@given(text=TEXTS, reading=READINGS)
@example(text="x@a.b:c@d.e/home/f", reading="")
@examples(1500)
def test_scrubbing_twice_is_scrubbing_once(text: str, reading: str) -> None:
    """Any text is scrubbed without an error, and of what was scrubbed nothing more is removed."""
    once = SCRUBBER.text(text, None, reading)
    tally = Tally()

    assert SCRUBBER.text(once, tally, reading) == once
    assert tally == {}


# Short words: of the signs that plain ones are made of, of those they are not, and of what rules look for.
_PIECES = (
    *("ip-", "IP-", "--", "-u", "pass", "pwd", "key-", "sk-", "sid", "uid", "jwt", "AKIA", "eyJ", "AC", "SG.", "ssn"),
    *(
        "4111",
        "123-45",
        "555-",
        "DE89",
        "127.",
        "::1",
        "=",
        ":",
        "@",
        "/",
        "~",
        "%40",
        "\\",
        " ",
        "+49",
        "\uff20",
        "\n",
    ),
)
WORDS = st.lists(
    st.sampled_from(_PIECES)
    | st.text(string.ascii_letters + string.digits + "_-", max_size=6)
    | st.text(string.digits + "-_", max_size=11)
    | st.text(max_size=2),
    max_size=5,
).map(lambda pieces: "".join(pieces)[:13])


@given(word=WORDS, reading=READINGS)
@example(word="ip-1-2-3-4", reading="")
@example(word="12-345-6789", reading="")
@example(word="4_1_1_1_1_1", reading="")
@example(word="123-45-6789", reading="")
@examples(2000)
def test_a_word_that_is_not_searched_has_nothing_to_find(word: str, reading: str) -> None:
    """What passes for a plain word is what every rule would have left as it is, and is left so."""
    tally = Tally()
    if is_plain(word):
        assert without_shapes(word, tally, reading) == word
        assert not tally
        assert SCRUBBER.text(word, tally, reading) == word or tally == {"own name": 1}
    else:
        assert len(word) >= 12 or not set(word) <= set(string.ascii_letters + "_-") or "ip-" in word


@examples(100)
@given(
    word=st.text(string.ascii_lowercase + string.digits + "_-", max_size=4), own=st.sampled_from(["jsmith", "quaxbox"])
)
def test_an_own_name_goes_from_a_plain_word(word: str, own: str) -> None:
    """A name of this machine is removed from the shortest word too."""
    assert own not in SCRUBBER.text(f"{word}-{own}")
