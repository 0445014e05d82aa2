"""Reads the content of a message as strictly as the platform, and says what a reader sees and who is called."""

from __future__ import annotations

import html
import json
import re

from .feishu_state import Refusal

TEXT_BYTES = 150_000
CARD_BYTES = 30_000
MENTION = re.compile(r"<at\s+(?:user_id|id|ids|email)\s*=\s*[\"']?([^\"'>\s]*)", re.IGNORECASE)
OLD_TAGS = ("note", "action")
KEYED = {"image": "image_key", "file": "file_key", "audio": "file_key", "media": "file_key"}


def read_content(msg_type: object, raw: object) -> tuple[dict[str, object], str, list[str]]:
    """The content as an object, what a reader sees, and the ids it calls. Raises Refusal."""
    if not isinstance(raw, str):
        raise Refusal(9499, "Invalid parameter type in json: content")
    try:
        content = json.loads(raw)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refusal(230001, "Your request contains an invalid request parameter, ext=content is not json")
    size = len(raw.encode("utf-8"))
    if size > (TEXT_BYTES if msg_type == "text" else CARD_BYTES):
        raise Refusal(230025, "The length of the message content reaches its limit.")
    if msg_type == "text":
        source = _text(content)
    elif msg_type == "post":
        source = _post(content)
    elif msg_type == "interactive":
        source = _card(content)
    elif msg_type in KEYED:
        if not isinstance(content.get(KEYED[str(msg_type)]), str):
            raise Refusal(230001, f"ext={KEYED[str(msg_type)]} is missing")
        source = ""
    else:
        raise Refusal(230001, "Your request contains an invalid request parameter, ext=msg_type")
    return content, html.unescape(source), MENTION.findall(source)


def _text(content: dict[str, object]) -> str:
    text = content.get("text")
    if not isinstance(text, str) or not text.strip():
        raise Refusal(230001, "Your request contains an invalid request parameter, ext=text is empty")
    return text


def _post(content: dict[str, object]) -> str:
    if "post" in content or not content:
        raise Refusal(230001, "Your request contains an invalid request parameter, ext=invalid post")
    shown = []
    for post in content.values():
        paragraphs = post.get("content") if isinstance(post, dict) else None
        if not isinstance(paragraphs, list):
            raise Refusal(230001, "Your request contains an invalid request parameter, ext=invalid post")
        for paragraph in paragraphs:
            for node in paragraph:
                if node["tag"] == "md" and len(paragraph) > 1:
                    raise Refusal(230001, "ext=md needs a paragraph of its own")
                shown.append(node.get("text", ""))
    return "\n".join(shown)


def _card(content: dict[str, object]) -> str:
    if content.get("schema") != "2.0":
        raise Refusal(
            230099, "Failed to create card content, ext=ErrCode: 200621; ErrMsg: parse card json err; "
        )
    body = content.get("body")
    elements = body.get("elements") if isinstance(body, dict) else None
    if not isinstance(elements, list) or not elements:
        raise Refusal(230099, "Failed to create card content, ext=ErrCode: 200621; ErrMsg: no elements; ")
    shown = []
    for element in elements:
        if element.get("tag") in OLD_TAGS:
            raise Refusal(
                230099, "Failed to create card content, ext=ErrCode: 200861; ErrMsg: tag not supported; "
            )
        text = element.get("content")
        if element.get("tag") != "markdown" or not isinstance(text, str) or not text.strip():
            raise Refusal(230099, "Failed to create card content, ext=ErrCode: 200621; ErrMsg: bad element; ")
        if re.search(r"!\[[^\]]*\]\((?!img_)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            raise Refusal(
                230099,
                f"Failed to create card content, ext=ErrCode: 200570; ErrMsg: image key; ErrorValue: {text}; ",
            )
        shown.append(text)
    return "\n".join(shown)
