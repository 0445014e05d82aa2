"""How much one sender or one conversation may ask per minute. Off by default; thread-safe; bounded."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable, Sequence

from loong_channels.contract import Inbound
from loong_gateway.base.clock import Clock
from loong_gateway.config.snapshot import LimitSettings

__all__ = ["Budgets"]

WINDOW_S = 60.0
MAX_KEYS = 4096


class Budgets:
    """Counts messages over a sliding minute. Looking and spending are two steps, for a batch may come again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._times: collections.OrderedDict[str, collections.deque[float]] = collections.OrderedDict()

    def over(self, batch: Sequence[Inbound], limits: LimitSettings) -> list[bool]:
        """Which messages of a batch are over budget, in its order, if those that are not are spent. Counts nothing."""
        planned: collections.Counter[str] = collections.Counter()
        verdicts = []
        with self._guard:
            now_s = self._clock.monotonic_s()
            for inbound in batch:
                active = _active(inbound, limits)
                is_over = any(self._recent(key, now_s) + planned[key] >= limit for key, limit in active)
                if not is_over:
                    planned.update(key for key, _ in active)
                verdicts.append(is_over)
        return verdicts

    def spend(self, taken: Iterable[Inbound], limits: LimitSettings) -> None:
        """Count messages that were taken."""
        with self._guard:
            now_s = self._clock.monotonic_s()
            for inbound in taken:
                for key, _ in _active(inbound, limits):
                    self._times.setdefault(key, collections.deque()).append(now_s)
                    self._times.move_to_end(key)
            while len(self._times) > MAX_KEYS:
                self._times.popitem(last=False)

    def _recent(self, key: str, now_s: float) -> int:
        times = self._times.get(key)
        if times is None:
            return 0
        while times and now_s - times[0] >= WINDOW_S:
            times.popleft()
        return len(times)


def _active(inbound: Inbound, limits: LimitSettings) -> list[tuple[str, int]]:
    address = inbound.address
    wanted = [
        (f"conversation:{address.surface}:{address.conversation}", limits.conversation_per_min),
        (f"sender:{address.surface}:{inbound.sender_id}", limits.sender_per_min),
    ]
    return [(key, limit) for key, limit in wanted if limit > 0]
