"""The second line of defence of privacy: removes what an event must not carry, and counts it. Pure.

The first line is what the host chooses to send. This one looks at every property's name (`names`) and at every text,
in any nesting, whatever a name says (`shapes`, `tokens`, `locations`), and at this machine's own names.

| marker                                | stands for                                                                 |
|---------------------------------------|----------------------------------------------------------------------------|
| `[removed]`                           | the whole value of a property whose name gives it away                     |
| `[token]`, `[user]`                   | a password, key or token; a user name that is assigned (``user=jane``)     |
| `[email]`, `[phone]`                  | e-mail addresses of any script, ``user@host``; international phone numbers |
| `[ip]`, `[mac]`                       | IPv4 and IPv6 addresses, hardware addresses                                |
| `[card]`, `[iban]`, `[ssn]`, `[id]`   | card numbers, bank accounts, social security numbers, other documents      |
| `[date]`, `[place]`                   | a date of birth; coordinates, a postal address                             |
| `[path]`                              | an absolute file path                                                      |
| `[host]`, `[id]`, or nothing          | the parts of a URL that go                                                 |
| `[local]`                             | this machine's user or host name                                           |

It is no proof: a name or a secret that looks like any word passes. Markers never change again, so scrubbing twice is
scrubbing once. Every pattern is linear in the text: what repeats without a bound is never entered twice (``++``) and
begins once in a run. What is not looked at does not leave: a text longer than 8192 characters is cut.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.scrub import locations, shapes, tokens
from telemetry_sdk.analytics.scrub.names import (
    LOOK_ALIKES,
    MIXED,
    QUANTITY,
    ROUTE,
    VERSION,
    NameRule,
    name_rule,
    word_set,
)
from telemetry_sdk.host import lazy

if TYPE_CHECKING:
    from collections.abc import Iterable

REMOVED: Final = "[removed]"
CUT_MARK: Final = "…[cut]"
LONGEST_TEXT: Final = 8192
LEAST_CARD_NUMBER: Final = 10**12

# A secret that the cut halves may no longer look like one; none that this many characters do not give away is longer.
_DOUBTFUL: Final = 256
_MOST_RULES: Final = 1000
_MOST_ROUNDS: Final = 8

# What no clean text holds, the first for texts too short to be random.
_SUSPICIOUS: Final = (
    r"[@\uff20/\\~:=?%0-9]|--|[Ee][Aa][Rr][Ee][Rr]\s|[Aa][Ss][Ii][Cc]\s|[\[( {](?:at|AT)[\]) }]"
    r"|\b(?:M(?:r|rs|s|me)|Dr|Prof|Herr|Frau|[Uu]ser|[Pp]atient|[Cc]ustomer|[Cc]lient|[Ee]mployee"
    r"|in as)[. ]|\.(?:local|internal|corp|lan)\b"
    r"|[Pp]ass(?:word|phrase)\s"
)
_SUSPECT: Final = lazy(_SUSPICIOUS)
_SUSPECT_OR_LONG: Final = lazy(rf"{_SUSPICIOUS}|[A-Za-z_+-]{{{tokens.SHORTEST_RANDOM}}}")
# What is often sent, looks suspect and is harmless: versions, numbers, dates, times, UUIDs.
_HARMLESS: Final = lazy(
    r"[vV]?[0-9]{1,6}(?:\.[0-9]{1,6}){0,2}%?|[0-9]{2}:[0-9]{2}(?::[0-9]{2})?"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z"
    r"|[+-][0-9]{2}:?[0-9]{2})?)?"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_SHORTEST_KNOWN: Final = 12
# Of words shorter than that: too few digits for a number, and no sign that an address, an assignment or a path needs.
_PLAIN: Final = lazy(r"[A-Za-z_-]*+(?:[0-9][A-Za-z_-]*+){0,8}")

_UNSEEN: Final = lazy("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_WIDE: Final = lazy("[\uff01-\uff5e]{3}")
_HIDING: Final = lazy(r"&#|\\u00|%(?:4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]|7[0-9Aa])")
_SIGNS: Final = {0xFF1A: ":", 0xFF1D: "="}
_ESCAPED: Final = lazy(
    r"&#(?:[xX]([0-7][0-9A-Fa-f])|([0-9]{2,3}));|(?:\\u00|%(?=4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]"
    r"|7[0-9Aa]))([2-7][0-9A-Fa-f])"
)
_NARROW: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}

_SHORTEST_OWN_WORD: Final = 3
# Names of users and machines that name nobody, and the words of the markers.
_COMMON: Final = word_set("""
    root admin administrator user users username guest test tester testing demo nobody system service daemon default
    public owner home host hostname localhost localdomain local lan internal computer machine laptop desktop
    workstation server client node worker master main app apps application appuser web www api data database mysql
    postgres redis nginx apache mail git build builder runner runneradmin jenkins gitlab github actions docker podman
    container pod kubernetes vagrant cloud ec2-user azureuser vscode codespace jovyan sandbox work workspace dev devel
    developer prod production staging stage backup linux ubuntu debian fedora centos alpine arch raspberrypi windows
    macos mac macbook imac android ios python java name email phone token path card iban ssn removed cut url key the
    and for new none null true false
""")


class Tally(dict[str, int]):
    """What was removed from one event: kinds and how often, never a value."""

    def count(self, kind: str, times: int = 1) -> None:
        """Count so many more of *kind*."""
        self[kind] = self.get(kind, 0) + times


class Scrubber:
    """Removes what must not leave. Any number of threads may share one.

    Args:
        own_words: This machine's user and host names. Those of fewer than three characters and those that name nobody
            (``root``, ``localhost``) are no secrets by themselves.
    """

    def __init__(self, own_words: Iterable[str] = ()) -> None:
        words = {word for word in own_words if len(word) >= _SHORTEST_OWN_WORD and word.lower() not in _COMMON}
        longest_first = sorted((word for word in words if any(map(str.isalpha, word))), key=len, reverse=True)
        either = "|".join(map(re.escape, longest_first)) or "(?!)"
        self._own = re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])", re.IGNORECASE)
        # What a property's name says about its value, inside the map *parent* if there is one. A program's events
        # have the same few names, call after call.
        self.rule = lru_cache(_MOST_RULES)(self._rule)

    def _rule(self, name: str, parent: str = "") -> NameRule:
        return name_rule(name, parent)._replace(unclean=not self.is_clean(name))

    def text(self, text: str, tally: Tally | None = None, reading: str = "") -> str:
        """Return *text* with every secret in it replaced by a marker.

        Costs a third of a microsecond for a word, and time linear in the text for any other.

        Args:
            text: Any text. What stands after its first 8192 characters is cut off.
            tally: Where to count what is removed.
            reading: How its ambiguous shapes are read: see `NameRule`.
        """
        if is_plain(text) and not self._own.search(text):
            return text
        tally = Tally() if tally is None else tally
        if (not text.isascii() or _HIDING.search(text)) and (plainly := _plainly_written(text)) != text:
            # Only where something is hidden by it: in some scripts, and in emoji, such characters mean something.
            found = self.text(plainly, tally, reading)
            if found != plainly:
                return found
        if len(text) > LONGEST_TEXT:
            return self.text(text[:LONGEST_TEXT], tally, reading)[:-_DOUBTFUL] + CUT_MARK
        # What is left and right of something removed may form a new shape with its marker.
        for _ in range(_MOST_ROUNDS):
            before = text
            suspect = _SUSPECT if len(text) < tokens.SHORTEST_RANDOM else _SUSPECT_OR_LONG
            if suspect.search(text) and not _HARMLESS.fullmatch(text):
                text = without_shapes(text, tally, reading)
            text, times = self._own.subn("[local]", text)
            if times:
                tally.count("own name", times)
            if text == before:
                break
        return text

    def number(self, value: float, tally: Tally, reading: str = "") -> float | str:
        """Return *value*, or a marker if it is the number of a card."""
        if not LEAST_CARD_NUMBER <= value < 10**19 or reading == QUANTITY or value != int(value):
            return value
        if not shapes.is_card_number(str(int(value))):
            return value
        tally.count("card")
        return "[card]"

    def is_clean(self, text: str) -> bool:
        """Tell whether there is nothing to remove from *text*."""
        return self.text(text) == text


def _plainly_written(text: str) -> str:
    """Return *text* without characters that show nothing, and with what stands for usual letters as these.

    Either would hide a secret from all that is looked for, and from nobody who reads it: full-width letters, those of
    other scripts that look like Latin ones in the middle of a Latin word, and escapes of markup and of JSON.
    """
    text = _UNSEEN.sub("", text)
    text = text.translate(_NARROW) if _WIDE.search(text) else text.translate(_SIGNS)
    text = _ESCAPED.sub(lambda it: chr(int(it[1] or it[3], 16) if it[1] or it[3] else int(it[2])), text)
    return MIXED.sub(lambda word: word.group().translate(LOOK_ALIKES), text)


def is_plain(text: str) -> bool:
    """Tell whether *text* is so short and simple a word that `without_shapes` would find nothing in it."""
    return len(text) < _SHORTEST_KNOWN and _PLAIN.fullmatch(text) is not None and "ip-" not in text


def without_shapes(text: str, tally: Tally, reading: str) -> str:
    """Return *text* without what its form gives away; this machine's own names are not looked for."""
    count = tally.count
    if "/" in text or "%" in text:
        text = locations.without_urls(text, count)
    if "?" in text:
        text = locations.without_queries(text, count)
    text = tokens.without_assigned(text, count)
    text = tokens.without_codes(text, count)
    text = shapes.without_persons(text, count)
    if "@" in text or "\uff20" in text or "%40" in text:
        text = shapes.without_emails(text, count)
    elif "at" in text or "AT" in text:
        text = shapes.without_written_out_emails(text, count)
    if "/" in text or "\\" in text or "%" in text:
        text = locations.without_file_paths(text, count, routes=reading == ROUTE)
        if reading == ROUTE and text.startswith("/"):
            text = locations.without_ids(text, count)
    if len(text) >= _SHORTEST_KNOWN:
        text = tokens.without_known(text, count)
    if ":" in text or "." in text or "-" in text:
        text = shapes.without_ips(text, count, is_version=reading == VERSION)
    text = shapes.without_numbers(text, count)
    text = locations.without_places(text, count)
    return tokens.without_random(text, count) if len(text) >= tokens.SHORTEST_RANDOM else text
