"""Makes the records of one app: what the program chose and the platform's facts, joined with an identity."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from telemetry_sdk.base_payload import fields, platform
from telemetry_sdk.identity.install_id import derived_uid
from telemetry_sdk.model import DELETION_REQUESTED, FIRST_SEEN, HEARTBEAT, INSTALL, NANOSECONDS, Layer, Record, utc_day
from telemetry_sdk.sender import otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from telemetry_sdk.analytics.event import Event
    from telemetry_sdk.base_payload.fields import Facts
    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.identity.install_id import Identity


class _Uids:
    """Makes the uids of events. Neighbours differ in their last four digits alone, which halves what they compress to.

    A run of them begins with a random UUID4 and ends after 65,536, and at a fork.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        # Replaced as one, and counted by one step of the interpreter: threads share it without a lock.
        self._run: tuple[int, str, Iterator[int]] = (0, "", iter(()))

    def next(self) -> str:
        pid, prefix, numbers = self._run
        number = next(numbers, None)
        if number is None or pid != os.getpid():
            _, prefix, numbers = self._run = (os.getpid(), self._new_id()[:-4], iter(range(0x10000)))
            number = next(numbers)
        return f"{prefix}{number:04x}"


class RecordMaker:
    """Makes records. Reads the platform's facts when the first record needs them, then never again."""

    def __init__(self, config: Config, providers: Providers) -> None:
        self._config = config
        self._providers = providers
        self._uids = _Uids(providers.new_id)
        self._facts: Facts | None = None
        self._deployment = config.deployment_type or ""
        self._envelopes: dict[Layer, bytes] = {}

    def base(self, name: str, me: Identity, now_ns: int, *, seen_ns: int = 0) -> Record:
        """Return the base record *name* of this moment. Its uid is derived: two processes make the same one.

        *seen_ns* is the moment of the newest heartbeat before it that was acknowledged, as far as is known.
        """
        facts = self._facts = self._facts or platform.detect(self._providers.environ, self._config.deployment_type)
        payload = fields.build(
            name,
            install_id=me.install_id,
            app_version=self._config.version,
            facts=facts,
            first_seen_at=me.first_seen_at,
            now_ns=now_ns,
            release_channel=self._config.release_channel,
        )
        day = utc_day(now_ns / NANOSECONDS)
        uid = derived_uid(me.install_id, "first_seen" if name == FIRST_SEEN else f"heartbeat/{day}")
        body = otlp.encode_record(name=name, uid=uid, identity=me.install_id, made_ns=now_ns, payload=payload)
        chain = me.install_id if name == HEARTBEAT else None
        return Record(
            uid, Layer.BASE, name, now_ns, self._envelope(Layer.BASE), body, True, chain=chain, seen_ns=seen_ns
        )

    def analytics(self, name: str, event: Event, install_id: str, user: str | None, grant: str | None) -> Record:
        """Return the analytics record of *event*, made now under the consent *grant*."""
        now_ns = self._providers.now_ns()
        is_ping = name == INSTALL
        uid = derived_uid(install_id, "install_ping") if is_ping else self._uids.next()
        body = otlp.encode_record(
            name=name,
            uid=uid,
            identity=user or install_id,
            made_ns=now_ns,
            payload=event.payload,
            dropped=len(event.dropped) + (event.unread or 0),
        )
        envelope = self._envelope(Layer.ANALYTICS)
        return Record(uid, Layer.ANALYTICS, name, now_ns, envelope, body, derived=is_ping, grant=grant)

    def deletion_request(self, install_id: str) -> Record:
        """Return the record that asks the sink's owner to delete what came from *install_id*, and says nothing else.

        It needs no consent, so it is stored with the base records and outlasts a withdrawal.
        """
        now_ns, name = self._providers.now_ns(), DELETION_REQUESTED
        uid = derived_uid(install_id, "deletion")
        payload = {"install_id": install_id}
        body = otlp.encode_record(name=name, uid=uid, identity=install_id, made_ns=now_ns, payload=payload)
        return Record(uid, Layer.BASE, name, now_ns, self._envelope(Layer.ANALYTICS), body, derived=True)

    def own_attributes(self, install_id: str) -> dict[str, str]:
        """Return what every analytics event carries."""
        self._deployment = self._deployment or platform.detect_deployment(self._providers.environ)
        return {
            "install_id": install_id,
            "app_version": self._config.version,
            "deployment_type": self._deployment,
            "release_channel": self._config.release_channel,
        }

    def _envelope(self, layer: Layer) -> bytes:
        config = self._config
        if layer not in self._envelopes:
            self._envelopes[layer] = otlp.encode_envelope(
                app=config.app, version=config.version, layer=layer, environment=config.environment
            )
        return self._envelopes[layer]
