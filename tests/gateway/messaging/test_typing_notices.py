from __future__ import annotations

import threading

import pytest

from loong_channels.contract import Address
from loong_channels.faults import Unreachable
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.messaging.typing_notices import TypingNotices
from tests.clocks import HandClock

WAIT_S = 15.0
SLOW = Address("telegram", "work", "7")
OTHER = Address("telegram", "work", "8")


class Recording:
    def __init__(self):
        self.shown = []
        self.changed = threading.Condition()
        self.faults = []

    def show_typing(self, address, *, deadline):
        with self.changed:
            self.shown.append(address)
            self.changed.notify_all()
            if self.faults:
                raise self.faults.pop(0)

    def wait_shown(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.shown) >= count, WAIT_S)


@pytest.fixture
def world():
    threads = ThreadRegistry()
    channel = Recording()
    notices = TypingNotices(
        channel, "telegram=work", threads, Clock(), first_after_s=0.02, again_after_s=0.05
    )
    yield notices, channel, threads
    notices.stop()
    assert threads.join_all(Deadline(WAIT_S)) == []


def test_a_long_answer_shows_typing_again_and_again(world):
    notices, channel, _ = world
    with notices.during(SLOW):
        channel.wait_shown(3)
    assert set(channel.shown) == {SLOW}


def test_a_quick_answer_shows_nothing_and_the_thread_ends():
    threads, channel = ThreadRegistry(), Recording()
    # A clock that stands still: however slow this host is, the answer was quick.
    notices = TypingNotices(
        channel, "telegram=work", threads, HandClock(), first_after_s=0.02, again_after_s=0.05
    )
    with notices.during(SLOW):
        pass
    assert threads.join_all(Deadline(WAIT_S)) == []
    assert channel.shown == []


def test_an_answer_that_begins_later_is_not_forgotten(world):
    notices, channel, _ = world
    with notices.during(SLOW):
        channel.wait_shown(1)
        with notices.during(OTHER), channel.changed:
            assert channel.changed.wait_for(lambda: OTHER in channel.shown, WAIT_S)


def test_a_bug_in_one_conversation_does_not_cost_the_others_their_notices(world):
    notices, channel, _ = world
    channel.faults = [ValueError("a bug")] * 2
    with notices.during(SLOW), notices.during(OTHER):
        channel.wait_shown(6)
    assert set(channel.shown[4:]) <= {SLOW, OTHER}


def test_a_conversation_that_refuses_twice_is_left_alone(world):
    notices, channel, threads = world
    channel.faults = [Unreachable("gone", maybe_processed=False)] * 2
    with notices.during(SLOW):
        channel.wait_shown(2)
        assert threads.join_all(Deadline(WAIT_S)) == []
    assert len(channel.shown) == 2


def test_a_bug_does_not_switch_typing_off_for_good(world):
    notices, channel, threads = world
    channel.faults = [ZeroDivisionError("a bug")]
    with notices.during(SLOW):
        channel.wait_shown(1)
    assert threads.join_all(Deadline(WAIT_S)) == []
    with notices.during(SLOW):
        channel.wait_shown(2)
