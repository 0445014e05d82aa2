"""Writes chat completions requests and learns which optional parts a model does not take."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.contract import CallOptions, Function, Message

__all__ = ["Adaptations", "PayloadWriter", "shorten"]

MAX_MODELS = 64
_CAPS = ("max_tokens", "max_completion_tokens")
_PASSED_ON = ("top_p", "seed", "presence_penalty", "frequency_penalty", "response_format")
_NO_OPTIONS = CallOptions()


@dataclass(frozen=True)
class PayloadWriter:
    """Makes request bodies for one profile. `cap` is the usual name of the token limit there."""

    profile: ProviderProfile
    cap: str

    @classmethod
    def of(cls, profile: ProviderProfile, kind: Kind) -> PayloadWriter:
        """The writer for a profile of this kind."""
        return cls(profile, kind.cap_parameter)

    def write(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        stream: bool,
        without: frozenset[str],
        options: CallOptions = _NO_OPTIONS,
    ) -> dict[str, Any]:
        """A request body; only what is set is sent, because strict servers refuse null and empty parts.

        What the caller wants goes before what the profile says.
        """
        profile = self.profile
        payload: dict[str, Any] = {
            "model": model,
            "messages": [
                _message(m) for m in messages if m.content or m.images or m.tool_calls or m.tool_call_id
            ],
        }
        temperature = profile.temperature if options.temperature is None else options.temperature
        if temperature is not None:
            payload["temperature"] = temperature
        most = profile.max_tokens if options.max_tokens is None else options.max_tokens
        if most is not None:
            payload[_swapped(self.cap) if self.cap in without else self.cap] = most
        stop_at = options.stop or profile.stop
        if stop_at:
            payload["stop"] = list(stop_at)
        effort = options.reasoning_effort or profile.reasoning_effort
        if effort:
            if "reasoning_effort" in without:
                payload["reasoning"] = {"effort": effort}
            else:
                payload["reasoning_effort"] = effort
        payload.update(_further(options))
        if stream and "stream" not in without:
            payload["stream"] = True
            payload["stream_options"] = {"include_usage": True}
        for name in without:
            payload.pop(name, None)
        return payload


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
    return {name: value for name, value in parts.items() if value is not None}


def _function(function: Function) -> dict[str, Any]:
    parts = {
        "name": function.name,
        "description": function.description or None,
        "parameters": function.parameters,
        "strict": function.strict,
    }
    return {name: value for name, value in parts.items() if value is not None}


def _choice(choice: str | None) -> object:
    if choice is None or not choice.startswith("function:"):
        return choice
    return {"type": "function", "function": {"name": choice[len("function:") :]}}


def _parts(message: Message) -> list[dict[str, Any]]:
    """A text and its pictures. https://platform.openai.com/docs/guides/images-vision"""
    parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}] if message.content else []
    for image in message.images:
        url = f"data:{image.mime};base64,{base64.b64encode(image.content).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _swapped(cap: str) -> str:
    return _CAPS[1 - _CAPS.index(cap)]


def shorten(messages: Sequence[Message]) -> list[Message]:
    """The system text, the later half of the history, the question; as long as before when there is no history.

    The question is the last message of the user with what follows it: calls of tools and their results.
    """
    asked = [number for number, message in enumerate(messages) if message.role == "user"]
    last = asked[-1] if asked else max(0, len(messages) - 1)
    head = [m for m in messages[:last] if m.role == "system"]
    history = [m for m in messages[:last] if m.role != "system"]
    history = history[(len(history) + 1) // 2 :]
    while history and history[0].role != "user":
        history = history[1:]
    return [*head, *history, *messages[last:]]


class Adaptations:
    """Which optional parts each model refused, so that only the first call pays for it. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._without: dict[str, frozenset[str]] = {}

    def of(self, model: str) -> frozenset[str]:
        """The parts to leave out for a model."""
        return self._without.get(model, frozenset())

    def learn(self, model: str, parameter: str, payload: dict[str, Any]) -> bool:
        """The model refused `parameter`; True when the request can be changed for it."""
        with self._guard:
            known = self._without.get(model, frozenset())
            # A message may name the new form while the old one was sent, or the other way round.
            if parameter in _CAPS and parameter not in payload and _swapped(parameter) in payload:
                parameter = _swapped(parameter)
            if parameter not in payload or parameter in known:
                return False
            if len(self._without) >= MAX_MODELS:
                self._without.clear()
            self._without[model] = known | {parameter}
            return True
