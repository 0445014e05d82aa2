"""The port under slow, greedy and broken clients, short of threads and descriptors, and when it stops."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from typing import Callable

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.api.auth import Auth
from loong_gateway.api.peers import peer_of
from loong_gateway.api.router import Session, Takeover
from loong_gateway.api.wire import PeerGone
from loong_gateway.base.threads import ThreadRegistry
from tests.gateway.api.port_kit import CONTROL, PATIENCE_S, SECRET, Client, Port, request
from tests.gateway.api.smuggling import CORPUS, SMUGGLED
from tests.waiting import wait_until

TURN = {"session_id": "demo", "input": "hello"}


def test_no_ambiguous_request_is_served_and_nothing_behind_it_either() -> None:
    with Port() as port:
        for name, (raw, status) in CORPUS.items():
            with port.client() as client:
                client.send(raw + SMUGGLED % SECRET.encode())
                answer = client.answer()
                assert answer.status == status, name
                assert answer.headers["connection"] == "close", name
                assert client.rest() == b"", name
        assert port.control.stops == []
        assert port.control.sends == []
        assert port.control.runs.requests == []


@pytest.mark.parametrize(
    "raw",
    [
        request("POST", "/api/gateway/stop", document={"a": 1}),
        request("POST", "/nothing", document={"a": 1}),
        request("POST", "/healthz", document={"a": 1}),
        request("POST", "/v1/turn", token=SECRET, document={"a": 1}, Content_Type="text/plain"),
    ],
    ids=["no credential", "no such path", "no such method", "no JSON"],
)
def test_the_unread_body_of_a_refused_request_is_never_the_next_request(raw: bytes) -> None:
    head, _, body = raw.partition(b"\r\n\r\n")
    smuggled = SMUGGLED % SECRET.encode()
    head = head.replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % len(smuggled))
    with Port() as port:
        with port.client() as client:
            assert client.send(head + b"\r\n\r\n" + smuggled).answer().status >= 400
            assert client.rest() == b""
        assert port.control.stops == []


def test_requests_follow_each_other_on_one_connection() -> None:
    with Port() as port, port.client() as client:
        for _ in range(3):
            assert client.send(request("GET", "/healthz")).answer().headers["connection"] == "keep-alive"
        assert client.send(request("POST", "/v1/turn", token=SECRET, document=TURN)).answer().status == 200
        assert client.send(request("GET", "/healthz", Connection="close")).answer().status == 200
        assert client.ended()


def test_pipelined_requests_are_answered_in_order() -> None:
    with Port() as port, port.client() as client:
        turn = request("POST", "/v1/turn", token=SECRET, document=TURN)
        client.send(request("GET", "/healthz") + turn + request("GET", "/v1/status", token=SECRET))
        assert client.answer().json["status"] == "live"
        assert client.answer().json["output_text"] == "an answer"
        assert client.answer().json["phase"] == "running"


def test_chunked_bodies_are_understood() -> None:
    raw = request(
        "POST", "/v1/turn", token=SECRET, Content_Type="application/json", Transfer_Encoding="chunked"
    )
    with Port() as port, port.client() as client:
        pieces = [b'{"session_id', b'":"demo","input":"hello w"}', b""]
        for piece in pieces:
            client.send(raw + b"%x\r\n%s\r\n" % (len(piece), piece))
            raw = b""
        client.send(request("GET", "/healthz"))
        assert client.answer().status == 200
        assert client.answer().json["status"] == "live"
        assert port.control.runs.requests[0].text == "hello w"


def test_a_client_that_asks_first_is_told_to_continue() -> None:
    raw = request("POST", "/v1/turn", token=SECRET, document=TURN, Expect="100-continue")
    head, _, body = raw.partition(b"\r\n\r\n")
    with Port() as port, port.client() as client:
        client.send(head + b"\r\n\r\n")
        assert client.answer().status == 100
        assert client.send(body).answer().status == 200


def test_a_client_that_asks_first_is_refused_first() -> None:
    raw = request("POST", "/v1/turn", token="wrong!", document=TURN, Expect="100-continue")
    with Port() as port, port.client() as client:
        assert client.send(raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n").answer().status == 401


def test_an_http_1_0_client_gets_its_answer_and_the_end() -> None:
    with Port() as port, port.client() as client:
        assert client.send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").answer().status == 200
        assert client.ended()


def test_a_refusal_survives_a_client_that_is_still_sending() -> None:
    raw = request("POST", "/v1/turn", document=TURN, Content_Length="900000")
    with Port() as port, port.client() as client:
        client.send(raw)
        client.send(b"x" * 800_000)
        assert client.answer().status == 401
        assert client.rest() == b""


def drip(client: Client, data: bytes, stop: threading.Event) -> None:
    """Send one byte at a time, faster than any gap limit, until told to stop or cut off."""
    try:
        for index in range(len(data)):
            client.send(data[index : index + 1])
            if stop.wait(0.01):
                return
    except OSError:
        pass


@pytest.mark.parametrize(
    ("settings", "first", "dripped", "status"),
    [
        ({"header_timeout_s": 0.4}, b"", b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 5000, 408),
        (
            {"body_timeout_s": 0.4},
            request("POST", "/v1/turn", token=SECRET, Content_Type="application/json", Content_Length="5000"),
            b"x" * 5000,
            408,
        ),
        (
            {"body_timeout_s": 0.4},
            request(
                "POST", "/v1/turn", token=SECRET, Content_Type="application/json", Transfer_Encoding="chunked"
            ),
            b"1\r\nx\r\n" * 1000,
            408,
        ),
    ],
    ids=["head", "counted body", "chunked body"],
)
def test_dripping_bytes_does_not_stretch_a_deadline(
    settings: dict[str, float], first: bytes, dripped: bytes, status: int
) -> None:
    stop = threading.Event()
    with Port(**settings) as port, port.client() as client:
        client.send(first)
        dripper = threading.Thread(target=drip, args=(client, dripped, stop))
        dripper.start()
        try:
            assert client.answer().status == status
        finally:
            stop.set()
            dripper.join(PATIENCE_S)


def test_a_silent_connection_ends_without_a_word() -> None:
    with Port(header_timeout_s=0.2) as port, port.client() as client:
        assert client.ended()


def test_an_idle_connection_ends_without_a_word() -> None:
    with Port(keepalive_s=0.2) as port, port.client() as client:
        assert client.send(request("GET", "/healthz")).answer().status == 200
        assert client.ended()


def test_three_hundred_dripping_clients_keep_nobody_out() -> None:
    with Port() as port:
        clients = [port.client().send(b"GET /healthz HTTP/1.1\r\nX-Slow: ") for _ in range(300)]
        for _ in range(20):
            assert port.get("/healthz").status == 200
            assert port.get("/v1/status", token=SECRET).status == 200
        strangers, _ = port.listener.counts()
        assert strangers <= 64 + 40
        wait_until(lambda: sum(port.listener.counts()) <= 64)
        cut = [client for client in clients if _has_ended(client)]
        # Those that had waited longest had to go.
        assert clients[: len(cut)] == cut
        assert len(cut) >= 236
        for client in clients:
            client.close()


def _has_ended(client: Client) -> bool:
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_running_request_is_never_cut_for_a_newcomer() -> None:
    with Port(max_unauthenticated=4) as port:
        port.control.gate.clear()
        with port.client() as busy:
            busy.send(request("POST", "/v1/turn", token=SECRET, document=TURN))
            assert port.control.turn_began.wait(PATIENCE_S)
            idle = [port.client() for _ in range(30)]
            assert port.get("/healthz").status == 200
            port.control.gate.set()
            assert busy.answer().status == 200
            for client in idle:
                client.close()


def test_authenticated_clients_have_a_cap_of_their_own() -> None:
    with Port(max_clients=2) as port:
        port.control.gate.clear()
        turn = request("POST", "/v1/turn", token=SECRET, document=TURN)
        busy = [port.client().send(turn) for _ in range(2)]
        wait_until(lambda: len(port.control.runs.requests) == 2)
        refused = port.get("/v1/status", token=SECRET)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert port.get("/healthz").status == 200
        port.control.gate.set()
        for client in busy:
            assert client.answer().status == 200
        # Both merely wait now, so one of them gives way.
        assert port.get("/v1/status", token=SECRET).status == 200
        for client in busy:
            client.close()


def test_guessing_over_the_port_is_locked_out_and_the_operator_is_not() -> None:
    auth = Auth(secret=SECRET, control_token=CONTROL, exempt_loopback=False)
    with Port(auth=auth) as port:
        statuses = [port.get("/v1/status", token=f"guess-{n}").status for n in range(30)]
        assert statuses == [401] * 10 + [429] * 20
        locked = port.get("/v1/status", token=SECRET)
        assert locked.status == 429
        assert 290 <= int(locked.headers["retry-after"]) <= 300
        assert locked.json["error"]["type"] == "rate_limited"
        assert port.get("/v1/status", token=CONTROL).status == 200
        assert port.get("/healthz").status == 200


def test_a_claimed_address_is_not_the_peer() -> None:
    auth = Auth(secret=SECRET, control_token=CONTROL, exempt_loopback=False)
    with Port(auth=auth) as port:
        for number in range(12):
            raw = request("GET", "/v1/status", token="wrong!", X_Forwarded_For=f"192.0.2.{number}")
            assert port.ask(raw).status == 403
        assert auth.failures == 0


def test_delayed_guesses_keep_nobody_waiting() -> None:
    stopped = StopToken()
    stopped.set()
    with Port() as port:
        for _ in range(14):
            port.auth.judge(b"wrong!", peer_of("127.0.0.1"), stop=stopped)
        guessing = [port.client().send(request("GET", "/v1/status", token="wrong!")) for _ in range(8)]
        wait_until(lambda: port.auth._delayed == 8)
        assert port.get("/v1/status", token="wrong!").status == 429
        assert port.get("/v1/status", token=CONTROL).status == 200
        assert port.get("/healthz").status == 200
        for client in guessing:
            client.close()


def test_stop_ends_idle_dripping_and_delayed_connections_at_once() -> None:
    port = Port()
    port.listener.start()
    clients = [port.client() for _ in range(20)]
    for client in clients[:10]:
        client.send(b"GET /healthz HTT")
    for client in clients[15:]:
        client.send(request("GET", "/healthz")).answer()
    wait_until(lambda: sum(port.listener.counts()) == 20)
    assert port.listener.stop(Deadline(1.0)) == []
    assert port.threads.alive() == []
    for client in clients:
        assert client.ended()
        client.close()
    with pytest.raises(ConnectionRefusedError):
        Client(port.address)
    assert port.listener.stop(Deadline(1)) == []


@contextlib.contextmanager
def running_turn() -> Iterator[tuple[Port, Client]]:
    """A port whose listener the test must stop, and the client of a turn that runs until the gate opens."""
    port = Port()
    port.listener.start()
    port.control.gate.clear()
    with port.client() as client:
        client.send(request("POST", "/v1/turn", token=SECRET, document=TURN))
        assert port.control.turn_began.wait(PATIENCE_S)
        yield port, client


def test_stop_lets_a_running_request_finish() -> None:
    with running_turn() as (port, client):
        stopping = threading.Thread(target=port.listener.stop, args=(Deadline(PATIENCE_S),))
        stopping.start()
        wait_until(lambda: port.listener._table.closed)
        port.control.gate.set()
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        stopping.join(PATIENCE_S)
    assert port.threads.alive() == []


def test_stop_names_the_threads_it_could_not_end() -> None:
    with running_turn() as (port, _):
        assert port.listener.stop(Deadline(0.2)) == ["http:1"]
        port.control.gate.set()
        assert port.threads.join_all(Deadline(PATIENCE_S)) == []


def test_a_listener_that_never_started_can_be_stopped() -> None:
    port = Port()
    assert port.listener.stop(Deadline(1)) == []


class StingyThreads(ThreadRegistry):
    """Gives no thread for a connection while `refuse` is set, as a system at its limit does."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse = False

    def spawn(self, name: str, body: Callable[[], None], **options: object) -> threading.Thread:
        if self.refuse and name.startswith("http:"):
            raise RuntimeError("can't start new thread")
        return super().spawn(name, body, **options)


def test_without_threads_clients_are_turned_away_politely_and_the_port_lives_on() -> None:
    threads = StingyThreads()
    with Port(threads=threads) as port:
        threads.refuse = True
        for _ in range(5):
            with port.client() as client:
                answer = client.answer()
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        threads.refuse = False
        assert port.get("/healthz").status == 200
        wait_until(lambda: sum(port.listener.counts()) == 0)


def test_without_descriptors_the_port_waits_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Port() as port:
        assert port.get("/healthz").status == 200
        wait_until(lambda: port.listener.counts() == (0, 0))
        # The client's end exists already; the server's end is one descriptor too many.
        client = socket.socket()
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
        try:
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                pass
            client.settimeout(PATIENCE_S)
            client.connect(port.address)
            client.sendall(request("GET", "/healthz", Connection="close"))
            wait_until(lambda: "no connection can be accepted" in caplog.text)
            for descriptor in held:
                os.close(descriptor)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.close()


def test_a_protocol_can_take_a_connection_over() -> None:
    ended = threading.Event()

    def shout(session: Session) -> None:
        session.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: shout\r\n\r\n", Deadline(PATIENCE_S))
        assert session.authenticated()
        try:
            while True:
                session.wire.send(session.wire.receive(Deadline(PATIENCE_S)).upper(), Deadline(PATIENCE_S))
        except PeerGone:
            ended.set()

    upgrade = request("GET", "/any/path", Connection="keep-alive, Upgrade", Upgrade="shout")
    port = Port(listener_options={"takeovers": [Takeover("shout", shout)]})
    with port, port.client() as client:
        # What follows the head in the same packet belongs to the new protocol.
        client.send(upgrade + b"hello")
        assert client.answer().status == 101
        assert client.take(5) == b"HELLO"
        assert port.listener.counts() == (0, 1)
        assert port.get("/healthz").status == 200
        refused = port.ask(
            upgrade.replace(b"Upgrade: shout", b"Upgrade: shout\r\nOrigin: http://evil.example")
        )
        assert refused.status == 403
        assert port.ask(upgrade.replace(b"Host: 127.0.0.1", b"Host: evil.example")).status == 421
        assert port.get("/any/path", Upgrade="shout").status == 404
    assert ended.is_set()


def test_an_upgrade_nobody_knows_is_an_ordinary_request() -> None:
    with Port() as port:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert port.get("/healthz", **upgrade).status == 200
        assert port.get("/", **upgrade).status == 404
