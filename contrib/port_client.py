"""A client of the gateway's WebSocket side that costs little: one socket, frames by hand, no thread.

https://www.rfc-editor.org/rfc/rfc6455
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
from typing import Any

__all__ = ["PortClient", "PortGone"]

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
WAIT_S = 20.0
ALL = ("operator.admin",)
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class PortGone(Exception):
    """Raised when the connection is over, or was refused."""


class PortClient:
    """Not thread-safe. `frames` are those that came while an answer was awaited; `room` sizes the receive buffer."""

    def __init__(
        self, port: int, token: str, *, scopes: tuple[str, ...] = ALL, room: int = 0, bare: bool = False
    ) -> None:
        self.frames: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._buffer = bytearray()
        self.socket = socket.socket()
        self.socket.settimeout(WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        try:
            self.socket.connect(("127.0.0.1", port))
            self._upgrade()
            if not bare:
                self._connect(token, scopes)
        except (OSError, PortGone) as error:
            self.close()
            raise PortGone(str(error)) from error

    def close(self) -> None:
        """End without a word."""
        self.socket.close()

    def send(self, method: str, params: dict[str, Any] | None = None, id: str = "") -> str:
        """Send a request; its id. Raises PortGone."""
        id = id or f"r{next(self._numbers)}"
        request: dict[str, Any] = {"type": "req", "id": id, "method": method}
        if params is not None:
            request["params"] = params
        self.write(json.dumps(request).encode())
        return id

    def write(self, payload: bytes) -> None:
        """Send one text message. Raises PortGone."""
        self._frame(TEXT, payload)

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and read up to its first answer, which is returned. Raises PortGone."""
        return self.answer(self.send(method, params))

    def answer(self, id: str) -> dict[str, Any]:
        """Read up to the next answer to that request."""
        while True:
            frame: dict[str, Any] = json.loads(self.read())
            if frame.get("id") == id:
                return frame
            self.frames.append(frame)

    def receive(self) -> dict[str, Any]:
        """The next frame. Raises PortGone."""
        frame: dict[str, Any] = json.loads(self.read())
        return frame

    def read(self) -> bytes:
        """The next message, as it came. Answers pings. Raises PortGone, also when nothing comes for long."""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", self._take(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self._take(8))
            payload = self._take(size)
            kind = first & 0x0F
            if kind == TEXT:
                return payload
            if kind == PING:
                self._frame(PONG, payload)
            if kind == CLOSE:
                raise PortGone(f"closed: {payload!r}")

    def _frame(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        # A mask of zeros: what a client sends must be masked, and is nobody's secret here.
        if size < 126:
            head = struct.pack(">BBI", 0x80 | kind, 0x80 | size, 0)
        elif size < 65536:
            head = struct.pack(">BBHI", 0x80 | kind, 0xFE, size, 0)
        else:
            head = struct.pack(">BBQI", 0x80 | kind, 0xFF, size, 0)
        try:
            self.socket.sendall(head + payload)
        except OSError as error:
            raise PortGone(str(error)) from error

    def _upgrade(self) -> None:
        self.socket.sendall(HANDSHAKE.encode())
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise PortGone(f"no upgrade: {head[:200]!r}")

    def _connect(self, token: str, scopes: tuple[str, ...]) -> None:
        self.read()
        client = {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}
        asked = {"minProtocol": 4, "maxProtocol": 4, "client": client, "role": "operator"}
        found = self.ask("connect", {**asked, "scopes": list(scopes), "auth": {"token": token}})
        if not found["ok"]:
            raise PortGone(str(found["error"]))

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _more(self) -> None:
        try:
            piece = self.socket.recv(65536)
        except OSError as error:
            raise PortGone(str(error)) from error
        if not piece:
            raise PortGone("closed without a word")
        self._buffer += piece
