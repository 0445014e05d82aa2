"""Conversations and agents over the WebSocket side. https://docs.openclaw.ai/gateway/protocol"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from loong_gateway.base.clock import wall_ms
from loong_gateway.control import ControlPlane
from loong_gateway.control.sessions import Transcript
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.storage.usage import KEPT_DAYS
from loong_gateway.views.usage import usage_table

from .calls import ADMIN, READ, WRITE, Call, Method, RpcFault
from .session_keys import AGENT_ID, LONGEST_KEY, check_agent, session_of
from .session_rows import defaults, kept, session_row

__all__ = ["methods"]

AGENT_NAME = "loong"
MOST_ROWS = 1000
MOST_SKIPPED = 1_000_000
MOST_MINUTES = 10_000_000
MOST_PREVIEWS = 64


def methods(control: ControlPlane, now_ms: Callable[[], int] = wall_ms) -> list[Method]:
    """The methods of this module."""
    verbs = _Verbs(control, now_ms)
    return [
        Method("sessions.list", READ, verbs.list, waits=True),
        Method("sessions.resolve", READ, verbs.resolve, waits=True),
        Method("sessions.preview", READ, verbs.preview, waits=True),
        Method("sessions.describe", READ, verbs.describe, waits=True),
        Method("sessions.reset", ADMIN, verbs.reset, waits=True),
        Method("sessions.delete", ADMIN, verbs.delete, waits=True),
        Method("sessions.archive", ADMIN, verbs.archive, waits=True),
        Method("sessions.fork", WRITE, verbs.fork, waits=True),
        Method("sessions.compact", WRITE, verbs.compact, waits=True, starts_work=True),
        Method("sessions.usage", READ, verbs.usage, waits=True),
        Method("usage.status", READ, verbs.usage_by_day, waits=True),
        # Events of runs reach whoever may read them; there is nothing to subscribe to beyond that.
        Method("sessions.subscribe", READ, lambda _: {"subscribed": True}),
        Method("sessions.unsubscribe", READ, lambda _: {"subscribed": False}),
        Method("agents.list", READ, verbs.agents),
        Method("agent.identity.get", READ, verbs.identity, waits=True),
    ]


class _Verbs:
    def __init__(self, control: ControlPlane, now_ms: Callable[[], int]) -> None:
        self._control = control
        self._now_ms = now_ms

    def list(self, call: Call) -> object:
        params = call.params
        limit = params.integer("limit", minimum=1, maximum=1 << 31, default=100) or 1
        limit = min(limit, MOST_ROWS)
        offset = params.integer("offset", minimum=0, maximum=MOST_SKIPPED, default=0) or 0
        minutes = params.integer("activeMinutes", minimum=1, maximum=MOST_MINUTES)
        previews = params.flag("includeLastMessage")
        archived = params.flag("includeArchived")
        search = params.text("search", longest=LONGEST_KEY) or params.text("label", longest=LONGEST_KEY) or ""
        check_agent(call)
        now_ms = self._now_ms()
        page = kept(
            lambda: self._control.sessions.list(
                limit=limit,
                offset=offset,
                search=search,
                active_since_ms=0 if minutes is None else now_ms - minutes * 60_000,
                previews=previews,
                archived=archived,
            )
        )
        rows = [session_row(self._control, info) for info in page.rows]
        after = offset + len(rows)
        return {
            "ts": now_ms,
            "path": "",
            "count": len(rows),
            "totalCount": page.total,
            "limitApplied": limit,
            "hasMore": after < page.total,
            "nextOffset": after if after < page.total else None,
            "defaults": defaults(self._control),
            "sessions": rows,
        }

    def resolve(self, call: Call) -> object:
        check_agent(call)
        given = call.params.text("key", longest=LONGEST_KEY)
        if not given:
            raise RpcFault("INVALID_REQUEST", "invalid sessions.resolve params: key required")
        key = kept(lambda: session_of(self._control, given))
        return {"ok": True, "key": key, "agentId": AGENT_ID}

    def preview(self, call: Call) -> object:
        params = call.params
        given = params.texts("keys", most=MOST_PREVIEWS, longest=LONGEST_KEY)
        limit = params.integer("limit", minimum=1, maximum=1 << 31, default=12) or 1
        longest = params.integer("maxChars", minimum=20, maximum=1 << 31, default=240) or 20
        keys = [kept(lambda one=one: session_of(self._control, one)) for one in given]  # type: ignore[misc]
        found = kept(
            lambda: self._control.sessions.previews(keys, limit=min(limit, 50), max_chars=min(longest, 2000))
        )
        previews = [_preview(asked, one) for asked, one in zip(given, found)]
        return {"ts": self._now_ms(), "previews": previews}

    def describe(self, call: Call) -> object:
        key = self._key(call)
        preview = call.params.flag("includeLastMessage")
        info = kept(lambda: self._control.sessions.describe(key, preview=preview))
        return {"session": None if info is None else session_row(self._control, info)}

    def reset(self, call: Call) -> object:
        check_agent(call)
        key = self._key(call)
        self._control.runs.abort(session=key)
        kept(lambda: self._control.sessions.reset(key))
        info = kept(lambda: self._control.sessions.describe(key))
        entry = {} if info is None else {"sessionId": info.session_id, "updatedAt": info.updated_ms}
        return {"ok": True, "key": key, "entry": entry}

    def delete(self, call: Call) -> object:
        check_agent(call)
        key = self._key(call)
        self._control.runs.abort(session=key)
        deleted = kept(lambda: self._control.sessions.delete(key))
        return {"ok": True, "key": key, "deleted": deleted, "archived": []}

    def archive(self, call: Call) -> object:
        check_agent(call)
        key = self._key(call)
        undo = call.params.flag("undo")
        done = kept(lambda: self._control.sessions.archive(key, undo=undo))
        return {"ok": True, "key": key, "found": done, "archived": done and not undo}

    def fork(self, call: Call) -> object:
        check_agent(call)
        key = self._key(call)
        given = call.params.required_text("target", longest=LONGEST_KEY)
        target = kept(lambda: session_of(self._control, given))
        copied = kept(lambda: self._control.sessions.fork(key, target))
        return {"ok": copied > 0, "key": key, "target": target, "messages": copied}

    def compact(self, call: Call) -> object:
        check_agent(call)
        key = self._key(call)
        try:
            done = kept(lambda: self._control.sessions.compact(key))
        except ProviderFault as fault:
            raise RpcFault("UNAVAILABLE", f"no summary was made: {fault}", retryable=True) from None
        profile = self._control.config().memory.profile
        return {"ok": True, "key": key, "compacted": done, "memoryProfile": profile}

    def usage(self, call: Call) -> object:
        check_agent(call)
        key = self._key(call)
        return {"key": key, **usage_table(kept(lambda: self._control.sessions.usage(key)))}

    def usage_by_day(self, call: Call) -> object:
        days = call.params.integer("days", minimum=1, maximum=KEPT_DAYS, default=1) or 1
        return {"days": days, **usage_table(kept(lambda: self._control.sessions.usage_by_day(days)))}

    def agents(self, _: Call) -> object:
        return {
            "defaultId": AGENT_ID,
            "mainKey": "main",
            "scope": "per-sender",
            "agents": [{"id": AGENT_ID, "name": AGENT_NAME}],
        }

    def identity(self, call: Call) -> object:
        check_agent(call)
        given = call.params.text("sessionKey", longest=LONGEST_KEY)
        if given:
            kept(lambda: session_of(self._control, given))
        return {"agentId": AGENT_ID, "name": AGENT_NAME, "nameSource": "default"}

    def _key(self, call: Call) -> str:
        given = call.params.required_text("key", longest=LONGEST_KEY)
        return kept(lambda: session_of(self._control, given))


def _preview(asked: str, found: Transcript) -> Mapping[str, object]:
    if found.session_id is None:
        return {"key": asked, "status": "missing", "items": []}
    items = [{"role": one.role, "text": one.text} for one in found.messages]
    return {"key": asked, "status": "ok" if items else "empty", "items": items}
