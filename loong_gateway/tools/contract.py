"""What a tool is: its name, its arguments, whether it acts, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.control.origin import Origin

__all__ = ["BadArgument", "Tool", "ToolContext", "ToolFailed"]


class BadArgument(Exception):
    """Raised by a tool for arguments that make no sense. `str()` names the argument, never its value."""


class ToolFailed(Exception):
    """Raised by a tool that could not do what it was asked. `str()` is one line for the model, without secrets."""


@dataclass(frozen=True)
class ToolContext:
    """For whom and for how long a tool runs; `is_direct` when a client of the port calls it, and not the model."""

    origin: Origin
    deadline: Deadline
    stop: StopToken
    is_direct: bool = False

    @property
    def session(self) -> str | None:
        """The stored key of the session."""
        return self.origin.session


@dataclass(frozen=True)
class Tool:
    """`run` is given the checked arguments; it may block until the deadline, and returns JSON values.

    `arguments` are JSON Schemas by name; only `type` ("string", "integer", "boolean", "array" with `items` and
    `maxItems`), `minimum`, `maximum`, `maxLength`, `enum` and `default` are read. `required` must be there. With a
    `schema` (of a tool that is not our own) that is what the model is shown, and arguments are passed on as they came.
    `acts` says that it changes something outside of this process: such a call is written down before it begins, is
    never begun again after a crash, and may have to be approved. `available` says whether the configuration
    allows it at all.
    """

    name: str
    description: str
    run: Callable[[Mapping[str, object], ToolContext], Mapping[str, object]]
    arguments: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    acts: bool = False
    schema: Mapping[str, object] | None = None
    available: Callable[[], bool] = lambda: True
