"""The HTTP client against a peer that does what no server should."""

from __future__ import annotations

import gzip
import socket
import sys
import threading
import traceback
from typing import Callable

import pytest

from loong_channels import net_sockets, net_transport
from loong_channels.faults import BadAnswer, Interrupted, Refused, TimedOut, Unreachable
from loong_channels.net import Call, Egress, HttpClient
from loong_channels.waiting import Deadline, StopToken
from tests.blocked_call import raised_when_woken
from tests.fakes.scripted_peer import Connection, ScriptedPeer, answering, unanswered

TOKEN = "123456:AAE-secret-token"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.fixture
def client(opened: Callable[..., HttpClient]) -> HttpClient:
    return opened(Egress(environ={}), user_agent="loong-test")


def get(
    client: HttpClient,
    peer: ScriptedPeer,
    seconds: float = 5.0,
    max_bytes: int = 16 << 20,
    **options: object,
) -> object:
    call = Call("GET", f"{peer.url}/bot{TOKEN}/x", Deadline(seconds), **options)
    return client.request(call, max_bytes=max_bytes)


def ok(connection: Connection) -> None:
    connection.answer_json(200, {"ok": True})


def test_an_answer_comes_with_status_headers_and_body(client: HttpClient) -> None:
    with ScriptedPeer(answering(lambda c: c.answer(418, b"tea", extra="X-Kind: Pot\r\n"))) as peer:
        answer = client.request(
            Call(
                "POST",
                f"{peer.url}/a b?q=1",
                json={"text": "a\ud800b"},
                headers={"X-Key": "k"},
                deadline=Deadline(5),
            )
        )
    head, body = peer.requests[0]
    assert (answer.status, answer.headers["x-kind"], answer.body) == (418, "Pot", b"tea")
    assert head.startswith("POST /a%20b?q=1 HTTP/1.1\r\n")
    assert (
        "X-Key: k" in head and "User-Agent: loong-test" in head and "Content-Type: application/json" in head
    )
    assert body == b'{"text":"a?b"}'


def test_a_call_shows_nothing_of_its_address_or_headers() -> None:
    call = Call("GET", f"https://peer.test/{TOKEN}", Deadline(5), headers={"X": "hush"}, body=b"hush")
    assert TOKEN not in repr(call)
    assert "hush" not in f"{call}"


def test_redirects_are_answers_and_cookies_are_not_kept(client: HttpClient) -> None:
    moved = "Location: http://127.0.0.1:1/\r\nSet-Cookie: a=b; Path=/\r\n"
    with ScriptedPeer(answering(lambda c: c.answer(302, b"", extra=moved))) as peer:
        assert [get(client, peer).status for _ in range(2)] == [302, 302]
    assert "Cookie" not in peer.requests[1][0]


def test_netrc_and_proxy_variables_of_the_process_do_not_touch_a_request(
    client: HttpClient, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with ScriptedPeer(answering(ok)) as peer:
        client.request(Call("GET", peer.url, headers={"Authorization": "Bearer k"}, deadline=Deadline(5)))
    assert "Authorization: Bearer k" in peer.requests[0][0] and "Basic" not in peer.requests[0][0]


def drip(connection: Connection, data: bytes) -> None:
    for byte in data * 1000:
        connection.send(bytes([byte]))
        if connection.peer.released.wait(0.02):
            return


@pytest.mark.parametrize(
    "script",
    [
        lambda c: (c.read_request(), drip(c, b"HTTP/1.1 200 OK\r\nX-A: b\r\n")),
        lambda c: (c.read_request(), c.send(HEAD + b"Content-Length: 90000\r\n\r\n"), drip(c, b"x")),
        lambda c: (
            c.read_request(),
            c.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
            drip(c, b"1\r\nx\r\n"),
        ),
        lambda c: (c.read_request(), c.send(HEAD + b"\r\n"), drip(c, b"x")),
    ],
    ids=["head", "body", "chunks", "until close"],
)
def test_a_peer_that_drips_is_cut_off_by_the_deadline(client: HttpClient, script: object) -> None:
    with ScriptedPeer(script) as peer, pytest.raises(TimedOut) as caught:
        get(client, peer, 0.3)
    assert caught.value.maybe_processed


@pytest.mark.parametrize(
    ("options", "words"),
    [({"first_byte_s": 0.1}, "no answer from 127.0.0.1"), ({"gap_s": 0.1, "first_byte_s": 5.0}, "stalled")],
)
def test_a_silent_peer_is_given_up_by_the_limit_that_applies(
    client: HttpClient, options: dict[str, float], words: str
) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        if "gap_s" in options:
            connection.send(HEAD + b"Content-Length: 5\r\n\r\nab")
        connection.wait_closed()

    with ScriptedPeer(script) as peer, pytest.raises(TimedOut, match=words) as caught:
        get(client, peer, 30.0, **options)
    assert caught.value.maybe_processed


def test_a_wait_goes_on_beyond_one_slice_of_it(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net_sockets, "WAIT_SLICE_S", 0.01)
    body = b"x" * (8 << 20)

    def script(connection: Connection) -> None:
        connection.peer.released.wait(0.1)
        connection.read_request()
        connection.peer.released.wait(0.1)
        connection.send(HEAD + b"Content-Length: 2\r\n\r\no")
        connection.peer.released.wait(0.1)
        connection.send(b"k")

    with ScriptedPeer(script) as peer:
        answer = client.request(Call("POST", peer.url, body=body, deadline=Deadline(30)))
    assert answer.body == b"ok"
    assert peer.requests[0][1] == body


def test_a_small_request_leaves_in_one_piece(client: HttpClient) -> None:
    pieces = []

    def script(connection: Connection) -> None:
        pieces.append(connection.sock.recv(65536))
        connection.answer_json(200, {})

    with ScriptedPeer(script) as peer:
        client.request(Call("POST", peer.url, json={"text": "hello"}, deadline=Deadline(5)))
    assert pieces[0].endswith(b'\r\n\r\n{"text":"hello"}')


def test_a_peer_that_stops_reading_is_given_up(client: HttpClient) -> None:
    with ScriptedPeer(lambda c: c.peer.released.wait(10)) as peer, pytest.raises(TimedOut):
        client.request(Call("POST", peer.url, body=b"x" * (64 << 20), deadline=Deadline(0.3)))


def blocked_in_body(connection: Connection) -> None:
    connection.read_request()
    connection.send(HEAD + b"Connection: close\r\nContent-Length: 5\r\n\r\nab")
    connection.wait_closed()


@pytest.mark.parametrize("script", [unanswered, blocked_in_body])
@pytest.mark.parametrize("way", ["stop token", "interrupt"])
def test_a_blocked_call_wakes_when_it_must_end(client: HttpClient, script: object, way: str) -> None:
    stop = StopToken()
    with ScriptedPeer(script) as peer:
        raised = raised_when_woken(
            lambda: get(client, peer, 60.0, stop=stop),
            blocked=lambda: peer.requests,
            wake=stop.set if way == "stop token" else client.interrupt,
        )
    assert type(raised) is Interrupted


def test_an_interrupted_client_refuses_every_later_call(client: HttpClient) -> None:
    client.interrupt()
    with ScriptedPeer(answering(ok)) as peer, pytest.raises(Interrupted):
        get(client, peer)
    assert peer.requests == []


def test_a_token_that_is_set_already_sends_nothing(client: HttpClient) -> None:
    stop = StopToken()
    stop.set()
    with ScriptedPeer(answering(ok)) as peer, pytest.raises(Interrupted):
        get(client, peer, stop=stop)
    assert peer.requests == []


def test_a_deadline_in_the_past_sends_nothing(client: HttpClient) -> None:
    with ScriptedPeer(answering(ok)) as peer, pytest.raises(TimedOut) as caught:
        get(client, peer, 0.0)
    assert not caught.value.maybe_processed and peer.requests == []


BREAKS = {
    "reset in the body": lambda c: (c.send(HEAD + b"Content-Length: 50\r\n\r\nab"), c.reset()),
    "short body": lambda c: (c.send(HEAD + b"Content-Length: 50\r\n\r\nab"), c.sock.close()),
    "short chunks": lambda c: (c.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"), c.sock.close()),
    "missing last chunk": lambda c: (
        c.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
        c.sock.close(),
    ),
    "closed without a byte": lambda c: c.sock.close(),
    "reset without a byte": lambda c: c.reset(),
    "half a head": lambda c: (c.send(b"HTTP/1.1 200 OK\r\nX-A"), c.reset()),
}
NONSENSE = {
    "not HTTP": lambda c: (c.send(b"SSH-2.0-OpenSSH_9.9\r\n"), c.sock.close()),
    "endless headers": lambda c: (
        c.send(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"\r\n"),
        c.sock.close(),
    ),
    "huge header": lambda c: (
        c.send(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"),
        c.sock.close(),
    ),
    "bad chunk length": lambda c: (
        c.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"),
        c.sock.close(),
    ),
    "huge body": lambda c: c.answer(200, b"x" * 5000),
    "bad gzip": lambda c: c.answer(200, b"nonsense", extra="Content-Encoding: gzip\r\n"),
}


def spoken(fault: BaseException) -> str:
    return "".join(traceback.format_exception(type(fault), fault, fault.__traceback__)) + repr(fault)


@pytest.mark.parametrize("name", BREAKS)
def test_an_answer_that_breaks_off_is_unreachable_and_may_have_been_processed(
    client: HttpClient, name: str
) -> None:
    with (
        ScriptedPeer(lambda c: (c.read_request(), BREAKS[name](c))) as peer,
        pytest.raises(Unreachable) as caught,
    ):
        get(client, peer)
    assert caught.value.maybe_processed
    assert "127.0.0.1" in str(caught.value)
    assert TOKEN not in spoken(caught.value)


@pytest.mark.parametrize("name", NONSENSE)
def test_an_answer_outside_the_protocol_is_a_bad_answer(client: HttpClient, name: str) -> None:
    with (
        ScriptedPeer(lambda c: (c.read_request(), NONSENSE[name](c))) as peer,
        pytest.raises((BadAnswer, Unreachable)) as caught,
    ):
        get(client, peer, max_bytes=1000)
    if name != "bad chunk length":
        assert isinstance(caught.value, BadAnswer)
    assert TOKEN not in spoken(caught.value)


def test_a_refused_connection_was_surely_not_processed(client: HttpClient) -> None:
    with ScriptedPeer(answering(ok)) as peer:
        pass
    with pytest.raises(Unreachable, match=r"cannot connect to 127\.0\.0\.1:.*refused") as caught:
        get(client, peer)
    assert not caught.value.maybe_processed
    assert TOKEN not in spoken(caught.value)


def test_a_name_that_does_not_exist_was_surely_not_processed(client: HttpClient) -> None:
    with pytest.raises(Unreachable) as caught:
        client.request(Call("GET", f"http://{'a' * 70}.invalid/{TOKEN}", deadline=Deadline(5)))
    assert not caught.value.maybe_processed
    assert TOKEN not in spoken(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "http://",
        "h:80/x",
        "http://u:p@h/",
        "http://h:99999/",
        f"http://[::1/{TOKEN}",
        "http://h:x/",
        "http://h h/",
        "https://h h/",
        "https://h\0h/",
    ],
)
def test_an_unusable_address_is_refused_without_repeating_it(client: HttpClient, url: str) -> None:
    with pytest.raises(Refused) as caught:
        client.request(Call("GET", url, deadline=Deadline(5)))
    assert url not in str(caught.value)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "\u00fc\u4e2d"])
def test_a_header_that_cannot_be_sent_is_refused_by_name(client: HttpClient, value: str) -> None:
    with ScriptedPeer(answering(ok)) as peer, pytest.raises(Refused, match="Authorization") as caught:
        get(client, peer, headers={"Authorization": f"Bearer {TOKEN}{value}"})
    assert TOKEN not in str(caught.value) and peer.requests == []


def test_connections_are_kept_and_used_again(client: HttpClient) -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    with ScriptedPeer(answering(ok, lambda c: c.send(chunked), lambda c: c.send(empty), ok)) as peer:
        assert [get(client, peer).status for _ in range(4)] == [200, 200, 204, 200]
    assert peer.connections == 1


def test_a_connection_that_the_peer_closed_while_idle_is_replaced_silently(client: HttpClient) -> None:
    closed = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        ok(connection)
        connection.reset()
        closed.set()

    with ScriptedPeer(script) as peer:
        for _ in range(5):
            closed.clear()
            assert get(client, peer).status == 200
            assert closed.wait(5)
    assert peer.connections == 5


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(opened: Callable[..., HttpClient]) -> None:
    client = opened(Egress(environ={}), idle_limit_s=0.0)
    with ScriptedPeer(answering(ok)) as peer:
        assert [get(client, peer).status for _ in range(3)] == [200, 200, 200]
    assert peer.connections == 3


def test_many_threads_share_one_client(client: HttpClient) -> None:
    statuses: list[int] = []

    def body() -> None:
        for _ in range(3):
            statuses.append(get(client, peer).status)

    with ScriptedPeer(answering(ok)) as peer:
        threads = [threading.Thread(target=body) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert statuses == [200] * 60
    assert peer.connections <= 20


@pytest.mark.parametrize("way", ["close", "other origins"])
def test_kept_connections_are_closed_when_they_are_let_go(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    gone = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        ok(connection)
        connection.wait_closed()
        gone.set()

    monkeypatch.setattr(net_transport, "MAX_ORIGINS", 1)
    with ScriptedPeer(script) as peer, ScriptedPeer(answering(ok)) as other:
        get(client, peer)
        assert not gone.is_set()
        client.close() if way == "close" else get(client, other)
        assert gone.wait(5)
        assert get(client, peer).status == 200


def test_an_international_host_name_is_sent_as_every_resolver_knows_it(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By IDNA 2008; by the rules of 2003 the second one would be strasse.test.
    names = {"M\u00dcnchen.test": "xn--mnchen-3ya.test", "stra\u00dfe.test": "xn--strae-oqa.test"}
    asked = []

    def resolve(host: str, port: int, *_: object) -> object:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setitem(sys.modules, "idna", None)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with ScriptedPeer(answering(ok)) as peer:
        for name in names:
            client.request(Call("GET", f"http://{name}:{peer.port}/", deadline=Deadline(5)))
    assert asked == list(names.values())
    assert [f"Host: {name}:{peer.port}" in head for name, (head, _) in zip(asked, peer.requests)] == [
        True
    ] * 2


def test_a_stream_hands_out_what_has_arrived_before_the_rest_comes(client: HttpClient) -> None:
    seen = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.chunk(b"first")
        seen.wait(5)
        connection.send(b"6\r\nsecond\r\n0\r\n\r\n")
        connection.wait_closed()

    with ScriptedPeer(script) as peer, client.stream(Call("GET", peer.url, deadline=Deadline(5))) as answer:
        pieces = []
        for piece in answer.chunks():
            pieces.append(piece)
            seen.set()
    assert b"".join(pieces) == b"firstsecond" and pieces[0] == b"first"


def test_a_stream_that_is_left_early_closes_its_connection(client: HttpClient) -> None:
    gone = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(HEAD + b"Content-Length: 500\r\n\r\nab")
        connection.wait_closed()
        gone.set()

    with ScriptedPeer(script) as peer:
        with client.stream(Call("GET", peer.url, deadline=Deadline(5))) as answer:
            next(answer.chunks())
        assert gone.wait(5)


def test_a_stream_that_settles_keeps_its_connection_only_if_the_end_comes(client: HttpClient) -> None:
    def script(connection: Connection) -> None:
        while connection.read_request() is not None:
            connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            connection.send(b"2\r\nab\r\n0\r\n\r\n" if len(peer.requests) < 3 else b"2\r\nab\r\n")

    with ScriptedPeer(script) as peer:
        for _ in range(4):
            with client.stream(Call("GET", peer.url, deadline=Deadline(5))) as answer:
                assert next(answer.chunks()) == b"ab"
                answer.settle(0.2)
    assert peer.connections == 2


def test_a_request_inside_a_stream_is_independent_of_it(client: HttpClient) -> None:
    def script(connection: Connection) -> None:
        head, _ = connection.read_request() or ("", b"")
        if "/inner" in head:
            connection.wait_closed()
            return
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        seen.wait(5)
        connection.send(b"2\r\ncd\r\n0\r\n\r\n")

    seen = threading.Event()
    with (
        ScriptedPeer(script) as peer,
        client.stream(Call("GET", f"{peer.url}/outer", deadline=Deadline(5))) as answer,
    ):
        chunks = answer.chunks()
        assert next(chunks) == b"ab"
        with pytest.raises(TimedOut):
            client.request(Call("GET", f"{peer.url}/inner", deadline=Deadline(0.1)))
        seen.set()
        assert b"".join(chunks) == b"cd"


def test_compressed_answers_are_unpacked(client: HttpClient) -> None:
    body = gzip.compress(b"hello" * 1000)
    with ScriptedPeer(answering(lambda c: c.answer(200, body, extra="Content-Encoding: gzip\r\n"))) as peer:
        assert get(client, peer).body == b"hello" * 1000


def test_a_compressed_bomb_is_stopped_by_the_limit(client: HttpClient) -> None:
    body = gzip.compress(b"\0" * (4 << 20))
    with (
        ScriptedPeer(answering(lambda c: c.answer(200, body, extra="Content-Encoding: gzip\r\n"))) as peer,
        pytest.raises(BadAnswer),
    ):
        get(client, peer, max_bytes=1 << 20)


def test_ipv6_loopback_works(client: HttpClient) -> None:
    try:
        peer = ScriptedPeer(answering(ok), host="::1")
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    with peer:
        assert get(client, peer).status == 200
    assert f"Host: [::1]:{peer.port}" in peer.requests[0][0]


def test_json_of_an_answer_is_decoded_or_a_bad_answer(client: HttpClient) -> None:
    with ScriptedPeer(answering(ok, lambda c: c.answer(200, b"{oops"))) as peer:
        assert get(client, peer).json() == {"ok": True}
        with pytest.raises(BadAnswer):
            get(client, peer).json()
