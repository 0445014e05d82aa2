"""A line to a server of this host that breaks in every way in which networks break: TCP in, TCP out, nothing read."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Callable

__all__ = ["Line"]

WAIT_S = 10.0
PIECE_BYTES = 65536


class _Pair:
    """A connection and its continuation; `server` is None where the line itself answers."""

    def __init__(self, client: socket.socket, server: socket.socket | None) -> None:
        self.client = client
        self.server = server
        self.swallowed = False
        self.answer = b""

    def sockets(self) -> Iterator[socket.socket]:
        """Both ends."""
        yield self.client
        if self.server is not None:
            yield self.server


class Line:
    """Listens on loopback and passes everything on to `port`. One thread; all methods from any other.

    `accepted` counts connections, `left` those that the client ended by itself.
    """

    def __init__(self, port: int) -> None:
        self._onward = port
        self.accepted = 0
        self.left = 0
        self._pairs: list[_Pair] = []
        self._answers: list[bytes] = []
        self._orders: list[tuple[Callable[[], None], threading.Event]] = []
        self._guard = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._over = False
        self._thread = threading.Thread(target=self._run, name=f"line:{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._order(self._end)
        self._thread.join(WAIT_S)
        self._wake.close()
        self._woken.close()

    # --- what may happen to a line

    def reset(self) -> None:
        """End every connection with RST on both sides."""
        self._order(lambda: self._cut(reset=True))

    def hang_up(self) -> None:
        """End every connection with FIN on both sides."""
        self._order(lambda: self._cut(reset=False))

    def swallow(self) -> None:
        """The connections that are open stay open, and not one byte comes through any more; new ones work."""

        def swallow() -> None:
            for pair in self._pairs:
                pair.swallowed = True

        self._order(swallow)

    def refuse(self) -> None:
        """Nobody listens any more, until `listen`."""

        def refuse() -> None:
            if self._listener is not None:
                self._listener.close()
                self._listener = None

        self._order(refuse)

    def listen(self) -> None:
        """Listen again, on the same port."""

        def listen() -> None:
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port))

        self._order(listen)

    def answer_next(self, data: bytes, *, times: int = 1) -> None:
        """Whoever connects next gets these bytes as the answer to whatever is said first, and is hung up on."""
        self._order(lambda: self._answers.extend([data] * times))

    @property
    def listens(self) -> bool:
        """Whether anybody can connect."""
        return self._listener is not None

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._pairs)

    # --- the thread

    def _order(self, action: Callable[[], None]) -> None:
        done = threading.Event()
        with self._guard:
            self._orders.append((action, done))
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        done.wait(WAIT_S)

    def _run(self) -> None:
        while not self._over:
            watched = [self._woken, *([self._listener] if self._listener else [])]
            watched += [sock for pair in self._pairs for sock in pair.sockets()]
            ready = set(select.select(watched, [], [])[0])
            if self._woken in ready:
                self._woken.recv(PIECE_BYTES)
            for pair in list(self._pairs):
                self._carry(pair, ready)
            if self._listener in ready:
                self._accept()
            with self._guard:
                orders, self._orders = self._orders, []
            for action, done in orders:
                action()
                done.set()

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted += 1
        pair = _Pair(client, None)
        if self._answers:
            pair.answer = self._answers.pop(0)
        else:
            try:
                pair.server = socket.create_connection(("127.0.0.1", self._onward), WAIT_S)
                pair.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                client.close()
                return
        self._pairs.append(pair)

    def _carry(self, pair: _Pair, ready: set[socket.socket]) -> None:
        for source, sink in ((pair.client, pair.server), (pair.server, pair.client)):
            if source is None or source not in ready or pair not in self._pairs:
                continue
            try:
                data = source.recv(PIECE_BYTES)
                if data and sink is not None and not pair.swallowed:
                    sink.sendall(data)
            except OSError:
                data = b""
            if data and pair.answer:
                with contextlib.suppress(OSError):
                    pair.client.sendall(pair.answer)
                data = b""
            elif not data and source is pair.client:
                self.left += 1
            # One that swallows shows its client nothing, not even an end.
            if not data and (source is pair.client or not pair.swallowed):
                self._close(pair)
            elif not data and pair.server is not None:
                pair.server.close()
                pair.server = None

    def _cut(self, *, reset: bool) -> None:
        for pair in list(self._pairs):
            if reset:
                for sock in pair.sockets():
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close(pair)

    def _close(self, pair: _Pair) -> None:
        self._pairs.remove(pair)
        for sock in pair.sockets():
            sock.close()

    def _end(self) -> None:
        self._over = True
        self._cut(reset=False)
        if self._listener is not None:
            self._listener.close()
