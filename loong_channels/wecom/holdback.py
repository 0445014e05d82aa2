"""Messages that arrived and that the gateway has not taken yet. The platform never sends them again."""

from __future__ import annotations

import itertools
from collections import deque

from loong_channels.contract import Host, Inbound
from loong_channels.faults import NotAccepted

__all__ = ["Holdback"]

MAX_HELD = 1000
MAX_EVER = 2 * MAX_HELD
# So many messages are offered in one go.
_BATCH = 64
# How long to wait before what was not taken is offered again, try by try.
_WAITS_S = (0.5, 1.0, 2.0, 5.0)


class Holdback:
    """Keeps messages in order. Used by one thread at a time, over many connections. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._held: deque[Inbound] = deque()
        # Since something was taken last.
        self._refusals = 0
        self._not_before = 0.0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """True when nothing more should be read before something is taken."""
        return self._refusals > 0 and len(self) >= MAX_HELD

    @property
    def is_brimful(self) -> bool:
        """True when nothing more must be read, whoever waits for it."""
        return self._refusals > 0 and len(self) >= MAX_EVER

    def add(self, inbound: Inbound) -> None:
        """Keep a message until it is taken."""
        self._held.append(inbound)

    def due_in_s(self, now: float) -> float | None:
        """Seconds until the next offer makes sense; None while there is nothing to offer."""
        if not self._held:
            return None
        return max(0.0, self._not_before - now) if self._refusals else 0.0

    def hand_over(self, host: Host, now: float, *, at_once: bool = False) -> bool:
        """Offer everything, if it is time or `at_once`; True when something was taken. Blocks for some commits."""
        due_s = self.due_in_s(now)
        if due_s is None or (due_s > 0 and not at_once):
            return False
        before = len(self)
        try:
            while self._held:
                batch = list(itertools.islice(self._held, _BATCH))
                host.accept(batch)
                self._refusals = 0
                for _ in batch:
                    self._held.popleft()
        except NotAccepted:
            # Nothing of the batch was taken, and a smaller one would not help.
            self._not_before = now + _WAITS_S[min(self._refusals, len(_WAITS_S) - 1)]
            self._refusals += 1
        return len(self) < before
