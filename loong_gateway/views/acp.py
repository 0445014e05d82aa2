"""Outside agents as JSON documents, the shapes of the operator contract. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from loong_gateway.acp.dispatch import Decision, agents_of, backend_of
from loong_gateway.acp.starts import directory_of, launchable
from loong_gateway.config.agent_snapshot import AcpBackend
from loong_gateway.config.snapshot import Config
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.storage.acp_sessions import STATES_AT_REST, AcpSession

__all__ = [
    "acp_summary",
    "backends_document",
    "decision_document",
    "observability_document",
    "sessions_document",
]

Json = Mapping[str, object]


def acp_summary(config: Config, status: Json, persisted: int) -> dict[str, object]:
    """The block `acp` of `status --json`. `status` is the document of a live owner, {} without one."""
    availability, error = "disabled", None
    if config.acp.enabled:
        availability = "available"
        try:
            agent = config.acp.default_agent
            directory_of(config, agent, launchable(config, agent), "")
        except ProviderFault as fault:
            availability, error = "unavailable", str(fault)
    snapshot = _snapshot(status)
    return {
        "enabled": config.acp.enabled,
        "availability": availability,
        "error": error,
        "persisted_session_count": persisted,
        "observability": None if snapshot is None else {"config": config.path, "snapshot": snapshot},
    }


def observability_document(config: Config, status: Json) -> dict[str, object]:
    """What is counted, `snapshot` null without a live owner that uses agents."""
    return {"config": config.path, "snapshot": _snapshot(status)}


def sessions_document(
    config: Config, sqlite_path: str | None, sessions: Iterable[AcpSession], *, live: bool
) -> dict[str, object]:
    """The stored sessions. Without a `live` owner there is no agent, whatever the last one wrote."""
    return {
        "config": config.path,
        "sqlite_path": sqlite_path,
        "sessions": [_session(one, live=live) for one in sessions],
    }


def backends_document(config: Config) -> dict[str, object]:
    """What can be started, and every value of [acp]."""
    settings = config.acp
    selected = backend_of(settings, settings.default_agent)
    values = dataclasses.asdict(settings)
    # What is set for a backend may be secret.
    values["backends"] = sorted(settings.backends)
    return {
        "config": config.path,
        "enabled": settings.enabled,
        "selected": None if selected is None else _backend(selected),
        "available": [_backend(one) for one in settings.backends.values()],
        "control_plane": {**values, "agents": list(agents_of(settings))},
    }


def decision_document(config: Config, decision: Decision) -> dict[str, object]:
    """Whether a message would reach an agent, and why."""
    backend = backend_of(config.acp, decision.agent) if decision.agent else None
    return {
        "config": config.path,
        "dispatch": {
            "route_via_acp": bool(decision.agent),
            "reason": decision.reason,
            "agent": decision.agent or None,
            "activation_origin": decision.activation_origin or None,
            "backend_id": None if backend is None else backend.name,
        },
    }


def _snapshot(status: Json) -> Json | None:
    found = status.get("acp")
    return found if isinstance(found, dict) else None


def _session(session: AcpSession, *, live: bool) -> dict[str, object]:
    binding = None
    if session.channel is not None:
        binding = {
            "route_session_id": session.conversation_id,
            "channel_id": session.channel,
            "account_id": session.account,
            "conversation_id": session.conversation,
            "participant_id": session.participant,
            "thread_id": session.thread,
        }
    return {
        "session_key": session.session_key,
        "conversation_id": session.conversation_id,
        "binding": binding,
        "activation_origin": session.activation_origin,
        "provenance": session.provenance,
        "backend_id": session.backend,
        "runtime_session_name": session.agent,
        "working_directory": session.working_directory,
        "backend_session_id": None,
        "agent_session_id": session.agent_session_id,
        "mode": "interactive",
        "state": session.state if live or session.state in STATES_AT_REST else "closed",
        "last_activity_ms": session.last_activity_ms,
        "last_error": session.last_error,
    }


def _backend(backend: AcpBackend) -> dict[str, object]:
    return {
        "id": backend.name,
        "api_version": 1,
        "capabilities": ["prompt", "cancel", "load_session"],
        "summary": f"starts {backend.command} and speaks the Agent Client Protocol with it"
        if backend.command
        else "has no command",
        "source": "config",
    }
