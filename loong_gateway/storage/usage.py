"""What calls of the model used, in tokens as providers counted them. Functions on a connection.

Summed twice: for each day (UTC), and for each conversation as long as it is stored. What a provider does not say is not
made up: the call counts as `silent`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loong_gateway.storage import migrations
from loong_gateway.storage.payloads import storable

__all__ = [
    "COUNTS",
    "KEPT_DAYS",
    "TOKENS",
    "Spent",
    "UsageRow",
    "add",
    "day_of",
    "of_days",
    "of_session",
    "prune",
    "totals",
]

KEPT_DAYS = 400
# A caller of the port names the model; what it makes up must not fill the table.
MOST_MODELS = 64
OTHER = "other"
LONGEST_MODEL = 200
TOKENS = ("input", "output", "cached", "reasoning")
COUNTS = ("calls", "silent", "failed", *TOKENS)
_DAY_MS = 86_400_000
_KEY = ("scope", "name", "profile", "model", "purpose")
_NEW = (
    f"INSERT INTO usage({', '.join((*COUNTS, *_KEY))}) VALUES({', '.join('?' * (len(COUNTS) + len(_KEY)))})"
)
_SUM = (
    f"UPDATE usage SET {', '.join(f'{name} = {name} + ?' for name in COUNTS)}"  # noqa: S608  constants
    f" WHERE {' AND '.join(f'{name} = ?' for name in _KEY)}"
)


@dataclass(frozen=True)
class Spent:
    """What answering one question took. `tokens` are by the names in TOKENS, {} when the provider did not say.

    `purpose` is "turn" or "summary"; `session` is a route, None for a run by itself; `failed` counts no answer.
    """

    profile: str
    model: str
    session: str | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    purpose: str = "turn"
    failed: bool = False


@dataclass(frozen=True)
class UsageRow:
    """A sum. `name` is the day (2030-12-31) or the route; `counts` are by the names in COUNTS."""

    name: str
    profile: str
    model: str
    purpose: str
    counts: Mapping[str, int]


def add(conn: sqlite3.Connection, spent: Spent, now_ms: int) -> None:
    """Add to the sums of today and of the session."""
    said = not spent.failed and any(name in spent.tokens for name in TOKENS)
    tokens = [max(0, spent.tokens.get(name, 0)) for name in TOKENS]
    counts = (int(not spent.failed), int(not spent.failed and not said), int(spent.failed), *tokens)
    rows = [("day", day_of(now_ms))]
    if spent.session is not None:
        rows.append(("session", storable(spent.session)))
    profile, model = storable(spent.profile), storable(spent.model)[:LONGEST_MODEL]
    for scope, name in rows:
        # Most have a sum already: then one statement is enough.
        if not conn.execute(_SUM, (*counts, scope, name, profile, model, spent.purpose)).rowcount:
            key = (scope, name, profile, _counted_as(conn, scope, name, model), spent.purpose)
            if not conn.execute(_SUM, (*counts, *key)).rowcount:
                conn.execute(_NEW, (*counts, *key))


def of_days(conn: sqlite3.Connection, days: int, now_ms: int) -> list[UsageRow]:
    """The sums of the last `days` days, today being one of them, newest first."""
    first = day_of(now_ms - (max(1, days) - 1) * _DAY_MS)
    return _rows(conn, "scope = 'day' AND name >= ?", first)


def of_session(conn: sqlite3.Connection, route: str) -> list[UsageRow]:
    """The sums of a conversation."""
    return _rows(conn, "scope = 'session' AND name = ?", storable(route))


def totals(rows: Sequence[UsageRow]) -> dict[str, int]:
    """The sum of sums, by the names in COUNTS."""
    return {name: sum(row.counts[name] for row in rows) for name in COUNTS}


def prune(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Forget days that are too long ago, and conversations of which nothing is stored; how many sums.

    At most about `limit`, so call it again until it is 0.
    """
    first = day_of(now_ms - KEPT_DAYS * _DAY_MS)
    return (
        conn.execute("DELETE FROM usage WHERE scope = 'day' AND name < ?", (first,)).rowcount
        + conn.execute(
            "DELETE FROM usage WHERE scope = 'session' AND name IN (SELECT name FROM usage AS own"
            " WHERE scope = 'session' AND NOT EXISTS (SELECT 1 FROM session WHERE route = own.name) LIMIT ?)",
            (limit,),
        ).rowcount
    )


def day_of(now_ms: int) -> str:
    """The day of a moment, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(max(0, now_ms) // 1000))


def _counted_as(conn: sqlite3.Connection, scope: str, name: str, model: str) -> str:
    """The model, or OTHER where too many are counted already."""
    known = [
        row[0]
        for row in conn.execute(
            "SELECT DISTINCT model FROM usage WHERE scope = ? AND name = ?", (scope, name)
        )
    ]
    return model if model in known or len(known) < MOST_MODELS else OTHER


def _rows(conn: sqlite3.Connection, condition: str, value: str) -> list[UsageRow]:
    if not migrations.has(conn, "memory"):
        return []
    found = conn.execute(
        f"SELECT name, profile, model, purpose, {', '.join(COUNTS)} FROM usage WHERE {condition}"  # noqa: S608
        " ORDER BY name DESC, profile, model, purpose",
        (value,),
    )
    return [
        UsageRow(name, profile, model, purpose, dict(zip(COUNTS, counts)))
        for name, profile, model, purpose, *counts in found
    ]
