"""The server's end of a WebSocket connection, over real sockets: order, slow clients, closes, stops."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.api.router import Session, Takeover
from loong_gateway.api.wire import TooSlow, Wire
from loong_gateway.api.ws.flusher import Flusher
from loong_gateway.api.ws.send_queue import SendQueue
from loong_gateway.api.ws.web_socket import Closed, ServerWebSocket, SocketLimits, accept
from loong_gateway.base.threads import ThreadRegistry
from tests.gateway.api.port_kit import Port
from tests.gateway.api.ws_kit import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PATIENCE_S,
    PING,
    PONG,
    TEXT,
    WsClient,
    client_frame,
    close_payload,
    upgrade,
)
from tests.waiting import wait_until

# More than the sockets of a connection take by themselves.
MUCH = 12 << 20
SMALL = 65_536


class Served:
    """A port whose WebSocket side keeps what it reads. `idle_s` is the flusher's."""

    def __init__(self, limits: SocketLimits, idle_s: float = 10.0) -> None:
        self.limits = limits
        self.sockets: queue.Queue[ServerWebSocket] = queue.Queue()
        self.messages: queue.Queue[str | bytes] = queue.Queue()
        self.ends: queue.Queue[Closed] = queue.Queue()
        self.allowed: int | None = None
        self.poison: str | None = None
        self.patience_s = 60.0
        self.late = threading.Event()
        self.threads = ThreadRegistry()
        self.flusher = Flusher(self.threads, idle_s=idle_s)
        self.port = Port(
            threads=self.threads, listener_options={"takeovers": [Takeover("websocket", self._serve)]}
        )

    def client(self, **options: object) -> tuple[WsClient, ServerWebSocket]:
        client = WsClient(self.port.address, **options)
        return client, self.sockets.get(timeout=PATIENCE_S)

    def message(self) -> str | bytes:
        return self.messages.get(timeout=PATIENCE_S)

    def end(self) -> tuple[int, str]:
        closed = self.ends.get(timeout=PATIENCE_S)
        return closed.code, closed.reason

    def flushing(self) -> bool:
        return "ws-flusher" in self.threads.alive()

    def _serve(self, session: Session) -> None:
        with contextlib.suppress(Closed, RuntimeError), accept(session, self.flusher, self.limits) as ws:
            session.authenticated()
            self.sockets.put(ws)
            while True:
                try:
                    message = ws.receive(Deadline(self.patience_s))
                except TooSlow:
                    self.late.set()
                    continue
                except Closed as closed:
                    self.ends.put(closed)
                    raise
                if message == self.poison:
                    raise RuntimeError
                if message == "leave":
                    return
                self.messages.put(message)
                if self.allowed is not None:
                    ws.allow(self.allowed)


@contextlib.contextmanager
def served(idle_s: float = 10.0, **limits: object) -> Iterator[Served]:
    server = Served(SocketLimits(**limits), idle_s)
    with server.port:
        yield server
    server.flusher.stop(Deadline(PATIENCE_S))
    assert server.threads.join_all(Deadline(PATIENCE_S)) == []


def stuffed(server: Served) -> tuple[WsClient, ServerWebSocket]:
    """A client that reads nothing, and a megabyte or more that waits for it."""
    client, ws = server.client(receive_bytes=4096)
    ws.send(b"x" * MUCH)
    assert ws.buffered_bytes > SMALL
    return client, ws


def test_messages_go_both_ways_whole_and_of_both_kinds() -> None:
    with served() as server, server.client()[0] as client:
        client.frame(TEXT, b"hel", final=False).frame(CONTINUATION, b"lo")
        client.frame(BINARY, b"\xff\x00")
        assert (server.message(), server.message()) == ("hello", b"\xff\x00")
        _, ws = other = server.client()
        with other[0]:
            ws.send("grüße".encode())
            ws.send(b"\xff" * 70_000, binary=True)
            assert other[0].next() == (TEXT, "grüße".encode())
            assert other[0].next() == (BINARY, b"\xff" * 70_000)


def test_the_first_message_may_come_together_with_the_upgrade() -> None:
    with served() as server, socket.create_connection(server.port.address) as raw:
        raw.sendall(upgrade() + client_frame(TEXT, b"early"))
        assert server.message() == "early"


def test_another_version_is_answered_over_http() -> None:
    with served() as server:
        answer = server.port.ask(upgrade(Sec_WebSocket_Version="8"))
        assert answer.status == 426
        assert answer.headers["sec-websocket-version"] == "13"
        assert answer.headers["upgrade"] == "websocket"
        assert server.port.ask(upgrade(Sec_WebSocket_Key="short")).status == 400


def test_events_of_many_threads_arrive_in_the_order_of_their_numbers() -> None:
    with served() as server:
        client, ws = server.client(receive_bytes=4096)
        with client:
            filler = b"." * 9_000

            def speak() -> None:
                for _ in range(100):
                    ws.send_numbered(lambda number: b"%d %s" % (number, filler), droppable=False)

            speakers = [threading.Thread(target=speak) for _ in range(4)]
            for speaker in speakers:
                speaker.start()
            numbers = [int(client.text().split()[0]) for _ in range(400)]
            for speaker in speakers:
                speaker.join()
            assert numbers == list(range(1, 401))


def test_what_waits_is_written_on_when_the_client_reads() -> None:
    with served() as server:
        client, ws = stuffed(server)
        with client:
            ws.send(b"behind it")
            assert server.flushing()
            assert len(client.text()) == MUCH
            assert client.text() == "behind it"
            wait_until(lambda: ws.buffered_bytes == 0)


def test_a_client_that_does_not_read_keeps_nobody_waiting() -> None:
    with served() as server:
        stuck, busy = stuffed(server)
        with stuck, server.client()[0] as client:
            for number in range(20):
                busy.send(b"more and more" * 100)
                client.frame(TEXT, b"%d" % number)
                assert server.message() == str(number)
            assert busy.buffered_bytes > SMALL
            assert not busy.closed


def test_a_slow_consumer_is_told_1008_behind_the_frame_that_was_begun() -> None:
    with served(buffered_bytes=SMALL) as server:
        client, ws = stuffed(server)
        with client:
            ws.send(b"one too many")
            assert ws.closed
            ws.send(b"for nobody")
            assert len(client.text()) == MUCH
            assert client.closed() == (1008, "slow consumer")
        assert server.end() == (1008, "slow consumer")


def test_what_waits_behind_that_frame_is_not_sent_to_a_slow_consumer() -> None:
    with served(buffered_bytes=MUCH) as server:
        client, ws = stuffed(server)
        with client:
            for message in (b"second", b"x" * MUCH, b"one too many"):
                assert not ws.closed
                ws.send(message)
            assert ws.closed
            assert ws.buffered_bytes < MUCH
            assert len(client.text()) == MUCH
            assert client.closed() == (1008, "slow consumer")


def test_a_slow_consumer_is_not_closed_for_the_first_message_however_large() -> None:
    with served(buffered_bytes=SMALL) as server:
        client, ws = stuffed(server)
        with client:
            assert not ws.closed
            assert len(client.text()) == MUCH


def test_droppable_events_are_skipped_for_a_slow_client_but_their_numbers_are_used_up() -> None:
    with served(buffered_bytes=SMALL) as server:
        client, ws = stuffed(server)
        with client:
            made = []

            def tick(number: int) -> bytes:
                made.append(number)
                return b"tick %d" % number

            for _ in range(3):
                ws.send_numbered(tick, droppable=True)
            assert made == []
            assert len(client.text()) == MUCH
            wait_until(lambda: ws.buffered_bytes == 0)
            ws.send_numbered(tick, droppable=True)
            assert client.text() == "tick 4"
            assert made == [4]


def test_a_client_that_takes_nothing_is_given_up() -> None:
    with served(stuck_s=0.1) as server:
        client, ws = stuffed(server)
        with client:
            assert server.end() == (1006, "")
            assert ws.closed
            assert ws.buffered_bytes == 0
            assert client.ended()


def test_a_client_that_takes_a_little_has_time_anew() -> None:
    with contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
        ours.settimeout(PATIENCE_S)
        threads = ThreadRegistry()
        flusher = Flusher(threads)
        waiting = SendQueue(Wire(ours), flusher, max_bytes=SMALL, stuck_s=PATIENCE_S, close_s=PATIENCE_S)
        waiting.put(b"x" * MUCH)
        before = waiting.pending()
        assert before is not None
        assert theirs.recv(1 << 20)
        wait_until(lambda: waiting.pending()[1] > before[1])
        waiting.release()
        assert waiting.pending() is None
        flusher.stop(Deadline(PATIENCE_S))
        assert threads.join_all(Deadline(PATIENCE_S)) == []


def test_pings_are_answered_with_their_payload_even_between_fragments() -> None:
    with served() as server, server.client()[0] as client:
        client.frame(TEXT, b"a", final=False).frame(PING, b"there?").frame(CONTINUATION, b"b")
        assert client.next() == (PONG, b"there?")
        assert server.message() == "ab"


def test_the_server_pings_and_takes_pongs() -> None:
    with served() as server:
        client, ws = server.client()
        with client:
            ws.ping()
            assert client.next() == (PING, b"")
            client.frame(PONG).frame(PONG, b"unasked").frame(TEXT, b"next")
            assert server.message() == "next"


def test_pongs_do_not_pile_up_for_a_client_that_never_reads_them() -> None:
    with served() as server:
        client, ws = stuffed(server)
        with client:
            before = ws.buffered_bytes
            client.raw(client_frame(PING, b"p" * 125) * 5_000).frame(TEXT, b"done")
            assert server.message() == "done"
            ws.ping()
            assert ws.buffered_bytes <= before


def test_a_clients_close_is_answered_with_its_code_and_the_end() -> None:
    with served() as server:
        for payload, code in ((close_payload(4001, b"bye"), 4001), (b"", 1005)):
            with server.client()[0] as client:
                client.frame(CLOSE, payload)
                assert client.closed() == (code, "")
                assert not server.flushing()
            assert server.end() == (code, "bye" if payload else "")


def test_a_client_that_vanishes_is_1006() -> None:
    with served() as server:
        client, _ = server.client()
        client.socket.close()
        assert server.end() == (1006, "")
        client, ws = server.client()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
        assert server.end() == (1006, "")
        ws.send(b"for nobody")


def test_a_client_that_ends_its_half_without_a_word_is_1006() -> None:
    with served() as server, server.client()[0] as client:
        client.socket.shutdown(socket.SHUT_WR)
        assert server.end() == (1006, "")
        assert client.ended()


def test_nothing_more_is_sent_to_a_client_that_ends_its_half_without_a_word() -> None:
    with served(close_s=60.0, stuck_s=60.0) as server:
        client, ws = stuffed(server)
        with client:
            client.socket.shutdown(socket.SHUT_WR)
            wait_until(lambda: server.port.listener.counts() == (0, 0))
            assert ws.buffered_bytes == 0


def test_a_close_leaves_behind_everything_that_was_sent_before() -> None:
    with served() as server:
        client, ws = stuffed(server)
        with client:
            ws.send(b"last words")
            ws.close(1012, "service restart")
            ws.close(1000, "too late")
            ws.send(b"too late")
            assert len(client.text()) == MUCH
            assert client.text() == "last words"
            assert client.next() == (CLOSE, close_payload(1012, b"service restart"))
            client.frame(TEXT, b"not heard").frame(CLOSE, close_payload(1012))
            assert client.ended()
        assert server.end() == (1012, "service restart")
        assert server.messages.empty()


def test_a_client_that_never_answers_a_close_is_cut() -> None:
    with served(close_s=0.1) as server:
        client, ws = server.client()
        with client:
            ws.close(1000)
            assert client.next() == (CLOSE, close_payload(1000))
            assert server.end() == (1000, "")
            assert client.ended()
    with served(close_s=0.1) as server:
        client, ws = stuffed(server)
        with client:
            ws.close(1000)
            assert server.end() == (1000, "")


def test_leaving_says_goodbye_and_a_bug_says_1011() -> None:
    with served() as server:
        server.poison = "crash"
        for word, code in ((b"leave", 1001), (b"crash", 1011)):
            with server.client()[0] as client:
                client.frame(TEXT, word)
                assert client.next() == (CLOSE, close_payload(code))
                client.frame(CLOSE, close_payload(code))
                assert client.ended()


def test_an_abort_wakes_the_reader() -> None:
    with served() as server:
        client, ws = server.client()
        with client:
            ws.abort()
            assert server.end() == (1006, "")
            assert ws.closed
            assert client.ended()


def test_the_end_of_the_port_wakes_a_blocked_reader() -> None:
    with served() as server:
        client, _ = server.client()
    assert server.end() == (1006, "")
    client.socket.close()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x81\x01x", 1002),
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(TEXT, b"a message") + b"xx", 1002),
    ],
    ids=["protocol", "text", "behind a message"],
)
def test_what_is_refused_is_closed_with_its_code(raw: bytes, code: int) -> None:
    with served() as server, server.client()[0] as client:
        client.raw(raw)
        assert client.closed()[0] == code
        assert server.end()[0] == code


def test_a_client_that_sends_far_too_much_can_still_read_why_it_was_refused() -> None:
    with served() as server, server.client()[0] as client:
        client.frame(TEXT, b"x" * MUCH)
        assert client.closed()[0] == 1009
        assert server.messages.empty()


def test_larger_messages_are_taken_once_they_are_allowed() -> None:
    with served(message_bytes=100) as server:
        server.allowed = 1000
        with server.client()[0] as client:
            client.raw(client_frame(TEXT, b"connect") + client_frame(TEXT, b"x" * 1000))
            assert [server.message(), server.message()] == ["connect", "x" * 1000]
            client.frame(TEXT, b"x" * 1001)
            assert client.closed()[0] == 1009


def test_a_deadline_that_passes_within_a_message_loses_nothing_of_it() -> None:
    with served() as server:
        server.patience_s = 0.02
        with server.client()[0] as client:
            whole = client_frame(TEXT, b"in two halves")
            client.raw(whole[:9])
            server.late.clear()
            assert server.late.wait(PATIENCE_S)
            client.raw(whole[9:])
            assert server.message() == "in two halves"


def test_nothing_is_written_to_a_descriptor_that_is_anothers_by_now() -> None:
    with served() as server:
        client, ws = server.client()
        descriptors = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
        with client:
            client.frame(CLOSE)
            client.closed()
        server.end()
        wait_until(lambda: server.port.listener.counts() == (0, 0))
        pairs = [socket.socketpair() for _ in range(4)]
        try:
            ours = {str(end.fileno()) for pair in pairs for end in pair}
            assert not descriptors or ours & descriptors
            ws.send(b"stray")
            ws.ping()
            ws.close(1000)
            ws.abort()
            for left, right in pairs:
                left.sendall(b"alive")
                assert right.recv(64) == b"alive"
                left.setblocking(False)
                with pytest.raises(BlockingIOError):
                    left.recv(1)
        finally:
            for pair in pairs:
                for end in pair:
                    end.close()


def test_the_flusher_ends_when_nobody_is_slow_and_comes_back() -> None:
    with served(idle_s=0.02) as server:
        client, ws = server.client(receive_bytes=4096)
        with client:
            assert not server.flushing()
            for _ in range(2):
                ws.send(b"x" * MUCH)
                assert server.flushing()
                assert len(client.text()) == MUCH
                wait_until(lambda: not server.flushing())


def test_a_stop_of_the_flusher_gives_up_who_does_not_read() -> None:
    with served() as server:
        client, ws = stuffed(server)
        with client:
            server.flusher.stop(Deadline(0.05))
            assert server.end() == (1006, "")
            assert not server.flushing()
        client, ws = server.client(receive_bytes=4096)
        with client:
            ws.send(b"x" * MUCH)
            assert server.end() == (1006, "")


def test_a_stop_of_the_flusher_waits_for_who_reads() -> None:
    with served() as server:
        client, ws = stuffed(server)
        with client:
            ws.close(1012, "service restart")
            stopping = threading.Thread(target=server.flusher.stop, args=(Deadline(PATIENCE_S),))
            stopping.start()
            assert len(client.text()) == MUCH
            assert client.next() == (CLOSE, close_payload(1012, b"service restart"))
            client.frame(CLOSE, close_payload(1012))
            assert server.end() == (1012, "service restart")
            stopping.join(PATIENCE_S)
            assert not server.flushing()


def test_without_a_thread_for_the_flusher_a_slow_client_is_given_up_and_nobody_else() -> None:
    with served() as server:

        def refuse(name: str, body: object) -> threading.Thread:
            raise RuntimeError("can't start new thread")

        slow, ws = server.client(receive_bytes=4096)
        quick, other = server.client()
        spawn, server.threads.spawn = server.threads.spawn, refuse
        try:
            with slow, quick:
                ws.send(b"x" * MUCH)
                assert server.end() == (1006, "")
                other.send(b"still here")
                assert quick.text() == "still here"
        finally:
            server.threads.spawn = spawn


class Broken:
    """What waits for the flusher and has a bug."""

    def __init__(self) -> None:
        self.given_up = threading.Event()

    def pending(self) -> tuple[int, float] | None:
        raise KeyError("a bug")

    def flush(self) -> None: ...

    def give_up(self) -> None:
        self.given_up.set()


def test_a_bug_in_the_flusher_leaves_nobody_waiting_and_the_next_one_is_served() -> None:
    with served() as server:
        client, _ = stuffed(server)
        with client:
            broken = Broken()
            server.flusher.watch(broken)
            assert broken.given_up.wait(PATIENCE_S)
            assert server.end() == (1006, "")
        client, _ = stuffed(server)
        with client:
            assert len(client.text()) == MUCH
