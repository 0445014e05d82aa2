"""From configuration to what a channel needs to run: resolved accounts and the way out of this host."""

from __future__ import annotations

from collections.abc import Mapping

from loong_channels.contract import Account, ChannelSpec
from loong_channels.egress import Egress
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import AccountConfig, NetworkSettings, SecretRef

__all__ = ["egress_of", "resolve_account"]


def egress_of(network: NetworkSettings, environ: Mapping[str, str]) -> Egress:
    """The proxy, trust and client certificate that every outbound connection uses."""
    return Egress(
        proxy=network.proxy,
        no_proxy=network.no_proxy,
        ca_bundle=network.ca_bundle,
        client_cert=network.client_cert,
        client_key=network.client_key,
        environ=environ,
    )


def resolve_account(
    spec: ChannelSpec, account: AccountConfig, environ: Mapping[str, str], *, receiving: bool = True
) -> Account:
    """The account with its secrets as plain text, to receive and send or only to send. May read files, run commands.

    Raises SecretUnavailable for the first secret that cannot be had. A secret that nobody wrote down and that the
    channel can do without is None, and so is one that means nothing under these settings.
    """
    needed = spec.secrets_needed(account.settings, receiving=receiving)
    unused = spec.secrets_unused(account.settings, receiving=receiving)
    settings: dict[str, object] = {}
    for name, value in account.settings.items():
        settings[name] = None if name in unused else value
        if isinstance(value, SecretRef) and name not in unused:
            try:
                settings[name] = resolve(value, environ)
            except SecretUnavailable:
                if value.form != "absent" or name in needed:
                    raise
                settings[name] = None
    return Account(channel=account.channel, id=account.id, label=account.label, settings=settings)
