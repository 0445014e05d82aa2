"""Which chats must be left alone for how long. Sends obey what the platform told us; previews pace themselves."""

from __future__ import annotations

import threading
import time
from typing import Callable

__all__ = ["ChatPaces"]

PRIVATE_INTERVAL_S = 1.0
GROUP_INTERVAL_S = 3.0
# Told exactly, the server still refuses what arrives a moment early.
_MARGIN_S = 0.1
_MAX_CHATS = 4096


class ChatPaces:
    """Remembers, per chat, until when it is parked and when its next preview may be shown.

    Thread-safe; `_guard` protects both tables. `clock` returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._parked_until: dict[str, float] = {}
        self._next_preview: dict[str, float] = {}

    def park(self, chat: str, seconds: float) -> None:
        """Leave the chat alone: the platform asked for it."""
        until = self._clock() + seconds + _MARGIN_S
        with self._guard:
            self._parked_until[chat] = max(until, self._parked_until.get(chat, 0.0))
            self._trim(self._parked_until)

    def parked_s(self, chat: str) -> float:
        """For how many seconds the chat must still be left alone; 0 when it need not."""
        if chat not in self._parked_until:
            return 0.0
        with self._guard:
            left = self._parked_until.get(chat, 0.0) - self._clock()
            if left <= 0:
                self._parked_until.pop(chat, None)
            return max(0.0, left)

    def claim_preview(self, chat: str) -> bool:
        """Take the chat's next turn to show a preview; False when it is too early."""
        if self.parked_s(chat) > 0:
            return False
        with self._guard:
            now = self._clock()
            if now < self._next_preview.get(chat, 0.0):
                return False
            self._next_preview[chat] = now + (GROUP_INTERVAL_S if chat[:1] in "-@" else PRIVATE_INTERVAL_S)
            self._trim(self._next_preview)
            return True

    def _trim(self, table: dict[str, float]) -> None:
        """Keep a table small: what is over first, then what ends first."""
        if len(table) <= _MAX_CHATS:
            return
        for chat, _ in sorted(table.items(), key=lambda item: item[1])[: _MAX_CHATS // 4]:
            del table[chat]
