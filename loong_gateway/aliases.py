"""Conversations that go on under another id. Functions on a connection, to be run inside a store operation."""

from __future__ import annotations

import sqlite3

__all__ = ["alias_add", "aliases"]


def alias_add(conn: sqlite3.Connection, channel: str, account: str, old: str, new: str) -> None:
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


def aliases(conn: sqlite3.Connection) -> dict[tuple[str, str, str], str]:
    """The present id by (channel, account, former id); one look-up is enough."""
    rows = conn.execute("SELECT channel, account, old, new FROM alias").fetchall()
    return {(channel, account, old): new for channel, account, old, new in rows}
