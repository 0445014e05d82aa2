"""What is kept of messages that the gateway has not taken yet: order and bounds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from loong_channels.contract import Address, Inbound
from loong_channels.faults import NotStored
from loong_channels.wecom.holdback import MAX_HELD, Holdback
from tests.channels.wecom_rig import RecordingHost


def message(conversation: str, number: int = 0) -> Inbound:
    name = f"{conversation}-{number}"
    return Inbound(Address("wecom", "work", conversation), name, name, conversation, name, 0)


class Gateway(RecordingHost):
    """Takes nothing while the disk is full, which may be after so many batches."""

    def __init__(self) -> None:
        super().__init__()
        self.disk_is_full = False
        self.fills_after = -1

    def accept(self, batch: Sequence[Inbound], cursor: object = None) -> None:
        if self.disk_is_full:
            raise NotStored("disk")
        super().accept(batch)
        self.fills_after -= 1
        self.disk_is_full = self.disk_is_full or self.fills_after == 0


def keep(held: Holdback, conversation: str, *numbers: int) -> None:
    for number in numbers:
        held.add(message(conversation, number))


def test_what_comes_together_is_offered_together() -> None:
    held, host = Holdback(), Gateway()
    keep(held, "a", 1, 2)
    keep(held, "b", 1)
    assert held.due_in_s(0) == 0
    assert held.hand_over(host, 0)
    assert host.texts == ["a-1", "a-2", "b-1"]
    assert len(host.batches) == 1
    assert held.due_in_s(0) is None
    assert not held.hand_over(host, 0)


def test_a_disk_that_refuses_is_not_asked_all_the_time_and_then_takes_everything() -> None:
    held, host, now = Holdback(), Gateway(), 0.0
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
    held, host = Holdback(), Gateway()
    host.disk_is_full = True
    keep(held, "a", 1)
    held.hand_over(host, 0)
    host.disk_is_full = False
    assert not held.hand_over(host, 0)
    assert held.hand_over(host, 0, at_once=True)
    assert host.texts == ["a-1"]


def test_only_a_refusal_makes_it_full() -> None:
    held, host = Holdback(), Gateway()
    for number in range(MAX_HELD + 1):
        held.add(message(f"u{number}"))
    assert not held.is_full
    host.disk_is_full = True
    held.hand_over(host, 0)
    assert held.is_full
    assert not held.is_brimful
    for number in range(MAX_HELD):
        held.add(message(f"v{number}"))
    assert held.is_brimful
    host.disk_is_full = False
    held.hand_over(host, 100)
    assert not held.is_full
    assert len(host.messages) == 2 * MAX_HELD + 1


def test_a_disk_that_fills_between_two_batches_keeps_the_order() -> None:
    held, host = Holdback(), Gateway()
    keep(held, "a", *range(200))
    host.fills_after = 2
    assert held.hand_over(host, 0)
    assert len(host.messages) == 128
    assert held.due_in_s(0) == pytest.approx(0.5)
    keep(held, "a", 200)
    host.disk_is_full = False
    held.hand_over(host, 0, at_once=True)
    assert host.texts == [f"a-{number}" for number in range(201)]
    # So a lane that fills up meanwhile is overfilled by little.
    assert max(len(batch) for batch, _ in host.batches) == 64
