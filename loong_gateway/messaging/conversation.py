"""Puts together what a model is asked: system text, the window of history, the new message. Pure.

Every entry (chat platform, terminal, port) uses this one function, so the same conversation reads the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loong_gateway.config.snapshot import Config
from loong_gateway.providers.contract import Image, Message, ProviderCall

__all__ = ["Question", "build_call"]


@dataclass(frozen=True)
class Question:
    """A new message as the model is given it. `remembered` is what its history keeps, None for the text as it is."""

    text: str
    images: tuple[Image, ...] = ()
    remembered: str | None = None


def build_call(
    config: Config, history: Sequence[tuple[str, str]], text: str, images: tuple[Image, ...] = ()
) -> ProviderCall:
    """The call for one turn.

    `history` is (role, text) from old to new, without the new message; roles are "user", "assistant" and,
    for a notice, "system". At most `memory.sliding_window` turns of it are used, and it never starts in the middle of a
    turn: several providers refuse a conversation that begins with an answer.
    """
    said = [(role, content) for role, content in history if content]
    window = _whole_turns(said[-2 * config.memory.sliding_window :])
    messages = [Message(role, content) for role, content in window]
    system = config.cli.system_prompt.strip()
    if system:
        messages.insert(0, Message("system", system))
    messages.append(Message("user", text, images))
    return ProviderCall(messages=tuple(messages))


def _whole_turns(window: list[tuple[str, str]]) -> list[tuple[str, str]]:
    first = next((index for index, (role, _) in enumerate(window) if role == "user"), len(window))
    # A notice is no part of a turn.
    return [said for said in window[:first] if said[0] == "system"] + window[first:]
