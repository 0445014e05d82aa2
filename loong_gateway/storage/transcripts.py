"""The history of conversations. Functions on a connection, to be run inside a store operation.

A route is the stable key of a conversation; a session is one stretch of it. The first session of a route has the
route's own key as its id; `start_new` begins another. A route that was put away (`archive`) comes back by itself when
something is said in it.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from loong_gateway.base.ids import new_id
from loong_gateway.storage import migrations
from loong_gateway.storage.payloads import storable

__all__ = [
    "MessageRow",
    "SessionRow",
    "active_session",
    "append",
    "archive",
    "copy",
    "count_routes",
    "forget",
    "history",
    "is_known",
    "page",
    "remember",
    "route",
    "routes",
    "routes_after",
    "routes_from",
    "sessions",
    "start_new",
    "stretches",
    "tail",
    "window",
]

# More than that of a window is not read to a model: about what the largest of them take.
MOST_CHARACTERS = 400_000
# More at once would keep others from writing.
MOST_COPIED = 10_000

_TOUCH = """INSERT INTO session(id, route, started_ms, last_ms, messages) VALUES(?, ?, ?, ?, ?)
    ON CONFLICT(id) DO UPDATE SET last_ms = excluded.last_ms, messages = messages + excluded.messages,
        archived_ms = NULL"""

# The present session of each route.
_PRESENT = """FROM session AS own
    WHERE NOT EXISTS (SELECT 1 FROM session AS newer WHERE newer.route = own.route AND newer.n > own.n)"""


@dataclass(frozen=True)
class SessionRow:
    """A session for display. `messages` counts both sides. `archived_ms` is None for one that is not put away."""

    id: str
    route: str
    started_ms: int
    last_ms: int
    messages: int
    archived_ms: int | None = None


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
    """(role, text) of the last `turns` turns, oldest first; see `tail`."""
    return list(map(operator.itemgetter(1, 2), tail(conn, session, turns)))


def tail(conn: sqlite3.Connection, session: str, turns: int, *, after: int = 0) -> list[tuple[int, str, str]]:
    """(number, role, text) of the last `turns` turns, oldest first; a turn begins with a message of the user.

    Of them only those numbered above `after`, and the last MOST_CHARACTERS: the oldest turns go first, and the last one
    always stays.
    """
    if turns <= 0:
        return []
    found = conn.execute(
        "SELECT n FROM transcript WHERE session = ? AND role = 'user' ORDER BY n DESC LIMIT 1 OFFSET ?",
        (storable(session), turns - 1),
    ).fetchone()
    first = 0 if found is None else found[0]
    rows: list[tuple[int, str, str]] = conn.execute(
        "SELECT n, role, text FROM transcript WHERE session = ? AND n >= ? AND n > ? ORDER BY n",
        (storable(session), first, after),
    ).fetchall()
    if sum(map(len, map(operator.itemgetter(2), rows))) <= MOST_CHARACTERS:
        return rows
    left, start = MOST_CHARACTERS, len(rows)
    for index in range(len(rows) - 1, -1, -1):
        left -= len(rows[index][2])
        if left < 0 and start < len(rows):
            break
        if rows[index][1] == "user":
            start = index
    return rows[start:]


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


def routes(
    conn: sqlite3.Connection, limit: int, offset: int = 0, *, since_ms: int = 0, archived: bool = True
) -> list[SessionRow]:
    """The present session of every route that was used since then, latest activity first.

    With `archived` False those that were put away are left out.
    """
    column = _archived(conn)
    rows = conn.execute(
        f"SELECT id, route, started_ms, last_ms, messages, {column} {_PRESENT} AND last_ms >= ?"
        f" AND (? OR {column} IS NULL) ORDER BY last_ms DESC, n DESC LIMIT ? OFFSET ?",
        (since_ms, archived, limit, offset),
    ).fetchall()
    return [SessionRow(*row) for row in rows]


def count_routes(conn: sqlite3.Connection, *, since_ms: int = 0, archived: bool = True) -> int:
    """How many routes `routes` has."""
    row = conn.execute(
        f"SELECT count(*) {_PRESENT} AND last_ms >= ? AND (? OR {_archived(conn)} IS NULL)",
        (since_ms, archived),
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


def routes_from(conn: sqlite3.Connection, beginning: str, limit: int) -> list[str]:
    """Routes whose own key, or the id of one of their stretches, begins like that."""
    first, last = storable(beginning), f"{storable(beginning)}\U0010ffff"
    rows = conn.execute(
        "SELECT route FROM session WHERE route >= ? AND route < ? UNION"
        " SELECT route FROM session WHERE id >= ? AND id < ? LIMIT ?",
        (first, last, first, last, limit),
    )
    return [str(row[0]) for row in rows]


def route(conn: sqlite3.Connection, route: str) -> SessionRow | None:
    """The present session of a route."""
    row = conn.execute(
        f"SELECT id, route, started_ms, last_ms, messages, {_archived(conn)} FROM session WHERE route = ?"  # noqa: S608
        " ORDER BY n DESC LIMIT 1",
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
    for table in ("transcript", "summary"):
        conn.execute(
            f"DELETE FROM {table} WHERE session IN (SELECT id FROM session WHERE route = ?)",  # noqa: S608
            (key,),
        )
    conn.execute("DELETE FROM usage WHERE scope = 'session' AND name = ?", (key,))
    return conn.execute("DELETE FROM session WHERE route = ?", (key,)).rowcount > 0


def archive(conn: sqlite3.Connection, route: str, now_ms: int | None) -> bool:
    """Put a route away, or with None bring it back; False when nothing is stored under it."""
    done = conn.execute("UPDATE session SET archived_ms = ? WHERE route = ?", (now_ms, storable(route)))
    return done.rowcount > 0


def copy(conn: sqlite3.Connection, route: str, target: str, now_ms: int) -> int:
    """Copy the last MOST_COPIED messages of the present session of a route to a route that has none yet.

    How many messages, 0 when that cannot be.
    """
    key, source = storable(target), active_session(conn, route)
    if is_known(conn, target):
        return 0
    copied = conn.execute(
        "INSERT INTO transcript(session, role, at_ms, text) SELECT ?, role, at_ms, text FROM"
        " (SELECT n, role, at_ms, text FROM transcript WHERE session = ? ORDER BY n DESC LIMIT ?) ORDER BY n",
        (key, source, MOST_COPIED),
    ).rowcount
    if copied:
        conn.execute(_TOUCH, (key, key, now_ms, now_ms, copied))
    return copied


def stretches(conn: sqlite3.Connection, route: str) -> list[str]:
    """The sessions of a route, oldest first."""
    rows = conn.execute("SELECT id FROM session WHERE route = ? ORDER BY n", (storable(route),))
    return [str(row[0]) for row in rows]


def page(conn: sqlite3.Connection, session: str, after: int, limit: int) -> list[MessageRow]:
    """At most `limit` messages of a session that are numbered above `after`, oldest first."""
    rows = conn.execute(
        "SELECT n, role, at_ms, text FROM transcript WHERE session = ? AND n > ? ORDER BY n LIMIT ?",
        (storable(session), after, limit),
    )
    return [MessageRow(*row) for row in rows]


def _archived(conn: sqlite3.Connection) -> str:
    return "archived_ms" if migrations.has(conn, "memory") else "NULL"
