"""How often a chat may show a preview. Answers are not paced here: when a chat must wait, the gateway sees to it."""

from __future__ import annotations

import threading
import time
from typing import Callable

__all__ = ["PreviewPaces"]

PRIVATE_INTERVAL_S = 1.0
GROUP_INTERVAL_S = 3.0
_MAX_CHATS = 4096


class PreviewPaces:
    """Remembers, per chat, when its next preview may be shown.

    Thread-safe; `_guard` protects the table. `clock` returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._next: dict[str, float] = {}

    def claim(self, chat: str) -> bool:
        """Take the chat's next turn to show a preview; False when it is too early."""
        now = self._clock()
        with self._guard:
            if now < self._next.get(chat, 0.0):
                return False
            self._set(chat, now + (GROUP_INTERVAL_S if chat[:1] in "-@" else PRIVATE_INTERVAL_S))
            return True

    def hold(self, chat: str, seconds: float) -> None:
        """Show no preview in the chat for so long: the platform asked one of them to wait."""
        until = self._clock() + seconds
        with self._guard:
            self._set(chat, max(until, self._next.get(chat, 0.0)))

    def _set(self, chat: str, moment: float) -> None:
        self._next[chat] = moment
        if len(self._next) > _MAX_CHATS:
            # What is over first, then what ends first.
            for other, _ in sorted(self._next.items(), key=lambda item: item[1])[: _MAX_CHATS // 4]:
                del self._next[other]
