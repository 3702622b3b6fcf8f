"""Browser and device families of a User-Agent header, by the library ua-parser if it is installed (extra ``web``).

Only the families leave this module: no version, no model, and never the header, which with these can tell one
person from all others. Without ua-parser, and for what it does not know, both are ``unknown``.

The first call loads ua-parser's tables, about 0.1 s once per process; one header takes about half a millisecond, and
the newest 256 are remembered. A header is looked at up to its 512th character, which bounds the time a hostile one
can take.
"""

from __future__ import annotations

import functools
import re
from typing import Final

UNKNOWN: Final = "unknown"
DEVICES: Final = ("desktop", "mobile", "tablet", "tv", "console", "bot", UNKNOWN)

_LONGEST: Final = 512
_REMEMBERED: Final = 256
_FAMILY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+_-]{0,31}")

# The first that is found in what ua-parser says of the device and the system, or in the header, names the device.
_DEVICES: Final = tuple(
    (device, re.compile(pattern, re.IGNORECASE))
    for device, pattern in (
        ("bot", r"spider|(?<!cu)bot\b|crawl|headless|^(?:kube-probe|elb-health|googlehc|postman)"),
        ("bot", r"^(?:curl|wget|python|go-http|java/|okhttp|axios|node|ruby|php)"),
        ("console", r"playstation|xbox|nintendo"),
        ("tv", r"\btv\b|smart-?tv|appletv|googletv|bravia|web0s|roku|chromecast|\baft[a-z]{1,4}\b"),
        ("tablet", r"ipad|tablet(?! ?pc)|kindle|playbook"),
        ("mobile", r"mobi|phone|ipod|blackberry"),
        ("tablet", r"android"),
        ("desktop", r"windows|macintosh|mac os|x11|linux|cros"),
    )
)


def browser_family(user_agent: str) -> str:
    """Return the family of the browser or program that sent *user_agent*, such as ``Firefox``."""
    return _families(_bounded(user_agent))[0]


def device_family(user_agent: str) -> str:
    """Return the kind of device that sent *user_agent*, one of `DEVICES`. Whatever is no person's is a ``bot``."""
    return _families(_bounded(user_agent))[1]


def family_name(text: str) -> str:
    """Return *text* if it may be a family's name, which no header is, else ``unknown``."""
    return text if _FAMILY.fullmatch(text) else UNKNOWN


def load() -> None:
    """Load ua-parser's tables now, so that no request waits for them later."""
    _families("Mozilla/5.0")


def _bounded(user_agent: str) -> str:
    return user_agent[:_LONGEST].encode("ascii", "replace").decode()


@functools.lru_cache(_REMEMBERED)
def _families(user_agent: str) -> tuple[str, str]:
    try:
        from ua_parser import parse
    except ImportError:
        return UNKNOWN, UNKNOWN
    if not user_agent:
        return UNKNOWN, UNKNOWN
    found = parse(user_agent)
    browser = found.user_agent.family if found.user_agent else ""
    device, system = found.device, found.os
    words = (device.family, device.brand, device.model) if device else ()
    facts = " ".join(word for word in (*words, system.family if system else "") if word)
    kinds = (kind for kind, pattern in _DEVICES if pattern.search(facts) or pattern.search(user_agent))
    return family_name(browser), next(kinds, UNKNOWN)
