"""Tools by name: what can be called through the port, and what may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["ToolDesk", "ToolInfo", "ToolOutcome", "ToolRequest"]


@dataclass(frozen=True)
class ToolRequest:
    """Call a tool. `entry` is where the request came in: "http" or "rpc"; `session` a stored key or None."""

    name: str
    arguments: Mapping[str, object]
    entry: str
    session: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class ToolInfo:
    """A tool that may be called, in one line, with the names of its arguments."""

    name: str
    description: str
    arguments: frozenset[str]


@dataclass(frozen=True)
class ToolOutcome:
    """What a tool gave, or why it was not called. `error_code` is "" or "not_found", "invalid_request", "refused" (a
    person did not allow this call), "interrupted", "failed".

    A tool that is denied is "not_found" as well: nobody learns which ones there are.
    """

    content: Mapping[str, object]
    text: str = ""
    error_code: str = ""
    error: str = ""


class ToolDesk(Protocol):
    """Thread-safe. The one place where it is decided what may be called."""

    def invoke(self, request: ToolRequest) -> ToolOutcome:
        """Call it if that is allowed. Blocks; never raises for what the tool does."""

    def offered(self, entry: str) -> tuple[ToolInfo, ...]:
        """What the port may call there, by name."""

    def visible(self) -> tuple[ToolInfo, ...]:
        """What the model may call, by name."""
