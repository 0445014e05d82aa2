"""[acp]: outside agents that answer in place of the model, over the Agent Client Protocol on their standard streams."""

from __future__ import annotations

from loong_channels.settings import Setting
from loong_gateway.config.agent_snapshot import AcpBackend, AcpDispatch, AcpSettings
from loong_gateway.config.diagnostics import did_you_mean
from loong_gateway.config.section import Section, number
from loong_gateway.config.tables import Table

__all__ = ["ACP_BACKEND", "ACP_SECTIONS", "read_acp"]

_ACP = Section(
    "acp",
    (
        Setting("enabled", "bool", False, "whether agents are used", reload="restart"),
        Setting(
            "backend",
            "text",
            None,
            "which of acp.backends is started; absent = the only one",
            reload="restart",
        ),
        Setting("default_agent", "text", "codex", "name of the agent in messages and records"),
        Setting("allowed_agents", "texts", (), "names that a message may call; empty = the default one"),
        number("max_concurrent_sessions", 8, 1, 256, "agents that run at the same time"),
        number("session_idle_ttl_ms", 900_000, 100, 86_400_000, "an agent that rests this long is ended"),
        number("startup_timeout_ms", 15_000, 100, 600_000, "how long an agent may take to be ready"),
        number("turn_timeout_ms", 120_000, 100, 3_600_000, "how long an agent may take to answer"),
    ),
    tables=("backends", "dispatch"),
    later=(
        "allow_mcp_server_injection",
        "bindings_enabled",
        "emit_runtime_events",
        "queue_owner_ttl_ms",
    ),
)
_DISPATCH = Section(
    "acp.dispatch",
    (
        Setting("enabled", "bool", True, "whether messages of channels may reach an agent"),
        Setting(
            "conversation_routing",
            "choice",
            "agent_prefixed_only",
            "which messages do",
            choices=("agent_prefixed_only", "all"),
        ),
        Setting("allowed_channels", "texts", (), "channels whose messages may; empty = all"),
        Setting("allowed_account_ids", "texts", (), "accounts whose messages may; empty = all"),
        Setting(
            "thread_routing",
            "choice",
            "all",
            "which conversations may",
            choices=("all", "thread_only", "root_only"),
        ),
    ),
)
ACP_SECTIONS = (_ACP, _DISPATCH)
ACP_BACKEND = Section(
    "acp.backends",
    (
        Setting("command", "text", None, "program to start, by name or path", reload="restart"),
        Setting("args", "texts", (), "its arguments", reload="restart"),
        Setting("cwd", "path", None, "where agents work; absent = tools.file_root", reload="restart"),
        Setting(
            "env",
            "env",
            {},
            "variables that are set for it: text, or references to secrets",
            reload="restart",
        ),
        Setting("pass_env", "texts", (), "variables of the gateway that it is given", reload="restart"),
    ),
    later=("expected_version", "mcp_servers"),
)


def read_acp(root: Table) -> AcpSettings:
    """What [acp] says; findings go where the table says."""
    table = root.child("acp")
    settings = AcpSettings(
        **table.read_all(_ACP),
        dispatch=AcpDispatch(**table.child("dispatch").read_all(_DISPATCH)),
        backends={
            name: AcpBackend(name, **backend.read_all(ACP_BACKEND))
            for name, backend in table.children("backends").items()
        },
    )
    if settings.enabled:
        _warn(table, settings)
    return settings


def _warn(table: Table, settings: AcpSettings) -> None:
    """Say what cannot be started; the gateway does without it."""
    add, names = table.reading.findings.add, settings.backends
    if settings.backend is not None and settings.backend not in names:
        values = {"backend": settings.backend, "suggestion": did_you_mean(settings.backend, names)}
        add("config.acp.unknown_backend", ("acp", "backend"), values, at_value=True)
    elif not names or (settings.backend is None and len(names) > 1 and settings.default_agent not in names):
        add("config.acp.no_backend", ("acp",), {"count": len(names)})
    for name, backend in names.items():
        if not backend.command:
            add("config.acp.no_command", ("acp", "backends", name), {"backend": name})
