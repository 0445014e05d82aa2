"""What the servers of the tests share that are below HTTP: a listener on loopback and a thread per connection."""

from __future__ import annotations

import abc
import contextlib
import socket
import ssl
import threading
from typing import TypeVar

__all__ = ["WAIT_S", "LoopbackServer"]

WAIT_S = 10.0
Self = TypeVar("Self", bound="LoopbackServer")


class LoopbackServer(abc.ABC):
    """Listens from its making to the end of its `with` block, which ends every connection too.

    `released` is set first then, for scripts that do nothing for as long as the test takes. `connections` counts those
    that were served, after their TLS handshake.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.released = threading.Event()
        self.connections = 0
        self.host = host
        self._tls = tls
        self._guard = threading.Lock()
        self._live: set[socket.socket] = set()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        with self._guard:
            live = list(self._live)
        for sock in [self._listener, *live]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(WAIT_S)

    @abc.abstractmethod
    def _serve(self, sock: socket.socket) -> None:
        """Serve one connection; it is closed afterwards. OSError and EOFError mean that the client has gone."""

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._welcome, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _welcome(self, sock: socket.socket) -> None:
        served = sock
        try:
            sock.settimeout(WAIT_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                served = self._tls.wrap_socket(sock, server_side=True)
            with self._guard:
                self._live.add(served)
                self.connections += 1
            self._serve(served)
        except (OSError, EOFError):
            return  # the client has gone; what it did is in the server's records
        finally:
            with self._guard:
                self._live.discard(served)
            served.close()
