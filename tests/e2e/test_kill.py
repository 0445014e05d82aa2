"""The delivery promise under kill -9, in its short form; `python -m contrib.reliability` runs the full sizes."""

from __future__ import annotations

from contrib.reliability import kills, points


def test_nothing_acknowledged_is_lost_over_kills_at_random_moments() -> None:
    outcome = kills.run_mixed(7, seed=20)
    assert outcome.passed, outcome.line()
    for platform in ("telegram", "feishu", "wecom"):
        assert outcome.metrics[f"{platform}_messages"] != 0
    assert outcome.metrics["feishu_duplicates"] == 0


def test_nothing_is_lost_when_killed_at_a_request() -> None:
    outcome = points.run_wire_mixed(30, seed=4)
    assert outcome.passed, outcome.line()
    assert outcome.n >= 2


def test_nothing_is_lost_when_killed_at_a_change_of_the_store() -> None:
    outcome = points.run_store_mixed(45, seed=4)
    assert outcome.passed, outcome.line()
    assert outcome.n >= 2
