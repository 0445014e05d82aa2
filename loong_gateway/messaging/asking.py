"""Asks the model: the history of a session, a question, and a provider. Runs on lane workers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.control.agents import Agents
from loong_gateway.control.origin import Origin
from loong_gateway.messaging.conversation import Question, build_call
from loong_gateway.messaging.memory import Past, Summaries, recall, spent_on
from loong_gateway.messaging.tool_rounds import OnTool, ToolRounds
from loong_gateway.providers.contract import Completion, Provider, ProviderFault
from loong_gateway.providers.fault_counts import faults_counted
from loong_gateway.storage import usage
from loong_gateway.storage.store import Store
from loong_gateway.storage.usage import Spent

__all__ = ["Answer", "Asking", "ProviderOf"]

logger = logging.getLogger("loong.turns")


class ProviderOf(Protocol):
    """Where providers come from."""

    def __call__(self, profile: str | None = None, /) -> Provider:
        """The provider of a profile, the active one for None. Raises ProviderFault when there is none."""


@dataclass(frozen=True)
class Answer:
    """What the model said, and the id of the session whose history it was shown, None without one.

    `spent` is what it took, to be kept with the answer; None for an agent's.
    """

    completion: Completion
    begun_in: str | None
    spent: Spent | None = None


class Asking:
    """Thread-safe. Counts how long answers took, and what failed. `summaries` hears what turns are shown."""

    def __init__(  # noqa: PLR0913  what an answer is made of
        self,
        store: Store,
        *,
        config: Callable[[], Config],
        provider: ProviderOf,
        rounds: ToolRounds,
        agents: Agents,
        metrics: Metrics,
        clock: Clock,
        summaries: Summaries | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._provider = provider
        self.rounds = rounds
        self._agents = agents
        self._metrics = metrics
        self._clock = clock
        self._summaries = summaries

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

        `on_tool` is told of the tools that are called on the way. Blocks; raises ProviderFault and StoreUnwritable.
        """
        config = self._config()
        past = None if origin.session is None else self._recall(origin.session, config)
        begun_in = past.session if past else None
        begin_s = self._clock.monotonic_s()
        try:
            agent = self._agents.choose(origin, question.text)
            if agent is not None:
                return Answer(agent.complete(deadline=deadline, stop=stop, on_text=on_text), begun_in)
            call = build_call(
                config, past.history if past else (), question, before=past.before if past else ""
            )
            name = profile or config.active_provider or ""
            with self._failures_counted(name, question.model, origin, stop):
                completion = self.rounds.complete(
                    self._provider(profile),
                    call,
                    origin,
                    deadline=deadline,
                    stop=stop,
                    on_text=on_text,
                    on_tool=on_tool,
                )
            spent = spent_on(completion, name, origin.session)
            count_spent(self._metrics, spent)
            return Answer(completion, begun_in, spent)
        finally:
            self._metrics.observe("turn", self._clock.monotonic_s() - begin_s)

    def answer_kept(self, session: str | None) -> None:
        """Hear that an answer in this session is on disk. Never blocks."""
        if self._summaries is not None and session is not None:
            self._summaries.kept(session)

    def keep_spent(self, spent: Spent | None) -> None:
        """Keep what was spent on an answer that is not kept itself; returns at once."""
        if spent is not None:
            now_ms = self._clock.wall_ms()
            try:
                self._store.submit_lazy(lambda conn: usage.add(conn, spent, now_ms))
            except StoreUnwritable as error:
                logger.warning("what an answer took is not kept: %s", error)

    @contextlib.contextmanager
    def _failures_counted(
        self, profile: str, model: str | None, origin: Origin, stop: StopToken
    ) -> Iterator[None]:
        """Count what the model failed at, in the figures and in the usage."""
        try:
            with faults_counted(self._metrics, profile, stop):
                yield
        except ProviderFault:
            if not stop.is_set():
                self.keep_spent(Spent(profile, model or "", origin.session, failed=True))
            raise

    def _recall(self, session: str, config: Config) -> Past | None:
        try:
            past = self._store.read(lambda conn: recall(conn, session, config.memory))
        except StoreUnwritable as error:
            if not config.memory.fail_open:
                raise
            # An answer without the past is worth more than none.
            logger.warning("a turn goes on without its history: %s", error)
            return None
        if self._summaries is not None:
            self._summaries.note(session, past)
        return past


def count_spent(metrics: Metrics, spent: Spent) -> None:
    """Count an answer and its tokens, by profile."""
    metrics.add(f"provider_answers:{spent.profile}")
    for name in usage.TOKENS:
        if spent.tokens.get(name):
            metrics.add(f"tokens:{name}:{spent.profile}", spent.tokens[name])
