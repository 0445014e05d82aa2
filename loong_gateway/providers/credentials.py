"""The keys of a provider: fetched when first needed, looked at again now and then, and after a refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Callable

from loong_gateway.config.secrets import SecretUnavailable, parts_of
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.errors import Failure
from loong_gateway.providers.key_health import HealthRules, KeyHealth

__all__ = ["KeyRing"]

LOOK_AGAIN_S = 30.0
# What every key would meet at this address.
_NOT_THE_KEYS = ("provider.wrong_address", "provider.redirected", "provider.certificate")


class KeyRing:
    """All keys of a profile: a token first, where there is one. Thread-safe.

    `_guard` protects what is known, and is held while secrets are fetched. `token` and `keys` say where they
    come from; both may be absent only where none is `required`.
    """

    def __init__(
        self,
        keys: SecretRef,
        resolve: Callable[[SecretRef], str],
        *,
        required: bool,
        token: SecretRef | None = None,
        health: KeyHealth | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.health = health or KeyHealth(HealthRules())
        self._refs = [ref for ref in (token, keys) if ref is not None and _leads_somewhere(ref)] or [keys]
        self._resolve = resolve
        self._required = required
        self._clock = clock
        self._guard = threading.Lock()
        # One reference, replaced whole: the keys of each of `_refs`, None before they were first had.
        self._known: list[list[str] | None] = [None] * len(self._refs)
        self._fetched = False
        # Why the last fetch did not give all, and how many there were: who waited for one shares its outcome.
        self._missing: SecretUnavailable | None = None
        self._fetches = 0
        self._read_at = 0.0

    def ordered(self, *, optional: bool = False) -> list[str]:
        """The keys in the order to try them, at least one; [""] when none is configured and none is needed.

        `optional` says that this call works without. Raises ProviderFault of kind secret_missing.
        Blocks only for the first fetch; later ones are made by one caller while the others use what is known.
        """
        seen = self._fetches
        if self._is_due() and self._guard.acquire(blocking=not self._fetched):
            try:
                if self._is_due() and self._fetches == seen:
                    self._fetch()
            finally:
                self._guard.release()
        known, why = self._known, self._missing
        if why is not None and not any(known) and not optional:
            raise ProviderFault("secret_missing", why.message, where=why.where or "", fix=why.fix or "")
        keys = self.keys()
        return self.health.order(keys, _tokens(self._refs, known)) or [""]

    def keys(self) -> list[str]:
        """What is known, in the order of the config; empty without any."""
        return list(dict.fromkeys(key for part in self._known for key in part or ()))

    def refused(self, used: str) -> None:
        """The provider did not accept `used`: look again, unless somebody has, also while this waited. Blocks."""
        seen = self._fetches
        with self._guard:
            if self._fetches == seen and (not used or used in self.keys()):
                self._fetch()

    def judged(self, key: str, failure: Failure | None) -> None:
        """What became of a call with this key: None for an answer."""
        if not key:
            return
        if failure is None:
            self.health.worked(key)
        elif failure.text not in _NOT_THE_KEYS:
            self.health.failed(key, failure.kind, failure.retry_after_s or 0.0)

    def source(self) -> str:
        """Where the keys come from and whether there are any, for error texts."""
        parts = []
        for ref, known in zip(self._refs, self._known):
            count = f"{len(known)} keys set" if known and len(known) > 1 else "set" if known else "not set"
            parts.append(f"{ref.display}, {count}")
        return "; ".join(parts)

    def _is_due(self) -> bool:
        return not self._fetched or self._clock() - self._read_at >= LOOK_AGAIN_S

    def _fetch(self) -> None:
        self._read_at = self._clock()
        known = list(self._known)
        missing: list[SecretUnavailable] = []
        for place, ref in enumerate(self._refs):
            try:
                known[place] = parts_of(self._resolve(ref), several=True)
            except SecretUnavailable as error:
                # The old value serves on: a file may be missing for a moment while it is being replaced.
                if ref.form != "absent" or self._required:
                    missing.append(error)
        self._known = known
        self._missing = missing[-1] if missing else None
        self._fetched = self._fetched or any(known) or not missing
        self._fetches += 1


def _leads_somewhere(ref: SecretRef) -> bool:
    return ref.form != "absent" or bool(ref.fallback_env)


def _tokens(refs: Sequence[SecretRef], known: Sequence[list[str] | None]) -> int:
    """How many of the keys go before the others."""
    return len(known[0] or ()) if len(refs) > 1 else 0
