"""The durable queue of everything that is to be sent, part by part.

Functions on a connection, to be run inside a store operation; they may be run again after a failure.
States: queued -> sending (written before the first byte) -> sent | queued again | unknown (nobody knows whether it
arrived, and it is held) | failed | expired | cancelled. Parts of a group are sent one after the other. `attempts`
counts the tries that were begun and not taken back, `resends` those that may have made a second copy. `tried_ms` is
when the first try began of which it is not sure that it never arrived; 0 while there is none.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
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
    "files",
    "group",
    "hold",
    "is_harmless",
    "mark_queued",
    "mark_sending",
    "mark_sent",
    "pending",
    "recover",
    "senders",
    "shift",
    "state_of",
]

# What is still to be sent; an `unknown` part is not, until `recover` or a person says so.
UNSENT = frozenset({"queued", "sending"})
# How often a part of unknown fate is sent again before a person must look.
MAX_RESENDS = 10

_INSERT = """INSERT INTO outbox(id, grp, part, inbox_seq, channel, account, lane, state, attempts, tried_ms,
    expires_ms, stored_ms, crc, payload) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING"""
_SELECT = """SELECT has_payload, id, part, inbox_seq, state, attempts, not_before_ms, expires_ms, last_error,
    resends, message_ids, tried_ms, crc, payload FROM outbox WHERE grp = ? ORDER BY part"""
_INTERRUPTED = "the gateway ended while it was being sent"
_DAMAGED = "a stored part is damaged; it was set aside in its row"
_NONE: Mapping[str, float] = {}
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
    tried_ms: int = 0


def is_harmless(tried_ms: int, now_ms: int, idempotent_s: float | None) -> bool:
    """Whether a part of unknown fate can be sent again without appearing twice.

    `idempotent_s` is that of its channel. After a clock that was set back by more than that, nothing is known.
    """
    return idempotent_s is not None and abs(now_ms - tried_ms) <= idempotent_s * 1000


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
            now_ms if sending else 0,
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
                    tried_ms=now_ms if sending else 0,
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


def mark_sending(conn: sqlite3.Connection, id: str, now_ms: int) -> bool:
    """queued -> sending, one more attempt. Commit it before the first byte leaves."""
    return _changed(
        conn,
        "UPDATE outbox SET state = 'sending', attempts = attempts + 1,"
        " tried_ms = CASE tried_ms WHEN 0 THEN ? ELSE tried_ms END WHERE id = ? AND state = 'queued'",
        (now_ms, id),
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
    Without any such try the part surely never arrived, and `tried_ms` begins anew.
    """
    return _changed(
        conn,
        "UPDATE outbox SET state = 'queued', attempts = max(0, attempts - ?), resends = resends + ?,"
        " tried_ms = CASE resends + ? WHEN 0 THEN 0 ELSE tried_ms END,"
        " not_before_ms = ?, last_error = ? WHERE id = ? AND state IN ('sending', 'unknown', 'queued')",
        (int(not count), int(resend), int(resend), not_before_ms, storable(error) or None, id),
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
        " not_before_ms = CASE not_before_ms WHEN 0 THEN 0 ELSE max(1, not_before_ms + ?) END,"
        " tried_ms = CASE tried_ms WHEN 0 THEN 0 ELSE max(1, tried_ms + ?) END"
        " WHERE state IN ('queued', 'sending')",
        (by_ms, by_ms, by_ms),
    ).rowcount


def recover(
    conn: sqlite3.Connection,
    *,
    now_ms: int = 0,
    resend: bool = True,
    idempotent: Mapping[str, float] = _NONE,
    max_resends: int = MAX_RESENDS,
) -> int:
    """Take over from a process that died; returns how many parts were being sent. Run it before anything is sent.

    sending -> queued where the platform still drops a repetition by its key (`idempotent` has the seconds, by
    channel, and is measured against `now_ms`), and, with `resend`, everywhere else up to `max_resends` times per
    part; sending -> unknown otherwise. What was held before stays held: a person decides.
    """
    interrupted = conn.execute(
        "SELECT id, channel, resends, tried_ms FROM outbox WHERE state = 'sending'"
    ).fetchall()
    for id, channel, resends, tried_ms in interrupted:
        harmless = is_harmless(tried_ms, now_ms, idempotent.get(channel))
        if harmless or (resend and resends < max_resends):
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


def senders(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """(channel, account) of everything that was not written in answer to a message and is still to be sent."""
    return conn.execute(
        "SELECT DISTINCT channel, account FROM outbox"
        " WHERE state IN ('queued', 'sending') AND inbox_seq IS NULL ORDER BY channel, account"
    ).fetchall()


def files(conn: sqlite3.Connection) -> dict[str, str]:
    """The paths of files that rows name which have not ended, with their state. Reads payloads, so ask seldom."""
    found: dict[str, str] = {}
    for state, payload in conn.execute(
        "SELECT state, payload FROM outbox WHERE state IN ('queued', 'sending', 'unknown')"
        " AND instr(payload, CAST('\"file\":' AS BLOB))"
    ):
        # A damaged row cannot be sent, so it needs no file.
        with contextlib.suppress(TypeError, ValueError):
            file = decode_outbound(payload).file
            if file is not None:
                found[file.path] = str(state)
    return found


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
    resends, ids, tried_ms, crc, payload = found[9:]
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
        tried_ms=int(tried_ms),
    )


def _quarantine(conn: sqlite3.Connection, group: str) -> None:
    if end_group(conn, group, "failed", _DAMAGED):
        bump(conn, "rows_quarantined")


def _changed(conn: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    return conn.execute(statement, values).rowcount > 0
