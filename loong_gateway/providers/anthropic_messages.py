"""The Messages protocol of Anthropic, which some other services speak too. The model does not think aloud.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from loong_gateway.providers.alternating import (
    DEFAULT_MAX_TOKENS,
    alternating,
    arguments_of,
    functions_of,
    sampling,
)
from loong_gateway.providers.answer import AnswerStream, Draft, count_of, read_whole
from loong_gateway.providers.contract import CallOptions, Completion, Message, Usage
from loong_gateway.providers.errors import AttemptFailed, shape_failure
from loong_gateway.providers.openai_chat import set_only
from loong_gateway.providers.wire import Request, Wire

__all__ = ["AnthropicMessages"]

_REQUIRED = ("model", "messages", "max_tokens")
_PAGE = 1000
_FINISHES = {"max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "content_filter"}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


class AnthropicMessages(Wire):
    """See Wire."""

    def request(
        self,
        model: str,
        messages: Sequence[Message],
        options: CallOptions,
        *,
        stream: bool,
        without: frozenset[str],
    ) -> Request:
        """See Wire."""
        profile = self._profile
        system, turns = alternating(messages)
        temperature, top_p = sampling(profile.temperature, options)
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": options.max_tokens or profile.max_tokens or DEFAULT_MAX_TOKENS,
            "system": system or None,
            "messages": [
                {"role": role, "content": [block for one in said for block in _blocks(one)]}
                for role, said in turns
            ],
            "temperature": temperature,
            "top_p": top_p,
            "stop_sequences": [text for text in options.stop or profile.stop if text.strip()] or None,
            "stream": stream or None,
        }
        functions = functions_of(messages, options)
        if functions and "tools" not in without:
            body["tools"] = [
                {
                    "name": one.name,
                    **({"description": one.description} if one.description else {}),
                    "input_schema": one.parameters or {"type": "object", "properties": {}},
                }
                for one in functions
            ]
            body["tool_choice"] = _choice(options)
        sent = {name: value for name, value in set_only(body).items() if name not in without}
        return Request(self.url, sent, "stream" in sent, sent.keys() - _REQUIRED)

    def read(self, body: bytes, *, model: str, hide: Iterable[str]) -> Completion:
        """See Wire."""
        return read_whole(body, _take_message, model=model, hide=hide)

    def stream(self, *, model: str, hide: Iterable[str]) -> AnswerStream:
        """See Wire."""
        return AnswerStream(_take_event, model=model, hide=hide)

    def models_query(self, page: object) -> str:
        """See Wire. https://docs.anthropic.com/en/api/models-list"""
        if page is None:
            return f"limit={_PAGE}"
        last = page.get("last_id") if isinstance(page, dict) and page.get("has_more") is True else None
        return f"limit={_PAGE}&after_id={quote(last, safe='')}" if isinstance(last, str) and last else ""


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id or "")}
        return [{**result, "content": message.content} if message.content else result]
    blocks: list[dict[str, Any]] = []
    if message.content.strip():
        blocks.append({"type": "text", "text": message.content})
    for image in message.images:
        data = base64.b64encode(image.content).decode()
        blocks.append({"type": "image", "source": {"type": "base64", "media_type": image.mime, "data": data}})
    for call in message.tool_calls:
        used = {"id": _id(call.id), "name": call.name, "input": arguments_of(call)}
        blocks.append({"type": "tool_use", **used})
    return blocks


def _id(call: str) -> str:
    """The id of a call in the characters that are taken here; another service may have given it."""
    return re.sub(r"[^\w-]", "_", call, flags=re.ASCII) or "call"


def _choice(options: CallOptions) -> dict[str, Any] | None:
    if not options.tools:
        return {"type": "none"}
    wanted = options.tool_choice or ("auto" if options.parallel_tool_calls is False else None)
    if wanted is None:
        return None
    choice: dict[str, Any] = {"type": _CHOICES.get(wanted, "auto")}
    if wanted.startswith("function:"):
        choice = {"type": "tool", "name": wanted[len("function:") :]}
    if options.parallel_tool_calls is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _take_message(draft: Draft, message: dict[str, Any]) -> None:
    content = message.get("content")
    if not isinstance(content, list):
        raise AttemptFailed(shape_failure("it holds no content"))
    draft.named(message.get("model"))
    for index, block in enumerate(content):
        _take_block(draft, index, block)
    _take_end(draft, message.get("stop_reason"), message.get("usage"))


def _take_block(draft: Draft, index: int, block: object) -> None:
    if not isinstance(block, dict):
        return
    if block.get("type") == "text":
        draft.say(block.get("text"))
    elif block.get("type") == "tool_use":
        # A streamed call begins with an empty object and is filled by its deltas.
        given = json.dumps(block["input"], ensure_ascii=False) if block.get("input") else None
        draft.calls.add(index, named=block.get("id"), name=block.get("name"), arguments=given)


def _take_end(draft: Draft, reason: object, usage: object) -> None:
    if isinstance(usage, dict):
        draft.counted.update(usage)
        draft.usage = _usage(draft.counted)
    if isinstance(reason, str):
        draft.finish = _FINISHES.get(reason, "stop")


def _usage(counted: dict[str, Any]) -> Usage | None:
    """What is read from the cache or written to it is not part of the input tokens here."""
    fresh, said = count_of(counted, "input_tokens"), count_of(counted, "output_tokens")
    cached = count_of(counted, "cache_read_input_tokens")
    written = count_of(counted, "cache_creation_input_tokens")
    if fresh is None:
        return None if said is None else Usage(None, said)
    asked = fresh + (cached or 0) + (written or 0)
    return Usage(asked, said, None if said is None else asked + said, cached)


def _take_event(draft: Draft, event: dict[str, Any]) -> None:
    kind, index = event.get("type"), event.get("index")
    index = index if isinstance(index, int) else 0
    if kind == "message_start":
        message = event.get("message")
        message = message if isinstance(message, dict) else {}
        draft.named(message.get("model"))
        _take_end(draft, None, message.get("usage"))
    elif kind == "content_block_start":
        _take_block(draft, index, event.get("content_block"))
    elif kind in ("content_block_delta", "message_delta"):
        delta = event.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        if delta.get("type") == "text_delta":
            draft.say(delta.get("text"))
        elif delta.get("type") == "input_json_delta":
            draft.calls.add(index, arguments=delta.get("partial_json"))
        elif kind == "message_delta":
            _take_end(draft, delta.get("stop_reason"), event.get("usage"))
    elif kind == "message_stop":
        draft.done = True
