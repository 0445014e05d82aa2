"""A secret of the gateway itself: fetched at the start, and again whenever secrets are read anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from loong_gateway.api.auth import Auth
from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import new_secret
from loong_gateway.config.secrets import SecretUnavailable, is_configured, resolve
from loong_gateway.config.snapshot import GatewaySettings, SecretRef
from loong_gateway.control import SecretsOutcome
from loong_gateway.logs.redaction import Redactor

__all__ = ["HeldSecret", "keep_apart"]

logger = logging.getLogger("loong.port")


class HeldSecret:
    """Thread-safe; `_guard` protects value and watchers. `value` is None where none is configured.

    `name` is how it is listed among the accounts: (channel, account).
    Raises CommandError `run.secret_missing` when what is configured leads to no secret.
    """

    def __init__(
        self, ref: SecretRef, name: tuple[str, str], environ: Mapping[str, str], redactor: Redactor
    ) -> None:
        self._ref = ref
        self._name = name
        self._environ = environ
        self._redactor = redactor
        self._guard = threading.Lock()
        self._watchers: list[Callable[[str], None]] = []
        self._is_configured = is_configured(self._ref, environ)
        try:
            self.value = self._fetch() if self._is_configured else None
        except SecretUnavailable as error:
            raise CommandError(
                "run.secret_missing", detail=error.message, where=error.where, fix=error.fix
            ) from error

    @classmethod
    def of_port(cls, settings: GatewaySettings, environ: Mapping[str, str], redactor: Redactor) -> HeldSecret:
        """The configured token or password of the port; without one only the control token opens it."""
        return cls(settings.secret, ("gateway", "auth"), environ, redactor)

    def on_change(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with every new value, in the thread that has read it; in the order of these calls."""
        with self._guard:
            self._watchers.append(watcher)

    def reload(self) -> SecretsOutcome | None:
        """Read it again: "replaced", "unchanged", or "unavailable" and the old one holds. None when none is configured.

        Blocks for a file or a program, and for the watchers.
        """
        if not self._is_configured:
            return None
        try:
            value = self._fetch()
        except SecretUnavailable as error:
            logger.warning("the secret of %s could not be read again: %s", "=".join(self._name), error)
            return SecretsOutcome(*self._name, "unavailable", str(error))
        with self._guard:
            if value == self.value:
                return SecretsOutcome(*self._name, "unchanged")
            self.value = value
            watchers = tuple(self._watchers)
        for watcher in watchers:
            # Not `value`: another reload may have read a newer one in the meantime.
            watcher(self.value)
        logger.info("the secret of %s was replaced", "=".join(self._name))
        return SecretsOutcome(*self._name, "replaced", "it changed")

    def _fetch(self) -> str:
        value = resolve(self._ref, self._environ)
        self._redactor.register(value)
        return value


def keep_apart(hooks: Auth, hook: HeldSecret, port: HeldSecret) -> None:
    """Let `hooks` know every new token, but none that is the secret of the port: it would open all of it."""

    def follow(_value: str) -> None:
        shared = hook.value == port.value
        hooks.replace_secret(new_secret() if shared else str(hook.value))
        if shared:
            logger.error("the token of the hooks is the secret of the port now: no hook is taken")

    hook.on_change(follow)
    port.on_change(follow)
