"""The clock as a value that can be handed over, so that long sequences can be tested without waiting."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """The real clock. Tests pass an object with the same two methods."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch: for display and for comparing with a platform's times only."""
        return int(time.time() * 1000)

    def monotonic_s(self) -> float:
        """Seconds that never step: for every duration."""
        return time.monotonic()
