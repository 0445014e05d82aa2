"""What of a session lies before its window, in short. Functions on a connection, to be run inside a store operation."""

from __future__ import annotations

import sqlite3

from loong_gateway.storage import migrations
from loong_gateway.storage.payloads import storable

__all__ = ["between", "get", "put", "turns_between"]


def get(conn: sqlite3.Connection, session: str) -> tuple[int, str]:
    """The number of the last message that the summary tells of, and its text; (0, "") when there is none."""
    if not migrations.has(conn, "memory"):
        return 0, ""
    row = conn.execute("SELECT upto, text FROM summary WHERE session = ?", (storable(session),)).fetchone()
    return (0, "") if row is None else (int(row[0]), str(row[1]))


def put(conn: sqlite3.Connection, session: str, upto: int, text: str, at_ms: int) -> bool:
    """Replace the summary; False, and nothing done, for a session that is gone or one that was told further since."""
    key = storable(session)
    alive = conn.execute("SELECT 1 FROM session WHERE id = ?", (key,)).fetchone()
    if alive is None or get(conn, session)[0] >= upto:
        return False
    conn.execute(
        "INSERT OR REPLACE INTO summary(session, upto, at_ms, text) VALUES(?, ?, ?, ?)",
        (key, upto, at_ms, storable(text)),
    )
    return True


def between(
    conn: sqlite3.Connection, session: str, after: int, before: int, *, most: int, longest: int
) -> list[tuple[int, str, str]]:
    """(number, role, beginning of the text) of the last `most` messages numbered between the two, oldest first."""
    rows = conn.execute(
        "SELECT n, role, substr(text, 1, ?) FROM transcript WHERE session = ? AND n > ? AND n < ?"
        " ORDER BY n DESC LIMIT ?",
        (longest, storable(session), after, before, most),
    ).fetchall()
    return rows[::-1]


def turns_between(conn: sqlite3.Connection, session: str, after: int, before: int, *, most: int) -> int:
    """How many turns begin between the two numbers; counts no further than `most`."""
    row = conn.execute(
        "SELECT count(*) FROM (SELECT 1 FROM transcript WHERE session = ? AND n > ? AND n < ?"
        " AND role = 'user' LIMIT ?)",
        (storable(session), after, before, most),
    ).fetchone()
    return int(row[0])
