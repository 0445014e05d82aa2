"""Writes chat completions requests and learns which optional parts a model does not take."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.contract import Message

__all__ = ["Adaptations", "PayloadWriter", "shorten"]

MAX_MODELS = 64
_CAPS = ("max_tokens", "max_completion_tokens")


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
        self, model: str, messages: Sequence[Message], *, stream: bool, without: frozenset[str]
    ) -> dict[str, Any]:
        """A request body; only what is set is sent, because strict servers refuse null and empty parts."""
        profile = self.profile
        payload: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": m.role, "content": _parts(m) if m.images else m.content}
                for m in messages
                if m.content or m.images
            ],
        }
        if profile.temperature is not None:
            payload["temperature"] = profile.temperature
        if profile.max_tokens is not None:
            payload[_swapped(self.cap) if self.cap in without else self.cap] = profile.max_tokens
        if profile.stop:
            payload["stop"] = list(profile.stop)
        if profile.reasoning_effort:
            if "reasoning_effort" in without:
                payload["reasoning"] = {"effort": profile.reasoning_effort}
            else:
                payload["reasoning_effort"] = profile.reasoning_effort
        if stream and "stream" not in without:
            payload["stream"] = True
            payload["stream_options"] = {"include_usage": True}
        for name in without:
            payload.pop(name, None)
        return payload


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
    """The system text, the later half of the history, the question; as long as before when there is no history."""
    head = [m for m in messages[:-1] if m.role == "system"]
    history = [m for m in messages[:-1] if m.role != "system"]
    history = history[(len(history) + 1) // 2 :]
    while history and history[0].role != "user":
        history = history[1:]
    return [*head, *history, *messages[-1:]]


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
