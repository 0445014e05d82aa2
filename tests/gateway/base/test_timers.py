from __future__ import annotations

import threading

from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers
from tests.waiting import wait_until

PATIENCE_S = 10.0


def test_things_are_done_in_the_order_they_are_due_and_then_there_is_no_thread() -> None:
    registry = ThreadRegistry()
    timers = Timers("timers", registry)
    said: list[str] = []
    timers.later(0.05, lambda: said.append("second"))
    timers.later(0.0, lambda: said.append("first"))
    assert registry.alive() == ["timers"]
    wait_until(lambda: said == ["first", "second"])
    wait_until(lambda: registry.alive() == [])
    timers.later(0.0, lambda: said.append("third"))
    wait_until(lambda: said[-1] == "third")


def test_what_was_taken_back_is_not_done_and_keeps_no_thread() -> None:
    registry = ThreadRegistry()
    timers = Timers("timers", registry)
    said: list[str] = []
    ends = [timers.later(3600.0, lambda: said.append("never")) for _ in range(5)]
    for end in ends:
        end()
        end()
    wait_until(lambda: registry.alive() == [])
    assert said == []


def test_repetition_goes_on_after_a_failure_until_it_is_ended() -> None:
    registry = ThreadRegistry()
    timers = Timers("timers", registry)
    times = threading.Semaphore(0)

    def fail() -> None:
        times.release()
        raise LookupError("a bug")

    end = timers.every(0.005, fail)
    for _ in range(3):
        assert times.acquire(timeout=PATIENCE_S)
    end()
    wait_until(lambda: registry.alive() == [])


def test_closing_forgets_what_is_due() -> None:
    registry = ThreadRegistry()
    timers = Timers("timers", registry)
    said: list[str] = []
    timers.later(3600.0, lambda: said.append("never"))
    assert timers.close(Deadline(PATIENCE_S))
    timers.later(0.0, lambda: said.append("never"))
    wait_until(lambda: registry.alive() == [])
    assert said == []
