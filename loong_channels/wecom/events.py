"""From a callback of the platform to a message, an event, or the reason why there is none. No input or output.

https://developer.work.weixin.qq.com/document/path/101463
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from loong_channels.contract import Address, Attachment, Inbound
from loong_channels.text import clean

from .frames import EVENT_CALLBACK, MESSAGE_CALLBACKS, Frame, as_table, as_text

__all__ = ["CallbackReader", "Entered", "Noted", "Reading", "Skipped", "TakenOver", "is_takeover"]

# The mention that made a group call the robot: one token, and what separates it from the rest.
_MENTION = re.compile(r"@\S+(?:[ \t\u2005\u00a0\u3000]+|(?=\n)|$)")
_FILES = frozenset({"image", "file", "video"})
# The year 2242.
_END_OF_TIME_S = 1 << 33
_MAX_TEXT = 200_000
_MAX_ITEMS = 100
_MAX_NESTING = 4


@dataclass(frozen=True)
class Skipped:
    """A callback that is no message for us. `reason` is a name for counting."""

    reason: str
    conversation: str = ""


@dataclass(frozen=True)
class Entered:
    """A person has opened the chat, for the first time today."""

    req_id: str
    conversation: str
    sender: str


@dataclass(frozen=True)
class Noted:
    """Something worth a line in the log. `details` hold ids only."""

    name: str
    details: Mapping[str, object]


@dataclass(frozen=True)
class TakenOver:
    """Another connection has subscribed with our credentials."""


Reading = Union[Inbound, Skipped, Entered, Noted, TakenOver]


def is_takeover(frame: Frame) -> bool:
    """Whether the frame says that another connection gets the messages from now on."""
    return as_table(frame.body.get("event")).get("eventtype") == "disconnected_event"


@dataclass(frozen=True)
class _Place:
    """Whom a callback is about. A group's chatid and a userid are told apart by `chat_type`."""

    conversation: str
    chat_type: str
    sender: str | None


class CallbackReader:
    """Reads the callbacks of one robot. Immutable."""

    def __init__(self, account: str, bot_id: str) -> None:
        self._account = account
        self._bot_id = bot_id

    def read(self, frame: Frame, received_ms: int) -> Reading:
        """What a frame means. Never raises: what cannot be read is skipped as `unreadable:KeyError` or its like."""
        try:
            return self._read(frame, received_ms)
        except Exception as error:  # noqa: BLE001 - one callback that cannot be read must not end the connection
            # The type tells a mistake of ours from a new shape of theirs; the text might quote a message.
            return Skipped(f"unreadable:{type(error).__name__}")

    def _read(self, frame: Frame, received_ms: int) -> Reading:
        body = frame.body
        if frame.cmd not in MESSAGE_CALLBACKS and frame.cmd != EVENT_CALLBACK:
            return Skipped("unknown_cmd" if frame.cmd else "answer_nobody_waits_for")
        if body.get("aibotid", self._bot_id) != self._bot_id:
            return Skipped("for_another_robot")
        if frame.cmd == EVENT_CALLBACK:
            return self._event(frame)
        place = _place(body)
        if place is None:
            return Skipped("no_sender")
        return self._message(frame, place, received_ms)

    def _message(self, frame: Frame, place: _Place, received_ms: int) -> Reading:
        body = frame.body
        found = _Content()
        found.take_one(body)
        if not found.texts and not found.attachments:
            return Skipped("unknown_msgtype", place.conversation)
        is_group = place.chat_type == "group"
        text = "\n".join(found.texts)
        if is_group:
            text = _MENTION.sub("", text.lstrip(), count=1) if text.lstrip().startswith("@") else text
        quoted = _Content()
        quoted.take_one(as_table(body.get("quote")))
        quote = quoted.as_quote()
        message_id = as_text(body.get("msgid"))
        if not text.strip() and not found.attachments and not quote:
            # A group only calls the robot when it is mentioned; nothing but the mention is no question.
            return Skipped("empty", place.conversation)
        return Inbound(
            address=Address("wecom", self._account, place.conversation),
            event_id=message_id or f"req:{frame.req_id}",
            message_id=message_id,
            sender_id=place.sender,
            text=clean(f"{quote}{text.strip()}")[:_MAX_TEXT],
            received_ms=received_ms,
            sent_ms=_moment_ms(body.get("create_time")),
            kind="group" if is_group else "direct",
            attachments=(*found.attachments, *quoted.attachments),
            extra={"req_id": frame.req_id, "chat_type": place.chat_type},
        )

    def _event(self, frame: Frame) -> Reading:
        if is_takeover(frame):
            return TakenOver()
        event = as_table(frame.body.get("event"))
        name = as_text(event.get("eventtype")) or "unnamed"
        place = _place(frame.body)
        if name == "enter_chat" and place is not None and place.sender is not None:
            return Entered(frame.req_id, place.conversation, place.sender)
        if name == "template_card_event":
            # Some descriptions have the fields here, the service has them one level deeper.
            card = as_table(event.get("template_card_event")) or event
            return Noted("card_clicked", _ids(card, "card_type", "task_id"))
        if name == "feedback_event":
            feedback = as_table(event.get("feedback_event")) or event
            return Noted("feedback", {**_ids(feedback, "id"), "type": _whole(feedback.get("type"))})
        return Skipped(f"event:{name[:40]}" if name.isidentifier() else "event")


class _Content:
    """What a message holds: texts, placeholders for what cannot be shown, and handles on files."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.attachments: list[Attachment] = []

    def take_one(self, holder: Mapping[str, Any], depth: int = 0) -> None:
        """Take what a message, one of its items or a quote holds, by its `msgtype`."""
        msgtype = str(holder.get("msgtype") or "")
        payload = as_table(holder.get(msgtype))
        if msgtype in ("text", "voice"):
            content = payload.get("content")
            if isinstance(content, str):
                self.texts.append(clean(content))
        elif msgtype == "mixed" and depth < _MAX_NESTING:
            items = payload.get("msg_item")
            for item in items[:_MAX_ITEMS] if isinstance(items, list) else ():
                self.take_one(as_table(item), depth + 1)
        elif msgtype in _FILES:
            self.texts.append(f"[{msgtype}]")
            ref = _ids(payload, "aeskey")
            url = payload.get("url")
            if isinstance(url, str):
                ref["url"] = url[:8192]
            self.attachments.append(Attachment(kind=msgtype, ref=ref))

    def as_quote(self) -> str:
        """The texts as a Markdown quote that stands before another text; "" without any."""
        lines = "\n".join(self.texts).strip().splitlines()
        return "".join(f"> {line}\n" for line in lines) + "\n" if lines else ""


def _place(body: Mapping[str, Any]) -> _Place | None:
    """Where an answer would go. Without a chat type, a chat id makes it a group: the stricter reading."""
    sender = as_text(as_table(body.get("from")).get("userid"))
    chat = as_text(body.get("chatid"))
    chat_type = body.get("chattype")
    if chat is not None and chat_type != "single":
        return _Place(chat, "group", sender)
    if sender is None or chat_type == "group":
        return None
    return _Place(sender, "single", sender)


def _ids(table: Mapping[str, Any], *names: str) -> dict[str, object]:
    found = {name: as_text(table.get(name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _moment_ms(value: object) -> int | None:
    seconds = _whole(value)
    return seconds * 1000 if seconds is not None and 0 < seconds < _END_OF_TIME_S else None
