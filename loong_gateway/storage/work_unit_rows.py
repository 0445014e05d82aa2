"""Work units as they are shown. Functions on a connection that change nothing; JSON values with stable names."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from loong_gateway.base.faults import CommandError
from loong_gateway.storage.work_unit_rules import PRIORITIES, TERMINAL

__all__ = ["HEALTHY", "events", "health", "listed", "oldest_expiry_ms", "row_of", "snapshot"]

Json = dict[str, object]
Row = Mapping[str, object]

# The counts of no work unit at all.
HEALTHY: Mapping[str, int] = dict.fromkeys(
    (
        *("total_count", "ready_count", "leased_count", "running_count", "blocked_count"),
        *("retry_pending_count", "terminal_count", "archived_count", "expired_lease_count"),
    ),
    0,
)
_COLUMNS = (
    *("work_unit_id", "kind", "title", "description", "source_ref", "status", "priority", "assigned_to"),
    *(
        "max_attempts",
        "initial_backoff_ms",
        "max_backoff_ms",
        "attempt_count",
        "next_run_at_ms",
        "last_error",
    ),
    *("blocking_reason", "parent_work_unit_id", "open_blockers", "result_payload_json", "created_at_ms"),
    *("updated_at_ms", "archived_at_ms", "lease_owner", "lease_version", "lease_acquired_ms"),
    *("lease_heartbeat_ms", "lease_expires_ms"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM work_units"  # noqa: S608  constants
_POLICY = ("max_attempts", "initial_backoff_ms", "max_backoff_ms")
# What one list may weigh, so that it fits into a message of the port whatever stands in the descriptions.
_MOST_LISTED_CHARACTERS = 4 << 20


def row_of(conn: sqlite3.Connection, id: object) -> dict[str, object]:
    """Every column of a unit by name. Raises CommandError `work_unit.not_found`."""
    found = conn.execute(f"{_SELECT} WHERE work_unit_id = ?", (id,)).fetchone()
    if found is None:
        raise CommandError("work_unit.not_found", id=id)
    return dict(zip(_COLUMNS, found))


def snapshot(conn: sqlite3.Connection, id: object) -> Json:
    """A unit and its lease: {work_unit, lease}. Raises CommandError `work_unit.not_found`."""
    return _snapshot(conn, row_of(conn, id))


def _snapshot(conn: sqlite3.Connection, row: Row) -> Json:
    id = row["work_unit_id"]
    payload = row["result_payload_json"]
    unit = {
        "work_unit_id": id,
        "kind": row["kind"],
        "title": row["title"],
        "description": row["description"],
        "source_ref": json.loads(str(row["source_ref"])),
        "status": row["status"],
        "priority": PRIORITIES[int(str(row["priority"])) - 1],
        "assigned_to": row["assigned_to"],
        "retry_policy": {name: row[name] for name in _POLICY},
        "attempt_count": row["attempt_count"],
        "next_run_at_ms": row["next_run_at_ms"],
        "last_error": row["last_error"],
        "blocking_reason": row["blocking_reason"],
        "parent_work_unit_id": row["parent_work_unit_id"],
        "blocks_work_unit_ids": _ids(conn, "blocked_id", "blocking_id", id),
        "blocked_by_work_unit_ids": _ids(conn, "blocking_id", "blocked_id", id),
        "result_payload_json": None if payload is None else json.loads(str(payload)),
        "created_at_ms": row["created_at_ms"],
        "updated_at_ms": row["updated_at_ms"],
        "archived_at_ms": row["archived_at_ms"],
    }
    return {"work_unit": unit, "lease": None if row["lease_owner"] is None else _lease(row)}


def _lease(row: Row) -> Json:
    return {
        "work_unit_id": row["work_unit_id"],
        "owner": row["lease_owner"],
        "lease_version": row["lease_version"],
        "acquired_at_ms": row["lease_acquired_ms"],
        "heartbeat_at_ms": row["lease_heartbeat_ms"],
        "expires_at_ms": row["lease_expires_ms"],
    }


def _ids(conn: sqlite3.Connection, wanted: str, given: str, id: object) -> list[str]:
    found = conn.execute(
        f"SELECT {wanted} FROM work_unit_dependencies WHERE {given} = ? ORDER BY 1",  # noqa: S608  constants
        (id,),
    )
    return [str(one) for (one,) in found]


def listed(conn: sqlite3.Connection, request: Row) -> Json:
    """The units that changed last, at most `limit`: of one `status`, or all; archived ones when they are asked for.

    {work_units: [snapshot], returned_count, limit, has_more}.
    """
    limit = int(str(request["limit"]))
    status = request.get("status")
    # No condition but these, so that an index gives the rows in their order and reading stops at the limit.
    where, values = ("status = ?", [status]) if status is not None else ("status <> 'archived'", [])
    if status is None and request.get("include_archived"):
        where = "1"
    statement = f"{_SELECT} WHERE {where} ORDER BY updated_at_ms DESC, work_unit_id LIMIT ?"
    found: list[Json] = []
    weight, has_more = 0, False
    for values_of_row in conn.execute(statement, (*values, limit + 1)):
        row = dict(zip(_COLUMNS, values_of_row))
        weight += len(str(row["description"])) + len(str(row["result_payload_json"]))
        has_more = len(found) == limit or (bool(found) and weight > _MOST_LISTED_CHARACTERS)
        if has_more:
            break
        found.append(_snapshot(conn, row))
    return {"work_units": found, "returned_count": len(found), "limit": limit, "has_more": has_more}


def events(conn: sqlite3.Connection, request: Row) -> Json:
    """The newest events of a unit, oldest first: {work_unit_id, limit, events: [{sequence, ...}]}."""
    id = row_of(conn, request["id"])["work_unit_id"]
    found: Sequence[tuple[int, str, str | None, str, int]] = conn.execute(
        "SELECT n, kind, actor, payload, at_ms FROM work_unit_events WHERE work_unit_id = ?"
        " ORDER BY n DESC LIMIT ?",
        (id, request["limit"]),
    ).fetchall()
    rows = [
        {
            "sequence": n,
            "work_unit_id": id,
            "event_kind": kind,
            "actor": actor,
            "payload": json.loads(payload),
            "recorded_at_ms": at_ms,
        }
        for n, kind, actor, payload, at_ms in reversed(found)
    ]
    return {"work_unit_id": id, "limit": request["limit"], "events": rows}


def health(conn: sqlite3.Connection, now_ms: int) -> dict[str, int]:
    """How many units are in which state; reads indexes only."""
    counts = {
        str(status): int(number)
        for status, number in conn.execute("SELECT status, count(*) FROM work_units GROUP BY status")
    }
    waiting = conn.execute(
        "SELECT count(*) FROM work_units WHERE open_blockers > 0 AND status IN ('ready', 'retry_pending')"
    ).fetchone()[0]
    expired = conn.execute(
        "SELECT count(*) FROM work_units WHERE lease_expires_ms <= ? AND lease_owner IS NOT NULL", (now_ms,)
    ).fetchone()[0]
    return {
        "total_count": sum(counts.values()),
        "ready_count": counts.get("ready", 0),
        "leased_count": counts.get("leased", 0),
        "running_count": counts.get("running", 0),
        "blocked_count": counts.get("waiting_external", 0) + counts.get("waiting_review", 0) + int(waiting),
        "retry_pending_count": counts.get("retry_pending", 0),
        "terminal_count": sum(counts.get(status, 0) for status in TERMINAL),
        "archived_count": counts.get("archived", 0),
        "expired_lease_count": int(expired),
    }


def oldest_expiry_ms(conn: sqlite3.Connection) -> int | None:
    """When the first of the present leases ends or ended; None while there is none. One step in an index."""
    found = conn.execute(
        "SELECT lease_expires_ms FROM work_units WHERE lease_owner IS NOT NULL ORDER BY lease_expires_ms LIMIT 1"
    ).fetchone()
    return None if found is None else int(found[0])
