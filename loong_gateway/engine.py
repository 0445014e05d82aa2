"""Everything between a platform and the model: intake, lanes, turns, delivery and the surfaces, on one open store."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from loong_channels import catalog
from loong_channels.contract import Account, Channel, ChannelSpec, Outbound
from loong_channels.net import Egress
from loong_channels.text import split
from loong_channels.waiting import Deadline
from loong_gateway import cursors, inbox, outbox, secrets
from loong_gateway.clock import Clock
from loong_gateway.control import SendOutcome, SendRequest, TurnRequest, TurnResult
from loong_gateway.delivery import Delivery, DeliveryTask, Fate
from loong_gateway.faults import CommandError
from loong_gateway.ids import new_id
from loong_gateway.intake import Intake
from loong_gateway.lanes import Lanes
from loong_gateway.metrics import Metrics
from loong_gateway.moves import Moves
from loong_gateway.outbox import Part
from loong_gateway.parking import Parking
from loong_gateway.providers.contract import Provider, ProviderFault
from loong_gateway.providers.factory import build_provider
from loong_gateway.redaction import Redactor
from loong_gateway.selectors import account_for
from loong_gateway.sessions import session_key
from loong_gateway.slots import Slot, SlotServices
from loong_gateway.snapshot import AccountConfig, Config, SecretRef
from loong_gateway.store import Store
from loong_gateway.supervisor import Supervisor
from loong_gateway.threads import ThreadRegistry
from loong_gateway.turns import RequestTask, Turns, TurnTask

__all__ = ["Engine", "EngineParts", "OpenChannel", "open_channel"]

logger = logging.getLogger("loong.engine")

PROVIDER_MISSING_FIX = "write a [providers.ID] table and active_provider into the config, then: loong validate-config"


class OpenChannel(Protocol):
    """Makes the channel object of an account; raises secrets.SecretUnavailable."""

    def __call__(self, account: AccountConfig, config: Config) -> Channel:
        """Resolve the secrets and build the channel."""


@dataclass(frozen=True)
class EngineParts:
    """What an engine is given: the world around it."""

    store: Store
    threads: ThreadRegistry
    egress: Egress
    environ: dict[str, str]
    redactor: Redactor
    clock: Clock
    changed: Callable[[], None]


class Engine:
    """Thread-safe. `config` is swapped whole; everything reads it at use."""

    def __init__(self, config: Config, parts: EngineParts) -> None:
        self.config = config
        self.metrics = Metrics()
        self.supervisor = Supervisor()
        self._parts = parts
        self._parking = Parking(parts.clock)
        self._provider: Provider | None = None
        self.lanes = Lanes(
            parts.threads,
            workers=config.gateway.workers,
            lane_limit=config.limits.lane_waiting,
            total_limit=config.limits.total_waiting,
            clock=parts.clock,
        )
        self.delivery = Delivery(
            parts.store,
            self.supervisor,
            config=lambda: self.config,
            parking=self._parking,
            metrics=self.metrics,
            clock=parts.clock,
        )
        self.turns = Turns(
            parts.store,
            self.delivery,
            self.supervisor,
            config=lambda: self.config,
            provider=self.provider,
            status_line=self._status_line,
            metrics=self.metrics,
            clock=parts.clock,
        )
        self._intake = Intake(
            parts.store,
            self.lanes,
            config=lambda: self.config,
            turn_task=lambda seq: TurnTask(self.turns, seq),
            delivery_task=lambda group: DeliveryTask(self.delivery, group),
            metrics=self.metrics,
            clock=parts.clock,
        )
        self._slot_services = SlotServices(
            open_channel=self._open_channel,
            accept=self._intake.accept,
            cursor=lambda name: parts.store.read(lambda conn: cursors.get(conn, name)),
            opened=self.lanes.open_gate,
            changed=parts.changed,
            moves=Moves(parts.store),
            parking=self._parking,
            threads=parts.threads,
            metrics=self.metrics,
            clock=parts.clock,
        )
