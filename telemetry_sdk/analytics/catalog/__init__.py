"""What an app may send by name, and whether it may leave now. Pure.

The catalogue lists every event of an app with its properties. `format` reads it from ``telemetry.toml``.

1. An event that is not declared does not leave; nor does one that has expired.
2. Consent is bound to the version of the catalogue it was given for: an event or property that came with a later
   version stays here until the user is asked again.
3. A property that is not declared, has another type than declared, or a value that is not among the allowed ones is
   left out by name, at any depth. The rest of its event leaves.
4. `OWN_EVENTS`, the SDK's, are declared without being written down. A host may declare properties for two of them.
5. A consent given before there was a catalogue counts as one for version 1. A stored version that cannot be read
   covers nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from telemetry_sdk.model import DELETION_REQUESTED, IDENTIFY, INSTALL, PAGE_VIEW, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCALARS: Final = ("string", "bool", "int", "float")
TYPES: Final = (*SCALARS, "list", "map")
LATEST_VERSION: Final = 999_999_999

_BEFORE_CATALOGUES: Final = 1
_VERSION: Final = re.compile("[1-9][0-9]{0,8}")
_PYTHON_TYPES: Final = dict(zip(TYPES, ((str,), (bool,), (int,), (float, int), (list,), (dict,)), strict=True))
_INT64: Final = 2**63
_MOST_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """One declared property."""

    name: str
    type: str  # one of `TYPES`; a whole number is a float too
    description: str
    values: tuple[object, ...] = ()  # the allowed ones, of a list those of its items; none: any of the type
    since: int = 1  # the catalogue version it came with
    items: str = ""  # of a list, the type of its items, one of `SCALARS`
    properties: tuple[PropertySpec, ...] = ()  # of a map, what may be in it

    def listed(self) -> dict[str, Any]:
        """Return it for people."""
        return {
            "name": self.name,
            "type": f"list of {self.items}" if self.items else self.type,
            "description": self.description,
            "values": list(self.values),
            "properties": [spec.listed() for spec in self.properties],
        }

    def objection(self, value: object) -> str:
        """Return why *value*, a scalar or an item of a list, is not allowed; empty when it is.

        A value is what `values` makes of a host's: exactly a str, bool, int or float.
        """
        kind = self.items or self.type
        if type(value) not in _PYTHON_TYPES[kind] or (type(value) is int and not -_INT64 <= value < _INT64):
            return f"is not of type {kind}"
        if self.values and value not in self.values:
            more = f" and {len(self.values) - _MOST_NAMED} more" if len(self.values) > _MOST_NAMED else ""
            return f"is not one of {', '.join(map(str, self.values[:_MOST_NAMED]))}{more}"
        return ""


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One declared event."""

    name: str
    description: str  # when it is sent
    purpose: str  # one word: usage, errors, performance or the vendor's own
    since: int = 1  # the catalogue version it came with
    properties: tuple[PropertySpec, ...] = ()
    owner: str = ""  # who answers questions about it
    expires: str = ""  # the first day on which it is not sent any more, YYYY-MM-DD

    def listed(self, agreed: int) -> dict[str, Any]:
        """Return it for people, under a consent to version *agreed* of the catalogue."""
        return {
            "name": self.name,
            "description": self.description,
            "purpose": self.purpose,
            "agreed": self.since <= agreed,
            "properties": [spec.listed() for spec in self.properties],
        }


OWN_EVENTS: Final = {
    spec.name: spec
    for spec in (
        EventSpec(INSTALL, "The user agreed to detailed analytics on this install for the first time.", "usage"),
        EventSpec(PAGE_VIEW, "A page was shown. Carries its route, as the program or its framework names it.", "usage"),
        EventSpec(IDENTIFY, "The program told which user of its own the following events are about.", "usage"),
        EventSpec(
            DELETION_REQUESTED,
            "The user had everything about this install deleted. Asks whoever runs the sink to do the same.",
            "privacy",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Admission:
    """What the catalogue says about one event.

    Without an outcome it may leave. ``REFUSED`` says that it is not declared, which is a mistake of the program;
    ``SUPPRESSED`` that the user has not agreed to it yet or that it has expired.
    """

    kept: dict[str, object] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()  # names of the properties that may not leave, dotted when nested
    outcome: Outcome | None = None
    reason: str = ""  # why it may not leave


@dataclass(frozen=True, slots=True)
class Catalog:
    """The events of an app, all that may leave."""

    version: int  # raised whenever an event or property is added
    events: Mapping[str, EventSpec]
    app: str = ""  # the program's name, for the document

    def find(self, name: str) -> EventSpec | None:
        """Return what is declared for *name*, by the host or else by the SDK."""
        return self.events.get(name) or OWN_EVENTS.get(name)

    def admit(
        self, name: str, properties: Mapping[str, object], consented: int | None, *, today: str = ""
    ) -> Admission:
        """Say whether the event *name* may leave, and with which of the host's *properties*, which are converted.

        The user agreed to version *consented*, as `covered` returns it. Without *today*, the UTC day as
        ``YYYY-MM-DD``, nothing has expired.
        """
        spec = self.find(name)
        if spec is None:
            return Admission(outcome=Outcome.REFUSED, reason="not declared in the catalogue")
        agreed = _agreed(consented)
        if spec.since > agreed:
            reason = f"not part of what the user agreed to: it came with catalogue version {spec.since}; ask again"
            return Admission(outcome=Outcome.SUPPRESSED, reason=reason)
        if spec.expires and today >= spec.expires:
            return Admission(outcome=Outcome.SUPPRESSED, reason=f"expired on {spec.expires}")
        dropped: list[str] = []
        kept = _admitted(spec.properties, properties, agreed, "", dropped)
        return Admission(kept, tuple(dropped))

    @staticmethod
    def covered(stored: str | None) -> int | None:
        """Return the catalogue version in ``consent_catalog_version`` of installation.json.

        None, which counts as version 1, when there was no catalogue; 0, which covers nothing, when it cannot be read.
        """
        if stored is None:
            return None
        return int(stored) if _VERSION.fullmatch(stored) else 0

    def agreed_to(self, stored: str | None) -> str | None:
        """Return what ``consent_catalog_version`` becomes when the user says yes to this catalogue.

        That never takes back a yes that is *stored* for a newer version. A yes after a no, or the first one, stores
        nothing but itself: give None for *stored* then.
        """
        agreed = self.covered(stored)
        return stored if agreed is not None and agreed >= self.version else str(self.version)

    def listed(self, consented: int | None) -> tuple[dict[str, Any], ...]:
        """Return every event that may ever be sent, the SDK's own too, as `Preview.events` shows them.

        The user agreed to version *consented*; below 0, to nothing.
        """
        known = {**self.events, **{name: spec for name, spec in OWN_EVENTS.items() if name not in self.events}}
        agreed = _agreed(consented)
        return tuple(spec.listed(agreed) for spec in known.values())

    def unagreed(self, consented: int | None) -> tuple[str, ...]:
        """Return what a user who agreed to version *consented* has not agreed to, to be asked about.

        Events by name; new properties of other events as ``timer.started: source``. Empty: there is nothing to ask.
        """
        agreed = _agreed(consented)
        found: list[str] = []
        for spec in self.events.values():
            newer = [path for path, since in _since(spec).items() if since > agreed]
            found.extend([spec.name] if spec.since > agreed else newer)
        return tuple(found)


def _agreed(consented: int | None) -> int:
    return _BEFORE_CATALOGUES if consented is None else consented


def unmarked(catalog: Catalog, released: Catalog) -> tuple[tuple[str, str], ...]:
    """Return what would leave under a consent to *released* although that does not have it.

    That is what *catalog* has, *released* has not, and whose ``since`` does not say so: names of events, and for each
    what to do.
    """
    newest = released.version
    found: list[tuple[str, str]] = []
    for name, spec in catalog.events.items():
        known = released.find(name)
        before = _since(known) if known else {}
        for path, since in _since(spec).items():
            if path in before and since < before[path]:
                found.append((name, f"{path} came with version {before[path]}, so its since cannot be {since}"))
            elif path not in before and since <= newest:
                found.append((name, f"{path} is not in version {newest}: write since = {newest + 1}, raise version"))
            if not before:
                break  # a new event is news enough
    return tuple(found)


def _since(spec: EventSpec) -> dict[str, int]:
    """Return the versions that an event and each of its properties came with."""

    def properties(specs: Sequence[PropertySpec], prefix: str) -> Iterator[tuple[str, int]]:
        for it in specs:
            yield f"{prefix}{it.name}", it.since
            yield from properties(it.properties, f"{prefix}{it.name}.")

    return {spec.name: spec.since, **dict(properties(spec.properties, f"{spec.name}: "))}


def _admitted(
    specs: Sequence[PropertySpec], given: Mapping[str, object], agreed: int, prefix: str, dropped: list[str]
) -> dict[str, object]:
    declared = {spec.name: spec for spec in specs if spec.since <= agreed}
    kept: dict[str, object] = {}
    for name, value in given.items():
        spec, path = declared.get(name), f"{prefix}{name}"
        if spec is None or type(value) not in _PYTHON_TYPES[spec.type]:
            dropped.append(path)
        elif isinstance(value, dict):
            kept[name] = _admitted(spec.properties, value, agreed, f"{path}.", dropped)
        elif isinstance(value, list):
            refused = {position for position, item in enumerate(value) if spec.objection(item)}
            dropped.extend(f"{path}.{position}" for position in sorted(refused))
            kept[name] = [item for position, item in enumerate(value) if position not in refused]
        elif spec.objection(value):
            dropped.append(path)
        else:
            kept[name] = value
    return kept
