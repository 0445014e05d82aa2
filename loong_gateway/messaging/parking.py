"""How long a conversation or a whole account must stay silent because its platform asked for it."""

from __future__ import annotations

import collections
import threading

from loong_channels.contract import Address
from loong_gateway.base.clock import Clock

__all__ = ["Parking"]

MAX_ENTRIES = 10_000


class Parking:
    """Remembers until when nothing may be sent. Thread-safe; at most 10,000 places, the oldest is forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._until_s: collections.OrderedDict[tuple[str, ...], float] = collections.OrderedDict()

    def park(self, address: Address, seconds: float, *, whole_account: bool = False) -> None:
        """Nothing goes to this conversation, or from this account, for `seconds`."""
        key = _key(address, whole_account=whole_account)
        with self._guard:
            self._until_s[key] = max(self._until_s.pop(key, 0.0), self._clock.monotonic_s() + seconds)
            while len(self._until_s) > MAX_ENTRIES:
                self._until_s.popitem(last=False)

    def wait_s(self, address: Address) -> float:
        """Seconds until something may be sent to this conversation; 0 when it may be now."""
        with self._guard:
            if not self._until_s:
                return 0.0
            now_s = self._clock.monotonic_s()
            longest_s = 0.0
            for key in (_key(address, whole_account=False), _key(address, whole_account=True)):
                until_s = self._until_s.get(key)
                if until_s is None:
                    continue
                if until_s <= now_s:
                    del self._until_s[key]
                else:
                    longest_s = max(longest_s, until_s - now_s)
            return longest_s


def _key(address: Address, *, whole_account: bool) -> tuple[str, ...]:
    account = (address.channel, address.account)
    return account if whole_account else (*account, address.conversation)
