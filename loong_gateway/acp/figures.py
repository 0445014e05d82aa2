"""What is counted of agents since the start: turns, their latencies, errors, evictions."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

__all__ = ["Figures"]


class Figures:
    """Thread-safe; `_guard` protects the numbers."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._completed = 0
        self._latency_ms = 0
        self._longest_ms = 0
        self._errors: Counter[str] = Counter()
        self._evicted = 0
        self._evicted_at_ms: int | None = None

    def completed(self, seconds: float) -> None:
        """Count a turn that gave an answer."""
        latency_ms = int(seconds * 1000)
        with self._guard:
            self._completed += 1
            self._latency_ms += latency_ms
            self._longest_ms = max(self._longest_ms, latency_ms)

    def failed(self, kind: str) -> None:
        """Count a turn that failed, by the kind of its fault."""
        with self._guard:
            self._errors[kind] += 1

    def evicted(self, number: int, now_ms: int) -> None:
        """Count agents that were ended because they rested."""
        with self._guard:
            self._evicted += number
            self._evicted_at_ms = now_ms

    def turns(self, active: int, waiting: int) -> Mapping[str, int]:
        """The counts of turns, with those of this moment."""
        with self._guard:
            return {
                "active": active,
                "queue_depth": waiting,
                "completed": self._completed,
                "failed": sum(self._errors.values()),
                "average_latency_ms": self._latency_ms // self._completed if self._completed else 0,
                "max_latency_ms": self._longest_ms,
            }

    def errors(self) -> Mapping[str, int]:
        """Failed turns by kind."""
        with self._guard:
            return dict(self._errors)

    def evictions(self) -> tuple[int, int | None]:
        """How many were ended, and when the last one was."""
        with self._guard:
            return self._evicted, self._evicted_at_ms
