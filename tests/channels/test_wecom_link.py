"""What the end of a connection means for requests that are under way on it."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from loong_channels.faults import Interrupted, Unreachable
from loong_channels.waiting import Deadline
from loong_channels.web_socket import WebSocket
from loong_channels.wecom.frames import SEND
from loong_channels.wecom.link import Link

WAIT_S = 15.0


class BreakingSocket:
    """Takes one message and breaks at the next; nothing ever comes."""

    def __init__(self) -> None:
        self.taken = threading.Event()
        self._closed = threading.Event()

    def send(self, data: str, *, deadline: Deadline) -> None:
        if self.taken.is_set():
            raise Unreachable("lost the connection: broken pipe", maybe_processed=False)
        self.taken.set()

    def receive(self, timeout_s: float) -> str | None:
        if self._closed.wait(timeout_s):
            raise Interrupted("the connection was closed")
        return None

    def close(self) -> None:
        self._closed.set()


def test_a_request_that_breaks_off_is_not_taken_and_one_that_left_before_it_may_be() -> None:
    socket = BreakingSocket()
    link = Link(cast(WebSocket, socket), note=lambda *_: None)
    earlier: list[Unreachable] = []

    def ask() -> None:
        try:
            link.call(SEND, {}, deadline=Deadline(WAIT_S))
        except Unreachable as fault:
            earlier.append(fault)

    asker = threading.Thread(target=ask)
    asker.start()
    assert socket.taken.wait(WAIT_S)
    with pytest.raises(Unreachable) as caught:
        link.call(SEND, {}, deadline=Deadline(WAIT_S))
    asker.join(WAIT_S)
    assert not caught.value.maybe_processed
    assert [fault.maybe_processed for fault in earlier] == [True]
