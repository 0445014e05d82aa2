"""The models of every configured provider profile: what was last listed, or asked anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.parallel import gather
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import Config, ProviderProfile, SecretRef
from loong_gateway.providers.contract import Provider, ProviderFault
from loong_gateway.providers.factory import build_provider
from loong_gateway.providers.key_health import KeyHealth

__all__ = ["ModelsDesk"]

MOST_MODELS = 1000
AUTO = "auto"


@dataclass(frozen=True)
class _Listed:
    """What a profile answered. `names` are empty and `error` is set when it gave no list."""

    at_s: float
    names: tuple[str, ...] = ()
    kind: str = ""
    error: str = ""


class ModelsDesk:
    """Thread-safe; `_guard` protects what is known and the providers, of which there is one for each profile.

    `secret` fetches a secret and remembers it for redaction; `health` is what is known of keys. A list is fresh
    for its profile's `model_catalog_cache_ttl_ms`; one that failed is asked again at the next call.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        *,
        egress: Egress,
        environ: Mapping[str, str],
        secret: Callable[[SecretRef], str],
        threads: ThreadRegistry,
        clock: Clock,
        health: Callable[[ProviderProfile], KeyHealth] | None = None,
    ) -> None:
        self._config = config
        self._egress = egress
        self._environ = environ
        self._secret = secret
        self._threads = threads
        self._health = health
        self._clock = clock
        self._guard = threading.Lock()
        self._providers: dict[str, tuple[ProviderProfile, Provider]] = {}
        self._known: dict[str, _Listed] = {}

    def models(self, *, refresh: bool, timeout_s: float) -> Sequence[Mapping[str, object]]:
        """See control.ControlPlane.models."""
        config = self._config()
        deadline = Deadline(timeout_s)
        asked = {
            profile.id: self._task(profile, deadline)
            for profile in config.providers.values()
            if refresh or not self._is_fresh(profile)
        }
        found = gather(self._threads, "models", asked, deadline)
        late = set(asked) - set(found)
        rows: list[Mapping[str, object]] = []
        for profile in config.providers.values():
            with self._guard:
                listed = self._known.get(profile.id)
                kept = self._providers.get(profile.id)
            found_rows = _rows(profile, listed, is_late=profile.id in late)
            keys = None if kept is None else kept[1].health().get("keys")
            if isinstance(keys, list) and len(keys) > 1:
                found_rows[0] = {**found_rows[0], "keys": keys}
            rows += found_rows
        return rows

    def _is_fresh(self, profile: ProviderProfile) -> bool:
        with self._guard:
            listed = self._known.get(profile.id)
        if listed is None or listed.error:
            return False
        return self._clock.monotonic_s() - listed.at_s < profile.model_catalog_cache_ttl_ms / 1000

    def _task(self, profile: ProviderProfile, deadline: Deadline) -> Callable[[], None]:
        def ask() -> None:
            try:
                names = tuple(dict.fromkeys(self._provider(profile).models(deadline=deadline)))
                listed = _Listed(self._clock.monotonic_s(), names[:MOST_MODELS])
            except ProviderFault as fault:
                listed = _Listed(self._clock.monotonic_s(), kind=fault.kind, error=str(fault))
            with self._guard:
                before = self._known.get(profile.id)
                # What was known outlives a fault that says nothing about the key: a list, and that the key was refused.
                if listed.error and before is not None and listed.kind not in _REFUSED:
                    if before.names:
                        listed = _Listed(0.0, before.names)
                    elif before.kind in _REFUSED:
                        listed = before
                self._known[profile.id] = listed

        return ask

    def _provider(self, profile: ProviderProfile) -> Provider:
        with self._guard:
            kept = self._providers.get(profile.id)
        if kept is not None and kept[0] == profile:
            return kept[1]
        made = build_provider(
            profile,
            egress=self._egress,
            environ=self._environ,
            resolve_secret=self._secret,
            health=None if self._health is None else self._health(profile),
        )
        with self._guard:
            self._providers[profile.id] = (profile, made)
        return made


_REFUSED = ("auth_rejected", "secret_missing")


def _rows(profile: ProviderProfile, listed: _Listed | None, *, is_late: bool) -> list[Mapping[str, object]]:
    """The rows of one profile: its own model first, whatever its list says."""
    names = () if listed is None else listed.names
    own = profile.model.strip()
    error = "" if listed is None else listed.error
    kind = "" if listed is None else listed.kind
    if is_late and not names:
        error, kind = error or "the provider did not answer in time", kind or "timed_out"
    row: dict[str, object] = {"profile": profile.id, "kind": profile.kind, "available": not error}
    if error:
        row.update(error=error, error_code=kind)
    return [{"id": name, **row} for name in dict.fromkeys((own or AUTO, *names))]
