"""The last events of a bus: in order, so many, and not longer together than there is room for."""

from __future__ import annotations

import pytest

from loong_gateway.base import bus as module
from loong_gateway.base.bus import Bus, Event, StaleCursor


def kept(bus: Bus) -> list[int]:
    return [numbered.seq for numbered in bus.newest(1000)]


def test_long_events_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_CHARS", 100)
    bus = Bus(lambda: 5)
    for length in (30, 30, 30, 30):
        bus.publish(Event("chat", {"message": {"content": [{"text": "x" * length}]}, "seq": 4}))
    assert kept(bus) == [2, 3, 4]
    with pytest.raises(StaleCursor):
        bus.since(0)
    assert [numbered.seq for numbered in bus.since(1)] == [2, 3, 4]
    bus.publish(Event("chat", {"text": "x" * 1000}))
    assert kept(bus) == [5]
    bus.publish(Event("chat", {"text": "x"}, is_kept=False))
    bus.publish(Event("chat", {"text": "x"}))
    assert kept(bus) == [6]


def test_so_many_are_kept() -> None:
    bus = Bus(lambda: 5)
    for _ in range(module.KEPT + 3):
        bus.publish(Event("agent", {}))
    assert kept(bus) == list(range(4, module.KEPT + 4))
