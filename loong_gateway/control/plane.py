"""What the port may ask of a running gateway. The runtime implements it; tests implement a small one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.bus import Bus
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.timers import Timers
from loong_gateway.config.snapshot import Config
from loong_gateway.providers.contract import Embeddings
from loong_gateway.storage.acp_sessions import AcpSession

from .approvals import Approvals
from .operations import (
    ChannelOutcome,
    ChannelRequest,
    ProbeOutcome,
    SecretsOutcome,
    SendOutcome,
    SendRequest,
)
from .runs import Runs
from .sessions import Sessions
from .settings import SettingsDesk
from .tools import ToolDesk
from .work_units import WorkUnits

__all__ = ["ControlPlane"]


class ControlPlane(Protocol):
    """All methods are thread-safe and return at once unless their text says that they block."""

    @property
    def bus(self) -> Bus:
        """Where everything that happens is told."""

    @property
    def metrics(self) -> Metrics:
        """What is counted."""

    @property
    def timers(self) -> Timers:
        """For what is due later and takes no time."""

    @property
    def runs(self) -> Runs:
        """Questions to the model."""

    @property
    def sessions(self) -> Sessions:
        """Conversations that are remembered."""

    @property
    def settings(self) -> SettingsDesk:
        """The configuration file."""

    @property
    def tools(self) -> ToolDesk:
        """What can be called by name."""

    @property
    def approvals(self) -> Approvals:
        """Calls of tools that wait for a person."""

    @property
    def work_units(self) -> WorkUnits:
        """Durable items of work."""

    def config(self) -> Config:
        """The configuration that is applied at this moment."""

    def started(self) -> bool:
        """True once every enabled surface has been started once."""

    def ready(self) -> tuple[str, ...]:
        """The reasons why the gateway is not ready, empty when it is: "starting", "stopping", "store_unwritable"..."""

    def status(self) -> Mapping[str, object]:
        """The status document: the fields of `gateway status --json`, without what only the reader can know."""

    def request_stop(self, reason: str) -> str:
        """Ask for a stop; "requested" or "already_requested"."""

    def resume(self) -> bool:
        """Switch the channels on again that the crash-loop breaker keeps off; False when they are on."""

    def send(self, request: SendRequest) -> SendOutcome:
        """Put it into the outbox and wait for its fate. Blocks up to `wait_s`.

        Raises CommandError for an unknown channel, account or target kind, an option that the channel does not take,
        a file that is no copy, StoreUnwritable when it cannot be kept.
        """

    def channel(self, request: ChannelRequest) -> ChannelOutcome:
        """Start, stop or restart one account. Blocks up to `wait_s`. Raises CommandError for one not served here."""

    def probe_channel(self, channel: str, account: str, *, timeout_s: float) -> ProbeOutcome:
        """Ask a platform through the channel that serves the account. Blocks up to `timeout_s`.

        Raises CommandError for an account that is not served here.
        """

    def reload_secrets(self) -> Sequence[SecretsOutcome]:
        """Read the port's secret and those of the accounts again, and restart what needs it.

        While the channels are kept off, only the port's own is read. Blocks for files and programs.
        """

    def request_restart(self, reason: str, *, delay_s: float = 0.0) -> str:
        """Ask for a restart of this gateway; "requested" or "already_requested".

        It begins after `delay_s`, and not sooner than 30 s after the last one; `restart_due_in_s` says when. Blocks
        for the configuration and the gateway's own secret: raises CommandError `restart.*` when a start with them
        would be refused, and then nothing was stopped.
        """

    def restart_due_in_s(self) -> float | None:
        """Seconds until the restart that was asked for begins, 0 once it has; None when none was asked for."""

    def models(self, *, refresh: bool, timeout_s: float) -> Sequence[Mapping[str, object]]:
        """The models of every configured provider profile: {id, profile, kind, available, error?, error_code?, keys?}.

        The first row of a profile is the model that it is configured for; there `keys` says how several of them fare.
        Blocks for the providers when they are asked anew; one that does not answer is listed with that model alone.
        """

    def tool_servers(self) -> Sequence[Mapping[str, object]]:
        """The configured tool servers: {name, enabled, allowed, state, tools, skipped, restarts, last_error}.

        `state` is "stopped" (no list allows it), "starting", "ready" or "failed". Quick.
        """

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
        """One vector for each text. Blocks; raises ProviderFault, kind "not_supported" where there is no such model."""

    def agent_sessions(self, limit: int) -> tuple[Sequence[AcpSession], int]:
        """The conversations with outside agents, the one that was used last first, and how many there are in all.

        Blocks for a look into the store. Raises StoreUnwritable.
        """

    def log_file(self) -> str:
        """The path of the file that this gateway writes its log to."""
