"""What a message carries: `msg_type` and `content`, which is JSON in a string. Pure.

https://open.feishu.cn/document/server-docs/im-v1/message-content-description/create_json - a text shows Markdown as it
is written; a card of schema 2.0 and a `md` paragraph of a post render it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from loong_channels.text import code_blocks

__all__ = [
    "CARD_BYTES",
    "Content",
    "card_content",
    "defused",
    "has_markup",
    "keyed_content",
    "own_content",
    "post_content",
    "render",
    "text_content",
]

# What was uploaded as one of these can only be sent as this; everything else is a file.
_SENT_AS = {"opus": "audio", "mp4": "media"}
# The platform takes 30 KB and counts what its renderer adds.
CARD_BYTES = 25_000
# One of these makes Markdown of a text; a text without any reads better as a plain message.
_MARKUP = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]|>|[-*+][ \t]|```|~~~|\|)|`[^`\n]+`|\*\S|~~\S|\]\(|(?<![^\W_])__?[^\W_]",
    re.MULTILINE,
)
_IMAGE = re.compile(r"!(?=\[[^\[\]\n]{0,1000}\]\()")
# A tag that calls a person or everybody. The entities are there because a text is decoded once.
_MENTION = re.compile(r"(<|&(?:lt|#0*60|#x0*3c);?)(?=[\s/]*at\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Content:
    """What is sent. `msg_type` is the platform's name for it; `content` is the JSON that it demands."""

    msg_type: str
    content: str = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """What the platform's limits are about."""
        return len(self.content.encode("utf-8"))


def text_content(text: str) -> Content:
    """A plain message."""
    return Content("text", _encoded({"text": defused(text)}))


def post_content(markdown: str) -> Content:
    """A post of one Markdown paragraph. Unlike what is received, what is sent has a level for the language."""
    return Content("post", _encoded({"zh_cn": {"content": [[{"tag": "md", "text": _harmless(markdown)}]]}}))


def card_content(markdown: str) -> Content:
    """A card of one Markdown element, shown by clients from 7.20 on; it may be patched."""
    card = {
        "schema": "2.0",
        "config": {"update_multi": True, "width_mode": "fill"},
        "body": {"elements": [{"tag": "markdown", "content": _harmless(markdown)}]},
    }
    return Content("interactive", _encoded(card))


def keyed_content(name: str, key: str, file_type: str = "") -> Content:
    """Something that was uploaded, by its key; `name` is "image_key" or "file_key", `file_type` the upload's."""
    msg_type = "image" if name == "image_key" else _SENT_AS.get(file_type, "file")
    return Content(msg_type, _encoded({name: key}))


def own_content(extra: Mapping[str, object]) -> Content | None:
    """What a part without a text is to be, by the options that an operator gave; None for a text."""
    post = extra.get("post_json")
    if isinstance(post, Mapping):
        return Content("post", _encoded(post))
    for name in ("image_key", "file_key"):
        key = extra.get(name)
        if isinstance(key, str):
            return keyed_content(name, key, str(extra.get("file_type") or ""))
    return None


def render(text: str, markup: str, form: str) -> Content:
    """A text as what it is to be; `markup` is "markdown" or "plain", `form` is "card", "post" or "text".

    What holds no Markdown, or would be too large for its form, becomes a plain message.
    """
    if markup != "markdown" or form == "text" or not has_markup(text):
        return text_content(text)
    content = post_content(text) if form == "post" else card_content(text)
    return content if content.size_bytes <= CARD_BYTES else text_content(text)


def has_markup(text: str) -> bool:
    """Whether there is anything to render."""
    return _MARKUP.search(text) is not None


def defused(text: str) -> str:
    """The text without the power to call people: tags of mentions are shown as they are written.

    Who may be called must not be decided by a model, nor by what somebody made it repeat.
    """
    return _MENTION.sub(lambda found: found.group().replace("&", "&amp;").replace("<", "&lt;"), text)


def _harmless(markdown: str) -> str:
    """Markdown whose images are links: an image must be one that was uploaded, or the whole card is refused."""
    if "![" in markdown:
        done = []
        position = 0
        for block in code_blocks(markdown):
            done.append(_IMAGE.sub("", markdown[position : block.start]))
            done.append(markdown[block.start : block.end])
            position = block.end
        done.append(_IMAGE.sub("", markdown[position:]))
        markdown = "".join(done)
    return defused(markdown)


def _encoded(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
