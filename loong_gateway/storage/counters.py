"""Named counts that survive a restart. Functions on a connection, to be run inside a store operation."""

from __future__ import annotations

import sqlite3

__all__ = ["bump", "counters"]


def bump(conn: sqlite3.Connection, name: str, by: int = 1) -> None:
    """Add to a counter, starting from 0."""
    conn.execute(
        "INSERT INTO counter(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = value + excluded.value",
        (name, by),
    )


def counters(conn: sqlite3.Connection) -> dict[str, int]:
    """Every counter that was ever bumped."""
    return dict(conn.execute("SELECT name, value FROM counter").fetchall())
