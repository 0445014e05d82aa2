"""From an event of the platform to a message, or to the reason why there is none. No input or output.

https://open.feishu.cn/document/server-docs/im-v1/message/events/receive - times are milliseconds in strings, and
`content` is JSON within JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from loong_channels.contract import Address, Inbound
from loong_channels.text import clean

from .contents import Content, read_content
from .identity import BotIdentity
from .mentions import Mentions

__all__ = ["EventReader", "Reading", "Recalled", "Skipped"]

MESSAGE_EVENT = "im.message.receive_v1"
RECALL_EVENT = "im.message.recalled_v1"
# Events that come with everyday use of the app and mean nothing to a gateway.
_EVERYDAY = frozenset(
    {
        "im.message.message_read_v1",
        "im.message.reaction.created_v1",
        "im.message.reaction.deleted_v1",
        "im.chat.access_event.bot_p2p_chat_entered_v1",
    }
)
_DIRECT = frozenset({"p2p", "private"})
_BOTS = frozenset({"app", "bot"})
_ID = re.compile(r"[!-~]{1,256}")
_WORD = re.compile(r"[\w.\-]{1,80}")
# The year 2242.
_END_OF_TIME_MS = 1 << 43
_MAX_DIGITS = 19

_Json = Mapping[str, Any]


@dataclass(frozen=True)
class Skipped:
    """An event that is no message for the bot. `reason` is a name for counting, `chat` the chat's id if known.

    `everyday` marks what comes all the time and need not be told.
    """

    reason: str
    chat: str = ""
    everyday: bool = False


@dataclass(frozen=True)
class Recalled:
    """A message was taken back by who wrote it, or by somebody who may.

    https://open.feishu.cn/document/server-docs/im-v1/message/events/recalled
    """

    chat: str
    message_id: str


Reading = Union[Inbound, Recalled, Skipped]


class EventReader:
    """Reads the events of one account. Immutable, so thread-safe.

    `ignore_bots` marks what other bots write, so that it is refused; without it they are answered like people, where
    they mention this one.
    """

    def __init__(self, account: str, app_id: str, bot: BotIdentity, *, ignore_bots: bool = True) -> None:
        self._account = account
        self._app_id = app_id
        self._bot = bot
        self._ignore_bots = ignore_bots

    def read(self, envelope: object, received_ms: int) -> Reading:
        """What a decoded event means. Never raises: what cannot be read is skipped as `unreadable:KeyError`, say.

        `envelope` is the object with `schema`, `header` and `event`; `received_ms` is milliseconds since the epoch.
        """
        try:
            return self._read(envelope, received_ms)
        except Exception as error:  # noqa: BLE001 - an event that cannot be read must not stop those behind it
            # The type tells a mistake of ours from a new shape of theirs; the text might quote a message.
            return Skipped(f"unreadable:{type(error).__name__}")

    def _read(self, envelope: object, received_ms: int) -> Reading:
        if not isinstance(envelope, Mapping):
            return Skipped("no_object")
        header = envelope.get("header")
        if envelope.get("schema") != "2.0" or not isinstance(header, Mapping):
            return Skipped("old_schema")
        if header.get("app_id") not in (None, "", self._app_id):
            return Skipped("foreign_app")
        kind = header.get("event_type")
        if not isinstance(kind, str) or not _WORD.fullmatch(kind):
            return Skipped("no_event_type")
        event = envelope.get("event")
        if kind == MESSAGE_EVENT and isinstance(event, Mapping):
            return self._message(header, event, received_ms)
        return _other(kind, event)

    def _message(self, header: _Json, event: _Json, received_ms: int) -> Reading:
        message, sender = event["message"], event.get("sender") or {}
        chat, message_id = _id(message["chat_id"]), _id(message["message_id"])
        open_id = _optional_id((sender.get("sender_id") or {}).get("open_id"))
        if open_id is not None and open_id == self._bot.open_id:
            return Skipped("self", chat)
        mentions = Mentions(message.get("mentions"), self._bot)
        content = read_content(message, mentions)
        if isinstance(content, str):
            return Skipped(content, chat)
        direct = message.get("chat_type") in _DIRECT
        thread = _optional_id(message.get("thread_id"))
        by_bot = sender.get("sender_type") in _BOTS
        return Inbound(
            address=Address("feishu", self._account, chat, thread),
            event_id=_optional_id(header.get("event_id")) or f"message:{message_id}",
            message_id=message_id,
            sender_id=open_id,
            text=self._text(content, mentions),
            received_ms=received_ms,
            sent_ms=_moment_ms(message.get("create_time")),
            sender_is_bot=by_bot and (self._ignore_bots or not mentions.found),
            kind="direct" if direct else "group",
            addressed=direct or mentions.found,
            attachments=content.attachments,
            # Within a thread every part of an answer must be a reply, or it leaves the thread.
            extra={} if thread is None else {"message_id": message_id},
        )

    def _text(self, content: Content, mentions: Mentions) -> str:
        text = clean(content.text).strip()
        if not text and mentions.found:
            # Nothing but a call.
            return f"@{self._bot.name}" if self._bot.name else "@bot"
        return text


def _other(kind: str, event: object) -> Reading:
    if kind == RECALL_EVENT and isinstance(event, Mapping):
        return Recalled(_id(event["chat_id"]), _id(event["message_id"]))
    return Skipped(kind, _chat_of(event), everyday=kind in _EVERYDAY)


def _id(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("no id")
    return value


def _optional_id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _chat_of(event: object) -> str:
    if not isinstance(event, Mapping):
        return ""
    return _optional_id(event.get("chat_id")) or ""


def _moment_ms(value: object) -> int | None:
    """The moment of a message; one that makes no sense is as good as none."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        return None
    return int(text) if 0 < int(text) < _END_OF_TIME_MS else None
