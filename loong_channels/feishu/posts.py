"""Rich text as plain text with a little Markdown: posts, and what can be read of cards. Pure, with bounds.

A post that is received has no level for the language, one that is sent has; both are read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from loong_channels.text import one_line

from .mentions import Mentions

__all__ = ["card_text", "read_post"]

_MAX_NODES = 5000
_MAX_DEPTH = 30
_MAX_INFO = 40
# In the order in which they are looked for in a card's object.
_LEAVES = ("title", "text", "content")

_Json = Mapping[str, Any]
_Note = Callable[[str, object, object], None]


def read_post(content: _Json, mentions: Mentions, note: _Note) -> str:
    """The title and the paragraphs. `note(kind, key, name)` hears of every file; `mentions` of every call."""
    post = _without_language(content)
    title = post.get("title")
    lines = [title.strip()] if isinstance(title, str) and title.strip() else []
    left = _MAX_NODES
    for paragraph in _list(post.get("content"))[:_MAX_NODES]:
        nodes = [node for node in _list(paragraph)[:left] if isinstance(node, Mapping)]
        left -= len(nodes)
        lines.append("".join(_node(node, mentions, note) for node in nodes).strip())
    text = "\n".join(lines).strip()
    # A call at the very beginning of what is said leaves its comma or its blank.
    return text.lstrip(",:， ：") if mentions.found and text[:1] in ",:，：" else text


def card_text(card: _Json) -> str:
    """Every text of a card, line by line."""
    return "\n".join(itertools.islice(_leaves(card, _MAX_DEPTH), _MAX_NODES))


def _without_language(content: _Json) -> _Json:
    if "content" in content or "title" in content:
        return content
    return next((value for value in content.values() if isinstance(value, Mapping)), content)


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _node(node: _Json, mentions: Mentions, note: _Note) -> str:
    tag = node.get("tag")
    reader = _NODES.get(tag) if isinstance(tag, str) else None
    if reader is not None:
        return reader(node)
    if tag == "at":
        return mentions.of_node(node.get("user_id"), node.get("user_name"))
    if tag == "img":
        note("image", node.get("image_key"), None)
        return "[image]"
    if tag == "media":
        note("video", node.get("file_key"), node.get("file_name"))
        return "[video]"
    if tag == "file":
        note("file", node.get("file_key"), node.get("file_name"))
        return "[file]"
    return _string(node, "text")


def _link(node: _Json) -> str:
    text, target = _string(node, "text"), _string(node, "href")
    return f"[{text}]({target})" if text and target and text != target else text or target


def _code(node: _Json) -> str:
    body = _string(node, "text").rstrip("\n")
    return f"\n```{one_line(_string(node, 'language'), _MAX_INFO).lower()}\n{body}\n```\n"


def _string(node: _Json, name: str) -> str:
    value = node.get(name)
    return value if isinstance(value, str) else ""


_NODES: Mapping[str, Callable[[_Json], str]] = {
    "text": lambda node: _string(node, "text"),
    "md": lambda node: _string(node, "text"),
    "a": _link,
    "code_block": _code,
    "emotion": lambda node: f"[{one_line(_string(node, 'emoji_type'), _MAX_INFO)}]",
    "hr": lambda _: "\n---\n",
}


def _leaves(value: object, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    if isinstance(value, list):
        for item in value[:_MAX_NODES]:
            yield from _leaves(item, depth - 1)
    elif isinstance(value, Mapping):
        for name in _LEAVES:
            text = value.get(name)
            if isinstance(text, str) and text.strip():
                yield text.strip()
        for item in value.values():
            if isinstance(item, (list, Mapping)):
                yield from _leaves(item, depth - 1)
