"""A connection that has said hello: who it is, what it may hear, and the way to it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Callable

from loong_gateway.api.ws.web_socket import ServerWebSocket
from loong_gateway.base.bus import Event

from .calls import Client, RpcFault, holds

__all__ = ["Make", "Member"]

MOST_HELD = 4096
MOST_TIMERS = 256
MOST_REQUESTS = 32
TOOL_EVENTS = "tool-events"

# Makes the bytes of an event from its number on a connection.
Make = Callable[[int], bytes]


class Member:
    """Thread-safe; `_guard` protects what is held back and the counts. Nothing here blocks.

    Events that come before `welcome` are held back, so that hello is the first on the wire and nothing is lost.
    `proven` is what it proved, see auth.Verdict; `about` what it told of itself.
    """

    def __init__(
        self, socket: ServerWebSocket, client: Client, *, proven: str, about: Mapping[str, str]
    ) -> None:
        self.client = client
        self.proven = proven
        self.about = about
        self._socket = socket
        self._guard = threading.Lock()
        self._held: list[tuple[Make, bool]] | None = []
        self._due: set[Callable[[], None]] = set()
        self._has_left = False
        self._requests = 0

    def hears(self, event: Event) -> bool:
        """Whether an event is for this client."""
        if event.name == "agent" and event.payload.get("stream") == "tool":
            return TOOL_EVENTS in self.client.caps and holds(self.client.scopes, event.scope)
        return holds(self.client.scopes, event.scope)

    def send(self, message: bytes) -> None:
        """Send an answer; it is dropped when the client has left."""
        self._socket.send(message)

    def deliver(self, make: Make, *, droppable: bool) -> None:
        """Send an event, numbered on the way out."""
        with self._guard:
            if self._held is not None:
                if len(self._held) < MOST_HELD:
                    self._held.append((make, droppable))
                    return
                self._held.clear()
                crowded = True
            else:
                crowded = False
        if crowded:
            self._socket.abort()
            return
        self._socket.send_numbered(make, droppable=droppable)

    def welcome(self, hello: bytes) -> None:
        """Send hello, then what was held back, then everything as it comes."""
        self._socket.send(hello)
        while True:
            with self._guard:
                held, self._held = self._held, []
                if not held:
                    self._held = None
                    return
            for make, droppable in held:
                self._socket.send_numbered(make, droppable=droppable)

    def ping(self) -> None:
        """See whether somebody is there."""
        self._socket.ping()

    def close(self, code: int, reason: str) -> None:
        """Say good-bye behind everything that was sent."""
        self._socket.close(code, reason)

    def abort(self) -> None:
        """Cut the connection."""
        self._socket.abort()

    def begin_request(self) -> bool:
        """Count a request that waits; False when there are too many."""
        with self._guard:
            if self._requests >= MOST_REQUESTS:
                return False
            self._requests += 1
            return True

    def end_request(self) -> None:
        """The counterpart of `begin_request`."""
        with self._guard:
            self._requests -= 1

    def begin_timer(self, action: Callable[[], None]) -> Callable[[], None]:
        """Count something that is due for this client; raises RpcFault when there is too much.

        What is returned does it, once at most, and not at all after `end_timer`.
        """

        def due() -> None:
            if self.end_timer(due):
                action()

        with self._guard:
            if self._has_left or len(self._due) >= MOST_TIMERS:
                raise RpcFault("UNAVAILABLE", "too many requests in progress", retryable=True)
            self._due.add(due)
        return due

    def end_timer(self, due: Callable[[], None]) -> bool:
        """The counterpart of `begin_timer`; False when it was done already."""
        with self._guard:
            if due not in self._due:
                return False
            self._due.remove(due)
            return True

    def leave(self) -> None:
        """The client is gone: what is due for it is due now, so that nothing is kept for nobody."""
        with self._guard:
            self._has_left = True
            due = tuple(self._due)
        for one in due:
            one()
