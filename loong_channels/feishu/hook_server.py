"""A listener for deliveries: one thread, one request per connection, a deadline for each of them.

The thread that calls `run` does everything, because what a delivery costs is one commit. Connections that wait are
capped, and when there are too many the one that has waited longest gives way to the newcomer.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from loong_channels.contract import MAX_WEBHOOK_BYTES, WebhookAnswer, WebhookRequest
from loong_channels.faults import Unreachable
from loong_channels.net_sockets import reason_of
from loong_channels.waiting import Deadline, StopToken

from .hook_request import Head, RequestRefused, encoded, read_head

__all__ = ["HookLimits", "HookServer"]

_CHUNK_BYTES = 65536
_ACCEPT_BATCH = 64
_SHORTAGE_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
# The system, not the peer, is why these came out of accept: trying again at once would only burn a core.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True)
class HookLimits:
    """What a stranger may take: seconds for a whole request, for taking the answer, for leaving; bytes; connections."""

    request_s: float = 5.0
    answer_s: float = 5.0
    linger_s: float = 1.0
    body_bytes: int = MAX_WEBHOOK_BYTES
    connections: int = 64


class HookServer:
    """Answers POSTs to one path. Used by the thread that calls `run`.

    `answer` is called for each whole request and must not raise; `refused` hears the reason of each other one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        answer: Callable[[WebhookRequest], WebhookAnswer],
        *,
        refused: Callable[[str], None],
        limits: HookLimits | None = None,
    ) -> None:
        self._address = (host, port)
        self._path = path
        self._answer = answer
        self._refused = refused
        self._limits = limits or HookLimits()
        self._open: dict[socket.socket, _Exchange] = {}
        self._ready = selectors.DefaultSelector()

    def run(self, stop: StopToken, listening: Callable[[int], None]) -> None:
        """Listen and answer until `stop` is set. Calls `listening` with the port once it is open.

        Blocks. Raises Unreachable when the address cannot be had.
        """
        waker, woken = socket.socketpair()
        waker.setblocking(False)

        def wake() -> None:
            # The stop may come at the very moment when nobody is here to be woken any more.
            with contextlib.suppress(OSError):
                waker.send(b"x")

        try:
            with self._listener() as listener, stop.watch(wake):
                self._ready.register(listener, selectors.EVENT_READ)
                self._ready.register(woken, selectors.EVENT_READ)
                listening(listener.getsockname()[1])
                while not stop.is_set():
                    self._turn(listener, stop)
        finally:
            for exchange in list(self._open.values()):
                self._end(exchange)
            self._ready.close()
            waker.close()
            woken.close()

    @contextlib.contextmanager
    def _listener(self) -> Iterator[socket.socket]:
        host, port = self._address
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.create_server(address, family=family, backlog=128)
        except (OSError, UnicodeError) as error:
            raise Unreachable(
                f"cannot listen on {host}:{port}: {reason_of(error)}", maybe_processed=False
            ) from error
        with listener:
            listener.setblocking(False)
            yield listener

    def _turn(self, listener: socket.socket, stop: StopToken) -> None:
        waits = [exchange.deadline.remaining() for exchange in self._open.values()]
        for key, _ in self._ready.select(min([_LONGEST_WAIT_S, *waits])):
            if key.fileobj is listener:
                self._accept(listener, stop)
            elif isinstance(key.data, _Exchange) and key.data.sock in self._open:
                self._go_on(key.data)
        for exchange in [one for one in self._open.values() if one.deadline.expired]:
            self._too_slow(exchange)

    def _accept(self, listener: socket.socket, stop: StopToken) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._refused("no_descriptor")
                    self._make_room()
                    stop.wait(_SHORTAGE_WAIT_S)
                # Else the connection died in the queue; the listening socket is fine.
                return
            if len(self._open) >= self._limits.connections:
                self._refused("too_many")
                self._make_room()
            sock.setblocking(False)
            exchange = _Exchange(sock, Deadline(self._limits.request_s))
            self._open[sock] = exchange
            self._ready.register(sock, selectors.EVENT_READ, exchange)

    def _make_room(self) -> None:
        # Insertion order is the order of arrival.
        oldest = next(iter(self._open.values()), None)
        if oldest is not None:
            self._end(oldest)

    def _go_on(self, exchange: _Exchange) -> None:
        try:
            if exchange.answer:
                self._write(exchange)
            else:
                self._read(exchange)
        except (BlockingIOError, InterruptedError):
            return  # not ready after all
        except OSError:
            self._end(exchange)  # the peer has gone

    def _read(self, exchange: _Exchange) -> None:
        data = exchange.sock.recv(_CHUNK_BYTES)
        if exchange.leaving_bytes is not None:
            exchange.leaving_bytes -= len(data)
        if not data or (exchange.leaving_bytes is not None and exchange.leaving_bytes < 0):
            self._end(exchange)
            return
        if exchange.leaving_bytes is not None:
            return
        exchange.buffer += data
        try:
            request = self._request(exchange)
        except RequestRefused as refusal:
            self._refused(refusal.reason)
            self._reply(exchange, refusal.answer)
            return
        if request is not None:
            self._reply(exchange, self._answer(request))

    def _request(self, exchange: _Exchange) -> WebhookRequest | None:
        if exchange.head is None:
            limits = self._limits
            exchange.head = read_head(
                bytes(exchange.buffer), path=self._path, max_body_bytes=limits.body_bytes
            )
            if exchange.head is None:
                return None
            if exchange.head.wants_continue:
                exchange.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        start, length = exchange.head.body_start, exchange.head.length
        if len(exchange.buffer) < start + length:
            return None
        return WebhookRequest("POST", exchange.head.fields, bytes(exchange.buffer[start : start + length]))

    def _reply(self, exchange: _Exchange, answer: WebhookAnswer) -> None:
        exchange.answer = encoded(answer)
        exchange.buffer.clear()
        exchange.deadline = Deadline(self._limits.answer_s)
        self._ready.modify(exchange.sock, selectors.EVENT_WRITE, exchange)
        self._go_on(exchange)

    def _write(self, exchange: _Exchange) -> None:
        sent = exchange.sock.send(exchange.answer)
        exchange.answer = exchange.answer[sent:]
        if exchange.answer:
            return
        # Closing with unread bytes makes the system reset the connection, and the reset destroys what was just sent.
        exchange.sock.shutdown(socket.SHUT_WR)
        exchange.leaving_bytes = 2 * self._limits.body_bytes
        exchange.deadline = Deadline(self._limits.linger_s)
        self._ready.modify(exchange.sock, selectors.EVENT_READ, exchange)

    def _too_slow(self, exchange: _Exchange) -> None:
        if exchange.sock not in self._open:
            return
        if exchange.buffer and not exchange.answer and exchange.leaving_bytes is None:
            self._refused("too_slow")
            self._reply(exchange, WebhookAnswer(408))
        else:
            self._end(exchange)

    def _end(self, exchange: _Exchange) -> None:
        if self._open.pop(exchange.sock, None) is not None:
            self._ready.unregister(exchange.sock)
            exchange.sock.close()


class _Exchange:
    """One connection: what has arrived, what is left to send, how much is thrown away once that is sent."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self.deadline = deadline
        self.buffer = bytearray()
        self.head: Head | None = None
        self.answer = b""
        self.leaving_bytes: int | None = None
