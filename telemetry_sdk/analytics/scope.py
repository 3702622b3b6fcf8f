"""Who and what a call is about when it does not say: the user and the request of the current context.

Bound in context variables: each thread and each asyncio task has its own, and a task begins with those of the task
that made it. Nothing is ever bound for the whole process. A request adds rules of its own:

- Whoever is bound during a request is forgotten at its end. A request that a server handed us begins with nobody, so
  that no thread takes a user from one request to the next; any other block begins with the user outside it.
- Whoever is bound in one part of a request, in a dependency that the framework runs in another thread, say, is the
  user of its other parts too, unless they bound one of their own.
- Work that outlives its request is no longer about it: neither its user nor its path.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from telemetry_sdk.host.guard import ignoring, is_hosts
from telemetry_sdk.host.lifecycle import loading
from telemetry_sdk.host.quiet import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")

# By app, for a process may hold several. A user is bound together with the request it was done in, or None.
_requests: Final[ContextVar[Mapping[str, RequestScope]]] = ContextVar("telemetry_sdk_requests")
_users: Final[ContextVar[Mapping[str, tuple[RequestScope | None, str | None]]]] = ContextVar("telemetry_sdk_users")


class RequestScope:
    """One request, bound within a ``with`` block. Leaving the block ends the request."""

    def __init__(
        self, app: str, source: Callable[[], Mapping[str, str]] | None = None, *, inherits: bool = True
    ) -> None:
        self.user: str | None = None
        self.over = False
        self._app = app
        self._source = source
        self._inherits = inherits
        self._tokens: list[tuple[Token[Any], Token[Any]]] = []

    def __enter__(self) -> RequestScope:
        if self._inherits and not self._tokens:
            self.user = _user_of(self._app)
        self._tokens.append(self._bind())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._tokens:
            _unbind(self._tokens.pop())
        if not self._tokens:
            self.end()

    def run(self, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Return what *call* returns, made with this request bound. Does not end the request."""
        tokens = self._bind()
        try:
            return call(*arguments, **options)
        finally:
            _unbind(tokens)

    def end(self) -> None:
        """End the request, wherever it is still bound."""
        self.over = True
        self.user = self._source = None

    def attributes(self) -> Mapping[str, str]:
        """Return what events carry of this request, as far as it is known now."""
        source = self._source
        if source is None:
            return {}
        try:
            return source()
        except Exception as error:  # a host's function may raise anything; it costs the context only
            if is_hosts(error):
                raise
            logger().debug("the request context could not be had (%s)", type(error).__name__)
            return {}

    def _bind(self) -> tuple[Token[Any], Token[Any]]:
        others = {app: bound for app, bound in _users.get({}).items() if app != self._app}
        return _requests.set({**_requests.get({}), self._app: self}), _users.set(others)


class Scope:
    """The user and the request that are bound for one app."""

    def __init__(self, app: str) -> None:
        self._app = app

    def user_or(self, user_id: object) -> object:
        """Return *user_id*, or instead of None the user bound here."""
        return _user_of(self._app) if user_id is None else user_id

    def bind_user(self, user: str | None) -> None:
        """Bind *user* for the current context and for the request it belongs to; None unbinds."""
        request = _request_of(self._app)
        _users.set({**_users.get({}), self._app: (request, user)})
        if request is not None:
            request.user = user

    def attributes(self, *, path: str | None = None) -> Mapping[str, str]:
        """Return what the bound request tells about itself, if there is one, and *path*. Looks at it only now."""
        request = _request_of(self._app)
        bound = request.attributes() if request is not None else {}
        return bound if path is None else {**bound, "path": path}

    def request(self, context: object, **parts: str | None) -> RequestScope:
        """Return the scope of the request *context* describes: see `Telemetry.request_context`.

        Parts alone, a path among them, describe a part of the request that is bound here: the rest is as it is there.

        Raises:
            InvalidEventError: *context* is nothing that describes a request.
        """
        with loading():  # what only programs that serve requests need
            from telemetry_sdk.analytics.request import source_of
        given = {name: part for name, part in parts.items() if part is not None}
        around = _request_of(self._app)
        source, is_from_server = source_of(context, given, around.attributes if around is not None else None)
        return RequestScope(self._app, source, inherits=not is_from_server)


def _request_of(app: str) -> RequestScope | None:
    request = _requests.get({}).get(app)
    return None if request is None or request.over else request


def _user_of(app: str) -> str | None:
    request = _request_of(app)
    bound = _users.get({}).get(app)
    if bound is not None and bound[0] is request:
        return bound[1]
    return request.user if request is not None else None


def _unbind(tokens: tuple[Token[Any], Token[Any]]) -> None:
    for token in tokens:
        # In another context than it was bound in, as when a generator is closed elsewhere, there is nothing to undo.
        with ignoring(ValueError):
            token.var.reset(token)
