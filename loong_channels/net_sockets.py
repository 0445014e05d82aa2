"""Sockets under watch: every system call of an outbound call ends by its deadline and by whoever may interrupt it.

A `Watch` is one call in progress. The sockets ask it before each system call how long that may take, so a peer that
sends one byte at a time is cut off as surely as a silent one, and `cancel` wakes a blocked call from another thread.
They raise faults, never OSError, except where a half-sent request may still have an answer to read.
Name lookup is the one wait that cannot be bounded here: the system's resolver keeps its own time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

from .faults import Fault, Interrupted, Refused, TimedOut, Unreachable
from .waiting import Deadline

__all__ = [
    "CertificateRefused",
    "TlsSocket",
    "Unsent",
    "Watch",
    "WatchedSocket",
    "current_watch",
    "open_socket",
    "reason_of",
    "watching",
]

CONNECT_S = 10.0
CONNECT_ADDRESS_S = 5.0
# Shutting down a socket that is still connecting does not wake poll on every system, so the flag is looked at too.
CONNECT_SLICE_S = 0.2
# One send hands over no more than this: over TLS it returns only when all of it has left, and its wait is one step.
SEND_BYTES = 65536
# One system call waits this long at most before the watch is asked again: a time-out that holds for every call costs
# no system call to change.
WAIT_SLICE_S = 5.0
# A connection idle for longer may have been forgotten by a NAT without a word; keep-alive probes start before.
IDLE_LIMIT_S = 60.0

_local = threading.local()


class CertificateRefused(Unreachable):
    """Raised when the peer's certificate is not trusted; trying again cannot help."""


class Unsent(Unreachable):
    """Raised when a kept connection turned out dead before a byte of the request left; safe to send again."""


class Watch:
    """One outbound call: its deadline, how long each step of it may take, and the socket it is on.

    `peer` names the other side in messages and holds no secret; `reach` says of an address whether it may be connected
    to. Used by the thread that makes the call;
    only `cancel` may come from another. `_guard` protects the socket and the reason of the ending.
    """

    def __init__(
        self,
        peer: str,
        deadline: Deadline,
        *,
        first_byte_s: float,
        gap_s: float,
        idle_limit_s: float = IDLE_LIMIT_S,
        reach: Callable[[str], bool] | None = None,
    ) -> None:
        self.peer = peer
        self.reach = reach
        self.idle_limit_s = idle_limit_s
        self._whom = peer
        self.deadline = deadline
        self.sent_bytes = 0
        self.reused = False
        self.connecting = False
        self.answering = False
        self._first_byte_s = first_byte_s
        self._gap_s = gap_s
        self._asked = False
        self._step: Deadline | None = None
        self._guard = threading.Lock()
        self._socket: WatchedSocket | None = None
        self._close: Callable[[], None] | None = None
        self._ending = ""

    def begin_connect(self, whom: str) -> None:
        """Connect, proxy dialogue and handshake follow; together they may take as long as one connect.

        `whom` is the name of the proxy or of the peer.
        """
        self.connecting = True
        self._whom = whom
        self._step = self.deadline.within(CONNECT_S)

    def begin_handshake(self) -> None:
        """TLS with the peer itself follows, whatever the way there."""
        self._whom = self.peer

    def begin_request(self, *, reused: bool) -> None:
        """The request's first byte follows."""
        self.connecting = False
        self._whom = self.peer
        self.reused = reused
        self._step = None

    def begin_send(self) -> None:
        """The next piece of the request follows; the peer may take as long as between two pieces of an answer."""
        if not self.connecting:
            self._step = self.deadline.within(self._gap_s)

    def begin_answer(self) -> None:
        """A wait for bytes of the answer follows, the first ones or more of them."""
        if not self.connecting:
            self._asked = True
            self._step = self.deadline.within(self._gap_s if self.answering else self._first_byte_s)

    def progress(self) -> None:
        """Bytes of the answer came: from now on only the gaps between them are bounded."""
        if not self.connecting:
            self.answering = True

    def tighten(self, seconds: float) -> None:
        """From now on the rest of the answer may take `seconds` in all."""
        self.deadline = self.deadline.within(seconds)

    def allow(self) -> float:
        """Seconds that the next system call may take; raises TimedOut or Interrupted when it may not start."""
        if self._ending:
            raise Interrupted(self._ending)
        # A step never outlives the deadline it was made from, but the deadline may have been tightened since.
        left = (
            self.deadline.remaining() if self._step is None else self._step.bounded(self.deadline.remaining())
        )
        if left <= 0:
            raise self.late()
        return left

    def late(self) -> TimedOut:
        """The fault for a step that took too long."""
        processed = self.sent_bytes > 0
        if self.deadline.expired:
            return TimedOut(f"{self.peer} did not finish in time", maybe_processed=processed)
        if self.connecting:
            return TimedOut(f"cannot connect to {self._whom} within {CONNECT_S:g} s", maybe_processed=False)
        if self._asked and not self.answering:
            return TimedOut(
                f"no answer from {self.peer} within {self._first_byte_s:g} s", maybe_processed=True
            )
        return TimedOut(f"{self.peer} stalled for {self._gap_s:g} s", maybe_processed=processed)

    def broken(self, error: OSError) -> Fault:
        """The fault for a system call that failed."""
        if self._ending:
            return Interrupted(self._ending)
        what = "cannot connect to" if self.connecting else "lost the connection to"
        return Unreachable(
            f"{what} {self._whom}: {reason_of(error)}",
            maybe_processed=not self.connecting and self.sent_bytes > 0,
        )

    @property
    def cancelled(self) -> bool:
        """True once the call was ended from outside."""
        return bool(self._ending)

    def attach(self, sock: WatchedSocket) -> None:
        """This call is on `sock` from now on; raises Interrupted when it has been ended meanwhile."""
        previous = sock.watch
        if previous is not None and previous is not self:
            previous.let_go(sock)
        with self._guard:
            if self._ending:
                raise Interrupted(self._ending)
            self._socket = sock
            sock.watch = self

    def let_go(self, sock: WatchedSocket) -> None:
        """The socket belongs to another call now; a late `cancel` must not touch it."""
        with self._guard:
            if self._socket is sock:
                self._socket = None

    def hand_over(self, close: Callable[[], None]) -> None:
        """The socket has another owner now; `cancel` calls `close` instead of touching it."""
        with self._guard:
            self._socket = None
            self._close = close
            ended = bool(self._ending)
        if ended:
            close()

    def end(self) -> None:
        """The call is over; `cancel` does nothing any more."""
        with self._guard:
            self._socket = None
            self._close = None

    def cancel(self, reason: str = "interrupted") -> None:
        """End the call for good and wake it if it is blocked. Thread-safe, idempotent, does not block."""
        with self._guard:
            self._ending = self._ending or reason
            close = self._close
            if self._socket is not None:
                # Not the method of an SSL socket: that one takes the TLS state away under the reader's feet.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        if close is not None:
            close()


def current_watch() -> Watch | None:
    """The call that this thread is starting, if any."""
    return getattr(_local, "watch", None)


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Sockets that this thread opens or takes up inside the block belong to `watch`."""
    outer = current_watch()
    _local.watch = watch
    try:
        yield
    finally:
        _local.watch = outer


def reason_of(error: BaseException) -> str:
    """A few lower-case words about an operating system or TLS error, without addresses or paths."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS error").replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return type(error).__name__


def _receive(sock: WatchedSocket, read: Callable[..., int], arguments: tuple[Any, ...]) -> int:
    watch = sock.watch
    if watch is None:
        return read(*arguments)
    watch.begin_answer()
    try:
        count = _allowed(sock, watch, read, *arguments)
    except OSError as error:
        raise watch.broken(error) from error
    sock.used_at_s = time.monotonic()
    if count:
        watch.progress()
    elif watch.cancelled:
        raise Interrupted("interrupted")
    return count


def _send_all(sock: WatchedSocket, send: Callable[[memoryview], int], data: Any) -> None:
    watch = sock.watch
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        if watch is None:
            done += send(view[done:])
            continue
        watch.begin_send()
        try:
            count = _allowed(sock, watch, send, view[done : done + SEND_BYTES])
        except OSError as error:
            _judge_send_error(watch, error)
            raise
        done += count
        if not watch.connecting:
            watch.sent_bytes += count


def _allowed(sock: WatchedSocket, watch: Watch, call: Callable[..., int], *arguments: Any) -> int:
    """Make a system call, again after each slice of waiting, until it is done or the watch ends it."""
    while True:
        sock.wait_at_most(watch.allow())
        try:
            return call(*arguments)
        except socket.timeout:
            continue


def _judge_send_error(watch: Watch, error: OSError) -> None:
    """Raise the fault for a failed send; returns when the peer may have answered before it stopped reading."""
    if watch.cancelled or watch.connecting:
        raise watch.broken(error) from error
    if watch.sent_bytes == 0 and watch.reused:
        raise Unsent(
            f"{watch.peer} closed a kept connection: {reason_of(error)}", maybe_processed=False
        ) from error
    if watch.sent_bytes == 0:
        raise watch.broken(error) from error
    if isinstance(error, ssl.SSLEOFError):
        # What the HTTP library knows a peer by that stopped reading.
        raise BrokenPipeError(errno.EPIPE, "the peer reads no more") from error
    if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE):
        raise watch.broken(error) from error


class WatchedSocket(socket.socket):
    """A socket under watch; a TCP socket unless it stands before another class of sockets."""

    watch: Watch | None = None
    used_at_s = 0.0

    def wait_at_most(self, seconds: float) -> None:
        """A system call from now on ends after `seconds` or earlier; the caller asks its watch and goes on."""
        wanted, present = min(seconds, WAIT_SLICE_S), self.gettimeout()
        if present is None or not wanted / 2 <= present <= seconds:
            super().settimeout(wanted)

    def settimeout(self, value: float | None) -> None:
        """As socket.settimeout; that there shall be no limit, as the HTTP library says, is not heard under watch."""
        if value is not None or self.watch is None:
            super().settimeout(value)

    def idle_s(self) -> float:
        """Seconds since anything was received."""
        return time.monotonic() - self.used_at_s

    def recv_into(self, *arguments: Any) -> int:
        """As socket.recv_into, within the limits of the watch. Raises faults."""
        return _receive(self, super().recv_into, arguments)

    def sendall(self, data: Any, flags: int = 0) -> None:  # noqa: ARG002  signature of the base class
        """As socket.sendall, within the limits of the watch. Raises faults."""
        _send_all(self, super().send, data)


class TlsSocket(WatchedSocket, ssl.SSLSocket):
    """A TLS socket under watch; an SSLContext makes these when it is its `sslsocket_class`."""

    def do_handshake(self, block: bool = False) -> None:
        """As SSLSocket.do_handshake, within the limits of the call this thread is starting. Raises faults."""
        watch = current_watch()
        if watch is None:
            super().do_handshake(block)
            return
        try:
            self._shake_hands(watch, block)
        except Fault:
            # Whoever wraps the socket cleans up after an OSError only.
            self.close()
            raise

    def _shake_hands(self, watch: Watch, block: bool) -> None:
        watch.begin_handshake()
        watch.attach(self)
        self.settimeout(watch.allow())
        try:
            super().do_handshake(block)
        except socket.timeout:
            raise watch.late() from None
        except ssl.SSLCertVerificationError as error:
            raise CertificateRefused(
                f"the certificate of {watch.peer} is not trusted: {error.verify_message}",
                maybe_processed=False,
            ) from error
        except OSError as error:
            raise watch.broken(error) from error


def open_socket(host: str, port: int, watch: Watch) -> WatchedSocket:
    """Connect to the first address of `host` that answers. Blocks as `watch` allows; raises faults.

    A host with one address that must not be reached is Refused (blocked_address) before anything is sent. The name is
    looked up once, so what was judged is what is connected to.
    """
    try:
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(
            f"name lookup of {host} failed: {reason_of(error)}", maybe_processed=False
        ) from error
    if watch.reach is not None and not all(watch.reach(str(found[4][0])) for found in addresses):
        raise Refused(f"{host} has a private or special-use address", code="blocked_address")
    failure = OSError(errno.EADDRNOTAVAIL, "no address")
    for family, kind, protocol, _, address in addresses:
        sock = WatchedSocket(family, kind, protocol)
        try:
            _connect(sock, address, watch)
        except OSError as error:
            sock.close()
            failure = error
        except Fault:
            sock.close()
            raise
        else:
            return sock
    raise watch.broken(failure) from failure


def _connect(sock: WatchedSocket, address: Any, watch: Watch) -> None:
    watch.attach(sock)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(IDLE_LIMIT_S) // 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        code = _await_connect(sock, watch)
    if code:
        raise OSError(code, os.strerror(code))
    # TLS is not started on a socket that does not block.
    sock.settimeout(CONNECT_S)


def _await_connect(sock: WatchedSocket, watch: Watch) -> int:
    limit = watch.deadline.within(CONNECT_ADDRESS_S)
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    while not poller.poll(min(watch.allow(), CONNECT_SLICE_S) * 1000):
        if limit.expired:
            return errno.ETIMEDOUT
    if watch.cancelled:
        raise Interrupted("interrupted")
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
