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

__all__ = [
    "MessageRow",
    "SessionRow",
    "active_session",
    "append",
    "count_routes",
    "forget",
    "history",
    "is_known",
    "remember",
    "route",
    "routes",
    "routes_after",
    "sessions",
    "start_new",
    "window",
]

_TOUCH = """INSERT INTO session(id, route, started_ms, last_ms, messages) VALUES(?, ?, ?, ?, ?)
    ON CONFLICT(id) DO UPDATE SET last_ms = excluded.last_ms, messages = messages + excluded.messages"""

# The present session of each route.
_PRESENT = """FROM session AS own
    WHERE NOT EXISTS (SELECT 1 FROM session AS newer WHERE newer.route = own.route AND newer.n > own.n)"""


@dataclass(frozen=True)
class SessionRow:
    """A session for display. `messages` counts both sides."""

    id: str
    route: str
    started_ms: int
    last_ms: int
    messages: int


@dataclass(frozen=True)
class MessageRow:
    """A message for display. `number` grows within the store."""

    number: int
    role: str
    at_ms: int
    text: str


def append(conn: sqlite3.Connection, session: str, messages: Sequence[tuple[str, str]], at_ms: int) -> int:
    """Add (role, text) to a session, in order; a role is "user", "assistant" or "system". The last one's number."""
    key = storable(session)
    number = 0
    for role, text in messages:
        added = conn.execute(
            "INSERT INTO transcript(session, role, at_ms, text) VALUES(?, ?, ?, ?)",
            (key, role, at_ms, storable(text)),
        )
        number = int(added.lastrowid or 0)
    conn.execute(_TOUCH, (key, key, at_ms, at_ms, len(messages)))
    return number


def remember(
    conn: sqlite3.Connection, route: str, question: str, answer: str, at_ms: int, begun_in: str | None = None
) -> str:
    """Add a question and its answer to a session of a route, as neighbours; returns its id.

    It is the one that they were `begun_in`, if that is still there, else the present one: what was asked before
    somebody began anew is no part of what is said after it.
    """
    found = conn.execute(
        "SELECT 1 FROM session WHERE id = ? AND route = ?", (begun_in, storable(route))
    ).fetchone()
    session = active_session(conn, route) if begun_in is None or found is None else begun_in
    append(conn, session, [("user", question), ("assistant", answer)], at_ms)
    return session


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


def routes(conn: sqlite3.Connection, limit: int, offset: int = 0, *, since_ms: int = 0) -> list[SessionRow]:
    """The present session of every route that was used since then, latest activity first."""
    rows = conn.execute(
        f"SELECT id, route, started_ms, last_ms, messages {_PRESENT} AND last_ms >= ?"
        " ORDER BY last_ms DESC, n DESC LIMIT ? OFFSET ?",
        (since_ms, limit, offset),
    ).fetchall()
    return [SessionRow(*row) for row in rows]


def count_routes(conn: sqlite3.Connection, *, since_ms: int = 0) -> int:
    """How many routes were used since then."""
    if since_ms <= 0:
        row = conn.execute("SELECT count(DISTINCT route) FROM session").fetchone()
    else:
        row = conn.execute(
            f"SELECT count(*) {_PRESENT} AND last_ms >= ?",
            (since_ms,),
        ).fetchone()
    return int(row[0])


def routes_after(
    conn: sqlite3.Connection, number: int, limit: int, *, since_ms: int = 0
) -> list[tuple[int, int, str]]:
    """(number, time of the last message, route) of present sessions numbered above `number`, in that order."""
    return conn.execute(
        f"SELECT n, last_ms, route {_PRESENT} AND n > ? AND last_ms >= ? ORDER BY n LIMIT ?",
        (number, since_ms, limit),
    ).fetchall()


def route(conn: sqlite3.Connection, route: str) -> SessionRow | None:
    """The present session of a route."""
    row = conn.execute(
        "SELECT id, route, started_ms, last_ms, messages FROM session WHERE route = ? ORDER BY n DESC LIMIT 1",
        (storable(route),),
    ).fetchone()
    return None if row is None else SessionRow(*row)


def is_known(conn: sqlite3.Connection, route: str) -> bool:
    """Whether anything is stored under a route."""
    return (
        conn.execute("SELECT 1 FROM session WHERE route = ? LIMIT 1", (storable(route),)).fetchone()
        is not None
    )


def history(
    conn: sqlite3.Connection, session: str, limit: int, before: int | None = None
) -> tuple[list[MessageRow], int]:
    """The last messages of a session, those numbered below `before`, oldest first; and how many it has in all."""
    key = storable(session)
    rows = conn.execute(
        "SELECT n, role, at_ms, text FROM transcript WHERE session = ? AND n < ? ORDER BY n DESC LIMIT ?",
        (key, (1 << 62) if before is None else before, limit),
    ).fetchall()
    total = conn.execute("SELECT count(*) FROM transcript WHERE session = ?", (key,)).fetchone()[0]
    return [MessageRow(*row) for row in reversed(rows)], int(total)


def forget(conn: sqlite3.Connection, route: str) -> bool:
    """Remove every session of a route and all that was said in it; False when there was none."""
    key = storable(route)
    conn.execute("DELETE FROM transcript WHERE session IN (SELECT id FROM session WHERE route = ?)", (key,))
    return conn.execute("DELETE FROM session WHERE route = ?", (key,)).rowcount > 0
