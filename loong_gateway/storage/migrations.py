"""The shape of the store, as steps that are applied once each and remembered by name.

A step that was released is never changed; a new one is added at the end. Nothing newer than SQLite 3.24 is used,
because long-term distributions ship it.
"""

from __future__ import annotations

import sqlite3
from typing import Callable

__all__ = ["STEPS", "apply", "has", "unknown_steps"]


# The payload stands last in its row, so that looking at the other columns never reads its pages.
_FIRST_SHAPE = (
    """CREATE TABLE inbox(
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        conversation TEXT NOT NULL,
        event_id TEXT NOT NULL,
        message_id TEXT,
        lane TEXT NOT NULL,
        sent_ms INTEGER,
        received_ms INTEGER NOT NULL,
        stored_ms INTEGER NOT NULL,
        state TEXT NOT NULL CHECK(state IN ('new','claimed','done','failed','rejected','skipped_old')),
        attempts INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        last_error TEXT,
        has_payload INTEGER NOT NULL DEFAULT 1,
        crc INTEGER NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE(channel, account, event_id))""",
    # Message ids are unique within a conversation only (Telegram counts them per chat).
    """CREATE UNIQUE INDEX inbox_message ON inbox(channel, account, conversation, message_id)
        WHERE message_id IS NOT NULL""",
    "CREATE INDEX inbox_state ON inbox(state, channel, account)",
    "CREATE INDEX inbox_age ON inbox(has_payload, stored_ms)",
    # Numbers go on from the clock: keys made of them must not come back after a store was set aside or removed,
    # or a platform would take a new answer for a repeated one.
    """INSERT INTO sqlite_sequence(name, seq)
        VALUES('inbox', CAST(strftime('%s','now') AS INTEGER) * 1000)""",
    """CREATE TABLE outbox(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        grp TEXT NOT NULL,
        part INTEGER NOT NULL,
        inbox_seq INTEGER,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        lane TEXT NOT NULL,
        state TEXT NOT NULL
            CHECK(state IN ('queued','sending','sent','unknown','failed','expired','cancelled')),
        attempts INTEGER NOT NULL DEFAULT 0,
        resends INTEGER NOT NULL DEFAULT 0,
        not_before_ms INTEGER NOT NULL DEFAULT 0,
        expires_ms INTEGER NOT NULL,
        stored_ms INTEGER NOT NULL,
        last_error TEXT,
        message_ids TEXT,
        has_payload INTEGER NOT NULL DEFAULT 1,
        crc INTEGER NOT NULL,
        payload BLOB NOT NULL,
        UNIQUE(grp, part))""",
    "CREATE INDEX outbox_state ON outbox(state, channel, account)",
    "CREATE INDEX outbox_age ON outbox(has_payload, stored_ms)",
    "CREATE TABLE cursor(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE alias(
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        old TEXT NOT NULL,
        new TEXT NOT NULL,
        PRIMARY KEY(channel, account, old)) WITHOUT ROWID""",
    "CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE session(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        route TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        messages INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX session_route ON session(route, n)",
    """CREATE TABLE transcript(
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL,
        role TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        text TEXT NOT NULL)""",
    "CREATE INDEX transcript_session ON transcript(session, n)",
)


def _first_shape(conn: sqlite3.Connection) -> None:
    for statement in _FIRST_SHAPE:
        conn.execute(statement)


def _first_try(conn: sqlite3.Connection) -> None:
    conn.execute("ALTER TABLE outbox ADD COLUMN tried_ms INTEGER NOT NULL DEFAULT 0")


def _runs(conn: sqlite3.Connection) -> None:
    conn.execute(
        """CREATE TABLE run(
            n INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            state TEXT NOT NULL CHECK(state IN ('new','running','ended')),
            crashes INTEGER NOT NULL DEFAULT 0,
            stored_ms INTEGER NOT NULL,
            ended_ms INTEGER,
            crc INTEGER NOT NULL,
            payload BLOB NOT NULL)"""
    )
    conn.execute("CREATE INDEX run_state ON run(state, ended_ms)")


def _acp_sessions(conn: sqlite3.Connection) -> None:
    conn.execute(
        """CREATE TABLE acp_sessions(
            session_key TEXT PRIMARY KEY,
            conversation_id TEXT NOT NULL,
            agent TEXT NOT NULL,
            backend TEXT NOT NULL,
            activation_origin TEXT NOT NULL,
            provenance TEXT NOT NULL,
            working_directory TEXT NOT NULL,
            channel TEXT,
            account TEXT,
            conversation TEXT,
            participant TEXT,
            thread TEXT,
            agent_session_id TEXT,
            state TEXT NOT NULL,
            last_activity_ms INTEGER NOT NULL,
            last_error TEXT) WITHOUT ROWID"""
    )
    conn.execute("CREATE INDEX acp_sessions_activity ON acp_sessions(last_activity_ms)")
    conn.execute("CREATE TABLE acp_turn(turn TEXT PRIMARY KEY, begun_ms INTEGER NOT NULL) WITHOUT ROWID")


def _work_units(conn: sqlite3.Connection) -> None:
    conn.execute(
        """CREATE TABLE work_units(
            work_unit_id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            title TEXT NOT NULL,
            source_ref TEXT NOT NULL,
            status TEXT NOT NULL,
            priority INTEGER NOT NULL,
            assigned_to TEXT,
            max_attempts INTEGER NOT NULL,
            initial_backoff_ms INTEGER NOT NULL,
            max_backoff_ms INTEGER NOT NULL,
            attempt_count INTEGER NOT NULL DEFAULT 0,
            next_run_at_ms INTEGER NOT NULL,
            last_error TEXT,
            blocking_reason TEXT,
            parent_work_unit_id TEXT,
            open_blockers INTEGER NOT NULL DEFAULT 0,
            created_at_ms INTEGER NOT NULL,
            updated_at_ms INTEGER NOT NULL,
            archived_at_ms INTEGER,
            lease_owner TEXT,
            lease_version INTEGER NOT NULL DEFAULT 0,
            lease_acquired_ms INTEGER,
            lease_heartbeat_ms INTEGER,
            lease_expires_ms INTEGER,
            description TEXT NOT NULL,
            result_payload_json TEXT)"""
    )
    conn.execute(
        """CREATE INDEX work_unit_due ON work_units(priority, next_run_at_ms, updated_at_ms, work_unit_id)
            WHERE status IN ('ready', 'retry_pending') AND open_blockers = 0"""
    )
    conn.execute(
        """CREATE INDEX work_unit_blocked ON work_units(status)
            WHERE status IN ('ready', 'retry_pending') AND open_blockers > 0"""
    )
    conn.execute("CREATE INDEX work_unit_status ON work_units(status, updated_at_ms DESC, work_unit_id)")
    conn.execute("CREATE INDEX work_unit_recent ON work_units(updated_at_ms DESC, work_unit_id)")
    conn.execute("CREATE INDEX work_unit_lease ON work_units(lease_expires_ms) WHERE lease_owner IS NOT NULL")
    conn.execute(
        """CREATE TABLE work_unit_dependencies(
            blocking_id TEXT NOT NULL,
            blocked_id TEXT NOT NULL,
            PRIMARY KEY(blocking_id, blocked_id)) WITHOUT ROWID"""
    )
    conn.execute("CREATE INDEX work_unit_blockers ON work_unit_dependencies(blocked_id, blocking_id)")
    conn.execute(
        """CREATE TABLE work_unit_events(
            n INTEGER PRIMARY KEY AUTOINCREMENT,
            work_unit_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            actor TEXT,
            payload TEXT NOT NULL,
            at_ms INTEGER NOT NULL)"""
    )
    conn.execute("CREATE INDEX work_unit_history ON work_unit_events(work_unit_id, n)")


def _tool_calls(conn: sqlite3.Connection) -> None:
    # Call -1 of a round is what the model said when it asked for the others.
    conn.execute(
        """CREATE TABLE tool_call(
            n INTEGER PRIMARY KEY AUTOINCREMENT,
            turn TEXT NOT NULL,
            round INTEGER NOT NULL,
            call INTEGER NOT NULL,
            state TEXT NOT NULL CHECK(state IN ('said','planned','started','done','unknown')),
            stored_ms INTEGER NOT NULL,
            crc INTEGER NOT NULL,
            payload BLOB NOT NULL,
            UNIQUE(turn, round, call))"""
    )


def _memory(conn: sqlite3.Connection) -> None:
    conn.execute("ALTER TABLE session ADD COLUMN archived_ms INTEGER")
    conn.execute(
        """CREATE TABLE summary(
            session TEXT PRIMARY KEY,
            upto INTEGER NOT NULL,
            at_ms INTEGER NOT NULL,
            text TEXT NOT NULL) WITHOUT ROWID"""
    )
    conn.execute(
        """CREATE TABLE usage(
            scope TEXT NOT NULL CHECK(scope IN ('day','session')),
            name TEXT NOT NULL,
            profile TEXT NOT NULL,
            model TEXT NOT NULL,
            purpose TEXT NOT NULL,
            calls INTEGER NOT NULL DEFAULT 0,
            silent INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            input INTEGER NOT NULL DEFAULT 0,
            output INTEGER NOT NULL DEFAULT 0,
            cached INTEGER NOT NULL DEFAULT 0,
            reasoning INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY(scope, name, profile, model, purpose)) WITHOUT ROWID"""
    )


STEPS: tuple[tuple[str, Callable[[sqlite3.Connection], None]], ...] = (
    ("first_shape", _first_shape),
    ("first_try", _first_try),
    ("runs", _runs),
    ("acp_sessions", _acp_sessions),
    ("tool_calls", _tool_calls),
    ("memory", _memory),
    ("work_units", _work_units),
)


def unknown_steps(conn: sqlite3.Connection) -> list[str]:
    """The names of applied steps that this version does not know: a newer one wrote the file. Changes nothing."""
    known = {name for name, _ in STEPS}
    return sorted(_applied(conn) - known)


def has(conn: sqlite3.Connection, step: str) -> bool:
    """Whether a step was applied: who only looks may meet a file that an older version wrote."""
    return step in _applied(conn)


def apply(conn: sqlite3.Connection) -> None:
    """Bring the file to the present shape, one transaction per step. Raises sqlite3.Error; no half step stays."""
    applied = _applied(conn)
    for name, step in STEPS:
        if name in applied:
            continue
        conn.execute("BEGIN IMMEDIATE")
        try:
            conn.execute("CREATE TABLE IF NOT EXISTS migration(name TEXT PRIMARY KEY) WITHOUT ROWID")
            step(conn)
            conn.execute("INSERT INTO migration(name) VALUES(?)", (name,))
            conn.execute("COMMIT")
        finally:
            if conn.in_transaction:
                conn.execute("ROLLBACK")


def _applied(conn: sqlite3.Connection) -> set[str]:
    table = conn.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name='migration'").fetchone()
    if table is None:
        return set()
    return {str(row[0]) for row in conn.execute("SELECT name FROM migration")}
