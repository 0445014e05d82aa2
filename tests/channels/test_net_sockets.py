"""Sockets under watch, on a socket pair."""

from __future__ import annotations

import socket

import pytest

from loong_channels.faults import Interrupted, TimedOut, Unreachable
from loong_channels.net_sockets import Unsent, Watch, WatchedSocket
from loong_channels.waiting import Deadline


def watched_pair(seconds: float = 5.0) -> tuple[WatchedSocket, socket.socket, Watch]:
    ours, theirs = socket.socketpair()
    sock = WatchedSocket(fileno=ours.detach())
    watch = Watch("peer", Deadline(seconds), first_byte_s=5.0, gap_s=5.0)
    watch.attach(sock)
    return sock, theirs, watch


@pytest.mark.parametrize(("reused", "fault"), [(True, Unsent), (False, Unreachable)], ids=["kept", "new"])
def test_a_connection_that_is_dead_at_the_first_byte_is_unreachable_and_unsent_if_it_was_kept(
    reused: bool, fault: type[Unreachable]
) -> None:
    sock, theirs, watch = watched_pair()
    with sock:
        watch.begin_request(reused=reused)
        theirs.close()
        with pytest.raises(Unreachable) as caught:
            sock.sendall(b"request")
    assert type(caught.value) is fault and not caught.value.maybe_processed


def test_a_connection_that_dies_amid_the_request_leaves_the_answer_to_be_read() -> None:
    sock, theirs, watch = watched_pair()
    with sock:
        watch.begin_request(reused=True)
        sock.sendall(b"head")
        theirs.close()
        with pytest.raises(BrokenPipeError):
            sock.sendall(b"body")


def test_a_cancelled_call_may_not_start_another_system_call() -> None:
    sock, theirs, watch = watched_pair()
    with sock, theirs:
        watch.begin_request(reused=False)
        watch.cancel("stopped")
        with pytest.raises(Interrupted):
            sock.recv_into(bytearray(1))
        with pytest.raises(Interrupted):
            sock.sendall(b"x")


def test_a_late_cancel_does_not_touch_a_socket_that_belongs_to_another_call() -> None:
    sock, theirs, first = watched_pair()
    with sock, theirs:
        second = Watch("peer", Deadline(5), first_byte_s=5.0, gap_s=5.0)
        second.attach(sock)
        first.cancel()
        second.begin_request(reused=True)
        sock.sendall(b"x")
        assert theirs.recv(1) == b"x"


def test_a_call_that_was_ended_cannot_take_up_a_socket() -> None:
    sock, theirs, _ = watched_pair()
    with sock, theirs:
        late = Watch("peer", Deadline(5), first_byte_s=5.0, gap_s=5.0)
        late.cancel()
        with pytest.raises(Interrupted):
            late.attach(sock)


def test_only_bytes_of_the_request_count_as_sent() -> None:
    sock, theirs, watch = watched_pair(0.1)
    with sock, theirs:
        watch.begin_connect("peer")
        sock.sendall(b"CONNECT")
        with pytest.raises(TimedOut) as connecting:
            sock.recv_into(bytearray(1))
        assert not connecting.value.maybe_processed
    sock, theirs, watch = watched_pair(0.1)
    with sock, theirs:
        watch.begin_request(reused=False)
        sock.sendall(b"GET")
        with pytest.raises(TimedOut) as sending:
            sock.recv_into(bytearray(1))
        assert sending.value.maybe_processed
