"""A connected socket that one thread reads while others write, with deadlines of their own for each direction.

A TLS connection is one state for both directions, so no two threads may be inside it at once: every system call is
short, made under a guard, and all waiting happens outside of it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from .faults import Interrupted, TimedOut, Unreachable
from .net_sockets import WatchedSocket, reason_of
from .waiting import Deadline

__all__ = ["DuplexSocket", "NothingCame"]

READ_BYTES = 65536
# Closing wakes a wait on most systems, but not on all of them.
_SLICE_S = 1.0


class NothingCame(Exception):
    """Raised by `recv` when its deadline passed; what was read so far is kept by whoever asked."""


class DuplexSocket:
    """Takes over a connected socket. `recv` and `read_by` belong to one thread; the rest is thread-safe.

    `_guard` protects the socket during each system call; `_turn` is held by whoever writes a whole message.
    """

    def __init__(self, sock: WatchedSocket, peer: str) -> None:
        self._sock = sock
        self._peer = peer
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._closed = False
        self._waiting = 0
        self._buffer = b""
        self._read_deadline = Deadline(0.0)
        self._read_left: int | None = None
        socket.socket.settimeout(sock, 0.0)

    def read_by(self, deadline: Deadline, *, limit_bytes: int | None = None) -> None:
        """From now on `recv` raises NothingCame at the deadline, and Unreachable when it gave out `limit_bytes`."""
        self._read_deadline = deadline
        self._read_left = limit_bytes

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes, b"" when the peer has ended. Blocks. Raises NothingCame, Unreachable, Interrupted."""
        if not self._buffer:
            self._buffer = self._read()
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        if self._read_left is not None:
            self._read_left -= len(piece)
            if self._read_left < 0:
                raise Unreachable(f"the answer of {self._peer} is too long", maybe_processed=True)
        return piece

    def send(self, data: bytes) -> int:
        """Send all of it; blocks as the reader's deadline allows. For the handshake, before others may write."""
        self.send_whole(data, self._read_deadline)
        return len(data)

    def send_whole(self, data: bytes, deadline: Deadline) -> None:
        """Send all of it, never mixed with what others send. Blocks. A message that was cut closes the connection.

        Raises TimedOut, Unreachable and Interrupted. Then some of it was not sent, so nobody has a whole message.
        """
        if not self._turn.acquire(timeout=deadline.remaining()):
            raise TimedOut(f"{self._peer} does not read what is sent", maybe_processed=False)
        try:
            self._write(memoryview(data), deadline)
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the connection at once and wake everybody. Idempotent, does not block."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            # Not the method of an SSL socket: that one takes the TLS state away.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            self._close_when_unused()

    # What the library asks of a socket besides.

    def settimeout(self, seconds: float | None) -> None:
        """Nothing: deadlines are set by `read_by` and `send_whole`."""

    def gettimeout(self) -> float | None:
        """None: no time-out of the library's own."""
        return None

    def shutdown(self, how: int) -> None:  # noqa: ARG002  signature of a socket
        """As `close`."""
        self.close()

    def _read(self) -> bytes:
        while True:
            if self._read_deadline.expired:
                raise NothingCame
            events = self._try_read()
            if isinstance(events, bytes):
                return events
            self._wait(events, self._read_deadline)

    def _try_read(self) -> bytes | int:
        with self._guard:
            self._refuse_closed()
            try:
                return self._sock.recv(READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return select.POLLIN
            except ssl.SSLWantWriteError:
                return select.POLLOUT
            except ssl.SSLEOFError:
                return b""
            except OSError as error:
                raise self._broken(error, maybe_processed=True) from error

    def _write(self, data: memoryview, deadline: Deadline) -> None:
        done = 0
        while done < len(data):
            if deadline.expired:
                self.close()
                raise TimedOut(f"{self._peer} does not read what is sent", maybe_processed=False)
            sent, events = self._try_write(data[done:])
            done += sent
            if events:
                self._wait(events, deadline)

    def _try_write(self, data: memoryview) -> tuple[int, int]:
        with self._guard:
            self._refuse_closed()
            try:
                return self._sock.send(data), 0
            except (BlockingIOError, ssl.SSLWantWriteError):
                return 0, select.POLLOUT
            except ssl.SSLWantReadError:
                return 0, select.POLLIN
            except OSError as error:
                raise self._broken(error, maybe_processed=False) from error

    def _wait(self, events: int, deadline: Deadline) -> None:
        """Wait until the socket may be ready, for a slice at most; the file descriptor stays open meanwhile."""
        with self._guard:
            self._refuse_closed()
            self._waiting += 1
            poller = select.poll()
            poller.register(self._sock, events)
        try:
            poller.poll(deadline.bounded(_SLICE_S) * 1000)
        finally:
            with self._guard:
                self._waiting -= 1
                self._close_when_unused()

    def _close_when_unused(self) -> None:
        # A descriptor that is closed while another thread polls it may be another file by then.
        if self._closed and not self._waiting:
            self._sock.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Interrupted("the connection was closed")

    def _broken(self, error: OSError, *, maybe_processed: bool) -> Unreachable:
        text = f"lost the connection to {self._peer}: {reason_of(error)}"
        return Unreachable(text, maybe_processed=maybe_processed)
