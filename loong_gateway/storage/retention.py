"""What is forgotten, and when. Only settled rows are; nothing that waits is ever touched.

Rows younger than a day are never removed, because a platform may deliver them again and the row is how that is
noticed; when there are too many of them, only their payload goes. Results of runs and archived work units have bounds
of their own, and calls of tools go with their turn.
"""

from __future__ import annotations

import sqlite3
from typing import Protocol

from loong_gateway.storage import acp_sessions, runs, tool_calls, usage, work_units

__all__ = ["BATCH_ROWS", "RetentionSettings", "prune"]

BATCH_ROWS = 500
_DAY_MS = 24 * 3600 * 1000
# Space is given back to the file system only in larger pieces; a few free pages are used again soon.
_FREE_PAGES_KEPT = 1024
_FREE_PAGES_PER_BATCH = 256

_SETTLED = {
    "inbox": "'done', 'failed', 'rejected', 'skipped_old'",
    "outbox": "'sent', 'failed', 'expired', 'cancelled'",
}


class RetentionSettings(Protocol):
    """How long and how much to keep, per table."""

    @property
    def retention_days(self) -> int:
        """Settled rows older than this go; never less than one day."""

    @property
    def retention_rows(self) -> int:
        """Above this many rows the oldest settled ones go earlier."""


def prune(conn: sqlite3.Connection, now_ms: int, settings: RetentionSettings) -> int:
    """Forget one batch, at most BATCH_ROWS rows of each table; returns how many, so call it again until it is 0.

    One call is one store operation, so that messages are stored between two batches.
    """
    touched = runs.prune(conn, now_ms, BATCH_ROWS) + usage.prune(conn, now_ms, BATCH_ROWS)
    touched += acp_sessions.prune(conn, now_ms, BATCH_ROWS)
    touched += work_units.prune(conn, now_ms, BATCH_ROWS)
    touched += tool_calls.prune(conn, now_ms - _DAY_MS, BATCH_ROWS)
    age_limit_ms = now_ms - max(1, settings.retention_days) * _DAY_MS
    for table in _SETTLED:
        removed = _remove(conn, table, older_than_ms=age_limit_ms, limit=BATCH_ROWS)
        if removed < BATCH_ROWS:
            removed += _thin_out(
                conn, table, now_ms, keep=settings.retention_rows, limit=BATCH_ROWS - removed
            )
        touched += removed
    if conn.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES_KEPT:
        for _ in range(_FREE_PAGES_PER_BATCH):
            # One at a time: from Python 3.11 on a statement without columns is stepped once, whatever its argument.
            conn.execute("PRAGMA incremental_vacuum(1)").fetchall()
    return touched


def _thin_out(conn: sqlite3.Connection, table: str, now_ms: int, *, keep: int, limit: int) -> int:
    total = conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - table of this module
    if total <= keep:
        return 0
    removed = _remove(conn, table, older_than_ms=now_ms - _DAY_MS, limit=min(limit, total - keep))
    if removed:
        return removed
    return _empty(conn, table, now_ms, too_many=total - keep, limit=limit)


def _remove(conn: sqlite3.Connection, table: str, *, older_than_ms: int, limit: int) -> int:
    removed = 0
    for has_payload in (0, 1):
        if removed < limit:
            statement = (
                f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table}"  # noqa: S608 - constants only
                f" WHERE has_payload = ? AND stored_ms < ? AND state IN ({_SETTLED[table]})"
                " ORDER BY stored_ms LIMIT ?)"
            )
            removed += conn.execute(statement, (has_payload, older_than_ms, limit - removed)).rowcount
    return removed


def _empty(conn: sqlite3.Connection, table: str, now_ms: int, *, too_many: int, limit: int) -> int:
    """Drop the payload of the oldest settled rows, so that not more than the allowed number have one."""
    empty_already = conn.execute(f"SELECT count(*) FROM {table} WHERE has_payload = 0").fetchone()[0]  # noqa: S608
    count = min(limit, too_many - empty_already)
    if count <= 0:
        return 0
    statement = (
        f"UPDATE {table} SET payload = x'', crc = 0, has_payload = 0"  # noqa: S608 - constants only
        f" WHERE rowid IN (SELECT rowid FROM {table} WHERE has_payload = 1 AND stored_ms <= ?"
        f" AND state IN ({_SETTLED[table]}) ORDER BY stored_ms LIMIT ?)"
    )
    return conn.execute(statement, (now_ms, count)).rowcount
