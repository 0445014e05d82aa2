"""Whether an outside agent may do what it asks for: by the approval mode or a person, as tools that act."""

from __future__ import annotations

from collections.abc import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.config.snapshot import Config
from loong_gateway.control.audit import Audit
from loong_gateway.control.origin import Origin
from loong_gateway.tools.approvals import APPROVED, ApprovalDesk
from loong_gateway.tools.desk import Call

__all__ = ["AgentPermits"]


class AgentPermits:
    """Stateless, so thread-safe."""

    def __init__(self, config: Callable[[], Config], approvals: ApprovalDesk, audit: Audit) -> None:
        self._config = config
        self._approvals = approvals
        self._audit = audit

    def permit(self, origin: Origin, agent: str, title: str, stop: StopToken) -> bool:
        """Whether it may. Blocks until somebody has decided, the time for that is over, or `stop` is set."""
        settings = self._config().tools.approval
        if settings.mode == "disabled":
            return True
        step = {"step": title}
        asked = Call(agent, step, origin, Deadline(settings.timeout_s), stop)
        outcome = self._approvals.ask(agent, step, asked)
        if outcome != APPROVED:
            # The title is the agent's own words about its task.
            self._audit.record("AuthorizationDenied", {"subject": "acp", "reason": outcome}, agent=agent)
        return outcome == APPROVED
