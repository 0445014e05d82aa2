"""When a surface tries again, by what went wrong. Pure, apart from the jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

from loong_channels.faults import BadCredentials, Conflict, Fault, Throttled

__all__ = ["Backoff"]

CAP_S = 60.0
FIRST_S = 1.0
BAD_CREDENTIALS_S = 300.0
CONFLICT_STEP_S = 10.0
CONFLICT_CAP_S = 60.0


@dataclass
class Backoff:
    """Counts failures in a row. `reconnect_s` bounds the first retry after a connection that worked."""

    reconnect_s: float
    failures: int = 0
    conflicts: int = 0

    def worked(self) -> None:
        """The platform acknowledged us: the next failure is a first one."""
        self.failures = 0
        self.conflicts = 0

    def next_s(self, fault: Fault | None) -> float:
        """How long to wait after this failure; full jitter, except where a platform said how long."""
        if isinstance(fault, Conflict):
            self.conflicts += 1
            if fault.retry_after_s is not None:
                return fault.retry_after_s * _jitter(0.9)
            return min(CONFLICT_CAP_S, CONFLICT_STEP_S * self.conflicts) * _jitter(0.9)
        self.failures += 1
        if isinstance(fault, BadCredentials):
            return BAD_CREDENTIALS_S * _jitter(0.9)
        if isinstance(fault, Throttled):
            return fault.retry_after_s
        if self.failures == 1:
            return self.reconnect_s * _jitter(0.1)
        return min(CAP_S, FIRST_S * 2.0 ** min(self.failures - 1, 16)) * _jitter(0.1)


def _jitter(least: float) -> float:
    return random.uniform(least, 1.0)  # noqa: S311  spreads retries, guards nothing
