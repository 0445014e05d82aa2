"""What went wrong with a surface and when it was well again: the newest of it, as values. Kept in memory only."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["DUPLICATE_RECLAIM", "FAILURE", "NO_HISTORY", "RECOVERY", "History", "Incident"]

FAILURE = "failure"
RECOVERY = "recovery"
DUPLICATE_RECLAIM = "duplicate_reclaim"
KEPT = 20
# What happens again within this time is the same incident: a long outage, or a line that flaps, is one entry and not
# a flood. Longer than the longest wait between two tries.
SAME_WITHIN_MS = 900_000


@dataclass(frozen=True)
class Incident:
    """`at_ms` is when it happened last, `first_ms` when it happened first, `count` how often."""

    at_ms: int
    kind: str
    detail: str
    first_ms: int
    count: int = 1


@dataclass(frozen=True)
class History:
    """The past of one surface since the start of the gateway; times are wall-clock milliseconds, None for never.

    `incidents` holds the newest last. `consecutive_failures` counts since the platform last acknowledged us,
    `kicked_total` how often somebody else had the credential.
    """

    incidents: tuple[Incident, ...] = ()
    consecutive_failures: int = 0
    kicked_total: int = 0
    last_failure_ms: int | None = None
    last_recovery_ms: int | None = None
    last_duplicate_reclaim_ms: int | None = None
    is_contested: bool = False

    def failed(self, detail: str, now_ms: int, *, conflict: bool = False) -> History:
        """A connection ended by a fault, or the platform refused the account."""
        return replace(
            self._with(FAILURE, detail, now_ms),
            consecutive_failures=self.consecutive_failures + 1,
            kicked_total=self.kicked_total + (1 if conflict else 0),
            last_failure_ms=now_ms,
            is_contested=self.is_contested or conflict,
        )

    def recovered(self, detail: str, now_ms: int) -> History:
        """The platform acknowledged us; the same history when nothing had been wrong."""
        if not self.consecutive_failures:
            return self
        after = self._with(DUPLICATE_RECLAIM if self.is_contested else RECOVERY, detail, now_ms)
        return replace(
            after,
            consecutive_failures=0,
            is_contested=False,
            last_recovery_ms=now_ms,
            last_duplicate_reclaim_ms=now_ms if self.is_contested else self.last_duplicate_reclaim_ms,
        )

    def newest(self, count: int) -> list[Incident]:
        """The newest incidents, the newest first."""
        return list(reversed(self.incidents))[:count]

    def _with(self, kind: str, detail: str, now_ms: int) -> History:
        same = [
            one
            for one in self.incidents
            if (one.kind, one.detail) == (kind, detail) and now_ms - one.at_ms <= SAME_WITHIN_MS
        ]
        others = [one for one in self.incidents if one not in same]
        if same:
            incident = replace(same[-1], at_ms=now_ms, count=same[-1].count + 1)
        else:
            incident = Incident(now_ms, kind, detail, now_ms)
        return replace(self, incidents=(*others, incident)[-KEPT:])


NO_HISTORY = History()
