"""A child process that speaks JSON-RPC 2.0 on its standard streams, one message a line, in both directions.

https://www.jsonrpc.org/specification
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable, Protocol

from loong_channels.waiting import Deadline, StopToken

__all__ = ["PeerFailed", "PeerLimits", "PeerProgram", "StdioPeer"]


@dataclass(frozen=True)
class PeerProgram:
    """What to start. `env` is all that it is given, `name` is for threads and logs."""

    name: str
    command: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class PeerLimits:
    """How much of a peer is borne: its longest line, what of its messages may wait, what is kept of its words."""

    line_bytes: int = 4 << 20
    waiting_messages: int = 1000
    waiting_bytes: int = 16 << 20
    stderr_bytes: int = 64 << 10


class PeerFailed(Exception):
    """Raised for a request that gave nothing; `str()` is one line without secrets.

    `kind`: "not_started", "gone" (it ended), "timed_out", "interrupted", "refused" (its own JSON-RPC error, with
    `code`), "invalid" (not the protocol) or "flooded" (more than it may send; it was ended).
    """

    def __init__(self, kind: str, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code


# Answers a request of the peer with its result; may raise PeerFailed of kind "refused" with a code.
OnRequest = Callable[[str, object], object]
OnNotice = Callable[[str, object], None]


class StdioPeer(Protocol):
    """Thread-safe."""

    def request(self, method: str, params: object, *, deadline: Deadline, stop: StopToken) -> object:
        """Its result. Blocks; raises PeerFailed."""

    def notify(self, method: str, params: object) -> None:
        """Tell it something; what it can not take any more is dropped. Raises PeerFailed when it is gone."""

    def close(self, deadline: Deadline) -> None:
        """End it: close its input, then TERM, then KILL, all of its group; reap it. Blocks; idempotent."""

    @property
    def alive(self) -> bool:
        """Whether it still runs."""

    def stderr_tail(self) -> Sequence[str]:
        """The last lines that it wrote for people, without control characters."""
