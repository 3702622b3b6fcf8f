"""URLs and file paths inside a text: what of them may leave. Pure.

Of a URL stay the scheme, a public host and the words of the path: no credentials, query, fragment or parameters, no
address or private host, no ids and tokens in the path. Of an absolute file path nothing stays; a relative one stays,
for it says nothing about this machine.

`/data/notes` may be a file or a route of a web app. It is a file when it begins with a directory that file systems
have at their root and is none of a few well-known routes (`/home/dashboard`, `/data/export`), or when it names a
program's or a document's file. Under a name such as `route` or `page`
(`names.ROUTE`) only what cannot be a route is a file: a home, a drive, a share.

Where a path ends in a running text cannot be known: a directory may hold spaces. So one goes on over words as long as
one of the next few has a separator or ends a file's name, and to the closing quote when it is quoted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.scrub.names import word_set
from telemetry_sdk.analytics.scrub.shapes import replaced
from telemetry_sdk.host import lazy

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

# URLs

_URL: Final = lazy(r"(?::(?://|\\/\\/)|%3[Aa]%2[Ff]%2[Ff])([^\s\"'<>`]*)")
_SCHEME: Final = lazy(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_LONGEST_SCHEME: Final = 24
_LOCAL_SCHEMES: Final = ("file", "smb", "cifs", "afp", "nfs", "unix", "npipe")
# A name without a dot in these is a machine of a private network; in others, as in `chrome://settings`, a word.
_NETWORK_SCHEMES: Final = word_set("""
    http https ws wss ftp ftps sftp ssh git svn rsync telnet vnc rdp postgres postgresql mysql mariadb mssql sqlserver
    oracle mongodb srv redis rediss memcached elasticsearch clickhouse cassandra amqp amqps kafka nats mqtt mqtts ldap
    ldaps smtp smtps imap imaps pop3 tcp udp rtsp grpc docker
""") | {""}
_AUTHORITY_END: Final = lazy(r"[/?#\\]")
_PATH_END: Final = lazy(r"[?#;]")
_SAYS_SOMETHING: Final = lazy(r"\w")
_PORT: Final = lazy(r":[0-9]*\Z")
_NUMERIC_HOST: Final = lazy(r"[0-9.]+|.*[0-9]{1,3}(?:[.-][0-9]{1,3}){3}.*")
_PRIVATE_HOST: Final = lazy(r"(?i).*\.(?:local|localdomain|internal|intranet|lan|corp|home|private|arpa)\.?")
_LOCALHOST: Final = lazy(r"(?i)localhost|.*[{}\[\]*\u2026].*|\.*")
_ID: Final = lazy(
    r"(?<![A-Za-z0-9])(?:"
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{16,}+"
    r"|(?!(?:19|20)[0-9]{6}(?![0-9]))[0-9]{6,}+"
    r")(?![A-Za-z0-9])"
)
_QUERY: Final = lazy(r"(?:(?<=[\w/)\]}.*\"'-])|(?<!\S))\?[^\s?=&#\"'<>]{1,100}=[^\s\"'<>]*")
# "is it ok?yes=no": a sentence, of which a word follows two others.
_SENTENCE: Final = lazy(r"(?<!\S)[A-Za-z']++ [A-Za-z']++ [A-Za-z]++\Z")
_ANSWER: Final = lazy(r"\?[A-Za-z]++=[A-Za-z]++[.,;!?)]*")


# Where somebody is: numbers said to be a latitude, degrees, geographic points, codes for a place.
_PLACES: Final = lazy(
    r"(?P<label>(?i:\b(?:lat(?:itude)?|lon(?:g(?:itude)?)?|lng|geo)\b[\"']?(?:[ ]?[:=][ ]?[\"']?"
    r"|[ ])))[+-]?[0-9]{1,3}\.[0-9]{3,}(?:,[+-]?[0-9]{1,3}\.[0-9]+)?"
    r"|(?P<point>(?i:\bpoint) ?\( ?)[+-]?[0-9]{1,3}\.[0-9]+ [+-]?[0-9]{1,3}\.[0-9]+"
    r"|(?<![\w.])[0-9]{1,2}\.[0-9]{3,}\u00b0? ?[NS][, ]{1,3}[0-9]{1,3}\.[0-9]{3,}\u00b0? ?[EWO]\b"
    r"|(?<!\w)[NS] ?[0-9]{1,2}\.[0-9]{3,}[, ]{1,3}[EWO] ?[0-9]{1,3}\.[0-9]{3,}"
    r"|[0-9]{1,3}\u00b0 ?[0-9]{1,2}['\u2032\u2019](?: ?[0-9]{1,2}(?:[.,][0-9]+)?(?:[\"\u2033\u201d]|''))? ?[NSEWO]\b"
    r"|(?<![\w+])[23456789CFGHJMPQRVWX]{4,8}\+[23456789CFGHJMPQRVWX]{2,3}(?![\w+])"
    r"|(?<![\w/])///[a-z]{2,20}\.[a-z]{2,20}\.[a-z]{2,20}(?![\w.])"
)
_STREET: Final = lazy(
    r"\b[0-9]{1,5}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z][\w'-]+ ){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln"
    r"|Drive|Boulevard|Blvd"
    r"|Court|Way|Place|Square|Terrace|Crescent)\b\.?(?:, [A-Z][\w ]{2,30}(?:, [A-Z]{2})?(?: [0-9]{5})?)?"
    r"|\b[0-9]{1,4},? (?:rue|avenue|boulevard|place|chemin|via|calle|rua) (?:d[eu]s? |la |l')*[A-Z]\w+"
    r"|\b[A-Z\u00c4\u00d6\u00dc][\w\u00df-]{2,30}(?:stra(?:\u00df|ss)e|str\.|gasse|weg|platz|allee|straat"
    r"|laan|gatan) [0-9]{1,4}[a-z]?\b"
    r"(?:, [0-9]{4,5} [A-Z]\w+)?"
)


# One of these is in each, and looked for first.
_SIGNED: Final = lazy(r"[0-9]\.[0-9]{3}|\u00b0|[0-9A-Z]\+|///|[Pp][Oo][Ii][Nn][Tt] ?\(")
_STREETS: Final = lazy(
    r"[0-9][A-Za-z]? .*(?:St|Av|R(?:oa)?d|La?n|Dr|B(?:ou)?l|Co|Way|Pl|Sq|Te|Cr)|(?:stra(?:\u00df|ss)e|str\.|gasse"
    r"|weg|platz|allee|straat|laan|gatan) [0-9]"
    r"|[0-9],? (?:rue|avenue|boulevard|place|chemin|via|calle|rua) "
)
_PRIVATE_END: Final = lazy(r"\.(?:local|internal|corp|lan|intranet)")
# A machine of a private network outside of URLs: with a sign or a digit in its name, for `threading.local` has none.
_MACHINE: Final = lazy(
    r"(?i)(?<![\w.@/-])(?=[a-z.]{0,63}[0-9-])[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:local|internal|corp|lan"
    r"|intranet|localdomain)\b(?![\w(-])"
)


def without_places(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without coordinates, codes for a place and postal addresses."""

    def replace(found: re.Match[str]) -> str:
        count("place")
        return f"{found['label'] or found['point'] or ''}[place]"

    if "." in text and _PRIVATE_END.search(text):
        text = replaced(_MACHINE, "host", text, count)
    if _SIGNED.search(text):
        text = _PLACES.sub(replace, text)
    return replaced(_STREET, "place", text, count) if _STREETS.search(text) else text


def without_urls(text: str, count: Callable[[str], None]) -> str:
    """Return *text* with its URLs cut to what may leave; *count* is called with the kind of each thing cut."""

    def cut(found: re.Match[str]) -> str:
        scheme = _SCHEME.search(text[max(0, found.start() - _LONGEST_SCHEME) : found.start()])
        kinds: list[str] = []
        rest = _url_rest(scheme.group().lower() if scheme else "", _unescaped(found), kinds.append)
        for kind in kinds:
            count(kind)
        return f"://{rest}" if kinds else found.group()

    return _URL.sub(cut, text)


def _unescaped(found: re.Match[str]) -> str:
    rest = found.group(1)
    if found.group().startswith("%"):
        for code, sign in (("%2F", "/"), ("%3A", ":"), ("%40", "@"), ("%3F", "?"), ("%23", "#"), ("%26", "&")):
            rest = rest.replace(code, sign).replace(code.lower(), sign)
    return rest.replace("\\/", "/")


def _url_rest(scheme: str, rest: str, count: Callable[[str], None]) -> str:
    """Return what may stay of *rest*, the part of a URL after ``://``."""
    if scheme.rpartition("+")[2] in _LOCAL_SCHEMES or rest.startswith(("/", "\\")):
        if rest in ("", "[path]"):
            return rest
        count("path")
        return "[path]"
    end = _AUTHORITY_END.search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    credentials, _, host = authority.rpartition("@")
    if not credentials and "@" in tail and ":" in authority and not _PORT.search(authority):
        # A password with a slash in it: what looks like the port is not one.
        credentials, _, rest = rest.rpartition("@")
        host, slash, tail = rest.partition("/")
        tail = slash + tail
    if credentials:
        count("url credentials")
    is_network = bool(credentials) or scheme.rpartition("+")[2] in _NETWORK_SCHEMES
    return _host(host, count, is_network=is_network) + _url_path(tail, count)


def _host(host: str, count: Callable[[str], None], *, is_network: bool) -> str:
    port = _PORT.search(host)
    name, port_text = (host[: port.start()], port.group()) if port and not host.endswith("]") else (host, "")
    if (name.startswith("[") and ":" in name) or _NUMERIC_HOST.fullmatch(name):
        count("ip")
        return f"[ip]{port_text}"
    is_public = "." in name and ":" not in name and not _PRIVATE_HOST.fullmatch(name)
    is_word = "." not in name and not port and not is_network
    if is_public or is_word or _LOCALHOST.fullmatch(name):
        return host
    count("host")
    return f"[host]{port_text}"


def _url_path(tail: str, count: Callable[[str], None]) -> str:
    end = _PATH_END.search(tail)
    if end and _SAYS_SOMETHING.search(tail, end.end()):
        count("url query")
        tail = tail[: end.start()]
    return without_ids(tail, count)


def without_ids(path: str, count: Callable[[str], None]) -> str:
    """Return a URL's *path* without UUIDs, long hexadecimal and long decimal numbers: ids of things and persons."""
    return replaced(_ID, "id", path, count)


def without_queries(text: str, count: Callable[[str], None]) -> str:
    """Return *text* without the queries of URLs that have no scheme: ``/search?q=...``, or nothing but ``?q=...``."""

    def cut(found: re.Match[str]) -> str:
        if _ANSWER.fullmatch(found.group()) and _SENTENCE.search(text[max(0, found.start() - 64) : found.start()]):
            return found.group()
        count("url query")
        return ""

    return _QUERY.sub(cut, text)


# File paths

# A slash, also as JSON and URLs write it, and as URLs inside of URLs do.
_SLASH: Final = r"(?:\\?/{1,3}|%(?:25){0,3}2[Ff]|\\{1,2}u002[Ff])"
_ROOTS: Final = (
    "home|Users|root|var|etc|usr|opt|srv|mnt|media|Volumes|data|private|tmp|proc|sys|dev|boot|bin|sbin|lib64|snap"
    "|scratch|cygdrive|sdcard|System|Library|Applications|Network|net|nfs|afs|gpfs|lustre|dbfs|homes|nethome"
    "|cluster/home|export/home|nix/store|storage/emulated|content/drive|volume[0-9]+"
    "|run/(?:user|lock|media|secrets|docker|systemd)|lib/(?:x86_64|aarch64|systemd|modules|firmware|python)[^/]*"
)
# Nobody's home and no data: what web apps call their pages. A sentence's full stop may follow.
_PAGES: Final = (
    r"(?:home/(?:index|dashboard|overview|settings|profile|login|logout|about|help|feed|news|search|contact)"
    r"|data/(?:export|import|download))(?![\w/\\%-]|\.\w)"
)
_FILE_ENDINGS: Final = word_set("""
    py pyc pyi pyw pyx ipynb so dll dylib exe msi toml ini cfg conf env log lock db sqlite sqlite3 sql doc docx xls
    xlsx ppt pptx odt ods odp rtf tsv parquet pkl npy bak tmp key pem crt p12 kdbx sh bat ps1 c h cc cpp hpp rs go java
    kt swift rb cs psd dwg gz tar yml yaml
""")
# From the root means: after a space, a quote or a sign. `api/data/x` and `./data/x` begin elsewhere.
_FROM_ROOT: Final = r"(?<![\w/.\\}])"
# Not `/data/{id}`, `/home/<name>`, `/media/:id`: these are routes.
_BEGINS_SOMEWHERE: Final = lazy(r"(?<!\w)[/~]|[\\%$]|(?<![A-Za-z0-9])[A-Za-z]:/|-[A-Z]/")
_NAMED: Final = r"(?=[^\s{<:*\"'`|;,)\]}>])"
_ELSEWHERE: Final = (
    r"(?<![A-Za-z0-9])[A-Za-z](?::|%3[Aa])(?:\\{1,4}|//?|%5[Cc])(?=[^\s\"'`<>|?:;,])",  # a drive
    r"(?<![\\\w])\\{2,4}(?:[?.]\\{1,2}[^\s\"]|[\w.$-]{2,}+\\{1,2}[\w$])",  # a share
    r"(?<![:\w/\\.*])//[\w-]+/(?=\w)",  # the same with slashes
    r"(?<![\w/])\\{1,2}Users\\{1,2}(?=\w)",
    r"(?<![\w~/.])~(?:[^\W\d][\w.-]*)?[\\/](?=[^\s\"'`/])",
    r"\$(?:env:)?\{?(?:HOME|USERPROFILE|PWD|TMPDIR|XDG_\w{1,30}|APPDATA|LOCALAPPDATA)\}?[\\/](?=[^\s\"'`])",
    r"%(?:USERPROFILE|HOMEPATH|APPDATA|LOCALAPPDATA|TEMP|TMP)%[\\/](?=[^\s\"'`])",
)
_HOMES: Final = (
    rf"(?<![\w/]){_SLASH}(?:(?:mnt|cygdrive){_SLASH})?[A-Za-z]{_SLASH}(?:Users|home){_SLASH}{_NAMED}",
    rf"(?<![\w/]){_SLASH}home(?={_SLASH}[^\s/%\\]++{_SLASH}[^\s/]){_SLASH}{_NAMED}",
    rf"(?<![\w/]){_SLASH}(?:Users|root|Volumes|private|System|Library|Applications|Network){_SLASH}{_NAMED}",
    r"(?<![\w/.\\}])/root(?![\w/-])",
)
_CANNOT_BE_A_ROUTE: Final = lazy("|".join((*_HOMES, *_ELSEWHERE)))
_FILE: Final = lazy(
    rf"(?:{_FROM_ROOT}|(?<=\s-[A-Z])|(?<=\.\.)(?=/(?:home|Users)/)){_SLASH}(?!dev/null\b"
    rf"|{_PAGES})(?:{_ROOTS}){_SLASH}{_NAMED}"
    rf"|(?<=File \")/|{'|'.join((*_HOMES, *_ELSEWHERE))}"
    rf"|(?P<perhaps>{_FROM_ROOT}(?:/[\w.@+-]++){{2,}}+)"
)
_IN_PATH: Final = lazy(
    r"(?:[^\s\"'`<>|?:;,\u201c\u201d\u2018\u2019\xab\xbb]|:(?![0-9]+(?:[\s:,.)\]\"']|$))(?=[^\s\"'`<>])"
    r"|[;,](?=[^\s\"'`<>])|(?<=\w)['\u2019](?=\w))*+"
)
_CLOSING: Final = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\xab": "\xbb"}
_FARTHEST_QUOTE: Final = 1024
_GOES_ON: Final = lazy(r"[^\n\"<>|;:!?`\u201c\u201d]{0,160}")
_MOST_WORDS: Final = 8
_ENDS_A_FILE: Final = lazy(r".*\.[A-Za-z][A-Za-z0-9]{0,4}[.,)]*")
_HOME_OF_ONE: Final = lazy(r".*[\\/](?:home|Users)[\\/]+[A-Z][\w.-]*")
_CAPITALIZED: Final = lazy(r"[A-Z][\w-]*")


def without_file_paths(text: str, count: Callable[[str], None], *, routes: bool = False) -> str:
    """Return *text* with each absolute file path replaced; with *routes* only those that cannot be a route."""
    if not _BEGINS_SOMEWHERE.search(text):
        return text
    paths = _CANNOT_BE_A_ROUTE if routes else _FILE
    kept: list[str] = []
    done = position = 0
    while found := paths.search(text, position):
        start = found.start()
        end = position = _path_end(text, start, found.end())
        if _is_inside_a_route(text, start) or ("perhaps" in found.re.groupindex and _is_a_route(found)):
            continue
        kept += (text[done:start], "[path]")
        done = end
        count("path")
    return "".join((*kept, text[done:])) if kept else text


def _is_a_route(found: re.Match[str]) -> bool:
    perhaps = found["perhaps"]
    return perhaps is not None and perhaps.rpartition(".")[2].lower() not in _FILE_ENDINGS


def _is_inside_a_route(text: str, start: int) -> bool:
    """Tell whether what begins at *start* goes on a route whose part before is a template, as ``/<name>/data``."""
    before = text[max(0, start - 64) : start]
    return before.endswith((">", ")", "*", "]")) and "/" in before.split()[-1].replace("</", "")


def _path_end(text: str, start: int, end: int) -> int:
    """Return where the path ends whose first part is ``text[start:end]``."""
    closing = _CLOSING.get(text[start - 1 : start])
    quoted = closing is not None and _closing_quote(text, closing, end)
    if quoted:
        return quoted
    more = _IN_PATH.match(text, end)
    end = more.end() if more else end
    first = text[start:end]
    if not _ENDS_A_FILE.fullmatch(first[-16:]):
        end = _over_words(text, end, first)
    while end > start + 1 and text[end - 1] in ".,)]}!":
        end -= 1
    return end


def _closing_quote(text: str, quote: str, start: int) -> int:
    """Return where *quote* closes after *start*, or 0; an apostrophe inside a word does not."""
    limit = start + _FARTHEST_QUOTE
    at = text.find(quote, start, limit)
    while quote in "'\u2019" and 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum():
        at = text.find(quote, at + 1, limit)
    return max(at, 0)


def _over_words(text: str, end: int, first: str) -> int:
    """Return the end of a path that may hold spaces, of which *first* is what stands before the first space."""
    more = _GOES_ON.match(text, end)
    words = more.group().split(" ")[: _MOST_WORDS + 1] if more else []
    if len(words) < 2 or words[0]:
        return end
    last = 0
    if _HOME_OF_ONE.fullmatch(first[-64:]) and _CAPITALIZED.fullmatch(words[1]):
        last = 1
    for number, word in enumerate(words[1:], 1):
        if word.startswith(("/", "\\", "~")):
            break
        if "/" in word or "\\" in word:
            last = number
        elif _ENDS_A_FILE.fullmatch(word[-32:]):
            last = number
            break
    return end + len(" ".join(words[: last + 1])) if last else end
