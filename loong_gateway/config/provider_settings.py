"""[provider], [providers.ID] and what chooses among them, as rows."""

from __future__ import annotations

from loong_channels.settings import Setting
from loong_gateway.config.section import Section, number

__all__ = ["ACTIVE_PROVIDER", "FALLBACK_PROVIDERS", "PROVIDER"]


def _ms(name: str, default: int, low: int, high: int, text: str) -> Setting:
    return Setting(name, "int", default, text, low, high, clamp=True)


ACTIVE_PROVIDER = Setting("active_provider", "text", None, "which of providers answers")
FALLBACK_PROVIDERS = Setting(
    "fallback_providers", "texts", (), "which of providers are asked, in order, when the active one fails"
)

PROVIDER = Section(
    "provider",
    (
        Setting("kind", "text", "openai", "which service this is"),
        Setting("model", "text", "auto", "model id; auto takes the first fitting one of the service"),
        Setting("base_url", "url", None, "root of the service; default per kind"),
        Setting("endpoint", "url", None, "full address of the chat call"),
        Setting("models_endpoint", "url", None, "full address of the model list"),
        Setting("chat_completions_path", "text", None, "path of the chat call below base_url"),
        Setting(
            "wire_api",
            "choice",
            "chat_completions",
            "protocol of services of OpenAI's shape; responses falls back where there is none",
            choices=("chat_completions", "responses"),
        ),
        Setting("allow_plain_http", "bool", False, "accept http:// to a host that is not this one"),
        Setting(
            "api_key",
            "secret",
            None,
            "key of the service; several are separated by , or ; or a new line",
            several=True,
        ),
        Setting("oauth_access_token", "secret", None, "token of an account, tried before the keys"),
        Setting("images", "bool", False, "whether the model is shown the pictures that come with messages"),
        Setting(
            "embedding_model", "text", None, "model id for embeddings; absent = the caller must name one"
        ),
        Setting("preferred_models", "texts", (), "models that auto tries first, in order"),
        Setting(
            "reasoning_effort",
            "choice",
            None,
            "how long the model may think",
            choices=("none", "minimal", "low", "medium", "high", "xhigh"),
        ),
        Setting("headers", "headers", {}, "sent with every request"),
        number("temperature", 0.2, 0, 2, "how freely the model writes", kind="float"),
        Setting(
            "max_tokens", "int", None, "longest answer in tokens; absent = the service decides", 1, 10_000_000
        ),
        Setting("stop", "texts", (), "texts that end an answer"),
        Setting("request_timeout_ms", "int", 120_000, "wait for the first byte", 1000, 600_000, clamp=True),
        Setting("turn_timeout_ms", "int", 600_000, "whole turn with retries", 1000, 3_600_000, clamp=True),
        Setting("retry_max_attempts", "int", 3, "tries of one call", 1, 8, clamp=True),
        Setting("retry_initial_backoff_ms", "int", 300, "first wait between tries", 50, 10_000, clamp=True),
        Setting("retry_max_backoff_ms", "int", 3000, "longest wait between tries", 50, 30_000, clamp=True),
        Setting("model_catalog_cache_ttl_ms", "int", 30_000, "model list is fresh", 0, 300_000, clamp=True),
        Setting(
            "model_catalog_stale_if_error_ms",
            "int",
            120_000,
            "old model list is used when a new one cannot be had",
            0,
            600_000,
            clamp=True,
        ),
        _ms("model_catalog_cache_max_entries", 32, 1, 256, "model lists that are kept"),
        _ms(
            "model_candidate_cooldown_ms", 300_000, 0, 3_600_000, "auto tries a failed model last for so long"
        ),
        _ms(
            "model_candidate_cooldown_max_ms",
            3_600_000,
            0,
            86_400_000,
            "longest such time; each failure doubles it",
        ),
        _ms("model_candidate_cooldown_max_entries", 64, 1, 512, "models whose failures are remembered"),
        _ms("profile_cooldown_ms", 60_000, 0, 3_600_000, "a failed key is tried last for so long"),
        _ms(
            "profile_cooldown_max_ms", 3_600_000, 0, 86_400_000, "longest such time; each failure doubles it"
        ),
        _ms("profile_auth_reject_disable_ms", 21_600_000, 60_000, 604_800_000, "the same for a refused key"),
        _ms("profile_state_max_entries", 256, 1, 1024, "keys whose failures are remembered"),
        Setting(
            "profile_health_mode",
            "choice",
            "provider_default",
            "whether failures order the keys; observe_only counts them and no more",
            choices=("provider_default", "enforce", "observe_only"),
        ),
    ),
    later=(
        "default_for_kind",
        "profile_state_backend",
        "profile_state_sqlite_path",
        "reasoning_extra_body_mode",
        "reasoning_extra_body_disabled_model_hints",
        "reasoning_extra_body_kimi_model_hints",
        "reasoning_extra_body_omit_model_hints",
        "tool_schema_disabled_model_hints",
        "tool_schema_mode",
        "tool_schema_strict_model_hints",
    ),
)
