"""Tools about sessions: which there are, what was said, how one is doing. They change nothing."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.control import ControlPlane
from loong_gateway.control.sessions import SessionInfo
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext

__all__ = ["PORT_NAMES", "TURN_NAMES", "session_tools"]

MAIN = "main"
KEY = {"type": "string", "maxLength": 512, "description": "a session: its key or its name"}
LIMIT = {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
# status, list, history: as clients of the port know them, and as all other tools are named.
PORT_NAMES = ("session_status", "sessions_list", "sessions_history")
TURN_NAMES = ("sessions.status", "sessions.list", "sessions.history")


def session_tools(control: ControlPlane, names: tuple[str, str, str]) -> list[Tool]:
    """The three, under these names."""
    status, rows, history = names
    looks = _Sessions(control)
    return [
        Tool(
            status,
            "one session: how long it is and whether it is being answered",
            looks.status,
            {"sessionKey": KEY},
            available=looks.enabled,
        ),
        Tool(
            rows,
            "the sessions, latest activity first",
            looks.list,
            {"limit": LIMIT, "search": {"type": "string", "maxLength": 200, "default": ""}},
            available=looks.enabled,
        ),
        Tool(
            history,
            "the last messages of a session",
            looks.history,
            {"sessionKey": KEY, "limit": LIMIT},
            available=looks.enabled,
        ),
    ]


class _Sessions:
    """Each public method but the first is the body of a tool."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def enabled(self) -> bool:
        return self._control.config().tools.sessions.enabled

    def status(self, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        key = self._key(given, context)
        row = self._control.sessions.describe(key)
        return {
            "sessionKey": key,
            "exists": row is not None,
            "sessionId": None if row is None else row.session_id,
            "messages": 0 if row is None else row.messages,
            "updatedAtMs": None if row is None else row.updated_ms,
            "activeRuns": len(self._control.runs.active(key)),
        }

    def list(self, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        limit, search = _number(given["limit"]), str(given["search"])
        if self._sees_all(context):
            limit = (
                limit if context.is_direct else min(limit, self._control.config().tools.sessions.list_limit)
            )
            page = self._control.sessions.list(limit=limit, search=search)
            rows, total = page.rows, page.total
        else:
            own = None if context.session is None else self._control.sessions.describe(context.session)
            rows = () if own is None else (own,)
            total = len(rows)
        return {"count": len(rows), "total": total, "sessions": [_shown(row) for row in rows]}

    def history(self, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        key = self._key(given, context)
        limit = _number(given["limit"])
        if not context.is_direct:
            limit = min(limit, self._control.config().tools.sessions.history_limit)
        told = self._control.sessions.history(key, limit=limit, max_bytes=1 << 20)
        return {
            "sessionKey": key,
            "messages": [{"role": one.role, "text": one.text, "atMs": one.at_ms} for one in told.messages],
            "total": told.total,
            "hasMore": told.has_more,
        }

    def _sees_all(self, context: ToolContext) -> bool:
        return context.is_direct or self._control.config().tools.sessions.visibility == "all"

    def _key(self, given: Mapping[str, object], context: ToolContext) -> str:
        named = given.get("sessionKey")
        if named is None:
            if context.session is not None:
                return context.session
            named = MAIN
        key = self._control.sessions.resolve(str(named))
        if key is None:
            raise BadArgument("args.sessionKey: is of another agent")
        if key != context.session and not self._sees_all(context):
            raise BadArgument("args.sessionKey: only the session of this turn may be looked at")
        return key


def _shown(row: SessionInfo) -> dict[str, object]:
    return {
        "key": row.key,
        "kind": row.kind,
        "channel": row.channel,
        "displayName": row.display_name,
        "sessionId": row.session_id,
        "messages": row.messages,
        "updatedAtMs": row.updated_ms,
    }


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
