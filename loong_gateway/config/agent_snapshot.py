"""What tools and agents may do, as immutable values; a part of the applied configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "AcpBackend",
    "AcpDispatch",
    "AcpSettings",
    "ApprovalSettings",
    "AuditSettings",
    "HttpToolSettings",
    "McpServer",
    "MessageToolSettings",
    "SessionToolSettings",
    "ToolSettings",
    "WebToolSettings",
]


@dataclass(frozen=True)
class ApprovalSettings:
    """[tools.approval]."""

    mode: str = "medium_balanced"
    timeout_s: int = 300
    approvers: tuple[str, ...] = ()


@dataclass(frozen=True)
class WebToolSettings:
    """[tools.web]."""

    max_bytes: int = 1 << 20
    timeout_s: int = 15
    max_redirects: int = 3
    allow_private_hosts: bool = False


@dataclass(frozen=True)
class HttpToolSettings:
    """[tools.http]."""

    origins: tuple[str, ...] = ()
    max_bytes: int = 1 << 20
    timeout_s: int = 15


@dataclass(frozen=True)
class MessageToolSettings:
    """[tools.messages]; a target is CHANNEL:ACCOUNT:TARGET."""

    enabled: bool = False
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class SessionToolSettings:
    """[tools.sessions]; `visibility` is "own" or "all"."""

    enabled: bool = True
    visibility: str = "own"
    list_limit: int = 100
    history_limit: int = 200


@dataclass(frozen=True)
class ToolSettings:
    """[tools]; `file_root` is absolute, None without files."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    file_root: str | None = None
    shell_allow: tuple[str, ...] = ()
    max_rounds: int = 8
    max_calls: int = 32
    max_repeats: int = 3
    max_result_bytes: int = 65_536
    timeout_s: int = 60
    approval: ApprovalSettings = field(default_factory=ApprovalSettings)
    web: WebToolSettings = field(default_factory=WebToolSettings)
    http: HttpToolSettings = field(default_factory=HttpToolSettings)
    messages: MessageToolSettings = field(default_factory=MessageToolSettings)
    sessions: SessionToolSettings = field(default_factory=SessionToolSettings)


@dataclass(frozen=True)
class McpServer:
    """[mcp.servers.NAME]; each of `env` is text, or a SecretRef."""

    name: str
    enabled: bool = True
    command: str | None = None
    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, object] = field(default_factory=dict, repr=False)
    pass_env: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    startup_timeout_ms: int = 15_000


@dataclass(frozen=True)
class AcpBackend:
    """[acp.backends.NAME]; each of `env` is text, or a SecretRef."""

    name: str
    command: str | None = None
    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, object] = field(default_factory=dict, repr=False)
    pass_env: tuple[str, ...] = ()


@dataclass(frozen=True)
class AcpDispatch:
    """[acp.dispatch]."""

    enabled: bool = True
    conversation_routing: str = "agent_prefixed_only"
    allowed_channels: tuple[str, ...] = ()
    allowed_account_ids: tuple[str, ...] = ()
    thread_routing: str = "all"


@dataclass(frozen=True)
class AcpSettings:
    """[acp]."""

    enabled: bool = False
    backend: str | None = None
    default_agent: str = "codex"
    allowed_agents: tuple[str, ...] = ()
    max_concurrent_sessions: int = 8
    session_idle_ttl_ms: int = 900_000
    startup_timeout_ms: int = 15_000
    turn_timeout_ms: int = 120_000
    dispatch: AcpDispatch = field(default_factory=AcpDispatch)
    backends: Mapping[str, AcpBackend] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditSettings:
    """[audit]; `path` None means the usual place."""

    mode: str = "jsonl"
    path: str | None = None
