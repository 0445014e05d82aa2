"""Every setting of every section, one row each: the table that parsing, defaults, help and reload are driven by.

Names are spelt as the documentation spells them; a file may write each in snake_case or camelCase. A channel's own
settings are in its spec. `later` are names that are accepted without being read by this build.
"""

from __future__ import annotations

from loong_channels.settings import Setting
from loong_gateway.config.acp_settings import ACP_BACKEND, ACP_SECTIONS
from loong_gateway.config.audit_settings import AUDIT_SECTIONS
from loong_gateway.config.mcp_settings import MCP_SECTIONS, MCP_SERVER
from loong_gateway.config.section import Section, number, seconds
from loong_gateway.config.tool_settings import TOOL_SECTIONS

__all__ = [
    "CHANNEL_COMMON",
    "DEV_PORT",
    "HTTP_ENDPOINTS",
    "LATER_CHANNEL_SETTINGS",
    "LATER_TABLES",
    "MODEL_TOOLS",
    "NAMED_SECTIONS",
    "PORT_TOOLS",
    "SECTIONS",
]

DEV_PORT = 19001
_DAY_S = 86_400
_YEAR_S = 366 * _DAY_S


_GATEWAY = Section(
    "gateway",
    (
        Setting("mode", "choice", None, "local runs here", choices=("local", "remote"), reload="restart"),
        number("port", 18789, 0, 65535, "port of the gateway; 0 takes a free one", "restart"),
        Setting(
            "bind",
            "text",
            "loopback",
            "loopback, lan, tailnet, auto, custom or an address",
            reload="restart",
        ),
        Setting("customBindHost", "text", None, "address used when bind is custom", reload="restart"),
        Setting("allowedHosts", "texts", (), "names accepted in Host besides those of loopback"),
        Setting(
            "trustedProxies",
            "texts",
            (),
            "addresses and networks of proxies that may add forwarding fields",
            reload="restart",
        ),
        Setting(
            "socket",
            "bool",
            False,
            "whether programs of this user may also call at gateway.sock in the state directory",
            reload="restart",
        ),
        number("workers", 64, 1, 256, "conversations answered at the same time", "restart"),
        seconds("drain_s", 25.0, 0, 3600, "how long a stop waits for turns in progress"),
        number(
            "crash_loop_boots",
            5,
            0,
            1000,
            "crashed starts in a row before channels stay off; 0 = off",
            "restart",
        ),
        seconds("header_timeout_s", 10.0, 0.1, 600, "how long a request may take to send its head"),
        seconds("body_timeout_s", 30.0, 0.1, 3600, "how long a request may take to send its body"),
        seconds("keepalive_s", 15.0, 0, 3600, "how long an idle connection is kept"),
        number("max_unauthenticated", 64, 1, 10_000, "connections without proof, in all", "restart"),
        number("max_per_peer", 16, 1, 10_000, "connections without proof, per address", "restart"),
        number("max_clients", 256, 1, 10_000, "connections with proof", "restart"),
        number(
            "handshakes_per_s",
            0,
            0,
            100_000,
            "WebSocket handshakes per second and address; 0 = no limit",
            "restart",
        ),
    ),
    tables=("auth", "controlUi", "http", "tools", "ws"),
    later=("push", "reload", "remote", "tailscale", "tls"),
)

_WS = Section(
    "gateway.ws",
    (
        number(
            "max_preauth_bytes", 65_536, 1024, 1 << 20, "largest message before a client has proven itself"
        ),
        number("max_payload_bytes", 26_214_400, 65_536, 256 << 20, "largest message of a client"),
        number(
            "max_buffered_bytes", 52_428_800, 65_536, 1 << 30, "what may wait for a client that reads slowly"
        ),
        number("tick_interval_ms", 30_000, 100, 600_000, "how often every client hears a tick"),
        number("ping_interval_ms", 25_000, 100, 600_000, "how often every client is pinged"),
        number("handshake_timeout_ms", 15_000, 100, 600_000, "how long a client may take to prove itself"),
    ),
)

# What of the HTTP side can be switched off by gateway.http.endpoints.NAME.enabled.
HTTP_ENDPOINTS = ("chatCompletions", "embeddings", "metrics", "models", "responses", "toolsInvoke", "turn")

# The tools that a build has; gateway.tools chooses among them.
PORT_TOOLS = ("channels_status", "models_list", "session_status", "sessions_history", "sessions_list", "time")
# What the model may be allowed besides.
MODEL_TOOLS = (
    *PORT_TOOLS,
    *("channels.send", "file.list", "file.read", "file.write", "http.request", "shell.run", "web.fetch"),
    *("sessions.history", "sessions.list", "sessions.status"),
)

_CONTROL_UI = Section(
    "gateway.controlUi",
    (
        Setting(
            "allowedOrigins",
            "texts",
            (),
            "exact origins of pages that may open a WebSocket, besides the gateway's own; no CORS headers are sent",
            reload="restart",
        ),
    ),
    later=("allowInsecureAuth", "basePath", "enabled"),
)

_TOOLS = Section(
    "gateway.tools",
    (
        Setting("allow", "texts", (), "tools that may be called through the port"),
        Setting("deny", "texts", (), "tools that may not, whatever allow says"),
    ),
)

_HOOKS = Section(
    "hooks",
    (
        Setting("enabled", "bool", False, "whether hooks are taken", reload="restart"),
        Setting(
            "token",
            "secret",
            None,
            "what a caller of a hook proves",
            env="LOONG_HOOKS_TOKEN",
            reload="restart",
        ),
        Setting("path", "text", "/hooks", "where the hooks stand", reload="restart"),
        Setting("allowRequestSessionKey", "bool", False, "whether a caller may name the session"),
        Setting(
            "defaultSessionKey", "text", None, "session of hooks that name none; absent = one of their own"
        ),
    ),
    later=(
        "allowedAgentIds",
        "allowedSessionKeyPrefixes",
        "mappings",
        "maxBodyBytes",
        "presets",
        "transformsDir",
    ),
)

_AUTH = Section(
    "gateway.auth",
    (
        Setting(
            "mode",
            "choice",
            None,
            "which secret a client proves: token or password; the other two are refused",
            choices=("token", "password", "none", "trusted-proxy"),
            reload="restart",
        ),
        Setting("token", "secret", None, "shared token", env="LOONG_GATEWAY_TOKEN", reload="restart"),
        Setting(
            "password", "secret", None, "shared password", env="LOONG_GATEWAY_PASSWORD", reload="restart"
        ),
    ),
    tables=("rateLimit",),
    later=("allowTailscale", "trustedProxy"),
)

_RATE_LIMIT = Section(
    "gateway.auth.rateLimit",
    (
        number("maxAttempts", 10, 1, 1_000_000, "failed proofs within the window before a lockout"),
        number("windowMs", 60_000, 100, 86_400_000, "length of the window"),
        number("lockoutMs", 300_000, 0, 86_400_000, "length of the lockout"),
        Setting(
            "exemptLoopback", "bool", True, "whether callers of this host are slowed instead of locked out"
        ),
    ),
)

_SECTIONS = (
    _GATEWAY,
    _AUTH,
    _RATE_LIMIT,
    _WS,
    _CONTROL_UI,
    _TOOLS,
    _HOOKS,
    Section(
        "memory",
        (
            Setting(
                "profile",
                "choice",
                "window_only",
                "what of a conversation the model is shown",
                choices=("window_only", "window_plus_summary", "profile_plus_window"),
            ),
            number("sliding_window", 12, 1, 128, "turns of history the model is shown"),
            number("summary_max_chars", 1200, 256, 100_000, "longest summary of what came before those"),
            Setting("profile_note", "text", "", "said to the model with profile_plus_window"),
            Setting(
                "fail_open", "bool", True, "whether a turn is answered without history when it cannot be read"
            ),
        ),
        later=("backend", "ingest_mode", "sqlite_path", "system"),
    ),
    Section(
        "delivery",
        (
            Setting(
                "ambiguous",
                "choice",
                "resend",
                "what happens to a part whose fate is unknown",
                choices=("resend", "hold"),
            ),
            number("max_attempts", 3, 1, 100, "failed turns before a message is given up"),
            number("max_crash_attempts", 10, 1, 1000, "process deaths before a message is given up"),
            number("reply_ttl_s", 3600, 1, _YEAR_S, "how long a reply is worth sending"),
            number("push_ttl_s", 86_400, 1, _YEAR_S, "how long a message of our own is worth sending"),
            number("max_inbound_age_s", 3600, 1, _YEAR_S, "from which age a waiting message is old"),
            Setting(
                "max_inbound_age_policy",
                "choice",
                "notice",
                "what happens to an old message",
                choices=("notice", "answer", "skip"),
            ),
            Setting(
                "failure_text",
                "text",
                "Sorry, I could not answer this message. Please try again later.",
                "what a conversation is told when a message is given up",
            ),
            number("retention_days", 7, 1, 3650, "how long finished rows are kept"),
            number("retention_rows", 100_000, 1000, 100_000_000, "how many finished rows are kept"),
        ),
    ),
    Section(
        "limits",
        (
            number("sender_per_min", 0, 0, 100_000, "messages per person and minute; 0 = no limit"),
            number(
                "conversation_per_min", 0, 0, 100_000, "messages per conversation and minute; 0 = no limit"
            ),
            number("lane_waiting", 100, 1, 100_000, "messages that may wait in one conversation"),
            number("total_waiting", 10_000, 1, 10_000_000, "messages that may wait in all"),
        ),
    ),
    Section(
        "media",
        (
            number("max_files", 4, 0, 20, "files of one message that are fetched for the model; 0 = none"),
            number("max_bytes", 20 << 20, 1024, 100 << 20, "largest file that is fetched"),
        ),
    ),
    Section(
        "network",
        (
            Setting("proxy", "proxy", None, "http:// proxy for everything outbound", reload="restart"),
            Setting("no_proxy", "text", None, "names and networks reached directly", reload="restart"),
            Setting("ca_bundle", "path", None, "certificates that are trusted", reload="restart"),
            Setting("client_cert", "path", None, "certificate shown to servers", reload="restart"),
            Setting("client_key", "path", None, "key of that certificate", reload="restart"),
        ),
        later=("tls_min",),
    ),
    Section(
        "logging",
        (
            Setting(
                "level",
                "choice",
                "info",
                "what is written",
                choices=("debug", "info", "warning", "error"),
            ),
            Setting("file", "path", None, "another place for the gateway's log", reload="restart"),
        ),
    ),
    Section(
        "cli",
        (
            Setting("system_prompt", "text", "", "said to the model before every conversation"),
            Setting("exit_commands", "texts", ("/exit", "/quit"), "what ends a chat on the terminal"),
        ),
        later=("enabled", "personality", "prompt_pack_id", "system_prompt_addendum"),
    ),
)
SECTIONS = {
    section.path: section
    for section in (*_SECTIONS, *TOOL_SECTIONS, *MCP_SECTIONS, *ACP_SECTIONS, *AUDIT_SECTIONS)
}

# Tables that hold one table for each name that the operator chooses.
NAMED_SECTIONS = {"mcp.servers": MCP_SERVER, "acp.backends": ACP_BACKEND}

# What every channel block has besides the settings of its spec; the first three are the block's alone.
CHANNEL_COMMON = (
    Setting("enabled", "bool", False, "whether the channel is used", reload="channel"),
    Setting(
        "default_account", "text", None, "account used, and served, when none is named", reload="channel"
    ),
    Setting(
        "allow_plain_http", "bool", False, "accept http:// to a host that is not this one", reload="channel"
    ),
)

# Tables and values that other versions of loong read: known names, not read here.
LATER_TABLES = (
    "agents",
    "bindings",
    "control_plane",
    "conversation",
    "cron",
    "feishu_integration",
    "last_provider",
    "meta",
    "outbound_http",
    "plugins",
    "runtime_plugins",
    "secrets",
    "session",
    "skills",
    "ui",
)

# Settings of channels that this build knows and does not read yet.
LATER_CHANNEL_SETTINGS = {
    "telegram": ("acp",),
    "feishu": ("acp", "reconnect_interval_s"),
    "wecom": ("ack_reactions", "acp", "require_mention"),
}
