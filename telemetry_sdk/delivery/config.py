"""How the records of one app are delivered to one sink. Pure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from telemetry_sdk.delivery import retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry_sdk.delivery.retry import Judgement
    from telemetry_sdk.model import Answer, Circuit
    from telemetry_sdk.sender.endpoint import Sink


class DeliveryConfig(NamedTuple):
    """How one app's records are delivered.

    Attributes:
        sink: Host of the sink, for the sent log.
        configuration: Makes, once, what stands for everything a HOLD depends on.
        app_version: The version a stop signal silences.
        timeout: Seconds for one request.
        late_ns: Age after which an unsent record is sent as late; None to send its own time always.
        loud: Whether an outage is worth a WARNING: the host named the sink in its own code.
    """

    sink: str
    configuration: Callable[[], str]
    app_version: str
    timeout: float
    late_ns: int | None
    loud: bool

    def blocked(self, circuit: Circuit, *, now: float, force: bool = False) -> str:
        """Return why nothing may be sent now; see `retry.blocked`."""
        return retry.blocked(
            circuit, now=now, configuration=self.configuration(), app_version=self.app_version, force=force
        )

    def next_circuit(
        self, circuit: Circuit, judgement: Judgement, answer: Answer, *, now: float, draw: float
    ) -> Circuit:
        """Return the circuit after an attempt; see `retry.next_circuit`."""
        return retry.next_circuit(
            circuit,
            judgement,
            answer,
            now=now,
            draw=draw,
            configuration=self.configuration(),
            app_version=self.app_version,
        )


def make_config(sink: Sink, *, app_version: str, timeout: float, late_ns: int | None) -> DeliveryConfig:
    """Return the settings of delivery to *sink*: its own *timeout* counts where it is the shorter one."""
    return DeliveryConfig(
        sink=sink.host,
        configuration=functools.cache(functools.partial(_configuration, sink, app_version)),
        app_version=app_version,
        timeout=min(sink.timeout or timeout, timeout),
        late_ns=late_ns,
        loud=sink.from_code,
    )


def _configuration(sink: Sink, version: str) -> str:
    import hashlib  # which loads OpenSSL, and is of no use before something is sent

    # Hashed, because it is stored and holds the token.
    text = "\0".join([sink.url, *(f"{name}:{value}" for name, value in sink.headers), version])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
