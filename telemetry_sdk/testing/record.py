"""Records as they were sent, read back from a request's body into values that tests compare. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from telemetry_sdk.analytics.values import is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SentRecord", "read_records"]


@dataclass(frozen=True, slots=True)
class SentRecord:
    """One record as a sink gets it.

    Attributes:
        name: The event's name, for example ``timer.started``.
        layer: ``base`` or ``analytics``.
        identity: The user id, else the install id.
        uid: ``log.record.uid``, as in the `Receipt`.
        attributes: Everything else it carries, in order; what the SDK adds included.
        occurred_at: When it was made, in UTC, to the millisecond.
        service_name: The ``app`` argument.
        service_version: The ``version`` argument.
    """

    name: str
    layer: str
    identity: str
    uid: str
    attributes: dict[str, Any]
    occurred_at: datetime
    service_name: str
    service_version: str

    @property
    def properties(self) -> dict[str, Any]:
        """The attributes that the program itself gave: those without what the SDK adds to every event."""
        return {name: value for name, value in self.attributes.items() if not is_reserved(name)}


def read_records(body: bytes) -> list[SentRecord]:
    """Return the records in the body of a request, or in one line of a ``file://`` sink, in order."""
    return list(_records(json.loads(body)))


def _records(request: dict[str, Any]) -> Iterator[SentRecord]:
    for logs in request["resourceLogs"]:
        resource = _values(logs["resource"]["attributes"])
        for record in (record for scope in logs["scopeLogs"] for record in scope["logRecords"]):
            attributes = _values(record["attributes"])
            yield SentRecord(
                name=attributes.pop("event_name"),
                layer=resource["telemetry.layer"],
                identity=attributes.pop("identity"),
                uid=attributes.pop("log.record.uid"),
                occurred_at=datetime.fromisoformat(attributes.pop("occurred_at")),
                attributes=attributes,
                service_name=resource["service.name"],
                service_version=resource["service.version"],
            )


def _values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {attribute["key"]: _value(attribute["value"]) for attribute in attributes}


def _value(any_value: dict[str, Any]) -> Any:
    ((kind, content),) = any_value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_value(item) for item in content["values"]]
    return _values(content["values"]) if kind == "kvlistValue" else content
