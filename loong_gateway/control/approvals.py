"""Calls of tools that wait for a person, as those see them who may decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Approvals", "WaitingCall"]


@dataclass(frozen=True)
class WaitingCall:
    """A call that waits. `summary` is one harmless line about its arguments, `lane` the conversation or ""."""

    id: str
    tool: str
    summary: str
    entry: str
    session: str | None
    lane: str
    asked_ms: int
    expires_ms: int


class Approvals(Protocol):
    """Thread-safe; nothing here blocks."""

    def waiting(self) -> Sequence[WaitingCall]:
        """The calls that wait, oldest first."""

    def resolve(self, id: str, *, approved: bool) -> bool:
        """Decide as an operator; False when no such call waits. Each is decided once."""
