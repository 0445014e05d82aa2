"""What came with a message and is not in its event: files, forwarded messages, whole cards. Fetched when asked for.

https://open.feishu.cn/document/server-docs/im-v1/message/get - a forwarded message lists what it holds in `items`, as a
tree by `upper_message_id`; the event of a card holds only a part of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loong_channels import contract
from loong_channels.faults import BadAnswer, Refused
from loong_channels.text import clean
from loong_channels.waiting import Deadline, StopToken

from .api import Api, path_of
from .contents import CARD, FORWARD, read_content
from .identity import BotIdentity
from .media import MAX_DOWNLOAD_BYTES, Media
from .mentions import Mentions

__all__ = ["Fetching"]

_MAX_DEPTH = 3
_MAX_ITEMS = 50
_LEFT_OUT = "[more messages were left out]"
# In a message that is quoted, a call to the bot is a name like any other.
_NOBODY = BotIdentity("nobody")

_Json = Mapping[str, Any]


class Fetching:
    """Fetches for one bot. Stateless, so thread-safe. Whole bodies are held in memory."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._media = Media(api)

    def fetch(
        self, attachment: contract.Attachment, *, max_bytes: int, deadline: Deadline, stop: StopToken
    ) -> contract.Media:
        """See contract.Channel. Forwarded messages and cards come as plain text."""
        ref = attachment.ref
        message_id = _word(ref, "message_id")
        if attachment.kind not in (FORWARD, CARD):
            return self._media.resource(
                message_id,
                _word(ref, "file_key"),
                str(ref.get("type") or "file"),
                max_bytes=min(max_bytes, MAX_DOWNLOAD_BYTES),
                deadline=deadline,
                stop=stop,
            )
        path = path_of("im", "v1", "messages", message_id)
        items = self._api.data("message", "GET", path, deadline=deadline, stop=stop).get("items")
        found = [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
        if not found:
            raise BadAnswer("message: the answer holds none")
        text = _text(found[0]) if attachment.kind == CARD else "\n".join(_forwarded(found, message_id))
        content = clean(text).strip().encode("utf-8")
        if not content:
            raise Refused("nothing of it can be read", code="empty")
        if len(content) > max_bytes:
            raise Refused(f"message: more than {max_bytes} bytes", code="too_large")
        return contract.Media(content, mime="text/plain")


def _word(ref: Mapping[str, object], name: str) -> str:
    value = ref.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"the attachment has no {name}", code="no_handle")
    return value


def _forwarded(items: Sequence[_Json], message_id: str) -> Iterator[str]:
    """One line or more for each message in the order of the platform, those of an inner one set in."""
    inner: dict[str, list[_Json]] = {}
    for item in items:
        inner.setdefault(str(item.get("upper_message_id") or ""), []).append(item)
    people: dict[str, str] = {}
    found = list(itertools.islice(_walk(inner, message_id, 0), _MAX_ITEMS + 1))
    for depth, item in found[:_MAX_ITEMS]:
        margin = "  " * depth
        yield f"{margin}{_author(item, people)}: {_text(item)}".replace("\n", f"\n{margin}  ")
    if len(found) > _MAX_ITEMS:
        yield _LEFT_OUT


def _walk(inner: Mapping[str, Sequence[_Json]], parent: str, depth: int) -> Iterator[tuple[int, _Json]]:
    for item in inner.get(parent, ()):
        yield depth, item
        if item.get("msg_type") == "merge_forward" and depth + 1 < _MAX_DEPTH:
            yield from _walk(inner, str(item.get("message_id") or ""), depth + 1)


def _author(item: _Json, people: dict[str, str]) -> str:
    """Ids would tell a model nothing; that two messages are of one person does."""
    sender = item.get("sender")
    sender = sender if isinstance(sender, Mapping) else {}
    if sender.get("sender_type") == "app":
        return "Bot"
    return people.setdefault(str(sender.get("id") or ""), f"Person {len(people) + 1}")


def _text(item: _Json) -> str:
    body = item.get("body")
    message = {
        "message_type": item.get("msg_type"),
        "content": body.get("content") if isinstance(body, Mapping) else None,
    }
    content = read_content(message, Mentions(item.get("mentions"), _NOBODY))
    return "[unreadable]" if isinstance(content, str) else content.text
