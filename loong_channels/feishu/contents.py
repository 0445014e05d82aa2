"""The content of a message by its type: what a model reads of it, and the files that came with it. Pure.

https://open.feishu.cn/document/server-docs/im-v1/message-content-description/message_content
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from loong_channels.contract import Attachment
from loong_channels.decoding import load_json
from loong_channels.files import sender_name
from loong_channels.text import one_line

from .mentions import Mentions
from .posts import card_text, read_post

__all__ = ["CARD", "FORWARD", "Content", "read_content"]

# Kinds of attachments whose text is fetched: the event holds nothing or only a part of it.
FORWARD = "forward"
CARD = "card"
_MAX_NAME = 120
_MAX_KEY = 256

_Json = Mapping[str, Any]


@dataclass(frozen=True)
class Content:
    """What a message says. `attachments` are not fetched; their `ref` says how they can be."""

    text: str
    attachments: tuple[Attachment, ...] = ()


def read_content(message: _Json, mentions: Mentions) -> Content | str:
    """The content of the `message` object of an event, or a word for why there is none that could be answered."""
    kind = message.get("message_type")
    if not isinstance(kind, str) or kind == "system":
        return "system_message"
    files = _Files(str(message.get("message_id") or ""))
    if kind == "merge_forward":
        # Its content is a sentence, not JSON.
        return Content("[forwarded messages]", files.whole(FORWARD))
    content = _decoded(message.get("content"))
    if content is None:
        return "unreadable_content"
    if kind == "text":
        text = mentions.spelled_out(str(content.get("text") or ""))
    elif kind == "post":
        text = read_post(content, mentions, files.add)
    elif kind == "interactive":
        return Content(card_text(content) or "[card]", files.whole(CARD))
    else:
        reader = _READERS.get(kind)
        text = f"[{one_line(kind, 40).replace('_', ' ')}]" if reader is None else reader(content, files)
    return Content(text, tuple(files.found))


class _Files:
    """Collects what can be fetched with a message; at most as many as a person would send."""

    limit = 50

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id
        self.found: list[Attachment] = []

    def whole(self, kind: str) -> tuple[Attachment, ...]:
        """The message itself, of which more can be had than came."""
        return (Attachment(kind=kind, mime="text/plain", ref={"message_id": self._message_id}),)

    def add(self, kind: str, key: object, name: object = None) -> None:
        """Note a file. `kind` is the type of the message or node, `key` the platform's handle."""
        if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY or len(self.found) == self.limit:
            return
        ref = {
            "message_id": self._message_id,
            "file_key": key,
            "type": "image" if kind == "image" else "file",
        }
        self.found.append(Attachment(kind=kind, name=sender_name(name), ref=ref))


def _image(content: _Json, files: _Files) -> str:
    files.add("image", content.get("image_key"))
    return "[image]"


def _file(content: _Json, files: _Files) -> str:
    return _named("file", "file", content, files)


def _video(content: _Json, files: _Files) -> str:
    return _named("video", "video", content, files)


def _named(kind: str, word: str, content: _Json, files: _Files) -> str:
    name = content.get("file_name")
    files.add(kind, content.get("file_key"), name)
    shown = sender_name(name)
    return f"[{word}: {shown}]" if shown else f"[{word}]"


def _audio(content: _Json, files: _Files) -> str:
    files.add("audio", content.get("file_key"))
    spoken = content.get("text") or content.get("recognition")
    return f"[audio] {spoken}" if isinstance(spoken, str) and spoken.strip() else "[audio]"


def _sticker(content: _Json, files: _Files) -> str:  # noqa: ARG001  stickers cannot be fetched
    return "[sticker]"


def _shared(word: str, field: str) -> Callable[[_Json, _Files], str]:
    def read(content: _Json, files: _Files) -> str:  # noqa: ARG001  nothing to fetch
        return f"[{word} {one_line(content.get(field) or '', _MAX_NAME)}]".replace(" ]", "]")

    return read


def _location(content: _Json, files: _Files) -> str:  # noqa: ARG001  nothing to fetch
    parts = [one_line(content.get(field) or "", _MAX_NAME) for field in ("name", "latitude", "longitude")]
    return f"[location {', '.join(part for part in parts if part)}]".replace(" ]", "]")


_READERS: Mapping[str, Callable[[_Json, _Files], str]] = {
    "image": _image,
    "file": _file,
    "folder": _file,
    "audio": _audio,
    "media": _video,
    "video": _video,
    "sticker": _sticker,
    "share_chat": _shared("shared chat", "chat_id"),
    "share_user": _shared("shared contact", "user_id"),
    "location": _location,
}


def _decoded(content: object) -> _Json | None:
    try:
        value = load_json(content) if isinstance(content, str) else None
    except ValueError:
        # What cannot be read cannot be answered; the event itself was in order.
        return None
    return value if isinstance(value, dict) else None
