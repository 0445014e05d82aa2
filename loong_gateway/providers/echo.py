"""A provider that repeats the question: lets a gateway run without a model, a key or a network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.contract import Completion, Message, ProviderCall, ProviderFault, Usage

__all__ = ["Echo"]


class Echo:
    """Answers "echo: " and the last message of the user. Thread-safe, never blocks."""

    kind = "echo"
    model = "echo"

    def __init__(self, profile: str) -> None:
        self.profile = profile

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
        text = f"echo: {asked.content}"
        for image in asked.images:
            text += f"\n{image.mime}, {len(image.content)} bytes"
        if on_text is not None:
            for word in re.findall(r"\s*\S+|\s+$", text):
                on_text(word)
        words_in = sum(len(m.content.split()) for m in call.messages)
        words_out = len(text.split())
        return Completion(text, self.model, Usage(words_in, words_out, words_in + words_out))

    def models(self, *, deadline: Deadline) -> Sequence[str]:  # noqa: ARG002  nothing is asked
        """Its one model."""
        return (self.model,)

    def models_endpoint(self) -> str:
        """A name in place of an address."""
        return "built-in"

    def health(self) -> Mapping[str, object]:
        """Nothing can go wrong."""
        return {}
