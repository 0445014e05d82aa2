"""One accepted socket with deadlines that hold against a peer that drips bytes, and a close that loses nothing."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Sequence

from loong_channels.waiting import Deadline

__all__ = ["PeerGone", "TooSlow", "Wire"]

CHUNK_BYTES = 65536
# The buffer of a read is there for as long as the read waits, so it begins small and grows with what comes.
FIRST_CHUNK_BYTES = 4096
LINGER_S = 1.0
LINGER_BYTES = 4 * 1024 * 1024
# The peer has closed, whatever of it is still unread. Not every system tells.
HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class PeerGone(Exception):
    """Raised when the peer has closed or reset the connection, or this side has cut it."""


class TooSlow(Exception):
    """Raised when a deadline passed before the peer had sent or taken what it should."""


class Wire:
    """Used by one thread, but for `write_some` and `cut`; `socket.shutdown` from any other thread wakes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._pending = b""
        self._chunk_bytes = FIRST_CHUNK_BYTES

    def unread(self, data: bytes) -> None:
        """Put bytes back that belong to what is read next."""
        self._pending = data + self._pending

    @property
    def pending(self) -> bool:
        """True while `receive` would return at once with bytes that were put back."""
        return bool(self._pending)

    def gone(self) -> bool:
        """Whether the peer has closed or reset the connection. Never blocks; takes nothing of what has arrived.

        Where the system does not tell by itself, a peer that sent more before it left is not noticed.
        """
        try:
            # A socket with a timeout waits for it whatever flags a call has: read only when there is something.
            watched = select.poll()
            watched.register(self._socket, select.POLLIN | HUNG_UP)
            events = watched.poll(0)
            if not events:
                return False
            return bool(events[0][1] & HUNG_UP) or not self._socket.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            # Reset, or closed on this side.
            return True

    def receive(self, deadline: Deadline) -> bytes:
        """At least one byte. Blocks until the deadline; raises PeerGone or TooSlow."""
        if self._pending:
            data, self._pending = self._pending, b""
            return data
        data = self._receive(deadline, self._chunk_bytes)
        if not data:
            raise PeerGone
        self._chunk_bytes = CHUNK_BYTES if len(data) == self._chunk_bytes else FIRST_CHUNK_BYTES
        return data

    def send(self, data: bytes, deadline: Deadline) -> None:
        """All of `data`. Blocks until the deadline; raises PeerGone or TooSlow."""
        self._arm(deadline)
        try:
            self._socket.sendall(data)
        except socket.timeout as error:
            raise TooSlow from error
        except OSError as error:
            raise PeerGone from error

    def fileno(self) -> int:
        """The descriptor, -1 once the socket was closed."""
        return self._socket.fileno()

    def write_some(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Write what fits right now; how many bytes that were. Never blocks; any thread. Raises PeerGone.

        For use after the first `receive` or `send`, which make the descriptor one that never waits; a socket's own
        `send` would wait for as long as the reader does. Whoever calls this sees to it that the socket is still open.
        """
        try:
            return os.writev(self._socket.fileno(), buffers)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PeerGone from error

    def cut(self) -> None:
        """End both directions at once and wake whoever reads. Never blocks or raises; any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def finish(self, most_bytes: int = LINGER_BYTES) -> None:
        """Say that nothing more comes, then wait briefly for the peer to agree. Blocks up to 1 s, never raises.

        Closing a socket with unread bytes makes the system reset the connection, and the reset overtakes and
        destroys what was just sent; so what still arrives is read and dropped first.
        """
        deadline = Deadline(LINGER_S)
        dropped = 0
        with contextlib.suppress(OSError, PeerGone, TooSlow):
            self._socket.shutdown(socket.SHUT_WR)
            while dropped < most_bytes:
                data = self._receive(deadline, CHUNK_BYTES)
                if not data:
                    return
                dropped += len(data)

    def _receive(self, deadline: Deadline, most_bytes: int) -> bytes:
        self._arm(deadline)
        try:
            return self._socket.recv(most_bytes)
        except socket.timeout as error:
            raise TooSlow from error
        except OSError as error:
            raise PeerGone from error

    def _arm(self, deadline: Deadline) -> None:
        left = deadline.remaining()
        if left <= 0:
            raise TooSlow
        self._socket.settimeout(left)
