"""Makes the provider of a profile. The module that speaks its protocol is loaded only when it is needed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any, Callable

from loong_channels.egress import Egress
from loong_channels.net import HttpClient
from loong_gateway import VERSION
from loong_gateway.config.kinds import KINDS, canonical, placed
from loong_gateway.config.outside import egress_of
from loong_gateway.config.secrets import resolve
from loong_gateway.config.snapshot import Config, ProviderProfile, SecretRef
from loong_gateway.providers.access import Access
from loong_gateway.providers.contract import Provider, ProviderFault
from loong_gateway.providers.credentials import KeyRing
from loong_gateway.providers.echo import Echo
from loong_gateway.providers.endpoints import check_addresses
from loong_gateway.providers.key_health import KeyHealth

__all__ = ["build_provider", "provider_of"]

_SERVICE = ("loong_gateway.providers.service", "HttpProvider")
_PROTOCOLS = {
    "openai_chat": ("loong_gateway.providers.openai_chat", "OpenAIChat"),
    "openai_responses": ("loong_gateway.providers.openai_responses", "OpenAIResponses"),
    "anthropic_messages": ("loong_gateway.providers.anthropic_messages", "AnthropicMessages"),
    "bedrock_converse": ("loong_gateway.providers.bedrock_converse", "BedrockConverse"),
}


def build_provider(
    profile: ProviderProfile,
    *,
    egress: Egress,
    environ: Mapping[str, str],
    resolve_secret: Callable[[SecretRef], str] | None = None,
    health: KeyHealth | None = None,
) -> Provider:
    """The provider of a profile. Connects to nothing and reads no secret yet.

    `resolve_secret` fetches a secret and may remember it for redaction; it raises SecretUnavailable. Left out, secrets
    come from where `environ` and the references say; without `health` what is known of its keys ends with it.
    Raises ProviderFault for a kind or an address that cannot be used.
    """
    kind = KINDS[canonical(profile.kind) or profile.kind]
    if kind.protocol == "echo":
        return Echo(profile.id)
    kind = placed(kind, environ)
    check_addresses(profile, kind)
    ring = KeyRing(
        profile.api_key,
        resolve_secret or functools.partial(resolve, environ=environ),
        required=not kind.key_optional,
        token=profile.oauth_access_token,
        health=health,
    )
    http = HttpClient(egress, user_agent=f"loong/{VERSION}")
    protocols = [kind.protocol]
    if profile.wire_api == "responses" and kind.protocol == "openai_chat":
        protocols.insert(0, "openai_responses")
    wires = [_load(*_PROTOCOLS[name])(profile, kind) for name in protocols]
    made: Provider = _load(*_SERVICE)(profile, kind, http, Access(profile, kind, ring), wires)
    return made


def provider_of(
    config: Config,
    *,
    environ: Mapping[str, str],
    resolve_secret: Callable[[SecretRef], str] | None = None,
    name: str | None = None,
    health: Callable[[ProviderProfile], KeyHealth] | None = None,
) -> Provider:
    """The provider of profile `name`, or the active one; as `build_provider`. Raises ProviderFault if there is none."""
    profile = config.providers.get(name or config.active_provider or "")
    if profile is None:
        raise ProviderFault.of("provider.missing", "provider_missing", config=config.path)
    egress = egress_of(config.network, environ)
    return build_provider(
        profile,
        egress=egress,
        environ=environ,
        resolve_secret=resolve_secret,
        health=None if health is None else health(profile),
    )


def _load(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
