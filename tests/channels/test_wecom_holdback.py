"""What is kept of messages that the gateway has not taken yet: order, fairness, and bounds."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from loong_channels.contract import Address, Inbound
from loong_channels.faults import Busy, NotStored
from loong_channels.wecom.holdback import MAX_BEHIND, MAX_EVER, MAX_HELD, Holdback
from tests.channels.wecom_rig import RecordingHost


def message(conversation: str, number: int = 0) -> Inbound:
    name = f"{conversation}-{number}"
    return Inbound(Address("wecom", "work", conversation), name, name, conversation, name, 0)


class Lanes(RecordingHost):
    """Refuses what belongs to full conversations, and everything while the disk is full."""

    def __init__(self, *full: str) -> None:
        super().__init__()
        self.full = set(full)
        self.disk_is_full = False
        self.fills_after = -1

    def accept(self, batch: Sequence[Inbound], cursor: object = None) -> None:
        if self.disk_is_full:
            raise NotStored("disk")
        if any(one.address.conversation in self.full for one in batch):
            raise Busy("full")
        super().accept(batch)
        self.fills_after -= 1
        self.disk_is_full = self.disk_is_full or self.fills_after == 0


def keep(held: Holdback, conversation: str, *numbers: int) -> list[bool]:
    return [held.add(message(conversation, number)) for number in numbers]


def test_what_comes_together_is_offered_together() -> None:
    held, host = Holdback(), Lanes()
    keep(held, "a", 1, 2)
    keep(held, "b", 1)
    assert held.due_in_s(0) == 0
    assert held.hand_over(host, 0)
    assert host.texts == ["a-1", "a-2", "b-1"]
    assert len(host.batches) == 1
    assert held.due_in_s(0) is None
    assert not held.hand_over(host, 0)


def test_a_full_conversation_waits_alone_and_in_order() -> None:
    held, host = Holdback(), Lanes("a")
    keep(held, "a", 1, 2)
    keep(held, "b", 1)
    held.hand_over(host, 0)
    assert host.texts == ["b-1"]
    assert held.due_in_s(0) == pytest.approx(0.1)
    # Others pass although it is not its time.
    keep(held, "b", 2)
    keep(held, "a", 3)
    assert held.due_in_s(0) == 0
    held.hand_over(host, 0)
    assert host.texts == ["b-1", "b-2"]
    host.full.clear()
    assert not held.hand_over(host, 0.05)
    assert held.hand_over(host, 0.1)
    assert host.texts[2:] == ["a-1", "a-2", "a-3"]
    assert len(held) == 0


def test_the_waits_grow_up_to_a_second_and_begin_anew_after_a_success() -> None:
    held, host, now = Holdback(), Lanes("a"), 0.0
    keep(held, "a", 1)
    waits = []
    for _ in range(6):
        held.hand_over(host, now)
        waits.append(round(held.due_in_s(now) or 0, 3))
        now += waits[-1]
    assert waits == [0.1, 0.2, 0.5, 1.0, 1.0, 1.0]
    host.full.clear()
    held.hand_over(host, now)
    host.full.add("a")
    keep(held, "a", 2)
    held.hand_over(host, now)
    assert held.due_in_s(now) == pytest.approx(0.1)


def test_a_disk_that_refuses_is_not_asked_all_the_time_and_then_takes_everything() -> None:
    held, host, now = Holdback(), Lanes(), 0.0
    host.disk_is_full = True
    waits = []
    for number in range(5):
        keep(held, "a", number)
        held.hand_over(host, now)
        waits.append(held.due_in_s(now))
        now += waits[-1] or 0
    assert waits == [0.5, 1.0, 2.0, 5.0, 5.0]
    host.disk_is_full = False
    keep(held, "b", 1)
    assert held.hand_over(host, now)
    assert host.texts == [*(f"a-{number}" for number in range(5)), "b-1"]


def test_the_last_offer_waits_for_nothing() -> None:
    held, host = Holdback(), Lanes("a")
    host.disk_is_full = True
    keep(held, "a", 1)
    held.hand_over(host, 0)
    host.disk_is_full = False
    held.hand_over(host, 0, at_once=True)
    host.full.clear()
    assert held.hand_over(host, 0, at_once=True)
    assert host.texts == ["a-1"]


def test_only_the_disk_makes_it_full() -> None:
    held, host = Holdback(), Lanes("a")
    for number in range(MAX_HELD + 1):
        held.add(message(f"u{number}"))
    assert not held.is_full
    host.disk_is_full = True
    held.hand_over(host, 0)
    assert held.is_full
    assert not held.is_brimful
    for number in range(MAX_HELD):
        assert held.add(message(f"v{number}"))
    assert held.is_brimful
    host.disk_is_full = False
    held.hand_over(host, 100)
    assert not held.is_full
    assert len(host.messages) == 2 * MAX_HELD + 1


def test_a_conversation_that_is_full_for_long_keeps_its_oldest_and_nobody_else_loses() -> None:
    held, host = Holdback(), Lanes("a")
    keep(held, "a", 0)
    held.hand_over(host, 0)
    assert keep(held, "a", *range(1, MAX_BEHIND + 10)) == [True] * (MAX_BEHIND - 1) + [False] * 10
    for number in range(MAX_EVER):
        assert held.add(message("b", number))
        held.hand_over(host, 0)
    assert len(host.messages) == MAX_EVER
    host.full.clear()
    while held.due_in_s(1) is not None:
        held.hand_over(host, 1)
    assert host.texts[MAX_EVER:] == [f"a-{number}" for number in range(MAX_BEHIND)]


def test_many_that_were_full_come_in_portions() -> None:
    held, host = Holdback(), Lanes("a", "b")
    keep(held, "a", 0)
    keep(held, "b", 0)
    held.hand_over(host, 0)
    keep(held, "a", *range(1, 100))
    host.full = {"b"}
    held.hand_over(host, 1)
    assert len(host.messages) == 64
    assert held.due_in_s(1) == 0
    held.hand_over(host, 1)
    assert host.texts == [f"a-{number}" for number in range(100)]


def test_any_mix_of_refusals_loses_nothing_and_keeps_the_order() -> None:
    rng = random.Random(11)
    held, host, now = Holdback(), Lanes(), 0.0
    counts = dict.fromkeys("abcd", 0)
    for _ in range(4000):
        step = rng.random()
        conversation = rng.choice("abcd")
        if step < 0.5 and len(held) < 300:
            assert held.add(message(conversation, counts[conversation]))
            counts[conversation] += 1
        elif step < 0.6:
            host.full ^= {conversation}
        elif step < 0.65:
            host.disk_is_full = not host.disk_is_full
        else:
            held.hand_over(host, now, at_once=rng.random() < 0.1)
            now += rng.random()
    host.full.clear()
    host.disk_is_full = False
    while len(held):
        held.hand_over(host, now, at_once=True)
    for conversation, count in counts.items():
        found = [one.text for one in host.messages if one.address.conversation == conversation]
        assert found == [f"{conversation}-{number}" for number in range(count)]


def test_a_disk_that_fills_between_two_messages_keeps_the_order() -> None:
    held, host = Holdback(), Lanes("a")
    for name, number in (("a", 0), ("b", 0), ("a", 1), ("b", 1)):
        held.add(message(name, number))
    host.fills_after = 1
    held.hand_over(host, 0)
    assert host.texts == ["b-0"]
    keep(held, "a", 2)
    host.full.clear()
    host.disk_is_full = False
    held.hand_over(host, 0, at_once=True)
    assert host.texts == ["b-0", "b-1", "a-0", "a-1", "a-2"]
