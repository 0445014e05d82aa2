"""The provider that a configuration names, for a process that is not the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from loong_gateway.outside import egress_of
from loong_gateway.providers.contract import Provider, ProviderFault
from loong_gateway.providers.factory import build_provider
from loong_gateway.secrets import resolve
from loong_gateway.snapshot import Config

__all__ = ["active_provider"]


def active_provider(config: Config, environ: Mapping[str, str]) -> Provider:
    """The active provider, ready to be asked; opens no connection.

    Raises ProviderFault when none is configured or its key cannot be had.
    """
    profile = config.providers.get(config.active_provider or "")
    if profile is None:
        raise ProviderFault(
            "provider_missing",
            "no provider is configured",
            where=config.path,
            fix="add [provider] with kind, model and api_key, then: loong list-models",
        )
    return build_provider(
        profile,
        egress=egress_of(config.network, environ),
        environ=environ,
        resolve_secret=lambda ref: resolve(ref, environ),
    )
