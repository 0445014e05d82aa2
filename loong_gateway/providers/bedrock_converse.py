"""The Converse protocol of Amazon Bedrock, with an API key sent as a bearer token.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from loong_gateway.providers.alternating import alternating, arguments_of, functions_of, sampling
from loong_gateway.providers.answer import AnswerStream, Draft, count_of, read_whole
from loong_gateway.providers.contract import CallOptions, Completion, Function, Message, Usage
from loong_gateway.providers.errors import AttemptFailed, shape_failure
from loong_gateway.providers.event_frames import FrameDecoder
from loong_gateway.providers.openai_chat import set_only
from loong_gateway.providers.wire import Request, Wire

__all__ = ["BedrockConverse"]

MODEL_MARK = "{modelId}"
_FINISHES = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_LONGEST_ID = 64


class BedrockConverse(Wire):
    """See Wire; the model is part of the address."""

    accept = "application/vnd.amazon.eventstream"

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
        # By the names that the rest of the house uses; the names sent are those of the protocol.
        wanted = {
            "max_tokens": profile.max_tokens if options.max_tokens is None else options.max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "stop": [text for text in options.stop or profile.stop if text.strip()] or None,
            "stream": stream or None,
        }
        optional = {name: value for name, value in set_only(wanted).items() if name not in without}
        settings = {_NAMES[name]: value for name, value in optional.items() if name in _NAMES}
        body: dict[str, Any] = {
            "messages": [
                {"role": role, "content": [block for one in said for block in _blocks(one)]}
                for role, said in turns
            ],
            "system": [{"text": system}] if system else None,
            "inferenceConfig": settings or None,
            "toolConfig": _tools(messages, options),
        }
        url = self.url.replace(MODEL_MARK, quote(model, safe="", errors="replace"))
        if "stream" in optional:
            url += "-stream"
        return Request(url, set_only(body), "stream" in optional, optional.keys())

    def read(self, body: bytes, *, model: str, hide: Iterable[str]) -> Completion:
        """See Wire."""
        return read_whole(body, _take_whole, model=model, hide=hide)

    def stream(self, *, model: str, hide: Iterable[str]) -> AnswerStream:
        """See Wire."""
        return AnswerStream(_take_event, model=model, hide=hide, decoder=FrameDecoder())


_NAMES = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}


def _blocks(message: Message) -> list[dict[str, Any]]:
    text = [{"text": message.content}] if message.content.strip() else []
    if message.role == "tool":
        return [{"toolResult": {"toolUseId": _id(message.tool_call_id or ""), "content": text}}]
    blocks: list[dict[str, Any]] = [*text]
    for image in message.images:
        data = base64.b64encode(image.content).decode()
        blocks.append({"image": {"format": image.mime.partition("/")[2], "source": {"bytes": data}}})
    for call in message.tool_calls:
        used = {"toolUseId": _id(call.id), "name": call.name, "input": arguments_of(call)}
        blocks.append({"toolUse": used})
    return blocks


def _id(call: str) -> str:
    """The id of a call in the characters that are taken here; another service may have given it."""
    return re.sub(r"[^\w-]", "_", call, flags=re.ASCII)[:_LONGEST_ID] or "call"


def _tools(messages: Sequence[Message], options: CallOptions) -> dict[str, Any] | None:
    """There is no way to forbid all calls but to offer none, which is refused where some were made."""
    called = any(message.tool_calls for message in messages)
    functions = functions_of(messages, options)
    if not functions or (options.tool_choice == "none" and not called):
        return None
    config: dict[str, Any] = {"tools": [{"toolSpec": _spec(one)} for one in functions]}
    choice = (options.tool_choice or "") if options.tools else ""
    if choice.startswith("function:"):
        config["toolChoice"] = {"tool": {"name": choice[len("function:") :]}}
    elif choice == "required":
        config["toolChoice"] = {"any": {}}
    return config


def _spec(function: Function) -> dict[str, Any]:
    schema = {"json": function.parameters or {"type": "object", "properties": {}}}
    described = {"description": function.description} if function.description else {}
    return {"name": function.name, **described, "inputSchema": schema}


def _take_whole(draft: Draft, document: dict[str, Any]) -> None:
    output = document.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        raise AttemptFailed(shape_failure("it holds no message"))
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            continue
        draft.say(block.get("text"))
        used = block.get("toolUse")
        if isinstance(used, dict):
            given = json.dumps(used.get("input") or {}, ensure_ascii=False)
            draft.calls.add(index, named=used.get("toolUseId"), name=used.get("name"), arguments=given)
    _take_stop(draft, document)
    draft.usage = _usage(document.get("usage"))


def _take_stop(draft: Draft, holder: dict[str, Any]) -> None:
    if isinstance(holder.get("stopReason"), str):
        draft.finish = _FINISHES.get(holder["stopReason"], "stop")


def _usage(value: object) -> Usage | None:
    """What is read from the cache or written to it is not part of the input tokens here."""
    fresh, said = count_of(value, "inputTokens"), count_of(value, "outputTokens")
    cached, written = count_of(value, "cacheReadInputTokens"), count_of(value, "cacheWriteInputTokens")
    if fresh is None:
        return None if said is None else Usage(None, said)
    asked = fresh + (cached or 0) + (written or 0)
    return Usage(asked, said, None if said is None else asked + said, cached)


def _take_event(draft: Draft, event: dict[str, Any]) -> None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html"""
    for kind, value in event.items():
        if not isinstance(value, dict):
            continue
        index = value.get("contentBlockIndex")
        index = index if isinstance(index, int) else 0
        if kind == "contentBlockStart":
            used = _member(value.get("start"), "toolUse")
            if used:
                draft.calls.add(index, named=used.get("toolUseId"), name=used.get("name"))
        elif kind == "contentBlockDelta":
            delta = _member(value, "delta")
            draft.say(delta.get("text"))
            used = _member(delta, "toolUse")
            if used:
                draft.calls.add(index, arguments=used.get("input"))
        elif kind == "messageStop":
            _take_stop(draft, value)
        elif kind == "metadata":
            draft.usage = _usage(value.get("usage"))
            draft.done = draft.finish is not None


def _member(value: object, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
