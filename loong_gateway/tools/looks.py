"""The tools that this build has: they look and change nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

from loong_gateway.control import ControlPlane
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext

__all__ = ["built_in_tools"]

MAIN = "main"
MODELS_S = 10.0
KEY = {"type": "string", "maxLength": 512, "description": "a session: its key or its name"}
SHOWN_OF_SURFACE = (
    "channel",
    "account",
    "phase",
    "trouble",
    "identity",
    "last_error",
    "last_inbound_ms",
    "last_outbound_ms",
)


def built_in_tools(control: ControlPlane, now_ms: Callable[[], int]) -> list[Tool]:
    """All of them, over `control`."""
    looks = _Looks(control, now_ms)
    return [
        Tool("time", "the time of this host", looks.time),
        Tool(
            "session_status",
            "one session: how long it is and whether it is being answered",
            looks.session_status,
            {"sessionKey": KEY},
        ),
        Tool(
            "sessions_list",
            "the sessions, latest activity first",
            looks.sessions_list,
            {
                "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
                "search": {"type": "string", "maxLength": 200, "default": ""},
            },
        ),
        Tool(
            "sessions_history",
            "the last messages of a session",
            looks.sessions_history,
            {"sessionKey": KEY, "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}},
        ),
        Tool("channels_status", "how the accounts of the channels are", looks.channels_status),
        Tool("models_list", "the models of the configured providers", looks.models_list),
    ]


class _Looks:
    """Each method is the body of a tool."""

    def __init__(self, control: ControlPlane, now_ms: Callable[[], int]) -> None:
        self._control = control
        self._now_ms = now_ms

    def time(self, _given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        now_ms = self._now_ms()
        here = datetime.datetime.fromtimestamp(now_ms / 1000).astimezone()
        return {
            "epochMs": now_ms,
            "iso": here.isoformat(timespec="seconds"),
            "utc": here.astimezone(datetime.timezone.utc).isoformat(timespec="seconds"),
            "timezone": here.tzname(),
        }

    def session_status(self, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        key = self._key(given, context)
        page = self._control.sessions.list(limit=200, search=key)
        row = next((one for one in page.rows if one.key == key), None)
        return {
            "sessionKey": key,
            "exists": row is not None,
            "sessionId": None if row is None else row.session_id,
            "messages": 0 if row is None else row.messages,
            "updatedAtMs": None if row is None else row.updated_ms,
            "activeRuns": len(self._control.runs.active(key)),
        }

    def sessions_list(self, given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        page = self._control.sessions.list(limit=_number(given["limit"]), search=str(given["search"]))
        rows = [
            {
                "key": row.key,
                "kind": row.kind,
                "channel": row.channel,
                "displayName": row.display_name,
                "sessionId": row.session_id,
                "messages": row.messages,
                "updatedAtMs": row.updated_ms,
            }
            for row in page.rows
        ]
        return {"count": len(rows), "total": page.total, "sessions": rows}

    def sessions_history(self, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        key = self._key(given, context)
        told = self._control.sessions.history(key, limit=_number(given["limit"]), max_bytes=1 << 20)
        return {
            "sessionKey": key,
            "messages": [{"role": one.role, "text": one.text, "atMs": one.at_ms} for one in told.messages],
            "total": told.total,
            "hasMore": told.has_more,
        }

    def channels_status(self, _given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        status = self._control.status()
        surfaces = status.get("surfaces")
        return {
            "ready": status.get("ready"),
            "degradedReasons": status.get("degraded_reasons"),
            "accounts": [
                {name: surface.get(name) for name in SHOWN_OF_SURFACE}
                for surface in (surfaces if isinstance(surfaces, list) else ())
            ],
        }

    def models_list(self, _given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        found = self._control.models(refresh=False, timeout_s=MODELS_S)
        return {"models": [dict(one) for one in found]}

    def _key(self, given: Mapping[str, object], context: ToolContext) -> str:
        named = given.get("sessionKey")
        if named is None:
            if context.session is not None:
                return context.session
            named = MAIN
        key = self._control.sessions.resolve(str(named))
        if key is None:
            raise BadArgument("args.sessionKey: is of another agent")
        return key


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
