"""The bookkeeping of requests under way, the pings and the quota: pure, on a clock of the test."""

from __future__ import annotations

import random

import pytest

from loong_channels.faults import Overloaded, Throttled
from loong_channels.remembered import Remembered
from loong_channels.wecom.frames import Frame
from loong_channels.wecom.heartbeat import Heartbeat
from loong_channels.wecom.lines import ACK_S, AckLines
from loong_channels.wecom.quota import Quota


class Clock:
    """Monotonic seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ack(req_id: str, code: int = 0, cmd: str = "") -> Frame:
    return Frame(cmd, req_id, {}, code)


def test_one_at_a_time_in_the_order_of_coming() -> None:
    lines = AckLines(Clock())
    first, second, other = lines.join("c", "a"), lines.join("c", "a"), lines.join("c", "b")
    assert lines.turn_in_s(first) == lines.turn_in_s(other) == 0
    assert lines.turn_in_s(second) > 0
    lines.sent(first)
    assert lines.answered(ack("a", 7)) is first
    assert first.answer is not None
    assert first.answer.code == 7
    assert lines.turn_in_s(second) == 0
    assert second.changed.is_set()


def test_an_answer_to_nothing_under_way_is_nobodys() -> None:
    lines = AckLines(Clock())
    ticket = lines.join("c", "a")
    assert lines.answered(ack("a")) is None
    lines.sent(ticket)
    assert lines.answered(ack("b")) is None
    assert lines.answered(ack("a", cmd="aibot_msg_callback")) is None
    assert lines.answered(ack("a", cmd="c")) is ticket
    assert lines.answered(ack("a")) is None


def test_a_loose_one_is_only_taken_when_nothing_else_is_there_and_makes_room_when_overdue() -> None:
    clock = Clock()
    lines = AckLines(clock)
    loose = lines.try_join("c", "a")
    assert loose is not None
    lines.sent(loose)
    assert lines.try_join("c", "a") is None
    waiting = lines.join("c", "a")
    assert 0 < lines.turn_in_s(waiting) <= ACK_S
    clock.now += ACK_S
    assert lines.turn_in_s(waiting) == 0
    assert not loose.settled


def test_a_late_answer_is_not_taken_for_the_next_ones() -> None:
    clock = Clock()
    lines = AckLines(clock)
    loose = lines.try_join("c", "a")
    assert loose is not None
    lines.sent(loose)
    clock.now += ACK_S
    last = lines.join("c", "a")
    assert lines.turn_in_s(last) == 0
    lines.sent(last)
    assert lines.answered(ack("a", 0)) is last
    assert not last.settled
    assert last.doubtful is not None
    assert lines.answered(ack("a", 846608)) is last
    assert last.answer is not None
    assert last.answer.code == 846608


def test_a_late_answer_to_one_that_was_given_up_is_not_the_next_ones() -> None:
    lines = AckLines(Clock())
    first = lines.join("c", "a")
    lines.sent(first)
    lines.leave(first)
    second = lines.join("c", "a")
    lines.sent(second)
    assert lines.answered(ack("a", 0)) is second
    assert not second.settled
    lines.answered(ack("a", 7))
    assert second.answer is not None
    assert second.answer.code == 7
    # Everything owed has come: the next one need not doubt.
    third = lines.join("c", "a")
    lines.sent(third)
    lines.answered(ack("a", 8))
    assert third.settled


def test_an_answer_that_came_to_nobody_is_no_longer_owed() -> None:
    lines = AckLines(Clock())
    first = lines.join("c", "a")
    lines.sent(first)
    lines.leave(first)
    assert lines.answered(ack("a")) is None
    second = lines.join("c", "a")
    assert lines.answered(ack("a")) is None
    lines.sent(second)
    lines.answered(ack("a", 7))
    assert second.settled


def test_doubt_does_not_outlive_the_frame_that_had_it() -> None:
    lines = AckLines(Clock())
    first = lines.join("c", "a")
    lines.sent(first)
    lines.leave(first)
    second = lines.join("c", "a")
    lines.sent(second)
    lines.answered(ack("a", 0))
    # No other answer came in time, so this one counted.
    lines.leave(second)
    third = lines.join("c", "a")
    lines.sent(third)
    lines.answered(ack("a", 7))
    assert third.settled


def test_one_that_never_left_owes_nothing() -> None:
    lines = AckLines(Clock())
    lines.leave(lines.join("c", "a"))
    second = lines.join("c", "a")
    lines.sent(second)
    lines.answered(ack("a"))
    assert second.settled


def test_somebody_waits_or_nobody() -> None:
    lines = AckLines(Clock())
    assert not lines.is_awaited
    loose = lines.try_join("c", "a")
    assert loose is not None
    assert not lines.is_awaited
    ticket = lines.join("c", "b")
    assert lines.is_awaited
    lines.leave(ticket)
    assert not lines.is_awaited


def test_lines_are_bounded() -> None:
    clock = Clock()
    lines = AckLines(clock)
    for _ in range(500):
        lines.join("c", "a")
    with pytest.raises(Overloaded):
        lines.join("c", "a")
    for number in range(10_000):
        ticket = lines.try_join("c", f"n{number}")
        if ticket is not None:
            lines.sent(ticket)
    assert lines.try_join("c", "new") is None
    clock.now += ACK_S
    assert lines.try_join("c", "new") is not None


def test_the_end_settles_everything_and_whatever_comes_later() -> None:
    lines = AckLines(Clock())
    tickets = [lines.join("c", "a"), lines.join("c", "a"), lines.join("c", "b")]
    lines.end()
    assert all(ticket.lost for ticket in tickets)
    assert lines.join("c", "z").lost
    assert lines.try_join("c", "z") is None


def test_any_order_of_joining_answering_and_leaving_keeps_the_lines_whole() -> None:
    rng = random.Random(7)
    lines = AckLines(Clock())
    open_tickets = []
    for _ in range(5000):
        step = rng.random()
        req_id = rng.choice("abc")
        if step < 0.4 and len(open_tickets) < 300:
            open_tickets.append(lines.join("c", req_id))
        elif step < 0.7 and open_tickets:
            heads = [one for one in open_tickets if lines.turn_in_s(one) == 0]
            assert len({one.req_id for one in heads}) == len(heads)
            head = rng.choice(heads)
            lines.sent(head)
            assert lines.answered(ack(head.req_id)) is head
            open_tickets.remove(head)
        elif open_tickets:
            gone = open_tickets.pop(rng.randrange(len(open_tickets)))
            lines.leave(gone)
            lines.leave(gone)
    for ticket in open_tickets:
        lines.leave(ticket)
    assert lines._lines == {}


def test_a_heartbeat_keeps_its_period_and_knows_when_it_is_dead() -> None:
    heart = Heartbeat(30, 100)
    assert heart.due_in_s(100) == 30
    assert heart.due_in_s(131) == 0
    heart.beat("p1", 131)
    assert heart.due_in_s(131) == 29
    heart.beat("p2", 160)
    assert heart.is_dead
    assert not heart.answered("other", 0)
    assert heart.answered("p1", 40058)
    assert heart.is_dead
    assert heart.answered("p1", 0)
    assert not heart.is_dead
    heart.beat("p3", 1000)
    assert heart.due_in_s(1000) == 30


def test_the_quota_says_how_long_to_wait_and_forgets_old_messages() -> None:
    clock = Clock()
    quota = Quota(3, 5, clock)
    for _ in range(3):
        quota.check("a")
        quota.spend("a")
        clock.now += 1
    with pytest.raises(Throttled) as caught:
        quota.check("a")
    assert 57 <= caught.value.retry_after_s <= 58
    quota.check("b")
    clock.now += caught.value.retry_after_s
    for _ in range(2):
        quota.check("a")
        quota.spend("a")
        clock.now += 30
    with pytest.raises(Throttled) as caught:
        quota.check("a")
    assert caught.value.retry_after_s > 3000
    clock.now += caught.value.retry_after_s
    quota.check("a")


def test_a_quota_of_zero_does_not_count() -> None:
    quota = Quota(0, 0, Clock())
    for _ in range(5000):
        quota.check("a")
        quota.spend("a")


def test_what_is_remembered_is_bounded() -> None:
    table: Remembered[str, int] = Remembered(3)
    for number in range(10):
        table.put(str(number), number)
    assert [table.get(str(number)) for number in range(10)] == [None] * 7 + [7, 8, 9]
    assert table.pop("9") == 9
    assert "9" not in table
