"""What the gateway knows of WeCom without importing its transport."""

from __future__ import annotations

from loong_channels.contract import ChannelSpec
from loong_channels.settings import Setting

__all__ = ["DEFAULT_URL", "SPEC", "TEXT_LIMIT"]

DEFAULT_URL = "wss://openws.work.weixin.qq.com"
# The platform takes 20480 bytes; what is left is for fences that are closed and opened again at a cut.
TEXT_LIMIT = 19000

SPEC = ChannelSpec(
    name="wecom",
    label="WeCom",
    transport="long connection",
    settings=(
        Setting("bot_id", "secret", env="WECOM_BOT_ID", reload="channel", help="id of the robot"),
        Setting("secret", "secret", env="WECOM_SECRET", reload="channel", help="secret of the robot"),
        Setting(
            "websocket_url", "ws_url", DEFAULT_URL, reload="channel", help="address of the long connection"
        ),
        Setting(
            "ping_interval_s",
            "int",
            30,
            minimum=1,
            maximum=300,
            clamp=True,
            reload="channel",
            help="how often the connection is tested",
        ),
        Setting(
            "reconnect_interval_s",
            "int",
            5,
            minimum=1,
            maximum=300,
            clamp=True,
            reload="channel",
            help="longest wait before the first try to connect again",
        ),
        Setting(
            "allowed_conversation_ids",
            "ids",
            (),
            help="people (userid) and groups (chatid) that may talk to the robot; empty serves nobody",
        ),
        Setting(
            "allowed_sender_ids", "ids", (), help="people who may talk to the robot; empty does not restrict"
        ),
        Setting(
            "streaming_mode",
            "choice",
            "off",
            choices=("off", "stream"),
            reload="channel",
            help="stream shows the answer as it grows",
        ),
        Setting(
            "welcome_text",
            "text",
            None,
            reload="channel",
            help="said to a listed person who opens the chat, at most once a day",
        ),
        Setting(
            "reclaim",
            "bool",
            True,
            reload="channel",
            help="take the robot back, slowly, after another process has taken it",
        ),
        Setting(
            "quota_per_min",
            "int",
            30,
            minimum=0,
            maximum=1_000_000,
            reload="channel",
            help="messages to one conversation per minute; 0 does not count",
        ),
        Setting(
            "quota_per_hour",
            "int",
            1000,
            minimum=0,
            maximum=1_000_000,
            reload="channel",
            help="messages to one conversation per hour; 0 does not count",
        ),
        Setting(
            "account_id",
            "text",
            None,
            reload="channel",
            help="runtime identity; default wecom_<bot_id>",
        ),
    ),
    secrets=("bot_id", "secret"),
    conversation_setting="allowed_conversation_ids",
    sender_setting="allowed_sender_ids",
    text_limit=TEXT_LIMIT,
    limit_unit="utf8",
    reconnect_s=5.0,
    probe_takes_over=True,
    redelivers=False,
    file_kinds=("image", "file", "audio", "video"),
    file_limits=(("image", 10 << 20), ("file", 20 << 20), ("audio", 20 << 20), ("video", 10 << 20)),
    conversation_word="conversation id",
)
