"""What the model asked to have done in turns that have not ended, and what came of it.

Functions on a connection, to be run inside a store operation; they may be run again after a failure.
A round is one answer of the model that asks for calls: row -1 is what it said (`said`), rows from 0 on are its calls:
planned -> started (written before a call that acts begins) -> done | unknown (nobody knows whether it happened). All
rows of a turn go in the transaction that stores its outcome.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from loong_gateway.storage.counters import bump
from loong_gateway.storage.payloads import checked

__all__ = ["SAID", "ToolCallRow", "change", "forget", "load", "plan", "prune", "turns"]

SAID = -1


@dataclass(frozen=True)
class ToolCallRow:
    """A stored row. `payload` is whatever was stored with it."""

    round: int
    call: int
    state: str
    payload: bytes


def plan(
    conn: sqlite3.Connection, turn: str, round: int, said: bytes, calls: Sequence[bytes], now_ms: int
) -> None:
    """Store one round, all of its calls planned. Nothing happens when it is stored already."""
    rows = [(SAID, "said", said), *((number, "planned", call) for number, call in enumerate(calls))]
    conn.executemany(
        "INSERT INTO tool_call(turn, round, call, state, stored_ms, crc, payload) VALUES(?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [(turn, round, call, state, now_ms, zlib.crc32(payload), payload) for call, state, payload in rows],
    )


def change(
    conn: sqlite3.Connection, turn: str, round: int, call: int, state: str, payload: bytes | None = None
) -> None:
    """Bring a call to another state, with another payload if there is one."""
    conn.execute(
        "UPDATE tool_call SET state = ? WHERE turn = ? AND round = ? AND call = ?", (state, turn, round, call)
    )
    if payload is not None:
        conn.execute(
            "UPDATE tool_call SET crc = ?, payload = ? WHERE turn = ? AND round = ? AND call = ?",
            (zlib.crc32(payload), payload, turn, round, call),
        )


def load(conn: sqlite3.Connection, turn: str) -> list[ToolCallRow]:
    """The rows of a turn in order. Of a damaged one there is the state and an empty payload; it is counted once."""
    found = conn.execute(
        "SELECT round, call, state, crc, payload FROM tool_call WHERE turn = ? ORDER BY round, call", (turn,)
    ).fetchall()
    rows = []
    for round, call, state, crc, payload in found:
        try:
            whole = checked(payload, crc)
        except ValueError:
            whole = b""
            bump(conn, "rows_quarantined")
            change(conn, turn, round, call, state, whole)
        rows.append(ToolCallRow(round, call, state, whole))
    return rows


def forget(conn: sqlite3.Connection, turn: str) -> None:
    """Remove the rows of a turn."""
    conn.execute("DELETE FROM tool_call WHERE turn = ?", (turn,))


def turns(conn: sqlite3.Connection) -> list[str]:
    """The turns that have rows."""
    return [str(turn) for (turn,) in conn.execute("SELECT DISTINCT turn FROM tool_call")]


def prune(conn: sqlite3.Connection, older_than_ms: int, limit: int) -> int:
    """Remove at most `limit` rows of turns that were settled elsewhere; returns how many."""
    return conn.execute(
        "DELETE FROM tool_call WHERE n IN (SELECT n FROM tool_call WHERE stored_ms < ?"
        " AND turn NOT IN (SELECT 'inbox:' || seq FROM inbox WHERE state IN ('new', 'claimed'))"
        " AND turn NOT IN (SELECT 'run:' || id FROM run WHERE state <> 'ended') LIMIT ?)",
        (older_than_ms, limit),
    ).rowcount
