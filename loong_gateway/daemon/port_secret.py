"""The configured token or password of the port: fetched at the start, and again whenever secrets are read anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from loong_gateway.base.faults import CommandError
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import GatewaySettings, SecretRef
from loong_gateway.control import SecretsOutcome
from loong_gateway.logs.redaction import Redactor

__all__ = ["PortSecret"]

logger = logging.getLogger("loong.port")

# How it is named among the accounts.
CHANNEL, ACCOUNT = "gateway", "auth"


class PortSecret:
    """Thread-safe; `_guard` protects value and watchers. `value` is None while only the control token opens the port.

    Raises CommandError `run.secret_missing` when what is configured leads to no secret.
    """

    def __init__(self, settings: GatewaySettings, environ: Mapping[str, str], redactor: Redactor) -> None:
        self._ref = settings.password if settings.auth_mode == "password" else settings.token
        self._environ = environ
        self._redactor = redactor
        self._guard = threading.Lock()
        self._watchers: list[Callable[[str], None]] = []
        self._is_configured = _is_configured(self._ref, environ)
        try:
            self.value = self._fetch() if self._is_configured else None
        except SecretUnavailable as error:
            raise CommandError(
                "run.secret_missing", detail=error.message, where=error.where, fix=error.fix
            ) from error

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
            logger.warning("the secret of the port could not be read again: %s", error)
            return SecretsOutcome(CHANNEL, ACCOUNT, "unavailable", str(error))
        with self._guard:
            if value == self.value:
                return SecretsOutcome(CHANNEL, ACCOUNT, "unchanged")
            self.value = value
            watchers = tuple(self._watchers)
        for watcher in watchers:
            # Not `value`: another reload may have read a newer one in the meantime.
            watcher(self.value)
        logger.info("the secret of the port was replaced")
        return SecretsOutcome(CHANNEL, ACCOUNT, "replaced", "it changed")

    def _fetch(self) -> str:
        value = resolve(self._ref, self._environ)
        self._redactor.register(value)
        return value


def _is_configured(ref: SecretRef, environ: Mapping[str, str]) -> bool:
    return ref.form != "absent" or any(environ.get(name) for name in ref.fallback_env)
