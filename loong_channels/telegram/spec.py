"""What the gateway knows of Telegram without importing its transport."""

from __future__ import annotations

from loong_channels.contract import ChannelSpec
from loong_channels.settings import Setting

__all__ = ["SPEC"]

SPEC = ChannelSpec(
    name="telegram",
    label="Telegram",
    transport="long polling",
    settings=(
        Setting("bot_token", "secret", env="TELEGRAM_BOT_TOKEN", reload="channel", help="token of the bot"),
        Setting("base_url", "url", "https://api.telegram.org", reload="channel", help="root of the Bot API"),
        Setting(
            "polling_timeout_s",
            "int",
            15,
            minimum=1,
            maximum=50,
            clamp=True,
            reload="channel",
            help="how long one poll waits at the platform",
        ),
        Setting(
            "allowed_chat_ids", "int_ids", (), help="chats that may talk to the bot; empty serves nobody"
        ),
        Setting(
            "allowed_sender_ids",
            "int_ids",
            (),
            help="people who may talk to the bot; empty does not restrict",
        ),
        Setting("require_mention", "bool", False, help="in groups, answer only when addressed"),
        Setting(
            "streaming_mode",
            "choice",
            "off",
            choices=("off", "draft"),
            reload="channel",
            help="draft shows the answer as it grows",
        ),
        Setting(
            "ack_reactions", "bool", False, reload="channel", help="mark each taken message with a reaction"
        ),
        Setting("handle_edits", "bool", False, reload="channel", help="treat a changed message as a new one"),
        Setting(
            "handle_channel_posts", "bool", False, reload="channel", help="answer posts of listed channels"
        ),
        Setting(
            "account_id",
            "text",
            None,
            reload="channel",
            help="runtime identity; default bot_<id of the token>",
        ),
    ),
    secrets=("bot_token",),
    conversation_setting="allowed_chat_ids",
    sender_setting="allowed_sender_ids",
    text_limit=4000,
    limit_unit="utf16",
    reconnect_s=1.0,
    threads=True,
    file_kinds=("image", "file", "audio", "video"),
    # https://core.telegram.org/bots/api#sending-files
    file_limits=(("image", 10 << 20), ("file", 50 << 20), ("audio", 50 << 20), ("video", 50 << 20)),
    conversation_word="chat id",
)
