"""Notices when somebody, or the time service, sets the wall clock: it then moves otherwise than the time since boot."""

from __future__ import annotations

from loong_gateway.base.clock import Clock

__all__ = ["ClockSteps"]

# Slewing stays far below this between two looks; daylight saving does not touch the clock that we read.
STEP_S = 5.0
SHOWN_S = 600.0


class ClockSteps:
    """Used by one thread; `recent` may be read by any. Sleep of the host is no step, for the boot clock counts it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = self._offset()
        self._shown_until_s: float | None = None

    def look(self) -> int:
        """By how many milliseconds the wall clock was set since the last look, 0 when it was not."""
        offset_ms = self._offset()
        step_ms = offset_ms - self._offset_ms
        if abs(step_ms) < STEP_S * 1000:
            return 0
        self._offset_ms = offset_ms
        self._shown_until_s = self._clock.boot_s() + SHOWN_S
        return step_ms

    def recent(self) -> bool:
        """True for a while after a step."""
        until_s = self._shown_until_s
        return until_s is not None and self._clock.boot_s() < until_s

    def _offset(self) -> int:
        return self._clock.wall_ms() - int(self._clock.boot_s() * 1000)
