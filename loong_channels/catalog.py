"""Every chat channel by name: what it is called, what it needs, and which module serves it in this build.

Importing this module imports no channel. The transports and names are those of the operator contract, so that scripts
written for it find what they know.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Callable

from loong_channels.contract import Channel, ChannelSpec

__all__ = [
    "GATEWAY_FAMILIES",
    "KNOWN",
    "KnownChannel",
    "NotInThisBuild",
    "by_config_key",
    "canonical",
    "channel_class",
    "gateway_channels",
    "known",
    "spec",
]

# The families that may join `gateway run`, whether this build serves them or not.
GATEWAY_FAMILIES = ("feishu", "telegram", "wecom")


class NotInThisBuild(LookupError):
    """Raised when a channel is known by name but no module of this build serves it."""


@dataclass(frozen=True)
class KnownChannel:
    """One row of the catalog.

    `kind`: "runtime" (a long-lived receiver), "standalone" (own receiver beside the gateway), "outbound" (sends only),
    "bridge" (needs a foreign process) or "planned". The first of `target_kinds` is the default. `send_needs` are the
    settings without which it cannot send, `serve_needs` those it needs besides to receive; `env` maps a setting to the
    variable tried when the config says nothing. `package` is None where this build has no code for it.
    """

    id: str
    order: int
    label: str
    kind: str
    transport: str
    target_kinds: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    send_needs: tuple[str, ...] = ()
    serve_needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    package: str | None = None

    @property
    def config_key(self) -> str:
        """The name of its table in the config."""
        return self.id.replace("-", "_")

    @property
    def receives(self) -> bool:
        """True where the platform delivers messages to us at all."""
        return self.kind in ("runtime", "standalone", "bridge")

    @property
    def status(self) -> str:
        """What this build makes of it: "runtime_backed", "config_backed" or "stub"."""
        if self.package is None:
            return "stub"
        return "runtime_backed" if self.kind == "runtime" else "config_backed"


def _row(
    order: int,
    name: str,
    label: str,
    kind: str,
    transport: str,
    targets: str,
    **rest: str,
) -> KnownChannel:
    env = dict(pair.split("=") for pair in rest.get("env", "").split())
    return KnownChannel(
        id=name,
        order=order,
        label=label,
        kind=kind,
        transport=transport,
        target_kinds=tuple(targets.split()),
        aliases=tuple(rest.get("aliases", "").split()),
        send_needs=tuple(rest.get("send", "").split()),
        serve_needs=tuple(rest.get("serve", "").split()),
        env=env,
        package=rest.get("package"),
    )


# fmt: off
_ROWS = (
    _row(10, "telegram", "Telegram", "runtime", "telegram_bot_api_polling", "conversation",
         send="bot_token", serve="allowed_chat_ids", env="bot_token=TELEGRAM_BOT_TOKEN",
         package="loong_channels.telegram"),
    _row(20, "feishu", "Feishu/Lark", "runtime", "feishu_openapi_webhook_or_websocket", "receive_id message_reply",
         aliases="lark", send="app_id app_secret", serve="allowed_chat_ids",
         env="app_id=FEISHU_APP_ID app_secret=FEISHU_APP_SECRET verification_token=FEISHU_VERIFICATION_TOKEN "
             "encrypt_key=FEISHU_ENCRYPT_KEY",
         package="loong_channels.feishu"),
    _row(30, "matrix", "Matrix", "runtime", "matrix_client_server_sync", "conversation",
         send="access_token base_url", serve="allowed_room_ids", env="access_token=MATRIX_ACCESS_TOKEN"),
    _row(35, "wecom", "WeCom", "runtime", "wecom_aibot_long_connection", "conversation",
         aliases="wechat-work qywx", send="bot_id secret", serve="allowed_conversation_ids",
         env="bot_id=WECOM_BOT_ID secret=WECOM_SECRET", package="loong_channels.wecom"),
    _row(36, "qqbot", "QQ Bot", "runtime", "qq_official_bot_gateway", "conversation",
         aliases="qq qq-bot tencent-qq", send="app_id client_secret", serve="allowed_peer_ids",
         env="app_id=QQBOT_APP_ID client_secret=QQBOT_CLIENT_SECRET"),
    _row(36, "weixin", "Weixin", "bridge", "wechat_clawbot_ilink_bridge", "conversation",
         aliases="wechat wx wechat-clawbot", send="bridge_url bridge_access_token", serve="allowed_contact_ids",
         env="bridge_url=WEIXIN_BRIDGE_URL bridge_access_token=WEIXIN_BRIDGE_ACCESS_TOKEN"),
    _row(38, "onebot", "OneBot", "bridge", "onebot_v11_bridge", "conversation",
         aliases="onebot-v11 napcat llonebot", send="websocket_url access_token", serve="allowed_group_ids",
         env="websocket_url=ONEBOT_WEBSOCKET_URL access_token=ONEBOT_ACCESS_TOKEN"),
    _row(39, "whatsapp-personal", "WhatsApp Personal", "bridge", "whatsapp_web_baileys_bridge", "conversation",
         aliases="whatsapp-web wa-personal whatsapp-personal-bridge", send="bridge_url",
         serve="auth_dir allowed_chat_ids",
         env="bridge_url=WHATSAPP_PERSONAL_BRIDGE_URL auth_dir=WHATSAPP_PERSONAL_AUTH_DIR"),
    _row(40, "discord", "Discord", "outbound", "discord_http_api", "conversation",
         aliases="discord-bot", send="bot_token", env="bot_token=DISCORD_BOT_TOKEN"),
    _row(50, "slack", "Slack", "outbound", "slack_web_api", "conversation",
         aliases="slack-bot", send="bot_token", env="bot_token=SLACK_BOT_TOKEN"),
    _row(60, "line", "LINE", "standalone", "line_messaging_api", "address",
         aliases="line-bot", send="channel_access_token", serve="channel_secret",
         env="channel_access_token=LINE_CHANNEL_ACCESS_TOKEN channel_secret=LINE_CHANNEL_SECRET"),
    _row(80, "dingtalk", "DingTalk", "outbound", "dingtalk_custom_robot_webhook", "endpoint",
         aliases="ding ding-bot", send="webhook_url",
         env="webhook_url=DINGTALK_WEBHOOK_URL secret=DINGTALK_SECRET"),
    _row(90, "whatsapp", "WhatsApp", "runtime", "whatsapp_cloud_api", "address",
         aliases="wa whatsapp-cloud", send="access_token phone_number_id", serve="verify_token app_secret",
         env="access_token=WHATSAPP_ACCESS_TOKEN phone_number_id=WHATSAPP_PHONE_NUMBER_ID "
             "verify_token=WHATSAPP_VERIFY_TOKEN app_secret=WHATSAPP_APP_SECRET"),
    _row(100, "email", "Email", "outbound", "smtp_imap", "address",
         aliases="smtp imap", send="smtp_host smtp_username smtp_password from_address",
         env="smtp_username=EMAIL_SMTP_USERNAME smtp_password=EMAIL_SMTP_PASSWORD "
             "imap_username=EMAIL_IMAP_USERNAME imap_password=EMAIL_IMAP_PASSWORD"),
    _row(110, "webhook", "Webhook", "standalone", "generic_webhook", "endpoint",
         aliases="http-webhook", send="endpoint_url", serve="signing_secret",
         env="endpoint_url=WEBHOOK_ENDPOINT_URL auth_token=WEBHOOK_AUTH_TOKEN "
             "signing_secret=WEBHOOK_SIGNING_SECRET"),
    _row(120, "google-chat", "Google Chat", "outbound", "google_chat_incoming_webhook", "endpoint",
         aliases="gchat googlechat", send="webhook_url", env="webhook_url=GOOGLE_CHAT_WEBHOOK_URL"),
    _row(130, "signal", "Signal", "outbound", "signal_cli_rest_api", "address",
         aliases="signal-cli", send="service_url account",
         env="account=SIGNAL_ACCOUNT service_url=SIGNAL_SERVICE_URL"),
    _row(135, "twitch", "Twitch", "outbound", "twitch_chat_api", "conversation",
         aliases="tmi", send="access_token", env="access_token=TWITCH_ACCESS_TOKEN"),
    _row(140, "teams", "Microsoft Teams", "outbound", "microsoft_teams_incoming_webhook", "endpoint",
         aliases="msteams ms-teams", send="webhook_url",
         env="webhook_url=TEAMS_WEBHOOK_URL app_id=TEAMS_APP_ID app_password=TEAMS_APP_PASSWORD "
             "tenant_id=TEAMS_TENANT_ID"),
    _row(150, "mattermost", "Mattermost", "outbound", "mattermost_rest_api", "conversation",
         aliases="mm", send="server_url bot_token",
         env="server_url=MATTERMOST_SERVER_URL bot_token=MATTERMOST_BOT_TOKEN"),
    _row(160, "nextcloud-talk", "Nextcloud Talk", "outbound", "nextcloud_talk_bot_api", "conversation",
         aliases="nextcloud nextcloudtalk", send="server_url shared_secret",
         env="server_url=NEXTCLOUD_TALK_SERVER_URL shared_secret=NEXTCLOUD_TALK_SHARED_SECRET"),
    _row(165, "synology-chat", "Synology Chat", "outbound", "synology_chat_outgoing_incoming_webhooks", "address",
         aliases="synologychat synochat", send="incoming_url",
         env="token=SYNOLOGY_CHAT_TOKEN incoming_url=SYNOLOGY_CHAT_INCOMING_URL"),
    _row(170, "irc", "IRC", "outbound", "irc_socket", "conversation", send="server nickname",
         env="server=IRC_SERVER nickname=IRC_NICKNAME password=IRC_PASSWORD"),
    _row(180, "imessage", "iMessage", "outbound", "imessage_bridge_api", "conversation",
         aliases="bluebubbles blue-bubbles", send="bridge_url bridge_token",
         env="bridge_url=IMESSAGE_BRIDGE_URL bridge_token=IMESSAGE_BRIDGE_TOKEN"),
    _row(190, "nostr", "Nostr", "outbound", "nostr_relays", "address", send="relay_urls private_key",
         env="relay_urls=NOSTR_RELAY_URLS private_key=NOSTR_PRIVATE_KEY"),
    _row(205, "tlon", "Tlon", "outbound", "tlon_urbit_ship_api", "conversation",
         aliases="urbit", send="ship url code", env="ship=TLON_SHIP url=TLON_URL code=TLON_CODE"),
    _row(210, "zalo", "Zalo", "planned", "zalo_official_account_api", "address", aliases="zalo-oa"),
    _row(220, "zalo-personal", "Zalo Personal", "planned", "zalo_personal_bridge", "address", aliases="zalo-pm"),
    _row(230, "webchat", "WebChat", "planned", "webchat_websocket", "conversation",
         aliases="browser-chat web-ui"),
)
# fmt: on

KNOWN: Mapping[str, KnownChannel] = {row.id: row for row in _ROWS}
_SPELLINGS = {spelling: row.id for row in _ROWS for spelling in (row.id, *row.aliases)}


def canonical(name: str) -> str | None:
    """The channel that a person means by `name`: case, underscores and aliases are folded. None if unknown."""
    return _SPELLINGS.get(name.strip().lower().replace("_", "-"))


def known(name: str) -> KnownChannel:
    """The row of a canonical name or alias. Raises LookupError for a name that is none."""
    channel = canonical(name)
    if channel is None:
        raise LookupError(f"unknown channel {name!r}")
    return KNOWN[channel]


def by_config_key() -> Mapping[str, KnownChannel]:
    """Every row by the name of its config table."""
    return {row.config_key: row for row in _ROWS}


def gateway_channels() -> tuple[str, ...]:
    """The families that `gateway run` can serve in this build, sorted."""
    return tuple(sorted(name for name in GATEWAY_FAMILIES if KNOWN[name].package is not None))


def spec(name: str) -> ChannelSpec:
    """The spec of a channel, imported on demand. Raises LookupError if unknown, NotInThisBuild without code for it."""
    value = _load(name, "spec").SPEC
    assert isinstance(value, ChannelSpec)
    return value


def channel_class(name: str) -> Callable[..., Channel]:
    """The class that runs a channel, called with (account, egress); imported on demand. Raises as `spec` does."""
    made: Callable[..., Channel] = _load(name, "channel").Channel
    return made


def _load(name: str, part: str) -> ModuleType:
    row = known(name)
    if row.package is None:
        raise NotInThisBuild(f"{row.id} is not supported in this build")
    return importlib.import_module(f"{row.package}.{part}")
