"""The providers of a configuration: each profile's is built when it is first asked, and kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config, ProviderProfile, SecretRef
from loong_gateway.providers.contract import Embeddings, Provider
from loong_gateway.providers.factory import provider_of
from loong_gateway.providers.fault_counts import faults_counted

__all__ = ["ProfilesInUse"]


class ProfilesInUse:
    """Thread-safe; `_guard` protects the table while a provider is built. `resolve_secret` raises SecretUnavailable."""

    def __init__(
        self,
        config: Callable[[], Config],
        *,
        environ: Mapping[str, str],
        resolve_secret: Callable[[SecretRef], str],
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._environ = environ
        self._resolve_secret = resolve_secret
        self._metrics = metrics
        self._guard = threading.Lock()
        self._providers: dict[str, Provider] = {}

    def provider(self, profile: str | None = None) -> Provider:
        """The provider of a profile, or the active one. Raises ProviderFault when there is none."""
        config = self._config()
        name = profile or config.active_provider or ""
        with self._guard:
            if name not in self._providers:
                self._providers[name] = provider_of(
                    config, environ=self._environ, resolve_secret=self._resolve_secret, name=name
                )
            return self._providers[name]

    def embed(
        self,
        texts: Sequence[str],
        *,
        profile: str | None,
        model: str | None,
        dimensions: int | None,
        deadline: Deadline,
        stop: StopToken,
    ) -> Embeddings:
        """See control.ControlPlane."""
        with faults_counted(self._metrics, profile or self._config().active_provider, stop):
            provider = self.provider(profile)
            return provider.embed(texts, model=model, dimensions=dimensions, deadline=deadline, stop=stop)

    def line(self) -> str:
        """The active one in words, for the start."""
        profile = self._active()
        return (
            "none: a message gets an error" if profile is None else f"{profile.kind}, model {profile.model}"
        )

    def facts(self) -> Mapping[str, object] | None:
        """The active one as status shows it; None when none is configured."""
        profile = self._active()
        if profile is None:
            return None
        built = self._providers.get(profile.id)
        health = {} if built is None else built.health()
        shown = {name: health.get(name) for name in ("last_success_ms", "last_failure_ms", "last_error")}
        return {"profile": profile.id, "kind": profile.kind, "model": profile.model, **shown}

    def fails(self) -> bool:
        """Whether the last call of the active one failed."""
        health = self.facts() or {}
        failed, worked = health.get("last_failure_ms"), health.get("last_success_ms")
        return isinstance(failed, int) and failed > (worked if isinstance(worked, int) else 0)

    def _active(self) -> ProviderProfile | None:
        config = self._config()
        return config.providers.get(config.active_provider or "")
