"""Opt-in events: which names, users, contexts and property names they may have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from telemetry_sdk.analytics.event import Event, build, check_name, hashed_identity, identity_of, request_context
from telemetry_sdk.analytics.scrub import Scrubber, Tally
from telemetry_sdk.model import IDENTIFY, INSTALL, PAGE_VIEW, InvalidEventError, Limits

OWN = {"install_id": "2ab2916d-a51f-4ac8-80ee-45ac31a28092", "app_version": "2.4.0"}


def built(properties: Any, limits: Limits | None = None) -> Event:
    return build("timer.started", properties, own=OWN, limits=limits or Limits())


def kept(properties: Any, limits: Limits | None = None) -> dict[str, object]:
    payload = built(properties, limits).payload
    return {name: value for name, value in payload.items() if name not in OWN}


class Name(str):
    """A string that lies about itself."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("never asked")

    __repr__ = __format__ = __str__  # type: ignore[assignment]


@pytest.mark.parametrize(
    "name",
    ["timer.started", "a.b", "support.modal_opened", "a1.2b.c_", "analytics.page_view", "x." + "y" * 126, "base.x"],
)
def test_event_names(name: str) -> None:
    """A name is at least two words of lower snake case, joined by dots."""
    assert name == check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "timer", "Timer.started", "timer.Started", "timer..started", ".timer", "timer.", "timer started.x"),
        *("1timer.x", "_timer.x", "timer-x.y", "timér.x", "timer.x\n", "timer.\u0663", "x." + "y" * 127, "a.\ud800"),
        *("base_telemetry.heartbeat", "base_telemetry.anything.else"),
    ],
    ids=ascii,
)
def test_impossible_event_names(name: str) -> None:
    """Any other name is refused, and so is the base layer's."""
    with pytest.raises(InvalidEventError) as caught:
        check_name(name)

    assert len(caught.value.event) <= 64
    str(caught.value).encode()  # a receipt's reason can always be written to a log


@pytest.mark.parametrize("name", [None, 1, b"timer.started", ["timer.started"]])
def test_a_name_is_a_string(name: object) -> None:
    """A name of another type is refused, not converted."""
    with pytest.raises(InvalidEventError, match=type(name).__name__):
        check_name(name)


def test_a_lying_name_is_made_plain() -> None:
    """What is kept of a string's subclass is its text, and none of its methods is called."""
    assert type(check_name(Name("timer.started"))) is str


def test_our_own_events_have_possible_names() -> None:
    """The events the SDK makes itself follow its own rule."""
    assert [check_name(name) for name in (PAGE_VIEW, IDENTIFY, INSTALL)] == [PAGE_VIEW, IDENTIFY, INSTALL]


class Role(StrEnum):
    OWNER = "owner"


@pytest.mark.parametrize(
    ("user_id", "identity"),
    [
        (None, None),
        ("", None),
        ("u-17", "u-17"),
        (42, "42"),
        (0, "0"),
        (-7, "-7"),
        (2**200, str(2**200)),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Role.OWNER, "owner"),
        (Name("u-17"), "u-17"),
        ("\ud800x", "?x"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 248 + "…[cut]"),
    ],
)
def test_identity(user_id: object, identity: str | None) -> None:
    """A user is a string, an int or a UUID; nothing means the install."""
    assert identity == identity_of(user_id)


@pytest.mark.parametrize("user_id", [True, 1.5, b"u", ["u"], {"id": 1}, object(), 10**400], ids=lambda u: str(u)[:9])
def test_impossible_identities(user_id: object) -> None:
    """Anything else is refused, without being shown."""
    with pytest.raises(InvalidEventError) as caught:
        identity_of(user_id)

    assert caught.value.event == "user_id"
    assert "0000" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "kept_path"),
    [
        ("/", "/"),
        ("/notes/{id}", "/notes/{id}"),
        ("/notes?q=secret", "/notes"),
        ("/notes#secret", "/notes"),
        ("/notes;jsessionid=secret", "/notes"),
        ("https://acme.example/notes?q=secret", "/notes"),
        ("https://user:secret@acme.example/notes", "/notes"),
        (" https://user:secret@acme.example/notes ", "/notes"),
        ("//acme.example/notes", "/notes"),
        ("https://acme.example", "/"),
        ("app+v1.x://host/deep/er", "/deep/er"),
        ("?q=secret", "/"),
        ("notes", "/notes"),
        ("/a//b", "/a/b"),
        ("/notes/<int:note_id>", "/notes/{note_id}"),
        ("/users/ada@example.org", "/users/{id}"),
    ],
)
def test_of_a_path_only_the_path_is_kept(path: str, kept_path: str) -> None:
    """Neither host, credentials, query nor fragment leave with a page view."""
    assert request_context({"path": path}) == {"path": kept_path}


def test_context_values_are_strings_of_bounded_length() -> None:
    """A request's header cannot fill the record."""
    context = request_context({"browser": "x" * 9_999, "device": Name("phone")})

    assert len(context["browser"].encode()) == 512
    assert type(context["device"]) is str
    assert request_context({}) == request_context({"path": ""}) == request_context({"path": " "}) == {}


@pytest.mark.parametrize(
    "context",
    [{"ip": "10.0.0.1"}, {"path": None}, {"browser": 5}, {1: "x"}, {"path": b"/"}, 5, "path", [1], {("path",): "/"}],
    ids=repr,
)
def test_impossible_contexts(context: Any) -> None:
    """A context holds path, browser and device as strings, and nothing else."""
    with pytest.raises(InvalidEventError):
        request_context(context)


class Hostile(Mapping[str, object]):
    """A mapping whose reading fails."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class Sly(dict[str, object]):
    """A dict whose methods lie."""

    def __len__(self) -> int:
        raise RuntimeError("no")

    __bool__ = __iter__ = items = keys = __getitem__ = __len__  # type: ignore[assignment]


@pytest.mark.parametrize(
    "properties",
    [{"a": 1}, [("a", 1)], OrderedDict(a=1), MappingProxyType({"a": 1}), Sly(a=1)],
    ids=lambda given: type(given).__name__,
)
def test_properties_of_any_mapping(properties: Any) -> None:
    """Properties come in any mapping, and a dict's subclass is read as the dict it is."""
    assert kept(properties) == {"a": 1}


@pytest.mark.parametrize("none", [None, {}, ()])
def test_no_properties(none: Any) -> None:
    """An event needs no properties; it carries what the SDK adds."""
    assert built(none) == Event(OWN)


@pytest.mark.parametrize("properties", [5, "text", [1], object(), Hostile()], ids=lambda given: type(given).__name__)
def test_properties_that_are_no_mapping(properties: Any) -> None:
    """Anything else is refused, also a mapping that cannot be read."""
    with pytest.raises(InvalidEventError, match=type(properties).__name__):
        built(properties)


def test_the_hosts_properties_are_not_touched() -> None:
    """What the host passed is neither changed nor kept."""
    inner = [1, float("nan")]
    given = {"list": inner, "bad name": 1}

    payload = built(given).payload

    assert given.keys() == {"list", "bad name"}
    assert inner[0] == 1
    assert len(inner) == 2
    assert payload["list"] is not inner


RESERVED = [
    "install_id",
    "app_version",
    "deployment_type",
    "release_channel",
    "path",
    "browser",
    "device",
    "event_name",
    "identity",
    "occurred_at",
    "log.record.uid",
    "level",
    "severity",
    "severity_text",
    "severity_number",
    "detected_level",
    "trace_id",
    "span_id",
    "flags",
    "observed_timestamp",
    "scope_name",
    "scope_version",
    "dropped_attributes_count",
    "service.name",
    "service.version",
    "telemetry.layer",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "telemetry.sdk.language",
    "deployment.environment.name",
]
SPELLINGS = [
    str,
    str.upper,
    lambda name: name.replace("_", ".").replace(".", "-"),
    lambda name: name.replace("_", "__"),
]


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_left_out(name: str) -> None:
    """A property cannot take a name of ours or of the log store, in any spelling the store makes the same."""
    for spell in SPELLINGS:
        event = built({"fine": 1, spell(name): 2})

        assert event.payload == {**OWN, "fine": 1}
        assert event.dropped == (spell(name),)


@pytest.mark.parametrize(
    ("property_name", "value"),
    [
        ("install", {"id": "forged"}),
        ("app", {"version": "9"}),
        ("log", {"record": {"uid": "forged"}}),
        ("event", {"name": "forged"}),
        ("occurred", {"at": "2099"}),
        ("trace", {"id": "x"}),
        ("severity", {}),
        ("detected_", {"level": "fatal"}),
    ],
)
def test_nested_names_cannot_become_reserved_ones(property_name: str, value: dict[str, object]) -> None:
    """A store joins the names of nested maps, so a map may not spell one of our names either."""
    event = built({property_name: value, "other": 1})

    assert event.dropped == (property_name,)
    assert event.payload == {**OWN, "other": 1}


@pytest.mark.parametrize("name", ["a", "A", "source", "source.kind", "source-kind", "a1.b2_c", "a_", "x" * 128])
def test_property_names(name: str) -> None:
    """A property's name is letters, digits and underscores, with single dots or dashes between."""
    assert kept({name: 1}) == {name: 1}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", ""),
        ("1a", "1a"),
        ("_a", "_a"),
        ("a b", "a b"),
        ("a..b", "a..b"),
        ("a.", "a."),
        ("é", "é"),
        ("a\n", "a\n"),
        ("\ud800", "?"),
        ("x" * 129, "x" * 56 + "…[cut]"),
        (None, "<NoneType>"),
        (1, "<int>"),
        ((1, 2), "<tuple>"),
        (b"a", "<bytes>"),
    ],
    ids=ascii,
)
def test_impossible_property_names(name: Any, told: str) -> None:
    """A property that cannot be named is left out, and the receipt names it as far as it can be shown."""
    event = built({name: 1, "fine": 2})

    assert event.payload == {**OWN, "fine": 2}
    assert event.dropped == (told,)


def test_at_most_so_many_properties() -> None:
    """What comes after the limit is left out by name."""
    event = built({f"p{n}": n for n in range(6)}, Limits(properties=4))

    assert list(event.payload)[2:] == ["p0", "p1", "p2", "p3"]
    assert event.dropped == ("p4", "p5")


class Unending(Mapping[str, object]):
    """A mapping that would never end, and lies about its length; counts how many keys and values were read."""

    def __init__(self, length: int = 3, *, fails_at: int = 100_000) -> None:
        self.read = 0
        self._length = length
        self._fails_at = fails_at

    def __getitem__(self, key: str) -> object:
        self.read += 1
        return key

    def __iter__(self) -> Iterator[str]:
        return (f"p{number}" for number, _ in self.pairs())

    def __len__(self) -> int:
        return self._length

    def pairs(self) -> Iterator[tuple[int, object]]:
        for number in range(self._fails_at):
            self.read += 1
            yield number, self
        raise RuntimeError("read to where it would have no end")


@pytest.mark.parametrize("length", [0, 3, -1, 10**9], ids=str)
def test_an_endless_mapping_is_read_to_its_bound(length: int) -> None:
    """What can be kept of it is, a thousand more are left out by name, and no further is looked."""
    endless = Unending(length)
    event = built(endless)

    assert list(event.payload)[2:] == [f"p{number}" for number in range(64)]
    assert event.dropped == tuple(f"p{number}" for number in range(64, 1064))
    assert event.unread is None
    assert event.explain("").endswith("p72, p73 and more than 990 more")
    assert endless.read <= 2 * 1065


def test_the_bound_on_what_is_read_follows_the_limit() -> None:
    """A host that allows more properties gets them."""
    endless = Unending()
    event = built(endless, Limits(properties=2000, record_bytes=10**6))

    assert len(event.payload) == 2002
    assert endless.read <= 2 * 3001


def test_an_endless_iterator_of_pairs_is_read_to_its_bound() -> None:
    """Pairs are taken as `dict` takes them, as far as they may count."""
    endless = Unending()
    event = built((f"p{number}", number) for number, _ in endless.pairs())

    assert (len(event.payload), len(event.dropped), event.unread) == (66, 1000, None)
    assert endless.read <= 1065


def test_a_pair_without_end_is_no_pair() -> None:
    """Of what should be a pair two are read, and a third shows that it is none."""
    endless = Unending()
    with pytest.raises(InvalidEventError, match="list"):
        built([("a", 1), endless.pairs()])

    assert endless.read == 3


@pytest.mark.parametrize("fails_at", [0, 5, 1064])
def test_a_mapping_that_fails_where_it_is_read_is_refused(fails_at: int) -> None:
    """One that fails beyond is taken: nobody looked."""
    with pytest.raises(InvalidEventError, match="Unending"):
        built(Unending(fails_at=fails_at))

    assert built(Unending(fails_at=1065)).unread is None


def test_a_context_without_end_is_refused() -> None:
    """It has three names: a fourth is one too many."""
    endless = Unending()
    with pytest.raises(InvalidEventError):
        request_context(endless)  # type: ignore[arg-type]

    assert endless.read <= 8


def test_what_is_not_read_of_a_dict_is_counted() -> None:
    """A dict knows how much it holds, so the receipt's number is exact without a look at the rest."""
    event = built(dict.fromkeys((f"p{number}" for number in range(100_000)), 1))

    assert (len(event.payload), len(event.dropped), event.unread) == (66, 1000, 98_936)
    assert event.explain("").endswith("p72, p73 and 99926 more")


@pytest.mark.parametrize(("given", "unread"), [(1064, 0), (1065, 1)])
def test_the_last_that_is_named(given: int, unread: int) -> None:
    """A thousand too many are still told by name."""
    event = built({f"p{number}": number for number in range(given)})

    assert (len(event.dropped), event.unread) == (1000, unread)


def test_a_mapping_that_holds_itself() -> None:
    """It is cut where values may be nested no deeper."""
    properties: dict[str, object] = {"a": 1}
    properties["b"] = properties

    assert kept(properties) == {"a": 1, "b": {"a": 1, "b": {"a": 1, "b": {"a": 1}}}}


def test_own_attributes_come_first_and_unchanged() -> None:
    """What the SDK adds stands before the host's properties."""
    assert list(built({"z": 1, "a": 2}).payload.items()) == [*OWN.items(), ("z", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("dropped", "reason", "text"),
    [
        (("a",), "", "left out: a"),
        (("a", "b"), "queued", "queued; left out: a, b"),
        (tuple("abcdefghijkl"), "", "left out: a, b, c, d, e, f, g, h, i, j and 2 more"),
    ],
)
def test_a_receipt_names_what_was_left_out(dropped: tuple[str, ...], reason: str, text: str) -> None:
    """Up to ten names are told, the rest is counted."""
    assert text == Event({}, dropped).explain(reason)


def test_what_was_scrubbed_is_explained() -> None:
    """The explanation says by kind what the scrubber removed, never what it was."""
    properties = {"note": "jane@example.com, joe@example.com", "password": "hunter2", "odd": None}
    event = build("timer.started", properties, own=OWN, limits=Limits(), scrubber=Scrubber())

    assert event.scrubbed == {"email": 2, "name: password": 1}
    assert event.payload == OWN | {"note": "[email], [email]", "password": "[removed]"}
    assert event.explain("stored") == "stored; left out: odd; scrubbed: email (2), name: password (1)"
    assert Event({}, scrubbed={"ip": 1}).explain("") == "scrubbed: ip (1)"
    assert Event({}).explain("stored") == "stored"


def test_without_a_scrubber_nothing_is_removed() -> None:
    """A host that turned the scrubber off gets what it passed."""
    assert kept({"note": "jane@example.com", "ip": "192.0.2.7"}) == {"note": "jane@example.com", "ip": "192.0.2.7"}


@pytest.mark.parametrize(
    ("context", "becomes"),
    [
        ({"path": "/notes/{id}"}, {"path": "/notes/{id}"}),
        ({"path": "https://jane:pw@example.com/notes?q=x"}, {"path": "/notes"}),
        ({"path": "/data/export"}, {"path": "/data/export"}),
        ({"path": "/home/jane/notes.txt"}, {"path": "[path]"}),
        ({"path": "file:///home/jane"}, {"path": "[path]"}),
        ({"path": "C:\\Users\\jane"}, {"path": "/{id}"}),
        ({"path": "/verify/jane@example.com"}, {"path": "/verify/{id}"}),
        ({"path": "/reset/glc_eyJvIjoiMTIzNDU2Nzg5MCIsIm4iOiJhY21lIn0="}, {"path": "/reset/{id}"}),
        ({"browser": "Firefox/140", "device": "desktop"}, {"browser": "Firefox/140", "device": "desktop"}),
        ({"browser": "from 192.0.2.7"}, {"browser": "from [ip]"}),
    ],
    ids=repr,
)
def test_the_request_context_is_scrubbed(context: dict[str, str], becomes: dict[str, str]) -> None:
    """A path is read as a route, and what it or a header carries of a person is removed."""
    tally = Tally()

    assert request_context(context, Scrubber(), tally) == becomes
    event = build("timer.started", {"n": 1}, own=OWN, limits=Limits(), context=context, scrubber=Scrubber())
    assert event.payload == {**OWN, **becomes, "n": 1}
    assert event.scrubbed == dict(tally)


def test_a_file_is_no_page_without_a_scrubber_either() -> None:
    """Of a ``file:`` URL nothing is left, for its path names directories of this machine."""
    assert request_context({"path": "FILE:///home/jane/notes.txt"}) == {"path": "[path]"}


def test_what_the_sdk_adds_is_not_scrubbed() -> None:
    """Version and install id are ours: a version of four numbers is no address."""
    own = OWN | {"app_version": "1.2.3.4"}
    event = build("timer.started", {}, own=own, limits=Limits(), scrubber=Scrubber())

    assert event == Event(own)


def test_a_hashed_identity() -> None:
    """It is the same for the same user and secret, another for any other, and says nothing of the id."""
    secret, other = b"s" * 32, b"t" * 32
    hashed = hashed_identity("jane@example.com", secret)

    assert hashed == "u_6225381d982966c19d94580f725bcc5cd22f388d57682e3665ddebce4f71385f"
    assert hashed == hashed_identity("jane@example.com", secret)
    assert len({hashed, hashed_identity("jane@example.com", other), hashed_identity("joe@example.com", secret)}) == 3
    assert hashed_identity("\ud800", secret) != hashed
    assert Scrubber().is_clean(hashed)
