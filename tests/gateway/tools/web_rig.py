"""A small internet on loopback: names, public addresses that lead to real servers, and a canary nobody may reach."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

from loong_channels.net_sockets import WatchedSocket
from tests.fakes.http_server import Call, HttpServer

PUBLIC = "93.184.216.34"


class SmallInternet:
    """`names` maps a host to what successive lookups give, the last one for ever; `connected` are all addresses tried.

    The one public address leads to a server that calls `handler`; every other address is that of the canary, which
    counts connections.
    """

    def __init__(self, handler: Callable[[Call], None]) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.connected: list[str] = []
        self.asked: list[str] = []
        self.server = HttpServer(handler)
        self.canary = HttpServer(lambda call: call.reply(200, b"canary", "text/plain"))

    @contextlib.contextmanager
    def up(self) -> Iterator[SmallInternet]:
        """The resolver and the routes of this process lead here while the block runs."""
        real_lookup, real_connect = socket.getaddrinfo, WatchedSocket.connect_ex
        socket.getaddrinfo = self._look_up
        WatchedSocket.connect_ex = lambda sock, address: real_connect(sock, self._route(address))
        try:
            yield self
        finally:
            socket.getaddrinfo, WatchedSocket.connect_ex = real_lookup, real_connect
            self.server.close()
            self.canary.close()

    def _look_up(self, host: str, port: int, *_: object) -> list[tuple]:
        self.asked.append(host)
        answers = self.names.get(host)
        if answers is None:
            addresses = [host] if _is_address(host) else []
        else:
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [_row(address, port) for address in addresses]

    def _route(self, address: tuple) -> tuple[str, int]:
        self.connected.append(address[0])
        if address[0] == PUBLIC and address[1] == 443:
            # Nobody speaks TLS there, and nothing listens at this port.
            return "127.0.0.1", 1
        if address[0] == PUBLIC:
            return "127.0.0.1", self.server.port
        return "127.0.0.1", self.canary.port


def _is_address(host: str) -> bool:
    """As the system's resolver sees it: old forms are addresses as well."""
    with contextlib.suppress(OSError, ValueError):
        socket.inet_aton(host)
        return True
    with contextlib.suppress(OSError, ValueError):
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        return True
    return False


def _row(address: str, port: int) -> tuple:
    if ":" in address:
        # The canary listens at IPv4; a socket of the other family would not get there.
        return socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)
    with contextlib.suppress(OSError):
        address = socket.inet_ntoa(socket.inet_aton(address))
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)
