"""When a surface tries again, by what went wrong and how long it had worked. Pure, apart from the jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

from loong_channels.faults import BadCredentials, Conflict, Fault, Overloaded, Throttled

__all__ = ["Backoff"]

CAP_S = 60.0
FIRST_S = 1.0
BAD_CREDENTIALS_S = 300.0
CONFLICT_STEP_S = 10.0
CONFLICT_CAP_S = 60.0
# A connection that worked for less is one of those that the platform takes and drops again.
LASTING_S = 60.0


@dataclass
class Backoff:
    """Counts failures in a row. `reconnect_s` bounds the first retry after a connection that worked.

    A credential that worked is tried once more soon: it may be another one by now, or was refused by mistake.
    A connection worked when the platform had acknowledged it. After it the next failure is a first one; but only one
    that lasted makes a conflict forgotten, and from the second in a row that did not, the whole interval is waited.
    """

    reconnect_s: float
    failures: int = 0
    conflicts: int = 0
    short_lives: int = 0

    def next_s(self, fault: Fault, *, worked_s: float | None = None) -> float:
        """How long to wait after a connection ended that worked for `worked_s`, None when it never did.

        Full jitter, except where a platform said how long.
        """
        self._look_back(worked_s)
        if isinstance(fault, Conflict):
            self.conflicts += 1
            if fault.retry_after_s is not None:
                # Never before it, for whoever else wants the account counts on it.
                return fault.retry_after_s + _jitter(0.0)
            return min(CONFLICT_CAP_S, CONFLICT_STEP_S * self.conflicts) * _jitter(0.9)
        self.failures += 1
        if isinstance(fault, BadCredentials) and (worked_s is None or self.short_lives > 1):
            return BAD_CREDENTIALS_S * _jitter(0.9)
        if isinstance(fault, (Throttled, Overloaded)) and fault.retry_after_s is not None:
            return fault.retry_after_s
        if self.failures == 1:
            return self.reconnect_s * _jitter(0.1 if self.short_lives < 2 else 0.9)
        return min(CAP_S, FIRST_S * 2.0 ** min(self.failures - 1, 16)) * _jitter(0.1)

    def _look_back(self, worked_s: float | None) -> None:
        if worked_s is None:
            return
        self.failures = 0
        if worked_s >= LASTING_S:
            self.conflicts = self.short_lives = 0
        else:
            self.short_lives += 1


def _jitter(least: float) -> float:
    return random.uniform(least, 1.0)  # noqa: S311  spreads retries, guards nothing
