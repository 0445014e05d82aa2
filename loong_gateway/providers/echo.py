"""A provider that repeats the question: lets a gateway run without a model, a key or a network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import wall_ms
from loong_gateway.providers.contract import (
    CallOptions,
    Completion,
    Embeddings,
    Message,
    ProviderCall,
    ProviderFault,
    ToolCall,
    Usage,
)

__all__ = ["Echo"]


class Echo:
    """Answers "echo: " and the last message of the user. Thread-safe, never blocks.

    Where a function must be called it asks for that one, or the first, with the message as its argument.
    """

    kind = "echo"
    model = "echo"

    def __init__(self, profile: str) -> None:
        self.profile = profile
        # One reference, replaced whole.
        self._last_success_ms: int | None = None

    def complete(
        self,
        call: ProviderCall,
        *,
        deadline: Deadline,  # noqa: ARG002  it answers at once
        stop: StopToken,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Repeat the last message of the user, word by word when streamed. Raises ProviderFault when stopped."""
        if stop.is_set():
            raise ProviderFault("interrupted", f"the call to provider {self.profile} was stopped")
        asked = next((m for m in reversed(call.messages) if m.role == "user"), Message("user", ""))
        calls = _calls(call.options, asked.content)
        text = "" if calls else f"echo: {asked.content}"
        for image in () if calls else asked.images:
            text += f"\n{image.mime}, {len(image.content)} bytes"
        if on_text is not None:
            for word in re.findall(r"\s*\S+|\s+$", text):
                on_text(word)
        self._last_success_ms = wall_ms()
        words_in = sum(len(m.content.split()) for m in call.messages)
        words_out = len(text.split())
        usage = Usage(words_in, words_out, words_in + words_out)
        return Completion(text, call.model or self.model, usage, tool_calls=calls)

    def embed(
        self,
        texts: Sequence[str],  # noqa: ARG002  there is nothing to embed with
        *,
        model: str | None,  # noqa: ARG002
        dimensions: int | None,  # noqa: ARG002
        deadline: Deadline,  # noqa: ARG002
        stop: StopToken,  # noqa: ARG002
    ) -> Embeddings:
        """Raises ProviderFault."""
        raise ProviderFault.of(
            "provider.no_embeddings", "not_supported", profile=self.profile, where=self.profile
        )

    def models(self, *, deadline: Deadline) -> Sequence[str]:  # noqa: ARG002  nothing is asked
        """Its one model."""
        return (self.model,)

    def models_endpoint(self) -> str:
        """A name in place of an address."""
        return "built-in"

    def health(self) -> Mapping[str, object]:
        """When it last answered, in milliseconds since the epoch; nothing can go wrong."""
        return {"last_success_ms": self._last_success_ms}


def _calls(options: CallOptions, asked: str) -> tuple[ToolCall, ...]:
    choice = options.tool_choice or "auto"
    named = choice.partition("function:")[2]
    for function in options.tools:
        if function.name == named or choice == "required":
            return (ToolCall("call_1", function.name, json.dumps({"message": asked})),)
    return ()
