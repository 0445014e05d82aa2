"""Puts together what a model is asked: system text, the window of history, the new message. Pure.

Every entry (chat platform, terminal, port) uses this one function, so the same conversation reads the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from loong_gateway.config.snapshot import Config
from loong_gateway.providers.contract import CallOptions, Image, Message, ProviderCall

__all__ = ["Question", "build_call"]


@dataclass(frozen=True)
class Question:
    """A new message as the model is given it. `remembered` is what its history keeps, None for the text as it is.

    `messages` stand in place of `text` and `images` where there are any. `system` is said besides the configured
    system text; `model` and `options` are for this one call.
    """

    text: str
    images: tuple[Image, ...] = ()
    remembered: str | None = None
    messages: tuple[Message, ...] = ()
    system: str = ""
    model: str | None = None
    options: CallOptions = field(default_factory=CallOptions)


def build_call(
    config: Config, history: Sequence[tuple[str, str]], question: Question, *, before: str = ""
) -> ProviderCall:
    """The call for one turn.

    `history` is (role, text) from old to new, without the new message; roles are "user", "assistant" and,
    for a notice, "system". At most `memory.sliding_window` turns of it are used, and it never starts in the middle of a
    turn: several providers refuse a conversation that begins with an answer. `before` tells in short what came before
    them; it and the note of the profile stand in the system text, after the configured one.
    """
    said = [(role, content) for role, content in history if content]
    window = _whole_turns(said[-2 * config.memory.sliding_window :])
    messages = [Message(role, content) for role, content in window]
    note = config.memory.profile_note if config.memory.profile == "profile_plus_window" else ""
    texts = (config.cli.system_prompt, note, before, question.system)
    system = "\n\n".join(text.strip() for text in texts if text.strip())
    if system:
        messages.insert(0, Message("system", system))
    messages += question.messages or (Message("user", question.text, question.images),)
    return ProviderCall(tuple(messages), options=question.options, model=question.model)


def _whole_turns(window: list[tuple[str, str]]) -> list[tuple[str, str]]:
    first = next((index for index, (role, _) in enumerate(window) if role == "user"), len(window))
    # A notice is no part of a turn.
    return [said for said in window[:first] if said[0] == "system"] + window[first:]
