"""Which code answers which request: a table of routes, and a place for a protocol that takes a connection over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Protocol

from loong_channels.waiting import StopToken

from .answers import Answer
from .http_request import Refusal, RequestHead
from .peers import Peer
from .wire import Wire

__all__ = ["Request", "Route", "Router", "Session", "Takeover"]

BODY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Request:
    """A request that passed every check its route asks for. `authenticated` says that a credential was proven."""

    body: bytes
    authenticated: bool


@dataclass(frozen=True)
class Route:
    """`access`: "open" (no credential looked at), "optional" (a wrong one is refused, none is fine) or "bearer".

    `shape` names the form of its errors, see `answers.error_answer`. A handler runs in the connection's own thread
    and may block; a GET route answers HEAD, too. `probe` routes may be called through any proxy.
    """

    method: str
    path: str
    handler: Callable[[Request], Answer]
    access: str = "bearer"
    shape: str = "control"
    body_bytes: int = BODY_BYTES
    probe: bool = False


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
    protocol lives, writes its own answer (101 or an error), reads what is already buffered through `session.wire`,
    raises nothing but PeerGone and TooSlow, and returns to have the connection closed. Until `session.authenticated`
    was called the connection may have to give way to a newcomer. It must end soon after `session.stop` is set, and
    finds its socket shut down if it does not.
    """

    protocol: str
    serve: Callable[[Session], None]


class Router:
    """Immutable after construction; thread-safe."""

    def __init__(self, routes: Iterable[Route], takeovers: Iterable[Takeover] = ()) -> None:
        self._by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._by_path.setdefault(route.path, {})[route.method] = route
        self._takeovers = {takeover.protocol: takeover for takeover in takeovers}

    @property
    def is_empty(self) -> bool:
        """True where the gateway itself has nothing to say."""
        return not self._by_path

    def knows(self, path: str) -> bool:
        """Whether the path is one of the gateway's own."""
        return path in self._by_path

    def takeover(self, head: RequestHead) -> Takeover | None:
        """The protocol this request asks to switch to, if there is one here."""
        if head.method != "GET" or head.minor == 0 or "upgrade" not in head.words("connection"):
            return None
        return next(
            (self._takeovers[word] for word in head.words("upgrade") if word in self._takeovers), None
        )

    def find(self, head: RequestHead) -> Route | None:
        """The route of a request; None when the path has none for this method. Raises Refusal 404 for the path."""
        routes = self._by_path.get(head.path)
        if routes is None:
            raise Refusal(404, "not_found")
        return routes.get("GET" if head.method == "HEAD" else head.method)

    def allowed(self, path: str) -> str:
        """The Allow field of a path; "*" stands for the whole server."""
        if path == "*":
            return "GET, HEAD, OPTIONS, POST"
        methods = set(self._by_path.get(path, ())) | {"OPTIONS"}
        return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))

    def probes(self, path: str) -> bool:
        """True for a path that serves probes only."""
        return any(route.probe for route in self._by_path.get(path, {}).values())

    def shape(self, path: str) -> str:
        """The form of the errors of a path."""
        return next((route.shape for route in self._by_path.get(path, {}).values()), "control")
