"""Asks the model, does what it asks for with tools, and asks again, until it answers. Runs on lane workers."""

from __future__ import annotations

from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.control.origin import Origin
from loong_gateway.providers.contract import Completion, Provider, ProviderCall

__all__ = ["ToolRounds"]


class ToolRounds:
    """Stateless, so thread-safe."""

    def complete(
        self,
        provider: Provider,
        call: ProviderCall,
        origin: Origin,  # noqa: ARG002  no tools yet
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """The model's last answer. Blocks; raises ProviderFault."""
        return provider.complete(call, deadline=deadline, stop=stop, on_text=on_text)
