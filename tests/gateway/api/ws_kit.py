"""A WebSocket client written by hand, which can also do what none may. Imports nothing of the product."""

from __future__ import annotations

import contextlib
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PATIENCE_S = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
# RFC 6455 section 1.3 says what comes of that key.
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def client_frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes = b"\x11\xa2\x3c\xf5", bits: int = 0
) -> bytes:
    """One masked frame."""
    first = (0x80 if final else 0) | bits | opcode
    if len(payload) < 126:
        head = struct.pack("!BB", first, 0x80 | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    table = [bytes(byte ^ key for byte in range(256)) for key in mask]
    data = bytearray(len(payload))
    for at in range(4):
        data[at::4] = payload[at::4].translate(table[at])
    return bytes(data)


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


def upgrade(path: str = "/", **fields: str) -> bytes:
    """An upgrade request; field names are written with underscores, an empty value leaves a field out."""
    named = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class WsClient:
    """One connection; reads frames one by one and answers nothing by itself. Refuses what a server may not send."""

    def __init__(self, address: tuple[str, int], *, receive_bytes: int = 0, **fields: str) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(address)
        self._buffer = bytearray()
        self.socket.sendall(upgrade(**fields))
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        end = self._buffer.index(b"\r\n\r\n") + 4
        self.head = bytes(self._buffer[:end]).decode()
        del self._buffer[:end]
        assert self.head.startswith("HTTP/1.1 101 "), self.head

    def frame(self, opcode: int, payload: bytes = b"", **options: object) -> WsClient:
        return self.raw(client_frame(opcode, payload, **options))

    def raw(self, data: bytes) -> WsClient:
        self.socket.sendall(data)
        return self

    def next(self) -> tuple[int, bytes]:
        """The next frame, control frames among them."""
        first, second = self._take(2)
        assert first & 0xF0 == 0x80, "a server has no reason to fragment or to set a reserved bit"
        assert not second & 0x80, "a server must not mask"
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
            assert length > 125
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
            assert length > 0xFFFF
        return first & 0x0F, self._take(length)

    def text(self) -> str:
        opcode, payload = self.next()
        assert opcode == TEXT, (opcode, payload[:100])
        return payload.decode()

    def closed(self) -> tuple[int, str]:
        """Skip to the close frame, answer it, and see the end behind it."""
        while True:
            opcode, payload = self.next()
            if opcode == CLOSE:
                break
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            assert not self._buffer
            self.frame(CLOSE, payload[:2])
            assert self.socket.recv(1) == b""
        return (struct.unpack("!H", payload[:2])[0] if payload else 1005), payload[2:].decode()

    def ended(self) -> bool:
        """Skip to the end, with or without a close frame."""
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(65536):
                pass
        return True

    def __enter__(self) -> WsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        assert piece, f"the server closed after {bytes(self._buffer[:100])!r}"
        self._buffer += piece
