"""The files of a host together: which file an import means, and who calls a function of which name."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from telemetry_sdk.catalog_tools.source_check.scopes import last_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from telemetry_sdk.catalog_tools.source_check.scopes import Call, Import, Module, Scope

__all__ = ["Sources"]


class Sources:
    """Every module, by its path without ``.py``; a package's ``__init__`` stands for its directory.

    Attributes:
        modules: The modules.
        classes: Every class in them.
        families: Each class with those it inherits from, as far as `values` has looked.
        heirs: Each class with those that inherit from it, likewise.
        callers: The calls of each function, as far as `calls` has looked, and which of them are certain.
    """

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules = list(modules)
        self.classes = [scope for module in self.modules for scope in module.classes]
        self.families: dict[Scope, list[Scope]] = {}
        self.heirs: dict[Scope, list[Scope]] = {}
        self.callers: dict[Scope, list[tuple[Call, bool]]] = {}
        self._by_path = {_module_path(module.path): module for module in self.modules}
        self._by_last_part: dict[str, set[str]] = defaultdict(set)
        self._calls: dict[str, list[Call]] = defaultdict(list)
        self._known: set[str] = set()
        for path in self._by_path:
            self._remember(path)
        for module in self.modules:
            for call in module.calls:
                self._calls[last_name(call.node.func)].append(call)

    def _remember(self, path: str) -> None:
        while path not in self._known and path != os.path.dirname(path):
            self._known.add(path)
            self._by_last_part[os.path.basename(path)].add(path)
            path = os.path.dirname(path)

    def module(self, path: str) -> Module | None:
        """Return the module at *path*, if that was read."""
        return self._by_path.get(path)

    def calls(self, *names: str) -> list[Call]:
        """Return every call of a function that has one of *names*, or that one of them was assigned to."""
        wanted = set(names)
        pairs = [pair for module in self.modules for pair in module.aliases]
        while added := {alias for alias, known in pairs if known in wanted} - wanted:
            wanted |= added
        return [call for name in sorted(wanted) for call in self._calls.get(name, ())]

    def locate(self, imported: Import, importer: Module) -> str | None:
        """Return the path of the module or package that an import means, or None when it is not among the files.

        Where an absolute import fits several files, the one nearest to the importing file is meant.
        """
        parts = imported.module.split(".") if imported.module else []
        here = os.path.dirname(os.path.abspath(importer.path))
        if imported.level:
            path = os.path.abspath(os.path.join(here, *[os.pardir] * (imported.level - 1), *parts))
            return path if path in self._known else None
        tail = os.sep + os.path.join(*parts)
        fitting = [path for path in self._by_last_part.get(parts[-1], ()) if path.endswith(tail)]
        # Not the importing file itself: a file may have the name of a library that it imports.
        others = [path for path in fitting if path != _module_path(importer.path)]
        return min(others, key=lambda path: (-_shared(path, here), len(path), path), default=None)

    def inside(self, path: str, name: str) -> str | None:
        """Return the path of the submodule *name* of the package at *path*, if there is one."""
        inner = os.path.join(path, name)
        return inner if inner in self._known else None


def _module_path(path: str) -> str:
    stem = os.path.splitext(os.path.abspath(path))[0]
    return os.path.dirname(stem) if os.path.basename(stem) == "__init__" else stem


def _shared(path: str, here: str) -> int:
    return len(os.path.commonpath([os.path.dirname(path), here]))
