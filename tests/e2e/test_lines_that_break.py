"""Connections that break, platforms that push again, and rivals, in short; contrib.reliability has the long forms."""

from __future__ import annotations

from contrib.reliability import acks, disconnects, pings

# Here it only matters that what is waited for comes: the full sizes hold the times against their limits.
PATIENCE_S = 60.0


def test_every_channel_comes_back_after_every_kind_of_disconnect_with_all_it_owes() -> None:
    outcome = disconnects.run(15, seed=6, grace_s=PATIENCE_S)
    assert outcome.passed, outcome.line()
    assert (outcome.metrics["lost"], outcome.metrics["duplicates"]) == (0, 0)
    for channel in ("telegram", "feishu", "wecom"):
        figures = outcome.metrics[channel]
        assert isinstance(figures, dict)
        assert figures["faults"] == dict.fromkeys(("reset", "black_hole", "close", "kicked", "refused"), 3)


def test_feishu_events_are_acknowledged_while_every_worker_is_busy() -> None:
    outcome = acks.run(1, seed=6, goal_s=PATIENCE_S)
    assert outcome.passed, outcome.line()
    assert outcome.metrics["refused"] == 0


def test_a_feishu_event_that_comes_again_hours_later_is_known_also_after_a_restart() -> None:
    outcome = acks.run_late(7, seed=6)
    assert outcome.passed, outcome.line()
    assert outcome.metrics["pushed_again"] == 8


def test_pings_go_on_during_slow_turns() -> None:
    outcome = pings.run(6, seed=6, slow_s=1.2, late_s=PATIENCE_S, speed=10.0)
    assert outcome.passed, outcome.line()
    assert int(str(outcome.metrics["pings"])) >= 3


def test_a_robot_that_another_process_holds_is_taken_back_slowly() -> None:
    outcome = pings.run_takeover(3, seed=6, speed=120.0)
    assert outcome.passed, outcome.line()
    assert outcome.metrics["most_reclaims_in_a_minute"] == 1
