"""How far each poller has read. Functions on a connection, to be run inside the operation that stores the batch."""

from __future__ import annotations

import sqlite3

__all__ = ["get", "put"]


def get(conn: sqlite3.Connection, name: str) -> str | None:
    """The value under this name, or None."""
    row = conn.execute("SELECT value FROM cursor WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def put(conn: sqlite3.Connection, name: str, value: str) -> None:
    """Write the value under this name."""
    conn.execute("INSERT OR REPLACE INTO cursor(name, value) VALUES(?, ?)", (name, value))
