"""What hosts may rely on: the exported names, the facade's signatures, the docstrings, the type marker."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pickle
import pydoc
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

import telemetry_sdk
from telemetry_sdk import Telemetry

ROOT = Path(telemetry_sdk.__file__).parent
NAMES = [
    *("ConfigError", "FlushReport", "Forgotten", "InvalidEventError", "Level", "Limits", "Notice", "Outcome"),
    *("Preview", "Receipt", "SentRequest", "Status", "Telemetry", "TelemetryError", "__version__"),
]
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.name != "__main__.py"  # it runs when imported
)

# The facade as the design has it. A change here is a change that hosts must be told of.
PROPERTIES = "properties: Mapping[str, object] | None = None"
SIGNATURES = {
    "start": "() -> None",
    "close": "(timeout: float | None = None) -> None",
    "send_base_first_seen": "() -> Receipt",
    "send_base_heartbeat": "() -> Receipt",
    "heartbeat_if_due": "() -> Receipt",
    "send_analytics_event": (
        f"(name: str, {PROPERTIES}, *, user_id: object = None, context: Mapping[str, str] | None = None) -> Receipt"
    ),
    "track_event": f"(name: str, {PROPERTIES}, *, user_id: object = None) -> Receipt",
    "track_page_view": f"(route: str | None, {PROPERTIES}, *, user_id: object = None) -> Receipt",
    "identify_user": f"(user_id: object, {PROPERTIES}) -> Receipt",
    "request_context": (
        "(context: RequestContext | Callable[[], RequestContext] | str | None = None, *, "
        "path: str | None = None, browser: str | None = None, device: str | None = None) -> RequestScope"
    ),
    "is_detailed_analytics_enabled": "() -> bool",
    "should_ask": "() -> bool",
    "ask": "(prompt: str | None = None) -> bool",
    "opt_in": "() -> Receipt",
    "opt_out": "(everything: bool = False) -> bool",
    "check_and_send_telemetry": "() -> Receipt",
    "flush": "(timeout: float = 5.0) -> FlushReport",
    "status": "() -> Status",
    "sent_log": "() -> list[SentRequest]",
    "preview": (
        "(event: str | None = None, properties: Mapping[str, object] | None = None, *, user_id: object = None) "
        "-> Preview"
    ),
    "reset_install_id": "() -> str | None",
    "forget": "() -> Forgotten",
}
# Its settings with their defaults; what tests replace comes after what hosts choose.
SETTINGS = {
    "endpoint": None,
    "token": None,
    "headers": None,
    "release_channel": "stable",
    "deployment_type": None,
    "environment": None,
    "delivery": "background",
    "state_dir": None,
    "on_consent_change": None,
    "strict": False,
    "timeout": 5.0,
    "exit_timeout": 0.5,
    "limits": telemetry_sdk.Limits(),
    "late": "restamp",
    "catalog": None,
    "scrub": True,
    "hash_user_ids": False,
    "notice": None,
    "vendor": None,
    "purpose": None,
    "privacy_url": None,
    "command": None,
    "otel_env": False,
}


def signature(method: Any) -> str:
    """Return the signature without ``self``, the annotations as they are written."""
    found = inspect.signature(method)
    shown = str(found.replace(parameters=[p for name, p in found.parameters.items() if name != "self"]))
    return shown.replace("'", "")


def test_exported_names() -> None:
    """These names are supported, in this order, and each is there."""
    assert telemetry_sdk.__all__ == NAMES
    assert all(hasattr(telemetry_sdk, name) for name in NAMES)


def test_nothing_else_looks_public() -> None:
    """Beside the supported names the package shows its own modules only."""
    # pytest adds names that no program can write to the packages of its plugins.
    shown = {name for name in vars(telemetry_sdk) if not name.startswith(("_", "@"))}
    modules = {module.removeprefix("telemetry_sdk.") for module in MODULES}

    assert shown - set(NAMES) <= modules


LATE = ["FlushReport", "Forgotten", "Notice", "Preview", "SentRequest", "Status"]


def fresh(program: str) -> str:
    """Return what *program* prints in an interpreter of its own."""
    command = [sys.executable, "-I", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_name_can_be_imported_first(name: str) -> None:
    """``from telemetry_sdk import name`` works for every supported name, also for those that are loaded late."""
    assert fresh(f"from telemetry_sdk import {name}; print({name} is not None)") == "True\n"


def test_all_names_are_shown_before_they_are_loaded() -> None:
    """``dir``, ``import *`` and `help` know the names that are loaded late, and asking for a wrong one is an error."""
    assert fresh("import telemetry_sdk; print(*sorted(set(telemetry_sdk.__all__) - set(dir(telemetry_sdk))))") == "\n"
    names = ", ".join(LATE)
    assert fresh(f"from telemetry_sdk import *; print(len([{names}]))") == f"{len(LATE)}\n"
    for wrong in ("Reciept", "__path_to__", "_Status"):
        with pytest.raises(AttributeError, match=f"'telemetry_sdk' has no attribute '{wrong}'"):
            getattr(telemetry_sdk, wrong)


def test_a_name_that_is_loaded_late_is_the_same_wherever_it_comes_from() -> None:
    """A report's class is that of the report, and a pickled one comes back as it was."""
    assert telemetry_sdk.Status is importlib.import_module("telemetry_sdk.model").Status
    assert telemetry_sdk.Notice is importlib.import_module("telemetry_sdk.consent.notice").Notice
    report = telemetry_sdk.FlushReport(delivered=1)
    receipt = telemetry_sdk.Receipt(telemetry_sdk.Outcome.QUEUED, "uid")
    assert pickle.loads(pickle.dumps([report, receipt])) == [report, receipt]


def test_a_host_can_stand_in_for_the_facade() -> None:
    """A host's test can make a stand-in with the facade's methods from the class alone."""
    stand_in = create_autospec(Telemetry, instance=True)
    stand_in.track_event("timer.started", user_id="u-17")
    with pytest.raises(TypeError):
        stand_in.track_event("timer.started", user="u-17")


def test_the_facade_has_these_methods() -> None:
    """A method that appears or goes must be added to this table."""
    assert set(SIGNATURES) == {name for name in dir(Telemetry) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_signatures_of_the_facade(name: str) -> None:
    """Each method takes and returns what the design says."""
    assert SIGNATURES[name] == signature(getattr(Telemetry, name))


def test_settings_of_the_facade() -> None:
    """The app comes first and alone by position; every other setting is named and, the version apart, has a default."""
    parameters = list(inspect.signature(Telemetry).parameters.values())

    assert [p.name for p in parameters] == ["app", "version", *SETTINGS]
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == ["app"]
    assert [p.name for p in parameters if p.default is p.empty] == ["app", "version"]
    assert {p.name: p.default for p in parameters if p.name in SETTINGS} == SETTINGS


def test_the_signature_shows_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prints the signature, as `help` and an editor's tooltip do, prints no variable of the environment."""
    monkeypatch.setenv("GRAFANA_OTLP_TOKEN", "1234:hunter2-of-the-host")

    assert "hunter2" not in pydoc.plain(pydoc.render_doc(Telemetry)) + str(inspect.signature(Telemetry))


def test_every_setting_is_described() -> None:
    """The class's docstring says what each setting does."""
    described = Telemetry.__doc__ or ""

    assert [name for name in inspect.signature(Telemetry).parameters if f"{name}: " not in described] == []


def test_it_is_a_context_manager(tmp_path: Path) -> None:
    """``with Telemetry(...) as telemetry`` gives the object itself."""
    telemetry = Telemetry("acme-notes", version="1", state_dir=tmp_path / "state", strict=True)
    with telemetry as entered:
        assert entered is telemetry


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    """Each module has a docstring; an ``__all__`` names each thing once and only what is there."""
    found = importlib.import_module(module)

    assert inspect.getdoc(found) or module == "telemetry_sdk._version"
    names = getattr(found, "__all__", [])
    assert all(hasattr(found, name) for name in names)
    assert len(set(names)) == len(names)


def public_definitions(tree: ast.AST, inside: str = "") -> list[tuple[str, Any]]:
    """Every public function, class and method with its dotted name."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    own = [node for node in ast.iter_child_nodes(tree) if isinstance(node, kinds) and not node.name.startswith("_")]
    found: list[tuple[str, Any]] = [(f"{inside}{node.name}", node) for node in own]
    for node in own:
        if isinstance(node, ast.ClassDef):
            found += public_definitions(node, f"{inside}{node.name}.")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_is_described(module: str) -> None:
    """Every public function, class and method has a docstring that ends its first sentence on the first line."""
    path = ROOT.parent / f"{module.replace('.', '/')}.py"
    path = path if path.exists() else path.with_suffix("") / "__init__.py"

    for name, node in public_definitions(ast.parse(path.read_text("utf-8"))):
        described = ast.get_docstring(node) or ""
        assert described, name
        assert described.partition("\n")[0].rstrip().endswith((".", "?", ":")), name


def test_type_checkers_see_the_types() -> None:
    """The marker of PEP 561 is part of the package."""
    assert (ROOT / "py.typed").is_file()


def test_one_version() -> None:
    """The version of the package is that of its metadata, and it is written in one place."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text("utf-8"))

    assert telemetry_sdk.__version__ == importlib.metadata.version("telemetry-sdk")
    assert project["tool"]["hatch"]["version"]["path"] == "telemetry_sdk/_version.py"


def test_errors_have_one_root() -> None:
    """A host can catch everything of ours with one name, and an impossible argument is a ValueError as well."""
    for error in (telemetry_sdk.ConfigError, telemetry_sdk.InvalidEventError):
        assert issubclass(error, telemetry_sdk.TelemetryError)
        assert issubclass(error, ValueError)
    assert str(telemetry_sdk.ConfigError("app", "is odd")) == "app: is odd"
    assert telemetry_sdk.InvalidEventError("a.b", "is odd").event == "a.b"


def test_type_checkers_know_our_names_alone() -> None:
    """A misspelt name is an error to a type checker: it finds no `__getattr__` that would answer to any."""
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    hidden = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.UnaryOp)]

    assert not [node for node in tree.body if getattr(node, "name", "") == "__getattr__"]
    assert [target.id for node in hidden for it in node.body for target in it.targets] == ["__getattr__"]
