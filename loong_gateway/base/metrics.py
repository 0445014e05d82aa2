"""Named counts of what happened since the start: for status and metrics. Bounded, thread-safe, in memory."""

from __future__ import annotations

import threading

__all__ = ["Metrics"]

MAX_NAMES = 4096


class Metrics:
    """Counts by name. `events` grows with every count, so that a reader sees that something happened.

    Names are made from fixed words, channels and accounts, never from conversations or users.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: dict[str, int] = {}
        self.events = 0

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a count; a new name beyond the bound is counted under `other`."""
        with self._guard:
            if name not in self._counts and len(self._counts) >= MAX_NAMES:
                name = "other"
            self._counts[name] = self._counts.get(name, 0) + amount
            self.events += 1

    def get(self, name: str) -> int:
        """One count."""
        with self._guard:
            return self._counts.get(name, 0)

    def any(self, *prefixes: str) -> bool:
        """True when something was counted under a name that begins with one of these."""
        with self._guard:
            return any(name.startswith(prefixes) for name in self._counts)

    def snapshot(self) -> dict[str, int]:
        """All counts, as a copy."""
        with self._guard:
            return dict(self._counts)
