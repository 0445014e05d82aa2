"""The token of the hooks: fetched at the start, and never the one that opens the port."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from loong_gateway.api.auth import Auth
from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import new_secret
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import HookSettings
from loong_gateway.daemon.port_secret import PortSecret
from loong_gateway.logs.redaction import Redactor

__all__ = ["guard_hooks", "hook_token"]

logger = logging.getLogger("loong.port")


def hook_token(
    settings: HookSettings, environ: Mapping[str, str], redactor: Redactor, port: PortSecret
) -> str | None:
    """The token, None where hooks are off. Blocks for a file or a program.

    Raises CommandError `run.secret_missing`, or `run.hook_token_reused`: whoever calls a hook could do everything.
    """
    if not settings.enabled:
        return None
    try:
        token = resolve(settings.token, environ)
    except SecretUnavailable as error:
        raise CommandError(
            "run.secret_missing", detail=error.message, where=error.where, fix=error.fix
        ) from error
    redactor.register(token)
    if token == port.value:
        raise CommandError("run.hook_token_reused")
    return token


def guard_hooks(hooks: Auth, token: str, port_secret: str) -> None:
    """Take hooks no more once the port has got their token as its secret; the next start is refused then."""
    if port_secret == token:
        hooks.replace_secret(new_secret())
        logger.error("the secret of the port is the token of the hooks now: hooks are refused")
