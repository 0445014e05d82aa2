"""Where platforms call us: paths and addresses that can be had, each by one account only. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from loong_channels import catalog
from loong_channels.settings import host_and_port
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig
from loong_gateway.config.tables import Table
from loong_gateway.config.toml_lines import KeyPath

__all__ = ["bind_problem", "check_webhooks", "is_reserved", "path_problem"]

# First segments of the paths that the gateway keeps for itself on its port; "" is the page at the root.
_RESERVED = frozenset(
    {
        "",
        "api",
        "health",
        "healthz",
        "hooks",
        "metrics",
        "ready",
        "readyz",
        "startup",
        "startupz",
        "tools",
        "v1",
    }
)
_PATH = re.compile(r"/[A-Za-z0-9\-._~/]{0,200}")


def is_reserved(path: str) -> bool:
    """Whether a path of the port is, or may become, one of the gateway's own."""
    return path.split("/")[1] in _RESERVED


def path_problem(path: str) -> str:
    """Why requests of a platform cannot be taken at this path; "" if they can."""
    if not _PATH.fullmatch(path):
        return "expected a path of letters, digits and -._~/"
    return "is a path of the gateway itself" if is_reserved(path) else ""


def bind_problem(bind: str) -> str:
    """Why nothing can listen at this address; "" if it has the right form."""
    try:
        host_and_port(bind)
    except ValueError as error:
        return str(error)
    return ""


def check_webhooks(root: Table, channels: Mapping[str, ChannelConfig]) -> None:
    """Note every path and address of an enabled account that cannot be used, or is another one's already."""
    owners: dict[tuple[str, object], str] = {}
    for channel, account in _called(channels):
        spec = catalog.spec(channel.name)
        path, bind = spec.webhook_path(account.settings) or "", account.settings.get("webhook_bind")
        _check(root, channel, account, "webhook_path", path, path_problem(path), owners)
        if isinstance(bind, str):
            problem = bind_problem(bind)
            _check(
                root,
                channel,
                account,
                "webhook_bind",
                bind if problem else host_and_port(bind),
                problem,
                owners,
            )


def _called(channels: Mapping[str, ChannelConfig]) -> Iterator[tuple[ChannelConfig, AccountConfig]]:
    for channel in channels.values():
        for account in channel.accounts.values():
            if account.enabled and catalog.spec(channel.name).webhook_path(account.settings) is not None:
                yield channel, account


def _check(
    root: Table,
    channel: ChannelConfig,
    account: AccountConfig,
    name: str,
    value: object,
    problem: str,
    owners: dict[tuple[str, object], str],
) -> None:
    block: KeyPath = (catalog.KNOWN[channel.name].config_key,)
    path = (*block, "accounts", account.label, name) if channel.explicit_accounts else (*block, name)
    findings = root.reading.findings
    if problem:
        fix = (
            "write, for example: /feishu/events"
            if name == "webhook_path"
            else "write, for example: 127.0.0.1:8080"
        )
        findings.add(
            "config.value.invalid", path, {"detail": problem, "suggestion": "", "fix": fix}, at_value=True
        )
        return
    # Port 0 is another one each time.
    here = f"{account.channel}/{account.id}"
    first = here if isinstance(value, tuple) and value[1] == 0 else owners.setdefault((name, value), here)
    if first != here:
        findings.add(
            "config.webhook.taken", path, {"name": name, "first": first, "second": here}, at_value=True
        )
