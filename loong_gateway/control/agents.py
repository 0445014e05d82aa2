"""Who may answer a turn in place of the model, as turns see it."""

from __future__ import annotations

from typing import Callable, Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.control.origin import Origin
from loong_gateway.providers.contract import Completion

__all__ = ["Agent", "Agents", "NoAgents"]


class Agent(Protocol):
    """An outside agent that was chosen for one turn."""

    def complete(
        self, *, deadline: Deadline, stop: StopToken, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Its answer, told to `on_text` as it grows. Blocks; raises ProviderFault."""


class Agents(Protocol):
    """Thread-safe."""

    def choose(self, origin: Origin, text: str) -> Agent | None:
        """The agent that answers this turn, None when the model does. Does not block."""


class NoAgents:
    """There are none."""

    def choose(self, origin: Origin, text: str) -> Agent | None:  # noqa: ARG002  whoever asks
        """See Agents."""
        return None
