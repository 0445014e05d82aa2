"""One accepted socket with deadlines that hold against a peer that drips bytes, and a close that loses nothing."""

from __future__ import annotations

import contextlib
import socket

from loong_channels.waiting import Deadline

__all__ = ["PeerGone", "TooSlow", "Wire"]

CHUNK_BYTES = 65536
LINGER_S = 1.0
LINGER_BYTES = 4 * 1024 * 1024


class PeerGone(Exception):
    """Raised when the peer has closed or reset the connection, or this side has cut it."""


class TooSlow(Exception):
    """Raised when a deadline passed before the peer had sent or taken what it should."""


class Wire:
    """Used by one thread; `socket.shutdown` from any other thread wakes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._pending = b""

    def unread(self, data: bytes) -> None:
        """Put bytes back that belong to what is read next."""
        self._pending = data + self._pending

    @property
    def pending(self) -> bool:
        """True while `receive` would return at once with bytes that were put back."""
        return bool(self._pending)

    def gone(self) -> bool:
        """Whether the peer has closed or reset the connection. Never blocks; takes nothing of what has arrived."""
        try:
            # With a timeout of its own the socket is waited for before the flag is even looked at.
            self._socket.settimeout(0)
            return not self._pending and not self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def receive(self, deadline: Deadline) -> bytes:
        """At least one byte. Blocks until the deadline; raises PeerGone or TooSlow."""
        if self._pending:
            data, self._pending = self._pending, b""
            return data
        data = self._receive(deadline)
        if not data:
            raise PeerGone
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

    def finish(self) -> None:
        """Say that nothing more comes, then wait briefly for the peer to agree. Blocks up to 1 s, never raises.

        Closing a socket with unread bytes makes the system reset the connection, and the reset overtakes and
        destroys what was just sent; so what still arrives is read and dropped first.
        """
        deadline = Deadline(LINGER_S)
        dropped = 0
        with contextlib.suppress(OSError, PeerGone, TooSlow):
            self._socket.shutdown(socket.SHUT_WR)
            while dropped < LINGER_BYTES:
                data = self._receive(deadline)
                if not data:
                    return
                dropped += len(data)

    def _receive(self, deadline: Deadline) -> bytes:
        self._arm(deadline)
        try:
            return self._socket.recv(CHUNK_BYTES)
        except socket.timeout as error:
            raise TooSlow from error
        except OSError as error:
            raise PeerGone from error

    def _arm(self, deadline: Deadline) -> None:
        left = deadline.remaining()
        if left <= 0:
            raise TooSlow
        self._socket.settimeout(left)
