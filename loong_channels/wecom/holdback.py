"""Messages that arrived and that the gateway has not taken yet. The platform never sends them again."""

from __future__ import annotations

from loong_channels.contract import Host, Inbound
from loong_channels.faults import Busy, NotAccepted

__all__ = ["Holdback"]

MAX_HELD = 1000
# How long to wait before a message that was not taken is offered again, try by try.
_BUSY_WAITS_S = (0.1, 0.2, 0.5, 1.0)
_STORE_WAITS_S = (0.5, 1.0, 2.0, 5.0)


class Holdback:
    """Keeps messages in order. Used by one thread at a time, over many connections. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._held: list[Inbound] = []
        self._tries = 0
        self._not_before = 0.0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """True when nothing more should be read before something was taken."""
        return len(self._held) >= MAX_HELD

    def add(self, inbound: Inbound) -> None:
        """Keep a message until it is taken."""
        self._held.append(inbound)

    def due_in_s(self, now: float) -> float | None:
        """Seconds until the next offer makes sense; None while there is nothing to offer."""
        return max(0.0, self._not_before - now) if self._held else None

    def hand_over(self, host: Host, now: float) -> bool:
        """Offer what is held; True when something was taken. Blocks for a commit, or a few when a lane is full."""
        if not self._held:
            return False
        before = len(self._held)
        waits = _STORE_WAITS_S
        try:
            host.accept(self._held)
            self._held = []
        except Busy:
            waits = _BUSY_WAITS_S
            self._hand_over_singly(host)
        except NotAccepted:
            pass  # the disk: nothing of it was taken, and one message less would not help
        if len(self._held) < before:
            self._tries = 0
        if self._held:
            self._not_before = now + waits[min(self._tries, len(waits) - 1)]
            self._tries += 1
        return len(self._held) < before

    def _hand_over_singly(self, host: Host) -> None:
        """One conversation is full: the others need not wait for it, but within one the order stays."""
        left: list[Inbound] = []
        full: set[str] = set()
        store_refuses = False
        for inbound in self._held:
            lane = inbound.address.lane
            if store_refuses or lane in full:
                left.append(inbound)
                continue
            try:
                host.accept([inbound])
            except Busy:
                full.add(lane)
                left.append(inbound)
            except NotAccepted:
                store_refuses = True
                left.append(inbound)
        self._held = left
