"""Which conversations of an account had no room lately. Others may go on being taken in all the while."""

from __future__ import annotations

import threading
from collections.abc import Iterable

__all__ = ["FullLanes"]

# A lane that is full for a moment is a busy day; one that stays full needs somebody to look.
SHOWN_AFTER_S = 10.0
# Of a lane that nothing was offered to for so long nobody knows.
FORGOTTEN_AFTER_S = 60.0
MAX_LANES = 1024


class FullLanes:
    """Thread-safe; `_guard` protects the table. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # When each was refused first and last.
        self._refused: dict[str, tuple[float, float]] = {}

    def refused(self, lanes: Iterable[str], now_s: float) -> bool:
        """These were refused together; True once one of them has been full for long."""
        with self._guard:
            self._forget(now_s)
            first_s = now_s
            for lane in lanes:
                since_s, _ = self._refused.pop(lane, (now_s, now_s))
                first_s = min(first_s, since_s)
                self._refused[lane] = (since_s, now_s)
            while len(self._refused) > MAX_LANES:
                del self._refused[next(iter(self._refused))]
            return now_s - first_s >= SHOWN_AFTER_S

    def taken(self, lanes: Iterable[str], now_s: float) -> bool:
        """These were taken; True when no other one is full either."""
        with self._guard:
            self._forget(now_s)
            for lane in lanes:
                self._refused.pop(lane, None)
            return not self._refused

    def _forget(self, now_s: float) -> None:
        # The one that was refused last is at the end.
        while self._refused:
            lane, (_, last_s) = next(iter(self._refused.items()))
            if now_s - last_s < FORGOTTEN_AFTER_S:
                return
            del self._refused[lane]
