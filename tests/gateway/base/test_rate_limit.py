from __future__ import annotations

from loong_gateway.base.rate_limit import RateLimit


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_name_has_a_window_of_its_own() -> None:
    clock = Seconds()
    limit = RateLimit(2, 10.0, clock=clock)
    assert [limit.take("a"), limit.take("a"), limit.take("b")] == [0.0, 0.0, 0.0]
    clock.now += 4
    assert limit.take("a") == 6.0
    assert limit.take("b") == 0.0
    clock.now += 6
    assert limit.take("a") == 0.0


def test_what_was_refused_is_not_counted() -> None:
    clock = Seconds()
    limit = RateLimit(1, 10.0, clock=clock)
    limit.take("a")
    clock.now += 9
    assert limit.take("a") == 1.0
    clock.now += 1
    assert limit.take("a") == 0.0


def test_names_used_longest_ago_are_forgotten() -> None:
    limit = RateLimit(1, 10.0, clock=Seconds(), most_names=2)
    for name in ("a", "b", "a", "c"):
        limit.take(name)
    assert limit.take("a") > 0
    assert limit.take("b") == 0.0
