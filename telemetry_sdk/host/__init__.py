"""Living in somebody else's process: what keeps us out of the host's way, from the first import on."""

from __future__ import annotations

import re
from typing import cast


class _Pattern:
    """Stands for a compiled pattern; after its first use it costs no more than that one."""

    __slots__ = ("_source", "findall", "finditer", "fullmatch", "match", "search", "sub", "subn")

    def __init__(self, source: str) -> None:
        self._source = source

    def __getattr__(self, method: str) -> object:
        """Compile, and keep the methods in their slots: called while those are empty only."""
        compiled = re.compile(self._source)
        for name in self.__slots__[1:]:
            setattr(self, name, getattr(compiled, name))
        return getattr(compiled, method)


def lazy(source: str) -> re.Pattern[str]:
    """Return the pattern of *source*, compiled when it is first used: all of them cost more than an import may."""
    return cast("re.Pattern[str]", _Pattern(source))
