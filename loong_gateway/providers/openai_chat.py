"""The chat completions protocol as OpenAI publishes it, and as many other services speak it.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.adaptations import swapped
from loong_gateway.providers.answer import AnswerStream, Draft, read_usage, read_whole
from loong_gateway.providers.contract import CallOptions, Completion, Function, Image, Message
from loong_gateway.providers.errors import AttemptFailed, shape_failure
from loong_gateway.providers.wire import Request, Wire

__all__ = ["OpenAIChat", "data_url", "set_only"]

_PASSED_ON = ("top_p", "seed", "presence_penalty", "frequency_penalty", "response_format")


class OpenAIChat(Wire):
    """See Wire."""

    def __init__(self, profile: ProviderProfile, kind: Kind) -> None:
        super().__init__(profile, kind)
        self._cap = kind.cap_parameter
        self._thinking = kind.thinking

    def request(
        self,
        model: str,
        messages: Sequence[Message],
        options: CallOptions,
        *,
        stream: bool,
        without: frozenset[str],
    ) -> Request:
        """See Wire; only what is set is sent, because strict servers refuse null and empty parts."""
        profile = self._profile
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                _message(m) for m in messages if m.content or m.images or m.tool_calls or m.tool_call_id
            ],
        }
        temperature = profile.temperature if options.temperature is None else options.temperature
        if temperature is not None:
            body["temperature"] = temperature
        most = profile.max_tokens if options.max_tokens is None else options.max_tokens
        if most is not None:
            body[swapped(self._cap) if self._cap in without else self._cap] = most
        stop_at = options.stop or profile.stop
        if stop_at:
            body["stop"] = list(stop_at)
        effort = options.reasoning_effort or profile.reasoning_effort
        if effort:
            body.update(self._effort(effort, without))
        body.update(_further(options))
        if stream and "stream" not in without:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        for name in without:
            body.pop(name, None)
        return Request(self.url, body, "stream" in body, body.keys())

    def _effort(self, effort: str, without: frozenset[str]) -> dict[str, Any]:
        if self._thinking:
            # https://platform.moonshot.ai/docs
            return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}
        if "reasoning_effort" in without:
            return {"reasoning": {"effort": effort}}
        return {"reasoning_effort": effort}

    def read(self, body: bytes, *, model: str, hide: Iterable[str]) -> Completion:
        """See Wire."""
        return read_whole(body, _take_whole, model=model, hide=hide)

    def stream(self, *, model: str, hide: Iterable[str]) -> AnswerStream:
        """See Wire."""
        return AnswerStream(_take_chunk, model=model, hide=hide, mark_ends=True)


def _message(message: Message) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    content = _parts(message) if message.images else message.content
    written: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        # Strict servers want null here, not an empty text.
        written["content"] = content or None
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    return written


def _further(options: CallOptions) -> dict[str, Any]:
    """The parts that only a caller asks for."""
    parts: dict[str, Any] = {name: getattr(options, name) for name in _PASSED_ON}
    if options.tools:
        parts["tools"] = [{"type": "function", "function": _function(one)} for one in options.tools]
        parts["parallel_tool_calls"] = options.parallel_tool_calls
        parts["tool_choice"] = _choice(options.tool_choice)
    return set_only(parts)


def set_only(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that are not None."""
    return {name: value for name, value in parts.items() if value is not None}


def _function(function: Function) -> dict[str, Any]:
    return set_only(
        {
            "name": function.name,
            "description": function.description or None,
            "parameters": function.parameters,
            "strict": function.strict,
        }
    )


def _choice(choice: str | None) -> object:
    if choice is None or not choice.startswith("function:"):
        return choice
    return {"type": "function", "function": {"name": choice[len("function:") :]}}


def _parts(message: Message) -> list[dict[str, Any]]:
    """A text and its pictures. https://platform.openai.com/docs/guides/images-vision"""
    parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}] if message.content else []
    return [*parts, *({"type": "image_url", "image_url": {"url": data_url(one)}} for one in message.images)]


def data_url(image: Image) -> str:
    """A picture as an address that holds it."""
    return f"data:{image.mime};base64,{base64.b64encode(image.content).decode()}"


def _take_whole(draft: Draft, document: dict[str, Any]) -> None:
    choice = _first_choice(document)
    if choice is None:
        raise AttemptFailed(shape_failure("it holds no choices"))
    _take_choice(draft, document, choice, "message")


def _take_chunk(draft: Draft, document: dict[str, Any]) -> None:
    _take_choice(draft, document, _first_choice(document) or {}, "delta")


def _take_choice(draft: Draft, document: dict[str, Any], choice: dict[str, Any], member: str) -> None:
    # Some servers count in every chunk; the last count is the whole.
    draft.usage = read_usage(document.get("usage")) or draft.usage
    draft.named(document.get("model"))
    if choice.get("finish_reason") is not None:
        draft.finish = str(choice["finish_reason"])
    said = choice.get(member)
    if not isinstance(said, dict):
        return
    draft.say(_text_of(said.get("content")))
    refusal = _text_of(said.get("refusal"))
    if refusal:
        draft.refusal.append(refusal)
    calls = said.get("tool_calls")
    for part in calls if isinstance(calls, list) else ():
        function = part.get("function") if isinstance(part, dict) else None
        if isinstance(function, dict):
            index = part.get("index")
            numbered = isinstance(index, int) and not isinstance(index, bool)
            draft.calls.add(
                index if numbered else None,
                named=part.get("id"),
                name=function.get("name"),
                arguments=function.get("arguments"),
            )


def _first_choice(document: dict[str, Any]) -> dict[str, Any] | None:
    choices = document.get("choices")
    if not isinstance(choices, list):
        return None
    return next((c for c in choices if isinstance(c, dict) and c.get("index", 0) in (0, None)), None)


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return ""
