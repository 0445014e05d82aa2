"""A server whose every connection runs a function of the test: raw bytes in, raw bytes out, with all their faults."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from typing import Callable

from .loopback_server import LoopbackServer


class Connection:
    """One accepted connection. `requests` is shared with the peer and holds (head, body) of each request read."""

    def __init__(self, sock: socket.socket, peer: ScriptedPeer) -> None:
        self.sock = sock
        self.peer = peer
        self._buffer = b""

    def read_request(self) -> tuple[str, bytes] | None:
        """The next request as (head, body), None when the client has closed."""
        while b"\r\n\r\n" not in self._buffer:
            piece = self.sock.recv(65536)
            if not piece:
                return None
            self._buffer += piece
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        length = 0
        for line in text.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        while len(rest) < length:
            rest += self.sock.recv(65536)
        self._buffer = rest[length:]
        request = (text, rest[:length])
        self.peer.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(
        self, status: int, body: bytes, content_type: str = "application/json", extra: str = ""
    ) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.send(head.encode() + body)

    def answer_json(self, status: int, value: object, extra: str = "") -> None:
        self.answer(status, json.dumps(value).encode(), extra=extra)

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_closed(self) -> None:
        """Block until the client has gone or the test is over."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass


class ScriptedPeer(LoopbackServer):
    """Listens on loopback; `script` is called with each Connection in a thread of its own."""

    def __init__(
        self,
        script: Callable[[Connection], None],
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self._script = script
        super().__init__(tls, host)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def _serve(self, sock: socket.socket) -> None:
        self._script(Connection(sock, self))


def answering(*answers: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """A script that gives the answers in turn, over however many connections; the last one is repeated."""
    lock = threading.Lock()
    waiting = list(answers)

    def script(connection: Connection) -> None:
        while connection.read_request() is not None:
            with lock:
                answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            answer(connection)

    return script


def unanswered(connection: Connection) -> None:
    """A script that reads one request and leaves the client waiting for the answer."""
    connection.read_request()
    connection.wait_closed()


def tunnel_to(port: int) -> Callable[[Connection], None]:
    """A script of a proxy that connects every CONNECT to a port of this host."""

    def script(connection: Connection) -> None:
        connection.read_request()
        with socket.create_connection(("127.0.0.1", port), 5) as onward:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _join(connection.sock, onward)

    return script


def relay_to(port: int) -> Callable[[Connection], None]:
    """A script that passes everything on to a port of this host, and back."""

    def script(connection: Connection) -> None:
        with socket.create_connection(("127.0.0.1", port), 5) as onward:
            _join(connection.sock, onward)

    return script


def _join(sock: socket.socket, onward: socket.socket) -> None:
    back = threading.Thread(target=_copy, args=(onward, sock), daemon=True)
    back.start()
    _copy(sock, onward)
    # Closing alone would not wake the thread that reads from it.
    with contextlib.suppress(OSError):
        onward.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
