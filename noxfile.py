"""The tasks of a contributor. `nox -s fast` before a commit, `nox` before a pull request, `nox -l` for the list."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
LINT = nox.project.dependency_groups(PROJECT, "lint")
TEST = PROJECT["project"]["optional-dependencies"]["test"]
# What the rooms of `lowest` need beside the package itself.
SMOKE_TOOLS = ("hypothesis", "opentelemetry-proto", "pytest", "pytest-timeout", "pytest-xdist", "responses")
SMOKE_TESTS = (
    "tests/unit/base_payload",
    "tests/unit/identity",
    "tests/unit/sender/test_http.py",
    "tests/promises/test_disk.py::test_planted_symlink",
)
# filelock's first allowed release says "held by another process" where the file system has no locks.
NOT_LOWEST = "tests/unit/identity/test_installation.py::test_a_file_system_without_locks_is_said_so"

nox.options.sessions = ["lint", "types", "tests", "wheel"]
nox.options.reuse_existing_virtualenvs = True


def tools(*names: str) -> list[str]:
    """Return the lines of the test extra that name these."""
    return [line for line in TEST if re.split(r"[<>=;\[ ]", line)[0] in names]


def check_style(session: nox.Session) -> None:
    """Run the linter, the formatter's check, and the contracts between rooms."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")


def run_tests(session: nox.Session, *arguments: str) -> None:
    """Run pytest, on all cores as pyproject.toml says."""
    session.run("python", "-m", "pytest", "-q", *arguments, *session.posargs)


@nox.session
def fast(session: nox.Session) -> None:
    """Style, types, contracts and unit tests, without those that measure time."""
    session.install("-e", ".[test]", *LINT)
    check_style(session)
    session.run("mypy")
    contracts = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/contract/test_architecture*.py"))
    run_tests(session, "-m", "not alone", "tests/unit", *contracts)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests."""
    session.install("-e", ".[test]", *LINT)
    run_tests(session)


@nox.session
def thorough(session: nox.Session) -> None:
    """All tests with many more examples, and the soaks at full length. Takes long."""
    session.install("-e", ".[test]", *LINT)
    run_tests(session, "--hypothesis-profile=thorough")


@nox.session
def coverage(session: nox.Session) -> None:
    """All tests, and how much of the package they reach."""
    session.install("-e", ".[test]", *LINT)
    folder = Path(session.create_tmp()).resolve() / "coverage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    session.env["COVERAGE_FILE"] = str(folder / ".coverage")
    session.run("python", "-m", "coverage", "run", "-m", "pytest", "-q", *session.posargs)
    session.run("python", "-m", "coverage", "combine", "-q")
    session.run("python", "-m", "coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and the contracts between rooms."""
    session.install("-e", ".", *LINT)
    check_style(session)


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.install("-e", ".[web]", *LINT, *tools("pytest"))
    session.run("mypy")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it alone, and run the quickstart with it."""
    session.install("build")
    folder = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder), ".")
    session.install("--force-reinstall", str(next(folder.glob("*.whl"))))
    shutil.copy(ROOT / "examples" / "quickstart.py", folder)
    # From another directory and isolated, so that the wheel is tried and not the source tree.
    session.chdir(folder)
    session.run("python", "-I", "quickstart.py", env={"DO_NOT_TRACK": None})
    session.run("telemetry-sdk", "--version")


@nox.session
def lowest(session: nox.Session) -> None:
    """The rooms next to a dependency, with the lowest versions that the package allows."""
    project = PROJECT["project"]
    allowed = [*project["dependencies"], *project["optional-dependencies"]["web"]]
    session.install(*[line.replace(">=", "==") for line in allowed], *tools(*SMOKE_TOOLS))
    session.install("--no-deps", "-e", ".")
    run_tests(session, *SMOKE_TESTS, f"--deselect={NOT_LOWEST}")
