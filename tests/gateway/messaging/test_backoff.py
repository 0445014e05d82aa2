from __future__ import annotations

from loong_channels.faults import BadCredentials, Conflict, Throttled, Unreachable
from loong_gateway.messaging.backoff import Backoff

LOST = Unreachable("gone", maybe_processed=True)


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
    backoff.worked()
    assert backoff.next_s(LOST) <= 1.0


def test_a_refused_credential_is_tried_at_most_every_five_minutes():
    backoff = Backoff(reconnect_s=1.0)
    waits = [backoff.next_s(BadCredentials("401")) for _ in range(20)]
    assert all(270 <= wait <= 300 for wait in waits)


def test_a_conflict_is_tried_every_ten_to_sixty_seconds():
    backoff = Backoff(reconnect_s=1.0)
    waits = [backoff.next_s(Conflict("409")) for _ in range(8)]
    for step, wait in enumerate(waits, start=1):
        assert 0.9 * min(60, 10 * step) <= wait <= min(60, 10 * step)


def test_a_platform_that_names_a_time_is_believed():
    assert Backoff(reconnect_s=1.0).next_s(Throttled("429", retry_after_s=77.0)) == 77.0


def test_a_channel_that_knows_how_long_a_conflict_lasts_is_believed():
    backoff = Backoff(reconnect_s=1.0)
    assert 540 <= backoff.next_s(Conflict("taken over", retry_after_s=600.0)) <= 600
    assert backoff.next_s(Conflict("taken over", retry_after_s=float("inf"))) == float("inf")
