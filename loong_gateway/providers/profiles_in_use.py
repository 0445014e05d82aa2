"""The providers of a configuration: each profile's is built when it is first asked, and kept with what is known of its
keys."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.kinds import KINDS
from loong_gateway.config.snapshot import Config, ProviderProfile, SecretRef
from loong_gateway.providers.contract import Embeddings, Provider
from loong_gateway.providers.factory import provider_of
from loong_gateway.providers.fault_counts import faults_counted
from loong_gateway.providers.health_file import HealthFile
from loong_gateway.providers.key_health import KeyHealth, rules_of
from loong_gateway.providers.standby import Links, Record, Standby

__all__ = ["ProfilesInUse"]

MOST_SHOWN = 8


class ProfilesInUse:
    """Thread-safe; `_guard` protects the table. `resolve_secret` raises SecretUnavailable."""

    def __init__(
        self,
        config: Callable[[], Config],
        *,
        environ: Mapping[str, str],
        resolve_secret: Callable[[SecretRef], str],
        metrics: Metrics,
        record: Record | None = None,
        state: str | None = None,
    ) -> None:
        self._config = config
        self._environ = environ
        self._resolve_secret = resolve_secret
        self._metrics = metrics
        self._links = Links(metrics, record or _keep_nothing, self._answered)
        self._health = HealthFile(state)
        # One reference, replaced whole: who answered the last question, None while nobody had to stand in.
        self._stand_in: str | None = None
        self._guard = threading.Lock()
        self._providers: dict[str, Provider] = {}

    def provider(self, profile: str | None = None) -> Provider:
        """The provider of a profile, for the active one with those that stand in for it, for one turn.

        Raises ProviderFault when there is none.
        """
        config = self._config()
        first = self._built(profile or config.active_provider or "")
        if profile or not config.fallback_providers:
            return first
        return Standby(first, config.fallback_providers, self._built, self._links)

    def keep(self) -> None:
        """Write down what changed about keys; a small file, now and then. Never raises."""
        self._health.keep()

    def _built(self, name: str) -> Provider:
        with self._guard:
            known = self._providers.get(name)
        if known is not None:
            return known
        made = provider_of(
            self._config(),
            environ=self._environ,
            resolve_secret=self._resolve_secret,
            name=name,
            health=self.health_of,
        )
        with self._guard:
            return self._providers.setdefault(name, made)

    def health_of(self, profile: ProviderProfile) -> KeyHealth:
        """What is known of the keys of a profile, shared by all who ask with them."""
        return self._health.share(profile.id, KeyHealth(rules_of(profile, KINDS[profile.kind])))

    def _answered(self, name: str) -> None:
        self._stand_in = None if name == self._config().active_provider else name

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
        """The active one as status shows it, with those that stand in for it; None when none is configured."""
        profile = self._active()
        if profile is None:
            return None
        shown = self._facts_of(profile)
        stand_in = self._stand_in
        if stand_in is not None:
            shown["answered_by"] = stand_in
            shown["last_error"] = f"{shown['last_error'] or 'it failed'}; {stand_in} answers instead"
        config = self._config()
        others = [config.providers[name] for name in config.fallback_providers]
        return {**shown, "fallbacks": [self._facts_of(one) for one in others]}

    def _facts_of(self, profile: ProviderProfile) -> dict[str, object]:
        built = self._providers.get(profile.id)
        health = {} if built is None else built.health()
        shown = {name: health.get(name) for name in ("last_success_ms", "last_failure_ms", "last_error")}
        # How many there are is not known before the first question.
        shown["keys"] = None if built is None else _counted(health.get("keys"))
        shown["cooldowns_s"] = health.get("cooldowns_s") or {}
        return {"profile": profile.id, "kind": profile.kind, "model": profile.model, **shown}

    def fails(self) -> bool:
        """Whether the last call of the active one failed."""
        health = self.facts() or {}
        failed, worked = health.get("last_failure_ms"), health.get("last_success_ms")
        return isinstance(failed, int) and failed > (worked if isinstance(worked, int) else 0)

    def _active(self) -> ProviderProfile | None:
        config = self._config()
        return config.providers.get(config.active_provider or "")


def _keep_nothing(kind: str, facts: Mapping[str, object]) -> None:
    """No journal."""


def _counted(keys: object) -> dict[str, object]:
    """How many keys there are and how they fare; those that do not are named by their place in the config."""
    known = [one for one in keys if isinstance(one, dict)] if isinstance(keys, list) else []
    unwell = [one for one in known if one["state"] != "ready"]
    counts = {state: sum(one["state"] == state for one in unwell) for state in ("cooling", "disabled")}
    return {"count": len(known), **counts, "unwell": unwell[:MOST_SHOWN]}
