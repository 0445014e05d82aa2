"""The applied configuration as immutable values. Swapped whole at a reload; take it once per operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loong_gateway.config.agent_snapshot import AcpSettings, AuditSettings, McpServer, ToolSettings

__all__ = [
    "AccountConfig",
    "ChannelConfig",
    "CliSettings",
    "Config",
    "DeliverySettings",
    "Diagnostic",
    "GatewaySettings",
    "HookSettings",
    "LimitSettings",
    "LoggingSettings",
    "MediaSettings",
    "MemorySettings",
    "NetworkSettings",
    "ProviderProfile",
    "SecretRef",
    "WsSettings",
]


@dataclass(frozen=True)
class SecretRef:
    """Where a secret comes from; resolving it is the business of `secrets`.

    `form`: "inline", "env", "file", "exec" or "absent". `value` is the literal, variable, path or command line.
    `fallback_env` are the variables tried when `form` is "absent". `setting` is the dotted path in the config.
    `several` allows more than one secret in it.
    """

    form: str
    value: object = field(repr=False)
    setting: str
    fallback_env: tuple[str, ...] = ()
    several: bool = False

    @property
    def display(self) -> str:
        """How the reference may be shown: its kind and, for a variable or a file, its name."""
        if self.form == "absent":
            return "env " + " or ".join(self.fallback_env) if self.fallback_env else "not set"
        return f"{self.form} {self.value}" if self.form in ("env", "file") else self.form


@dataclass(frozen=True)
class Diagnostic:
    """One finding of the validation. `line` and `column` count from 1; None where they cannot be known."""

    severity: str
    code: str
    field_path: str
    message: str
    fix: str | None = None
    line: int | None = None
    column: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WsSettings:
    """[gateway.ws]: limits of the WebSocket side; sizes in bytes, times in milliseconds."""

    max_preauth_bytes: int = 65_536
    max_payload_bytes: int = 26_214_400
    max_buffered_bytes: int = 52_428_800
    tick_interval_ms: int = 30_000
    ping_interval_ms: int = 25_000
    handshake_timeout_ms: int = 15_000


@dataclass(frozen=True)
class HookSettings:
    """[hooks]."""

    enabled: bool
    token: SecretRef
    path: str
    allow_request_session_key: bool
    default_session_key: str | None


@dataclass(frozen=True)
class GatewaySettings:
    """[gateway]; `port_source` is "config" when the file names the port, else "default".

    `endpoints_off` are names of settings.HTTP_ENDPOINTS.
    """

    mode: str | None
    port: int
    bind: str
    custom_bind_host: str | None
    auth_mode: str
    token: SecretRef
    password: SecretRef
    allowed_hosts: tuple[str, ...]
    workers: int
    drain_s: float
    crash_loop_boots: int
    header_timeout_s: float
    body_timeout_s: float
    keepalive_s: float
    max_unauthenticated: int
    max_per_peer: int
    max_clients: int
    auth_attempts: int
    auth_window_s: float
    auth_lockout_s: float
    port_source: str = "default"
    exempt_loopback: bool = True
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    handshakes_per_s: int = 0
    ws: WsSettings = field(default_factory=WsSettings)
    endpoints_off: frozenset[str] = frozenset()
    tools_allow: tuple[str, ...] = ()
    tools_deny: tuple[str, ...] = ()
    socket: bool = False

    @property
    def secret(self) -> SecretRef:
        """What a client of the port proves by this mode."""
        return self.password if self.auth_mode == "password" else self.token


@dataclass(frozen=True)
class ProviderProfile:
    """[provider] or [providers.ID]; `where` is that dotted path."""

    id: str
    where: str
    kind: str
    model: str
    base_url: str | None
    endpoint: str | None
    models_endpoint: str | None
    chat_completions_path: str | None
    api_key: SecretRef
    preferred_models: tuple[str, ...]
    reasoning_effort: str | None
    headers: Mapping[str, str] = field(repr=False)
    temperature: float | None
    max_tokens: int | None
    stop: tuple[str, ...]
    request_timeout_ms: int
    turn_timeout_ms: int
    retry_max_attempts: int
    retry_initial_backoff_ms: int
    retry_max_backoff_ms: int
    model_catalog_cache_ttl_ms: int
    model_catalog_stale_if_error_ms: int
    images: bool = False
    embedding_model: str | None = None
    wire_api: str = "chat_completions"
    oauth_access_token: SecretRef = SecretRef("absent", None, "")
    model_catalog_cache_max_entries: int = 32
    model_candidate_cooldown_ms: int = 300_000
    model_candidate_cooldown_max_ms: int = 3_600_000
    model_candidate_cooldown_max_entries: int = 64
    profile_cooldown_ms: int = 60_000
    profile_cooldown_max_ms: int = 3_600_000
    profile_auth_reject_disable_ms: int = 21_600_000
    profile_state_max_entries: int = 256
    profile_health_mode: str = "provider_default"


@dataclass(frozen=True)
class AccountConfig:
    """One account of a channel: the channel's block overlaid by its own. Secrets are still references."""

    channel: str
    id: str
    label: str
    enabled: bool
    settings: Mapping[str, object]


@dataclass(frozen=True)
class ChannelConfig:
    """One channel family. `explicit_accounts` is False for a block without an `accounts` table.

    `default_source`: "explicit_default", "mapped_default", "fallback" or "runtime_identity".
    """

    name: str
    enabled: bool
    accounts: Mapping[str, AccountConfig]
    default_account: str
    default_source: str
    explicit_accounts: bool


@dataclass(frozen=True)
class MemorySettings:
    """[memory]; `profile` is "window_only", "window_plus_summary" or "profile_plus_window".

    `sliding_window` counts turns, `summary_max_chars` characters.
    """

    profile: str
    sliding_window: int
    summary_max_chars: int
    profile_note: str
    fail_open: bool


@dataclass(frozen=True)
class DeliverySettings:
    """[delivery]; `ambiguous` is "resend" or "hold", `max_inbound_age_policy` "notice", "answer" or "skip"."""

    ambiguous: str
    max_attempts: int
    max_crash_attempts: int
    reply_ttl_s: int
    push_ttl_s: int
    max_inbound_age_s: int
    max_inbound_age_policy: str
    failure_text: str
    retention_days: int
    retention_rows: int


@dataclass(frozen=True)
class LimitSettings:
    """[limits]; 0 switches a budget off."""

    sender_per_min: int
    conversation_per_min: int
    lane_waiting: int
    total_waiting: int


@dataclass(frozen=True)
class MediaSettings:
    """[media]: what is fetched of the files that come with messages; `max_bytes` is meant for each."""

    max_files: int
    max_bytes: int


@dataclass(frozen=True)
class NetworkSettings:
    """[network]: how everything outbound leaves the host. None means: as the environment says."""

    proxy: str | None = field(repr=False)
    no_proxy: str | None
    ca_bundle: str | None
    client_cert: str | None
    client_key: str | None


@dataclass(frozen=True)
class LoggingSettings:
    """[logging]; `file` None means the gateway's own log."""

    level: str
    file: str | None


@dataclass(frozen=True)
class CliSettings:
    """[cli]; the system prompt is used by every entry, not by the terminal alone."""

    system_prompt: str
    exit_commands: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """A whole validated configuration. `exists` is False when no file was there and defaults stand in."""

    path: str
    exists: bool
    digest: str
    gateway: GatewaySettings
    providers: Mapping[str, ProviderProfile]
    active_provider: str | None
    channels: Mapping[str, ChannelConfig]
    memory: MemorySettings
    delivery: DeliverySettings
    limits: LimitSettings
    media: MediaSettings
    network: NetworkSettings
    logging: LoggingSettings
    cli: CliSettings
    hooks: HookSettings
    tools: ToolSettings = field(default_factory=ToolSettings)
    mcp: Mapping[str, McpServer] = field(default_factory=dict)
    acp: AcpSettings = field(default_factory=AcpSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    fallback_providers: tuple[str, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def turn_timeout_s(self) -> float:
        """How long a whole turn may take with the active provider."""
        profile = self.providers.get(self.active_provider or "")
        return 600.0 if profile is None else profile.turn_timeout_ms / 1000

    @property
    def images(self) -> bool:
        """Whether the active provider is shown pictures."""
        profile = self.providers.get(self.active_provider or "")
        return profile is not None and profile.images
