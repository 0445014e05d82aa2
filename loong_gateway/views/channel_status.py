"""The channels as the gateway protocol shows them: one entry per configured account, with what it is doing. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from loong_channels import catalog
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig, Config, SecretRef
from loong_gateway.control import ProbeOutcome
from loong_gateway.views.channels import RUNNING_PHASES, spec_of, surface_of

__all__ = ["LATE", "Probes", "channel_status"]

Json = Mapping[str, object]
# What was asked of (channel, account); None stands for a platform that had not answered when the time was over.
Probes = Mapping[tuple[str, str], "ProbeOutcome | None"]
LATE = "no answer within the time that was given"
_CONNECTED = ("ready", "degraded")


def channel_status(
    config: Config, status: Json, probes: Probes, *, now_ms: int, only: str | None = None
) -> dict[str, object]:
    """The whole document; `status` is that of the gateway, `only` the one channel to be shown."""
    rows = sorted(
        (catalog.KNOWN[name] for name in config.channels if only in (None, name)),
        key=lambda row: (row.order, row.id),
    )
    accounts = {
        row.id: [
            _account(config.channels[row.id], account, status, probes, now_ms)
            for account in config.channels[row.id].accounts.values()
        ]
        for row in rows
    }
    late = sorted(f"{channel}/{account}" for (channel, account), outcome in probes.items() if outcome is None)
    return {
        "ts": now_ms,
        "channelOrder": [row.id for row in rows],
        "channelLabels": {row.id: row.label for row in rows},
        "channelDetailLabels": {row.id: row.label for row in rows},
        "channelSystemImages": {},
        "channelMeta": [{"id": row.id, "label": row.label, "detailLabel": row.label} for row in rows],
        "channels": {row.id: _channel(config.channels[row.id], accounts[row.id]) for row in rows},
        "channelAccounts": accounts,
        "channelDefaultAccountId": {row.id: config.channels[row.id].default_account for row in rows},
        "partial": bool(late),
        "warnings": [f"{name}: {LATE}" for name in late],
    }


def _channel(channel: ChannelConfig, accounts: list[dict[str, object]]) -> dict[str, object]:
    """What is said of a channel as a whole: what its default account does."""
    own = next((one for one in accounts if one["accountId"] == channel.default_account), accounts[0])
    names = ("running", "connected", "lastStartAt", "lastStopAt", "lastError", "lastProbeAt")
    return {
        "configured": any(one["configured"] for one in accounts),
        **{name: own[name] for name in names},
        "running": any(one["running"] for one in accounts),
    }


def _account(
    channel: ChannelConfig, account: AccountConfig, status: Json, probes: Probes, now_ms: int
) -> dict[str, object]:
    surface = surface_of(status, account.channel, account.id) or {}
    phase = str(surface.get("phase") or "")
    alive = bool(status.get("running"))
    running = alive and phase in RUNNING_PHASES
    connected = alive and phase in _CONNECTED
    since_ms = _moment(surface.get("since_ms"))
    shown: dict[str, object] = {
        "accountId": account.id,
        "name": account.label,
        "enabled": channel.enabled and account.enabled,
        "configured": _is_configured(account) and surface.get("trouble") != "secret_missing",
        "running": running,
        "connected": connected,
        "reconnectAttempts": 0 if connected else _moment(surface.get("consecutive_failures")) or 0,
        "lastConnectedAt": since_ms if connected else _moment(surface.get("last_recovery_ms")),
        "lastError": surface.get("last_error"),
        "lastStartAt": _moment(status.get("started_at_ms")) if running else None,
        "lastStopAt": since_ms if phase == "stopped" else None,
        "lastInboundAt": _moment(surface.get("last_inbound_ms")),
        "lastOutboundAt": _moment(surface.get("last_outbound_ms")),
        "lastTransportActivityAt": _moment(surface.get("last_heard_ms")),
        "lastProbeAt": None,
        "mode": _mode(account),
        "healthState": _health(phase, surface),
    }
    key = (account.channel, account.id)
    if key in probes:
        shown.update(lastProbeAt=now_ms, probe=_probe(probes[key]))
    return shown


def _probe(outcome: ProbeOutcome | None) -> dict[str, object]:
    if outcome is None:
        return {"ok": False, "error": LATE}
    shown: dict[str, object] = {"ok": outcome.outcome == "ok"}
    if outcome.elapsed_ms is not None:
        shown["elapsedMs"] = outcome.elapsed_ms
    if outcome.outcome != "ok":
        shown["error"] = outcome.detail
    if outcome.identity:
        shown["bot"] = {"username": outcome.identity}
    return shown


def _health(phase: str, surface: Json) -> str:
    if not surface:
        return "not-served"
    trouble = surface.get("trouble")
    return (
        str(trouble).replace("_", "-") if trouble else "healthy" if phase == "ready" else phase or "unknown"
    )


def _is_configured(account: AccountConfig) -> bool:
    """Whether every secret that sending needs is written, or may come from a variable. Resolves nothing."""
    spec = spec_of(account.channel)
    if spec is None:
        return False
    refs = [account.settings.get(name) for name in spec.secrets_needed(account.settings, receiving=False)]
    return all(not isinstance(ref, SecretRef) or ref.form != "absent" or ref.fallback_env for ref in refs)


def _mode(account: AccountConfig) -> str:
    mode = account.settings.get("mode")
    if isinstance(mode, str):
        return mode
    return "polling" if "polling" in catalog.KNOWN[account.channel].transport else "websocket"


def _moment(value: object) -> int | None:
    """A moment or a count; None for one that is not there, and for a moment that never was."""
    return value if isinstance(value, int) and value > 0 else None
