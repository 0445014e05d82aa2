"""The key of a provider: fetched when first needed, looked at again now and then, and after a refusal."""

from __future__ import annotations

import threading
import time
from typing import Callable

from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.providers.contract import ProviderFault

__all__ = ["Credential"]

LOOK_AGAIN_S = 30.0


class Credential:
    """One key. Thread-safe; `_guard` protects value and age, and is held while the secret is being fetched."""

    def __init__(
        self,
        ref: SecretRef,
        resolve: Callable[[SecretRef], str],
        *,
        required: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ref = ref
        self._resolve = resolve
        self._required = required
        self._clock = clock
        self._guard = threading.Lock()
        self._value: str | None = None
        self._read_at = 0.0

    def get(self) -> str:
        """The key, "" when none is configured and none is needed. Raises ProviderFault of kind secret_missing.

        Blocks only for the first fetch; later ones are made by one caller while the others use what is known.
        """
        value = self._value
        if value is not None and self._clock() - self._read_at < LOOK_AGAIN_S:
            return value
        if not self._guard.acquire(blocking=value is None):
            return value or ""
        try:
            if self._value is None or self._clock() - self._read_at >= LOOK_AGAIN_S:
                self._fetch()
            return self._value or ""
        finally:
            self._guard.release()

    def refused(self, used: str) -> bool:
        """The provider did not accept `used`: look again; True when there is another value to try. Blocks."""
        with self._guard:
            if self._value == used:
                self._fetch()
            return self._value not in (None, used)

    def known(self) -> bool:
        """True while there is a key."""
        return bool(self._value)

    def source(self) -> str:
        """Where the key comes from and whether there is one, for error texts."""
        state = "set" if self._value else "not set"
        return f"{self._ref.display}, {state}"

    def _fetch(self) -> None:
        self._read_at = self._clock()
        try:
            self._value = self._resolve(self._ref)
        except SecretUnavailable as error:
            if self._ref.form == "absent" and not self._required:
                self._value = ""
            elif self._value is None:
                raise ProviderFault(
                    "secret_missing", error.message, where=error.where or "", fix=error.fix or ""
                ) from error
            # Else the old value serves on: a file may be missing for a moment while it is being replaced.
