"""The store of a home as single commands use it: one transaction at a time, or one look without changing anything.

Nothing here is held across a network call, so that a gateway that starts meanwhile is not kept waiting.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Callable, TypeVar
from urllib.parse import quote

from loong_gateway.base.faults import CommandError
from loong_gateway.owner.paths import Places
from loong_gateway.storage import migrations
from loong_gateway.storage.lock import StoreLock
from loong_gateway.storage.store import run_once

__all__ = ["LocalStore", "on_empty"]

T = TypeVar("T")
LOCK_S = 5.0
BUSY_S = 2.0


class LocalStore:
    """Runs single operations on the store of `places`, waiting up to `lock_s` for its lock. Used from one thread."""

    def __init__(self, places: Places, *, lock_s: float = LOCK_S) -> None:
        self._places = places
        self._lock_s = lock_s

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run `operation` in one transaction, durable when this returns. Makes the home where there is none.

        Raises CommandError when another process has the store, faults.StoreUnwritable when the disk refuses.
        """
        self._places.create()
        return run_once(self._places, operation, timeout_s=self._lock_s)

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T | None:
        """Run `query` on what is on disk, also beside a running gateway; None when there is no store yet.

        Changes nothing. Raises CommandError `store.unreadable`.
        """
        path = self._places.store
        if not os.path.exists(path):
            return None
        try:
            with StoreLock.hold(self._places, 0.0):
                # Nobody writes now. Without a log beside it the file is complete and need not be locked either,
                # which would leave new files beside it.
                return self._look(query, at_rest=not os.path.exists(f"{path}-wal"))
        except CommandError as error:
            if error.code != "store.locked":
                raise
        return self._look(query, at_rest=False)

    def _look(self, query: Callable[[sqlite3.Connection], T], *, at_rest: bool) -> T:
        path = self._places.store
        address = f"file:{quote(path)}?mode=ro{'&immutable=1' if at_rest else ''}"
        try:
            conn = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)
            try:
                conn.execute("PRAGMA query_only=ON")
                return query(conn)
            finally:
                conn.close()
        except sqlite3.Error as error:
            raise CommandError("store.unreadable", reason=str(error), path=path) from error


def on_empty(query: Callable[[sqlite3.Connection], T]) -> T:
    """What `query` says of a store in which nothing was ever stored: for a home that has none. Leaves no file."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrations.apply(conn)
        return query(conn)
    finally:
        conn.close()
