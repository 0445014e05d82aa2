"""The WebSocket client against a server that is strict, and one that misbehaves."""

from __future__ import annotations

import contextlib
import pathlib
import struct
import threading
from collections.abc import Iterator

import pytest

from loong_channels.egress import Egress
from loong_channels.faults import BadAnswer, Fault, Interrupted, Refused, TimedOut, Unreachable
from loong_channels.net_sockets import CertificateRefused
from loong_channels.waiting import Deadline, StopToken
from loong_channels.web_socket import Closed, HandshakeRefused, WebSocket
from tests.fakes.certificates import server_context
from tests.fakes.scripted_peer import Connection, ScriptedPeer, tunnel_to
from tests.fakes.web_socket_server import BINARY, CONTINUATION, PING, TEXT, ServerConnection, WebSocketServer
from tests.waiting import wait_until

WAIT_S = 15.0
DIRECT = Egress(environ={})
OPENED: list[WebSocket] = []


@pytest.fixture(autouse=True)
def close_sockets() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def connected(url: str, egress: Egress = DIRECT, **options: object) -> WebSocket:
    OPENED.append(WebSocket.connect(egress, url, deadline=Deadline(WAIT_S), **options))
    return OPENED[-1]


def echo(connection: ServerConnection) -> None:
    while (message := connection.receive()) is not None:
        connection.send(message)


def hang(connection: ServerConnection) -> None:
    connection.stall(WAIT_S)


def test_messages_of_both_kinds_and_all_lengths_come_back() -> None:
    with WebSocketServer(echo) as server:
        web = connected(server.url)
        for message in ("", "grüße", "x" * 125, "x" * 126, "y" * 65_536, b"\x00\xff" * 200_000):
            web.send(message, deadline=Deadline(WAIT_S))
            assert web.receive(WAIT_S) == message


def test_nothing_in_time_is_no_message_and_no_end() -> None:
    halves = threading.Event()

    def handler(connection: ServerConnection) -> None:
        connection.raw(b"\x81\x05he")
        halves.wait(WAIT_S)
        connection.raw(b"llo")
        hang(connection)

    with WebSocketServer(handler) as server:
        web = connected(server.url)
        assert web.receive(0.05) is None
        assert web.receive(0.05) is None
        halves.set()
        assert web.receive(WAIT_S) == "hello"


def test_fragments_are_put_together_and_pings_between_them_answered() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.frame(TEXT, b"one ", final=False)
        connection.frame(PING, b"there?")
        connection.frame(CONTINUATION, b"two")
        connection.receive(WAIT_S)
        connection.send(connection.pongs[0])

    with WebSocketServer(handler) as server:
        web = connected(server.url)
        assert web.receive(WAIT_S) == "one two"
        web.send("go on", deadline=Deadline(WAIT_S))
        assert web.receive(WAIT_S) == b"there?"


def test_headers_and_query_are_sent_and_no_origin() -> None:
    seen = {}

    def handler(connection: ServerConnection) -> None:
        seen.update(connection.headers, path=connection.path)
        connection.send("ok")
        hang(connection)

    with WebSocketServer(handler) as server:
        web = connected(f"{server.url}x?a=1&b=2", headers={"X-Key": "k"})
        assert web.receive(WAIT_S) == "ok"
    assert (seen["path"], seen["x-key"]) == ("/x?a=1&b=2", "k")
    assert "origin" not in seen and "cookie" not in seen


def test_a_close_frame_comes_with_code_and_reason_and_is_answered() -> None:
    answered = threading.Event()

    def handler(connection: ServerConnection) -> None:
        connection.close(1013, "try later")
        connection.receive(WAIT_S)
        if connection.close_seen:
            answered.set()

    with WebSocketServer(handler) as server:
        web = connected(server.url)
        with pytest.raises(Closed, match="code 1013: try later") as caught:
            web.receive(WAIT_S)
        assert (caught.value.code, caught.value.reason) == (1013, "try later")
        assert answered.wait(WAIT_S)
        with pytest.raises(Interrupted):
            web.receive(WAIT_S)


@pytest.mark.parametrize("end", [ServerConnection.reset, lambda connection: connection.sock.close()])
def test_a_connection_that_breaks_is_unreachable(end: object) -> None:
    with WebSocketServer(end) as server:
        web = connected(server.url)
        with pytest.raises(Unreachable) as caught:
            web.receive(WAIT_S)
    assert not isinstance(caught.value, Closed) or caught.value.code == 1006


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1\x00",
        b"\x80\x01a",
        b"\x83\x00",
        b"\x81\x02\xc3\x28",
        b"\x81\x03hi\xc3",
        b"\x01\x02\xf0\x9f\x80\x01\x98",
        b"\x89\x7e\x00\xff" + b"p" * 255,
        b"\x81\x7f" + struct.pack("!Q", 1 << 62),
        b"\x01\x01a\x81\x01b",
    ],
    ids=[
        "reserved bit",
        "lone continuation",
        "reserved opcode",
        "not UTF-8",
        "half a character",
        "half a character in fragments",
        "long ping",
        "giant",
        "interleaved",
    ],
)
def test_what_is_no_websocket_ends_the_connection(data: bytes) -> None:
    def handler(connection: ServerConnection) -> None:
        connection.raw(data)
        hang(connection)

    with WebSocketServer(handler) as server:
        web = connected(server.url)
        with pytest.raises(BadAnswer):
            web.receive(WAIT_S)
        with pytest.raises(Interrupted):
            web.receive(WAIT_S)


def test_fragments_may_not_add_up_beyond_the_limit() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.frame(BINARY, b"x" * 600, final=False)
        connection.frame(CONTINUATION, b"x" * 600)
        hang(connection)

    with WebSocketServer(handler) as server, pytest.raises(BadAnswer):
        connected(server.url, max_message_bytes=1000).receive(WAIT_S)


def test_many_small_fragments_are_put_together_in_time_that_grows_with_their_number() -> None:
    piece = b"0123456789" * 20

    def handler(connection: ServerConnection) -> None:
        connection.frame(TEXT, piece, final=False)
        for _ in range(20):
            connection.raw((b"\x00\x7e\x00\xc8" + piece) * 1000)
        connection.frame(CONTINUATION, b"!")
        hang(connection)

    with WebSocketServer(handler) as server:
        message = connected(server.url).receive(60.0)
        assert message == (piece * 20_001).decode() + "!"


def test_cookies_are_neither_believed_nor_sent_nor_fatal() -> None:
    seen: list[str] = []

    def handler(connection: ServerConnection) -> None:
        seen.append(connection.headers.get("cookie", ""))
        hang(connection)

    with WebSocketServer(handler) as server:
        for cookie in ("a=b; Domain=127.0.0.1", "a=b; Max,Age=1"):
            server.refuse_next(302, {"Set-Cookie": cookie})
            with pytest.raises(HandshakeRefused):
                connected(server.url)
        with contextlib.closing(connected(server.url)):
            wait_until(lambda: seen)
    assert seen == [""]


def test_closing_wakes_a_reader_and_later_calls_are_refused() -> None:
    with WebSocketServer(hang) as server:
        web = connected(server.url)
        caught: list[BaseException] = []

        def read() -> None:
            try:
                web.receive(WAIT_S)
            except Fault as fault:
                caught.append(fault)

        reader = threading.Thread(target=read)
        reader.start()
        web.close()
        reader.join(WAIT_S)
        assert isinstance(caught[0], Interrupted)
        with pytest.raises(Interrupted):
            web.send("late", deadline=Deadline(1))
        web.close()


def test_a_peer_that_does_not_read_stops_a_writer_at_its_deadline_while_another_reads() -> None:
    go = threading.Event()

    def handler(connection: ServerConnection) -> None:
        go.wait(WAIT_S)
        connection.send("still here")
        hang(connection)

    with WebSocketServer(handler) as server:
        web = connected(server.url)
        caught: list[BaseException] = []

        def write() -> None:
            try:
                web.send(b"x" * (64 << 20), deadline=Deadline(1.0))
            except Fault as fault:
                caught.append(fault)

        writer = threading.Thread(target=write)
        writer.start()
        go.set()
        assert web.receive(WAIT_S) == "still here"
        writer.join(WAIT_S)
        assert isinstance(caught[0], TimedOut)
        assert not caught[0].maybe_processed
        with pytest.raises(Interrupted):
            web.receive(WAIT_S)


def test_a_message_that_breaks_off_was_surely_not_taken() -> None:
    gone = threading.Event()

    def handler(connection: ServerConnection) -> None:
        connection.reset()
        gone.set()

    with WebSocketServer(handler) as server:
        web = connected(server.url)
        assert gone.wait(WAIT_S)
        with pytest.raises(Unreachable) as caught:
            for _ in range(1000):
                web.send(b"x" * (1 << 20), deadline=Deadline(WAIT_S))
        assert not caught.value.maybe_processed


def test_many_writers_never_mix_their_messages() -> None:
    received: list[str] = []
    complete = threading.Event()

    def handler(connection: ServerConnection) -> None:
        while len(received) < 8 * 50:
            received.append(str(connection.receive()))
            connection.send("noise" * 1000)
        complete.set()
        hang(connection)

    with WebSocketServer(handler) as server:
        web = connected(server.url)

        def write(letter: str) -> None:
            for _ in range(50):
                web.send(letter * 5000, deadline=Deadline(WAIT_S))

        writers = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
        for writer in writers:
            writer.start()
        while not complete.is_set():
            web.receive(0.1)
        for writer in writers:
            writer.join(WAIT_S)
    assert sorted(received) == sorted(letter * 5000 for letter in "abcdefgh" for _ in range(50))


def test_a_refused_handshake_tells_status_and_headers() -> None:
    with WebSocketServer(echo) as server:
        server.refuse_next(403, {"X-Reason": "quota"})
        server.refuse_next(302, {"Location": "http://127.0.0.1:1/"})
        with pytest.raises(HandshakeRefused, match="HTTP 403") as caught:
            connected(server.url)
        assert (caught.value.status, caught.value.headers["x-reason"]) == (403, "quota")
        with pytest.raises(HandshakeRefused, match="HTTP 302"):
            connected(server.url)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
        b"garbage\r\n\r\n",
        b"x" * 200_000,
    ],
    ids=["wrong key", "garbage", "endless head"],
)
def test_what_is_no_handshake_is_told(answer: bytes) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(answer)
        connection.wait_closed()

    with ScriptedPeer(script) as peer, pytest.raises((BadAnswer, Unreachable)):
        connected(f"ws://127.0.0.1:{peer.port}/")


def test_a_silent_handshake_ends_by_the_deadline_and_by_the_stop_token() -> None:
    with ScriptedPeer(Connection.wait_closed) as peer:
        url = f"ws://127.0.0.1:{peer.port}/"
        with pytest.raises(TimedOut):
            WebSocket.connect(DIRECT, url, deadline=Deadline(0.2))
        stop = StopToken()
        timer = threading.Timer(0.1, stop.set, args=("stopping",))
        timer.start()
        with pytest.raises(Interrupted):
            WebSocket.connect(DIRECT, url, deadline=Deadline(WAIT_S), stop=stop)
        timer.join()


@pytest.mark.parametrize("url", ["http://h/", "ws://", "ws://u:p@h/", "ws://h:x/", "ws://h/\u00e9"])
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        connected(url)


def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(Unreachable) as caught:
        connected("ws://127.0.0.1:1/")
    assert not caught.value.maybe_processed


def test_tls_is_verified_and_large_messages_cross_it_both_ways(certs: pathlib.Path) -> None:
    with WebSocketServer(echo, tls=server_context(certs)) as server:
        with pytest.raises(CertificateRefused):
            connected(server.url)
        web = connected(server.url, Egress(ca_bundle=str(certs / "ca.pem"), environ={}))
        message = b"0123456789abcdef" * 100_000
        sender = threading.Thread(target=web.send, args=(message,), kwargs={"deadline": Deadline(WAIT_S)})
        sender.start()
        assert web.receive(WAIT_S) == message
        sender.join(WAIT_S)


def test_who_leaves_says_goodbye_also_where_nobody_listens_any_more() -> None:
    left = threading.Event()
    seen = []

    def listen(connection: ServerConnection) -> None:
        seen.append((connection.receive(), connection.close_seen))
        left.set()

    with WebSocketServer(listen) as server:
        web = connected(server.url)
        web.leave(Deadline(WAIT_S))
        assert left.wait(WAIT_S)
        assert seen == [(None, (1000, ""))]
        web.leave(Deadline(WAIT_S))


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_proxy_is_asked_for_a_tunnel(certs: pathlib.Path, is_secure: bool) -> None:
    tls = server_context(certs) if is_secure else None
    with WebSocketServer(echo, tls=tls) as server, ScriptedPeer(tunnel_to(server.port)) as proxy:
        egress = Egress(
            proxy=f"http://user:pass@127.0.0.1:{proxy.port}",
            ca_bundle=str(certs / "ca.pem"),
            environ={},
        )
        url = f"{'wss' if is_secure else 'ws'}://peer.test:{server.port}/"
        web = connected(url, egress)
        web.send("through", deadline=Deadline(WAIT_S))
        assert web.receive(WAIT_S) == "through"
        web.close()
    head = proxy.requests[0][0]
    assert head.startswith(f"CONNECT peer.test:{server.port} HTTP/1.1")
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in head


def test_a_proxy_that_refuses_is_told() -> None:
    def refuse(connection: Connection) -> None:
        connection.read_request()
        connection.answer(407, b"no")

    with ScriptedPeer(refuse) as proxy:
        egress = Egress(proxy=f"http://127.0.0.1:{proxy.port}", environ={})
        with pytest.raises(Unreachable, match=r"proxy .* wants other credentials"):
            connected("ws://peer.test:80/", egress)
