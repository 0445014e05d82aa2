"""The accept loop: takes connections off bound sockets and gives each a thread. It never waits for any of them.

Threads: `http-accept` (this loop) and one `http:<n>` per connection. Locks: the connection table's.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import threading
from collections.abc import Iterable, Sequence
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import GatewaySettings
from loong_gateway.messaging.webhooks import Webhooks

from .answers import refusal_answer, render
from .auth import Auth
from .connections import ConnectionTable
from .exchange import Exchange, Rules
from .guards import Guards
from .http_request import Limits, Refusal
from .local_socket import LOCAL_ADDRESS, is_same_user
from .peers import LOCAL_USER, peer_of
from .router import Route, Router, Takeover

__all__ = ["Listener"]

logger = logging.getLogger("loong.http")

ACCEPT_BATCH = 64
SHORTAGE_WAIT_S = 0.1
BUSY_GRACE_S = 0.5
# The system, not the peer, is why these came out of accept: trying again at once would only burn a core.
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """Serves HTTP on sockets that are bound and listening. Owns them from here on.

    `takeovers` are what later parts of the port add. `webhooks` answers the platforms' requests; without any `routes`
    nothing else is there.
    `scrub` takes secrets out of error answers.
    """

    def __init__(  # noqa: PLR0913  the parts of the port meet here
        self,
        sockets: Sequence[socket.socket],
        routes: Iterable[Route],
        auth: Auth,
        settings: GatewaySettings,
        threads: ThreadRegistry,
        *,
        guards: Guards | None = None,
        takeovers: Iterable[Takeover] = (),
        webhooks: Webhooks | None = None,
        limits: Limits | None = None,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self._sockets = list(sockets)
        self._threads = threads
        self._takeovers = tuple(takeovers)
        self._stop = StopToken()
        self._accepting_ends = StopToken()
        self._guards = guards or Guards(
            settings.allowed_hosts, settings.allowed_origins, settings.trusted_proxies
        )
        self._table = ConnectionTable(
            max_unauthenticated=settings.max_unauthenticated,
            max_per_peer=settings.max_per_peer,
            max_clients=settings.max_clients,
            exempt=lambda peer: peer.loopback or self._guards.trusts(peer),
        )
        self._rules = Rules(
            router=Router(routes, self._takeovers),
            guards=self._guards,
            auth=auth,
            limits=limits or Limits(),
            header_s=settings.header_timeout_s,
            body_s=settings.body_timeout_s,
            keepalive_s=settings.keepalive_s,
            stop=self._stop,
            webhooks=webhooks or Webhooks(),
            scrub=scrub,
        )
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._accept_thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to accept. Raises RuntimeError when the system gives no thread."""
        for sock in self._sockets:
            sock.setblocking(False)
        self._accept_thread = self._threads.spawn("http-accept", self._accept_loop)

    def stop(self, deadline: Deadline) -> list[str]:
        """Accept nobody any more, end the takeovers, give running requests half a second, end every connection.

        Blocks until the deadline at most; returns the names of threads that outlived it. Repeating is harmless.
        """
        # First of all: who comes now waits for the next process where the sockets are handed on to one.
        self._accepting_ends.set("listener stops")
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"x")
        threads = [] if self._accept_thread is None else [self._accept_thread]
        if self._accept_thread is not None:
            self._accept_thread.join(deadline.remaining())
        else:
            self._close_sockets()
        for takeover in self._takeovers:
            takeover.close(deadline)
        self._stop.set("listener stops")
        threads += self._table.close(deadline, grace_s=BUSY_GRACE_S)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(deadline.remaining())
        return [thread.name for thread in threads if thread.is_alive()]

    def counts(self) -> tuple[int, int]:
        """How many connections are open: (unauthenticated, authenticated)."""
        return self._table.counts()

    def _accept_loop(self) -> None:
        try:
            with selectors.DefaultSelector() as ready:
                for sock in self._sockets:
                    ready.register(sock, selectors.EVENT_READ)
                ready.register(self._wake_reader, selectors.EVENT_READ)
                while not self._accepting_ends.is_set():
                    for key, _ in ready.select():
                        if isinstance(key.fileobj, socket.socket) and key.fileobj is not self._wake_reader:
                            self._accept_some(key.fileobj)
        finally:
            self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in (*self._sockets, self._wake_reader, self._wake_writer):
            sock.close()

    def _accept_some(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            try:
                accepted, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._accept_failed(error)
                return
            try:
                self._take(accepted, str(address[0]) if address else "")
            except OSError:
                # The peer was gone before it was looked at.
                accepted.close()

    def _accept_failed(self, error: OSError) -> None:
        if error.errno not in SHORTAGES:
            # The connection died in the queue (RFC 793 lets it); the listening socket is fine.
            logger.debug("a connection could not be accepted: %s", error.strerror)
            return
        logger.warning("no connection can be accepted: %s", error.strerror)
        self._table.relieve()
        self._accepting_ends.wait(SHORTAGE_WAIT_S)

    def _take(self, accepted: socket.socket, address: str) -> None:
        if accepted.family == socket.AF_UNIX:
            if not is_same_user(accepted):
                logger.warning(
                    "a program of another user was turned away from the socket in the state directory"
                )
                accepted.close()
                return
            peer, local_address = LOCAL_USER, LOCAL_ADDRESS
        else:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local_address = str(accepted.getsockname()[0])
            peer = peer_of(address, local_address)
        connection = self._table.admit(accepted, peer, local_address)
        if connection is None:
            self._turn_away(accepted)
            return
        exchange = Exchange(connection, self._table, self._rules)
        try:
            connection.thread = self._threads.spawn(f"http:{connection.number}", exchange.serve)
        except (RuntimeError, MemoryError):
            logger.warning("no thread for a connection: the system gives no more")
            self._turn_away(accepted)
            self._table.remove(connection)

    @staticmethod
    def _turn_away(accepted: socket.socket) -> None:
        """Answer 503 without waiting for anything, then close."""
        answer = refusal_answer(Refusal(503, "too_many_connections", retry_after_s=1))
        accepted.setblocking(False)
        with contextlib.suppress(OSError):
            accepted.send(render(answer, close=True))
            accepted.shutdown(socket.SHUT_WR)
            # Unread bytes would turn the close into a reset and destroy the answer.
            accepted.recv(65536)
        accepted.close()
