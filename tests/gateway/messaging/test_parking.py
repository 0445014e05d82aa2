from __future__ import annotations

from loong_channels.contract import Address
from loong_gateway.base.notices import Notices
from loong_gateway.messaging.parking import Parking
from tests.clocks import HandClock

CHAT = Address("telegram", "work", "1")
TOPIC = Address("telegram", "work", "1", thread="7")
OTHER = Address("telegram", "work", "2")
ELSEWHERE = Address("telegram", "home", "1")


def test_a_parked_conversation_waits_with_all_its_topics():
    clock = HandClock()
    parking = Parking(clock)
    parking.park(CHAT, 5)
    assert parking.wait_s(CHAT) == 5
    assert parking.wait_s(TOPIC) == 5
    assert parking.wait_s(OTHER) == 0
    clock.advance(5)
    assert parking.wait_s(CHAT) == 0


def test_a_parked_account_parks_all_its_conversations():
    clock = HandClock()
    parking = Parking(clock)
    parking.park(CHAT, 5, whole_account=True)
    assert parking.wait_s(OTHER) == 5
    assert parking.wait_s(ELSEWHERE) == 0


def test_a_shorter_time_does_not_undo_a_longer_one():
    parking = Parking(HandClock())
    parking.park(CHAT, 50)
    parking.park(CHAT, 5)
    assert parking.wait_s(CHAT) == 50


def test_notices_are_due_once_and_again_later():
    clock = HandClock()
    notices = Notices(clock, quiet_s=600)
    assert notices.due("a")
    assert not notices.due("a")
    assert notices.due("b")
    clock.advance(600)
    assert notices.due("a")
