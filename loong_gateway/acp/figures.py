"""What is counted of agents since the start: turns, their latencies, errors, evictions."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from loong_gateway.storage.acp_sessions import AcpSession

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

    def snapshot(
        self,
        records: Sequence[AcpSession],
        *,
        idle_ttl_ms: int,
        alive: int,
        busy: int,
        queued: int,
        waiting: int,
    ) -> dict[str, object]:
        """All counts, with those of this moment: the sessions that have an actor, and what these are doing."""
        bound = sum(1 for record in records if record.channel is not None)
        with self._guard:
            return {
                "runtime_cache": {
                    "active_sessions": alive,
                    "idle_ttl_ms": idle_ttl_ms,
                    "evicted_total": self._evicted,
                    "last_evicted_at_ms": self._evicted_at_ms,
                },
                "sessions": {
                    "bound": bound,
                    "unbound": len(records) - bound,
                    "activation_origin_counts": dict(Counter(one.activation_origin for one in records)),
                    "provenance": dict(Counter(one.provenance for one in records)),
                    "backend_counts": dict(Counter(one.backend for one in records)),
                },
                "actors": {"active": busy, "queue_depth": queued, "waiting": waiting},
                "turns": {
                    "active": busy,
                    "queue_depth": queued,
                    "completed": self._completed,
                    "failed": sum(self._errors.values()),
                    "average_latency_ms": self._latency_ms // self._completed if self._completed else 0,
                    "max_latency_ms": self._longest_ms,
                },
                "errors_by_code": dict(self._errors),
            }
