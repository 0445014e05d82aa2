"""Outbound WebSocket connections: the protocol is the library's, every wait and every byte on the wire is ours.

One thread receives, any thread sends, and neither waits for the other. Egress rules (proxy, trusted certificates) are
those of `net`. https://www.rfc-editor.org/rfc/rfc6455
"""

from __future__ import annotations

import base64
import contextlib
import http.client
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import websocket
from websocket import ABNF, _handshake
from websocket._abnf import frame_buffer

from .egress import Egress, Proxy
from .faults import BadAnswer, Fault, Interrupted, Refused, TimedOut, Unreachable
from .net_duplex import DuplexSocket, NothingCame
from .net_sockets import Watch, WatchedSocket, open_socket, watching
from .waiting import Deadline, StopToken

__all__ = ["Closed", "HandshakeRefused", "WebSocket"]

# A pong or the answer to a close frame may wait this long for room in the socket.
CONTROL_S = 10.0
MAX_HEAD_BYTES = 65536
_NO_STATUS = 1005
_BROKEN = 1006
# Status 1000. https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
_GOODBYE = b"\x03\xe8"


class Closed(Unreachable):
    """Raised when the peer ended the connection. `code` is 1006 when it did so without a word."""

    def __init__(self, peer: str, code: int, reason: str) -> None:
        said = f"code {code}" + (f": {reason}" if reason else "")
        super().__init__(f"{peer} closed the connection ({said})", maybe_processed=True)
        self.code = code
        self.reason = reason


class HandshakeRefused(Unreachable):
    """Raised when the peer answered the handshake with an ordinary HTTP status; header names are in lower case."""

    def __init__(self, peer: str, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"{peer} refused the connection (HTTP {status})", maybe_processed=False)
        self.status = status
        self.headers = headers


class WebSocket:
    """One connection. `receive` belongs to one thread; everything else may be called from any."""

    def __init__(self, library: _Library, wire: DuplexSocket, peer: str) -> None:
        self._library = library
        self._wire = wire
        self._peer = peer

    @classmethod
    def connect(
        cls,
        egress: Egress,
        url: str,
        *,
        deadline: Deadline,
        stop: StopToken | None = None,
        headers: Mapping[str, str] | None = None,
        max_message_bytes: int = 8 << 20,
    ) -> WebSocket:
        """Connect to a ws:// or wss:// address. Blocks until the deadline; `stop` wakes it.

        A message longer than `max_message_bytes` ends the connection. Raises Unreachable (TimedOut, HandshakeRefused
        among them), Interrupted, BadAnswer, and Refused for an address that cannot be used. No message holds more of
        the address than the host.
        """
        host, port, is_secure = _parts(url)
        peer = f"{host}:{port}"
        watch = Watch(peer, deadline, first_byte_s=deadline.remaining(), gap_s=deadline.remaining())
        wake = contextlib.nullcontext() if stop is None else stop.watch(watch.cancel)
        with wake, watching(watch):
            wire = DuplexSocket(_open(egress, host, port, watch, is_secure=is_secure), peer)
            try:
                watch.hand_over(wire.close)
                wire.read_by(deadline, limit_bytes=MAX_HEAD_BYTES)
                library = _Library(wire, max_message_bytes)
                _shake_hands(library, url, wire, headers or {}, peer, watch)
            except BaseException:
                wire.close()
                raise
            finally:
                watch.end()
        return cls(library, wire, peer)

    def receive(self, seconds: float) -> str | bytes | None:
        """The next message, None when nothing whole came in `seconds`; the beginning of one is kept. Blocks.

        Raises Closed, Unreachable when the connection broke, BadAnswer for what is no WebSocket message, Interrupted
        after `close`. Answers pings by itself.
        """
        self._wire.read_by(Deadline(seconds))
        try:
            opcode, data = self._library.recv_data()
            if opcode == ABNF.OPCODE_TEXT:
                text: str = data.decode("utf-8")
                return text
        except NothingCame:
            return None
        except websocket.WebSocketConnectionClosedException:
            self.close()
            raise Closed(self._peer, _BROKEN, "") from None
        except (websocket.WebSocketException, ValueError) as error:
            self.close()
            raise BadAnswer(
                f"{self._peer} does not speak WebSocket as expected: {type(error).__name__}"
            ) from None
        if opcode == ABNF.OPCODE_CLOSE:
            self.close()
            raise Closed(self._peer, *_close_words(data))
        return bytes(data)

    def send(self, data: str | bytes, *, deadline: Deadline) -> None:
        """Send one message. Blocks until the peer's socket has taken it; messages of several threads never mix.

        Raises TimedOut, Unreachable and Interrupted; the connection is closed then, for a part may have left.
        """
        opcode = ABNF.OPCODE_TEXT if isinstance(data, str) else ABNF.OPCODE_BINARY
        payload = data.encode("utf-8", "replace") if isinstance(data, str) else data
        self._library.send_by(deadline, payload, opcode)

    def leave(self, deadline: Deadline) -> None:
        """Say goodbye where the peer's socket takes it by the deadline, then close. Does not wait for the answer."""
        # Who is gone already needs no goodbye.
        with contextlib.suppress(Fault):
            self._library.send_by(deadline, _GOODBYE, ABNF.OPCODE_CLOSE)
        self.close()

    def close(self) -> None:
        """End the connection without waiting for the peer; wakes `receive` and `send`. Idempotent."""
        self._wire.close()


class _Library(websocket.WebSocket):
    """The library's connection over our own wire, with a bound on what it gathers."""

    def __init__(self, wire: DuplexSocket, max_message_bytes: int) -> None:
        # Its own look at UTF-8 takes 0.2 s for a megabyte and lets a text pass that ends within a character.
        super().__init__(enable_multithread=True, skip_utf8_validation=True)
        self._wire = wire
        self._max_bytes = max_message_bytes
        self._gathered = 0
        self.frame_buffer = _BoundedFrames(self._recv, max_message_bytes)

    def send_by(self, deadline: Deadline, payload: bytes, opcode: int) -> None:
        """Send one frame by a deadline; a frame that was not sent whole ends the connection."""
        data = ABNF.create_frame(payload, opcode).format()
        self._wire.send_whole(data, deadline)

    def send(self, payload: Any, opcode: int = ABNF.OPCODE_TEXT) -> int:
        """What the library sends by itself: pongs, and the answer to a close frame."""
        self.send_by(Deadline(CONTROL_S), payload, opcode)
        return len(payload)

    def recv_frame(self) -> Any:
        """As the library's, but fragments may not add up to more than one message may hold."""
        frame = super().recv_frame()  # type: ignore[no-untyped-call]
        if frame.opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY, ABNF.OPCODE_CONT):
            self._gathered = (
                len(frame.data) if frame.opcode != ABNF.OPCODE_CONT else self._gathered + len(frame.data)
            )
            if self._gathered > self._max_bytes:
                raise websocket.WebSocketPayloadException("the message is too long")
            if not frame.fin and frame.opcode != ABNF.OPCODE_CONT:
                # What follows is added to it; adding to bytes would copy all of them for each fragment.
                frame.data = bytearray(frame.data)
        return frame


class _NoCookies:
    """In place of the library's cookie jar: it is the process's, and any server may set another's cookies in it."""

    def add(self, set_cookie: str | None) -> None:
        """Nothing."""

    def get(self, host: str) -> str:  # noqa: ARG002  signature of what it stands for
        """None."""
        return ""


_handshake.CookieJar = _NoCookies()  # type: ignore[assignment]


class _BoundedFrames(frame_buffer):
    """The library's reader of frames, which would take a frame of any length."""

    def __init__(self, receive: Any, max_bytes: int) -> None:
        super().__init__(receive, False)
        self._max_bytes = max_bytes

    def recv_length(self) -> None:
        """As the library's; raises for a frame that is longer than a message may be."""
        super().recv_length()
        if cast(int, self.length) > self._max_bytes:
            raise websocket.WebSocketPayloadException("the frame is too long")


def _parts(url: str) -> tuple[str, int, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refused("not a usable address", code="address") from None
    if parts.scheme not in ("ws", "wss") or not host or "@" in parts.netloc or not url.isascii():
        raise Refused("not a usable ws or wss address", code="address")
    is_secure = parts.scheme == "wss"
    return host, port or (443 if is_secure else 80), is_secure


def _open(egress: Egress, host: str, port: int, watch: Watch, *, is_secure: bool) -> WatchedSocket:
    proxy = egress.route("wss" if is_secure else "ws", host, port)
    watch.begin_connect(watch.peer if proxy is None else f"proxy {proxy.host}:{proxy.port}")
    context = egress.tls_context() if is_secure else None
    sock = open_socket(host, port, watch) if proxy is None else open_socket(proxy.host, proxy.port, watch)
    try:
        if proxy is not None:
            _tunnel(sock, proxy, host, port)
        if context is not None:
            sock = cast(WatchedSocket, context.wrap_socket(sock, server_hostname=host))
    except OSError as error:
        sock.close()
        raise watch.broken(error) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _tunnel(sock: WatchedSocket, proxy: Proxy, host: str, port: int) -> None:
    """Ask the proxy for a tunnel, for an unencrypted connection too: nothing else carries WebSocket through one."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port)
    headers = {}
    if proxy.user or proxy.password:
        pair = f"{proxy.user}:{proxy.password}".encode()
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
    connection.sock = sock
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        connection.request("CONNECT", target, headers={"Host": target, **headers})
        with contextlib.closing(_TunnelAnswer(sock, method="CONNECT")) as answer:
            answer.begin()
    except http.client.HTTPException:
        raise Unreachable(
            f"proxy {proxy.host}:{proxy.port} did not answer as a proxy", maybe_processed=False
        ) from None
    if answer.status != 200:
        words = "wants other credentials" if answer.status == 407 else "refused to connect"
        raise Unreachable(
            f"proxy {proxy.host}:{proxy.port} {words} (HTTP {answer.status})", maybe_processed=False
        )


class _TunnelAnswer(http.client.HTTPResponse):
    """Reads the head of an answer byte by byte: what follows it belongs to the peer behind the proxy."""

    def __init__(self, sock: WatchedSocket, method: str) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = cast(Any, sock.makefile("rb", buffering=0))


def _shake_hands(
    library: _Library, url: str, wire: DuplexSocket, headers: Mapping[str, str], peer: str, watch: Watch
) -> None:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if any(not line.isascii() or not line.isprintable() for line in lines):
        raise Refused("a header holds characters that cannot be sent", code="header")
    try:
        library.connect(url, socket=wire, header=lines, suppress_origin=True, redirect_limit=0)  # type: ignore[no-untyped-call]
        if library.getstatus() != 101:  # type: ignore[no-untyped-call]
            raise _refused(library, peer)
    except websocket.WebSocketBadStatusException as error:
        raise HandshakeRefused(peer, error.status_code, dict(error.resp_headers or {})) from None
    except NothingCame:
        raise TimedOut(f"no answer from {peer} in time", maybe_processed=False) from None
    except Interrupted:
        if watch.cancelled:
            raise
        raise Unreachable(f"lost the connection to {peer}", maybe_processed=False) from None
    except websocket.WebSocketConnectionClosedException:
        raise Unreachable(f"{peer} closed the connection without an answer", maybe_processed=False) from None
    except (websocket.WebSocketException, ValueError, LookupError) as error:
        if library.handshake_response is not None:
            raise _refused(library, peer) from None
        raise BadAnswer(f"{peer} does not speak WebSocket as expected ({type(error).__name__})") from None


def _refused(library: _Library, peer: str) -> HandshakeRefused:
    # Redirects among them, which are not followed: a credential goes where the config says, or nowhere.
    status = library.getstatus()  # type: ignore[no-untyped-call]
    fields = library.getheaders()  # type: ignore[no-untyped-call]
    return HandshakeRefused(peer, status or 0, dict(fields or {}))


def _close_words(data: bytes) -> tuple[int, str]:
    if len(data) < 2:
        return _NO_STATUS, ""
    reason = data[2:].decode("utf-8", "replace")
    return int.from_bytes(data[:2], "big"), " ".join(reason.split())[:200]
