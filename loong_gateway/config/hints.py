"""What helps a person whose config is valid and will not do, or is not even TOML."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from loong_channels import catalog
from loong_gateway.config.provider_settings import ACTIVE_PROVIDER, FALLBACK_PROVIDERS
from loong_gateway.config.secrets import is_configured
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig, GatewaySettings
from loong_gateway.config.tables import Table
from loong_gateway.config.toml_lines import KeyPath

__all__ = ["WILL_NOT_WORK", "syntax_hint", "warn_what_will_not_work"]

# What a start says in its own lines, or is refused for.
WILL_NOT_WORK = (
    "config.allow_list.empty",
    "config.provider.missing",
    "config.gateway.no_auth",
    "config.secret.unavailable",
)
_NETWORK_MODES = ("lan", "tailnet")
# Words of the parser, and what to write; the first that fits counts.
_SYNTAX = (
    ("after a key in a key/value pair", "write: name = value"),
    ("unclosed array", "close the list with ]"),
    ("unclosed inline table", "close the table with }"),
    ("table declaration", "close the header: [name]"),
    ("unescaped", "write the backslash twice, or put the text in single quotes"),
    ("unterminated string", "end the text with the quote that begins it"),
    ("illegal character", "end the text with the quote that begins it, on the same line"),
    ("expected '\"'", "end the text with the quote that begins it"),
    ('expected "\'"', "end the text with the quote that begins it"),
    ("invalid value", "put text in quotes; only true, false, numbers and dates stand without"),
    ("after a statement", "write one setting per line, and text in quotes"),
    ("overwrite", "keep only one of the two"),
    ("twice", "keep only one of the two"),
    ("duplicate", "keep only one of the two"),
    ("mutate", "write the table in one place"),
)
_ANY_SYNTAX = "write a setting as: name = value, a table as: [name]"


def syntax_hint(detail: str) -> str:
    """What to write instead of what the parser of TOML refused, by its words."""
    said = detail.lower()
    return next((hint for words, hint in _SYNTAX if words in said), _ANY_SYNTAX)


def warn_what_will_not_work(
    root: Table, channels: Mapping[str, ChannelConfig], gateway: GatewaySettings, *, answers: bool
) -> None:
    """Note accounts that serve nobody, a provider that is needed or named and not there, a port open to the network.

    `answers` says that there is a provider.
    """
    needed = any(setting.name in root for setting in (ACTIVE_PROVIDER, FALLBACK_PROVIDERS))
    for channel in channels.values():
        for account in channel.accounts.values():
            if channel.enabled and account.enabled and catalog.spec(channel.name).serves:
                needed = True
                _warn_empty_list(root, channel, account)
    if needed and not answers:
        root.reading.findings.add("config.provider.missing", ("providers",), {})
    if _is_open(gateway) and not _has_secret(root, gateway):
        path = (*root.child("gateway").path, "bind")
        root.reading.findings.add("config.gateway.no_auth", path, {"bind": gateway.bind}, at_value=True)


def _warn_empty_list(root: Table, channel: ChannelConfig, account: AccountConfig) -> None:
    spec = catalog.spec(channel.name)
    name = spec.conversation_setting
    block: KeyPath = (catalog.KNOWN[channel.name].config_key,)
    path = (*block, "accounts", account.label) if channel.explicit_accounts else block
    findings = root.reading.findings
    if account.settings.get(name) or findings.about((*path, name)) or findings.about((*block, name)):
        # A list that cannot be read has been found to be wrong already.
        return
    kinds = {setting.name: setting.kind for setting in spec.settings}
    words = {
        "channel": channel.name,
        "account": account.id,
        "example": f"{name} = [123456789]" if kinds.get(name) == "int_ids" else f'{name} = ["ID"]',
    }
    findings.add("config.allow_list.empty", (*path, name), words)


def _is_open(gateway: GatewaySettings) -> bool:
    bind = gateway.custom_bind_host or "" if gateway.bind == "custom" else gateway.bind
    try:
        return not ipaddress.ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        return bind in _NETWORK_MODES


def _has_secret(root: Table, gateway: GatewaySettings) -> bool:
    refs = (gateway.token, gateway.password)
    environ = root.reading.environ
    return any(is_configured(ref, environ) for ref in refs)
