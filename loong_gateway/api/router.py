"""Which code answers which request: a table of routes, and a place for a protocol that takes a connection over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Callable, Protocol, Union

from loong_channels.waiting import Deadline, StopToken

from .answers import Answer, StreamedAnswer
from .http_request import Refusal, RequestHead
from .peers import Peer
from .wire import Wire

__all__ = ["Request", "Route", "Router", "Session", "Takeover"]

BODY_BYTES = 1024 * 1024
ANY_METHOD = "*"


@dataclass(frozen=True)
class Request:
    """A request that passed every check its route asks for. `authenticated` says that a credential was proven.

    `tail` is what follows the path of a prefix route, without the slash and as it was sent: never decoded. `gone`
    tells whether the client has left, without waiting; `stop` is set when the port ends.
    """

    head: RequestHead
    peer: Peer
    body: bytes
    authenticated: bool
    tail: str = ""
    gone: Callable[[], bool] = field(default=lambda: False)
    stop: StopToken = field(default_factory=StopToken)


Handler = Callable[[Request], Union[Answer, StreamedAnswer]]
# Judges a request before its body is read: an answer that refuses it, or None to go on.
Authorize = Callable[[RequestHead, Peer, StopToken], Union[Answer, None]]


@dataclass(frozen=True)
class Route:
    """`access`: "open" (no credential looked at), "optional" (a wrong one is refused, none is fine), "bearer", or "own"
    where `authorize` has the only word; who passes it counts as authenticated. `method` "*" takes every method but
    OPTIONS, for an `authorize` that looks at it itself.

    With `is_prefix` it serves everything below `path` as well. `shape` names the form of its errors, see
    `answers.error_answer`. A handler runs in the connection's own thread and may block; a GET route answers HEAD, too.
    `probe` routes may be called through any proxy.
    """

    method: str
    path: str
    handler: Handler
    access: str = "bearer"
    shape: str = "control"
    body_bytes: int = BODY_BYTES
    probe: bool = False
    is_prefix: bool = False
    authorize: Authorize | None = None


class Session(Protocol):
    """What a protocol that takes a connection over is handed."""

    head: RequestHead
    peer: Peer
    wire: Wire
    stop: StopToken

    def authenticated(self) -> bool:
        """Count the connection as a client that proved who it is; False when there are too many of those."""


@dataclass(frozen=True)
class Takeover:
    """A protocol that a GET with `Upgrade: <protocol>` switches to, whatever its path.

    Host, Origin and forwarding fields have been checked; a credential has not. `serve` blocks for as long as the
    protocol lives, raises a Refusal or writes its own answer, reads what is already buffered through `session.wire`,
    after that raises nothing but PeerGone and TooSlow, and returns to have the connection closed. Until
    `session.authenticated` was called the connection may have to give way to a newcomer. It must end soon after
    `session.stop` is set, and finds its socket shut down if it does not. `close` ends everything when the port stops,
    before any connection is cut: it blocks until the deadline at most, and repeating it is harmless.
    """

    protocol: str
    serve: Callable[[Session], None]
    close: Callable[[Deadline], None] = field(default=lambda _: None)


class Router:
    """Immutable after construction; thread-safe. An exact path goes before a prefix, the longer prefix first."""

    def __init__(self, routes: Iterable[Route], takeovers: Iterable[Takeover] = ()) -> None:
        self._by_path: dict[str, dict[str, Route]] = {}
        self._below: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._by_path.setdefault(route.path, {})[route.method] = route
            if route.is_prefix:
                self._below.setdefault(route.path + "/", {})[route.method] = route
        self._takeovers = {takeover.protocol: takeover for takeover in takeovers}

    @property
    def is_empty(self) -> bool:
        """True where the gateway itself has nothing to say."""
        return not self._by_path

    def knows(self, path: str) -> bool:
        """Whether the path is one of the gateway's own."""
        return bool(self._routes(path))

    def takeover(self, head: RequestHead) -> Takeover | None:
        """The protocol this request asks to switch to, if there is one here."""
        if head.method != "GET" or head.minor == 0 or "upgrade" not in head.words("connection"):
            return None
        return next(
            (self._takeovers[word] for word in head.words("upgrade") if word in self._takeovers), None
        )

    def find(self, head: RequestHead) -> Route | None:
        """The route of a request; None when the path has none for this method. Raises Refusal 404 for the path."""
        routes = self._routes(head.path)
        if not routes:
            raise Refusal(404, "not_found")
        return routes.get("GET" if head.method == "HEAD" else head.method, routes.get(ANY_METHOD))

    def allowed(self, path: str) -> str:
        """The Allow field of a path; "*" stands for the whole server."""
        if path == "*":
            return "GET, HEAD, OPTIONS, POST"
        methods = (set(self._routes(path)) - {ANY_METHOD}) | {"OPTIONS"}
        return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))

    def probes(self, path: str) -> bool:
        """True for a path that serves probes only."""
        return any(route.probe for route in self._routes(path).values())

    def shape(self, path: str) -> str:
        """The form of the errors of a path."""
        return next((route.shape for route in self._routes(path).values()), "control")

    def _routes(self, path: str) -> dict[str, Route]:
        exact = self._by_path.get(path)
        if exact is not None:
            return exact
        below = [prefix for prefix in self._below if path.startswith(prefix)]
        return self._below[max(below, key=len)] if below else {}
