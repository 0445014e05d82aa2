"""How much one sender or one conversation may ask per minute. Off by default; thread-safe; bounded."""

from __future__ import annotations

import collections
import threading

from loong_channels.contract import Inbound
from loong_gateway.base.clock import Clock
from loong_gateway.config.snapshot import LimitSettings

__all__ = ["Budgets"]

WINDOW_S = 60.0
MAX_KEYS = 4096


class Budgets:
    """Counts messages over a sliding minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._times: collections.OrderedDict[str, collections.deque[float]] = collections.OrderedDict()

    def spend(self, inbound: Inbound, limits: LimitSettings) -> bool:
        """Count one message; False when its sender or its conversation is over budget, and then it is not counted."""
        address = inbound.address
        account = f"{address.channel}:{address.account}"
        wanted = [
            (f"c:{account}:{address.conversation}", limits.conversation_per_min),
            (f"s:{account}:{inbound.sender_id}", limits.sender_per_min),
        ]
        active = [(key, limit) for key, limit in wanted if limit > 0]
        if not active:
            return True
        now_s = self._clock.monotonic_s()
        with self._guard:
            if any(len(self._recent(key, now_s)) >= limit for key, limit in active):
                return False
            for key, _ in active:
                self._times[key].append(now_s)
            while len(self._times) > MAX_KEYS:
                self._times.popitem(last=False)
            return True

    def _recent(self, key: str, now_s: float) -> collections.deque[float]:
        times = self._times.setdefault(key, collections.deque())
        self._times.move_to_end(key)
        while times and now_s - times[0] >= WINDOW_S:
            times.popleft()
        return times
