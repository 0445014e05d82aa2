"""The durable queue of everything that is to be sent, part by part.

Functions on a connection, to be run inside a store operation; they may be run again after a failure.
States: queued -> sending (written before the first byte) -> sent | unknown (nobody knows whether it arrived) |
queued again | failed | expired | cancelled. Parts of a group are sent one after the other. `attempts` counts the
tries that were begun and not taken back.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from loong_channels.contract import Outbound
from loong_gateway.counters import bump
from loong_gateway.payloads import checked, decode_outbound, encode_outbound, storable

__all__ = [
    "OutboxRow",
    "Part",
    "add",
    "counts",
    "fail_group",
    "group",
    "mark_cancelled",
    "mark_expired",
    "mark_queued",
    "mark_sending",
    "mark_sent",
    "mark_unknown",
    "pending",
    "recover",
    "state_of",
]

_INSERT = """INSERT INTO outbox(id, grp, part, inbox_seq, channel, account, lane, state, attempts, expires_ms,
    stored_ms, crc, payload) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING"""
_DAMAGED = "a stored part is damaged; it was set aside in its row"
# What a group is, given the states of its parts: the first of these that any part is in.
_PRECEDENCE = ("failed", "expired", "cancelled", "unknown", "sending", "queued", "sent")


@dataclass(frozen=True)
class Part:
    """One part to be stored. `id` is unique for ever; `part` counts from 0 within `group`."""

    id: str
    group: str
    part: int
    inbox_seq: int | None
    outbound: Outbound
    expires_ms: int


@dataclass(frozen=True)
class OutboxRow:
    """A stored part. `not_before_ms` 0 means at once; `message_ids` are the platform's, once it is sent."""

    id: str
    group: str
    part: int
    inbox_seq: int | None
    outbound: Outbound
    state: str
    attempts: int
    not_before_ms: int
    expires_ms: int
    last_error: str | None
    message_ids: tuple[str, ...] = ()


def add(conn: sqlite3.Connection, parts: Sequence[Part], *, now_ms: int, first_sending: bool) -> int:
    """Store the parts whose ids are new; returns how many. `first_sending` stores the first as being sent already.

    Raises sqlite3.IntegrityError when a group has a part of that number under another id, ValueError for an
    `extra` that no JSON can hold.
    """
    added = 0
    for index, part in enumerate(parts):
        address = part.outbound.address
        payload = encode_outbound(part.outbound)
        sending = first_sending and index == 0
        values = (
            part.id,
            part.group,
            part.part,
            part.inbox_seq,
            address.channel,
            address.account,
            storable(address.lane),
            "sending" if sending else "queued",
            int(sending),
            part.expires_ms,
            now_ms,
            zlib.crc32(payload),
            payload,
        )
        added += max(0, conn.execute(_INSERT, values).rowcount)
    return added


def group(conn: sqlite3.Connection, group: str) -> list[OutboxRow]:
    """The parts of a group in order; empty when it is unknown, emptied or damaged.

    One damaged part fails the whole group, since the others make no sense without it, and is counted.
    """
    rows = []
    for found in conn.execute(
        "SELECT id, part, inbox_seq, state, attempts, not_before_ms, expires_ms, last_error, message_ids,"
        " crc, payload FROM outbox WHERE grp = ? ORDER BY part",
        (group,),
    ).fetchall():
        part_id, part, inbox_seq, state, attempts, not_before_ms, expires_ms, error, ids, crc, payload = found
        if not payload:
            return []
        try:
            outbound = decode_outbound(checked(payload, crc))
            message_ids = () if ids is None else tuple(json.loads(ids))
        except (TypeError, ValueError):
            _quarantine(conn, group)
            return []
        rows.append(
            OutboxRow(
                part_id,
                group,
                part,
                inbox_seq,
                outbound,
                state,
                attempts,
                not_before_ms,
                expires_ms,
                error,
                message_ids,
            )
        )
    return rows


def mark_sending(conn: sqlite3.Connection, id: str) -> bool:
    """queued or unknown -> sending, one more attempt. Commit it before the first byte leaves."""
    return _mark(
        conn,
        "state = 'sending', attempts = attempts + 1, not_before_ms = 0",
        "'queued', 'unknown'",
        (id,),
    )


def mark_sent(conn: sqlite3.Connection, id: str, message_ids: Sequence[str] = ()) -> bool:
    """Any state -> sent: the platform has it, whatever we thought before."""
    ids = json.dumps(list(message_ids))
    statement = "UPDATE outbox SET state = 'sent', message_ids = ?, last_error = NULL WHERE id = ? AND state <> 'sent'"
    return conn.execute(statement, (ids, id)).rowcount > 0


def mark_queued(
    conn: sqlite3.Connection, id: str, *, not_before_ms: int, error: str, counted: bool = True
) -> bool:
    """sending or unknown -> queued, not to be tried before a time. `counted` False takes the attempt back."""
    return _mark(
        conn,
        "state = 'queued', attempts = max(0, attempts - ?), not_before_ms = ?, last_error = ?",
        "'sending', 'unknown', 'queued'",
        (int(not counted), not_before_ms, storable(error), id),
    )


def mark_unknown(conn: sqlite3.Connection, id: str, error: str) -> bool:
    """sending -> unknown: the connection broke after the first byte."""
    return _mark(conn, "state = 'unknown', last_error = ?", "'sending'", (storable(error), id))


def mark_expired(conn: sqlite3.Connection, id: str) -> bool:
    """Not yet sent -> expired."""
    return _mark(conn, "state = 'expired'", "'queued', 'sending', 'unknown'", (id,))


def mark_cancelled(conn: sqlite3.Connection, id: str) -> bool:
    """Not yet sent -> cancelled."""
    return _mark(conn, "state = 'cancelled'", "'queued', 'sending', 'unknown'", (id,))


def fail_group(conn: sqlite3.Connection, group: str, error: str) -> int:
    """Every part of the group that is not settled -> failed; returns how many."""
    statement = (
        "UPDATE outbox SET state = 'failed', last_error = ?"
        " WHERE grp = ? AND state IN ('queued', 'sending', 'unknown')"
    )
    return conn.execute(statement, (storable(error), group)).rowcount


def recover(conn: sqlite3.Connection) -> int:
    """Take over from a process that died: sending -> unknown; returns how many. Run it before anything is sent."""
    statement = (
        "UPDATE outbox SET state = 'unknown', last_error = 'the gateway ended while it was being sent'"
        " WHERE state = 'sending'"
    )
    return conn.execute(statement).rowcount


def pending(conn: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """(group, lane, not_before_ms of its next part) of every group with something to send, in order of storing."""
    groups: dict[str, tuple[str, str, int]] = {}
    for name, lane, not_before_ms in conn.execute(
        "SELECT grp, lane, not_before_ms FROM outbox WHERE state IN ('queued', 'sending', 'unknown') ORDER BY n"
    ):
        groups.setdefault(name, (name, lane, not_before_ms))
    return list(groups.values())


def counts(conn: sqlite3.Connection) -> dict[tuple[str, str], dict[str, int]]:
    """How many parts are in which state, by (channel, account). Sent ones are left out: there are many."""
    result: dict[tuple[str, str], dict[str, int]] = {}
    for channel, account, state, n in conn.execute(
        "SELECT channel, account, state, count(*) FROM outbox"
        " WHERE state IN ('queued', 'sending', 'unknown', 'failed', 'expired', 'cancelled')"
        " GROUP BY state, channel, account"
    ):
        result.setdefault((channel, account), {})[state] = n
    return result


def state_of(conn: sqlite3.Connection, group: str) -> str | None:
    """The state of the group as a whole, or None when it is unknown. It is "sent" when all of its parts are."""
    states = {row[0] for row in conn.execute("SELECT DISTINCT state FROM outbox WHERE grp = ?", (group,))}
    return next((state for state in _PRECEDENCE if state in states), None)


def _quarantine(conn: sqlite3.Connection, group: str) -> None:
    if fail_group(conn, group, _DAMAGED):
        bump(conn, "rows_quarantined")


def _mark(conn: sqlite3.Connection, change: str, states: str, values: tuple[object, ...]) -> bool:
    """Change a part that is in one of `states`. Both texts are constants of this module, never data."""
    statement = f"UPDATE outbox SET {change} WHERE id = ? AND state IN ({states})"  # noqa: S608 - constants only
    return conn.execute(statement, values).rowcount > 0
