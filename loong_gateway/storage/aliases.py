"""Conversations that go on under another id. Functions on a connection, to be run inside a store operation."""

from __future__ import annotations

import sqlite3

__all__ = ["add", "all_aliases"]


def add(conn: sqlite3.Connection, channel: str, account: str, old: str, new: str) -> None:
    """Say that `old` is `new` from now on. Chains are shortened and circles broken; the latest word wins."""
    if old == new:
        return
    account_key = (channel, account)
    conn.execute(
        "UPDATE alias SET new = ? WHERE channel = ? AND account = ? AND new = ?", (new, *account_key, old)
    )
    conn.execute("DELETE FROM alias WHERE channel = ? AND account = ? AND old = ?", (*account_key, new))
    conn.execute(
        "INSERT OR REPLACE INTO alias(channel, account, old, new) VALUES(?, ?, ?, ?)",
        (*account_key, old, new),
    )


def all_aliases(conn: sqlite3.Connection) -> list[tuple[str, str, str, str]]:
    """(channel, account, former id, present id) of every move; one look-up is enough."""
    return conn.execute("SELECT channel, account, old, new FROM alias").fetchall()
