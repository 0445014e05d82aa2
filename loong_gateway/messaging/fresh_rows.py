"""The messages that were stored last: a turn that follows at once need not read from disk what was just written."""

from __future__ import annotations

import threading

from loong_gateway.storage.inbox import InboxRow

__all__ = ["FreshRows"]

MOST = 128


class FreshRows:
    """Thread-safe; holds at most `most` rows and forgets the oldest first. `_guard` protects them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._rows: dict[int, InboxRow] = {}

    def put(self, row: InboxRow) -> None:
        """Keep a row until it is taken or displaced."""
        with self._guard:
            if len(self._rows) >= self._most:
                del self._rows[next(iter(self._rows))]
            self._rows[row.seq] = row

    def take(self, seq: int) -> InboxRow | None:
        """The row, once; None when it is not here and must be read."""
        with self._guard:
            return self._rows.pop(seq, None)
