"""How often something may happen within a sliding window, for each of many names."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import Callable

__all__ = ["RateLimit"]

MOST_NAMES = 4096


class RateLimit:
    """At most `times` within `window_s` seconds per name. Thread-safe; the names used longest ago are forgotten."""

    def __init__(
        self,
        times: int,
        window_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_names: int = MOST_NAMES,
    ) -> None:
        self._times = times
        self._window_s = window_s
        self._clock = clock
        self._most_names = most_names
        self._guard = threading.Lock()
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Count one more and return 0; when there were too many, count nothing and return the seconds to wait."""
        with self._guard:
            now = self._clock()
            taken = self._taken.setdefault(name, deque(maxlen=self._times))
            self._taken.move_to_end(name)
            if len(self._taken) > self._most_names:
                self._taken.popitem(last=False)
            if len(taken) == self._times and now - taken[0] < self._window_s:
                return self._window_s - (now - taken[0])
            taken.append(now)
            return 0.0
