"""How the gateway is, as clients are told: made of the status document, kept, and told anew when it has changed.

Source: https://www.npmjs.com/package/@openclaw/gateway-protocol (protocol.schema.json: Snapshot.health).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from loong_channels import catalog
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control import ControlPlane, ProbeOutcome

__all__ = ["AGENT", "Account", "HealthBoard", "Sessions", "accounts_of", "health_document", "session_fields"]

AGENT = "main"
RUNNING = frozenset({"ready", "degraded", "conflict"})

RECENT = 10
# Every message changes them; whoever counts is told of the last look.
SESSIONS_MS = 10_000
PASSING = ("ts", "durationMs", "agents", "sessions")
NO_HEARTBEAT = {
    "enabled": False,
    "every": "0m",
    "everyMs": None,
    "prompt": "",
    "target": "none",
    "ackMaxChars": 0,
}

logger = logging.getLogger("loong.rpc")

Account = tuple[str, str]


@dataclass(frozen=True)
class Sessions:
    """How many sessions there are, and the latest as (key, time of the last message), latest first."""

    count: int
    recent: Sequence[tuple[str, int]] = ()


NO_SESSIONS = Sessions(0)


class HealthBoard:
    """The last document and its version, and what is known of sessions. Thread-safe; `_guard` protects them."""

    def __init__(self, control: ControlPlane, wall_ms: Callable[[], int]) -> None:
        self._control = control
        self._wall_ms = wall_ms
        self._guard = threading.Lock()
        self._document: Mapping[str, Any] = {"ok": True, "ts": 0}
        self._version = 0
        self._sessions = NO_SESSIONS
        self._sessions_ms = 0

    def stamped(self) -> tuple[Mapping[str, Any], int]:
        """The document as it was last made, and its version, which grows when it changes. Never blocks."""
        with self._guard:
            return self._document, self._version

    def fresh(self, age_ms: int) -> Mapping[str, Any]:
        """The document, made anew when it is older than that. Blocks for a look into the store then."""
        document, _ = self.stamped()
        if not 0 <= self._wall_ms() - document["ts"] < age_ms:
            self.refresh()
        return self.stamped()[0]

    def refresh(self) -> bool:
        """Make the document anew; True when something has changed. Blocks for a look into the store."""
        began_s = time.monotonic()
        status = self._control.status()
        sessions = Sessions(self.sessions().count)
        document = health_document(status, now_ms=self._wall_ms(), began_s=began_s, sessions=sessions)
        with self._guard:
            changed = _lasting(document) != _lasting(self._document)
            self._document = document
            self._version += changed
            return changed

    def sessions(self) -> Sessions:
        """How many there are, and the latest; at most SESSIONS_MS old. Blocks for a look into the store else."""
        now_ms = self._wall_ms()
        with self._guard:
            if 0 <= now_ms - self._sessions_ms < SESSIONS_MS:
                return self._sessions
            self._sessions_ms = now_ms
            known = self._sessions
        try:
            page = self._control.sessions.list(limit=RECENT)
        except StoreUnwritable as error:
            # What was known last is better than no answer; the status says that the store is out of reach.
            logger.info("sessions were not counted: %s", error)
            return known
        found = Sessions(page.total, tuple((row.key, row.updated_ms) for row in page.rows))
        with self._guard:
            self._sessions = found
        return found


def accounts_of(status: Mapping[str, Any]) -> Sequence[Account]:
    """The accounts (channel, account) that a status document tells of."""
    return [(surface["channel"], surface["account"]) for surface in status.get("surfaces", ())]


def health_document(
    status: Mapping[str, Any],
    *,
    now_ms: int,
    began_s: float,
    sessions: Sessions,
    probes: Mapping[Account, ProbeOutcome | None] | None = None,
) -> dict[str, Any]:
    """The document from a status document; `probes` adds what platforms answered, None for no answer in time."""
    channels: dict[str, dict[str, Any]] = {}
    for surface in status.get("surfaces", ()):
        account = _account(surface)
        key = (surface["channel"], surface["account"])
        if probes is not None and key in probes:
            account["lastProbeAt"] = now_ms
            account["probe"] = _probe(probes[key])
        channel = channels.setdefault(surface["channel"], {**account, "accounts": {}})
        channel["accounts"][surface["account"]] = account
    known = catalog.KNOWN
    order = sorted(channels, key=lambda name: (known[name].order if name in known else 1 << 20, name))
    return {
        "ok": True,
        "ts": now_ms,
        "durationMs": max(0, round((time.monotonic() - began_s) * 1000)),
        "channels": channels,
        "channelOrder": order,
        "channelLabels": {name: known[name].label if name in known else name for name in order},
        "defaultAgentId": AGENT,
        **session_fields(sessions, now_ms),
    }


def session_fields(sessions: Sessions, now_ms: int) -> dict[str, Any]:
    """The part of the document about sessions. Keys name conversations: they are for who may read those."""
    recent = [
        {"key": key, "updatedAt": updated_ms, "age": max(0, now_ms - updated_ms)}
        for key, updated_ms in sessions.recent
    ]
    # They lie in the store, not in files of their own.
    rows = {"path": "", "count": sessions.count, "recent": recent}
    agent = {"agentId": AGENT, "isDefault": True, "heartbeat": NO_HEARTBEAT, "sessions": rows}
    return {"agents": [agent], "sessions": rows}


def _account(surface: Mapping[str, Any]) -> dict[str, Any]:
    phase = surface.get("phase")
    return {
        "accountId": surface["account"],
        "configured": True,
        "running": phase in RUNNING,
        "connected": phase in RUNNING,
        "phase": phase,
        "lastError": surface.get("last_error"),
    }


def _probe(outcome: ProbeOutcome | None) -> dict[str, Any]:
    if outcome is None:
        return {"ok": False, "error": "no answer in time"}
    probe: dict[str, Any] = {"ok": outcome.outcome == "ok"}
    if outcome.elapsed_ms is not None:
        probe["elapsedMs"] = outcome.elapsed_ms
    if outcome.outcome != "ok":
        probe["error"] = outcome.detail
    return probe


def _lasting(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what every look changes."""
    return {name: value for name, value in document.items() if name not in PASSING}
