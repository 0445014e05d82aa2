"""A clock that stands still until a test moves it."""

from __future__ import annotations


class HandClock:
    def __init__(self, wall_ms: int = 1_800_000_000_000) -> None:
        self._wall_ms = wall_ms
        self._monotonic_s = 1000.0

    def advance(self, seconds: float) -> None:
        self._monotonic_s += seconds
        self._wall_ms += int(seconds * 1000)

    def set_wall(self, by_s: float) -> None:
        self._wall_ms += int(by_s * 1000)

    def wall_ms(self) -> int:
        return self._wall_ms

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def boot_s(self) -> float:
        return self._monotonic_s
