"""The channels as JSON documents: catalog, configured accounts, access policies, live state. Pure but for secrets.

Field names and nesting are those of the operator contract (`channels --json`, schema version 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loong_channels import catalog
from loong_channels.aes import CRYPTO_FIX, can_decrypt
from loong_channels.catalog import KnownChannel
from loong_channels.contract import ChannelSpec
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig, Config, SecretRef

__all__ = ["account_troubles", "channels_document", "incidents_of", "spec_of", "surface_of"]

SCHEMA_VERSION = 2
Json = Mapping[str, object]
RUNNING_PHASES = ("connecting", "authenticating", "ready", "degraded", "conflict", "auth_failed", "backoff")


def channels_document(config: Config, environ: Mapping[str, str], status: Json | None) -> dict[str, object]:
    """The whole document. `status` is that of `gateway status --json`, or None when it is not known.

    Resolves secrets to tell a usable account from a misconfigured one; no value gets into the document.
    """
    rows = sorted(catalog.KNOWN.values(), key=lambda row: (row.order, row.id))
    entries = {row.id: _catalog_entry(row) for row in rows}
    accounts = {
        row.id: _snapshots(row, config.channels[row.id], environ, status)
        for row in rows
        if row.id in config.channels
    }
    return {
        "config": config.path,
        "schema": {
            "version": SCHEMA_VERSION,
            "primary_channel_view": "channel_surfaces",
            "catalog_view": "channel_catalog",
            "legacy_channel_views": ["channels", "catalog_only_channels"],
        },
        "summary": _summary(rows),
        "channels": [snapshot for found in accounts.values() for snapshot in found],
        "catalog_only_channels": [entries[row.id] for row in rows if row.status == "stub"],
        "channel_catalog": [entries[row.id] for row in rows],
        "channel_surfaces": [
            {
                "catalog": entries[row.id],
                "configured_accounts": accounts.get(row.id, []),
                "default_configured_account_id": (
                    config.channels[row.id].default_account if row.id in config.channels else None
                ),
            }
            for row in rows
        ],
        "channel_access_policies": list(_policies(config)),
    }


def spec_of(channel: str) -> ChannelSpec | None:
    """The spec of a channel, None where this build has no code for it."""
    try:
        return catalog.spec(channel)
    except LookupError:
        return None


def surface_of(status: Json | None, channel: str, account: str) -> Json | None:
    """The live state of one account in a status document; None when nothing runs it."""
    surfaces = (status or {}).get("surfaces")
    for surface in surfaces if isinstance(surfaces, list) else ():
        if surface.get("channel") == channel and surface.get("account") == account:
            found: Json = surface
            return found
    return None


def incidents_of(surface: Json) -> list[dict[str, object]]:
    """The newest incidents of a live surface, the newest first, as the contract writes them and with `count`."""
    found = surface.get("recent_incidents")
    return [
        {name: one.get(name) for name in ("at_ms", "kind", "detail", "owner_pids", "count")}
        for one in (found if isinstance(found, list) else ())
    ]


def account_troubles(
    spec: ChannelSpec, account: AccountConfig, environ: Mapping[str, str], operation: str
) -> list[tuple[str, str | None]]:
    """Why an account cannot "send" or "serve", each one line with its own fix where there is one; empty when it can."""
    issues: list[tuple[str, str | None]] = []
    for setting in spec.secrets_needed(account.settings, receiving=operation == "serve"):
        ref = account.settings.get(setting)
        if isinstance(ref, SecretRef):
            try:
                resolve(ref, environ)
            except SecretUnavailable as error:
                issues.append((str(error), error.fix))
    if operation == "serve" and not account.settings.get(spec.conversation_setting):
        noun = "chat" if "chat" in spec.conversation_setting else "conversation"
        text = f"{account.channel}.{spec.conversation_setting} is empty; configure at least one trusted {noun} id"
        issues.append(
            (text, f"list who may talk to it in {spec.conversation_setting}, then: loong validate-config")
        )
    if operation == "serve" and spec.needs_crypto(account.settings) and not can_decrypt():
        issues.append(("the Python package cryptography is missing; webhook mode needs it", CRYPTO_FIX))
    return issues


def _summary(rows: Iterable[KnownChannel]) -> dict[str, int]:
    found = [row.status for row in rows]
    return {
        "total_surface_count": len(found),
        "runtime_backed_surface_count": found.count("runtime_backed"),
        "config_backed_surface_count": found.count("config_backed"),
        "plugin_backed_surface_count": found.count("plugin_backed"),
        "catalog_only_surface_count": found.count("stub"),
    }


def _catalog_entry(row: KnownChannel) -> dict[str, object]:
    implemented = row.package is not None
    capabilities = [row.status] if implemented and row.status == "runtime_backed" else []
    if implemented:
        capabilities += ["multi_account", "send"]
        if row.receives:
            capabilities += ["serve", "runtime_tracking"]
    return {
        "id": row.id,
        "label": row.label,
        "selection_order": row.order,
        "selection_label": row.label,
        "blurb": f"{row.label} ({row.transport})" if implemented else f"{row.label}: not in this build yet",
        "implementation_status": row.status,
        "capabilities": capabilities,
        "aliases": list(row.aliases),
        "transport": row.transport,
        "onboarding": {
            "strategy": "manual_config" if implemented else "planned",
            "setup_hint": _setup_hint(row),
            "status_command": "loong channels status",
            "repair_command": "loong doctor --fix" if implemented else None,
        },
        "supported_target_kinds": list(row.target_kinds),
        "operations": [_catalog_operation(row, "send"), _catalog_operation(row, "serve")],
    }


def _setup_hint(row: KnownChannel) -> str:
    needs = ", ".join(f"{row.config_key}.{name}" for name in (*row.send_needs, *row.serve_needs))
    return f"set {row.config_key}.enabled = true{', ' + needs if needs else ''}"


def _catalog_operation(row: KnownChannel, operation: str) -> dict[str, object]:
    can = row.package is not None and (operation == "send" or row.receives)
    needs = row.send_needs if operation == "send" else (*row.send_needs, *row.serve_needs)
    return {
        "id": operation,
        "label": f"{operation} through {row.label}",
        "command": f"channels {operation} {row.id}",
        "availability": "implemented" if can else "stub",
        "tracks_runtime": operation == "serve" and can,
        "requirements": [_requirement(row, name) for name in ("enabled", *needs)],
        "supported_target_kinds": list(row.target_kinds),
    }


def _requirement(row: KnownChannel, name: str) -> dict[str, object]:
    paths = [f"{row.config_key}.{name}", f"{row.config_key}.accounts.<account>.{name}"]
    secret = name in row.env
    return {
        "id": name,
        "label": name.replace("_", " "),
        "config_paths": paths,
        "env_pointer_paths": [f"{path}_env" for path in paths] if secret else [],
        "default_env_var": row.env.get(name),
    }


def _snapshots(
    row: KnownChannel, channel: ChannelConfig, environ: Mapping[str, str], status: Json | None
) -> list[dict[str, object]]:
    spec = spec_of(row.id)
    found = []
    for account in channel.accounts.values():
        enabled = channel.enabled and account.enabled
        base_url = account.settings.get("base_url")
        found.append(
            {
                "id": row.id,
                "configured_account_id": account.id,
                "configured_account_label": account.label,
                "is_default_account": account.id == channel.default_account,
                "default_account_source": channel.default_source,
                "label": row.label,
                "aliases": list(row.aliases),
                "transport": row.transport,
                "compiled": spec is not None,
                "enabled": enabled,
                "api_base_url": base_url if isinstance(base_url, str) else None,
                "notes": [f"configured_account={account.id}"],
                "operations": [
                    _operation(row, spec, account, operation, enabled, environ, status)
                    for operation in ("send", "serve")
                ],
            }
        )
    return found


def _operation(
    row: KnownChannel,
    spec: ChannelSpec | None,
    account: AccountConfig,
    operation: str,
    enabled: bool,
    environ: Mapping[str, str],
    status: Json | None,
) -> dict[str, object]:
    troubles: list[tuple[str, str | None]] = []
    if spec is None or not (spec.sends if operation == "send" else spec.serves):
        health, detail = "unsupported", "not supported in this build"
    elif not enabled:
        health, detail = "disabled", "disabled by configuration"
    else:
        troubles = account_troubles(spec, account, environ, operation)
        health = "misconfigured" if troubles else "ready"
        detail = troubles[0][0] if troubles else "ready"
    return {
        "id": operation,
        "label": f"{operation} through {row.label}",
        "command": f"channels {operation} {row.id}",
        "health": health,
        "detail": detail,
        "issues": [issue for issue, _ in troubles],
        "fixes": [fix for _, fix in troubles],
        "runtime": _runtime(account, status) if operation == "serve" else None,
    }


def _runtime(account: AccountConfig, status: Json | None) -> dict[str, object] | None:
    surface = surface_of(status, account.channel, account.id)
    if status is None or surface is None:
        return None
    alive = bool(status.get("running"))
    running = alive and surface.get("phase") in RUNNING_PHASES
    inbox = surface.get("inbox")
    active = _whole(inbox.get("claimed")) if isinstance(inbox, Mapping) else 0
    moments = [_whole(surface.get(name)) for name in ("last_inbound_ms", "last_outbound_ms")]
    return {
        "running": running,
        "stale": bool(status.get("stale")),
        "busy": active > 0,
        "active_runs": active,
        "consecutive_failures": _whole(surface.get("consecutive_failures")),
        "last_run_activity_at": max(moments) or None,
        "last_heartbeat_at": status.get("last_heartbeat_at"),
        "last_failure_at": surface.get("last_failure_ms"),
        "last_recovery_at": surface.get("last_recovery_ms"),
        "last_error": surface.get("last_error"),
        "last_duplicate_reclaim_at": surface.get("last_duplicate_reclaim_ms"),
        "pid": status.get("pid") if alive else None,
        "account_id": account.id,
        "account_label": account.label,
        "instance_count": 1,
        "running_instances": 1 if running else 0,
        "stale_instances": 1 if status.get("stale") else 0,
        "duplicate_owner_pids": [],
        "last_duplicate_reclaim_cleanup_owner_pids": [],
        "recent_incidents": incidents_of(surface),
    }


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _policies(config: Config) -> Iterable[dict[str, object]]:
    for channel in config.channels.values():
        spec = spec_of(channel.name)
        if spec is None:
            continue
        for account in channel.accounts.values():
            conversations = _texts(account.settings.get(spec.conversation_setting))
            senders = _texts(account.settings.get(spec.sender_setting))
            yield {
                "channel_id": channel.name,
                "configured_account_id": account.id,
                "conversation_config_key": spec.conversation_setting,
                "sender_config_key": spec.sender_setting,
                # An empty list of conversations serves nobody, so it is an exact list without an entry.
                "conversation_mode": _mode(spec, conversations, "exact_allowlist"),
                "sender_mode": _mode(spec, senders, "open"),
                "allowed_conversations": conversations,
                "allowed_senders": senders,
                "mention_required": bool(account.settings.get("require_mention")),
            }


def _mode(spec: ChannelSpec, listed: list[str], when_empty: str) -> str:
    if not listed:
        return when_empty
    return "wildcard_allowlist" if spec.wildcard and "*" in listed else "exact_allowlist"


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []
