"""What leaves on one connection, in order: written by whoever has it to say, without ever waiting.

What the socket has no room for stays here, and the flusher writes it on.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from typing import Callable

from loong_channels.waiting import Deadline

from ..wire import PeerGone, Wire
from .codec import Close, close_frame
from .flusher import Flusher

__all__ = ["SLOW_CONSUMER", "SendQueue"]

SLOW_CONSUMER = Close(1008, "slow consumer")
# What need not arrive (a ping, a pong) is not queued behind more than this.
ASIDE_BYTES = 65_536
# How many frames one system call is given.
_AT_ONCE = 64


class SendQueue:
    """Thread-safe; nothing here blocks but `wait_sent`.

    `_changed` guards everything and is held during each write, none of which waits, and while a numbered frame is
    made. More than `max_bytes` waiting ends the connection, so one message more than that is what it may hold. A peer
    that takes nothing for `stuck_s` is given up, and so is one that is there `close_s` after the last frame was queued.
    """

    def __init__(
        self, wire: Wire, flusher: Flusher, *, max_bytes: int, stuck_s: float, close_s: float
    ) -> None:
        self._wire = wire
        self._flusher = flusher
        self._max_bytes = max_bytes
        self._stuck_s = stuck_s
        self._close_s = close_s
        self._changed = threading.Condition(threading.Lock())
        self._frames: deque[bytes] = deque()
        self._offset = 0
        self._bytes = 0
        self._number = 0
        self._broken = False
        self._released = False
        self._watched = False
        self._moved_at = 0.0
        self._close_by = math.inf
        self._said: Close | None = None

    @property
    def buffered_bytes(self) -> int:
        """How much waits for room in the socket."""
        return self._bytes

    @property
    def said(self) -> Close | None:
        """The close frame that ends this side's half, once it is queued."""
        return self._said

    @property
    def over(self) -> bool:
        """True once nothing that is put here can leave any more."""
        return self._broken or self._said is not None

    def put(self, frame: bytes) -> None:
        """Send a frame, or end the connection when too much waits already."""
        with self._changed:
            self._add(frame)
            watch = self._needs_watching()
        self._tell(watch)

    def put_aside(self, frame: bytes) -> None:
        """Send a frame unless something is in its way."""
        with self._changed:
            if self._bytes <= ASIDE_BYTES:
                self._add(frame)
            watch = self._needs_watching()
        self._tell(watch)

    def put_numbered(self, make: Callable[[int], bytes], *, droppable: bool) -> None:
        """Send `make(number)`; a droppable one is left out, but counted, when too much waits."""
        with self._changed:
            self._number += 1
            if not self.over and not (droppable and self._bytes > self._max_bytes):
                self._add(make(self._number))
            watch = self._needs_watching()
        self._tell(watch)

    def end(self, close: Close, *, timed: bool = True) -> None:
        """Send the last frame, behind all others. Only the first call counts.

        Without `timed` the reader is the one who calls, and watches the time itself.
        """
        with self._changed:
            self._end(close, timed=timed)
            watch = self._needs_watching()
        self._tell(watch)

    def wait_sent(self, deadline: Deadline) -> None:
        """Return when nothing waits any more, or at the deadline. Blocks."""
        with self._changed:
            self._changed.wait_for(lambda: not self._frames, deadline.remaining())

    def give_up(self) -> None:
        """Forget what waits and cut the connection, which wakes its reader."""
        with self._changed:
            self._break()

    def release(self) -> None:
        """Touch the socket no more. To be called before it is closed."""
        with self._changed:
            self._released = True
            self._broken = True
            self._drop_all()
            watch = self._watched
        self._tell(watch)

    def pending(self) -> tuple[int, float] | None:
        """See Flushable."""
        with self._changed:
            due = min(self._close_by, self._moved_at + self._stuck_s if self._frames else math.inf)
            if self._broken or due == math.inf:
                self._watched = False
                return None
            return (self._wire.fileno() if self._frames else -1), due

    def flush(self) -> None:
        """See Flushable."""
        with self._changed:
            self._write()

    def _add(self, frame: bytes) -> None:
        """Queue a frame and write what fits, if nobody else is at it. Holds the guard."""
        if self.over:
            return
        if self._bytes > self._max_bytes:
            self._drop_unbegun()
            self._end(SLOW_CONSUMER)
            return
        self._append(frame)

    def _append(self, frame: bytes) -> None:
        first = not self._frames
        self._frames.append(frame)
        self._bytes += len(frame)
        if first:
            self._moved_at = time.monotonic()
            self._write()

    def _end(self, close: Close, *, timed: bool = True) -> None:
        if not self.over:
            self._said = close
            if timed:
                self._close_by = time.monotonic() + self._close_s
                # The flusher must hear of this moment even if it watches already.
                self._watched = False
            self._append(close_frame(close.code, close.reason))

    def _write(self) -> None:
        """One system call's worth. Holds the guard, without which the descriptor could be another connection's."""
        if not self._frames:
            return
        begun = memoryview(self._frames[0])[self._offset :]
        try:
            written = self._wire.write_some([begun, *itertools.islice(self._frames, 1, _AT_ONCE)])
        except PeerGone:
            self._break()
            return
        if not written:
            return
        self._moved_at = time.monotonic()
        self._bytes -= written
        self._offset += written
        while self._frames and self._offset >= len(self._frames[0]):
            self._offset -= len(self._frames.popleft())
        if not self._frames:
            self._changed.notify_all()

    def _break(self) -> None:
        if not self._released:
            self._broken = True
            self._drop_all()
            self._wire.cut()

    def _drop_all(self) -> None:
        self._frames.clear()
        self._bytes = self._offset = 0
        self._changed.notify_all()

    def _drop_unbegun(self) -> None:
        """Keep nothing but the frame of which a part has left."""
        begun = self._frames[0] if self._offset else None
        self._frames.clear()
        self._bytes = 0
        if begun is not None:
            self._frames.append(begun)
            self._bytes = len(begun) - self._offset

    def _needs_watching(self) -> bool:
        """Whether the flusher is to be told, once for all that waits. Holds the guard."""
        if self._broken or self._watched or not (self._frames or self._close_by < math.inf):
            return False
        self._watched = True
        return True

    def _tell(self, watch: bool) -> None:
        # Outside the guard, for it may start a thread.
        if watch:
            self._flusher.watch(self)
