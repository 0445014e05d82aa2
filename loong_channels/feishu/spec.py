"""What the gateway knows of Feishu and Lark without importing their transport."""

from __future__ import annotations

from loong_channels.contract import ChannelSpec, SendOption
from loong_channels.settings import Setting

__all__ = ["SPEC"]

_IDENTITY = (
    Setting("app_id", "secret", env="FEISHU_APP_ID", reload="channel", help="id of the app"),
    Setting("app_secret", "secret", env="FEISHU_APP_SECRET", reload="channel", help="secret of the app"),
    Setting(
        "domain",
        "choice",
        "feishu",
        choices=("feishu", "lark"),
        reload="channel",
        help="which of the two platforms the app is registered with",
    ),
    Setting(
        "base_url", "url", None, reload="channel", help="another root of the open platform than the domain's"
    ),
    Setting(
        "account_id", "text", None, reload="channel", help="runtime identity; default DOMAIN_<id of the app>"
    ),
)
_RECEIVING = (
    Setting(
        "mode",
        "choice",
        "websocket",
        choices=("websocket", "webhook"),
        reload="channel",
        help="how messages come: over a connection that loong opens, or as requests of the platform",
    ),
    Setting(
        "verification_token",
        "secret",
        env="FEISHU_VERIFICATION_TOKEN",
        reload="channel",
        help="for webhook mode only: token of the event subscription",
    ),
    Setting(
        "encrypt_key",
        "secret",
        env="FEISHU_ENCRYPT_KEY",
        reload="channel",
        help="for webhook mode only: key of the event subscription",
    ),
    Setting(
        "webhook_bind",
        "text",
        None,
        reload="channel",
        help="host:port of a listener of its own for webhook mode, besides the port of the gateway",
    ),
    Setting(
        "webhook_path",
        "text",
        "/feishu/events",
        reload="channel",
        help="path at which the platform calls us in webhook mode",
    ),
    Setting(
        "webhook_max_skew_s",
        "int",
        300,
        minimum=1,
        maximum=3600,
        reload="channel",
        help="how far the time of a signed request may be from ours",
    ),
    Setting(
        "max_connection_age_s",
        "int",
        21600,
        minimum=0,
        maximum=7 * 24 * 3600,
        reload="channel",
        help="after how long a connection is replaced by a new one; 0 = never",
    ),
)
_TRUST = (
    Setting(
        "allowed_chat_ids", "ids", (), help='chats that may talk to the bot; "*" is any, empty serves nobody'
    ),
    Setting(
        "allowed_sender_ids",
        "ids",
        (),
        help="open ids of people who may talk to the bot; empty does not restrict",
    ),
    Setting("require_mention", "bool", False, help="in groups, answer only when mentioned"),
    Setting("ignore_bot_messages", "bool", True, reload="channel", help="drop what other bots write"),
)
_RECEIVE_ID_TYPES = ("chat_id", "open_id", "union_id", "user_id", "email")
_SENDING = (
    Setting(
        "receive_id_type",
        "choice",
        "chat_id",
        choices=_RECEIVE_ID_TYPES,
        reload="channel",
        help="what a target is whose form does not tell",
    ),
    Setting(
        "reply_format",
        "choice",
        "card",
        choices=("card", "post", "text"),
        reload="channel",
        help="how an answer with Markdown is shown; text leaves the Markdown as it is",
    ),
    Setting(
        "streaming_mode",
        "choice",
        "off",
        choices=("off", "card"),
        reload="channel",
        help="card shows the answer as it grows; each step counts against the app's monthly quota",
    ),
    Setting(
        "ack_reactions", "bool", False, reload="channel", help="mark each taken message until it is answered"
    ),
)
# https://open.feishu.cn/document/server-docs/im-v1/message-content-description/create_json
_SEND_OPTIONS = (
    SendOption("card", "flag", "send the text as Markdown in a card", "text", markdown=True),
    SendOption("post_json", "json", "a post, as the platform defines its content", "alone", longest=30_000),
    SendOption("image_key", "text", "an image that was uploaded before", "alone"),
    SendOption("file_key", "text", "a file that was uploaded before", "alone"),
    SendOption(
        "file_type",
        "choice",
        "what the file is: opus is sent as a voice message, mp4 as a film",
        "file",
        choices=("opus", "mp4", "pdf", "doc", "xls", "ppt", "stream"),
    ),
    SendOption("receive_id_type", "choice", "what the target is", choices=_RECEIVE_ID_TYPES),
    SendOption("uuid", "key", "sent twice within an hour it appears once", longest=50),
)

SPEC = ChannelSpec(
    name="feishu",
    label="Feishu/Lark",
    transport="long connection or webhook",
    settings=(*_IDENTITY, *_RECEIVING, *_TRUST, *_SENDING),
    secrets=("app_id", "app_secret"),
    secrets_when=(("mode", "webhook", ("verification_token", "encrypt_key")),),
    conversation_setting="allowed_chat_ids",
    sender_setting="allowed_sender_ids",
    # The platform counts bytes of JSON, 150 KB for a text and 30 KB for a card. Even if every character takes
    # four bytes or has to be escaped, this many stay below both.
    text_limit=4000,
    limit_unit="codepoint",
    aliases=("lark",),
    wildcard=True,
    # By `uuid`: https://open.feishu.cn/document/server-docs/im-v1/message/create - it holds for one hour.
    idempotent_s=3600.0,
    reconnect_s=5.0,
    target_kinds=("receive_id", "message_reply"),
    send_options=_SEND_OPTIONS,
    file_kinds=("image", "file", "audio", "video"),
    # https://open.feishu.cn/document/server-docs/im-v1/image/create and .../im-v1/file/create
    file_limits=(("image", 10 << 20), ("file", 30 << 20), ("audio", 30 << 20), ("video", 30 << 20)),
    conversation_word="chat id",
    webhook_when=("mode", "webhook"),
    webhook_default_bind="127.0.0.1:8080",
    webhook_encrypts=True,
)
