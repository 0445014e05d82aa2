"""What an owner tells about itself: the status document, the reasons why it is degraded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loong_gateway.messaging.slot_state import SlotState

__all__ = ["OwnerFacts", "degraded_reasons", "status_document"]

INBOX_STATES = ("new", "claimed", "failed", "rejected")
PUBLISHED_INCIDENTS = 5
OUTBOX_STATES = ("queued", "sending", "unknown", "failed", "expired")


@dataclass(frozen=True)
class OwnerFacts:
    """Everything the document is made of, taken at one moment."""

    owner_token: str
    identity: Mapping[str, object]
    phase: str
    mode: str
    version: str
    config_path: str
    session: str | None
    started_at_ms: int
    now_ms: int
    ready: bool
    problems: tuple[str, ...]
    last_error: str | None
    shutdown_reason: str | None
    bind_address: str | None
    port: int | None
    port_source: str | None
    token_path: str | None
    surfaces: Sequence[SlotState]
    inbox: Mapping[tuple[str, str], Mapping[str, int]]
    outbox: Mapping[tuple[str, str], Mapping[str, int]]
    runs: int
    provider: Mapping[str, object] | None
    audit: Mapping[str, object]
    acp: Mapping[str, object] | None = None
    # What the model may call at this moment.
    tools: Sequence[str] = ()


def degraded_reasons(facts: OwnerFacts) -> list[str]:
    """The machine codes of everything that needs attention, the gateway's own first."""
    reasons = list(facts.problems)
    reasons += [
        f"{state.trouble}:{state.channel}={state.account}" for state in facts.surfaces if state.trouble
    ]
    return reasons


def status_document(facts: OwnerFacts) -> dict[str, object]:
    """The document that is published for `gateway status` and served on the port."""
    running = facts.phase in ("starting", "running", "stopping")
    return {
        "phase": facts.phase,
        "running": running,
        "pid": facts.identity["pid"],
        "mode": facts.mode,
        "version": facts.version,
        "config_path": facts.config_path,
        "attached_cli_session": facts.session,
        "started_at_ms": facts.started_at_ms,
        "last_heartbeat_at": facts.now_ms,
        "stopped_at_ms": None if running else facts.now_ms,
        "shutdown_reason": facts.shutdown_reason,
        "last_error": facts.last_error,
        "configured_surface_count": len(facts.surfaces),
        "running_surface_count": sum(1 for state in facts.surfaces if state.phase == "ready"),
        "bind_address": facts.bind_address if running else None,
        "port": facts.port if running else None,
        "port_source": facts.port_source if running else None,
        "token_path": facts.token_path if running else None,
        "schema_version": 1,
        "ready": facts.ready and running,
        "degraded_reasons": degraded_reasons(facts),
        "surfaces": [_surface(state, facts) for state in facts.surfaces],
        "uptime_ms": max(0, facts.now_ms - facts.started_at_ms),
        "provider": None if facts.provider is None else dict(facts.provider),
        **({} if facts.acp is None else {"acp": dict(facts.acp)}),
        "audit": dict(facts.audit),
        "tools": list(facts.tools),
        "owner_token": facts.owner_token,
        **{key: value for key, value in facts.identity.items() if key != "pid"},
    }


def _surface(state: SlotState, facts: OwnerFacts) -> dict[str, object]:
    key = (state.channel, state.account)
    inbox = facts.inbox.get(key, {})
    outbox = facts.outbox.get(key, {})
    return {
        "channel": state.channel,
        "account": state.account,
        "phase": state.phase,
        "since_ms": state.since_ms,
        "last_error": state.last_error,
        "last_inbound_ms": state.last_inbound_ms,
        "last_outbound_ms": state.last_outbound_ms,
        "restarts": state.restarts,
        "inbox": {name: inbox.get(name, 0) for name in INBOX_STATES},
        "outbox": {name: outbox.get(name, 0) for name in OUTBOX_STATES},
        "trouble": state.trouble or None,
        "identity": state.identity,
        "last_heard_ms": state.last_heard_ms,
        "next_try_ms": state.next_try_ms,
        "where": state.where,
        "fix": state.fix,
        "stopped_by": state.stopped_by,
        "kicked_total": state.history.kicked_total,
        "consecutive_failures": state.history.consecutive_failures,
        "last_failure_ms": state.history.last_failure_ms,
        "last_recovery_ms": state.history.last_recovery_ms,
        "last_duplicate_reclaim_ms": state.history.last_duplicate_reclaim_ms,
        "recent_incidents": [
            # Who else held the credential is on another host, or at least not known here.
            {**vars(incident), "owner_pids": []}
            for incident in state.history.newest(PUBLISHED_INCIDENTS)
        ],
    }
