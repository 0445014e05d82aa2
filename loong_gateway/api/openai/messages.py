"""Reads the messages of chat completions and the items of responses into a conversation."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Callable

from loong_gateway.api.fields import BadFields
from loong_gateway.messaging.file_texts import image_type
from loong_gateway.providers.contract import Image, Message, ToolCall

from .conversation import IMAGE_MARK

__all__ = ["chat_messages", "input_messages"]

MOST_MESSAGES = 4096
MOST_IMAGES = 64
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")

Document = Mapping[str, object]


def chat_messages(document: Document) -> tuple[Message, ...]:
    """The `messages` of a request, at least one of a user. Raises BadFields.

    https://platform.openai.com/docs/api-reference/chat/create
    """
    rows = _list(document, "messages")
    messages = tuple(_chat_message(row, f"messages[{number}]") for number, row in enumerate(rows))
    if not any(message.role == "user" and message.content.strip() for message in messages):
        raise BadFields("Missing user message in `messages`.")
    _check_images(messages, "messages")
    return messages


def input_messages(document: Document) -> tuple[Message, ...]:
    """The `input` of a request: a text, or items. Raises BadFields.

    https://platform.openai.com/docs/api-reference/responses/create
    """
    given = document.get("input")
    if isinstance(given, str):
        if not given.strip():
            raise BadFields("input: must not be empty")
        return (Message("user", _unicode(given, "input")),)
    messages: list[Message] = []
    for number, row in enumerate(_list(document, "input")):
        _take_item(row, f"input[{number}]", messages)
    if not messages:
        raise BadFields("input: must not be empty")
    _check_images(messages, "input")
    return tuple(messages)


def _list(document: Document, name: str) -> list[Document]:
    rows = document.get(name)
    if not isinstance(rows, list) or not rows or len(rows) > MOST_MESSAGES:
        raise BadFields(f"{name}: must be a list of 1 to {MOST_MESSAGES} objects")
    if not all(isinstance(row, dict) for row in rows):
        raise BadFields(f"{name}: must be a list of 1 to {MOST_MESSAGES} objects")
    return rows


def _chat_message(row: Document, where: str) -> Message:
    role = _role(row, where)
    calls = tuple(_chat_call(one, where) for one in _calls(row, where)) if role == "assistant" else ()
    content, images = _content(row.get("content"), where, role, is_optional=bool(calls))
    return Message(
        role, content, images, calls, _text(row, "tool_call_id", where) if role == "tool" else None
    )


def _calls(row: Document, where: str) -> list[Document]:
    calls = row.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list) or not all(isinstance(one, dict) for one in calls):
        raise BadFields(f"{where}.tool_calls: must be a list of objects")
    return calls


def _chat_call(call: Document, where: str) -> ToolCall:
    function = call.get("function")
    if not isinstance(function, dict):
        raise BadFields(f"{where}.tool_calls: only calls of functions are supported here")
    return ToolCall(
        _text(call, "id", f"{where}.tool_calls"),
        _text(function, "name", f"{where}.tool_calls.function"),
        _text(function, "arguments", f"{where}.tool_calls.function", may_be_empty=True),
    )


def _take_item(item: Document, where: str, messages: list[Message]) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        role = _role(item, where)
        if role == "tool":
            raise BadFields(f"{where}.role: must be user, assistant, system or developer")
        content, images = _content(item.get("content"), where, role, is_optional=False)
        messages.append(Message(role, content, images))
    elif kind == "function_call":
        call = ToolCall(
            _text(item, "call_id", where),
            _text(item, "name", where),
            _text(item, "arguments", where, may_be_empty=True),
        )
        last = messages[-1] if messages else None
        # Calls that the model made at once are one message, with what it said before them.
        if last is not None and last.role == "assistant":
            messages[-1] = Message("assistant", last.content, (), (*last.tool_calls, call))
        else:
            messages.append(Message("assistant", "", (), (call,)))
    elif kind == "function_call_output":
        given = item.get("output")
        output, _ = _content(given, f"{where}.output", "tool", is_optional=given == "")
        messages.append(Message("tool", output, tool_call_id=_text(item, "call_id", where)))
    elif kind != "reasoning":
        # What the model thought is told back by some clients; the service keeps it to itself.
        raise BadFields(f"{where}.type: not supported here")


def _role(row: Document, where: str) -> str:
    role = row.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadFields(f"{where}.role: must be one of {', '.join(_ROLES)}")
    return _ROLES[role]


def _content(value: object, where: str, role: str, *, is_optional: bool) -> tuple[str, tuple[Image, ...]]:
    if isinstance(value, str):
        return _unicode(value, f"{where}.content"), ()
    if value is None and is_optional:
        return "", ()
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise BadFields(f"{where}.content: must be a string or a list of parts")
    texts: list[str] = []
    images: list[Image] = []
    for number, part in enumerate(value):
        place = f"{where}.content[{number}]"
        kind = _text(part, "type", place)
        if kind in _TEXT_PARTS:
            texts.append(_text(part, "refusal" if kind == "refusal" else "text", place, may_be_empty=True))
        elif kind in _IMAGES and role == "user":
            images.append(_image(_IMAGES[kind](part), place))
        else:
            raise BadFields(f"{place}.type: not supported here")
    text = "\n".join(text for text in texts if text)
    return text or (IMAGE_MARK if images else ""), tuple(images)


def _nested_url(part: Document) -> object:
    image = part.get("image_url")
    return image.get("url") if isinstance(image, dict) else image


_IMAGES: dict[object, Callable[[Document], object]] = {
    "image_url": _nested_url,
    "input_image": lambda part: part.get("image_url"),
}


def _image(url: object, where: str) -> Image:
    if not isinstance(url, str) or not url.startswith("data:"):
        # Fetching what a client names would let it reach into the network of this host.
        raise BadFields(f"{where}: pictures are taken as data: URLs only, remote ones are not fetched")
    head, _, encoded = url.partition(",")
    try:
        content = base64.b64decode(encoded, validate=True) if head.endswith(";base64") else b""
    except (binascii.Error, ValueError):
        content = b""
    mime = image_type(content)
    if mime is None:
        raise BadFields(f"{where}: must be a PNG, JPEG, GIF or WebP picture in base64")
    return Image(mime, content)


def _check_images(messages: tuple[Message, ...] | list[Message], where: str) -> None:
    if sum(len(message.images) for message in messages) > MOST_IMAGES:
        raise BadFields(f"{where}: must have at most {MOST_IMAGES} pictures")


def _text(row: Document, name: str, where: str, *, may_be_empty: bool = False) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise BadFields(f"{where}.{name}: must be a string")
    return _unicode(value, f"{where}.{name}")


def _unicode(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadFields(f"{where}: must be valid Unicode") from None
    return text
