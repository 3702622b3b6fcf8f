"""E-mail addresses, network addresses and the numbers of cards, accounts, persons and phones inside a text. Pure.

Judged ambiguous, and why it is decided so:

- 1.2.3.4 is an address, unless the text says version (``v1.2.3.4``, ``Chrome/120.0.0.0``, ``kernel 5.4.0.1``,
  ``1.2.3.4-beta``) or the property's name does. ``::`` is any machine and none.
- ``user@host`` is an e-mail address, ``app@1.2.3``, ``app@latest`` and ``icon@2x.png`` are none.
- A number is a card's when its prefix and length are and the check digit fits. One in ten numbers with such a prefix
  and length looks like that, so the 13 digits that cards once had are a product's (EAN); times since 1970 in any unit
  begin with a 1 until 2033 and never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.scrub.names import word_set
from telemetry_sdk.host import lazy

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

# E-mail. What a local part cannot hold ends it; everything else, of any script, may stand in it.

_AT: Final = r"@\uff20"
_NO_LOCAL: Final = (
    rf"\s{_AT}\"(),:;<>\[\]\\/=?&|{{}}`\u2018-\u201f\u00ab\u00bb\u2026\u3001\u3002\uff08\uff09\u300c\u300d"
)
_NO_LABEL: Final = (
    rf"\s{_AT}\x00-,./:-?\[-^`{{-\x7f\u2018-\u201f\u00ab\u00bb\u2026\u3001\u3002\uff0c\uff08\uff09\u300c\u300d-"
)
_EMAIL: Final = lazy(
    rf"(?:(?<![^{_NO_LOCAL}])(?:(?P<before>[^{_NO_LOCAL}]++):)?[^{_NO_LOCAL}]++|\"(?:[^\"\\\n]|\\.){{1,64}}+\")"
    rf"[{_AT}](?:\[[0-9A-Za-z.:]{{2,64}}\]|(?P<host>[^{_NO_LABEL}]++(?:[.\u3002-]{{1,3}}[^{_NO_LABEL}]++)*+)(?!://))"
)
_LABELS: Final = word_set("""
    mailto email e-mail mail from to cc bcc by contact author sender recipient reply-to sip xmpp acct
""")
_IS_VERSION: Final = lazy(
    r"[v^~]?[0-9]+(?:\.(?:[0-9]+|x))*+(?:[-+.][\w.+-]*(?:[0-9]|alpha|beta|rc|dev|next|canary|t?gz|zip|js|css|whl))?"
    r"|[1-9]x(?:\..*)?"
)
_IS_REVISION: Final = lazy(
    r"(?i)latest|next|main|master|head|trunk|alpha|beta|canary|stable|edge|lts|dev|nightly|sha[0-9]+|v?[0-9].*"
    r"|(?=[a-f]*[0-9])[0-9a-f]{6,}"
)

# A national number, of a trunk prefix and three groups and more; one with fewer is any number's.
_NATIONAL_PHONE: Final = lazy(
    r"(?<![\w.,/+-])\(?0[1-9][0-9]{1,4}\)?(?:[ /-][0-9]{2,4}){3,4}(?![\w/-]|[.,][0-9])"
    r"|(?i:(?<=\bcall )|(?<=\bphone )|(?<=\bphone: )|(?<=\btel )|(?<=\btel: )|(?<=\btel\. )|(?<=\bmobile: ))"
    r"\(?[0-9]{2,5}\)?(?:[ ./-]?[0-9]{2,5}){2,4}(?![\w])"
)
# The same of one or two groups, where they are long; with dots only as Americans write them.
_SHORT_PHONE: Final = lazy(
    r"(?<![\w.,/+-])0[1-9](?:\.[0-9]{2}){4}(?![\w-]|\.[0-9])"
    r"|(?<![\w.,/+-])0[1-9][0-9]{1,3} / [0-9](?: ?[0-9]){4,9}(?![\w-])|"
    r"(?<![\w.,/+-])00[1-9][0-9]{1,2}(?:[ /()-]{0,2}[0-9]){7,12}(?![\w/-])|"
    r"(?<![\w.,/+-])(?!0[89]00)\(?0[1-9][0-9]{1,4}\)?(?:[ /-][0-9]{5,8}|(?:[ -][0-9]{3,4}){2})(?![\w/-]|[.,][0-9])"
    r"|(?<![\w.-])[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}(?![\w-]|\.[0-9])"
    r"|(?i:\b(?:phone(?: number)?|mobile|cell|handy(?:nummer)?|mobil|telefono?|telefonnummer"
    r"|t\u00e9l(?:\u00e9phone)?|fon"
    r"|celular|\u0442\u0435\u043b|\u7535\u8bdd|\u96fb\u8a71)\b[.:=# ]{1,3})"
    r"\(?[0-9]{2,6}\)?(?:[ ./-]?[0-9]{2,6}){1,4}(?!\w)"
)
# What a person's documents are called, and what follows: capitals and digits, four of these at least.
_DOCUMENT: Final = lazy(
    r"(?P<label>\b(?:(?i:social security|national insurance|sozialversicherungsnummer|steuer-?(?:id|nummer)"
    r"|codice fiscale"
    r"|personnummer|personalausweis(?:nummer)?|f\u00f8dselsnummer|henkil\u00f6tunnus|aadhaar|passport"
    r"|reisepass|passeport"
    r"|pasaporte|passaporto|(?:number|licen[cs]e|registration) plates?|kennzeichen|driver'?s licen[cs]e"
    r"|driving licen[cs]e"
    r"|f\u00fchrerschein|(?:bank )?account|konto(?:nummer)?|routing|sort code|tax (?:id|number)|insured? number|iban)"
    r"|SSN|NI|SVNR|NIR|NIF|DNI|NIE|BSN|CPR|PESEL|CPF|CNPJ|PAN|IMEI|VIN|EIN|TIN|NHS)"
    r"(?:[ -]?(?i:no|nr|number|nummer|num|id|#)\b)?[.:=# ]{1,4})"
    r"(?=(?:[A-Z/. -]{0,6}[0-9]){4})[A-Z0-9](?:[A-Z0-9]|[ ./-](?=[A-Z]{0,3}[0-9]|[A-Z]\b)){3,24}(?!\w)"
)
_DAY_MONTH: Final = (
    r"(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2])[0-9]{2}|(?:19|20)?[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]"
    r"|[12][0-9]|3[01])"
)
# The forms of national ids that nothing else has.
_NATIONAL_ID: Final = lazy(
    rf"(?<![\w.-])(?:(?:{_DAY_MONTH})[-+A][0-9]{{3}}[0-9A-Z]|[A-Z]{{2}}(?: ?[0-9]{{2}}){{3}} ?[A-D]"
    r"|[A-Z]{6}[0-9]{2}[A-EHLMPR-T][0-9]{2}[A-Z][0-9]{3}[A-Z]|[A-Z]{3}[PCHABGJLFT][A-Z][0-9]{4}[A-Z]"
    r"|[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}|[0-9]{2}\.[0-9]{3}\.[0-9]{3}/[0-9]{4}-[0-9]{2}"
    r"|[12] [0-9]{2} [01][0-9] [0-9]{2} [0-9]{3} [0-9]{3}(?: [0-9]{2})?)(?![\w-])"
)
_BIRTH: Final = lazy(r"[Bb]orn|[Bb]irth|D[Oo]B|dob|[Gg]eb|n\u00e9|[Nn]aci|[Nn]at[oa]")
_BORN: Final = lazy(
    r"(?P<label>(?i:\b(?:born|date of birth|birth ?date|dob|geboren|geb\.|geburtsdatum|n\u00e9e?|nacid[oa]"
    r"|nat[oa]|born on)\b"
    r"[ .:=]{0,3}(?:(?:on|am|the|le|el|il|in)\b ?)?))[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}"
)
_TITLED: Final = lazy(
    r"M[rsm]|Dr|Prof|Herr|Frau|S[ri]|in as |[Uu]ser|USER|[Pp]atient|[Cc]ustomer|[Cc]lient|[Ee]mployee"
    r"|[Kk]und|[Bb]enutz|[Nn]ame:|role|acc"
)
_PERSON: Final = lazy(
    r"(?P<label>\b(?:(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau|Mme|Sra?|Sig)\b\.? (?=[A-Z\u00c0-\u00de]\w+\b)"
    r"|(?:(?:user|patient|patientin|customer|client|employee) |(?i:user|patient(?:in)?|customer|client|employee|kunde"
    r"|kundin|benutzer|name): ?)(?=[A-Z\u00c0-\u00de][\w'-]+ [A-Z\u00c0-\u00de])))"
    r"[A-Z\u00c0-\u00de][\w'-]+(?: [A-Z\u00c0-\u00de][\w'-]+)?"
    r"|(?P<quoted>\b(?i:user|role|account) (?=\"[\w.@-]{3,64}\"|'[\w.@-]{3,64}'))[\"'][\w.@-]+[\"']"
    r"|(?P<as>\b(?i:(?:signed|logged) in as) (?!(?i:guest|admin|root|user|anonymous|nobody|test|demo|a|an"
    r"|the)\b))[\w.@-]+"
)
# A latitude and a longitude, to some ten metres and finer. Fractions of one are what is counted.
_PLACE: Final = lazy(
    r"(?<![\w.])[+-]?(?!0\.)(?:90|[0-8]?[0-9])\.[0-9]{4,17}(?:[ \t]{0,3}[,;/][ \t]{0,3}|\u00b0[ ]?[NS][, ]{1,3})"
    r"[+-]?(?:1[0-7][0-9]|180|[0-9]{1,2})\.[0-9]{4,17}(?![\w.])"
)

# Network addresses

_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_QUAD: Final = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_IPV4: Final = lazy(rf"(?<![0-9])(?<![0-9]\.)(?<!\b[vV]){_QUAD}(?![0-9])(?!\.[0-9])")
_DASHED_IPV4: Final = lazy(r"(?<![\w-])ip-[0-9]{1,3}(?:-[0-9]{1,3}){3}(?![\w-])")
_OF_A_VERSION: Final = lazy(
    r"(?i:\b(?:version|ver|release|build|revision|rev|kernel|firmware|driver|bios|section|clause|oid)[ .:=]{0,3})\Z"
    r"|(?:^|[\s(;,])[A-Z][\w.-]*/\Z"
)
# Not the `n` of "\\n1.2.3.4", the `D` of "%3D1.2.3.4" and what is said of machines.
_OF_A_NAME: Final = lazy(
    r"(?<![\\%\w])(?!(?i:ip|ipv|ips|inet|addr|address|host|hosts|from|to|at|by|on|via|for|is|was|server|client|peer"
    r"|node|src|dst|source|dest|remote|local|gateway|gw|router|proxy|dns|web|worker|srv|db|vm|pc"
    r"|vpn)\Z)[A-Za-z]{1,24}\Z"
    r"|\b(?:iTunes|Chrome|Chromium|Firefox|Safari|Opera|Vivaldi|Photoshop|Lightroom|Illustrator|Acrobat|Excel"
    r"|Outlook|Skype|Zoom|Electron|WebView2|DirectX) \Z"
)
_PRE_RELEASE: Final = lazy(
    r"[-+]?(?:[ab][0-9]{1,2}|(?:alpha|beta|rc|pre|preview|snapshot|nightly|canary|SNAPSHOT)[.-]?[0-9]*)(?![\w-])"
)
_OF_A_NETWORK: Final = lazy(r"(?:10|127|192\.168|169\.254|172\.(?:1[6-9]|2[0-9]|3[01]))\.")
_VERSION_ONLY: Final = lazy(r"[vV]?[0-9]+(?:\.[0-9]+)+(?:[-+ ].*)?")
_MAC: Final = lazy(
    r"(?<![\w:-])(?:[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}"
    r"|(?=[0-9-]*[A-Fa-f])[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5})(?![\w:-])"
)
# With a letter and a digit: others are a date and words.
_DOTTED_MAC: Final = lazy(
    r"(?<![\w.:-])(?=[0-9.]{0,13}[A-Fa-f])(?=[A-Fa-f.]{0,13}[0-9])[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}(?![\w-]|\.\w)"
)
_HEXES: Final = "[0-9A-Fa-f]{1,4}"
_LAST_GROUPS: Final = rf"(?:(?:{_HEXES}:){{0,5}}{_QUAD}|{_HEXES}(?::{_HEXES}){{0,6}})"
_IPV6_FORMS: Final = (
    rf"(?:(?<![\w:])::{_LAST_GROUPS}"
    # The first group has a digit or all four signs, for `abc::f1` is of a programming language.
    rf"|(?<!\w)(?=[0-9A-Fa-f]{{4}}:|[A-Fa-f]{{0,3}}[0-9])(?=[A-Fa-f:]{{0,40}}[0-9])"
    rf"{_HEXES}(?::{_HEXES}){{0,6}}::{_LAST_GROUPS}?"
    # Eight pairs that end a longer row are a fingerprint.
    rf"|(?<!\w)(?<!\b[0-9A-Fa-f]{{2}}:)(?:{_HEXES}:){{6}}(?:{_HEXES}:{_HEXES}|{_QUAD})"
    r")(?!\w)(?!:[0-9A-Fa-f:])(?:%[\w.-]{1,32}+)?"
)
_IPV6: Final = lazy(rf"\[(?:{_IPV6_FORMS})\]|{_IPV6_FORMS}")

# Numbers

_SOME_DIGITS: Final = lazy(r"[0-9](?:[^0-9]{0,4}[0-9]){3}")
_MANY_DIGITS: Final = lazy(r"[0-9](?:[ \u00a0\u2013_()/-]{0,2}[0-9]){8}")
_DIGITS: Final = lazy(r"(?<![0-9])(?<![0-9]\.)[0-9](?:[ \u00a0\u2013_-]?[0-9]){11,}+")
_DECIMALS: Final = lazy(r"\.(?!0\b)[0-9]")
_DIGIT_GROUP: Final = lazy(r"[0-9]+")
_CARD_GROUPS: Final = frozenset(
    ((4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (6, 13), (8, 8), *((n,) for n in range(14, 20)))
)
_FIRST_GROUPS: Final = frozenset(groups[0] for groups in _CARD_GROUPS)
_MOST_GROUPS: Final = 5
_CARD: Final = lazy(
    r"4(?:[0-9]{15}|[0-9]{18})|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}"
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|(?:6(?:011|4[4-9][0-9]|[2357][0-9]{2})|35(?:2[89]|[3-8][0-9])|5[0678][0-9]{2})[0-9]{12,15}"
)
_ALNUM_BEFORE: Final = lazy(r"[A-Za-z0-9]+\Z")
_ALNUM_AFTER: Final = lazy(r"[A-Za-z0-9]*")
_HEX: Final = lazy(r"[0-9A-Fa-f]+")
_NEIGHBOURHOOD: Final = 64
_SHORTEST_HASH: Final = 24
_IBAN: Final = lazy(
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)(?![A-Za-z0-9])"
)
_SSN: Final = lazy(r"(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])")
_PHONE: Final = lazy(
    r"(?<![\w.+-])\+[1-9](?:[0-9]{9,14}|(?=[0-9]{0,4}[ \u00a0()/-])(?:[ \u00a0()/-]{0,2}[0-9]){8,14})(?![\w.])"
    r"|(?<![\w-])(?:\([0-9]{3}\) ?|[0-9]{3}-)[0-9]{3}-[0-9]{4}(?![\w-])"
)


def replaced(pattern: re.Pattern[str], kind: str, text: str, count: Callable[[str], None]) -> str:
    """Return *text* with a marker of *kind* for whatever *pattern* finds; each is counted."""
    text, times = pattern.subn(f"[{kind}]", text)
    for _ in range(times):
        count(kind)
    return text


def _labelled(pattern: re.Pattern[str], kind: str, text: str, count: Callable[[str], None]) -> str:
    """Return *text* with a marker of *kind* after the label of whatever *pattern* finds; each is counted."""

    def replace(found: re.Match[str]) -> str:
        count(kind)
        return f"{next(filter(None, found.groups()), '')}[{kind}]"

    return pattern.sub(replace, text)


def without_persons(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without names after a title or a word such as ``user``, ``patient``, ``signed in as``."""
    return _labelled(_PERSON, "user", text, count) if _TITLED.search(text) else text


_WRITTEN_OUT: Final = lazy(
    r"[\w.+-]{1,64}+ ?(?:[\[({] ?(?:at|AT) ?[\])}]| AT ) ?[\w-]{1,64}+(?: ?(?:[\[({] ?(?:dot|DOT) ?[\])}]"
    r"| DOT |\.) ?\w{2,24}+){1,4}"
)


def without_emails(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without e-mail addresses and ``user@host``, nor ``user:password@host``."""

    def replace(found: re.Match[str]) -> str:
        before, host = found["before"], found["host"]
        if host is not None and not _is_mail_host(host):
            return found.group()
        quote = "'" if found.group().startswith("'") else ""
        if before is None or before.lower() in _LABELS:
            count("email")
            return f"{quote}{before + ':' if before else ''}[email]"
        count("token")
        return f"{quote}[token]"

    if "%40" in text:
        plain = text.replace("%40", "@")
        replaced = _EMAIL.sub(replace, plain)
        return replaced if replaced != plain else text
    return _EMAIL.sub(replace, text)


def without_written_out_emails(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without addresses such as ``jane (at) example (dot) com``."""
    return replaced(_WRITTEN_OUT, "email", text, count)


def _is_mail_host(host: str) -> bool:
    """Tell a host after an ``@`` from a version, a revision or the scale of an image."""
    if _IPV4.fullmatch(host):
        return True
    if "." in host or "\u3002" in host:
        return not _IS_VERSION.fullmatch(host)
    return len(host) > 1 and not _IS_REVISION.fullmatch(host)


def without_ips(text: str, count: Callable[[str], None], *, is_version: bool = False) -> str:
    """Return *text* without network and hardware addresses; a whole text like 1.2.3.4 stays if it *is_version*."""

    def replace(found: re.Match[str]) -> str:
        quad, before = found.group(), text[max(0, found.start() - 32) : found.start()]
        is_private = _OF_A_NETWORK.match(quad) is not None
        if _OF_A_VERSION.search(before) and not (before.endswith("/") and is_private):
            return quad
        if not is_private and (_OF_A_NAME.search(before) or _PRE_RELEASE.match(text, found.end())):
            return quad
        count("ip")
        return "[ip]"

    colons = text.count(":")
    if colons >= 5 or text.count("-") >= 5:
        text = replaced(_MAC, "mac", text, count)
    if "::" in text or colons >= 6:
        text = replaced(_IPV6, "ip", text, count)
    if "ip-" in text:
        text = replaced(_DASHED_IPV4, "ip", text, count)
    dots = text.count(".")
    if dots >= 2:
        text = replaced(_DOTTED_MAC, "mac", text, count)
    if dots < 3 or (is_version and _VERSION_ONLY.fullmatch(text)):
        return text
    return _IPV4.sub(replace, text)


def without_numbers(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without the numbers of cards, bank accounts, persons and phones."""

    def iban(found: re.Match[str]) -> str:
        compact = found.group().replace(" ", "")
        if int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 != 1:
            return found.group()
        count("iban")
        return "[iban]"

    if "." in text:
        text = replaced(_PLACE, "place", text, count)
    if not _SOME_DIGITS.search(text):
        return text
    if _BIRTH.search(text):
        text = _labelled(_BORN, "date", text, count)
    text = _labelled(_DOCUMENT, "id", text, count)
    text = replaced(_SHORT_PHONE, "phone", text, count)
    text = replaced(_NATIONAL_ID, "id", text, count)
    if not _MANY_DIGITS.search(text):
        return text
    text = _IBAN.sub(iban, text)
    text = _DIGITS.sub(lambda found: _without_cards(found, count), text)
    text = replaced(_SSN, "ssn", text, count)
    text = replaced(_PHONE, "phone", text, count)
    return replaced(_NATIONAL_PHONE, "phone", text, count)


def _without_cards(found: re.Match[str], count: Callable[[str], None]) -> str:
    """Return a run of digit groups without the card numbers in it."""
    run = found.group()
    if _is_in_hash(found):
        return run
    groups = [(group.start(), group.end()) for group in _DIGIT_GROUP.finditer(run)]
    if _DECIMALS.match(found.string, found.end()):
        groups.pop()  # it is the whole part of a decimal number
    kept: list[str] = []
    done = first = 0
    while first < len(groups):
        last = _card_at(run, groups, first)
        if last is not None:
            count("card")
            kept += (run[done : groups[first][0]], "[card]")
            done, first = groups[last][1], last
        first += 1
    return "".join((*kept, run[done:]))


def _card_at(run: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """Return the last of the digit groups that from *first* on make up a card's number, or None."""
    start, end = groups[first]
    if end - start not in _FIRST_GROUPS:
        return None
    for last in range(first, min(first + _MOST_GROUPS, len(groups))):
        taken = groups[first : last + 1]
        lengths = tuple(end - start for start, end in taken)
        if lengths in _CARD_GROUPS and is_card_number("".join(run[start:end] for start, end in taken)):
            return last
    return None


def is_card_number(digits: str) -> bool:
    """Tell whether *digits* have the prefix and length of a card's number, and its check digit fits (Luhn)."""
    if not _CARD.fullmatch(digits):
        return False
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_in_hash(found: re.Match[str]) -> bool:
    """Tell whether a number is a part of something hexadecimal, by the letters around it."""
    text, start, end = found.string, found.start(), found.end()
    before = _ALNUM_BEFORE.search(text[max(0, start - _NEIGHBOURHOOD) : start])
    after = _ALNUM_AFTER.match(text[end : end + _NEIGHBOURHOOD])
    around = (before.group() if before else "") + (after.group() if after else "")
    return end - start + len(around) >= _SHORTEST_HASH and _HEX.fullmatch(found.group() + around) is not None
