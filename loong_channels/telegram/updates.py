"""From an update of the Bot API to a message, or to the reason why there is none. No input or output.

https://core.telegram.org/bots/api#update - offsets of entities count UTF-16 code units.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from loong_channels.contract import Address, Attachment, Inbound
from loong_channels.files import sender_name
from loong_channels.text import clean, one_line

__all__ = ["BotIdentity", "ChatMoved", "Reading", "Skipped", "UpdateReader", "message_number"]

# The account that stands for every administrator who writes as the group itself.
ANONYMOUS_ADMIN_ID = 1087968824
_KINDS = {"private": "direct", "group": "group", "supergroup": "group", "channel": "broadcast"}
# Content in the order in which it is looked for: an animation is also a document, a venue also a location.
_MEDIA = (
    "photo",
    "animation",
    "document",
    "voice",
    "audio",
    "video",
    "video_note",
    "sticker",
    "venue",
    "location",
    "contact",
    "poll",
    "dice",
    "story",
    "paid_media",
    "checklist",
    "game",
    "invoice",
)
_FILES = frozenset(_MEDIA[:8])
# The field that says most about an attachment to somebody who cannot see it.
_CAPTIONS = {
    "document": "file_name",
    "audio": "title",
    "sticker": "emoji",
    "venue": "title",
    "contact": "first_name",
    "poll": "question",
    "checklist": "title",
    "game": "title",
    "invoice": "title",
}
_MAX_NAME = 120
# The year 2242.
_END_OF_TIME_S = 1 << 33
_MAX_REMEMBERED = 4096
_MAX_SIZE = 1 << 52

_Json = Mapping[str, Any]


@dataclass(frozen=True)
class BotIdentity:
    """Who the bot is. `username` has no "@" and may be empty."""

    id: int
    username: str

    @property
    def public_name(self) -> str:
        """How the bot is shown to people."""
        return f"@{self.username}" if self.username else f"bot {self.id}"


@dataclass(frozen=True)
class Skipped:
    """An update that is no message for the bot. `reason` is a name for counting, `chat` the chat's id if known."""

    reason: str
    chat: str = ""


@dataclass(frozen=True)
class ChatMoved:
    """A basic group goes on as a supergroup under another id."""

    old: str
    new: str


Reading = Union[Inbound, Skipped, ChatMoved]


def message_number(message_id: str | None, conversation: str) -> int | None:
    """The Bot API's message id within `conversation`; None when there is none or it belongs to another chat.

    Takes what `Inbound.message_id` holds (chat and number, because numbers repeat between chats) or a bare number.
    """
    parts = (message_id or "").split(":")
    if len(parts) > 1 and parts[0] != conversation:
        return None
    number = parts[min(1, len(parts) - 1)]
    return int(number) if number.isdecimal() and len(number) < 16 else None


class UpdateReader:
    """Reads the updates of one connection. Not thread-safe: it remembers texts to know an edit that changes none."""

    def __init__(
        self,
        account: str,
        bot: BotIdentity,
        *,
        handle_edits: bool = False,
        handle_channel_posts: bool = False,
    ) -> None:
        self._account = account
        self._bot = bot
        self._handle_edits = handle_edits
        self._handle_channel_posts = handle_channel_posts
        self._mention = f"@{bot.username.lower()}" if bot.username else ""
        self._texts: OrderedDict[str, int] = OrderedDict()

    @property
    def allowed_updates(self) -> list[str]:
        """The types to ask the server for."""
        types = ["message"]
        if self._handle_edits:
            types.append("edited_message")
        if self._handle_channel_posts:
            types.append("channel_post")
        return types

    def read(self, update: _Json, received_ms: int) -> Reading:
        """What an update means. Never raises: what cannot be read is skipped as `unreadable:KeyError` or its like."""
        try:
            return self._read(update, received_ms)
        except Exception as error:  # noqa: BLE001 - an update that cannot be read must not stop those behind it
            # The type tells a mistake of ours from a new shape of theirs; the text might quote a message.
            return Skipped(f"unreadable:{type(error).__name__}")

    def _read(self, update: _Json, received_ms: int) -> Reading:
        message = update.get("message")
        if message is not None:
            return self._message(message, received_ms, edited=False)
        if "edited_message" in update:
            if not self._handle_edits:
                return Skipped("edited_message")
            return self._message(update["edited_message"], received_ms, edited=True)
        if "channel_post" in update:
            if not self._handle_channel_posts:
                return Skipped("channel_post")
            return self._message(update["channel_post"], received_ms, edited=False)
        kinds = [str(key)[:40] for key in update if key != "update_id"]
        return Skipped(kinds[0] if kinds else "empty")

    def _message(self, message: _Json, received_ms: int, *, edited: bool) -> Reading:
        chat = message["chat"]
        chat_id = str(_number(chat["id"]))
        moved = _migration(message, chat_id)
        if moved is not None:
            return moved
        sender = message.get("from")
        refusal = self._sender_refusal(message, sender)
        if refusal:
            return Skipped(refusal, chat_id)
        attachments, placeholder = ((), "") if "text" in message else _media(message)
        text = clean(message.get("text") or message.get("caption") or "")
        if not text and not placeholder:
            return Skipped("service", chat_id)
        event_id = f"{chat_id}:{_number(message['message_id'])}"
        if self._handle_edits:
            checksum = zlib.crc32(text.encode("utf-8"))
            if not self._remember(event_id, checksum):
                return Skipped("edit_without_change", chat_id)
            if edited:
                event_id = f"{event_id}:{_number(message.get('edit_date', 0))}-{checksum:08x}"
        kind = _KINDS.get(chat.get("type"), "group")
        entities = message.get("entities") or message.get("caption_entities") or ()
        mention = _Mentions(text, entities, self._mention, self._bot.id) if entities else None
        if mention is not None and mention.for_another_bot:
            return Skipped("command_for_another_bot", chat_id)
        addressed = kind != "group" or (mention is not None and mention.found) or self._is_reply(message)
        if mention is not None and mention.found:
            text = mention.stripped() or text
        return Inbound(
            address=Address("telegram", self._account, chat_id, _thread(message)),
            event_id=event_id,
            # Numbers repeat between chats, so the chat is part of the id.
            message_id=event_id,
            sender_id=None if sender is None else str(_number(sender["id"])),
            text=f"{text}\n{placeholder}" if text and placeholder else text or placeholder,
            received_ms=received_ms,
            sent_ms=_moment_ms(message["date"]),
            sender_name=None if sender is None else _full_name(sender),
            kind=kind,
            addressed=addressed,
            edited=edited,
            attachments=attachments,
            extra={"forum": True} if chat.get("is_forum") else {},
            # https://core.telegram.org/bots/api#message
            forwarded="forward_origin" in message,
        )

    def _sender_refusal(self, message: _Json, sender: _Json | None) -> str:
        """Why the author cannot be answered; "" when they can."""
        if message.get("is_automatic_forward"):
            return "channel_forward"
        if sender is None or not sender.get("is_bot"):
            return ""
        if sender["id"] == self._bot.id:
            return "self"
        by_group = message.get("sender_chat", {}).get("id") == message["chat"]["id"]
        if sender["id"] == ANONYMOUS_ADMIN_ID and by_group:
            return ""
        return "bot"

    def _is_reply(self, message: _Json) -> bool:
        """Whether the message answers one of the bot's; each message of a topic "answers" the topic's first."""
        target = message.get("reply_to_message")
        if not target or "forum_topic_created" in target:
            return False
        return bool(target.get("from", {}).get("id") == self._bot.id)

    def _remember(self, key: str, checksum: int) -> bool:
        """Note the text of a message; False when it is the one that was known."""
        known = self._texts.get(key)
        self._texts[key] = checksum
        if len(self._texts) > _MAX_REMEMBERED:
            self._texts.popitem(last=False)
        return known != checksum


class _Mentions:
    """What the entities of a text say about the bot. `_spans` are UTF-16 ranges that only call it."""

    def __init__(self, text: str, entities: Sequence[_Json], mention: str, bot_id: int) -> None:
        self._units = text.encode("utf-16-le")
        self._spans: list[tuple[int, int]] = []
        self.for_another_bot = False
        for entity in entities:
            kind = entity["type"]
            if kind not in ("mention", "text_mention", "bot_command"):
                continue
            start = _number(entity["offset"])
            end = start + _number(entity["length"])
            if kind == "text_mention":
                if entity["user"]["id"] == bot_id:
                    self._spans.append((start, end))
                continue
            called = self._slice(start, end).lower()
            if kind == "mention":
                if mention and called == mention:
                    self._spans.append((start, end))
                continue
            name, at, target = called.partition("@")
            if mention and at + target == mention:
                self._spans.append((start + len(name), end))
            elif at and start == 0:
                self.for_another_bot = True

    @property
    def found(self) -> bool:
        """Whether the bot is called."""
        return bool(self._spans)

    def stripped(self) -> str:
        """The text without what only calls the bot."""
        units = self._units
        for start, end in sorted(self._spans, reverse=True):
            spaced = units[2 * start - 2 : 2 * start] == b" \0" == units[2 * end : 2 * end + 2]
            units = units[: 2 * start] + units[2 * end + (2 if spaced else 0) :]
        text = units.decode("utf-16-le", "replace").strip()
        # "@bot, do this" is left with a comma.
        return text.lstrip(",: ") if self._spans and min(self._spans)[0] == 0 else text

    def _slice(self, start: int, end: int) -> str:
        return self._units[2 * start : 2 * end].decode("utf-16-le", "replace")


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a whole number")
    # Identifiers have at most 52 significant bits: https://core.telegram.org/bots/api#chat
    if abs(value) >= 1 << 52:
        raise ValueError("a number out of range")
    return value


def _moment_ms(value: object) -> int:
    seconds = _number(value)
    if not 0 <= seconds < _END_OF_TIME_S:
        raise ValueError("a date out of range")
    return seconds * 1000


def _migration(message: _Json, chat_id: str) -> ChatMoved | None:
    if "migrate_to_chat_id" in message:
        return ChatMoved(chat_id, str(_number(message["migrate_to_chat_id"])))
    if "migrate_from_chat_id" in message:
        return ChatMoved(str(_number(message["migrate_from_chat_id"])), chat_id)
    return None


def _thread(message: _Json) -> str | None:
    """The topic; outside of topics a thread id only groups replies and must not be sent back."""
    if message.get("is_topic_message") and "message_thread_id" in message:
        return str(_number(message["message_thread_id"]))
    return None


def _full_name(sender: _Json) -> str | None:
    name = f"{sender.get('first_name') or ''} {sender.get('last_name') or ''}".strip()
    return one_line(name or sender.get("username") or "", _MAX_NAME) or None


def _media(message: _Json) -> tuple[tuple[Attachment, ...], str]:
    """The attachments of a message and what stands for them in its text; nothing for a service message."""
    kind = next((name for name in _MEDIA if name in message), None)
    if kind is None:
        return (), ""
    content = message[kind]
    words = [kind.replace("_", " ")]
    if kind == "location":
        words.append(f"{float(content['latitude']):.6f}, {float(content['longitude']):.6f}")
    elif kind == "dice":
        words.append(f"{one_line(content['emoji'], _MAX_NAME)} {_number(content['value'])}")
    elif kind in _CAPTIONS:
        words.append(one_line(content.get(_CAPTIONS[kind]) or "", _MAX_NAME))
    placeholder = f"[{' '.join(word for word in words if word)}]"
    return ((_attachment(kind, content),) if kind in _FILES else ()), placeholder


def _attachment(kind: str, content: Any) -> Attachment:
    # Sizes of a photo come in ascending order.
    file = content[-1] if kind == "photo" else content
    size = file.get("file_size")
    mime = file.get("mime_type")
    return Attachment(
        kind=kind,
        name=sender_name(file.get("file_name")),
        mime=one_line(mime, _MAX_NAME) if mime else None,
        size_bytes=size if type(size) is int and 0 <= size < _MAX_SIZE else None,
        ref={"file_id": str(file["file_id"])},
    )
