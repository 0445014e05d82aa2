"""Server-sent events: what was, then what happens, without gaps and without anybody waiting for a slow client."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from loong_gateway.api.events_stream import MOST_FOLLOWERS, events_routes
from loong_gateway.api.http_request import HeadReader, Limits
from loong_gateway.api.peers import peer_of
from loong_gateway.api.router import Request
from loong_gateway.base.bus import KEPT, Event
from tests.gateway.api.port_kit import SECRET, Client, Port, request
from tests.gateway.api.whole_port import WholeGateway
from tests.waiting import wait_until

EVENTS = "/v1/events"


class Followed:
    """A port with the events, and clients that follow them."""

    def __init__(self, *, keepalive_s: float = 10.0) -> None:
        self.control = WholeGateway()
        self.bus = self.control.bus
        self.port = Port(
            control=self.control, routes=events_routes(self.control, keepalive_s=keepalive_s), max_clients=64
        )
        self.clients: list[Client] = []

    def __enter__(self) -> Followed:
        self.port.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.port.__exit__()
        for client in self.clients:
            client.close()

    def publish(self, count: int, name: str = "tick", **options: object) -> None:
        for number in range(count):
            self.bus.publish(Event(name, {"n": number}, **options))

    def follow(self, query: str = "", **fields: str) -> Follower:
        self.clients.append(self.port.client())
        return Follower(self.clients[-1], request("GET", EVENTS + query, token=SECRET, **fields))


class Follower:
    """Reads a chunked body piece by piece and takes events out of it."""

    def __init__(self, client: Client, raw: bytes) -> None:
        self.client = client
        self.head = client.send(raw).answer(head_only=True)
        self._text = ""

    def events(self, count: int) -> list[dict]:
        found: list[dict] = []
        while len(found) < count:
            while "\n\n" not in self._text:
                self._text += self.chunk()
            block, _, self._text = self._text.partition("\n\n")
            if not block.startswith(":"):
                fields = dict(line.split(": ", 1) for line in block.split("\n"))
                found.append({**json.loads(fields["data"]), "id": fields["id"], "name": fields["event"]})
        return found

    def chunk(self) -> str:
        size = b""
        while not size.endswith(b"\r\n"):
            size += self.client.take(1)
        return self.client.take(int(size, 16) + 2)[:-2].decode()

    def seqs(self, count: int) -> list[int]:
        return [event["seq"] for event in self.events(count)]


@pytest.fixture(name="followed")
def _followed() -> Iterator[Followed]:
    with Followed() as followed:
        yield followed


def test_the_last_events_and_then_what_happens(followed: Followed) -> None:
    followed.publish(60)
    follower = followed.follow()
    assert follower.head.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert follower.head.headers["cache-control"] == "no-store"
    assert follower.seqs(50) == list(range(11, 61))
    followed.publish(1, "health")
    (event,) = follower.events(1)
    assert (event["seq"], event["id"], event["name"], event["event"]) == (61, "61", "health", "health")
    assert event["payload"] == {"n": 0}
    follower.client.close()
    wait_until(lambda: followed.publish(1) or followed.port.listener.counts() == (0, 0))


def test_a_cursor_leaves_nothing_out(followed: Followed) -> None:
    followed.publish(KEPT)
    assert followed.follow("?after_seq=0&limit=1").seqs(KEPT) == list(range(1, KEPT + 1))
    assert followed.follow("?after_seq=250").seqs(6) == list(range(251, 257))
    assert followed.follow("?limit=256").seqs(1) == [1]
    assert followed.follow("?limit=1").seqs(1) == [KEPT]


def test_a_client_that_comes_back_goes_on_where_it_was(followed: Followed) -> None:
    followed.publish(9)
    follower = followed.follow("?after_seq=0", Last_Event_ID="7")
    assert follower.seqs(2) == [8, 9]
    followed.publish(1)
    assert follower.seqs(1) == [10]


def test_a_cursor_that_is_gone_is_told(followed: Followed) -> None:
    followed.publish(KEPT + 2)
    for query in ("?after_seq=1", "?after_seq=0", f"?after_seq={KEPT + 3}"):
        answer = followed.port.get(EVENTS + query, token=SECRET)
        assert answer.status == 409
        assert answer.json["error"]["code"] == "stale_cursor"
        assert answer.json["error"]["last_seq"] == KEPT + 2
    assert followed.follow("?after_seq=2").seqs(1) == [3]


@pytest.mark.parametrize(
    "query",
    [
        "after_seq=-1",
        "after_seq=x",
        "after_seq=",
        "after_seq=1" + "0" * 30,
        "limit=0",
        "limit=257",
        "limit=%ff",
        "since=1",
        "after_seq=1&after_seq=1",
        f"access_token={SECRET}",
        "Token=1",
        "api-key=1",
    ],
)
def test_queries_that_make_no_sense_are_refused(followed: Followed, query: str) -> None:
    answer = followed.port.get(f"{EVENTS}?{query}", token=SECRET)
    assert answer.status == 400
    assert SECRET.encode() not in answer.body


def test_what_is_not_kept_has_no_number_and_is_not_told_here(followed: Followed) -> None:
    follower = followed.follow("?after_seq=0")
    followed.publish(1, "delta", is_kept=False)
    followed.publish(1, "final")
    assert [event["name"] for event in follower.events(1)] == ["final"]


def test_a_client_that_hears_nothing_is_kept_alive() -> None:
    with Followed(keepalive_s=0.02) as followed:
        follower = followed.follow()
        assert follower.chunk() == ": events\n\n"
        assert [follower.chunk() for _ in range(3)] == [":\n\n"] * 3


def test_who_has_left_is_forgotten_without_an_event() -> None:
    with Followed(keepalive_s=0.02) as followed:
        followed.follow().client.close()
        wait_until(lambda: followed.port.listener.counts() == (0, 0))
        assert not followed.bus.has_listeners


def test_a_client_that_does_not_read_is_cut_and_holds_nobody_up(followed: Followed) -> None:
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(followed.port.address)
    slow.sendall(request("GET", EVENTS, token=SECRET))
    wait_until(lambda: followed.bus.has_listeners)
    good = followed.follow("?limit=1")
    large = "x" * 20_000
    for number in range(1, 3 * KEPT + 1):
        followed.bus.publish(Event("big", {"text": large}))
        assert good.seqs(1) == [number]
    slow.settimeout(10)
    got = 0
    try:
        while piece := slow.recv(1 << 20):
            got += len(piece)
    except ConnectionResetError:
        pass
    # It was sent a part and then its end, never everything.
    assert got < 3 * KEPT * len(large)
    slow.close()


def test_the_end_of_the_port_ends_the_stream() -> None:
    with Followed() as followed:
        follower = followed.follow()
        assert follower.chunk() == ": events\n\n"
        followed.port.__exit__()
        # A whole body: the client knows that nothing of it is missing.
        assert follower.client.rest().endswith(b"0\r\n\r\n")


def test_only_so_many_may_follow(followed: Followed) -> None:
    followers = [followed.follow() for _ in range(MOST_FOLLOWERS)]
    assert {follower.head.status for follower in followers} == {200}
    wait_until(lambda: followed.port.get(EVENTS, token=SECRET).status == 503)
    assert followed.port.ask(request("HEAD", EVENTS, token=SECRET)).status == 200


def test_only_so_many_may_follow_however_fast_they_come() -> None:
    control = WholeGateway()
    (route,) = events_routes(control)
    head = HeadReader(Limits()).feed(request("GET", EVENTS, token=SECRET))
    asked = Request(head, peer_of("127.0.0.1"), b"", authenticated=True)
    # None of them has begun to write.
    answers = [route.handler(asked) for _ in range(MOST_FOLLOWERS + 1)]
    assert [answer.status for answer in answers] == [200] * MOST_FOLLOWERS + [503]
    answers[0].over()
    assert route.handler(asked).status == 200
