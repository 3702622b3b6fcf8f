"""Finds and reads the Python files of a host. Files are only ever read, never imported or run."""

from __future__ import annotations

import ast
import os
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["SourceFile", "read_all"]

_PYTHON: Final = f"Python {sys.version_info.major}.{sys.version_info.minor}"
_NOT_THE_HOSTS: Final = frozenset({"__pycache__", "__pypackages__", "node_modules", "site-packages", "telemetry_sdk"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file or directory that was looked at.

    Attributes:
        path: Its path, as it can be reached from where the paths were given.
        tree: What is in it, or None.
        problem: Why there is nothing; empty otherwise.
        line: The line of the problem, or 0.
    """

    path: str
    tree: ast.Module | None
    problem: str = ""
    line: int = 0


def read_all(paths: Iterable[str | os.PathLike[str]]) -> Iterator[SourceFile]:
    """Yield the Python files in *paths*, each once and in a fixed order, and what could not be read.

    A file is read whatever its name. Of a directory the ``*.py`` files are read, its own and those further down, but
    not those of hidden directories, virtual environments, installed packages, caches and a copy of this SDK.
    Symbolic links to directories are not followed.
    """
    seen: set[str] = set()
    for path in paths:
        given, found = os.fspath(path), False
        for file in _files_in(given):
            found = True
            real = os.path.realpath(file.path)
            if real not in seen:
                seen.add(real)
                yield file if file.problem else _read(file.path)
        if not found:
            yield SourceFile(given, None, "no Python file in it")


def _files_in(path: str) -> Iterator[SourceFile]:
    if not os.path.isdir(path):
        yield SourceFile(path, None)
        return
    problems: list[OSError] = []
    for directory, inner, names in os.walk(path, onerror=problems.append):
        inner[:] = sorted(name for name in inner if _is_the_hosts(directory, name))
        for name in sorted(names):
            file = os.path.join(directory, name)
            # Not a pipe, which would never end; but a broken link is to be told of.
            if name.endswith((".py", ".pyw")) and (os.path.isfile(file) or os.path.islink(file)):
                yield SourceFile(file, None)
    for problem in problems:
        yield SourceFile(str(problem.filename), None, f"cannot be read: {problem.strerror}")


def _is_the_hosts(directory: str, name: str) -> bool:
    hidden = name.startswith(".") or name in _NOT_THE_HOSTS or name.endswith(".egg-info")
    return not hidden and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))


def _read(path: str) -> SourceFile:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a possible path"
        return SourceFile(path, None, f"cannot be read: {problem}")
    try:
        # Old sources are full of escapes that Python warns about.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return SourceFile(path, ast.parse(content, path))
    except SyntaxError as error:
        return SourceFile(path, None, f"not {_PYTHON}: {error.msg}", error.lineno or 0)
    except (ValueError, RecursionError, MemoryError) as error:
        return SourceFile(path, None, f"not {_PYTHON}, or nested too deeply ({type(error).__name__})")
