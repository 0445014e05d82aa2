"""Checks of what a channel needs besides its credentials: packages here, and what to set at the platform."""

from __future__ import annotations

from loong_channels.aes import CRYPTO_FIX, can_decrypt
from loong_channels.contract import ChannelSpec
from loong_gateway.config.snapshot import AccountConfig
from loong_gateway.doctor.configuration import account_name, served_accounts
from loong_gateway.doctor.contract import Check, Inspection, passed, warned

__all__ = ["check_channel_setup"]


def check_channel_setup(inspection: Inspection) -> list[Check]:
    """All checks of this file. Looks for a Python package; asks nobody."""
    config = inspection.config
    if config is None:
        return []
    checks = []
    for spec, account in served_accounts(config):
        name = account_name("setup", config, account)
        checks += [*_crypto(name, spec, account), *_platform(name, account)]
    return checks


def _crypto(name: str, spec: ChannelSpec, account: AccountConfig) -> list[Check]:
    if account.channel != "wecom" or can_decrypt():
        return []
    text = f"the Python package cryptography is missing; pictures and files of {spec.label} cannot be opened."
    return [warned(name, text, f"{CRYPTO_FIX}, then: loong doctor")]


def _platform(name: str, account: AccountConfig) -> list[Check]:
    """What only the console of the platform shows, for whoever wonders why nothing comes. https://open.feishu.cn/app"""
    if account.channel != "feishu":
        return []
    settings = account.settings
    scopes = [
        "im:message (or im:message:send_as_bot, im:message.p2p_msg:readonly, im:message.group_at_msg:readonly)"
    ]
    scopes += ["im:resource for files"]
    scopes += ["im:message.reactions:write_only for ack_reactions"] if settings.get("ack_reactions") else []
    if settings.get("mode") == "webhook":
        mode = f"requests to the public address of {settings.get('webhook_path')}"
    else:
        mode = "long connection, which the console saves only while loong is connected"
    return [
        passed(
            name,
            f"the app needs at its console: the bot ability; permissions {', '.join(scopes)}; the event "
            f"im.message.receive_v1, subscribed by {mode}; a published version",
        )
    ]
