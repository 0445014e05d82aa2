"""Messages that arrived and that the gateway has not taken yet. The platform never sends them again.

A conversation that is full stops no other: its messages stand behind, the others pass. What the disk refuses waits all
together. What is held is bounded; beyond that, the newest of a full conversation are not kept.
"""

from __future__ import annotations

from collections import deque

from loong_channels.contract import Host, Inbound
from loong_channels.faults import Busy, NotAccepted

__all__ = ["Holdback"]

MAX_HELD = 1000
MAX_EVER = 2 * MAX_HELD
MAX_BEHIND = 500
# So many commits in a row delay no ping.
_MAX_SINGLY = 64
# How long to wait before what was not taken is offered again, try by try.
_BUSY_WAITS_S = (0.1, 0.2, 0.5, 1.0)
_STORE_WAITS_S = (0.5, 1.0, 2.0, 5.0)


class _Pause:
    """When the next try is due; each in a row comes later. Moments are monotonic seconds."""

    def __init__(self, waits: tuple[float, ...]) -> None:
        self._waits = waits
        self._tries = 0
        self._not_before = 0.0

    @property
    def is_on(self) -> bool:
        return self._tries > 0

    def due_in_s(self, now: float) -> float:
        return max(0.0, self._not_before - now) if self._tries else 0.0

    def begin(self, now: float) -> None:
        self._not_before = now + self._waits[min(self._tries, len(self._waits) - 1)]
        self._tries += 1

    def end(self) -> None:
        self._tries = 0


class Holdback:
    """Keeps messages in order within each conversation. Used by one thread at a time, over many connections.

    Moments are monotonic seconds.
    """

    def __init__(self) -> None:
        self._fresh: deque[Inbound] = deque()
        # The messages of lanes that are full, which come after nothing but each other.
        self._behind: dict[str, deque[Inbound]] = {}
        self._store_pause = _Pause(_STORE_WAITS_S)
        self._lanes_pause = _Pause(_BUSY_WAITS_S)

    def __len__(self) -> int:
        return len(self._fresh) + sum(map(len, self._behind.values()))

    @property
    def is_full(self) -> bool:
        """True when nothing more should be read before the disk takes something."""
        return self._store_pause.is_on and len(self) >= MAX_HELD

    @property
    def is_brimful(self) -> bool:
        """True when nothing more must be read, whoever waits for it."""
        return self._store_pause.is_on and len(self) >= MAX_EVER

    def add(self, inbound: Inbound) -> bool:
        """Keep a message until it is taken; False when its conversation has too many of them."""
        behind = self._behind.get(inbound.address.lane)
        if behind is None:
            self._fresh.append(inbound)
            return True
        if len(behind) >= MAX_BEHIND or len(self) >= MAX_EVER:
            return False
        behind.append(inbound)
        return True

    def due_in_s(self, now: float) -> float | None:
        """Seconds until the next offer makes sense; None while there is nothing to offer."""
        if not self._fresh and not self._behind:
            return None
        if self._store_pause.is_on:
            return self._store_pause.due_in_s(now)
        return 0.0 if self._fresh else self._lanes_pause.due_in_s(now)

    def hand_over(self, host: Host, now: float, *, at_once: bool = False) -> bool:
        """Offer what is due, or everything; True when something was taken. Blocks for a commit, or a few."""
        if at_once:
            self._store_pause.end()
            self._lanes_pause.end()
        if self._store_pause.due_in_s(now) > 0:
            return False
        before = len(self)
        try:
            self._offer_fresh(host)
            if self._behind and self._lanes_pause.due_in_s(now) <= 0:
                self._offer_behind(host, now)
            self._store_pause.end()
        except NotAccepted:
            # The disk: nothing of the offer was taken, and a smaller one would not help.
            self._store_pause.begin(now)
        return len(self) < before

    def _offer_fresh(self, host: Host) -> None:
        if not self._fresh:
            return
        try:
            host.accept(list(self._fresh))
            self._fresh.clear()
        except Busy:
            self._offer_fresh_singly(host)

    def _offer_fresh_singly(self, host: Host) -> None:
        while self._fresh:
            try:
                host.accept([self._fresh[0]])
            except Busy:
                self._fall_behind(self._fresh[0].address.lane)
            else:
                self._fresh.popleft()

    def _fall_behind(self, lane: str) -> None:
        """A lane is full: all of its messages wait, so that they stay in order."""
        self._behind[lane] = deque(one for one in self._fresh if one.address.lane == lane)
        self._fresh = deque(one for one in self._fresh if one.address.lane != lane)

    def _offer_behind(self, host: Host, now: float) -> None:
        taken = 0
        try:
            for lane in list(self._behind):
                taken += self._offer_lane(host, lane, _MAX_SINGLY - taken)
        finally:
            if taken or not self._behind:
                self._lanes_pause.end()
            if self._behind and taken < _MAX_SINGLY:
                self._lanes_pause.begin(now)

    def _offer_lane(self, host: Host, lane: str, limit: int) -> int:
        """Offer up to `limit` messages of a lane, the oldest first; how many were taken."""
        behind = self._behind[lane]
        taken = 0
        try:
            while behind and taken < limit:
                host.accept([behind[0]])
                behind.popleft()
                taken += 1
        except Busy:
            pass
        if not behind:
            del self._behind[lane]
        return taken
