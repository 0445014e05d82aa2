"""One request ends within its time, whatever the other side does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from loong_gateway.owner.loopback import NotConnected, exchange, reachable_host


@contextlib.contextmanager
def peer(behave: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """A listener that treats its one connection as told."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            behave(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(10)
        listener.close()


def answering(*parts: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        for part in parts:
            connection.sendall(part)

    return behave


def test_status_and_body_come_back() -> None:
    with peer(answering(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 2\r\n\r\n{", b"}")) as port:
        assert exchange("127.0.0.1", port, "GET", "/healthz", timeout_s=5) == (200, b"{}")


def test_a_body_without_length_ends_with_the_connection() -> None:
    with peer(answering(b"HTTP/1.1 503 No\r\n\r\nall of it")) as port:
        assert exchange("127.0.0.1", port, "GET", "/", timeout_s=5) == (503, b"all of it")


def test_the_request_is_complete_and_names_its_host() -> None:
    got: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        got.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n")

    with peer(behave) as port:
        answer = exchange("127.0.0.1", port, "POST", "/x", timeout_s=5, headers=[("A", "b")], body=b"hi")
    assert answer == (204, b"")
    lines = got[0].decode().split("\r\n")
    assert lines[0] == "POST /x HTTP/1.1"
    assert set(lines[1:5]) == {f"Host: 127.0.0.1:{port}", "Connection: close", "A: b", "Content-Length: 2"}
    assert lines[-1] == "hi"


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-x\r\n\r\n", b"", b"HTTP/1.1 2x0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"],
)
def test_what_is_no_complete_answer_is_an_error(answer: bytes) -> None:
    with peer(answering(answer)) as port, pytest.raises((ValueError, OSError)):
        exchange("127.0.0.1", port, "GET", "/", timeout_s=5)


def test_a_dripping_peer_does_not_stretch_the_time() -> None:
    gone = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        # Each line comes well within the time, all of them together do not; whoever reads on to the end finds the
        # answer cut off, which is another error.
        for _ in range(100):
            if gone.wait(0.05):
                return
            connection.sendall(b"X: y\r\n")

    with peer(drip) as port:
        try:
            with pytest.raises(TimeoutError):
                exchange("127.0.0.1", port, "GET", "/", timeout_s=0.3)
        finally:
            gone.set()


def test_a_peer_that_says_nothing_is_a_timeout_and_one_that_is_not_there_a_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError):
            exchange("127.0.0.1", port, "GET", "/", timeout_s=0.1)
    with pytest.raises(NotConnected):
        exchange("127.0.0.1", port, "GET", "/", timeout_s=5)


def test_an_endless_answer_is_cut() -> None:
    endless = answering(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5_000)
    with peer(endless) as port, pytest.raises(ValueError, match="too long"):
        exchange("127.0.0.1", port, "GET", "/", timeout_s=5, max_bytes=1_000)


def test_addresses_that_mean_all_are_asked_on_loopback() -> None:
    assert reachable_host("0.0.0.0") == "127.0.0.1"
    assert reachable_host("::") == "::1"
    assert reachable_host("192.168.1.5") == "192.168.1.5"


def test_the_newer_protocol_version_works() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6")
    with peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "::1") as port:
        assert exchange("::1", port, "GET", "/", timeout_s=5) == (200, b"")
