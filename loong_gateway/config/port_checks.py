"""What the settings of the port do not mean, or what a start would refuse: said while the config is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loong_gateway.base.wording import nearest, one_line
from loong_gateway.config.secrets import SecretUnavailable, is_configured, peek, resolve
from loong_gateway.config.settings import MODEL_TOOLS
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.config.tables import Table

__all__ = ["check_auth", "check_hook_token", "check_origins", "check_tools"]

SHORTEST_SECRET = 16


def check_auth(table: Table, auth: dict[str, Any], mode: str) -> None:
    """Look at the secret that `mode` chooses. May read a file, runs no program."""
    environ = table.reading.environ
    if auth["mode"] is None and all(is_configured(auth[name], environ) for name in ("token", "password")):
        table.add("config.gateway.two_secrets", used=mode)
    ref: SecretRef = auth[mode] if mode in ("token", "password") else auth["token"]
    _warn_unavailable(table, mode, ref)
    value = peek(ref, environ) if ref.form != "absent" else None
    if value is not None and len(value) < SHORTEST_SECRET:
        table.add("config.gateway.short_secret", mode, at_value=True, least=SHORTEST_SECRET)


def check_hook_token(table: Table, token: SecretRef, port: SecretRef) -> None:
    """Look at the token of hooks that are taken. Two references may lead to one secret: only a start knows."""
    _warn_unavailable(table, "token", token)
    if token.form == port.form == "inline" and token.value == port.value:
        table.add("config.hooks.token_of_port", "token", at_value=True, other=port.setting)


def check_origins(table: Table, origins: Iterable[str]) -> None:
    """Note a pattern where only whole origins are compared."""
    for origin in origins:
        if "*" in origin:
            table.add(
                "config.gateway.origin_pattern", "allowedOrigins", at_value=True, given=one_line(origin, 60)
            )


def check_tools(table: Table, allowed: Iterable[str], servers: Iterable[str]) -> None:
    """Note what is allowed and is no tool. Which tools a server of MCP has is not known before it runs."""
    prefixes = tuple(f"mcp.{server}." for server in servers)
    known = [*MODEL_TOOLS, *(f"{prefix}*" for prefix in prefixes)]
    for name in allowed:
        if name not in known and not name.startswith(prefixes):
            near = nearest(name, known)
            # A pattern is written for the names that it would stand for.
            meant = [one for one in known if one.startswith(name.rstrip("*"))] or known
            table.add(
                "config.gateway.unknown_tool",
                "allow",
                at_value=True,
                given=one_line(name, 60),
                suggestion=f"; did you mean {near}?" if near else "",
                known=near or ", ".join(meant),
            )


def _warn_unavailable(table: Table, name: str, ref: SecretRef) -> None:
    if ref.form not in ("env", "file"):
        return
    try:
        resolve(ref, table.reading.environ)
    except SecretUnavailable as error:
        table.add("config.secret.unavailable", name, at_value=True, detail=error.message)
