"""The network between a client and a double, with what networks do: relay, refuse, reset, be silent, cut, babble.

A line knows nothing of the protocols on it, so the same faults can be laid upon every channel.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading

__all__ = ["KINDS", "BadLine"]

KINDS = ("refused", "reset", "silent", "half", "5xx", "garbage")
LOOK_S = 0.01
WAIT_S = 10.0
BUSY_PAGE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 27\r\n"
    b"Connection: close\r\n\r\n<html>try again</html>\r\n\r\n\r\n"
)


class BadLine:
    """Use as a context manager. `to` gives a port that leads to a double's; `suffer` says what becomes of the traffic.

    refused: nobody listens. reset: RST at the first byte. silent: bytes are read and nothing ever comes back. half: the
    first half of the next answer, then the end. 5xx: a proxy's page. garbage: bytes of no protocol. All hold for open
    connections too, from the next byte on; a reset, and the end of listening, at once.
    """

    def __init__(self, seed: int = 1) -> None:
        self._kind = ""
        self._chance = random.Random(seed)
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0

    def __enter__(self) -> BadLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._stop_listening()
        for thread in list(self._threads):
            thread.join(WAIT_S)

    def to(self, port: int) -> int:
        """A port of this host that leads to that one."""
        listener = socket.create_server(("127.0.0.1", 0))
        if self._kind == "refused":
            found: int = listener.getsockname()[1]
            listener.close()
            return found
        with self._guard:
            self._listeners.append(listener)
        self._start(self._accept, listener, port)
        return int(listener.getsockname()[1])

    def suffer(self, kind: str) -> None:
        """From now on; "" is a good line again, which "refused" cannot become."""
        assert kind in ("", *KINDS), kind
        self._kind = kind
        if kind == "refused":
            self._stop_listening()

    def _stop_listening(self) -> None:
        with self._guard:
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, sock, port)

    def _serve(self, near: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", port), WAIT_S) as far:
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._over.is_set() and self._kind != "refused":
                readable, _, _ = select.select([near, far], [], [], LOOK_S)
                for sock in readable:
                    data = sock.recv(65536)
                    if not data or not self._carry(data, near, far, upwards=sock is near):
                        return
            if self._kind == "refused":
                _reset(near)

    def _carry(self, data: bytes, near: socket.socket, far: socket.socket, *, upwards: bool) -> bool:
        """Pass on what came, or what the line makes of it; False when the connection is over."""
        kind = self._kind
        if kind == "silent":
            return True
        if kind == "reset":
            _reset(near)
            return False
        if kind in ("5xx", "garbage"):
            near.sendall(BUSY_PAGE if kind == "5xx" else self._chance.randbytes(200))
            return False
        if kind == "half" and not upwards:
            near.sendall(data[: max(1, len(data) // 2)])
            return False
        (far if upwards else near).sendall(data)
        return True


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
