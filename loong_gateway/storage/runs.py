"""Runs that were accepted: on disk until they have ended, and their results for a while after.

Functions on a connection, to be run inside a store operation; they may be run again after a failure.
States: new -> running -> ended, back to new when the gateway stops. `crashes` counts deaths of the process while the
row was running. What was asked for goes when the run has ended; what came of it stays for KEPT_MS, of at most
KEPT_ROWS.
"""

from __future__ import annotations

import sqlite3
import zlib
from dataclasses import dataclass

from loong_gateway.storage.counters import bump
from loong_gateway.storage.payloads import checked

__all__ = [
    "KEPT_MS",
    "KEPT_ROWS",
    "RunRow",
    "add",
    "claim",
    "end",
    "ended",
    "find",
    "give_back",
    "pending",
    "prune",
    "running",
    "unfinished",
]

KEPT_MS = 5 * 60 * 1000
KEPT_ROWS = 1000
_COLUMNS = "id, state, crashes, stored_ms, ended_ms, crc, payload"


@dataclass(frozen=True)
class RunRow:
    """A stored run. `payload` is what was asked for, or the result when it has ended; None when it is damaged."""

    id: str
    state: str
    crashes: int
    stored_ms: int
    ended_ms: int | None
    payload: bytes | None


def add(conn: sqlite3.Connection, id: str, payload: bytes, now_ms: int) -> RunRow | None:
    """Store a run. None when it is new; else the row that has this id, which stays as it is."""
    conn.execute("DELETE FROM run WHERE id = ? AND state = 'ended' AND ended_ms < ?", (id, now_ms - KEPT_MS))
    known = find(conn, id)
    if known is None:
        conn.execute(
            "INSERT INTO run(id, state, stored_ms, crc, payload) VALUES(?, 'new', ?, ?, ?)",
            (id, now_ms, zlib.crc32(payload), payload),
        )
    return known


def find(conn: sqlite3.Connection, id: str) -> RunRow | None:
    """The row of an id."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM run WHERE id = ?", (id,)).fetchone()  # noqa: S608  constants
    return None if row is None else _row(row)


def claim(conn: sqlite3.Connection, id: str) -> None:
    """new -> running."""
    conn.execute("UPDATE run SET state = 'running' WHERE id = ? AND state = 'new'", (id,))


def give_back(conn: sqlite3.Connection, id: str) -> None:
    """running -> new, for the next start."""
    conn.execute("UPDATE run SET state = 'new' WHERE id = ? AND state = 'running'", (id,))


def end(conn: sqlite3.Connection, id: str, result: bytes, now_ms: int) -> bool:
    """new or running -> ended. False when it had ended before, or is gone: then nothing of it may be stored again."""
    return (
        conn.execute(
            "UPDATE run SET state = 'ended', ended_ms = ?, crc = ?, payload = ? WHERE id = ? AND state <> 'ended'",
            (now_ms, zlib.crc32(result), result, id),
        ).rowcount
        > 0
    )


def pending(conn: sqlite3.Connection) -> list[RunRow]:
    """Take over from a process that is gone: the runs to begin again, in the order in which they were accepted.

    Run it once, before any worker starts. Damaged ones are counted.
    """
    conn.execute("UPDATE run SET state = 'new', crashes = crashes + 1 WHERE state = 'running'")
    found = conn.execute(f"SELECT {_COLUMNS} FROM run WHERE state = 'new' ORDER BY n")  # noqa: S608  constants
    rows = [_row(row) for row in found.fetchall()]
    damaged = sum(1 for row in rows if row.payload is None)
    if damaged:
        bump(conn, "rows_quarantined", damaged)
    return rows


def unfinished(conn: sqlite3.Connection) -> dict[str, int]:
    """How many have not ended, by state."""
    found = conn.execute("SELECT state, count(*) FROM run WHERE state IN ('new', 'running') GROUP BY state")
    return {str(state): int(number) for state, number in found}


def ended(conn: sqlite3.Connection, now_ms: int) -> list[str]:
    """The ids of the results that are still to be told, oldest first. All of them at once may be large."""
    found = conn.execute(
        "SELECT id FROM run WHERE state = 'ended' AND ended_ms >= ? ORDER BY ended_ms DESC, n DESC LIMIT ?",
        (now_ms - KEPT_MS, KEPT_ROWS),
    )
    return [id for (id,) in reversed(found.fetchall())]


def running(conn: sqlite3.Connection) -> list[bytes]:
    """What was asked for by those that run, without the damaged ones."""
    found = conn.execute(f"SELECT {_COLUMNS} FROM run WHERE state = 'running'")  # noqa: S608  constants
    return [payload for row in found.fetchall() if (payload := _row(row).payload) is not None]


def prune(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Forget at most `limit` results that are too old or too many; returns how many."""
    removed = conn.execute(
        "DELETE FROM run WHERE n IN (SELECT n FROM run WHERE state = 'ended' AND ended_ms < ? LIMIT ?)",
        (now_ms - KEPT_MS, limit),
    ).rowcount
    return (
        removed
        + conn.execute(
            "DELETE FROM run WHERE n IN (SELECT n FROM run WHERE state = 'ended'"
            " ORDER BY ended_ms DESC, n DESC LIMIT ? OFFSET ?)",
            (limit - removed, KEPT_ROWS),
        ).rowcount
    )


def _row(row: tuple[str, str, int, int, int | None, int, bytes]) -> RunRow:
    id, state, crashes, stored_ms, ended_ms, crc, payload = row
    try:
        whole: bytes | None = checked(payload, crc)
    except ValueError:
        whole = None
    return RunRow(id, state, crashes, stored_ms, ended_ms, whole)
