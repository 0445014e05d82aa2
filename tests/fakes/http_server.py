"""A lean HTTP/1.1 server for the doubles: one thread per connection, keep-alive, raw control over every answer.

It stands beside the daemon in benchmarks, so it parses only what a client of ours can send and copies little.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Callable

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
GONE_CHECK_S = 0.05


class PeerGone(Exception):
    """The client closed its connection, or the server is closing."""


class Call:
    """One request and the connection it came on. Exactly one of the answering methods ends it."""

    __slots__ = ("_server", "_socket", "body", "headers", "keep", "method", "path", "query", "started")

    def __init__(
        self,
        server: HttpServer,
        sock: socket.socket,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        self._server = server
        self._socket = sock
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.keep = headers.get("connection", "").lower() != "close"
        self.started = False

    def reply(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer whole, in one write."""
        self.send(self.head(status, content_type, len(body), headers) + body)

    def head(
        self,
        status: int,
        content_type: str = "application/json",
        length: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> bytes:
        """The bytes of a status line and headers; `length` None means a chunked body follows."""
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", f"Content-Type: {content_type}"]
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        lines += [f"{name}: {value}" for name, value in headers]
        if not self.keep:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send(self, data: bytes) -> None:
        """Write raw bytes. Raises PeerGone."""
        self.started = True
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise PeerGone from error

    def chunk(self, data: bytes) -> None:
        """Write one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def drip(self, data: bytes, interval_s: float, piece_bytes: int = 1) -> None:
        """Write the bytes piece by piece, one each interval, until the client goes away."""
        for start in range(0, len(data), piece_bytes):
            self.send(data[start : start + piece_bytes])
            self.pause(interval_s)

    def pause(self, seconds: float, gate: threading.Event | None = None) -> None:
        """Wait, at most until `gate` opens. Raises PeerGone as soon as nobody is there to be answered."""
        end = time.monotonic() + seconds
        gate = gate or self._server.closing
        while True:
            left = end - time.monotonic()
            if left <= 0 or gate.wait(min(left, GONE_CHECK_S)):
                break
            if self._server.closing.is_set() or self.gone():
                raise PeerGone
        if self._server.closing.is_set():
            raise PeerGone

    def gone(self) -> bool:
        """Whether the client has closed its side."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def reset(self) -> None:
        """End the connection with a reset, the answer unfinished or never begun."""
        self.keep = False
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()

    def hang_up(self) -> None:
        """End the connection in the ordinary way, the answer unfinished or never begun."""
        self.keep = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class HttpServer:
    """Serves every request with `handler(call)`. Use as a context manager or call `close`."""

    def __init__(self, handler: Callable[[Call], None], port: int = 0) -> None:
        self._handler = handler
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.closing = threading.Event()
        self.connections = 0
        self.crashes: list[str] = []
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(512)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"fake:{self.port}", daemon=True)
        self._thread.start()

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        self._thread.join(5)

    def drop_connections(self) -> None:
        """End every open connection; new ones are served."""
        with self._lock:
            sockets = list(self._open)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(sock)
                self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        buffer = bytearray()
        try:
            while not self.closing.is_set():
                call = self._read(sock, buffer)
                if call is None:
                    return
                self._handler(call)
                if not call.keep:
                    return
        except (PeerGone, OSError):
            return
        except Exception:  # noqa: BLE001 - a double must say that it is broken, not fall silent
            self.crashes.append(traceback.format_exc())
            traceback.print_exc(file=sys.stderr)
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _read(self, sock: socket.socket, buffer: bytearray) -> Call | None:
        end = buffer.find(b"\r\n\r\n")
        while end < 0:
            data = sock.recv(65536)
            if not data or len(buffer) > MAX_HEAD_BYTES:
                return None
            buffer += data
            end = buffer.find(b"\r\n\r\n")
        lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
        del buffer[: end + 4]
        method, target, _ = lines[0].split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunked(sock, buffer)
        else:
            body = self._read_bytes(sock, buffer, int(headers.get("content-length", "0")))
        return Call(self, sock, method, target, headers, body)

    def _read_bytes(self, sock: socket.socket, buffer: bytearray, count: int) -> bytes:
        if count > MAX_BODY_BYTES:
            raise PeerGone
        while len(buffer) < count:
            data = sock.recv(65536)
            if not data:
                raise PeerGone
            buffer += data
        body = bytes(buffer[:count])
        del buffer[:count]
        return body

    def _read_line(self, sock: socket.socket, buffer: bytearray) -> bytes:
        while b"\r\n" not in buffer:
            data = sock.recv(65536)
            if not data:
                raise PeerGone
            buffer += data
        line, _, rest = bytes(buffer).partition(b"\r\n")
        buffer[:] = rest
        return line

    def _read_chunked(self, sock: socket.socket, buffer: bytearray) -> bytes:
        body = b""
        while True:
            size = int(self._read_line(sock, buffer).split(b";")[0], 16)
            body += self._read_bytes(sock, buffer, size)
            self._read_line(sock, buffer)
            if size == 0:
                return body
