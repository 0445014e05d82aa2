"""Counts and ages of what the store holds, for people and for status. Functions on a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from loong_gateway.storage import acp_sessions, migrations, runs, usage
from loong_gateway.storage.work_unit_rows import HEALTHY, health

__all__ = ["StoreFacts", "store_facts"]

HOUR_MS = 3_600_000
DAY_MS = 86_400_000


@dataclass(frozen=True)
class StoreFacts:
    """`inbox`, `outbox` and `runs` count rows by state, of runs those that have not ended; `work` counts work units.

    A moment is None when nothing waits. Times are wall-clock ms. `used_today` are the sums of `usage.totals`.
    """

    inbox: Mapping[str, int]
    outbox: Mapping[str, int]
    runs: Mapping[str, int]
    oldest_inbox_ms: int | None
    oldest_outbox_ms: int | None
    sessions: int
    inbound_last_hour: int
    outbound_last_hour: int
    failed_last_day: int
    used_today: Mapping[str, int]
    acp_sessions: int = 0
    work: Mapping[str, int] = field(default_factory=dict)
    work_failed: int = 0


def store_facts(conn: sqlite3.Connection, now_ms: int) -> StoreFacts:
    """Count everything once; reads indexes only, except for the last hour and day."""
    # An older store has no such table before a gateway is started on it; it can be looked at all the same.
    has_runs, has_work = migrations.has(conn, "runs"), migrations.has(conn, "work_units")
    return StoreFacts(
        inbox=_states(conn, "SELECT state, count(*) FROM inbox GROUP BY state"),
        outbox=_states(conn, "SELECT state, count(*) FROM outbox GROUP BY state"),
        runs=runs.unfinished(conn) if has_runs else {},
        oldest_inbox_ms=_one(conn, "SELECT min(stored_ms) FROM inbox WHERE state IN ('new', 'claimed')"),
        oldest_outbox_ms=_one(
            conn, "SELECT min(stored_ms) FROM outbox WHERE state IN ('queued', 'sending', 'unknown')"
        ),
        sessions=_one(conn, "SELECT count(*) FROM session") or 0,
        inbound_last_hour=_one(
            conn,
            "SELECT count(*) FROM inbox WHERE has_payload IN (0, 1) AND stored_ms > ?",
            now_ms - HOUR_MS,
        )
        or 0,
        outbound_last_hour=_one(
            conn,
            "SELECT count(*) FROM outbox WHERE has_payload IN (0, 1) AND stored_ms > ? AND state = 'sent'",
            now_ms - HOUR_MS,
        )
        or 0,
        work=health(conn, now_ms) if has_work else HEALTHY,
        work_failed=_one(conn, "SELECT count(*) FROM work_units WHERE status = 'failed_terminal'") or 0
        if has_work
        else 0,
        used_today=usage.totals(usage.of_days(conn, 1, now_ms)),
        failed_last_day=sum(
            _one(conn, statement, now_ms - DAY_MS) or 0
            for statement in (
                "SELECT count(*) FROM inbox WHERE state = 'failed' AND stored_ms > ?",
                "SELECT count(*) FROM outbox WHERE state IN ('failed', 'expired') AND stored_ms > ?",
            )
        ),
        acp_sessions=acp_sessions.count(conn),
    )


def _states(conn: sqlite3.Connection, statement: str) -> dict[str, int]:
    return {str(state): int(number) for state, number in conn.execute(statement)}


def _one(conn: sqlite3.Connection, statement: str, *values: int) -> int | None:
    value = conn.execute(statement, values).fetchone()[0]
    return None if value is None else int(value)
