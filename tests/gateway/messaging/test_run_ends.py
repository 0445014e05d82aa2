"""What is remembered of runs that have ended: how they did, and as much of what they said as there is room for."""

from __future__ import annotations

import pytest

from loong_gateway.base.clock import Clock
from loong_gateway.control.runs import RunRequest, RunResult
from loong_gateway.messaging import run_ends
from loong_gateway.messaging.run import Run
from loong_gateway.messaging.run_ends import RunEnds


class NoEvents:
    """Nobody listens."""

    is_wanted = False

    def finished(self, *_: object) -> None:
        pass


def ended(run_id: str, text: str, *, durable: bool = True) -> Run:
    run = Run(RunRequest(run_id, "asked", durable=durable), NoEvents(), Clock(), 1)
    run.end(RunResult(run_id, "ok", text=text))
    return run


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> RunEnds:
    monkeypatch.setattr(run_ends, "MOST_BYTES", 3000)
    return RunEnds()


def test_what_was_said_longest_ago_goes_first_and_how_it_ended_stays(ends: RunEnds) -> None:
    for name in "abcd":
        ends.keep(ended(name, name * 1000))
    assert [ends.get(name).is_shed for name in "abcd"] == [True, True, False, False]
    assert [ends.get(name).result.state for name in "ab"] == ["ok", "ok"]
    # Read again it is whole, and the newest.
    ends.keep(ended("a", "a" * 1000))
    assert [ends.get(name).is_shed for name in "abcd"] == [False, True, True, False]


def test_what_is_nowhere_else_is_forgotten_as_a_whole(ends: RunEnds) -> None:
    ends.keep(ended("a", "a" * 2000, durable=False))
    ends.keep(ended("b", "b" * 2000))
    assert ends.get("a") is None
    assert not ends.get("b").is_shed


def test_one_that_is_too_large_by_itself_is_kept_until_the_next(ends: RunEnds) -> None:
    ends.keep(ended("a", "a" * 9000))
    assert not ends.get("a").is_shed
    ends.keep(ended("b", "b"))
    assert (ends.get("a").is_shed, ends.get("b").is_shed) == (True, False)


def test_the_oldest_is_forgotten_when_they_are_too_many(
    ends: RunEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_ends, "KEPT_ROWS", 2)
    for name in "abc":
        ends.keep(ended(name, ""))
    assert [ends.get(name) is None for name in "abc"] == [True, False, False]
