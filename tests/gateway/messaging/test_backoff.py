"""How long a surface waits: each kind of failure by itself, and any sequence of lives on a clock of its own."""

from __future__ import annotations

import random
from collections import deque

import pytest

from loong_channels.faults import BadCredentials, Conflict, Overloaded, Throttled, Unreachable
from loong_gateway.messaging.backoff import Backoff

LOST = Unreachable("gone", maybe_processed=True)
HOUR_S = 3600.0


def test_the_first_retry_comes_within_the_reconnect_interval():
    for _ in range(200):
        assert 0 < Backoff(reconnect_s=1.0).next_s(LOST) <= 1.0


def test_further_failures_wait_longer_up_to_a_minute():
    for _ in range(50):
        backoff = Backoff(reconnect_s=1.0)
        waits = [backoff.next_s(LOST) for _ in range(40)]
        assert max(waits) <= 60.0
        assert all(wait > 0 for wait in waits)
        assert all(wait >= 6.0 for wait in waits[10:])


def test_success_makes_the_next_failure_a_first_one():
    backoff = Backoff(reconnect_s=1.0)
    for _ in range(10):
        backoff.next_s(LOST)
    assert backoff.next_s(LOST, worked_s=0.0) <= 1.0


def test_a_refused_credential_is_tried_at_most_every_five_minutes():
    backoff = Backoff(reconnect_s=1.0)
    waits = [backoff.next_s(BadCredentials("401")) for _ in range(20)]
    assert all(270 <= wait <= 300 for wait in waits)


def test_a_credential_that_worked_is_tried_once_more_soon():
    backoff = Backoff(5.0)
    assert backoff.next_s(BadCredentials("401"), worked_s=3600.0) <= 5.0
    assert backoff.next_s(BadCredentials("401")) > 200
    backoff = Backoff(5.0)
    waits = [backoff.next_s(BadCredentials("401"), worked_s=1.0) for _ in range(3)]
    assert waits[0] <= 5.0 and min(waits[1:]) > 200


def test_a_conflict_is_tried_every_ten_to_sixty_seconds():
    backoff = Backoff(reconnect_s=1.0)
    waits = [backoff.next_s(Conflict("409")) for _ in range(8)]
    for step, wait in enumerate(waits, start=1):
        assert 0.9 * min(60, 10 * step) <= wait <= min(60, 10 * step)


def test_a_conflict_is_forgotten_by_a_connection_that_lasted_only():
    backoff = Backoff(reconnect_s=1.0)
    for _ in range(5):
        backoff.next_s(Conflict("409"), worked_s=3.0)
    assert backoff.next_s(Conflict("409"), worked_s=3.0) >= 54.0
    assert backoff.next_s(Conflict("409"), worked_s=60.0) <= 10.0


def test_a_platform_that_names_a_time_is_believed():
    assert Backoff(reconnect_s=1.0).next_s(Throttled("429", retry_after_s=77.0)) == 77.0
    assert Backoff(reconnect_s=1.0).next_s(Overloaded("503", retry_after_s=33.0)) == 33.0
    assert Backoff(reconnect_s=1.0).next_s(Overloaded("503")) <= 1.0


def test_a_channel_that_knows_how_long_a_conflict_lasts_is_believed():
    backoff = Backoff(reconnect_s=1.0)
    assert 600 <= backoff.next_s(Conflict("taken over", retry_after_s=600.0)) <= 601
    assert backoff.next_s(Conflict("taken over", retry_after_s=float("inf"))) == float("inf")


@pytest.mark.parametrize("reconnect_s", [1.0, 5.0, 120.0])
def test_a_connection_that_is_taken_and_dropped_at_once_is_not_made_in_a_tight_loop(reconnect_s):
    backoff = Backoff(reconnect_s)
    waits = [backoff.next_s(LOST, worked_s=0.0) for _ in range(1000)]
    # The first retry may come at once, as after any connection that was lost; the others wait the whole interval.
    assert waits[0] <= reconnect_s
    assert all(0.9 * reconnect_s <= wait <= reconnect_s for wait in waits[1:])
    assert 0.1 * reconnect_s <= backoff.next_s(LOST, worked_s=60.0) <= reconnect_s


@pytest.mark.parametrize("seed", range(60))
def test_no_sequence_of_lives_makes_a_tight_loop_or_a_long_silence(seed):
    dice = random.Random(seed)
    reconnect_s = dice.choice([1.0, 5.0, 30.0])
    backoff = Backoff(reconnect_s)
    now_s = 0.0
    tries: deque[float] = deque()
    lives = dice.choices(
        [(LOST, None), (LOST, 0.0), (LOST, 30.0), (BadCredentials("401"), None), (Conflict("409"), 1.0)],
        weights=[dice.random() for _ in range(5)],
        k=800,
    )
    for fault, worked_s in lives:
        wait_s = backoff.next_s(fault, worked_s=worked_s)
        if fault is LOST:
            assert 0 < wait_s <= (60.0 if worked_s is None and backoff.failures > 1 else reconnect_s)
        else:
            assert 9.0 <= wait_s <= 300.0
        now_s += (worked_s or 0.0) + wait_s
        tries.append(now_s)
        while now_s - tries[0] > 60.0:
            tries.popleft()
        assert len(tries) <= 70 / min(reconnect_s, 1.0) + 5
    assert now_s < len(lives) * 301
