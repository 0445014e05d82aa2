"""Asks the model: the history of a session, a question, and a provider. Runs on lane workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.control.agents import Agents
from loong_gateway.control.origin import Origin
from loong_gateway.messaging.conversation import Question, build_call
from loong_gateway.messaging.tool_rounds import OnTool, ToolRounds
from loong_gateway.providers.contract import Completion, Provider
from loong_gateway.providers.fault_counts import faults_counted
from loong_gateway.storage import transcripts
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.store import Store

__all__ = ["Answer", "Asking", "ProviderOf"]


class ProviderOf(Protocol):
    """Where providers come from."""

    def __call__(self, profile: str | None = None, /) -> Provider:
        """The provider of a profile, the active one for None. Raises ProviderFault when there is none."""


@dataclass(frozen=True)
class Answer:
    """What the model said, and the id of the session whose history it was shown, None without one."""

    completion: Completion
    begun_in: str | None


class Asking:
    """Stateless, so thread-safe. Counts how long answers took, and what failed."""

    def __init__(
        self,
        store: Store,
        *,
        config: Callable[[], Config],
        provider: ProviderOf,
        rounds: ToolRounds,
        agents: Agents,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._config = config
        self._provider = provider
        self.rounds = rounds
        self._agents = agents
        self._metrics = metrics
        self._clock = clock

    def complete(
        self,
        origin: Origin,
        question: Question,
        deadline: Deadline,
        stop: StopToken,
        *,
        profile: str | None = None,
        on_text: Callable[[str], None] | None = None,
        on_tool: OnTool | None = None,
    ) -> Answer:
        """The answer, of an agent that is meant for such turns or else of the model, streamed to `on_text`.

        `on_tool` is told of the tools that are called on the way.

        Blocks; raises ProviderFault and StoreUnwritable.
        """
        config = self._config()
        begun_in, history = (
            (None, [])
            if origin.session is None
            else self._history(origin.session, config.memory.sliding_window)
        )
        begin_s = self._clock.monotonic_s()
        try:
            agent = self._agents.choose(origin, question.text)
            if agent is not None:
                return Answer(agent.complete(deadline=deadline, stop=stop, on_text=on_text), begun_in)
            call = build_call(config, history, question)
            with faults_counted(self._metrics, profile or config.active_provider, stop):
                completion = self.rounds.complete(
                    self._provider(profile),
                    call,
                    origin,
                    deadline=deadline,
                    stop=stop,
                    on_text=on_text,
                    on_tool=on_tool,
                )
            return Answer(completion, begun_in)
        finally:
            self._metrics.observe("turn", self._clock.monotonic_s() - begin_s)

    def _history(self, session: str, turns: int) -> tuple[str, list[tuple[str, str]]]:
        def look(conn: Connection) -> tuple[str, list[tuple[str, str]]]:
            present = transcripts.active_session(conn, session)
            return present, transcripts.window(conn, present, turns)

        return self._store.read(look)
