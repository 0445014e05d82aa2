"""The durable queue of messages that were acknowledged to their platforms.

Functions on a connection, to be run inside a store operation; they may be run again after a failure.
States: new -> claimed -> done | failed, back to new when a turn failed and may be tried again; `rejected` and
`skipped_old` rows are kept for the record only. `attempts` counts turns that failed, `crashes` deaths of the
process while the row was claimed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from loong_channels.contract import Inbound
from loong_gateway.storage.counters import bump
from loong_gateway.storage.payloads import checked, decode_inbound, encode_inbound, storable

__all__ = [
    "PENDING",
    "InboxRow",
    "Recovered",
    "add",
    "claim",
    "claimed",
    "counts",
    "exists",
    "fail",
    "find",
    "finish",
    "give_back",
    "load",
    "oldest_pending_ms",
    "pending_lanes",
    "recover",
    "settle",
]

# The states of a message that is still to be answered.
PENDING = frozenset({"new", "claimed"})

# "DO NOTHING" covers uniqueness only; "OR IGNORE" would also swallow a row that breaks another rule.
_INSERT = """INSERT INTO inbox(channel, account, conversation, event_id, message_id, lane, sent_ms, received_ms,
    stored_ms, state, crc, payload) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_DAMAGED = "the stored message is damaged; it was set aside in its row"


@dataclass(frozen=True)
class InboxRow:
    """A stored message. `seq` grows in the order of arrival and is never used twice."""

    seq: int
    inbound: Inbound
    state: str
    attempts: int
    crashes: int


@dataclass(frozen=True)
class Recovered:
    """What a new process found: (seq, lane) of the rows to work on, in order, and the rows that were given up."""

    pending: list[tuple[int, str]]
    failed: list[InboxRow]


def add(
    conn: sqlite3.Connection, batch: Sequence[Inbound], now_ms: int, state: str = "new"
) -> list[InboxRow]:
    """Store the messages that were not seen before and return them, in order; counts the others.

    A message was seen when its event id is known for the account, or its message id for the conversation; the
    latter does not hold for an edited message. Raises ValueError for an `extra` that no JSON can hold.
    """
    rows = []
    for inbound in batch:
        address = inbound.address
        payload = encode_inbound(inbound)
        message_id = None if inbound.edited or inbound.message_id is None else storable(inbound.message_id)
        values = (
            address.channel,
            address.account,
            storable(address.conversation),
            storable(inbound.event_id),
            message_id,
            storable(address.lane),
            inbound.sent_ms,
            inbound.received_ms,
            now_ms,
            state,
            zlib.crc32(payload),
            payload,
        )
        inserted = conn.execute(_INSERT, values)
        if inserted.rowcount == 1:
            rows.append(InboxRow(int(inserted.lastrowid or 0), inbound, state, 0, 0))
    if len(rows) < len(batch):
        bump(conn, "duplicates_dropped", len(batch) - len(rows))
    return rows


def load(conn: sqlite3.Connection, seq: int) -> InboxRow | None:
    """The row, or None when it is unknown, emptied or damaged; a damaged one is marked failed and counted."""
    found = conn.execute(
        "SELECT has_payload, state, attempts, crashes, crc, payload FROM inbox WHERE seq = ?", (seq,)
    ).fetchone()
    if found is None or found[0] == 0:
        return None
    _, state, attempts, crashes, crc, payload = found
    try:
        return InboxRow(seq, decode_inbound(checked(payload, crc)), str(state), int(attempts), int(crashes))
    except (TypeError, ValueError):
        _quarantine(conn, seq)
        return None


def claimed(conn: sqlite3.Connection) -> list[Inbound]:
    """The messages that are being answered, without the damaged ones. Changes nothing."""
    found = []
    for crc, payload in conn.execute(
        "SELECT crc, payload FROM inbox WHERE state = 'claimed' AND has_payload = 1"
    ):
        # Marking a damaged row is left to who works on it.
        with contextlib.suppress(TypeError, ValueError):
            found.append(decode_inbound(checked(payload, crc)))
    return found


def exists(conn: sqlite3.Connection, seq: int) -> bool:
    """Whether there is a row of this number, in whatever state."""
    return conn.execute("SELECT 1 FROM inbox WHERE seq = ?", (seq,)).fetchone() is not None


def find(
    conn: sqlite3.Connection, channel: str, account: str, conversation: str, message_id: str
) -> tuple[int, str] | None:
    """(seq, lane) of the message with this id, if it is still to be answered."""
    row = conn.execute(
        "SELECT seq, lane FROM inbox WHERE channel = ? AND account = ? AND conversation = ? AND message_id = ?"
        " AND state IN ('new', 'claimed')",
        (channel, account, storable(conversation), storable(message_id)),
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def claim(conn: sqlite3.Connection, seq: int) -> bool:
    """new -> claimed; False when the row is not new."""
    return _changed(conn, "UPDATE inbox SET state = 'claimed' WHERE seq = ? AND state = 'new'", (seq,))


def settle(conn: sqlite3.Connection, seq: int, state: str, *, error: str = "") -> bool:
    """new or claimed -> "done", "failed" or "skipped_old".

    False when the row was settled before, so that nothing is answered twice: write the answer only after True.
    """
    return _changed(
        conn,
        "UPDATE inbox SET state = ?, last_error = ? WHERE seq = ? AND state IN ('new', 'claimed')",
        (state, storable(error) or None, seq),
    )


def finish(conn: sqlite3.Connection, seq: int) -> bool:
    """new or claimed -> done; False when it was settled before."""
    return settle(conn, seq, "done")


def fail(conn: sqlite3.Connection, seq: int, error: str) -> bool:
    """new or claimed -> failed; False when it was settled before."""
    return settle(conn, seq, "failed", error=error)


def give_back(conn: sqlite3.Connection, seq: int, *, count: bool, error: str = "") -> bool:
    """claimed -> new; `count` says that the turn failed and not just stopped. False when it was not claimed."""
    return _changed(
        conn,
        "UPDATE inbox SET state = 'new', attempts = attempts + ?, last_error = ? WHERE seq = ? AND state = 'claimed'",
        (int(count), storable(error) or None, seq),
    )


def recover(conn: sqlite3.Connection, *, max_crashes: int) -> Recovered:
    """Take over from a process that died: claimed -> new with one more crash, over `max_crashes` -> failed.

    Run it once, before any worker starts.
    """
    conn.execute("UPDATE inbox SET state = 'new', crashes = crashes + 1 WHERE state = 'claimed'")
    poisonous = conn.execute(
        "SELECT seq FROM inbox WHERE state = 'new' AND crashes > ? ORDER BY seq", (max_crashes,)
    ).fetchall()
    failed = []
    for (seq,) in poisonous:
        fail(conn, seq, f"the gateway died {max_crashes + 1} times while working on it")
        row = load(conn, seq)
        if row is not None:
            failed.append(row)
    return Recovered(pending_lanes(conn), failed)


def pending_lanes(conn: sqlite3.Connection) -> list[tuple[int, str]]:
    """(seq, lane) of every new row, in order of arrival."""
    rows = conn.execute("SELECT seq, lane FROM inbox WHERE state = 'new' ORDER BY seq").fetchall()
    return [(seq, str(lane)) for seq, lane in rows]


def counts(conn: sqlite3.Connection) -> dict[tuple[str, str], dict[str, int]]:
    """How many rows are in which state, by (channel, account). Rows that are done are left out: there are many."""
    result: dict[tuple[str, str], dict[str, int]] = {}
    for channel, account, state, n in conn.execute(
        "SELECT channel, account, state, count(*) FROM inbox"
        " WHERE state IN ('new', 'claimed', 'failed', 'rejected', 'skipped_old') GROUP BY state, channel, account"
    ):
        result.setdefault((channel, account), {})[state] = n
    return result


def oldest_pending_ms(conn: sqlite3.Connection) -> int | None:
    """When the oldest message that still waits or is being answered was received, or None."""
    row = conn.execute(
        "SELECT received_ms FROM inbox WHERE seq = (SELECT min(seq) FROM inbox WHERE state IN ('new', 'claimed'))"
    ).fetchone()
    return None if row is None else int(row[0])


def _quarantine(conn: sqlite3.Connection, seq: int) -> None:
    if _changed(
        conn,
        "UPDATE inbox SET state = 'failed', last_error = ?"
        " WHERE seq = ? AND (state <> 'failed' OR last_error IS NOT ?)",
        (_DAMAGED, seq, _DAMAGED),
    ):
        bump(conn, "rows_quarantined")


def _changed(conn: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    return conn.execute(statement, values).rowcount > 0
