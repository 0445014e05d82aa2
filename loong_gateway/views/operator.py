"""The operator summary as a JSON document (`status --json`): owner, channels, provider, queues. Pure.

Field names and nesting are those of the operator contract, schema version 2; what this build has no part for is
present and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, cast

from loong_gateway.config.snapshot import Config
from loong_gateway.storage.facts import StoreFacts
from loong_gateway.storage.work_unit_rows import HEALTHY
from loong_gateway.texts import find
from loong_gateway.views.acp import acp_summary
from loong_gateway.views.channels import incidents_of

__all__ = ["CONTRACT_OWNER_FIELDS", "NO_NODES", "gateway_summary", "operator_summary"]

SCHEMA_VERSION = 2
SERVICE_READY = ("ready",)
NEWEST_INCIDENTS = 5
RETRYING = ("backoff", "auth_failed", "conflict", "degraded")
# The owner's fields as the contract lists them; what a status document holds besides is not repeated here.
CONTRACT_OWNER_FIELDS = (
    "runtime_dir",
    "phase",
    "running",
    "stale",
    "pid",
    "mode",
    "version",
    "config_path",
    "attached_cli_session",
    "started_at_ms",
    "last_heartbeat_at",
    "stopped_at_ms",
    "shutdown_reason",
    "last_error",
    "configured_surface_count",
    "running_surface_count",
    "bind_address",
    "port",
    "port_source",
    "token_path",
)

# What this build has no part for, as the documents say it.
NO_NODES: Mapping[str, int] = {"paired_device_count": 0, "managed_bridge_count": 0, "total_count": 0}

Json = Mapping[str, object]


def operator_summary(
    config: Config,
    status: Json,
    channels: Json,
    facts: StoreFacts | None,
    next_actions: Sequence[tuple[str, str]],
    *,
    trouble: str = "",
    said: Json | None = None,
) -> dict[str, object]:
    """The whole document.

    `status` is that of `gateway status --json`, `channels` that of `channels --json`, `facts` what the store holds
    (None when there is no store, or `trouble` says why it cannot be read), `next_actions` are (label, command),
    `said` has what else the owner says: `audit`, of the journal, and `tools` as in `gateway_summary`.
    """
    profile = config.providers.get(config.active_provider or "")
    said = said or {}
    tools = said.get("tools")
    return {
        "config": config.path,
        "schema": {"version": SCHEMA_VERSION, "surface": "status", "purpose": "operator_runtime_summary"},
        "active_provider": config.active_provider,
        "active_model": profile.model if profile is not None else None,
        "provider": status.get("provider"),
        "memory_profile": config.memory.profile,
        "gateway": gateway_summary(config, status, channels, tools if isinstance(tools, list) else None),
        "acp": acp_summary(config, status, 0 if facts is None else facts.acp_sessions),
        "work_units": _work_units(facts, trouble),
        "next_actions": [{"label": label, "command": command} for label, command in next_actions],
        "recipes": [],
        "store": _store(facts),
        "audit": said.get("audit") or {},
        "usage": None if facts is None else {"today": dict(facts.used_today)},
    }


def _work_units(facts: StoreFacts | None, trouble: str) -> dict[str, object]:
    if facts is None and trouble:
        return {"availability": "unavailable", "error": trouble, "health": None}
    return {"availability": "available", "error": None, "health": dict(facts.work if facts else HEALTHY)}


def gateway_summary(
    config: Config, status: Json, channels: Json, tools: Sequence[str] | None = None
) -> dict[str, object]:
    """The part about the gateway; `status` and `channels` as in `operator_summary`.

    `tools` are the names that the model may call now; without them, those that the configuration allows.
    """
    surfaces = [_surface(entry, status) for entry in _entries(channels, "channel_surfaces")]
    return {
        "owner": {name: status.get(name) for name in CONTRACT_OWNER_FIELDS},
        "control_surface": {
            "base_url": _base_url(status),
            "loopback_only": config.gateway.bind in ("loopback", "auto"),
        },
        "channels": _channels(surfaces, channels),
        "runtime": _runtime(config, surfaces, tools),
        "pairing": {"pending_request_count": 0, "approved_device_count": 0, "last_activity_ms": None},
        "nodes": dict(NO_NODES),
        "ready": status.get("ready"),
        "degraded_reasons": status.get("degraded_reasons"),
        "surfaces": status.get("surfaces"),
        "uptime_ms": status.get("uptime_ms"),
    }


def _base_url(status: Json) -> str | None:
    address, port = status.get("bind_address"), status.get("port")
    if not isinstance(address, str) or not isinstance(port, int):
        return None
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _entries(document: Json, name: str) -> list[Json]:
    return [cast(Json, entry) for entry in cast(Iterable[object], document[name])]


def _surface(entry: Json, status: Json) -> dict[str, object]:
    """One channel with the counts of its configured accounts."""
    catalog = cast(Json, entry["catalog"])
    accounts = _entries(entry, "configured_accounts")
    live = {
        str(surface.get("account")): surface
        for surface in cast("list[Json]", status.get("surfaces") or [])
        if surface.get("channel") == catalog["id"]
    }
    attention = [surface for surface in live.values() if surface.get("phase") in RETRYING]
    return {
        "channel_id": catalog["id"],
        "label": catalog["label"],
        "implementation_status": catalog["implementation_status"],
        "configured_account_count": len(accounts),
        "enabled_account_count": sum(1 for account in accounts if account["enabled"]),
        "misconfigured_account_count": sum(1 for account in accounts if "misconfigured" in _healths(account)),
        "ready_send_account_count": sum(1 for account in accounts if _healths(account)[0] == "ready"),
        "ready_serve_account_count": sum(1 for account in accounts if _healths(account)[1] == "ready"),
        "conversation_gated_account_count": len(accounts),
        "sender_gated_account_count": 0,
        "mention_gated_account_count": 0,
        "default_configured_account_id": entry["default_configured_account_id"],
        "runtime_attention_account_count": len(attention),
        "runtime_attention_reasons": [
            str(surface.get("trouble") or surface.get("phase")) for surface in attention
        ],
        "runtime_attention_remediations": [
            remedy for remedy in (_remedy(surface) for surface in attention) if remedy
        ],
        "preferred_runtime_owner_pids": [status["pid"]] if status.get("running") and live else [],
        "recent_runtime_incidents": _incidents(live.values()),
        "service_enabled": any(_healths(account)[1] in ("ready", "misconfigured") for account in accounts),
        "service_ready": any(surface.get("phase") in SERVICE_READY for surface in live.values()),
    }


def _remedy(surface: Json) -> str | None:
    """What to do about a surface: by its own word, else by that of its trouble."""
    if surface.get("fix"):
        return str(surface["fix"])
    row = find(f"surface.{surface.get('trouble')}") or find(f"surface.{surface.get('phase')}")
    fix = None if row is None else row[2]
    return None if fix is None else fix.format(surface=f"{surface['channel']}={surface['account']}")


def _incidents(live: Iterable[Json]) -> list[dict[str, object]]:
    """The newest incidents of all accounts of a channel, each with the account it belongs to."""
    found = [
        {**incident, "account_id": surface.get("account")}
        for surface in live
        for incident in incidents_of(surface)
    ]
    return sorted(found, key=lambda one: cast(int, one["at_ms"]), reverse=True)[:NEWEST_INCIDENTS]


def _healths(account: Json) -> list[str]:
    return [str(operation["health"]) for operation in _entries(account, "operations")]


def _channels(surfaces: Sequence[Json], channels: Json) -> dict[str, object]:
    summary = cast(Json, channels["summary"])
    for surface, policies in _gates(surfaces, channels):
        cast("dict[str, object]", surface).update(policies)
    configured = [surface for surface in surfaces if surface["configured_account_count"]]
    enabled = [surface for surface in configured if surface["enabled_account_count"]]
    lists: dict[str, list[str]] = {
        "enabled_runtime_backed_channel": _ids(
            enabled, lambda s: s["implementation_status"] == "runtime_backed"
        ),
        "enabled_plugin_backed_channel": [],
        "enabled_outbound_only_channel": _ids(
            enabled, lambda s: s["implementation_status"] == "config_backed"
        ),
        "enabled_service_channel": _ids(enabled, lambda s: bool(s["service_enabled"])),
        "ready_service_channel": _ids(enabled, lambda s: bool(s["service_ready"])),
        "runtime_attention_surface": _ids(enabled, lambda s: bool(s["runtime_attention_account_count"])),
        "retrying_surface": _ids(enabled, lambda s: bool(s["runtime_attention_account_count"])),
        "stale_surface": [],
        "duplicate_surface": _ids(
            enabled, lambda s: "conflict" in cast("list[str]", s["runtime_attention_reasons"])
        ),
    }
    return {
        "catalog_channel_count": summary["total_surface_count"],
        "configured_channel_count": len(configured),
        "configured_account_count": _total(configured, "configured_account_count"),
        "enabled_account_count": _total(configured, "enabled_account_count"),
        "misconfigured_account_count": _total(configured, "misconfigured_account_count"),
        "runtime_backed_channel_count": summary["runtime_backed_surface_count"],
        "config_backed_channel_count": summary["config_backed_surface_count"],
        "plugin_backed_channel_count": summary["plugin_backed_surface_count"],
        "catalog_only_channel_count": summary["catalog_only_surface_count"],
        **{f"{name}_count": len(ids) for name, ids in lists.items()},
        **{f"{name}_ids": ids for name, ids in lists.items()},
        "surfaces": list(surfaces),
    }


def _gates(surfaces: Sequence[Json], channels: Json) -> Iterable[tuple[Json, dict[str, int]]]:
    policies = _entries(channels, "channel_access_policies")
    for surface in surfaces:
        own = [policy for policy in policies if policy["channel_id"] == surface["channel_id"]]
        yield (
            surface,
            {
                "conversation_gated_account_count": sum(
                    1 for p in own if p["conversation_mode"] == "exact_allowlist"
                ),
                "sender_gated_account_count": sum(1 for p in own if p["sender_mode"] == "exact_allowlist"),
                "mention_gated_account_count": sum(1 for p in own if p["mention_required"]),
            },
        )


def _ids(surfaces: Sequence[Json], wanted: Callable[[Json], bool]) -> list[str]:
    return [str(surface["channel_id"]) for surface in surfaces if wanted(surface)]


def _total(surfaces: Sequence[Json], name: str) -> int:
    return sum(cast(int, surface[name]) for surface in surfaces)


def _runtime(config: Config, surfaces: Sequence[Json], tools: Sequence[str] | None) -> dict[str, object]:
    enabled = [surface for surface in surfaces if surface["enabled_account_count"]]
    backed = _ids(enabled, lambda s: s["implementation_status"] == "runtime_backed")
    profile = config.providers.get(config.active_provider or "")
    if tools is None:
        tools = [name for name in config.tools.allow if name not in config.tools.deny]
    return {
        "enabled_channel_ids": _ids(enabled, lambda _: True),
        "enabled_runtime_backed_channel_ids": backed,
        "enabled_service_channel_ids": _ids(enabled, lambda s: bool(s["service_enabled"])),
        "enabled_plugin_backed_channel_ids": [],
        "enabled_outbound_only_channel_ids": _ids(
            enabled, lambda s: s["implementation_status"] == "config_backed"
        ),
        "visible_tool_count": len(tools),
        "visible_direct_tool_names": sorted(tools),
        "hidden_tool_surface_ids": [],
        "capability_snapshot_sha256": config.digest,
        "active_provider_profile_id": config.active_provider,
        "active_provider_label": profile.kind if profile is not None else None,
        "tool_calling": {
            "availability": "available" if tools else "unavailable",
            "structured_tool_schema_enabled": bool(tools),
            "effective_tool_schema_mode": "enabled" if tools else "disabled",
            "active_model": profile.model if profile is not None else "",
            "reason": "tools.allow names them" if tools else "tools.allow names no tool that can be used",
        },
        "access": {},
    }


def _store(facts: StoreFacts | None) -> dict[str, object] | None:
    if facts is None:
        return None
    return {
        "inbox": dict(facts.inbox),
        "outbox": dict(facts.outbox),
        "oldest_inbox_ms": facts.oldest_inbox_ms,
        "oldest_outbox_ms": facts.oldest_outbox_ms,
        "sessions": facts.sessions,
        "inbound_last_hour": facts.inbound_last_hour,
        "outbound_last_hour": facts.outbound_last_hour,
        "failed_last_day": facts.failed_last_day,
    }
