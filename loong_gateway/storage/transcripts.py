"""The history of conversations. Functions on a connection, to be run inside a store operation.

A route is the stable key of a conversation; a session is one stretch of it. The first session of a route has the
route's own key as its id; `start_new` begins another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from loong_gateway.base.ids import new_id
from loong_gateway.storage.payloads import storable

__all__ = ["SessionRow", "active_session", "append", "remember", "sessions", "start_new", "window"]

_TOUCH = """INSERT INTO session(id, route, started_ms, last_ms, messages) VALUES(?, ?, ?, ?, ?)
    ON CONFLICT(id) DO UPDATE SET last_ms = excluded.last_ms, messages = messages + excluded.messages"""


@dataclass(frozen=True)
class SessionRow:
    """A session for display. `messages` counts both sides."""

    id: str
    route: str
    started_ms: int
    last_ms: int
    messages: int


def append(conn: sqlite3.Connection, session: str, messages: Sequence[tuple[str, str]], at_ms: int) -> None:
    """Add (role, text) to a session, in order; a role is "user", "assistant" or "system"."""
    key = storable(session)
    conn.executemany(
        "INSERT INTO transcript(session, role, at_ms, text) VALUES(?, ?, ?, ?)",
        [(key, role, at_ms, storable(text)) for role, text in messages],
    )
    conn.execute(_TOUCH, (key, key, at_ms, at_ms, len(messages)))


def remember(conn: sqlite3.Connection, route: str, question: str, answer: str, at_ms: int) -> None:
    """Add a question and its answer to the present session of a route."""
    append(conn, active_session(conn, route), [("user", question), ("assistant", answer)], at_ms)


def window(conn: sqlite3.Connection, session: str, turns: int) -> list[tuple[str, str]]:
    """(role, text) of the last `turns` turns, oldest first; a turn begins with a message of the user."""
    if turns <= 0:
        return []
    key = storable(session)
    first = conn.execute(
        "SELECT n FROM transcript WHERE session = ? AND role = 'user' ORDER BY n DESC LIMIT 1 OFFSET ?",
        (key, turns - 1),
    ).fetchone()
    return conn.execute(
        "SELECT role, text FROM transcript WHERE session = ? AND n >= ? ORDER BY n",
        (key, 0 if first is None else first[0]),
    ).fetchall()


def active_session(conn: sqlite3.Connection, route: str) -> str:
    """The id of the route's present session."""
    row = conn.execute(
        "SELECT id FROM session WHERE route = ? ORDER BY n DESC LIMIT 1", (storable(route),)
    ).fetchone()
    return storable(route) if row is None else str(row[0])


def start_new(conn: sqlite3.Connection, route: str, now_ms: int) -> str:
    """Begin another session of the route and return its id; what came before is kept but no longer read."""
    key = storable(route)
    # The first session gets its row now, or an answer that is still being written would make it the latest.
    conn.execute(_TOUCH, (key, key, now_ms, now_ms, 0))
    session = new_id("session")
    conn.execute(_TOUCH, (session, key, now_ms, now_ms, 0))
    return session


def sessions(conn: sqlite3.Connection, limit: int) -> list[SessionRow]:
    """The sessions, latest activity first."""
    rows = conn.execute(
        "SELECT id, route, started_ms, last_ms, messages FROM session ORDER BY last_ms DESC, n DESC LIMIT ?",
        (limit,),
    ).fetchall()
    return [SessionRow(*row) for row in rows]
