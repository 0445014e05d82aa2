"""Named counts of what happened since the start: for status and metrics. Bounded, thread-safe, in memory."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Mapping
from typing import Callable

__all__ = ["BUCKETS_S", "Histogram", "Metrics"]

MAX_NAMES = 4096
# The upper ends of the buckets: from a commit to the longest turn.
BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

Gauge = Callable[[], float]


class Histogram:
    """How long something took, in buckets. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        with self._guard:
            self._counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
            self._sum_s += seconds

    def read(self) -> tuple[tuple[int, ...], float]:
        """How many were in each bucket, the last one for all that took longer, and the sum of all in seconds."""
        with self._guard:
            return tuple(self._counts), self._sum_s


class Metrics:
    """Counts by name. `events` grows with every count, so that a reader sees that something happened.

    Names are made from fixed words, channels and accounts, never from conversations or users. Beside the counts there
    are histograms, and gauges that are read when somebody looks; `_guard` protects the tables.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: dict[str, int] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges: dict[str, Gauge] = {}
        self.events = 0

    def add(self, name: str, amount: int = 1) -> None:
        """Add to a count; a new name beyond the bound is counted under `other`."""
        with self._guard:
            if name not in self._counts and len(self._counts) >= MAX_NAMES:
                name = "other"
            self._counts[name] = self._counts.get(name, 0) + amount
            self.events += 1

    def observe(self, name: str, seconds: float) -> None:
        """Count a duration in the histogram of a fixed name."""
        with self._guard:
            histogram = self._histograms.setdefault(name, Histogram())
        histogram.observe(seconds)

    def show(self, name: str, read: Gauge | Histogram) -> None:
        """Let readers see what somebody else keeps: a histogram, or a gauge that may block for a look and may raise."""
        with self._guard:
            if isinstance(read, Histogram):
                self._histograms[name] = read
            else:
                self._gauges[name] = read

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

    def histograms(self) -> Mapping[str, Histogram]:
        """All histograms by name."""
        with self._guard:
            return dict(self._histograms)

    def gauges(self) -> Mapping[str, Gauge]:
        """All gauges by name; read them without a lock held."""
        with self._guard:
            return dict(self._gauges)
