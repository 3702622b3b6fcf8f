"""The catalogue beside a host's source: what is found, where, and what is left in peace."""

from __future__ import annotations

import os
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest

from telemetry_sdk.analytics.catalog.format import parse
from telemetry_sdk.catalog_tools.source_check import Finding, check

CATALOG = parse("""
version = 1
[events."timer.started"]
description = "x"
purpose = "usage"
[events."timer.started".properties]
source = { type = "string", description = "x", values = ["cli", "gui"] }
duration_s = { type = "float", description = "x" }
count = { type = "int", description = "x" }
tags = { type = "list", items = "string", description = "x", values = ["a", "b"] }
place = { type = "map", description = "x", properties = { floor = { type = "int", description = "x" } } }
[events."timer.stopped"]
description = "x"
purpose = "usage"
[events."note.created"]
description = "x"
purpose = "usage"
[events."note.created".properties]
words = { type = "int", description = "x" }
""")
ALL = {"timer.started", "timer.stopped", "note.created"}


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app").mkdir()
    monkeypatch.chdir(tmp_path / "app")


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), "utf-8")


def findings(*paths: str | Path, catalog: Any = CATALOG, **options: Any) -> list[Finding]:
    return check(catalog, paths or ["."], **options)


def checked(files: dict[str, str] | str) -> tuple[list[str], set[str]]:
    """Check sources; return what is found as ``file:line kind words`` and which declared events are sent."""
    write({"a.py": textwrap.dedent(files)} if isinstance(files, str) else files)
    found = findings()
    unsent = {it.message.split()[0] for it in found if it.path == "telemetry.toml"}
    told = [f"{Path(it.path)}:{it.line} {it.kind} {it.message}" for it in found if it.path != "telemetry.toml"]
    return told, ALL - unsent


def problems(files: dict[str, str] | str) -> list[str]:
    """What is found beside dead events, as ``file:line kind``."""
    return [" ".join(it.split()[:2]) for it in checked(files)[0]]


def sent(files: dict[str, str] | str) -> set[str]:
    """The declared events that the source is found to send, when nothing else is found."""
    found, events = checked(files)
    assert found == []
    return events


def test_everything_as_it_should_be() -> None:
    """A source that sends what is declared, and all of it, is clean."""
    source = """
        telemetry.track_event("timer.started", {"source": "cli", "duration_s": 3, "count": -1, "tags": ["a"]})
        self.app.telemetry.send_analytics_event(name="timer.stopped", properties=None)
        get_telemetry().track_event(name="note.created", properties={"words": len(text)}, user_id=42)
    """

    assert sent(source) == ALL


def test_an_undeclared_event() -> None:
    """An event the catalogue does not have is an error on the line of the call, with a suggestion."""
    found, _ = checked('\n\ntelemetry.track_event(\n    "timer.strated",\n)\n')

    assert found == ['a.py:3 undeclared-event "timer.strated" is not declared; did you mean timer.started?']


def test_dead_events() -> None:
    """An event that nothing sends is an error of the catalogue."""
    write(
        {
            "a.py": 'telemetry.track_event("note.created")\n# track_event("timer.started")\n"track_event(timer.stopped)"\n'
        }
    )

    assert findings(where="telemetry.toml") == [
        Finding("telemetry.toml", 0, "dead-event", "timer.started is declared, and no call sends it"),
        Finding("telemetry.toml", 0, "dead-event", "timer.stopped is declared, and no call sends it"),
    ]


def test_a_constant_alone_is_not_sent() -> None:
    """That a name stands in the source does not mean that it is sent."""
    assert sent('STARTED = "timer.started"\ntelemetry.track_event("note.created")\n') == {"note.created"}


def test_an_expired_event() -> None:
    """An event is an error from the day on which it expires, sent or not."""
    catalog = parse('version = 1\n[events."a.b"]\ndescription = "x"\npurpose = "usage"\nexpires = 2027-06-30\n')
    write({"a.py": 't.track_event("a.b")'})

    assert findings(catalog=catalog, today="2027-06-29") == []
    assert [it.kind for it in findings(catalog=catalog, today="2027-06-30")] == ["expired-event"]


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        ('{"sorce": "cli"}', 'undeclared-property timer.started: "sorce" is not declared; did you mean source?'),
        ('{"source": "web"}', 'wrong-value timer.started: source: "web" is not one of cli, gui'),
        ('{"source": 1}', "wrong-value timer.started: source: 1 is not of type string"),
        ('{"source": "cli" if x else "web"}', 'wrong-value timer.started: source: "web" is not one of cli, gui'),
        ('{"count": 1.5}', "wrong-value timer.started: count: 1.5 is not of type int"),
        ('{"count": True}', "wrong-value timer.started: count: True is not of type int"),
        ('{"count": b"1"}', "wrong-value timer.started: count: this kind of value cannot be sent"),
        ('{"count": {1}}', "wrong-value timer.started: count: this kind of value cannot be sent"),
        ('{"count": [1]}', "wrong-value timer.started: count: a list is not of type int"),
        ('{"count": {"a": 1}}', "wrong-value timer.started: count: a map is not of type int"),
        ('{"tags": ["a", "c"]}', 'wrong-value timer.started: tags: "c" is not one of a, b'),
        ('{"tags": "a"}', 'wrong-value timer.started: tags: "a" is not of type list'),
        ('{"place": {"floor": "1"}}', 'wrong-value timer.started: place.floor: "1" is not of type int'),
        ('{"place": {"room": 1}}', 'undeclared-property timer.started: place."room" is not declared'),
        ("{**base}", "unchecked timer.started: not all properties are known before running"),
        ("{key: 1}", "unchecked timer.started: not all properties are known before running"),
        ("make()", "unchecked timer.started: not all properties are known before running"),
        ("{k: v for k, v in x}", "unchecked timer.started: not all properties are known before running"),
        ('dict(sorce="cli")', "unchecked timer.started: not all properties are known before running"),
        ('{"count": 1} | {"x": 1}', "unchecked timer.started: not all properties are known before running"),
        ('{**{"x": 1}}', 'undeclared-property timer.started: "x" is not declared'),
        ('dict({"x": 1}, count=1)', "unchecked timer.started: not all properties are known before running"),
    ],
)
def test_properties(properties: str, found: str) -> None:
    """Undeclared names and impossible values are found in any form of a dict, also inside of maps and lists."""
    assert checked(f't.track_event("timer.started", {properties})')[0] == [f"a.py:1 {found}"]


@pytest.mark.parametrize(
    "properties",
    [
        '{"source": None}',
        '{"source": source}',
        '{"source": args.source or "cli"}',
        '{"source": f"cl{i}"}',
        '{"count": f"{n}"}',
        '{"duration_s": -1.5, "count": 0}',
        '{"duration_s": time.monotonic() - start}',
        '{"tags": [tag for tag in tags]}',
        '{"tags": ("a", "b")}',
        '{"tags": [], "place": {}}',
        '{"place": {"floor": None}}',
        '{SOURCE: "cli", COUNT: 1}',
        "None",
        "{}",
        '{"source": Source.CLI}',
    ],
)
def test_properties_that_may_be_right(properties: str) -> None:
    """What is right, or only known while running, is left in peace."""
    source = f"""
        SOURCE, COUNT = "source", "count"
        class Source(Enum):
            CLI = "cli"
        t.track_event("timer.started", {properties})
    """

    assert problems(source) == []


def test_properties_put_together_before_the_call() -> None:
    """A dict is followed to where it was made; one that is changed in place anywhere is not wholly known."""
    source = """
        def send(t, web):
            properties = {"source": "cli"}
            properties["sorce"] = "x"
            t.track_event("timer.started", properties)
            properties["later"] = 1
            properties = {"words": 5}
            t.track_event("note.created", properties)
    """

    assert problems(source) == ["a.py:5 unchecked"]
    assert problems('d = {"source": "cli"}\ne = d\ne.update(web)\nt.track_event("timer.started", d)') == [
        "a.py:4 unchecked"
    ]
    assert problems("def f():\n    d = {}\n    d['x'] = 1\n    return d\nt.track_event('timer.started', f())") == [
        "a.py:5 unchecked"
    ]
    assert problems('d = {"source": "cli"}\nt.track_event("timer.started", d)') == []


NAMES = [
    'n = "{}"\nt.track_event(n)',
    'N: Final = "{}"\nt.track_event(N)',
    'N: Final[str] = "{}"\ndef f(): t.track_event(N)',
    'def f(): t.track_event(N)\nN = "{}"',
    'if x:\n    n = "{}"\nelse:\n    n = None\nt.track_event(n)',
    'try:\n    n = "{}"\nfinally:\n    pass\nt.track_event(n)',
    'with x:\n    n = "{}"\nt.track_event(n)',
    'a, n = 1, "{}"\nt.track_event(n)',
    'a = n = "{}"\nt.track_event(n)',
    '[t.track_event(m) for x in y if (m := "{}")]',
    'm = "{}"\nn = m\nt.track_event(n)',
    'match x:\n    case 1:\n        n = "{}"\nt.track_event(n)',
    'def f():\n    global N\n    N = "{}"\ndef g(): t.track_event(N)\nN = None',
    't.track_event("{}" if x else None)',
    't.track_event(None or "{}")',
    't.track_event(("{}"))',
    'for n in ("{}",):\n    t.track_event(n)',
    '[t.track_event(n) for n in ["{}"]]',
    'for n, p in [("{}", None)]:\n    t.track_event(n, p)',
    'NAMES = {{"a": "{}"}}\nt.track_event(NAMES["a"])',
    'NAMES = ["{}"]\nt.track_event(NAMES[0])',
    'class E:\n    A = "{}"\nt.track_event(E.A)',
    'class E:\n    class F:\n        A = "{}"\nt.track_event(E.F.A)',
    'class E:\n    A = "{}"\nclass F(E): pass\nt.track_event(F().A)',
    'class E:\n    A: ClassVar[str] = "{}"\n    def f(self): t.track_event(self.A)',
    'class E:\n    def __init__(self): self.a = "{}"\n    def f(self): t.track_event(self.a)',
    'class E:\n    @property\n    def a(self): return "{}"\n    def f(self): t.track_event(self.a)',
    'class E:\n    def a(self): return "{}"\n    def f(self): t.track_event(self.a())',
    'class E(StrEnum):\n    A = "{}"\nt.track_event(E.A)',
    'class E(str, enum.Enum):\n    A = "{}"\nt.track_event(E.A)',
    'def name(kind): return "{}"\nt.track_event(name(1))',
    'def name(given): return given\nt.track_event(name("{}"))',
    'def name(given="{}"): return given\nt.track_event(name())',
    'from .somewhere import track_event\ntrack_event("{}")',
    'f = lambda: t.track_event("{}")',
    '@app.route("/", on=t.track_event("{}"))\ndef f(): pass',
    'def track(name): t.track_event(name)\ntrack("{}")',
    'def track(name, *rest): t.track_event(name)\ntrack(name="{}")',
    'def track(name="{}"): t.track_event(name)\ntrack()',
    'async def track(*, name): t.track_event(name)\nasync def f(): await track(name="{}")',
    'def track(name): t.track_event(name)\nfor n in ["{}"]: track(n)',
    'def track(user, name, extra=None): t.track_event(name, extra)\ntrack(5, "{}")',
    'class A:\n    def track(self, name): self.t.track_event(name)\n    def f(self): self.track("{}")',
    'class A:\n    def track(self, name): self.t.track_event(name)\nA().track("{}")',
    'class A:\n    def track(self, name): self.t.track_event(name)\nanalytics = A()\nanalytics.track("{}")',
    'class A:\n    @classmethod\n    def track(cls, name): t.track_event(name)\nA.track("{}")',
    'class A:\n    @staticmethod\n    def track(name): t.track_event(name)\nA.track("{}")',
    'class A:\n    @staticmethod\n    def track(name): t.track_event(name)\nA().track("{}")',
    'class A:\n    def track(self, name): t.track_event(name)\nA.track(A(), "{}")',
    'N = "{}"\nclass A:\n    N = "never.sent"\n    def f(self): t.track_event(N)',
    'class A:\n    def track_event(self, user, name): self.t.track_event(name)\nA().track_event(5, "{}")',
    'def tracked(name):\n    def wrap(f):\n        def g(): t.track_event(name)\n        return g\n    return wrap\n@tracked("{}")\ndef f(): pass',
]
# What is put together, or reached on a way that is not followed.
GIVEN_UP = [
    't.track_event(n := "{}")',
    'def f():\n    n = None\n    def g():\n        nonlocal n\n        n = "{}"\n    t.track_event(n)',
    't.track_event("" + "{}")',
    't.track_event(f"{}")',
    'KIND = "{}"\nt.track_event(f"{{KIND}}")',
    't.track_event("".join(["{}"]))',
    't.track_event(str("{}"))',
    't.track_event(*["{}"])',
    't.track_event(**{{"name": "{}"}})',
    'NAMES = {{"a": "{}"}}\nt.track_event(NAMES[x])',
    'NAMES = {{"a": "{}"}}\nt.track_event(NAMES.get(x))',
    'class E:\n    def __init__(self, a): self.a = a\n    def f(self): t.track_event(self.a)\nE("{}")',
    'class B:\n    A = ""\n    def f(self): t.track_event(self.A)\nclass E(B):\n    A = "{}"',
    'class E(Enum):\n    A = "{}"\nt.track_event(E.A.value)',
    'class E(Enum):\n    A = "{}"\nt.track_event(E["A"].value)',
    'class E(Enum):\n    A = "{}"\n    def f(self): t.track_event(self.value)',
    'class E(Enum):\n    A = "{}"\nfor e in E: t.track_event(e.value)',
    'track = t.track_event\ntrack("{}")',
    'class E:\n    def __init__(self, t): self.track = t.track_event\n    def f(self): self.track("{}")',
    'from telemetry_sdk import track_event as track\ntrack("{}")',
    'getattr(t, "track_event")("{}")',
    'partial(t.track_event, "{}")()',
    'executor.submit(t.track_event, "{}", None)',
    'Thread(target=t.track_event, args=("{}",)).start()',
    'Thread(target=t.track_event, kwargs={{"name": "{}"}}).start()',
    'async def f(): await asyncio.to_thread(t.track_event, "{}")',
    'def track(name): t.track_event(name)\ndef other(name): track(name)\nother("{}")',
    'def track(name): t.track_event(name)\nexecutor.submit(track, "{}")',
    'class A:\n    def track(self, name): self.t.track_event(name)\ndef f(analytics): analytics.track("{}")',
    "NAMES = {{**OTHERS, 'a': '{}'}}\nt.track_event(NAMES['a'])",
    "NAMES = [*OTHERS, '{}']\nfor n in NAMES: t.track_event(n)",
    "n = 'timer'\nn += '.{}'\nt.track_event(n)",
    "def track(*args): t.track_event(*args)\ntrack('{}')",
    "def track(**kw): t.track_event(**kw)\ntrack(name='{}')",
    "def track(name): t.track_event(name)\ntrack(*['{}'])",
    "def track(name): t.track_event(name)\nf = track\nf('{}')",
    "class B:\n    def name(self): return 'timer.started'\n    def f(self): t.track_event(self.name())\nclass E(B):\n    def name(self): return '{}'",
    "t.track_event('{}'.lower())",
    "t.track_event(properties=None)",
]


@pytest.mark.parametrize("source", NAMES)
def test_names_are_followed(source: str) -> None:
    """A name that is written out, here or where a variable, a constant or a wrapper has it from, is compared."""
    right = source.format("timer.stopped")
    assert sent(right) == {"timer.stopped"}, right

    found, events = checked(source.format("timer.stoped"))
    assert events == set()
    assert any("undeclared-event" in it for it in found), found


@pytest.mark.parametrize("source", GIVEN_UP)
def test_names_that_are_given_up(source: str) -> None:
    """What cannot be inferred is reported as unchecked at its line: neither guessed, nor passed over in silence."""
    for name in ("timer.stopped", "timer.stoped"):
        write({"a.py": source.format(name)})
        found = findings()

        assert {it.kind for it in found} == {"unchecked"}, found
        assert [it for it in found if it.line > 0], found


@pytest.mark.parametrize(
    "reading",
    [
        "from constants import STOPPED\nt.track_event(STOPPED)",
        "from constants import STOPPED as S\nt.track_event(S)",
        "from constants import *\nt.track_event(STOPPED)",
        "import constants\nt.track_event(constants.STOPPED)",
        "import constants as c\nt.track_event(c.STOPPED)",
        "def f():\n    from constants import STOPPED\n    t.track_event(STOPPED)",
        "from pkg import STOPPED\nt.track_event(STOPPED)",
        "from pkg.events import STOPPED\nt.track_event(STOPPED)",
        "import pkg.events\nt.track_event(pkg.events.STOPPED)",
        "import pkg\nt.track_event(pkg.STOPPED)",
        "from pkg import events as e\nt.track_event(e.STOPPED)",
        "from bare.events import STOPPED\nt.track_event(STOPPED)",
        "from pkg.again import Names\nt.track_event(Names.STOPPED)",
    ],
)
def test_names_of_other_files(reading: str) -> None:
    """A constant is followed through every form of import, packages and their parts included."""
    write(
        {
            "constants.py": 'STOPPED = "timer.stopped"',
            "pkg/__init__.py": "from .events import *",
            "pkg/events.py": 'STOPPED = "timer.stopped"',
            "pkg/again.py": "from . import events\nclass Names:\n    STOPPED = events.STOPPED",
            "bare/events.py": 'STOPPED = "timer.stopped"',
            "main.py": reading,
        }
    )
    found = findings()

    assert {it.message.split()[0] for it in found if it.kind == "dead-event"} == ALL - {"timer.stopped"}
    assert {it.kind for it in found} == {"dead-event"}


@pytest.mark.parametrize(
    "reading",
    [
        "import bare.events\nt.track_event(bare.events.STOPPED)",
        "from . import constants\nt.track_event(constants.STOPPED)",
        "try:\n    from missing import STOPPED\nexcept ImportError:\n    from constants import STOPPED\nt.track_event(STOPPED)",
        "from missing import STOPPED\nt.track_event(STOPPED)",
        "import os\nt.track_event(os.name)",
    ],
)
def test_imports_that_are_given_up(reading: str) -> None:
    """What comes from outside the given files, or through a directory that is no package, is unchecked."""
    write({"constants.py": 'STOPPED = "x.y"', "bare/events.py": 'STOPPED = "x.y"', "main.py": reading})

    found = {(it.path.rpartition(os.sep)[2], it.kind) for it in findings()}
    assert ("main.py", "unchecked") in found
    assert "dead-event" not in {kind for _, kind in found}


@pytest.mark.parametrize(
    "reading",
    [
        "from .events import STOPPED\nt.track_event(STOPPED)",
        "from ..pkg.events import STOPPED\nt.track_event(STOPPED)",
        "from events import STOPPED\nt.track_event(STOPPED)",  # a script beside its module
    ],
)
def test_relative_imports(reading: str) -> None:
    """A relative import means the package it stands in, also where another file has the same name."""
    write({"src/pkg/events.py": 'STOPPED = "timer.stopped"', "other/pkg/events.py": 'STOPPED = "x.y"', "events.py": ""})

    assert sent({"src/pkg/main.py": reading}) == {"timer.stopped"}


def test_a_file_does_not_import_itself() -> None:
    """A file may have the name of what it imports."""
    write(
        {"src/events.py": "from events import *\nt.track_event(STOPPED)", "lib/events.py": 'STOPPED = "timer.stopped"'}
    )

    assert sent({}) == {"timer.stopped"}


def test_a_call_that_may_send_several_events() -> None:
    """What fits one of the events that a call may send is right; what fits none is not."""
    catalog = parse("""
        version = 1
        [events."a.one"]
        description = "x"
        purpose = "usage"
        properties = { size = { type = "int", description = "x" }, one = { type = "int", description = "x" } }
        [events."a.two"]
        description = "x"
        purpose = "usage"
        properties = { size = { type = "string", description = "x" } }
    """)
    write({"a.py": 't.track_event("a.one" if x else "a.two", {"size": 1, "one": 1, "two": 2})'})
    assert [it.message for it in findings(catalog=catalog)] == ['these events: "two" is not declared']

    write({"a.py": 't.track_event("a.one" if x else "a.two", {"size": 1.5})'})
    assert [it.kind for it in findings(catalog=catalog)] == ["wrong-value"]


def test_wrappers_of_other_files() -> None:
    """A host's own function is checked where it is called, in whatever file and under whatever name."""
    files = {
        "app/analytics.py": "def track(name, **properties):\n    telemetry.track_event(name, properties)\n",
        "app/one.py": 'from app.analytics import track\n\ntrack("timer.started", source="web", x=1)\n',
        "app/two.py": 'from app import analytics\n\n\nanalytics.track("timer.stoped")\n',  # no __init__.py
        "app/five.py": 'from elsewhere import track\n\ntrack("timer.stoped")\n',
        "app/three.py": 'from .analytics import track as t\n\nt("note.created", words="5")\n',
        "app/four.py": 'from .analytics import track as t\n\nt("note.created", **{"words": "5"})\n',
    }

    assert problems(files) == [
        "app/five.py:3 unchecked",
        "app/four.py:3 unchecked",
        "app/one.py:3 undeclared-property",
        "app/one.py:3 wrong-value",
        "app/three.py:3 wrong-value",
        "app/two.py:4 unchecked",
    ]


def test_a_value_given_to_a_wrapper() -> None:
    """A value that is a parameter is as one known while running, unless name or properties come from the call too."""
    source = """
        def started(source):
            t.track_event("timer.started", {"source": source})
        def track(name, source):
            t.track_event(name, {"source": source})
        started("web")
        track("timer.started", "cli")
        track("timer.started", "web")
        track("timer.started", sys.argv[1])
    """

    assert problems(source) == ["a.py:8 wrong-value"]


def test_a_default_is_no_guess() -> None:
    """What a wrapper sends by default is not taken for what an unreadable call of it sends."""
    found, events = checked("def track(name='timer.started'): t.track_event(name)\ntrack(*x)")

    assert found[0] == f"a.py:2 unchecked {UNKNOWN}"
    assert events == {"timer.started"}


def test_a_wrapper_seen_from_no_call() -> None:
    """Properties that come from a parameter are unchecked where no call is found, and values are left in peace."""
    assert problems('def f(p): t.track_event("timer.started", p)') == ["a.py:1 unchecked"]
    assert problems('def f(**p): t.track_event("timer.started", p)') == ["a.py:1 unchecked"]
    assert problems('def f(*p): t.track_event("timer.started", {k: 1 for k in p})') == ["a.py:1 unchecked"]
    assert problems('def f(s, user): t.track_event("timer.started", {"source": s}, user_id=user)') == []


def test_name_and_properties_of_one_call_belong_together() -> None:
    """What one call of a wrapper sends is not mixed with what another one sends."""
    source = """
        def track(name, properties=None):
            t.track_event(name, properties)
        track("timer.started", {"source": "cli"})
        track("note.created", {"words": 1})
        for name, properties in [("timer.started", {"source": "gui"}), ("note.created", {"words": 2})]:
            t.track_event(name, properties)
    """

    assert problems(source) == []


def test_only_what_can_have_run_before_counts() -> None:
    """A name stands for what it was last given before the call, over branches; what a loop changes is unchecked."""
    source = """
        def straight():
            name = "timer.started"
            t.track_event(name)
            name = "never.sent"
        def branch(x):
            if x:
                name = "bad.one"
            else:
                name = "bad.two"
            t.track_event(name)
        def loop(x):
            name = "bad.three"
            for _ in x:
                t.track_event(name)
                name = "bad.four"
        def turn(x):
            for _ in x:
                name = "timer.started"
                t.track_event(name)
                name = "never.sent"
        def given(name):
            name = "bad.five"
            t.track_event(name)
        given("never.sent")
    """

    found = checked(source)[0]
    assert {it.split('"')[1] for it in found if "undeclared" in it} == {"bad.one", "bad.two", "bad.five"}
    assert [it.split()[0] for it in found if "unchecked" in it] == ["a.py:15", "a.py:20"]  # where the loop changes it


def test_page_views_and_users() -> None:
    """The SDK's own events need no declaration; their properties do, and a declared one that is not sent is dead."""
    assert checked('t.track_page_view("/", {"x": 1})\nt.identify_user(5, {"plan": "free"})')[0] == [
        'a.py:1 undeclared-property analytics.page_view: "x" is not declared',
        'a.py:2 undeclared-property analytics.identify: "plan" is not declared',
    ]
    catalog = parse('version = 1\n[events."analytics.page_view"]\n[events."analytics.identify"]')
    write({"a.py": 't.track_page_view("/")'})
    assert [it.message.split()[0] for it in findings(catalog=catalog)] == ["analytics.identify"]


UNKNOWN = "the event's name is only known while running"
HANDED_ON = "track_event is handed on: its calls are not seen here"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("t.track_event(name)", UNKNOWN),
        ("t.track_event(None)", UNKNOWN),
        ("t.track_event(f'timer.{x}')", UNKNOWN),
        ("t.track_event(f'never.{x}')", UNKNOWN),
        ("t.track_event('note.%s' % x)", UNKNOWN),
        ("t.track_event('{}.created'.format(x))", UNKNOWN),
        ("def track(name): t.track_event(name)", UNKNOWN),
        ("def track(name): t.track_event(name)\ntrack(x)", UNKNOWN),
        ("f = lambda name: t.track_event(name)", UNKNOWN),
        ("class E(Enum):\n    A = 'timer.started'\nt.track_event(E.A)", UNKNOWN),
        ("connect(t.track_event)", HANDED_ON),
        ("connect(callback=t.track_event)", HANDED_ON),
        ("handlers['x'] = t.track_event", HANDED_ON),
        ("def f(): return t.track_event", HANDED_ON),
    ],
)
def test_what_cannot_be_checked(source: str, message: str) -> None:
    """What is only known while running is unchecked; so is, then, whether the other events are sent at all."""
    write({"a.py": source})
    found = findings()

    assert [it.message for it in found if it.line] == [message]
    assert [(it.kind, it.path) for it in found if not it.line] == [("unchecked", "telemetry.toml")] * 3


@pytest.mark.parametrize(
    "source",
    [
        'class Fake:\n    def track_event(self, name, properties=None): self.seen.append(name)\nFake().track_event("x.y")',
        'class A:\n    def track(self, name): t.track_event(name)\nA().track("timer.stopped")\nconnect(bus.track, "order.placed")',
        'track_event = "x.y"',
        'print("track_event")',
        "def track_event(name): pass",
        'def other(name): pass\nother("x.y")',
        'assert t.track_event.called_with("x.y")',
    ],
)
def test_what_sends_nothing_is_left_in_peace(source: str) -> None:
    """A stand-in for tests, another method of the same name, and a mention of the method are no events."""
    assert problems(source) == []


def test_a_real_object_beside_a_stand_in() -> None:
    """An object that may be a stand-in and may be the real one counts as the real one."""
    source = """
        class Null:
            def track_event(self, name): pass
        t = Telemetry("acme", version="1") if wanted else Null()
        t.track_event("x.y")
    """

    assert problems(source) == ["a.py:5 undeclared-event"]


def test_what_only_may_be_a_wrapper_is_unchecked() -> None:
    """A method that only has a wrapper's name, of who knows what, is unchecked."""
    source = """
        class A:
            def track(self, name): t.track_event(name)
        A().track("timer.stopped")
        bus.track("order.placed")
    """
    (found,) = checked(source)[0]

    assert found == "a.py:5 unchecked this may send an event: whose track is it?"


ODD = {
    "old.py": 'print "hello"\n',
    "broken.py": "\ndef f(:\n    pass\n",
    "nul.py": "x = '\x00'\n",
    "cookie.py": "# -*- coding: no-such-encoding -*-\n",
    "deep.py": "x = " + "[" * 5000,
}


@pytest.mark.parametrize("name", ODD)
def test_files_that_are_not_python(name: str) -> None:
    """A file that cannot be parsed is reported, and the others are checked."""
    found, events = checked({name: ODD[name], "good.py": 't.track_event("timer.stopped")'})

    assert len(found) == 1
    assert found[0].startswith(f"{name}:")
    assert " unreadable not Python 3." in found[0]
    assert events == {"timer.stopped"}


def test_the_line_of_a_syntax_error() -> None:
    """A syntax error has its line."""
    assert problems({"broken.py": ODD["broken.py"]}) == ["broken.py:2 unreadable"]


def test_bytes_that_are_no_text() -> None:
    """A file in another encoding than it says is reported; one that says its encoding is read."""
    Path("a.py").write_bytes('x = "é"\n'.encode("latin-1"))
    Path("b.py").write_bytes('# coding: latin-1\nt.track_event("timer.stopped", {"é": 1})\n'.encode("latin-1"))
    Path("c.py").write_bytes(b'\xef\xbb\xbft.track_event("note.created")\r\n')

    assert [(it.path, it.line, it.kind) for it in findings() if it.kind != "dead-event"] == [
        (os.path.join(".", "a.py"), 0, "unreadable"),
        (os.path.join(".", "b.py"), 2, "undeclared-property"),
    ]


def test_old_escapes_are_no_trouble() -> None:
    """A source that Python warns about is read without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert sent('x = "\\d"\nt.track_event("timer.stopped") if 1 is 1 else 0\n') == {"timer.stopped"}


def test_directories_that_are_not_the_hosts() -> None:
    """Hidden directories, virtual environments, installed packages, caches and this SDK are not looked into."""
    bad = 't.track_event("x.y")'
    skipped = [".hidden", "node_modules", "__pycache__", "site-packages", "acme.egg-info", "telemetry_sdk", "my_env"]
    write({f"src/{name}/a.py": bad for name in skipped})
    write({"src/my_env/pyvenv.cfg": "", "src/a.txt": bad, "src/b.pyi": bad, "src/b.py": "", "src/env/c.py": bad})

    assert [it.path for it in findings("src") if it.kind == "undeclared-event"] == [os.path.join("src", "env", "c.py")]
    assert [it.path for it in findings("src/.hidden", "src/a.txt") if it.kind == "undeclared-event"] == [
        os.path.join("src", ".hidden", "a.py") if os.sep != "/" else "src/.hidden/a.py",
        "src/a.txt",
    ]


def test_paths_that_are_not_there() -> None:
    """A path that does not exist, and a directory without Python, are reported."""
    Path("empty").mkdir()

    found = [
        (it.path, it.kind, it.message.split(":")[0]) for it in findings("no.py", "empty") if it.kind != "dead-event"
    ]
    assert found == [("empty", "unreadable", "no Python file in it"), ("no.py", "unreadable", "cannot be read")]


@pytest.mark.skipif(os.name != "posix", reason="needs links and pipes as POSIX has them")
def test_links_and_pipes() -> None:
    """A link in a circle is not followed, a broken one is reported, a pipe is not waited for, a file is read once."""
    write({"src/a.py": 't.track_event("x.y")'})
    os.symlink("..", "src/circle")
    os.symlink("a.py", "src/b.py")
    os.symlink("nowhere.py", "src/c.py")
    os.mkfifo("src/d.py")

    found = [(it.path, it.kind) for it in findings("src", "src/a.py", "./src") if it.kind != "dead-event"]
    assert found == [("src/a.py", "undeclared-event"), ("src/c.py", "unreadable"), ("src/d.py", "unreadable")]
    assert [it.kind for it in findings("src/d.py") if it.path == "src/d.py"] == ["unreadable"]


def test_sources_that_go_in_circles() -> None:
    """Names, imports, classes and functions that depend on themselves are no endless search."""
    source = """
        from b import again, other
        a = b
        b = a or b
        def f(x): return g(x)
        def g(x): return f(x) + f(x) + g(x)
        class A(B): pass
        class B(A):
            def f(self): t.track_event(self.x)
        class C(C.Base):
            def make(self):
                class D(self.base(), self.other):
                    def f(self): t.track_event(self.x)
                    def base(self): return D
                return D
            def base(self): return self.make()
        def w(name):
            w(name)
            w(name + "x")
            t.track_event(name)
        w("timer.started")
        d = {**d}
        d[d] = d
        for name in (b, f(b), again, A.x, d, d[d]):
            t.track_event(name, d)
    """
    found, events = checked(
        {"a.py": source, "b.py": "from a import *\nfrom b import *\nfrom a import again\nother = again"}
    )

    assert {it.split()[1] for it in found} == {"unchecked"}
    assert events == {"timer.started"}


def test_very_long_and_deep_sources() -> None:
    """A long chain of texts, of names and of wrappers costs no crash."""
    chain = "n0 = 'timer.stopped'\n" + "".join(f"n{i + 1} = n{i}\n" for i in range(500))
    deep = "".join(f"def f{i + 1}(name): f{i}(name)\n" for i in range(50))
    source = f"{chain}t.track_event(n500)\ndef f0(name): t.track_event(name)\n{deep}f50('timer.started')\n"
    source += (
        "t.track_event("
        + " + ".join(["'a'"] * 300)
        + ")\n"
        + "t.track_event("
        + "(" * 100
        + "'note.created'"
        + ")" * 100
        + ")\n"
    )
    found, events = checked(source)

    assert "note.created" in events
    assert not [it for it in found if it.split()[1] not in ("unchecked", "undeclared-event")]


def test_a_wrapper_that_is_called_a_thousand_times() -> None:
    """Every one of many calls is checked."""
    calls = "".join(f'track("timer.stopped")\ntrack("bad.n{i}")\n' for i in range(1000))

    assert len(checked(f"def track(name): t.track_event(name)\n{calls}")[0]) == 1000


def test_the_order_is_fixed() -> None:
    """What is found comes sorted by file and line, whatever the order of the paths."""
    write({"b.py": 't.track_event("b.b")\nt.track_event("a.a")', "a/c.py": 't.track_event("c.c")'})

    assert findings(Path("b.py"), Path("a")) == findings("a", "b.py") == sorted(findings("a", "b.py"))


def test_hostile_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source costs much memory or time, and none is imported: not even a module that stands on Python's path."""
    doubled = "".join(
        f"n{i + 1} = n{i} + n{i}\nl{i + 1} = [*l{i}, *l{i}]\nd{i + 1} = {{**d{i}, **d{i}}}\n" for i in range(60)
    )
    huge = "a = 'x' * 10**12\nb = f'{1:10000000000}'\nc = '%10000000000d' % 1\nd = 1 << 10**12\ne = 9 ** 9 ** 9\n"
    calls = "".join(f"def f{i + 1}(x): return f{i}(f{i}(x)) or f{i}(x)\n" for i in range(30))
    source = f"import gi, side_effect\ngi.require_version('Gtk', '3.0')\nfrom side_effect import *\n{huge}{calls}"
    source += f"n0 = 'timer'\nl0 = ['timer']\nd0 = {{'x': 1}}\ndef f0(x): return x\n{doubled}"
    source += "".join(
        f"t.track_event({it}, d60)\n" for it in ("a", "b", "c", "d", "e", "n60", "l60[0]", "f30('x')", "NAME")
    )
    for name in ("gi.py", "side_effect.py"):
        (tmp_path / name).write_text("import pathlib\npathlib.Path('imported').touch()\nNAME = 'x.y'\n")
    monkeypatch.syspath_prepend(tmp_path)

    kinds = {it.split()[1] for it in checked(source)[0]}
    assert "unchecked" in kinds
    assert not Path("imported").exists()
    assert not {"gi", "side_effect"} & set(sys.modules)


def test_a_file_that_is_too_large() -> None:
    """What is too large for a source is not read, nor is what is no file."""
    Path("a.py").write_bytes(b"#" * (4 * 2**20 + 1))

    assert problems({}) == ["a.py:0 unreadable"]
