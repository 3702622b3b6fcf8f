"""Passwords, keys and tokens inside a text. Pure.

Found by what stands around them (PEM blocks, ``Authorization:``, ``password=``, ``Bearer``), by the prefix their
issuer gives them, or because no word looks like that: letters of both cases and digits change places all the time,
over 20 characters and more. Base64 of a short word, identifiers, file names and slugs pass. So does hexadecimal of any
length, which is the hash of something public (a commit, a release), and so do UUIDs, ULIDs and ``sha512-...``.
"""

from __future__ import annotations

import binascii
from functools import partial
from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.scrub.shapes import replaced
from telemetry_sdk.host import lazy

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

# Said to be one

_PEM: Final = lazy(r"-----BEGIN [^-\n]{1,64}-----(?:[^-]++|-(?!----END ))*+(?:-----END [^-\n]{1,64}-----)?")
# What says nothing after "password:": words of prose, and a marker.
_NOTHING: Final = (
    r"(?:\[[a-z]{2,7}\][})\]]*(?:[\s&;,\"'<>\\]|\Z)"
    r"|(?:required|missing|invalid|incorrect|wrong|expired|expires|revoked|empty|unset|changed|updated|reset|rejected"
    r"|accepted|failed|failure|hidden|redacted|removed|sent|enabled|disabled|on|off|ok|valid|yes|no|none"
    r"|null|nil|true"
    r"|false|undefined|unknown|must|should|cannot|too|at|an?|the|is|was|not|and|or|for|your|please|\*+)"
    r"(?![\w@$%^&+=-]|\.\w))"
)
_NOBODY: Final = r"(?:admin|anonymous|default|guest|nobody|root|system|test|user)(?![\w@.-])"
_SECRET_WORDS: Final = (
    *("pass", "secret", "token", "key", "auth", "cookie", "credential", "sess", "sid", "pwd", "jwt", "otp"),
    *("zugangsdaten", "pw", "cvv", "csrf", "xsrf", "signature"),
    # ... and what begins otherwise in other languages
    *(
        "kennwort",
        "contrase",
        "senha",
        "parola",
        "clave",
        "passord",
        "jelsz",
        "\u03ba\u03c9\u03b4",
        "wachtwoord",
        "senord",
        "haslo",
        "has\u0142o",
        "heslo",
        "sifre",
    ),
    *("\u015fifre", "adgangskode", "salasana", "\u043f\u0430\u0440\u043e\u043b", "\u5bc6\u7801", "\u5bc6\u78bc"),
    *("\u30d1\u30b9\u30ef\u30fc\u30c9", "\ube44\ubc00\ubc88\ud638"),
)
_FOREIGN: Final = (
    r"passwort|kennwort|contrase(?:\u00f1|n)a|mot[ ]de[ ]passe|senha|parola|wachtwoord|l(?:\u00f6|o)senord"
    r"|passord|jelsz(?:\u00f3|o)|\u03ba\u03c9\u03b4\u03b9\u03ba\u03cc\u03c2|clave(?=[ \t]?[:=])"
    r"|has(?:\u0142|l)o|heslo|adgangskode|salasana|(?:s|\u015f)ifre|\u043f\u0430\u0440\u043e\u043b\u044c"
    r"|\u5bc6\u7801|\u5bc6\u78bc|\u30d1\u30b9\u30ef\u30fc\u30c9|\ube44\ubc00\ubc88\ud638"
)
_USER_WORDS: Final = ("user", "login", "logname", "uid", "owner")
_NAMED: Final = (
    rf"(?<!unexpected )(?!(?<=\[)token\])(?:{_FOREIGN}|pass(?:word|wd|phrase|code)|secret|token|api[ _-]?key"
    r"|credentials?"
    r"|(?:secret|access|private|account|shared|signing|license)[ _-]?key|session[ _-]?id|sessid"
    r"|zugangsdaten|(?<![a-z])(?:pwd|pw(?=[ \t]?[:=])|jwt|otp|cvv|csrf|xsrf|sid"
    r"|pass(?=[ \t]?=[ \t]?[^\s0-9]))|sharedaccesssignature)"
    r"(?:[_-](?:base|id|value|hash|string))?"
)
_SIGN: Final = r"(?:\\?[\"'])?\]?[ \t]{0,3}(?:=>|:=|[:=]|%3D|(?<=\w)>)[ \t]{0,3}"
# "the password is hunter2", and not "is required".
_IS: Final = r"[ \t](?:is|was)[ \t](?=\S{6})(?=\S{0,40}[0-9!#$%^*])"
_VALUE: Final = r"(?:\\\"[^\"\\]*+(?:\\\")?|\"(?:[^\"\\]|\\.)*+\"?|'(?:[^'\\]|\\.)*+'?|[^\s&;,\"'<>]++)"
_HEADER: Final = lazy(
    r"(?i)((?<![a-z])(?:(?:proxy-|x-)?authori[sz]ation|(?:set-)?cookie|passphrase"
    r"|x-[a-z-]{0,30}(?:key|token|secret|auth))"
    rf"(\\?[\"']?)[ \t]{{0,3}}[:=][ \t]{{0,3}})(?!\\?[\"']?{_NOTHING})(?=\S)"
    r"(\\?\"(?:[^\"\\\n\r]|\\.)*+\"?|'(?:[^'\\\n\r]|\\.)*+'?|[^\n\r]++)"
)
# In "pass = password: hunter2" it is the last one that is told.
_ASSIGNED: Final = lazy(
    rf"(?i)({_NAMED}(?:{_SIGN}|{_IS})|(?<![\w-])--[a-z-]{{0,20}}?{_NAMED}[ \t]{{1,3}})"
    # Of what is quoted the whole must be a word that says nothing: a passphrase may begin with any.
    rf"(?!{_NOTHING}|\\?[\"']{_NOTHING}(?:\\?[\"']|\Z|(?<=[\"'])|(?<=\]))"
    rf"|\\?[\"']?{_NAMED}(?:{_SIGN}\S|[ \t](?:is|was)[ \t])){_VALUE}"
)
_ASSIGNED_USER: Final = lazy(
    r"(?i)((?<![a-z])(?:user(?:[ _-]?name)?|user id|login|logname|uid|owner(?=[ \t]?=))"
    r"(?:[ \t]?=[ \t]?|\\?[\"'][ \t]?[:=][ \t]?(?=\\?[\"'])|(?<=name):[ \t]?))"
    rf"(?!\\?[\"']?(?:{_NOTHING}|{_NOBODY}|[0-9]+(?![\w(]))){_VALUE}"
)
# As `curl -u name:password`, and not as `docker run -u 1000:1000`.
_CREDENTIALS: Final = lazy(
    r"(?<![\w-])(-u[ \t]{1,3}|--(?:proxy-)?user(?:=|[ \t]{1,3}))(?![0-9]{1,10}:[0-9]{1,10}(?!\S))"
    r"(?=[\"']?[^\s:\"'\[+/]{1,100}:(?!//)[^\s\"'])(?:\"[^\"\n]*+\"?|'[^'\n]*+'?|[^\s\"']++)"
)
# What parsers call tokens, and a session's number that says nothing.
_PARSED: Final = lazy(
    r"(?i)(?:identifier|keyword|operator|literal|punctuat(?:or|ion)|eof|newline|indent|dedent|string|number|comment"
    r"|whitespace)[.)]*|([\"']?)[^\w\s\"'\[\]]{1,3}\1"
)
_SMALL: Final = lazy(r"[0-9]{1,4}[.)]*")
_SCHEME: Final = lazy(r"(?i)(?<![a-z])(bearer|basic)([ \t]{1,3})([A-Za-z0-9._~+/=-]{6,}+)")
_MIXED: Final = lazy(r"(?![A-Z][a-z]+[0-9]{1,3}\Z)(?=.*[0-9])(?=.*[A-Z])(?=.*[a-z])[A-Za-z0-9]+|.+=")
_ABOUT_BEARERS: Final = lazy(
    r"(?i)(?:tokens?|auth(?:entication|orization)?|schemes?|headers?|instruments?|security|securities|formats?"
    r"|required|missing|invalid|expired|failed)[.]?"
)

# Known by its prefix

_LONG_ENOUGH: Final = lazy(r"[\w-]{12}|eyJ|hooks\.slack\.com/services/")
_KNOWN: Final = lazy(
    r"(?<![A-Z0-9])(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{16}"
    r"|(?<![A-Za-z0-9])(?:gh[opsur]_[A-Za-z0-9]{16,}+"
    r"|(?:sk|rk|pk)_(?:live|test|prod)_(?:(?=[A-Za-z_]{0,40}[0-9])\w{8,}+|[A-Za-z]{14,}+)"
    r"|sk-(?:(?=[a-zA-Z_-]{0,40}[0-9])[\w-]{16,}+|[A-Za-z]{20,}+)|eyJ[\w-]{6,}+(?:\.[\w=-]*+){0,4}"
    r"|(?:AC|SK)[0-9a-f]{32}(?![A-Za-z0-9])|key-[0-9a-z]{32})"
    r"|gl(?:pat|dt|rtr?|cbt|ptt|ft|imt|agent|wt|soat|ffct|oas)-[\w-]{16,}+|github_pat_\w{16,}+"
    r"|glc_[\w+/=-]{16,}+|glsa_\w{16,}+|xox[a-z]-[\w-]{8,}+|xapp-[\w-]{8,}+|whsec_[\w+/=]{16,}+"
    r"|AIza[\w-]{24,}+|ya29\.[\w-]{16,}+|GOCSPX-[\w-]{16,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+|hv[sbr]\.[\w-]{20,}+"
    r"|npm_[A-Za-z0-9]{24,}+|pypi-[\w-]{40,}+|hf_[A-Za-z0-9]{24,}+|figd_[\w-]{20,}+"
    r"|secret_[A-Za-z0-9]{30,}+|(?<!\w)s\.[A-Za-z0-9]{20,}+|do[opr]_v1_[0-9a-f]{32,}+|dapi[0-9a-f]{32}"
    r"|shp[a-z]{2}_[0-9a-fA-F]{24,}+|sq0[a-z]{3}-[\w-]{16,}+|lin_api_\w{20,}+|dp\.(?:pt|st|ct|sa|scim)\.\w{20,}+"
    r"|(?:ntn|sbp|pscale_[a-z]{2,10}|sntry[su])_[\w=+-]{20,}+|(?:NRAK|PMAK|ATATT3|AGE-SECRET-KEY-1)[\w=+-]{20,}+"
    r"|(?<![0-9])[0-9]{8,10}:AA[\w-]{30,}+|(?<![\w-])(?=[A-Z-]{0,28}[0-9])(?:[A-Z0-9]{5}-){4}[A-Z0-9]{5}(?![\w-])"
    r"|(?<=hooks\.slack\.com/)services/[\w/]++|(?<=/api/webhooks/)[\w/-]++"
)

# Random

SHORTEST_RANDOM: Final = 20
_RUN: Final = lazy(rf"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{{{SHORTEST_RANDOM},}}+={{0,2}}")
_PART: Final = lazy(r"[A-Za-z0-9]+")
_PIECE: Final = lazy(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
# The words of an identifier as `getElementsByTagNameNS2`: with vowels, and longer than chance makes them.
_WORDS: Final = lazy(r"[a-z]*+(?:[A-Z][a-z]+|[A-Z]{2,4}(?![a-z])|[0-9]{1,2}(?![0-9]))++")
_VOWEL: Final = lazy(r"[AEIOUYaeiouy]")
_MOST_NUMERALS: Final = 3
_HEX: Final = lazy(r"[0-9A-Fa-f]+")
_PUBLIC_HASH: Final = lazy(r"sha(?:1|256|384|512)-[A-Za-z0-9+/]{27,88}={0,2}")
_HASHES: Final = ("h1:", "sha1:", "sha256:", "SHA256:", "sha384:", "sha512:")
_ULID: Final = lazy(r"01[0-9A-HJKMNP-TV-Z]{24}")
_AWS_SECRET_LENGTH: Final = 40
_AWS_SECRET_CHANGES: Final = 6
_LONG: Final = 32


# One of these is in all that `_CODE` finds; looked for first, since it is seldom there.
_CODED: Final = lazy(
    r"[Pp]ass|PASS|PIN|OTP|TAN|PUK|[Cc]ode|CODE|[Cc][Vv][CVcv]|phrase|words?\b|basic auth|Basic|sshpass"
    r"|redis-cli|0x|bc1|\$[2a56s]"
    r"|[Ss]ecret|[Kk]ennw|[Cc]ontra|[Mm]ot de|[Ss]enha|[Pp]arol|[Ww]achtw|senord|[Cc]lave|[Jj]elsz"
    r"|[Hh]as[l\u0142]|[Hh]eslo"
    r"|[Aa]dgang|[Ss]alas|[Ss\u015f]ifre|[\u03ba\u043f\u041f\u5bc6\u30d1\ube44]"
)
# Codes for one use, said to be one; the words of a wallet; what is told as the secret of basic authentication.
_CODE: Final = lazy(
    # "password hunter2", "das Kennwort lautet Sommer2024", "password errata: segreto8": letters, then a digit.
    rf"(?P<told>(?i:\b(?:pass(?:word|wd|phrase)|{_FOREIGN})(?:[ \t][^\W\d]{{2,12}}){{0,2}}(?:[ \t]?[:=])?[ \t]))"
    r"(?=[^\s0-9]{2,40}[0-9])(?![a-z]+[0-9]{0,2}[.,;)]?(?:\s|\Z)[^\W\d])[^\W\d][^\s,;]{5,}+"
    r"|(?P<flag>\b(?:sshpass -p|redis-cli -a) ?)\S++|(?P<card>\b(?i:cv[vc]2?|card code)\b[ :=#]{1,3})[0-9]{3,4}\b"
    rf"|(?P<quoted>(?i:\b(?:pass(?:word|wd|phrase)|secret"
    rf"|{_FOREIGN}))[ \t](?=[\"'](?!{_NOTHING})))(?:\"[^\"\n]{{6,}}+\"|'[^'\n]{{6,}}+')|"
    r"(?P<code>\b(?:(?:OTP|PIN|TAN|PUK)\b|(?i:(?:verification|security|login|one-time|authentication|sms"
    r"|2fa|mfa|confirmation"
    r"|access|your)[ -]code)\b)(?:[ :=#]| is){1,4})[0-9](?:[ -]?[0-9]){3,7}(?!\w)"
    r"|(?P<words>(?i:\b(?:recovery|seed|mnemonic|backup) (?:phrase|words?) ?[:=] ?))(?:[a-z]{3,8} ){3,23}[a-z]{3,8}\b"
    r"|(?P<basic>(?i:\bbasic auth(?:entication)?:? ))[^\s:]{1,64}+:\S++"
    r"|(?P<hash>)\$(?:2[abxy]|argon2id?|argon2i|5|6|scrypt)\$[./A-Za-z0-9$,=]{12,}+"
    r"|(?P<wallet>)(?<!\w)(?:0x[0-9a-fA-F]{40}|bc1[02-9ac-hj-np-z]{25,60})(?!\w)"
)


def without_codes(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without codes for one use, recovery phrases, password hashes and wallets."""

    def replace(found: re.Match[str]) -> str:
        count("token")
        label = next(
            filter(None, map(found.groupdict().get, ("told", "flag", "card", "quoted", "code", "words", "basic"))), ""
        )
        return f"{label}[token]"

    return _CODE.sub(replace, text) if _CODED.search(text) else text


def without_assigned(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without what is said to be a secret in it: PEM blocks, headers, assignments, flags, schemes."""

    def value(kind: str) -> Callable[[re.Match[str]], str]:
        def replace(found: re.Match[str]) -> str:
            count(kind)
            return f"{found[1]}[{kind}]"

        return replace

    def scheme(found: re.Match[str]) -> str:
        name, space, credentials = found.groups()
        if not _is_basic(credentials) if name.lower() == "basic" else _ABOUT_BEARERS.fullmatch(credentials):
            return found.group()
        count("token")
        return f"{name}{space}[token]"

    if "-----BEGIN " in text:
        text = replaced(_PEM, "token", text, count)
    if "-u" in text and ":" in text:
        text = _CREDENTIALS.sub(value("token"), text)
    # These patterns are slow, and most texts have none of the words.
    lowered = text.lower()
    if any(word in lowered for word in _SECRET_WORDS):
        text = _HEADER.sub(partial(_without_header, count), text)
        text = _ASSIGNED.sub(partial(_without_secret, count), text)
    if any(word in lowered for word in _USER_WORDS):
        text = _ASSIGNED_USER.sub(value("user"), text)
    return _SCHEME.sub(scheme, text) if " " in text or "\t" in text else text


def _without_secret(count: Callable[[str], None], found: re.Match[str]) -> str:
    if _says_nothing(found[1], found.group()[len(found[1]) :]):
        return found.group()
    count("token")
    return f"{found[1]}[token]"


def _without_header(count: Callable[[str], None], found: re.Match[str]) -> str:
    """Remove a header's value to the end of its line: what is quoted within is a part of it.

    Where the whole header stands in quotes it ends with them.
    """
    opening = found.string[max(found.start() - 1, 0) : found.start()]
    value, before, rest = found[3], "", ""
    if opening in ("'", '"') and not found[2] and opening in value:
        rest = value[value.index(opening) :]
    elif (quote := value[: 1 + value.startswith("\\")])[-1:] in ("'", '"'):
        before, rest = quote, quote if value.endswith(quote) and len(value) > len(quote) else ""
    count("token")
    return f"{found[1]}{before}[token]{rest}"


def _says_nothing(name: str, value: str) -> bool:
    """Tell ``token: identifier`` and ``session id: 3`` from secrets."""
    name = name.rstrip(" \t:=>\"'").lower()
    if name.endswith("token"):
        return _PARSED.fullmatch(value) is not None
    return name.endswith("id") and _SMALL.fullmatch(value) is not None


def _is_basic(credentials: str) -> bool:
    """Tell ``user:password`` in base64 from what else a text may call basic: basic JavaScript."""
    try:
        decoded = binascii.a2b_base64(credentials + "==")
    except binascii.Error:
        decoded = b""
    return (b":" in decoded and min(decoded) >= ord(" ")) or _MIXED.fullmatch(credentials) is not None


def without_known(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without tokens that their prefix or form gives away."""
    return replaced(_KNOWN, "token", text, count) if _LONG_ENOUGH.search(text) else text


def without_random(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without long strings that look random."""

    def replace(found: re.Match[str]) -> str:
        run = found.group()
        is_hash = found.string.endswith(_HASHES, 0, found.start())
        if is_hash or _PUBLIC_HASH.fullmatch(run) or not _is_random(run):
            return run
        # A segment of a path, or base64 as a whole.
        segments = ["[token]" if _is_random(segment) else segment for segment in run.split("/")]
        found_tokens = segments.count("[token]")
        for _ in range(found_tokens or 1):
            count("token")
        return "/".join(segments) if found_tokens else "[token]"

    return _RUN.sub(replace, text)


def _is_random(run: str) -> bool:
    """Tell whether the kinds of characters change places in *run* more often than in any name made of words.

    Random letters and digits change at every second character, names at every fifth or less.
    """
    if len(run) < SHORTEST_RANDOM:
        return False
    has_digit = any(map(str.isdigit, run))
    changes = longest = 0
    for part in _PART.findall(run):
        if _HEX.fullmatch(part) or _ULID.fullmatch(part) or _is_of_words(part):
            continue
        changes_here = len(_PIECE.findall(part)) - 1
        if len(part) >= SHORTEST_RANDOM and changes_here >= len(part) * _rate(part, has_digit=has_digit):
            return True
        changes += changes_here
        longest = max(longest, len(part))
    if not has_digit:
        return False
    if len(run) == _AWS_SECRET_LENGTH and changes >= _AWS_SECRET_CHANGES:
        return True
    # Signs of base64 split it.
    return changes >= len(run) * 0.25 if len(run) >= _LONG else longest >= 8 and changes >= len(run) * 0.3


def _is_of_words(part: str) -> bool:
    """Tell whether *part* is an identifier in camel case with at most a few digits."""
    if not _WORDS.fullmatch(part) or sum(map(str.isdigit, part)) > _MOST_NUMERALS:
        return False
    words = [piece for piece in _PIECE.findall(part) if not piece.isdigit()]
    has_vowels = all(_VOWEL.search(word) for word in words if len(word) > 2 and not word.isupper())
    return has_vowels and sum(map(len, words)) >= len(words) * 3.5


def _rate(part: str, *, has_digit: bool) -> float:
    """Return how many changes a character make *part* random: fewer where its alphabet allows fewer."""
    if not has_digit:
        return 0.3
    if part.isupper():
        return 0.16
    return 0.25 if len(part) < _AWS_SECRET_LENGTH else 0.2
