"""Work units: durable items of work that workers claim for a time. Every change is stored with its event.

Functions on a connection, to be run inside a store operation: whoever claims, claims alone. A request is a mapping of
checked values; the answer is the JSON value that is shown. They raise CommandError `work_unit.*` and change nothing
then. A lease is in force while `now_ms < expires_at_ms`. Claiming counts an attempt. A blocker is open until it is
completed or archived; `open_blockers` of a unit counts its open ones, so that claiming reads one row of an index.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from typing import cast

from loong_gateway.base.faults import CommandError
from loong_gateway.storage.work_unit_rows import Json, Row, row_of, snapshot
from loong_gateway.storage.work_unit_rules import (
    HELD,
    MOST_DEPENDENCIES,
    MOST_EVENTS,
    MOST_HEARTBEATS,
    MOST_NOTES,
    PRIORITIES,
    SOURCE_FIELDS,
    TERMINAL,
    backoff_ms,
)

__all__ = [
    "RECOVERED_AT_ONCE",
    "archive",
    "assign",
    "claim",
    "complete",
    "create",
    "depend",
    "heartbeat",
    "note",
    "prune",
    "recover",
    "start",
    "undepend",
    "update",
]

RECOVERED_AT_ONCE = 500
_ARCHIVED_KEPT_MS = 90 * 24 * 3_600_000
_END_OF_LEASE: Mapping[str, object] = {
    "lease_owner": None,
    "lease_acquired_ms": None,
    "lease_heartbeat_ms": None,
    "lease_expires_ms": None,
}
_EVENT_OF = {
    "completed": "work_unit_completed",
    "retry_pending": "work_unit_retry_scheduled",
    "failed_terminal": "work_unit_failed_terminal",
    "cancelled": "work_unit_cancelled",
}


def create(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Store a new unit, under the id that is given or one of its own. A parent must be there."""
    id = request.get("id") or f"wu-{os.urandom(8).hex()}"
    if conn.execute("SELECT 1 FROM work_units WHERE work_unit_id = ?", (id,)).fetchone():
        raise CommandError("work_unit.exists", id=id)
    parent = request.get("parent_work_unit_id")
    if parent is not None:
        row_of(conn, parent)
    source = {"source": request["source_kind"]}
    source.update({name: request[name] for name in SOURCE_FIELDS if request.get(name) is not None})
    next_run_ms = request.get("next_run_at_ms")
    values = {
        "work_unit_id": id,
        "kind": request["kind"],
        "title": request["title"],
        "description": request["description"],
        "source_ref": json.dumps(source),
        "status": request["status"],
        "priority": _weight(request["priority"]),
        "max_attempts": request["max_attempts"],
        "initial_backoff_ms": request["initial_backoff_ms"],
        "max_backoff_ms": request["max_backoff_ms"],
        "next_run_at_ms": now_ms if next_run_ms is None else next_run_ms,
        "parent_work_unit_id": parent,
        "created_at_ms": now_ms,
        "updated_at_ms": now_ms,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    conn.execute(f"INSERT INTO work_units({names}) VALUES({marks})", tuple(values.values()))
    _event(conn, id, "work_unit_created", request, now_ms, {"status": request["status"]})
    return snapshot(conn, id)


def claim(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Lease the best unit that is due to `owner`: {claimed, snapshot}, the snapshot None when nothing is due."""
    id = _next_due(conn, now_ms)
    if id is None:
        return {"claimed": False, "snapshot": None}
    row = row_of(conn, id)
    lease = {
        "lease_owner": request["owner"],
        "lease_version": _number(row, "lease_version") + 1,
        "lease_acquired_ms": now_ms,
        "lease_heartbeat_ms": now_ms,
        "lease_expires_ms": now_ms + _number(request, "ttl_ms"),
    }
    attempt = _number(row, "attempt_count") + 1
    _change(conn, id, now_ms, {"status": "leased", "attempt_count": attempt, **lease})
    told = {"owner": request["owner"], "lease_version": lease["lease_version"], "attempt": attempt}
    _event(conn, id, "work_unit_leased", request, now_ms, told)
    return {"claimed": True, "snapshot": snapshot(conn, id)}


def start(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """leased -> running, for the one who holds the lease."""
    row = _leased_to(conn, "start", request, now_ms)
    if row["status"] != "leased":
        raise CommandError("work_unit.no_lease", verb="start", id=request["id"])
    _change(conn, request["id"], now_ms, {"status": "running"})
    _event(conn, request["id"], "work_unit_started", request, now_ms, {"owner": request["owner"]})
    return snapshot(conn, request["id"])


def heartbeat(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Let the lease end `ttl_ms` from now, for the one who holds it."""
    _leased_to(conn, "heartbeat", request, now_ms)
    expires_ms = now_ms + _number(request, "ttl_ms")
    _change(conn, request["id"], now_ms, {"lease_heartbeat_ms": now_ms, "lease_expires_ms": expires_ms})
    told = {"owner": request["owner"], "expires_at_ms": expires_ms}
    _event(conn, request["id"], "work_unit_heartbeat", request, now_ms, told)
    return snapshot(conn, request["id"])


def complete(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """End the lease of the one who holds it, as `disposition` says; a retry without attempts left is a failure."""
    row = _leased_to(conn, "complete", request, now_ms)
    _settle(conn, row, str(request["disposition"]), request, now_ms)
    return snapshot(conn, request["id"])


def recover(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Take back at most RECOVERED_AT_ONCE leases that are over: {recovered_count, work_unit_ids, has_more}."""
    found = conn.execute(
        "SELECT work_unit_id FROM work_units WHERE lease_expires_ms <= ? AND lease_owner IS NOT NULL"
        " ORDER BY lease_expires_ms LIMIT ?",
        (now_ms, RECOVERED_AT_ONCE + 1),
    ).fetchall()
    ids = [str(id) for (id,) in found[:RECOVERED_AT_ONCE]]
    for id in ids:
        row = row_of(conn, id)
        told = {**request, "error": f"the lease of {row['lease_owner']} expired"}
        _settle(conn, row, "retry_pending", told, now_ms, event="work_unit_lease_expired_recovered")
    return {"recovered_count": len(ids), "work_unit_ids": ids, "has_more": len(found) > len(ids)}


def archive(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Put away a unit that has ended."""
    row = row_of(conn, request["id"])
    if row["status"] not in TERMINAL:
        raise CommandError("work_unit.not_terminal", id=request["id"], status=row["status"])
    _change(conn, request["id"], now_ms, {"status": "archived", "archived_at_ms": now_ms})
    if row["status"] != "completed":
        _release_dependents(conn, request["id"])
    _event(conn, request["id"], "work_unit_archived", request, now_ms, {"from": row["status"]})
    return snapshot(conn, request["id"])


def assign(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Say who is responsible, or nobody. Claiming does not look at it."""
    _open_row(conn, request["id"])
    _change(conn, request["id"], now_ms, {"assigned_to": request.get("assigned_to")})
    told = {"assigned_to": request.get("assigned_to")}
    _event(conn, request["id"], "work_unit_assigned", request, now_ms, told)
    return snapshot(conn, request["id"])


def update(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Change what a unit says, or its status. A new status ends a lease; one that has ended keeps its status."""
    row = _open_row(conn, request["id"])
    names = ("title", "description", "status", "next_run_at_ms", "blocking_reason")
    changes: Json = {name: request[name] for name in names if request.get(name) is not None}
    if request.get("priority") is not None:
        changes["priority"] = _weight(request["priority"])
    if request.get("clear_blocking_reason"):
        changes["blocking_reason"] = None
    if not changes:
        raise CommandError("work_unit.nothing_to_change", id=request["id"])
    event = "work_unit_updated"
    if "status" in changes:
        if row["status"] in TERMINAL:
            raise CommandError("work_unit.ended", id=request["id"], status=row["status"])
        changes.update(_END_OF_LEASE)
        event = "work_unit_cancelled" if changes["status"] == "cancelled" else event
    _change(conn, request["id"], now_ms, changes)
    # Their texts would stand in the events once more.
    told = {
        "changed": sorted(name for name in changes if not name.startswith("lease_")),
        "from_status": row["status"],
        "to_status": changes.get("status", row["status"]),
        "lease_ended_of": row["lease_owner"] if "status" in changes else None,
    }
    _event(conn, request["id"], event, request, now_ms, told)
    return snapshot(conn, request["id"])


def depend(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Have `blocked_id` wait for `blocking_id`; once more changes nothing. Returns the blocked unit."""
    blocking, blocked = request["blocking_id"], request["blocked_id"]
    _open_row(conn, blocked)
    row = row_of(conn, blocking)
    if blocking == blocked:
        raise CommandError("work_unit.cycle", blocked=blocked, blocking=blocking)
    known = "SELECT 1 FROM work_unit_dependencies WHERE blocking_id = ? AND blocked_id = ?"
    if conn.execute(known, (blocking, blocked)).fetchone():
        return snapshot(conn, blocked)
    for id, column in ((blocked, "blocked_id"), (blocking, "blocking_id")):
        count = f"SELECT count(*) FROM work_unit_dependencies WHERE {column} = ?"  # noqa: S608  constants
        if conn.execute(count, (id,)).fetchone()[0] >= MOST_DEPENDENCIES:
            raise CommandError("work_unit.too_many", id=id, most=MOST_DEPENDENCIES, what="dependencies")
    if _waits_for(conn, blocking, blocked):
        raise CommandError("work_unit.cycle", blocked=blocked, blocking=blocking)
    conn.execute(
        "INSERT INTO work_unit_dependencies(blocking_id, blocked_id) VALUES(?, ?)", (blocking, blocked)
    )
    _count_blocker(conn, row, blocked, +1)
    _change(conn, blocked, now_ms, {})
    _event(conn, blocked, "work_unit_dependency_added", request, now_ms, {"blocking_id": blocking})
    return snapshot(conn, blocked)


def undepend(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Have `blocked_id` wait for `blocking_id` no more. Returns the unit that was blocked."""
    blocking, blocked = request["blocking_id"], request["blocked_id"]
    removed = conn.execute(
        "DELETE FROM work_unit_dependencies WHERE blocking_id = ? AND blocked_id = ?", (blocking, blocked)
    ).rowcount
    if not removed:
        raise CommandError("work_unit.no_dependency", blocked=blocked, blocking=blocking)
    _count_blocker(conn, row_of(conn, blocking), blocked, -1)
    _change(conn, blocked, now_ms, {})
    _event(conn, blocked, "work_unit_dependency_removed", request, now_ms, {"blocking_id": blocking})
    return snapshot(conn, blocked)


def note(conn: sqlite3.Connection, request: Row, now_ms: int) -> Json:
    """Keep a remark among the events of a unit."""
    _open_row(conn, request["id"])
    count = "SELECT count(*) FROM work_unit_events WHERE work_unit_id = ? AND kind = 'work_unit_note_added'"
    if conn.execute(count, (request["id"],)).fetchone()[0] >= MOST_NOTES:
        raise CommandError("work_unit.too_many", id=request["id"], most=MOST_NOTES, what="notes")
    _change(conn, request["id"], now_ms, {})
    _event(conn, request["id"], "work_unit_note_added", request, now_ms, {"note": request["note"]})
    return snapshot(conn, request["id"])


def prune(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Forget at most `limit` units that were archived 90 days ago, with their events; returns how many."""
    found = conn.execute(
        "SELECT work_unit_id FROM work_units WHERE status = 'archived' AND updated_at_ms < ? LIMIT ?",
        (now_ms - _ARCHIVED_KEPT_MS, limit),
    ).fetchall()
    for (id,) in found:
        conn.execute("DELETE FROM work_unit_events WHERE work_unit_id = ?", (id,))
        conn.execute("DELETE FROM work_unit_dependencies WHERE blocking_id = ? OR blocked_id = ?", (id, id))
        conn.execute("DELETE FROM work_units WHERE work_unit_id = ?", (id,))
    return len(found)


def _next_due(conn: sqlite3.Connection, now_ms: int) -> object:
    # One priority after the other: what is not due yet would otherwise be read before the lower ones.
    for weight in range(len(PRIORITIES), 0, -1):
        found = conn.execute(
            "SELECT work_unit_id FROM work_units WHERE status IN ('ready', 'retry_pending') AND open_blockers = 0"
            " AND priority = ? AND next_run_at_ms <= ?"
            " ORDER BY next_run_at_ms, updated_at_ms, work_unit_id LIMIT 1",
            (weight, now_ms),
        ).fetchone()
        if found is not None:
            return found[0]
    return None


def _leased_to(conn: sqlite3.Connection, verb: str, request: Row, now_ms: int) -> dict[str, object]:
    """The row of a unit whose present lease is the owner's. Raises CommandError `work_unit.no_lease`."""
    row = row_of(conn, request["id"])
    version = request.get("lease_version")
    holds = row["lease_owner"] == request["owner"] and row["status"] in HELD
    if not holds or _number(row, "lease_expires_ms") <= now_ms or version not in (None, row["lease_version"]):
        raise CommandError("work_unit.no_lease", verb=verb, id=request["id"])
    return row


def _settle(
    conn: sqlite3.Connection, row: Row, outcome: str, request: Row, now_ms: int, event: str | None = None
) -> None:
    """End a lease: with success, with another attempt while there are any, or for good."""
    id = row["work_unit_id"]
    attempts = _number(row, "attempt_count")
    if outcome == "retry_pending" and attempts >= _number(row, "max_attempts"):
        outcome = "failed_terminal"
    changes: Json = {"status": outcome, **_END_OF_LEASE}
    if request.get("error") is not None:
        changes["last_error"] = request["error"]
    if request.get("result_payload_json") is not None:
        changes["result_payload_json"] = json.dumps(request["result_payload_json"], ensure_ascii=False)
    told: Json = {"owner": row["lease_owner"], "status": outcome, "error": request.get("error")}
    if outcome == "retry_pending":
        delay_ms = backoff_ms(attempts, _number(row, "initial_backoff_ms"), _number(row, "max_backoff_ms"))
        given = request.get("next_run_at_ms")
        changes["next_run_at_ms"] = told["next_run_at_ms"] = now_ms + delay_ms if given is None else given
    _change(conn, id, now_ms, changes)
    if outcome == "completed":
        _release_dependents(conn, id)
    _event(conn, id, event or _EVENT_OF[outcome], request, now_ms, told)


def _release_dependents(conn: sqlite3.Connection, id: object) -> None:
    conn.execute(
        "UPDATE work_units SET open_blockers = open_blockers - 1 WHERE work_unit_id IN"
        " (SELECT blocked_id FROM work_unit_dependencies WHERE blocking_id = ?)",
        (id,),
    )


def _waits_for(conn: sqlite3.Connection, id: object, other: object) -> bool:
    """Whether a unit waits for another one, be it by others between them."""
    # Nobody waits for most of those that get a blocker, so a long chain above is seldom walked.
    if not conn.execute("SELECT 1 FROM work_unit_dependencies WHERE blocking_id = ?", (other,)).fetchone():
        return False
    found = conn.execute(
        "WITH RECURSIVE above(id) AS (SELECT ? UNION SELECT d.blocking_id FROM work_unit_dependencies d"
        " JOIN above ON d.blocked_id = above.id) SELECT 1 FROM above WHERE id = ?",
        (id, other),
    ).fetchone()
    return found is not None


def _count_blocker(conn: sqlite3.Connection, blocking: Row, blocked: object, change: int) -> None:
    if blocking["status"] not in ("completed", "archived"):
        conn.execute(
            "UPDATE work_units SET open_blockers = open_blockers + ? WHERE work_unit_id = ?",
            (change, blocked),
        )


def _open_row(conn: sqlite3.Connection, id: object) -> dict[str, object]:
    row = row_of(conn, id)
    if row["status"] == "archived":
        raise CommandError("work_unit.ended", id=id, status=row["status"])
    return row


def _change(conn: sqlite3.Connection, id: object, now_ms: int, changes: Row) -> None:
    named = {**changes, "updated_at_ms": now_ms}
    conn.execute(
        f"UPDATE work_units SET {', '.join(f'{name} = ?' for name in named)} WHERE work_unit_id = ?",  # noqa: S608
        (*named.values(), id),
    )


def _event(conn: sqlite3.Connection, id: object, kind: str, request: Row, now_ms: int, payload: Row) -> None:
    """Keep that something happened, and forget what has become too much."""
    actor = request.get("actor") or request.get("owner")
    conn.execute(
        "INSERT INTO work_unit_events(work_unit_id, kind, actor, payload, at_ms) VALUES(?, ?, ?, ?, ?)",
        (id, kind, actor, json.dumps(payload, ensure_ascii=False), now_ms),
    )
    forget = "DELETE FROM work_unit_events WHERE n IN (SELECT n FROM work_unit_events WHERE work_unit_id = ?"
    if kind == "work_unit_heartbeat":
        conn.execute(f"{forget} AND kind = ? ORDER BY n DESC LIMIT 5 OFFSET ?)", (id, kind, MOST_HEARTBEATS))
    conn.execute(f"{forget} ORDER BY n DESC LIMIT 5 OFFSET ?)", (id, MOST_EVENTS))


def _weight(priority: object) -> int:
    return PRIORITIES.index(str(priority)) + 1


def _number(row: Row, name: str) -> int:
    return cast(int, row[name])
