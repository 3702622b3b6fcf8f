"""What the user decides: yes or no, a new identity, to be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.identity.install_id import ensure_identity
from telemetry_sdk.identity.schema import DECISIONS
from telemetry_sdk.model import OPERATOR_GRANT, Level
from telemetry_sdk.outbox import StoreError

if TYPE_CHECKING:
    from telemetry_sdk.client.config import Config
    from telemetry_sdk.client.override import Providers
    from telemetry_sdk.client.pipeline import RecordMaker
    from telemetry_sdk.client.session import Session
    from telemetry_sdk.identity.schema import State
    from telemetry_sdk.model import Record

_NOTHING_SENT: Final = "no detailed analytics had been sent"


class Choices:
    """Carries out what the user decided, and tells the host of it."""

    def __init__(self, config: Config, providers: Providers, maker: RecordMaker) -> None:
        self._config = config
        self._providers = providers
        self._maker = maker

    def announce(self, session: Session) -> None:
        """Tell the host of a decision it has not been told of, whoever made it."""
        callback = self._config.on_consent_change
        if callback is None or session.gate.is_switched_off():
            return
        decision = session.consent.changed(session.installation.read())
        if decision is not None:
            callback(decision)

    def agree(self, session: Session) -> bool:
        """Store a yes to the catalogue as it is; whether it is on disk."""
        return session.consent.record(enabled=True, now_ns=self._providers.moment_ns(), catalog=self._config.catalog)

    def withdraw(self, session: Session, *, everything: bool = False) -> bool:
        """Store a no, destroy what waits, and wait until no request with analytics is being written.

        With *everything* the no is to base telemetry too, and what waits of that goes as well.

        Returns:
            Whether all three are certain, and nothing else allows analytics. This process sends none whatever happens.
        """
        stored = self._decline(session, everything=everything)
        try:
            if session.outbox.is_there():
                if everything:
                    session.outbox.purge("consent withdrawn")
                else:
                    session.outbox.destroy_withdrawn(lambda: session.gate.right().grants - {OPERATOR_GRANT})
            # On a full disk there may be room only now.
            stored = stored or self._decline(session, everything=everything)
            return session.is_withdrawn() and stored and session.gate.right().level is not Level.FULL
        except StoreError:
            return False

    def _decline(self, session: Session, *, everything: bool = False) -> bool:
        return session.consent.record(enabled=False, now_ns=self._providers.moment_ns(), everything=everything)

    def reset_identity(self, session: Session) -> str | None:
        """Begin as a new install: forget the id and what was sent under it, destroy what waits, make a new id."""

        def renew(state: State) -> dict[str, object]:
            if state.install_id is None:
                return {}
            return dict.fromkeys(("install_id", "first_seen_at", "heartbeat_phase_s", "user_id_secret"))

        session.installation.update(renew)
        session.progress.erase()
        if session.outbox.is_there():
            session.outbox.purge("identity reset")
        if session.gate.right().level is Level.OFF:
            return None
        providers = self._providers
        me = ensure_identity(
            session.installation, now_ns=providers.now_ns(), new_id=providers.new_id, draw=providers.draw
        )
        return me.install_id if me else None

    def forget(self, session: Session) -> tuple[bool, Record | str]:
        """Delete everything on this machine, and leave one request to delete behind where that is due.

        Returns:
            Whether everything is gone for certain, and the record that asks the sink's owner to delete too, or why
            there is none.
        """
        if not session.installation.has_directory():
            return True, _NOTHING_SENT
        state = session.installation.read()
        request = self._deletion_request(session, state)
        certain = not state.telemetry_enabled or self._decline(session)
        try:
            if session.outbox.is_there() or not isinstance(request, str):
                session.outbox.forget("forgotten", None if isinstance(request, str) else request)
            certain = session.is_withdrawn() and certain
        except StoreError as error:
            certain, request = False, str(error)
        erased = session.installation.erase([key for key in DECISIONS if getattr(state, key) is False])
        return session.progress.erase() and erased and certain, request

    def _deletion_request(self, session: Session, state: State) -> Record | str:
        if state.install_id is None or not session.has_sent_analytics():
            return _NOTHING_SENT
        if session.gate.is_switched_off() or not session.settings.may_have_sink or state.base_enabled is False:
            # The id is gone with everything else, and it is all that he could name to the sink's owner.
            why = session.gate.right().reason
            return f"{why}; what was sent carries the install id {state.install_id}, ask the sink's owner yourself"
        return self._maker.deletion_request(state.install_id)
