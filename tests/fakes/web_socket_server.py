"""A WebSocket server on 127.0.0.1 written by hand: it speaks the protocol as strictly as its tests want to break it.

https://www.rfc-editor.org/rfc/rfc6455
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping

from .loopback_server import WAIT_S, LoopbackServer

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "ServerConnection", "WebSocketServer"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class ProtocolError(Exception):
    """Raised when a client does what no client may."""


class ServerConnection:
    """One connection after its handshake. `path` holds the query too, `headers` have names in lower case.

    `close_seen` is the (code, reason) of the client's close frame. `send` may be called from any thread.
    """

    def __init__(
        self, sock: socket.socket, server: WebSocketServer, path: str, headers: dict[str, str]
    ) -> None:
        self.sock = sock
        self.server = server
        self.path = path
        self.headers = headers
        self.close_seen: tuple[int, str] | None = None
        self.pongs: list[bytes] = []
        self._buffer = b""
        self._guard = threading.Lock()
        self._parts: list[bytes] = []
        self._kind = 0

    def receive(self, timeout_s: float = WAIT_S) -> str | bytes | None:
        """The next message; None when the client has gone, closed, or nothing came in time. Answers pings."""
        self.sock.settimeout(timeout_s)
        try:
            while True:
                final, opcode, data = self._frame()
                if opcode == PING:
                    self.frame(PONG, data)
                elif opcode == PONG:
                    self.pongs.append(data)
                elif opcode == CLOSE:
                    code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
                    self.close_seen = (code, data[2:].decode())
                    return None
                else:
                    self._kind = opcode or self._kind
                    self._parts.append(data)
                    if final:
                        whole, self._parts = b"".join(self._parts), []
                        return whole.decode() if self._kind == TEXT else whole
        except (OSError, EOFError):
            return None

    def send(self, data: str | bytes) -> None:
        """Send one message in one frame. Raises OSError when the client has gone."""
        self.frame(
            TEXT if isinstance(data, str) else BINARY, data.encode() if isinstance(data, str) else data
        )

    def frame(self, opcode: int, data: bytes, *, final: bool = True) -> None:
        """Send one frame as it is, masked never."""
        head = bytes([(0x80 if final else 0) | opcode])
        if len(data) < 126:
            head += bytes([len(data)])
        elif len(data) < 1 << 16:
            head += b"\x7e" + struct.pack("!H", len(data))
        else:
            head += b"\x7f" + struct.pack("!Q", len(data))
        self.raw(head + data)

    def raw(self, data: bytes) -> None:
        """Send bytes that need not be a frame."""
        with self._guard:
            self.sock.settimeout(WAIT_S)
            self.sock.sendall(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame and end the connection."""
        with contextlib.suppress(OSError):
            self.frame(CLOSE, struct.pack("!H", code) + reason.encode())
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def stall(self, timeout_s: float = WAIT_S) -> None:
        """Neither read nor write until the server ends."""
        self.server.released.wait(timeout_s)

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._take(2)
        length = second & 0x7F
        if not second & 0x80:
            raise ProtocolError("a client must mask its frames")
        if first & 0x70:
            raise ProtocolError("a reserved bit is set")
        if length == 126:
            length = struct.unpack("!H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self._take(8))[0]
        mask = self._take(4)
        data = self._take(length)
        repeated = (mask * (length // 4 + 1))[:length]
        plain = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
        return bool(first & 0x80), first & 0x0F, plain

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = self.sock.recv(65536)
            if not piece:
                raise EOFError
            self._buffer += piece
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


class WebSocketServer(LoopbackServer):
    """Calls `handler` with each connection in a thread of its own; a connection ends when its handler returns."""

    def __init__(
        self, handler: Callable[[ServerConnection], None], tls: ssl.SSLContext | None = None, path: str = "/"
    ) -> None:
        self._handler = handler
        self._path = path
        self._refusals: list[tuple[int, Mapping[str, str]]] = []
        super().__init__(tls)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}{self._path}"

    def refuse_next(self, status: int, headers: Mapping[str, str] | None = None, *, times: int = 1) -> None:
        """Answer the next handshakes with this HTTP status."""
        with self._guard:
            self._refusals += [(status, headers or {})] * times

    def _serve(self, sock: socket.socket) -> None:
        found = self._shake_hands(sock)
        if found is not None:
            self._handler(ServerConnection(sock, self, *found))

    def _shake_hands(self, sock: socket.socket) -> tuple[str, dict[str, str]] | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)
            if not piece:
                raise EOFError
            head += piece
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        with self._guard:
            refusal = self._refusals.pop(0) if self._refusals else None
        upgrade = (
            headers.get("upgrade", "").lower() == "websocket"
            and "upgrade" in headers.get("connection", "").lower()
        )
        key = headers.get("sec-websocket-key", "")
        if refusal is None and not (method == "GET" and upgrade and len(base64.b64decode(key)) == 16):
            refusal = (400, {})
        if refusal is not None:
            status, extra = refusal
            more = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
            sock.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{more}\r\n".encode())
            return None
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        sock.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nX-Request: {os.getpid()}\r\n\r\n".encode()
        )
        return path, headers
