"""What a refused request is changed into: fewer optional parts, or less of the history. Knows no protocol."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from loong_gateway.providers.contract import Message

__all__ = ["CAPS", "Adaptations", "shorten", "swapped"]

MAX_MODELS = 64
# The two names of the token limit.
CAPS = ("max_tokens", "max_completion_tokens")


def swapped(cap: str) -> str:
    """The other name of the token limit."""
    return CAPS[1 - CAPS.index(cap)]


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

    def learn(self, model: str, parameter: str, sent: Collection[str]) -> bool:
        """The model refused `parameter` of the parts that were sent; True when the request can be changed for it."""
        with self._guard:
            known = self._without.get(model, frozenset())
            # A message may name the new form while the old one was sent, or the other way round.
            if parameter in CAPS and parameter not in sent and swapped(parameter) in sent:
                parameter = swapped(parameter)
            if parameter not in sent or parameter in known:
                return False
            if len(self._without) >= MAX_MODELS:
                self._without.clear()
            self._without[model] = known | {parameter}
            return True
