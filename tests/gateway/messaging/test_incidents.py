"""The past of a surface: runs are one incident, the list is bounded, recoveries are told from reclaims."""

from __future__ import annotations

from loong_gateway.messaging.incidents import KEPT, SAME_WITHIN_MS, History

MINUTE_MS = 60_000


def kinds(history: History) -> list[tuple[str, str, int]]:
    return [(one.kind, one.detail, one.count) for one in history.newest(99)]


def test_a_run_of_equal_failures_is_one_incident_with_a_count():
    history = History()
    for minute in range(1000):
        history = history.failed("connection refused", minute * MINUTE_MS)
    (incident,) = history.incidents
    assert (incident.count, incident.first_ms, incident.at_ms) == (1000, 0, 999 * MINUTE_MS)
    assert (history.consecutive_failures, history.last_failure_ms) == (1000, 999 * MINUTE_MS)


def test_a_line_that_flaps_is_two_incidents():
    history = History()
    for second in range(0, 2000, 2):
        history = history.failed("reset", second * 1000).recovered("ready", second * 1000 + 1000)
    assert kinds(history) == [("recovery", "ready", 1000), ("failure", "reset", 1000)]


def test_what_happens_again_much_later_is_another_incident():
    history = History().failed("reset", 0).failed("reset", SAME_WITHIN_MS + 1)
    assert kinds(history) == [("failure", "reset", 1)] * 2


def test_the_list_is_bounded_and_keeps_the_newest():
    history = History()
    for number in range(100):
        history = history.failed(f"fault {number}", number)
    assert len(history.incidents) == KEPT
    assert [one.detail for one in history.newest(2)] == ["fault 99", "fault 98"]


def test_a_surface_that_was_never_in_trouble_recovers_from_nothing():
    assert History().recovered("ready", 5) == History()


def test_what_somebody_else_had_is_taken_back_and_not_only_recovered():
    history = History().failed("taken over", 10, conflict=True).failed("reset", 20).recovered("ready", 30)
    assert kinds(history)[0] == ("duplicate_reclaim", "ready", 1)
    assert (history.kicked_total, history.last_duplicate_reclaim_ms, history.last_recovery_ms) == (1, 30, 30)
    history = history.failed("reset", 40).recovered("ready", 50)
    assert kinds(history)[0] == ("recovery", "ready", 1)
    assert history.last_duplicate_reclaim_ms == 30
