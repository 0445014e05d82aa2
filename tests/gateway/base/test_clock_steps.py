from __future__ import annotations

import pytest

from loong_gateway.base.clock import Clock
from loong_gateway.base.clock_steps import SHOWN_S, ClockSteps
from tests.clocks import HandClock


@pytest.mark.parametrize("step_s", [-86_400, -3600, -6, 6, 3600, 86_400])
def test_a_clock_that_was_set_is_noticed_once_and_shown_for_a_while(step_s: int) -> None:
    clock = HandClock()
    steps = ClockSteps(clock)
    clock.advance(300)
    assert steps.look() == 0 and not steps.recent()
    clock.set_wall(step_s)
    assert steps.look() == step_s * 1000
    assert steps.look() == 0
    assert steps.recent()
    clock.advance(SHOWN_S)
    assert not steps.recent()


def test_a_small_correction_is_no_step_until_many_have_added_up() -> None:
    clock = HandClock()
    steps = ClockSteps(clock)
    found = []
    for _ in range(6):
        clock.set_wall(1)
        found.append(steps.look())
    assert found == [0, 0, 0, 0, 5000, 0]


def test_the_real_clocks_agree() -> None:
    assert ClockSteps(Clock()).look() == 0
