"""The durable queue of everything that is to be sent, part by part.

Functions on a connection, to be run inside a store operation; they may be run again after a failure.
States: queued -> sending (written before the first byte) -> sent | queued again | unknown (nobody knows whether it
arrived, and it is held) | failed | expired | cancelled. Parts of a group are sent one after the other. `attempts`
counts the tries that were begun and not taken back, `resends` those that may have made a second copy.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from loong_channels.contract import Outbound
from loong_gateway.storage.counters import bump
from loong_gateway.storage.payloads import checked, decode_outbound, encode_outbound, storable

__all__ = [
    "MAX_RESENDS",
    "UNSENT",
    "OutboxRow",
    "Part",
    "add",
    "counts",
    "end_group",
    "group",
    "hold",
    "mark_queued",
    "mark_sending",
    "mark_sent",
    "pending",
    "recover",
    "shift",
    "state_of",
]

# What is still to be sent; an `unknown` part is not, until `recover` or a person says so.
UNSENT = frozenset({"queued", "sending"})
# How often a part of unknown fate is sent again before a person must look.
MAX_RESENDS = 10

_INSERT = """INSERT INTO outbox(id, grp, part, inbox_seq, channel, account, lane, state, attempts, expires_ms,
    stored_ms, crc, payload) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING"""
_SELECT = """SELECT has_payload, id, part, inbox_seq, state, attempts, not_before_ms, expires_ms, last_error,
    resends, message_ids, crc, payload FROM outbox WHERE grp = ? ORDER BY part"""
_INTERRUPTED = "the gateway ended while it was being sent"
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
    resends: int = 0
    message_ids: tuple[str, ...] = ()


def add(
    conn: sqlite3.Connection, parts: Sequence[Part], *, now_ms: int, first_sending: bool
) -> list[OutboxRow]:
    """Store the parts whose ids are new and return them; `first_sending` stores the first as being sent already.

    Raises sqlite3.IntegrityError when a group has a part of that number under another id, ValueError for an
    `extra` that no JSON can hold.
    """
    added = []
    for index, part in enumerate(parts):
        address = part.outbound.address
        payload = encode_outbound(part.outbound)
        sending = first_sending and index == 0
        state = "sending" if sending else "queued"
        values = (
            part.id,
            part.group,
            part.part,
            part.inbox_seq,
            address.channel,
            address.account,
            storable(address.lane),
            state,
            int(sending),
            part.expires_ms,
            now_ms,
            zlib.crc32(payload),
            payload,
        )
        if conn.execute(_INSERT, values).rowcount == 1:
            added.append(
                OutboxRow(
                    part.id,
                    part.group,
                    part.part,
                    part.inbox_seq,
                    part.outbound,
                    state,
                    attempts=int(sending),
                    not_before_ms=0,
                    expires_ms=part.expires_ms,
                    last_error=None,
                )
            )
    return added


def group(conn: sqlite3.Connection, group: str) -> list[OutboxRow]:
    """The parts of a group in order; empty when it is unknown, emptied or damaged.

    One damaged part fails the whole group, since the others make no sense without it, and is counted.
    """
    found = conn.execute(_SELECT, (group,)).fetchall()
    if any(row[0] == 0 for row in found):
        return []
    try:
        return [_row(group, row) for row in found]
    except (TypeError, ValueError):
        _quarantine(conn, group)
        return []


def mark_sending(conn: sqlite3.Connection, id: str) -> bool:
    """queued -> sending, one more attempt. Commit it before the first byte leaves."""
    return _changed(
        conn,
        "UPDATE outbox SET state = 'sending', attempts = attempts + 1 WHERE id = ? AND state = 'queued'",
        (id,),
    )


def mark_sent(conn: sqlite3.Connection, id: str, message_ids: Sequence[str] = ()) -> bool:
    """Any state -> sent: the platform has it, whatever we thought before."""
    return _changed(
        conn,
        "UPDATE outbox SET state = 'sent', message_ids = ?, last_error = NULL WHERE id = ? AND state <> 'sent'",
        (json.dumps(list(message_ids)), id),
    )


def mark_queued(
    conn: sqlite3.Connection,
    id: str,
    not_before_ms: int,
    error: str,
    *,
    count: bool = True,
    resend: bool = False,
) -> bool:
    """sending, unknown or queued -> queued, not to be tried before a time.

    `count` False takes the attempt back; `resend` says that it may arrive twice, which is counted in `resends`.
    """
    return _changed(
        conn,
        "UPDATE outbox SET state = 'queued', attempts = max(0, attempts - ?), resends = resends + ?,"
        " not_before_ms = ?, last_error = ? WHERE id = ? AND state IN ('sending', 'unknown', 'queued')",
        (int(not count), int(resend), not_before_ms, storable(error) or None, id),
    )


def hold(conn: sqlite3.Connection, id: str, error: str) -> bool:
    """sending or queued -> unknown: nobody knows whether it arrived, and it is not sent again by itself."""
    return _changed(
        conn,
        "UPDATE outbox SET state = 'unknown', last_error = ? WHERE id = ? AND state IN ('sending', 'queued')",
        (storable(error), id),
    )


def end_group(conn: sqlite3.Connection, group: str, state: str, error: str) -> int:
    """Every part of the group that still was to be sent -> "failed", "expired" or "cancelled"; returns how many."""
    return conn.execute(
        "UPDATE outbox SET state = ?, last_error = ? WHERE grp = ? AND state IN ('queued', 'sending')",
        (state, storable(error), group),
    ).rowcount


def shift(conn: sqlite3.Connection, by_ms: int) -> int:
    """Move the times of everything that is still to be sent along with a wall clock that was set; returns how many."""
    return conn.execute(
        "UPDATE outbox SET expires_ms = expires_ms + ?,"
        " not_before_ms = CASE not_before_ms WHEN 0 THEN 0 ELSE max(1, not_before_ms + ?) END"
        " WHERE state IN ('queued', 'sending')",
        (by_ms, by_ms),
    ).rowcount


def recover(
    conn: sqlite3.Connection,
    *,
    resend: bool = True,
    idempotent_channels: Collection[str] = (),
    max_resends: int = MAX_RESENDS,
) -> int:
    """Take over from a process that died; returns how many parts were being sent. Run it before anything is sent.

    sending -> queued where the platform drops a repetition by its key, and, with `resend`, everywhere else up to
    `max_resends` times per part; sending -> unknown otherwise. What was held before stays held: a person decides.
    """
    interrupted = conn.execute("SELECT id, channel, resends FROM outbox WHERE state = 'sending'").fetchall()
    for id, channel, resends in interrupted:
        if channel in idempotent_channels or (resend and resends < max_resends):
            mark_queued(conn, id, 0, _INTERRUPTED, resend=True)
        else:
            hold(conn, id, _INTERRUPTED)
    return len(interrupted)


def pending(conn: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """(group, lane, not_before_ms of its next part) of every group with something to send, in order of storing."""
    groups: dict[str, tuple[str, str, int]] = {}
    for name, lane, not_before_ms in conn.execute(
        "SELECT grp, lane, not_before_ms FROM outbox WHERE state IN ('queued', 'sending') ORDER BY n"
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


def _row(group: str, found: tuple[Any, ...]) -> OutboxRow:
    (_, id, part, inbox_seq, state, attempts, not_before_ms, expires_ms, last_error) = found[:9]
    resends, ids, crc, payload = found[9:]
    return OutboxRow(
        id=str(id),
        group=group,
        part=int(part),
        inbox_seq=inbox_seq,
        outbound=decode_outbound(checked(payload, crc)),
        state=str(state),
        attempts=int(attempts),
        not_before_ms=int(not_before_ms),
        expires_ms=int(expires_ms),
        last_error=last_error,
        resends=int(resends),
        message_ids=() if ids is None else tuple(json.loads(ids)),
    )


def _quarantine(conn: sqlite3.Connection, group: str) -> None:
    if end_group(conn, group, "failed", _DAMAGED):
        bump(conn, "rows_quarantined")


def _changed(conn: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    return conn.execute(statement, values).rowcount > 0
