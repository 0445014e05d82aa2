"""How long to leave the robot to whoever took it. Pure: the clock is handed in."""

from __future__ import annotations

import math

__all__ = ["Reclaims"]

# Taking the robot back at once would be answered in kind, for ever.
_FIRST_S = 60.0
_LONGEST_S = 600.0
# Whoever held the robot for this long was not in a fight over it.
_PEACE_S = 1800.0


class Reclaims:
    """Counts how often in a row the robot was lost. Not thread-safe. Moments are monotonic seconds."""

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed
        self._losses = 0

    def lost(self, held_since: float | None, now: float) -> float:
        """The robot was lost at `now`, or not even had; seconds until it may be taken back, infinite for never."""
        if not self._allowed:
            return math.inf
        if held_since is not None and now - held_since >= _PEACE_S:
            self._losses = 0
        wait_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(self._losses, 8))
        self._losses += 1
        return wait_s
