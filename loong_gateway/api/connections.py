"""The table of open connections: who waits, who is being served, who has to give way to whom."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from typing import Callable

from loong_channels.waiting import Deadline

from .peers import Peer

__all__ = ["Connection", "ConnectionTable"]


class Connection:
    """One accepted connection. Its fields belong to the table and are changed under its guard only.

    `phase`: "waiting" for a request head or another protocol's first message, "busy" with a request, "closing".
    `since` is when the phase began.
    """

    def __init__(
        self, number: int, sock: socket.socket, peer: Peer, local_address: str, since: float
    ) -> None:
        self.number = number
        self.socket = sock
        self.peer = peer
        self.local_address = local_address
        self.phase = "waiting"
        self.since = since
        self.authenticated = False
        self.cut = False
        self.thread: threading.Thread | None = None


class ConnectionTable:
    """Thread-safe; `_changed` guards the table and tells when a connection has left it or stopped being busy.

    A newcomer is always let in while somebody unauthenticated merely waits: the one that has waited longest for its
    head gives way. So idle and dripping clients cannot keep anybody out, however many they are.
    """

    def __init__(
        self,
        *,
        max_unauthenticated: int,
        max_per_peer: int,
        max_clients: int,
        exempt: Callable[[Peer], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_unauthenticated = max_unauthenticated
        self._max_per_peer = max_per_peer
        self._max_clients = max_clients
        self._exempt = exempt
        self._clock = clock
        self._changed = threading.Condition()
        self._connections: dict[int, Connection] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    def admit(self, sock: socket.socket, peer: Peer, local_address: str) -> Connection | None:
        """Enter a newcomer, cutting another connection where a cap asks for it; None when there is no room."""
        with self._changed:
            if self._closed:
                return None
            strangers = [c for c in self._connections.values() if not c.authenticated and not c.cut]
            same_peer = [c for c in strangers if c.peer.key == peer.key]
            crowd: list[Connection] = []
            if len(same_peer) >= self._max_per_peer and not self._exempt(peer):
                crowd = same_peer
            elif len(strangers) >= self._max_unauthenticated:
                crowd = strangers
            if crowd and not self._give_way(crowd):
                return None
            connection = Connection(next(self._numbers), sock, peer, local_address, self._clock())
            self._connections[connection.number] = connection
            return connection

    def relieve(self) -> bool:
        """Cut the connection that has waited longest, because the system has run out of something."""
        with self._changed:
            return self._give_way([c for c in self._connections.values() if not c.cut])

    def promote(self, connection: Connection) -> bool:
        """Count a connection as authenticated; False when there are too many of those."""
        with self._changed:
            if connection.authenticated:
                return True
            known = [c for c in self._connections.values() if c.authenticated and not c.cut]
            if len(known) >= self._max_clients and not self._give_way(known):
                return False
            connection.authenticated = True
            return True

    def enter(self, connection: Connection, phase: str) -> None:
        """Note that a connection is in another phase now."""
        with self._changed:
            connection.phase = phase
            connection.since = self._clock()
            self._changed.notify_all()

    def remove(self, connection: Connection) -> None:
        """Forget a connection and close its socket; from then on nobody else touches it."""
        with self._changed:
            self._connections.pop(connection.number, None)
            with contextlib.suppress(OSError):
                connection.socket.close()
            self._changed.notify_all()

    def counts(self) -> tuple[int, int]:
        """How many connections are open: (unauthenticated, authenticated)."""
        with self._changed:
            known = sum(c.authenticated for c in self._connections.values())
            return len(self._connections) - known, known

    @property
    def closed(self) -> bool:
        """True once no connection may go on to another request."""
        return self._closed

    def close(self, deadline: Deadline, *, grace_s: float) -> list[threading.Thread]:
        """End all: those that wait at once, those that are busy after `grace_s`. Blocks; returns their threads."""
        with self._changed:
            self._closed = True
            threads = [c.thread for c in self._connections.values() if c.thread is not None]
            self._cut_all(phases=("waiting", "closing"))
            grace = deadline.within(grace_s)
            while self._connections and not grace.expired:
                self._changed.wait(grace.remaining())
                # What was busy when this began waits or closes as soon as its answer is out.
                self._cut_all(phases=("waiting",))
            self._cut_all(phases=("waiting", "busy", "closing"))
        return threads

    def _cut_all(self, *, phases: tuple[str, ...]) -> None:
        for connection in self._connections.values():
            if connection.phase in phases:
                self._cut(connection)

    def _give_way(self, candidates: list[Connection]) -> bool:
        """Cut the one that has been idle longest; False when all are busy. Holds the guard."""
        idle = [c for c in candidates if c.phase != "busy"]
        if not idle:
            return False
        self._cut(min(idle, key=lambda c: c.since))
        return True

    @staticmethod
    def _cut(connection: Connection) -> None:
        """Wake the thread of a connection for good. Holds the guard, so the descriptor is still this one's."""
        connection.cut = True
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
