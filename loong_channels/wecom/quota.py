"""How many messages a conversation may get, as the platform counts them: replies and pushes together.

A reply that is streamed counts once. What is over the limit waits; nothing is lost.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Callable

from loong_channels.faults import Throttled

__all__ = ["Quota"]

_MINUTE_S = 60.0
_HOUR_S = 3600.0
# The platform's clock starts when a message arrives there, ours when it leaves here.
_MARGIN_S = 0.5
_MAX_CONVERSATIONS = 4096
# What the platform gives no time for: the first wait, doubled at each refusal in a row.
_FIRST_PAUSE_S = 3.0
_LONGEST_PAUSE_S = 60.0


@dataclass
class _Account:
    """What one conversation got: moments of the last hour, and how often in a row the platform said it was too much."""

    moments: deque[float] = field(default_factory=deque)
    refusals: int = 0


class Quota:
    """Thread-safe; `_guard` protects the table. A limit of 0 does not count. `clock` returns monotonic seconds."""

    def __init__(self, per_minute: int, per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._windows = [(_MINUTE_S, per_minute), (_HOUR_S, per_hour)]
        self._keep = max(per_minute, per_hour)
        self._clock = clock
        self._guard = threading.Lock()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def check(self, conversation: str) -> None:
        """Raise Throttled, with the time to wait, when the conversation has had enough."""
        now = self._clock()
        with self._guard:
            moments = self._account(conversation).moments
            while moments and moments[0] <= now - _HOUR_S - _MARGIN_S:
                moments.popleft()
            wait_s = 0.0
            for seconds, limit in self._windows:
                if limit and len(moments) >= limit:
                    wait_s = max(wait_s, moments[-limit] + seconds + _MARGIN_S - now)
        if wait_s > 0:
            raise Throttled("this conversation has had as many messages as it may", retry_after_s=wait_s)

    def spend(self, conversation: str) -> None:
        """A message leaves."""
        now = self._clock()
        with self._guard:
            moments = self._account(conversation).moments
            moments.append(now)
            while len(moments) > self._keep:
                moments.popleft()

    def taken(self, conversation: str) -> None:
        """The platform took a message."""
        with self._guard:
            self._account(conversation).refusals = 0

    def refused(self, conversation: str) -> float:
        """The platform said that it was too much; how long to wait."""
        with self._guard:
            account = self._account(conversation)
            wait_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(account.refusals, 8))
            account.refusals += 1
            return wait_s

    def _account(self, conversation: str) -> _Account:
        account = self._accounts.setdefault(conversation, _Account())
        self._accounts.move_to_end(conversation)
        if len(self._accounts) > _MAX_CONVERSATIONS:
            self._accounts.popitem(last=False)
        return account
