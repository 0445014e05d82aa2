"""Runs: one question to the model each, from a client of the port, with a name by which it can be asked for again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loong_gateway.providers.contract import CallOptions, Image, Message, ToolCall, Usage

__all__ = ["ReplyTarget", "RunRefused", "RunRequest", "RunResult", "RunTicket", "RunWatcher", "Runs"]


@dataclass(frozen=True)
class ReplyTarget:
    """Where the answer of a run is sent as well. `account` None means the channel's default."""

    channel: str
    account: str | None
    target: str
    thread: str | None = None
    best_effort: bool = False


@dataclass(frozen=True)
class RunRequest:
    """What to ask. `run_id` is the caller's idempotency key, or a new id.

    `session` is a stored session key: the run waits for its turn there, is shown its history, and is remembered.
    None is a run by itself: it waits for nobody and leaves nothing behind. `messages` is the conversation as the
    caller tells it, the newest last; then `text` is what is remembered of it as the question. Empty means `text`
    (and `images`) alone. With a session, its history comes before them. `system` is said to the model besides
    `cli.system_prompt`. `profile` and `model` replace the active provider and its model.
    A run that ends with tool calls is not remembered yet: the next one tells question, calls and results again.
    A `durable` run is on disk before it is admitted, is begun again after a crash, and its result can be asked for
    after a restart. `origin`: "rpc", "http", "hook" or "turn". `wants_agent` is that of control.origin.Origin.
    """

    run_id: str
    text: str
    session: str | None = None
    messages: tuple[Message, ...] = ()
    images: tuple[Image, ...] = field(default=(), repr=False)
    system: str = ""
    profile: str | None = None
    model: str | None = None
    options: CallOptions = field(default_factory=CallOptions)
    timeout_s: float = 600.0
    durable: bool = False
    deliver: ReplyTarget | None = None
    label: str = ""
    origin: str = "rpc"
    wants_agent: bool = False


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `state`: "ok", "error", "aborted" or "timed_out".

    `error` is one line for people without secrets, `error_code` a provider's fault class or "busy", "stopping",
    "store_unwritable", "internal"; both are "" when all is well. `stop_reason` says who aborted it: "rpc", "user",
    "client_gone", "shutdown". `delivery` is the state of the send that `deliver` asked for, None without one.
    `retry_after_s` is what the provider asked for when it was too long to wait.
    """

    run_id: str
    state: str
    text: str = ""
    error: str = ""
    error_code: str = ""
    stop_reason: str = ""
    provider: str = ""
    model: str = ""
    usage: Usage | None = None
    truncated: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    session: str | None = None
    session_id: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    delivery: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True)
class RunTicket:
    """What became of an admission. `state`: "accepted", "in_flight" (the key runs already) or "ended" (see `result`).

    `accepted_ms` is when it was admitted first.
    """

    run_id: str
    state: str
    session: str | None
    accepted_ms: int
    result: RunResult | None = None


class RunRefused(Exception):
    """Raised for a run that is not admitted. `code`: "busy", "stopping", "store_unwritable" or "unknown_profile".

    `str()` is one line for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RunWatcher(Protocol):
    """Told how one run goes, in the order it happens, from the thread that runs it; must be quick and not block.

    A watcher that raises is not told anything further.
    """

    def grown(self, piece: str) -> None:
        """A new piece of the answer's text."""

    def ended(self, result: RunResult) -> None:
        """The end, always exactly once; every event of the run was published before."""


class Runs(Protocol):
    """Thread-safe. Nothing here waits for a run; `start` blocks for one commit when the run is durable."""

    def start(
        self,
        request: RunRequest,
        watcher: RunWatcher | None = None,
        admitted: Callable[[RunTicket], None] | None = None,
    ) -> RunTicket:
        """Admit a run; one id is never run twice.

        When it is accepted, `admitted` is called in this thread before anything of the run can happen or be
        published. A watcher makes the provider stream; it is also told of a run that was in flight already, from
        where it has got to (its first piece is all that was there). Raises RunRefused.
        """

    def watch(
        self, run_id: str, on_end: Callable[[RunResult], None], *, early: bool = False
    ) -> Callable[[], None] | None:
        """Call `on_end` once when the run ends, at once and in this thread if it has; returns what takes that back.

        None when no such run is known. With `early` one that may still come is waited for, unless too many are.
        """

    def abort(
        self, *, session: str | None = None, run_id: str | None = None, reason: str = "rpc"
    ) -> Sequence[str]:
        """Ask the run, or every run of the session, to end; returns the ids of those that were asked."""

    def active(self, session: str | None = None) -> Sequence[str]:
        """The ids of the runs that wait or run now, of one session or of all, oldest first."""
