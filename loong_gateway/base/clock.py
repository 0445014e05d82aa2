"""The clock as a value that can be handed over, so that long sequences can be tested without waiting.

Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

import time

from loong_gateway.base.process import boot_clock_ns

__all__ = ["Clock", "wall_ms"]


def wall_ms() -> int:
    """Milliseconds since the epoch: for display and for comparing with a platform's times only."""
    return time.time_ns() // 1_000_000


class Clock:
    """The real clock. Tests pass an object with the same methods."""

    def wall_ms(self) -> int:
        """As the function of that name."""
        return wall_ms()

    def monotonic_s(self) -> float:
        """Seconds that never step: for every duration."""
        return time.monotonic()

    def boot_s(self) -> float:
        """Seconds since boot, sleep of the host included; never steps."""
        return boot_clock_ns() / 1e9
