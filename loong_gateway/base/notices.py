"""Which conversations were told something lately, so that they are told once."""

from __future__ import annotations

import collections
import threading

from loong_gateway.base.clock import Clock

__all__ = ["Notices"]

QUIET_S = 600.0
MAX_KEYS = 4096


class Notices:
    """Remembers keys for a while. Thread-safe; at most 4,096 keys, the oldest is forgotten first."""

    def __init__(self, clock: Clock, *, quiet_s: float = QUIET_S) -> None:
        self._clock = clock
        self._quiet_s = quiet_s
        self._guard = threading.Lock()
        self._last_s: collections.OrderedDict[str, float] = collections.OrderedDict()

    def due(self, key: str) -> bool:
        """True the first time, and again once `quiet_s` have passed since it was last True for this key."""
        if not self.would_be_due(key):
            return False
        self.mark(key)
        return True

    def would_be_due(self, key: str) -> bool:
        """As `due`, without taking note of it."""
        with self._guard:
            last_s = self._last_s.get(key)
            return last_s is None or self._clock.monotonic_s() - last_s >= self._quiet_s

    def mark(self, key: str) -> None:
        """Take note that this was told now."""
        with self._guard:
            self._last_s[key] = self._clock.monotonic_s()
            self._last_s.move_to_end(key)
            while len(self._last_s) > MAX_KEYS:
                self._last_s.popitem(last=False)
