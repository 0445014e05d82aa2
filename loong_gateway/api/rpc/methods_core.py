"""How the gateway is and who is there: `health`, `status`, `system-presence`.

Source of the shapes: https://www.npmjs.com/package/@openclaw/gateway-protocol (protocol.schema.json).
"""

from __future__ import annotations

import time
from typing import Any

from loong_gateway.control import ControlPlane

from .calls import DEFERRED, READ, Call, Method, holds
from .health import AGENT, Sessions, accounts_of, health_document, session_fields
from .toolbox import Toolbox

__all__ = ["methods"]

PROBE_BUDGET_S = 8.0
RECENT = 10


def methods(control: ControlPlane, toolbox: Toolbox) -> list[Method]:
    """The methods over `control`."""
    core = _Core(control, toolbox)
    return [
        # Whoever only wants to know whether the gateway lives needs no scope.
        Method("health", None, core.health),
        Method("status", READ, core.status, waits=True),
        Method("system-presence", READ, core.presence),
    ]


class _Core:
    def __init__(self, control: ControlPlane, toolbox: Toolbox) -> None:
        self._control = control
        self._toolbox = toolbox

    def health(self, call: Call) -> object:
        """What is known, or what the platforms answer now."""
        if not call.params.flag("probe"):
            document = self._toolbox.health.stamped()[0]
            if not holds(call.client.scopes, READ):
                return document
            return {**document, **session_fields(self._toolbox.health.sessions(), self._toolbox.wall_ms())}
        began_s = time.monotonic()
        status = self._control.status()
        sessions = self._toolbox.health.sessions()
        if not holds(call.client.scopes, READ):
            sessions = Sessions(sessions.count)

        def done(probes: Any) -> None:
            now_ms = self._toolbox.wall_ms()
            call.respond(
                health_document(status, now_ms=now_ms, began_s=began_s, sessions=sessions, probes=probes)
            )

        self._toolbox.prober.ask(accounts_of(status), budget_s=PROBE_BUDGET_S, done=done)
        return DEFERRED

    def status(self, _call: Call) -> object:
        """The summary that `status` prints."""
        now_ms = self._toolbox.wall_ms()
        document = self._control.status()
        config = self._control.config()
        profile = config.providers.get(config.active_provider or "")
        model = None if profile is None else profile.model
        page = self._control.sessions.list(limit=RECENT)
        recent = [
            {
                "key": row.key,
                "kind": row.kind,
                "sessionId": row.session_id,
                "updatedAt": row.updated_ms,
                "age": max(0, now_ms - row.updated_ms),
            }
            for row in page.rows
        ]
        return {
            "runtimeVersion": document["version"],
            "heartbeat": {"defaultAgentId": AGENT, "agents": []},
            "channelSummary": [],
            "queuedSystemEvents": [],
            "sessions": {
                "paths": [],
                "count": page.total,
                "defaults": {"model": model, "contextTokens": None},
                "recent": recent,
                "byAgent": [],
            },
            "phase": document["phase"],
            "ready": document.get("ready"),
            "degradedReasons": document.get("degraded_reasons", []),
            "uptimeMs": document.get("uptime_ms"),
        }

    def presence(self, _call: Call) -> object:
        """Who is there, the gateway first."""
        return self._toolbox.presence.stamped()[0]
