"""Everything that an answer comes from: providers, tools and their approvals, outside agents, the past."""

from __future__ import annotations

from typing import Callable

from loong_gateway.acp.agents import AcpAgents, AcpParts
from loong_gateway.acp.starts import AgentStarts
from loong_gateway.base.bus import Bus
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.pool import Pool
from loong_gateway.base.timers import Timers
from loong_gateway.config import secrets
from loong_gateway.config.snapshot import Config, SecretRef
from loong_gateway.messaging.agent_permits import AgentPermits
from loong_gateway.messaging.asking import Asking
from loong_gateway.messaging.engine_parts import EngineParts
from loong_gateway.messaging.kept_rounds import KeptRounds
from loong_gateway.messaging.memory import Summaries
from loong_gateway.messaging.tool_rounds import ToolRounds
from loong_gateway.providers.profiles_in_use import ProfilesInUse
from loong_gateway.tools.approvals import ApprovalDesk, Tell
from loong_gateway.tools.desk import Tools

__all__ = ["Answering"]


class Answering:
    """Built once; each part is thread-safe by itself. `tell` says in a conversation that a call waits for a person."""

    def __init__(
        self,
        config: Callable[[], Config],
        parts: EngineParts,
        bus: Bus,
        metrics: Metrics,
        timers: Timers,
        tell: Tell,
    ) -> None:
        self._parts = parts
        self.providers = ProfilesInUse(
            config,
            environ=parts.environ,
            resolve_secret=self.resolve_secret,
            metrics=metrics,
            record=parts.audit.record,
            state=parts.provider_state,
        )
        self.approvals = ApprovalDesk(config, bus, parts.clock, tell)
        self.tools = Tools(config, audit=parts.audit, metrics=metrics, approvals=self.approvals)
        self.summaries = Summaries(
            parts.store,
            Pool("memory", parts.threads, threads=2, waiting=64, weight=0),
            config=config,
            provider=self.providers.provider,
            clock=parts.clock,
        )
        self.agents = AcpAgents(
            AcpParts(
                parts.store,
                config=config,
                starts=AgentStarts(
                    parts.threads, timers, parts.clock, parts.environ, parts.home, self.resolve_secret
                ),
                permit=AgentPermits(config, self.approvals, parts.audit).permit,
                audit=parts.audit,
                threads=parts.threads,
                clock=parts.clock,
                home=parts.home,
            )
        )
        self.asking = Asking(
            parts.store,
            config=config,
            provider=self.providers.provider,
            rounds=ToolRounds(self.tools, self.approvals, KeptRounds(parts.store, parts.clock), config),
            agents=self.agents,
            metrics=metrics,
            clock=parts.clock,
            summaries=self.summaries,
        )

    def resolve_secret(self, ref: SecretRef) -> str:
        """The secret that `ref` leads to, remembered for redaction. Blocks; raises SecretUnavailable."""
        value = secrets.resolve(ref, self._parts.environ)
        for part in secrets.parts_of(value, several=ref.several):
            self._parts.redactor.register(part)
        return value

    def close(self) -> None:
        """Wait for nobody's approval any more, and make no more summaries. The agents are closed by themselves."""
        self.approvals.close()
        self.summaries.close()
