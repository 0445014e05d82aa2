"""What is remembered for a while: the latest of many things. Standard library only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Remembered"]

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """A table of the latest `limit` entries. Thread-safe; `_guard` protects it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._guard = threading.Lock()
        self._entries: OrderedDict[K, V] = OrderedDict()

    def put(self, key: K, value: V) -> None:
        """Remember; the oldest entry gives way."""
        with self._guard:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._limit:
                self._entries.popitem(last=False)

    def get(self, key: K) -> V | None:
        """What is remembered under a key."""
        with self._guard:
            return self._entries.get(key)

    def pop(self, key: K) -> V | None:
        """Forget; what was remembered."""
        with self._guard:
            return self._entries.pop(key, None)

    def __contains__(self, key: K) -> bool:
        with self._guard:
            return key in self._entries
