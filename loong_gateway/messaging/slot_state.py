"""The words for how a surface is, in one place, and the value that status, doctor and the port show of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loong_gateway.messaging.incidents import NO_HISTORY, History

__all__ = ["SENDABLE", "WELL", "SlotState"]

SENDABLE = frozenset({"ready", "degraded", "conflict"})
# What is said of a surface that nothing ails.
WELL: Mapping[str, Any] = {
    "trouble": "",
    "last_error": None,
    "where": None,
    "fix": None,
    "next_try_ms": None,
}


@dataclass(frozen=True)
class SlotState:
    """A surface at a moment. Times are wall-clock milliseconds, None where it never happened.

    `phase` is "starting", "connecting", "authenticating", "ready", "degraded", "conflict", "auth_failed", "backoff",
    "stopping" or "stopped". `trouble` is "" or the code of what needs attention: "auth_failed", "conflict",
    "unreachable", "secret_missing", "allow_list_empty", "crypto_missing", "throttled", "lane_full" or "sends_failing".
    `restarts` counts connections after the first. `started`: a first try was made. `stopped_by` is "operator" while
    somebody keeps the account off. The three clocks: `last_heard_ms` is when anything came from the platform,
    `last_inbound_ms` a new message, `last_outbound_ms` when a send succeeded.
    """

    channel: str
    account: str
    since_ms: int
    phase: str = "starting"
    trouble: str = ""
    identity: str | None = None
    last_error: str | None = None
    where: str | None = None
    fix: str | None = None
    next_try_ms: int | None = None
    last_heard_ms: int | None = None
    last_inbound_ms: int | None = None
    last_outbound_ms: int | None = None
    restarts: int = 0
    started: bool = False
    stopped_by: str | None = None
    history: History = NO_HISTORY
