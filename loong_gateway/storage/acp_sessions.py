"""Conversations with outside agents, and the turns that were handed to one and have not ended.

Functions on a connection, to be run inside a store operation; they may be run again after a failure.
A turn is marked before the agent hears of it and forgotten together with its outcome: a mark that is found at the
beginning of a turn says that an agent may have done some of it already.
"""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass, fields

from loong_gateway.storage import migrations
from loong_gateway.storage.payloads import storable

__all__ = [
    "STATES_AT_REST",
    "AcpSession",
    "begin",
    "begun",
    "count",
    "find",
    "forget",
    "keep",
    "prune",
    "recover",
    "sessions",
    "was_begun",
]

# What a session may be without a gateway that runs.
STATES_AT_REST = ("closed", "error")
KEPT_ROWS = 10_000
_MARKS_KEPT_MS = 30 * 24 * 3600 * 1000


@dataclass(frozen=True)
class AcpSession:
    """What is known of a session. `session_key` is "acp:AGENT:KEY"; `conversation_id` is KEY, a stored session key.

    `channel` to `thread` are those of a chat, None elsewhere. `state`: "initializing", "ready", "busy", "cancelling",
    "error" or "closed". `activation_origin`: "explicit_request", "automatic_agent_prefixed" or "automatic_dispatch".
    """

    session_key: str
    conversation_id: str
    agent: str
    backend: str
    activation_origin: str
    provenance: str
    working_directory: str
    channel: str | None = None
    account: str | None = None
    conversation: str | None = None
    participant: str | None = None
    thread: str | None = None
    agent_session_id: str | None = None
    state: str = "initializing"
    last_activity_ms: int = 0
    last_error: str | None = None


_COLUMNS = ", ".join(field.name for field in fields(AcpSession))
_HOLDERS = ", ".join("?" for _ in fields(AcpSession))


def keep(conn: sqlite3.Connection, session: AcpSession) -> None:
    """Store what is known of a session now."""
    # What agents and platforms call things may hold lone surrogates.
    values = [storable(value) if isinstance(value, str) else value for value in astuple(session)]
    conn.execute(f"INSERT OR REPLACE INTO acp_sessions({_COLUMNS}) VALUES({_HOLDERS})", values)


def find(conn: sqlite3.Connection, session_key: str) -> AcpSession | None:
    """The session of a key."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM acp_sessions WHERE session_key = ?",  # noqa: S608  constants
        (storable(session_key),),
    ).fetchone()
    return None if row is None else AcpSession(*row)


def sessions(conn: sqlite3.Connection, limit: int) -> list[AcpSession]:
    """The sessions, the one that was used last first."""
    found = conn.execute(
        f"SELECT {_COLUMNS} FROM acp_sessions ORDER BY last_activity_ms DESC LIMIT ?",  # noqa: S608  constants
        (limit,),
    )
    return [AcpSession(*row) for row in found.fetchall()]


def count(conn: sqlite3.Connection) -> int:
    """How many sessions are stored; 0 in a store that is older than they are."""
    if not migrations.has(conn, "acp_sessions"):
        return 0
    return int(conn.execute("SELECT count(*) FROM acp_sessions").fetchone()[0])


def recover(conn: sqlite3.Connection) -> None:
    """Take over from a process that is gone: its agents are gone, too."""
    conn.execute("UPDATE acp_sessions SET state = 'closed' WHERE state NOT IN ('closed', 'error')")


def begin(conn: sqlite3.Connection, turn: str, session: AcpSession, now_ms: int) -> None:
    """Mark a turn, before the agent is told of it."""
    conn.execute("INSERT OR REPLACE INTO acp_turn(turn, begun_ms) VALUES(?, ?)", (turn, now_ms))
    keep(conn, session)


def begun(conn: sqlite3.Connection) -> list[str]:
    """The turns that were handed to an agent and have no end yet."""
    return [str(turn) for (turn,) in conn.execute("SELECT turn FROM acp_turn")]


def was_begun(conn: sqlite3.Connection, turn: str) -> bool:
    """Whether a turn was handed to an agent before."""
    return conn.execute("SELECT 1 FROM acp_turn WHERE turn = ?", (turn,)).fetchone() is not None


def forget(conn: sqlite3.Connection, turn: str) -> None:
    """Take the mark of a turn away, in the transaction that stores how it ended."""
    conn.execute("DELETE FROM acp_turn WHERE turn = ?", (turn,))


def prune(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Forget at most `limit` rows of what is too old or too many; returns how many."""
    removed = conn.execute(
        "DELETE FROM acp_turn WHERE turn IN (SELECT turn FROM acp_turn WHERE begun_ms < ? LIMIT ?)",
        (now_ms - _MARKS_KEPT_MS, limit),
    ).rowcount
    return (
        removed
        + conn.execute(
            "DELETE FROM acp_sessions WHERE session_key IN (SELECT session_key FROM acp_sessions"
            " WHERE state IN ('closed', 'error') ORDER BY last_activity_ms DESC LIMIT ? OFFSET ?)",
            (limit - removed, KEPT_ROWS),
        ).rowcount
    )
