"""The server's end of a WebSocket connection: one thread reads, any thread writes, and no writer ever waits."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import TracebackType
from typing import Callable, NoReturn

from loong_channels.waiting import Deadline

from ..router import Session
from ..wire import PeerGone, TooSlow, Wire
from .codec import (
    BINARY,
    GOING_AWAY,
    MAX_FRAGMENTS,
    PING,
    PONG,
    TEXT,
    Close,
    Decoder,
    Message,
    Ping,
    ProtocolError,
    frame,
)
from .flusher import Flusher
from .handshake import switching_answer
from .send_queue import SendQueue

__all__ = ["Closed", "ServerWebSocket", "SocketLimits", "accept"]

_BROKEN = 1006
_INTERNAL = 1011
HANDSHAKE_S = 10.0
# A peer that still sends what was refused should read why before the connection is reset.
REFUSED_BYTES = 64 * 1024 * 1024


class Closed(Exception):
    """Raised when a connection is over.

    `code` and `reason` are of whichever close frame ended it: the peer's, or this side's if it was first. 1005 is a
    frame without a code, 1006 none at all.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class SocketLimits:
    """`message_bytes`: the largest message, until `allow` says otherwise; `fragments`: the most frames of one.

    `buffered_bytes`: what may wait for a peer before it counts as slow; `stuck_s`: how long it may take none of it;
    `close_s`: the time for a closing handshake, with all that is to be sent before.
    """

    message_bytes: int = 65_536
    buffered_bytes: int = 52_428_800
    fragments: int = MAX_FRAGMENTS
    stuck_s: float = 30.0
    close_s: float = 5.0


def accept(session: Session, flusher: Flusher, limits: SocketLimits) -> ServerWebSocket:
    """Answer the upgrade request of a session with 101. Blocks, ten seconds at most.

    Raises Refusal, before anything was written, for a request that asks for something else; PeerGone and TooSlow.
    """
    session.wire.send(switching_answer(session.head), Deadline(HANDSHAKE_S))
    return ServerWebSocket(session.wire, flusher, limits)


class ServerWebSocket:
    """`receive` and the context belong to one thread; everything else may be called from any, and never blocks.

    A context manager: leaving it says goodbye if nobody has (1001, or 1011 after an exception), waits for what is
    queued and for the peer's answer for `close_s` at most, and lets go of the socket, so that it can be closed. What is
    sent on a connection that is over is dropped without a word; whoever reads from it learns of the end.
    """

    def __init__(self, wire: Wire, flusher: Flusher, limits: SocketLimits) -> None:
        self._wire = wire
        self._limits = limits
        self._decoder = Decoder(max_message_bytes=limits.message_bytes, max_fragments=limits.fragments)
        self._queue = SendQueue(
            wire, flusher, max_bytes=limits.buffered_bytes, stuck_s=limits.stuck_s, close_s=limits.close_s
        )
        self._end: Close | None = None
        self._refused = False

    def __enter__(self) -> ServerWebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.end(Close(GOING_AWAY if kind is None else _INTERNAL, ""), timed=False)
        deadline = Deadline(self._limits.close_s)
        # Its answer is read first: a peer that is busy sending reads nothing meanwhile.
        with contextlib.suppress(Closed, TooSlow):
            while True:
                self._next(deadline)
        self._queue.wait_sent(deadline)
        self._queue.release()
        if self._refused:
            self._wire.finish(REFUSED_BYTES)

    @property
    def buffered_bytes(self) -> int:
        """How much waits for the peer to read."""
        return self._queue.buffered_bytes

    @property
    def closed(self) -> bool:
        """True once nothing more can be sent."""
        return self._queue.over

    def allow(self, max_message_bytes: int) -> None:
        """Take messages of this size from now on. For the reading thread."""
        self._decoder.max_message_bytes = max_message_bytes

    def receive(self, deadline: Deadline) -> str | bytes:
        """The next message, str for text. Blocks; answers pings and the peer's close frame by itself.

        Raises TooSlow when none was whole by the deadline, which harms nothing: what has come of it is kept. Raises
        Closed, from then on at every call, also when the port stops or the connection is given up.
        """
        while True:
            message = self._next(deadline)
            # Who has said goodbye listens for the other's only.
            if message is not None and self._queue.said is None:
                return message.data

    def send(self, payload: bytes, *, binary: bool = False) -> None:
        """Send a message; `payload` is UTF-8 unless `binary`. Too much waiting already: 1008 `slow consumer`."""
        self._queue.put(frame(BINARY if binary else TEXT, payload))

    def send_numbered(self, make: Callable[[int], bytes], *, droppable: bool) -> None:
        """Send the text message `make(number)`; the numbers of a connection rise from 1 in the order of sending.

        `make` runs under a lock: it returns UTF-8 quickly, and neither sends nor takes another lock. A droppable
        message is left out when too much waits, its number is used up all the same; any other ends the connection
        with 1008 `slow consumer`.
        """
        self._queue.put_numbered(lambda number: frame(TEXT, make(number)), droppable=droppable)

    def ping(self) -> None:
        """Send a ping, unless much else waits already."""
        self._queue.put_aside(frame(PING, b""))

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye behind what is queued; the first call counts. The reader then raises Closed with the same.

        A connection that is not over within `close_s` is cut.
        """
        self._queue.end(Close(code, reason))

    def abort(self) -> None:
        """Cut the connection without a word. The reader raises Closed with 1006, or what `close` said before."""
        self._queue.give_up()

    def _next(self, deadline: Deadline) -> Message | None:
        """One event; None for what was no message."""
        if self._end is not None:
            raise Closed(self._end.code, self._end.reason)
        try:
            event = self._decoder.next_event()
        except ProtocolError as error:
            self._refused = True
            self._over(Close(error.code, error.reason), answer=Close(error.code, error.reason))
        if event is None:
            try:
                self._decoder.feed(self._wire.receive(deadline))
            except PeerGone:
                # Who ends its half without a close frame wants nothing of what is still queued.
                self._queue.give_up()
                self._over(Close(_BROKEN, ""), answer=None)
        elif isinstance(event, Ping):
            self._queue.put_aside(frame(PONG, event.payload))
        elif isinstance(event, Close):
            self._over(event, answer=Close(event.code, ""))
        return event if isinstance(event, Message) else None

    def _over(self, close: Close, *, answer: Close | None) -> NoReturn:
        self._end = self._queue.said or close
        if answer is not None:
            self._queue.end(answer, timed=False)
        raise Closed(self._end.code, self._end.reason)
