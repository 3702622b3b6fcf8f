"""The picture in the design, enforced: floors, one door per effect, pure rooms, small functions and files."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import telemetry_sdk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(telemetry_sdk.__file__).parent

# Rules, words and builders, all pure: no clock, no file, no thread.
PURE = {
    *("_version", "model", "sender.endpoint"),
    *(
        "analytics.scrub.locations",
        "analytics.scrub.names",
        "analytics.scrub.shapes",
        "analytics.scrub.tokens",
        "analytics.scrub",
        "analytics.values",
    ),
    *(
        "consent.policy",
        "analytics.values",
        "analytics.event",
        "sender.endpoint",
        "delivery.retry",
    ),
    *(
        "analytics.event",
        "base_payload.fields",
        "sender.otlp",
        "identity.schema",
        "analytics.catalog",
        "catalog_tools.pages",
        "client.config",
    ),
}

# Each effect and the only rooms that may have it: modules imported while running ...
ONE_DOOR = {
    "requests": {"sender.http"},
    "urllib3": set(),
    "sqlite3": {"outbox.database"},
    "filelock": {"host.files"},
    "platformdirs": {"identity.directory"},
    "tzlocal": {"base_payload.platform"},
    "contextvars": {"analytics.scope", "host.quiet"},
    "platform": {"base_payload.platform"},
    "pwd": {"base_payload.platform"},  # who the user is, so that the scrubber can remove the name
    "locale": {"base_payload.platform"},
    "ctypes": {"base_payload.platform"},
    "socket": {"sender.http", "receiver.server"},
    "ssl": set(),
    "tomllib": {"analytics.catalog.format"},
    "http": {"sender.http", "receiver.server"},
    "socketserver": {"receiver.server"},
    "atexit": {"host.lifecycle"},
    "argparse": {"cli.commands", "cli.program", "cli.vendor"},
    "signal": {"host.background", "host.guard", "cli.vendor"},  # our threads hear none; whose error it is
    "tempfile": {"testing.stage"},
    "pytest": {"testing.plugin"},
    "ua_parser": {"analytics.request"},
    "astroid": {"catalog_tools.source_check"},
}
NOBODY_IMPORTS = {"subprocess", "multiprocessing", "asyncio", "concurrent", "random", "secrets", "importlib", "getpass"}
# ... and what is called or read. Clock, ids, randomness and environment enter at the facade.
ONE_DOOR_BY_NAME = {
    "print": {"cli.output"},
    "threading.Thread": {"delivery.worker", "host.background", "receiver.server"},
    "os.environ": {"client.override", "cli.program", "testing.plugin", "testing.stage"},
    "os.urandom": {"client.override", "outbox.spool"},
    # Of the family that the host's threads are of when they are needed; the receiver is a program of its own.
    "threading.RLock": {"host.background"},
    "queue.SimpleQueue": {"host.background"},
    "threading.Event": {"host.background", "receiver.server"},
    # Two compare it with their files' own stamps, and the command line has no facade above it.
    "time.time_ns": {"client.override", "identity.installation", "outbox.database", "outbox.spool", "cli.vendor"},
    "os.register_at_fork": {"host.lifecycle", "host.files"},  # the delivery lock closes what a child shares
    "os.uname": {"base_payload.platform"},  # what the host is called, so that the scrubber can remove the name
}
NOBODY_USES = {
    *("input", "eval", "exec", "breakpoint", "time.time", "datetime.now", "datetime.utcnow", "datetime.today"),
    *("date.today", "os.getenv", "os.getlogin", "os.system", "uuid.uuid1", "uuid.getnode", "socket.gethostname"),
    *(
        "platform.node",
        "urllib.request",
        "urllib.request.urlopen",
        "Path.home",
        "os.path.expanduser",
        "logging.basicConfig",
        "warnings.warn",
        "sys.excepthook",
    ),
}
EFFECTS = {
    *("os", "io", "pathlib", "shutil", "tempfile", "time", "sys", "random", "secrets", "socket", "ssl", "http"),
    *("threading", "queue", "subprocess", "logging", "atexit", "signal", "contextvars", "locale", "platform", "ctypes"),
    *("sqlite3", "requests", "urllib3", "filelock", "platformdirs", "tzlocal", "pwd"),
}
EFFECTFUL_CALLS = {"open", "print", "input", "now", "utcnow", "today", "uuid4", "sleep", "getenv", "urandom"}

# What only some programs need is not loaded by the others: where, and what.
IMPORTED_WHEN_NEEDED = {
    ("__init__", "_late"): {"telemetry_sdk.consent.notice"},
    ("telemetry", "_load_catalog"): {"telemetry_sdk.analytics.catalog.format"},
    ("telemetry", "_make_engine"): {"telemetry_sdk.client.engine"},
    ("telemetry", "_diagnostics"): {"telemetry_sdk.client.diagnostics"},
    # What an event that is appended does not need: the database, the sender, and what moves records to it.
    ("client.session", "_open_outbox"): {"telemetry_sdk.outbox.queue"},
    ("client.session", "_make_delivery"): {"telemetry_sdk.delivery.deliver"},
    ("client.session", "_make_sender"): {"telemetry_sdk.sender.file", "telemetry_sdk.sender.http"},
    ("cli.vendor", "_check"): {"telemetry_sdk.catalog_tools"},  # needs astroid
    ("client.config", "_check_notice"): {"telemetry_sdk.consent.notice"},
    ("client.engine", "ask"): {"telemetry_sdk.consent"},
    ("client.engine", "_about"): {"telemetry_sdk.consent.notice"},
    ("analytics.scope", "request"): {"telemetry_sdk.analytics.request"},
}

# Who may catch everything, and swallow it.
CATCHES_EVERYTHING = {
    ("host.guard", "call"),  # the guard of the facade
    ("delivery.worker", "run"),  # handed over to the supervisor, which raises it
    ("analytics.values", "add"),  # a host's object may raise anything
    ("analytics.event", "_items"),  # so may its mapping
    ("host.guard", "pairs_of"),  # and an integrator's
    ("host.guard", "path_of"),
    ("analytics.scope", "attributes"),  # so may a function of the host's
    ("catalog_tools.source_check", "_infer"),  # over an odd source astroid may raise anything
    ("base_payload.platform", "_ask"),  # platform facts come from files of the system, read by other libraries
}

LONGEST_FUNCTION = 40
LONGEST_FILE = 600


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


SOURCES = {module_name(path): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))}
MODULES = {name: ast.parse(source) for name, source in SOURCES.items()}
NAMES = sorted(MODULES)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes(tree: ast.AST, *, typing: bool = True) -> Iterator[ast.AST]:
    """Every node of *tree*; without *typing* none of those that only type checkers see."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if typing or not is_type_checking(child):
            yield from nodes(child, typing=typing)


def imports(name: str, *, typing: bool = True) -> Iterator[str]:
    """Every module that *name* imports, wherever the import statement stands."""
    for node in nodes(MODULES[name], typing=typing):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def session(name: str) -> set[str]:
    """The modules of this package that *name* imports."""
    found = set()
    for imported in imports(name):
        package, _, inside = imported.partition(".")
        if package == "telemetry_sdk":
            # "import telemetry_sdk" alone is the package itself.
            found.add(inside if inside in MODULES else inside.rpartition(".")[0] or "__init__")
    return found


def libraries(name: str) -> set[str]:
    return {imported.partition(".")[0] for imported in imports(name, typing=False)}


@functools.cache
def used_names(name: str) -> set[str]:
    """What *name* calls or reads by a name: ``print`` when called, ``os.environ``, ``uuid.uuid4`` however imported."""
    found = set(imports(name, typing=False))
    for node in nodes(MODULES[name], typing=False):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
    return found


def functions(name: str) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(MODULES[name]) if isinstance(node, ast.FunctionDef))


def length(node: ast.FunctionDef) -> int:
    """The function's lines, from ``def`` on, without its docstring."""
    assert node.end_lineno is not None
    first = node.body[0]
    has_docstring = ast.get_docstring(node, clean=False) is not None and first.end_lineno is not None
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0  # type: ignore[operator]
    return node.end_lineno - node.lineno + 1 - docstring


def test_the_contract_of_the_rooms_holds() -> None:
    """import-linter's contract in pyproject.toml: each room imports from floors below its own only."""
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        pytest.skip("needs import-linter")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT.parent, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_no_import_cycle() -> None:
    """Taken one after the other, every module imports only from those taken before it."""
    taken: set[str] = set()
    while taken < set(MODULES):
        next_ones = {name for name in set(MODULES) - taken if session(name) <= taken}
        assert next_ones, f"a cycle among {sorted(set(MODULES) - taken)}"
        taken |= next_ones


@pytest.mark.parametrize("name", NAMES)
def test_absolute_imports_of_our_own_at_the_top(name: str) -> None:
    """Our own modules are imported absolutely and at the top, so that a search shows the graph."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
    for function in functions(name):
        inside = {alias for node in ast.walk(function) for alias in ast_imports(node)}
        ours = {alias for alias in inside if alias.startswith("telemetry_sdk")}
        assert ours <= IMPORTED_WHEN_NEEDED.get((name, function.name), set()), function.name


def ast_imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("library", sorted(ONE_DOOR))
def test_one_door_per_effect(library: str) -> None:
    """Each effect has one importer: network, database, locks, platform, processes, signals."""
    users = {name for name in NAMES if library in libraries(name)}

    assert users == ONE_DOOR[library]


@pytest.mark.parametrize("used", sorted(ONE_DOOR_BY_NAME))
def test_one_door_per_named_effect(used: str) -> None:
    """Printing, threads, clock, ids, randomness and the environment are touched where the table says."""
    assert {name for name in NAMES if used in used_names(name)} == ONE_DOOR_BY_NAME[used]


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_does(name: str) -> None:
    """No room starts processes, draws randomness, asks who or where the user is, or changes the host's setup."""
    assert libraries(name) & NOBODY_IMPORTS == set()
    assert used_names(name) & NOBODY_USES == set()


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_rooms_stay_pure(name: str) -> None:
    """Words, rules and builders reach no clock, file, socket, thread, log or randomness."""
    called = {
        getattr(node.func, "id", None) or getattr(node.func, "attr", None)
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Call)
    }

    assert libraries(name) & EFFECTS == set()
    assert called & EFFECTFUL_CALLS == set()


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_rooms_keep_no_state(name: str) -> None:
    """A pure room has no variable of its own that could change: what it keeps at the top is Final or a type."""
    assigned = [node for node in MODULES[name].body if isinstance(node, ast.Assign)]
    names = {target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}

    assert names <= {"__all__", "__version__"}
    assert not [node for node in ast.walk(MODULES[name]) if isinstance(node, ast.Global)]


def test_the_receiver_stands_alone() -> None:
    """The receiver is a program of its own: it uses none of the SDK's rooms, and none of them uses it."""
    for name in NAMES:
        is_receiver = name.partition(".")[0] == "receiver"
        uses_receiver = {room for room in session(name) if room.partition(".")[0] == "receiver"}
        if is_receiver:
            assert session(name) == uses_receiver
        elif name != "cli.vendor":
            assert uses_receiver == set()


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_short(name: str) -> None:
    """A function fits on a screen."""
    # The facade's constructor names every setting twice.
    too_long = {f.name: length(f) for f in functions(name) if length(f) > LONGEST_FUNCTION}

    assert set(too_long) - ({"__init__"} if name == "telemetry" else set()) == set(), too_long


@pytest.mark.parametrize("name", NAMES)
def test_files_are_short(name: str) -> None:
    """A file can be held in the head."""
    assert SOURCES[name].count("\n") <= LONGEST_FILE


@pytest.mark.parametrize("name", NAMES)
def test_names_say_what_is_inside(name: str) -> None:
    """No module is a drawer for what has no place."""
    assert not re.search(r"util|helper|common|manager|misc|handler|(^|\.)base$", name)


def test_who_catches_everything() -> None:
    """Only these may swallow an unknown exception; elsewhere a bug must reach the guard."""
    swallowing = {
        (name, where)
        for name in NAMES
        for where, handler in handlers(MODULES[name])
        if catches_everything(handler) and not raises_again(handler)
    }

    assert swallowing == CATCHES_EVERYTHING
    assert not [name for name in NAMES if any(map(suppresses_everything, ast.walk(MODULES[name])))]


def handlers(tree: ast.AST, where: str = "") -> Iterator[tuple[str, ast.ExceptHandler]]:
    """Every except clause of *tree*, with the name of the innermost function it stands in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ExceptHandler):
            yield where, node
        yield from handlers(node, node.name if isinstance(node, ast.FunctionDef) else where)


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = [handler.type] if not isinstance(handler.type, ast.Tuple) else handler.type.elts
    return any(kind is None or getattr(kind, "id", "") in {"Exception", "BaseException"} for kind in caught)


def suppresses_everything(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "suppress"):
        return False
    return any(getattr(argument, "id", "") in {"Exception", "BaseException"} for argument in node.args)


def test_one_logger() -> None:
    """Everything is logged under one name, which a host can silence or show with one line."""
    named = {
        ast.literal_eval(node.args[0])
        for name in NAMES
        if name != "host.quiet"  # which only keeps quiet the loggers of others
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "getLogger"
    }

    assert named == {"telemetry_sdk"}


def test_every_ignored_rule_says_which() -> None:
    """A lint or type rule is put aside by name, never all of them."""
    for name, source in SOURCES.items():
        assert not re.search(r"# noqa(?!: [A-Z])|# type: ignore(?!\[)", source), name
