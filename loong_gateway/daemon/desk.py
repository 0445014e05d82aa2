"""The control plane of an owner: what the port may ask of it, answered from any thread."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.bus import Bus
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.faults import CommandError
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.timers import Timers
from loong_gateway.config.snapshot import Config
from loong_gateway.control import (
    ChannelOutcome,
    ChannelRequest,
    ProbeOutcome,
    SecretsOutcome,
    SendOutcome,
    SendRequest,
)
from loong_gateway.control.approvals import Approvals
from loong_gateway.control.audit import Audit, NoAudit
from loong_gateway.control.runs import Runs
from loong_gateway.control.sessions import Sessions
from loong_gateway.control.settings import SettingsDesk
from loong_gateway.control.tools import ToolDesk
from loong_gateway.control.work_units import WorkUnits
from loong_gateway.daemon.main_loop import MainLoop
from loong_gateway.daemon.parts import DeskParts, LifeState
from loong_gateway.daemon.report import Report
from loong_gateway.daemon.restarts import Restarts
from loong_gateway.messaging.engine import Engine
from loong_gateway.providers.contract import Embeddings
from loong_gateway.storage.acp_sessions import AcpSession
from loong_gateway.tools.builtin import all_tools

__all__ = ["Desk"]

CHANNELS_OFF = "the channels are off after several early ends"


class Desk:
    """Implements control.ControlPlane. Thread-safe: it asks the main loop, and otherwise what is thread-safe itself."""

    def __init__(
        self,
        engine: Engine,
        report: Report,
        life: LifeState,
        loop: MainLoop,
        parts: DeskParts,
        restarts: Restarts,
    ) -> None:
        self._engine = engine
        self._parts = parts
        self._audit: Audit = parts.audit or NoAudit()
        self._report = report
        self._life = life
        self._loop = loop
        tools = all_tools(self, wall_ms, parts.egress, parts.own_paths)
        engine.answering.tools.add(lambda: tools)
        engine.answering.tools.add(parts.tool_servers.tools, parts.tool_servers.prepare)
        self._restarts = restarts

    @property
    def bus(self) -> Bus:
        """See control.ControlPlane."""
        return self._engine.bus

    @property
    def metrics(self) -> Metrics:
        """See control.ControlPlane."""
        return self._engine.metrics

    @property
    def timers(self) -> Timers:
        """See control.ControlPlane."""
        return self._engine.timers

    @property
    def runs(self) -> Runs:
        """See control.ControlPlane."""
        return self._engine.runs

    @property
    def sessions(self) -> Sessions:
        """See control.ControlPlane."""
        return self._engine.sessions

    @property
    def settings(self) -> SettingsDesk:
        """See control.ControlPlane."""
        return self._parts.settings

    @property
    def tools(self) -> ToolDesk:
        """See control.ControlPlane."""
        return self._engine.answering.tools

    @property
    def approvals(self) -> Approvals:
        """See control.ControlPlane."""
        return self._engine.answering.approvals

    @property
    def work_units(self) -> WorkUnits:
        """See control.ControlPlane."""
        return self._parts.work_units

    def config(self) -> Config:
        """See control.ControlPlane."""
        return self._engine.config

    def started(self) -> bool:
        """See control.ControlPlane."""
        return self._report.started()

    def ready(self) -> tuple[str, ...]:
        """See control.ControlPlane."""
        return self._report.unready()

    def status(self) -> Mapping[str, object]:
        """See control.ControlPlane."""
        document = self._report.document()
        del document["owner_token"]
        return document

    def request_stop(self, reason: str) -> str:
        """See control.ControlPlane."""
        if self._loop.stop_reason is not None and not self._loop.restarting:
            return "already_requested"
        self._loop.ask_to_stop(reason)
        return "requested"

    def resume(self) -> bool:
        """See control.ControlPlane."""
        if self._life.channels_on:
            return False
        self._life.resume_asked = True
        self._loop.wake()
        return True

    def send(self, request: SendRequest) -> SendOutcome:
        """See control.ControlPlane."""
        self._require_running()
        outcome = self._engine.send(request)
        # Neither what was sent nor to whom.
        facts = {"connector": request.channel, "account": outcome.account, "operation": "send"}
        self._audit.record(
            "ConnectorInvoked",
            {**facts, "outcome": outcome.state, "send_id": _digest(outcome.id), "files": len(request.files)},
        )
        return outcome

    def channel(self, request: ChannelRequest) -> ChannelOutcome:
        """See control.ControlPlane."""
        self._require_running()
        if not self._life.channels_on and request.action != "stop":
            raise CommandError("run.channels_off")
        outcome = self._engine.channels.act(request)
        facts = {"plane": "channel", "operation": request.action, "channel": outcome.channel}
        self._audit.record("PlaneInvoked", {**facts, "account": outcome.account, "outcome": outcome.outcome})
        return outcome

    def probe_channel(self, channel: str, account: str, *, timeout_s: float) -> ProbeOutcome:
        """See control.ControlPlane."""
        self._require_running()
        return self._engine.channels.probe(channel, account, timeout_s=timeout_s)

    def reload_secrets(self) -> Sequence[SecretsOutcome]:
        """See control.ControlPlane."""
        self._require_running()
        outcomes = self._reload_secrets()
        unavailable = sum(1 for one in outcomes if one.outcome == "unavailable")
        facts = {"plane": "secrets", "operation": "reload", "accounts": len(outcomes)}
        self._audit.record("PlaneInvoked", {**facts, "unavailable": unavailable})
        return outcomes

    def _reload_secrets(self) -> Sequence[SecretsOutcome]:
        # The port's own first: who has lost it needs no channel.
        own = [outcome for held in self._parts.held if (outcome := held.reload()) is not None]
        if not self._life.channels_on:
            states = self._engine.supervisor.states()
            return [
                *own,
                *(SecretsOutcome(one.channel, one.account, "stopped", CHANNELS_OFF) for one in states),
            ]
        return [*own, *self._engine.channels.reload_secrets()]

    def request_restart(self, reason: str, *, delay_s: float = 0.0) -> str:
        """See control.ControlPlane."""
        if self._life.phase == "starting":
            raise CommandError("run.not_up", phase=self._life.phase)
        return self._restarts.request(reason, delay_s)

    def restart_due_in_s(self) -> float | None:
        """See control.ControlPlane."""
        return self._restarts.due_in_s()

    def models(self, *, refresh: bool, timeout_s: float) -> Sequence[Mapping[str, object]]:
        """See control.ControlPlane."""
        return self._parts.models.models(refresh=refresh, timeout_s=timeout_s)

    def tool_servers(self) -> Sequence[Mapping[str, object]]:
        """See control.ControlPlane."""
        return self._parts.tool_servers.facts()

    def embed(
        self,
        texts: Sequence[str],
        *,
        profile: str | None,
        model: str | None,
        dimensions: int | None,
        deadline: Deadline,
        stop: StopToken,
    ) -> Embeddings:
        """See control.ControlPlane."""
        return self._engine.providers.embed(
            texts, profile=profile, model=model, dimensions=dimensions, deadline=deadline, stop=stop
        )

    def agent_sessions(self, limit: int) -> tuple[Sequence[AcpSession], int]:
        """See control.ControlPlane."""
        return self._engine.answering.agents.sessions(limit)

    def log_file(self) -> str:
        """See control.ControlPlane."""
        return self._parts.log_path

    def _require_running(self) -> None:
        if self._life.phase != "running":
            raise CommandError("run.not_up", phase=self._life.phase)


def _digest(id: str) -> str:
    """What an id can be known again by: callers make ids of their own words."""
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
