"""A conversation for protocols in which the user and the assistant take turns and the system text stands apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from loong_gateway.providers.contract import CallOptions, Function, Message, ToolCall

__all__ = ["DEFAULT_MAX_TOKENS", "alternating", "arguments_of", "functions_of", "sampling"]

# Where a limit must be sent and nobody set one.
DEFAULT_MAX_TOKENS = 4096


def alternating(messages: Sequence[Message]) -> tuple[str, list[tuple[str, list[Message]]]]:
    """The system text, and the turns: "user" first, then by turns; results of tools belong to the user's.

    Messages without content are left out, and what stands before the first message of the user.
    """
    system = "\n\n".join(m.content for m in messages if m.role == "system" and m.content.strip())
    turns: list[tuple[str, list[Message]]] = []
    for message in messages:
        filled = message.content.strip() or message.images or message.tool_calls or message.role == "tool"
        if message.role == "system" or not filled or (not turns and message.role != "user"):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].append(message)
    return system, turns


def functions_of(messages: Sequence[Message], options: CallOptions) -> tuple[Function, ...]:
    """The functions on offer; those that were called before where there are none, which must not go undeclared."""
    called = {call.name: Function(call.name) for m in messages for call in m.tool_calls}
    return options.tools or tuple(called.values())


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments as an object, empty when the model wrote something else."""
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def sampling(temperature: float | None, options: CallOptions) -> tuple[float | None, float | None]:
    """Temperature, at most 1, and top_p. Newer models refuse both at once: what the caller named is sent."""
    if options.temperature is None and options.top_p is not None:
        return None, options.top_p
    wanted = temperature if options.temperature is None else options.temperature
    return None if wanted is None else min(wanted, 1.0), options.top_p
