"""When to test the connection, and when it is dead. Pure: the clock is handed in, pings are sent by somebody else."""

from __future__ import annotations

__all__ = ["Heartbeat"]

# This many pings may be unanswered when the next one is due.
_MAX_MISSING = 2


class Heartbeat:
    """Counts pings without an answer. Not thread-safe. Moments are monotonic seconds."""

    def __init__(self, interval_s: float, now: float) -> None:
        self._interval_s = interval_s
        self._next = now + interval_s
        self._missing: list[str] = []

    def due_in_s(self, now: float) -> float:
        """Seconds until the next ping, 0 when it is time."""
        return max(0.0, self._next - now)

    @property
    def is_dead(self) -> bool:
        """Whether so many pings are unanswered that another one would be in vain."""
        return len(self._missing) >= _MAX_MISSING

    def beat(self, req_id: str, now: float) -> None:
        """A ping with this id leaves. The period is kept, unless we come so late that pings would pile up."""
        self._missing.append(req_id)
        self._next += self._interval_s
        if self._next <= now:
            self._next = now + self._interval_s

    def answered(self, req_id: str, code: int) -> bool:
        """Take the answer to a ping; False when it is none. A refusal counts as none for the connection's health."""
        if req_id not in self._missing:
            return False
        if code == 0:
            self._missing.clear()
        return True

    def excuse(self) -> None:
        """Nothing was read on purpose, so no answer can have come."""
        self._missing.clear()
