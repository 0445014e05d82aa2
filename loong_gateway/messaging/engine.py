"""Everything between a platform and the model: intake, lanes, turns, delivery and the surfaces, on one open store."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from loong_channels import catalog
from loong_channels.contract import Account, Channel, ChannelSpec
from loong_gateway import VERSION
from loong_gateway.base.bus import Bus
from loong_gateway.base.clock_steps import ClockSteps
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.timers import Timers
from loong_gateway.base.wording import plural
from loong_gateway.config.outside import resolve_account
from loong_gateway.config.selectors import account_for
from loong_gateway.config.snapshot import AccountConfig, Config, SecretRef
from loong_gateway.control import SendOutcome, SendRequest
from loong_gateway.control.origin import Origin
from loong_gateway.messaging.answering import Answering
from loong_gateway.messaging.channel_control import ChannelControl
from loong_gateway.messaging.channel_holder import OpenChannel
from loong_gateway.messaging.delivery import STORE_GATE, Delivery, DeliveryTask
from loong_gateway.messaging.engine_parts import EngineParts
from loong_gateway.messaging.intake import Intake
from loong_gateway.messaging.lanes import Lanes
from loong_gateway.messaging.moves import Moves
from loong_gateway.messaging.operator_sends import OperatorSends
from loong_gateway.messaging.parking import Parking
from loong_gateway.messaging.parts import make_parts
from loong_gateway.messaging.recalls import Recalls
from loong_gateway.messaging.run_answers import RunAnswers
from loong_gateway.messaging.run_events import MakeEvents, RunEvents
from loong_gateway.messaging.runs import RunParts, RunTable
from loong_gateway.messaging.session_desk import SessionDesk
from loong_gateway.messaging.slots import Slot, SlotServices
from loong_gateway.messaging.supervisor import Supervisor
from loong_gateway.messaging.turn_runs import TurnRuns
from loong_gateway.messaging.turns import Turns, TurnSources, TurnTask
from loong_gateway.storage import counters, cursors, inbox, outbox, runs

__all__ = ["Engine", "RowCounts"]

logger = logging.getLogger("loong.engine")


@dataclass(frozen=True)
class RowCounts:
    """How many rows are in which state, by (channel, account), and how many damaged ones were ever set aside.

    `runs` are those of the port that have not ended.
    """

    inbox: Mapping[tuple[str, str], Mapping[str, int]]
    outbox: Mapping[tuple[str, str], Mapping[str, int]]
    quarantined: int
    runs: int = 0


class Engine:
    """Thread-safe. `config` is swapped whole; everything reads it at use."""

    def __init__(self, config: Config, parts: EngineParts) -> None:
        self.config = config
        self.metrics = Metrics()
        self.bus = Bus(parts.clock.wall_ms)
        self.timers = Timers("timers", parts.threads)
        self._events = functools.partial(RunEvents, self.bus, parts.clock, self.timers.later)
        self.supervisor = Supervisor()
        self.channels = ChannelControl(self.supervisor, parts.clock)
        self.webhooks = parts.webhooks
        self.audit = parts.audit
        self._parts = parts
        self._parking = Parking(parts.clock)
        self._clock_steps = ClockSteps(parts.clock)
        self._quarantined_before = 0
        self._rows = RowCounts({}, {}, 0)
        self.answering = Answering(
            lambda: self.config, parts, self.bus, self.metrics, self.timers, self._tell_of_approval
        )
        self.providers = self.answering.providers
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
            sources=TurnSources(lambda: self.config, self.answering.asking, lambda: _status_line(self)),
            runs=TurnRuns(self._events),
            metrics=self.metrics,
            clock=parts.clock,
        )
        self._intake = self._make_intake()
        self._slot_services = self._make_slot_services()
        self._sends = OperatorSends(
            parts.store,
            self.lanes,
            self.delivery,
            config=lambda: self.config,
            ready_to_send=self._ready_to_send,
            last_error=functools.partial(_last_error, self.supervisor),
            outgoing=parts.outgoing,
            clock=parts.clock,
        )
        self.runs = _runs_of(self, parts, self._sends, self._events)
        self.sessions = SessionDesk(parts.store, parts.clock, self.bus, self.answering.summaries)

    def _make_intake(self) -> Intake:
        return Intake(
            self._parts.store,
            self.lanes,
            config=lambda: self.config,
            turn_task=self.turns.task,
            delivery_task=lambda group: DeliveryTask(self.delivery, group),
            approvals=self.answering.approvals,
            metrics=self.metrics,
            clock=self._parts.clock,
        )

    def _make_slot_services(self) -> SlotServices:
        parts = self._parts
        return SlotServices(
            opening=OpenChannel(self._resolve_account, self._build_channel),
            accept=self._intake.accept,
            cursor=lambda name: parts.store.read(lambda conn: cursors.get(conn, name)),
            opened=self.lanes.open_gate,
            changed=parts.changed,
            recall=Recalls(parts.store, self.lanes, self.turns, self.metrics).recall,
            webhooks=self.webhooks,
            moves=Moves(parts.store),
            parking=self._parking,
            threads=parts.threads,
            metrics=self.metrics,
            clock=parts.clock,
        )

    # Setting up

    def add_account(self, account: AccountConfig) -> None:
        """Supervise one account from the next `start` on."""
        path = catalog.spec(account.channel).webhook_path(account.settings)
        if path is not None:
            self.webhooks.reserve(path)
        self.supervisor.add_if_absent(account, lambda: self._slot(account))

    def attach(self, spec: ChannelSpec, account: AccountConfig, channel: Channel) -> None:
        """Supervise a channel that exists already and is not in the config: the terminal."""
        opening = replace(self._slot_services.opening, build=lambda _: channel)
        services = replace(self._slot_services, opening=opening)
        self.supervisor.add_if_absent(account, lambda: Slot(spec, account, services, is_attached=True))

    def _slot(self, account: AccountConfig, *, receives: bool = True) -> Slot:
        return Slot(catalog.spec(account.channel), account, self._slot_services, receives=receives)

    def recover(self) -> tuple[int, int]:
        """Take over what an earlier process left: replies first, then messages, in order. Returns how many of each.

        Raises StoreUnwritable.
        """
        store = self._parts.store
        limit = self.config.delivery.max_crash_attempts
        self._add_senders()
        specs = self.supervisor.specs()
        idempotent = {spec.name: spec.idempotent_s for spec in specs if spec.idempotent_s is not None}
        resend = self.config.delivery.ambiguous == "resend"
        now_ms = self._parts.clock.wall_ms()
        store.write(lambda conn: outbox.recover(conn, now_ms=now_ms, resend=resend, idempotent=idempotent))
        found = store.write(lambda conn: inbox.recover(conn, max_crashes=limit))
        self._quarantined_before = store.read(counters.counters).get("rows_quarantined", 0)
        self._sends.sweep()
        self.answering.asking.rounds.kept.recover()
        groups = store.read(outbox.pending)
        for group, lane, _ in groups:
            self.lanes.offer(lane, DeliveryTask(self.delivery, group))
        for row in found.failed:
            logger.error("message %d was given up after %d crashes", row.seq, row.crashes)
            notice = self.turns.notice_of_failure(row)
            if notice is not None:
                self.lanes.offer(row.inbound.address.lane, notice)
        for seq, lane in found.pending:
            self.lanes.offer(lane, TurnTask(self.turns, seq))
        return len(groups), len(found.pending) + self.runs.recover()

    def start(self, *, channels: bool) -> None:
        """Start the threads of the surfaces, or start again those that died; without `channels` only the terminal."""
        self.supervisor.start(listed=channels)

    def tick(self) -> None:
        """Look for what no event announces: lanes that are due, tasks that are stuck, a clock that was set.

        Called often by the owner's thread; does not block.
        """
        self.lanes.tick()
        self.runs.tick()
        self.providers.keep()
        step_ms = self._clock_steps.look()
        if step_ms:
            logger.warning("the clock of this host was set by %+.0f s", step_ms / 1000)
            try:
                self._parts.store.submit(functools.partial(outbox.shift, by_ms=step_ms))
            except StoreUnwritable as error:
                logger.warning("replies that wait may expire at the wrong time: %s", error)

    def has_progressed(self) -> bool:
        """True once a message was settled or a reply was sent since the start."""
        return self.metrics.any("turns:", "sent:")

    def is_through(self) -> bool:
        """True once every surface has taken a batch, or has had nothing to take, and nothing is left to do."""
        return self.supervisor.served_once() and self.lanes.snapshot().waiting == 0

    def row_counts(self) -> RowCounts:
        """Rows by state for status; the last known ones while the store cannot be read."""
        try:
            self._rows = self._parts.store.read(
                lambda conn: RowCounts(
                    inbox.counts(conn),
                    outbox.counts(conn),
                    counters.counters(conn).get("rows_quarantined", 0),
                    sum(runs.unfinished(conn).values()),
                )
            )
        except StoreUnwritable as error:
            logger.warning("rows were not counted: %s", error)
        return self._rows

    def problems(self) -> list[str]:
        """Machine codes of what is wrong with the engine as a whole, not with one surface."""
        found = []
        if self.config.active_provider is None:
            if self.supervisor.states():
                found.append("provider_missing")
        elif self.providers.fails():
            found.append("provider_unavailable")
        store = self._parts.store
        if store.unwritable_reason() is not None:
            found.append("store_gone" if store.is_gone() else "store_unwritable")
        if self._parts.store.set_aside is not None:
            found.append("store_set_aside")
        if self._rows.quarantined > self._quarantined_before:
            found.append("rows_quarantined")
        if self.lanes.snapshot().abandoned:
            found.append("turns_abandoned")
        if self._clock_steps.recent():
            found.append("clock_stepped")
        return found

    # Requests from the port

    def send(self, request: SendRequest) -> SendOutcome:
        """See control.ControlPlane."""
        return self._sends.send(request)

    def sweep(self) -> None:
        """Remove what was kept for sending and is not needed any more. Raises StoreUnwritable."""
        self._sends.sweep()

    def close(self) -> None:
        """Take no further work; who waits for an answer that will not be given is told."""
        self.lanes.close()
        self.answering.close()
        self.runs.close()

    def store_changed(self) -> None:
        """Wake what waits for the disk, now that its state changed; from any thread."""
        if self._parts.store.unwritable_reason() is None:
            self.lanes.open_gate(STORE_GATE)

    def _add_senders(self) -> None:
        """See to it that what an operator had sent leaves, also from an account that this owner does not serve."""
        for channel, account in self._parts.store.read(outbox.senders):
            # One that is gone from the config, or switched off, lets it expire.
            with contextlib.suppress(CommandError):
                found = account_for(self.config, channel, account)
                self.supervisor.add_if_absent(found, functools.partial(self._slot, found, receives=False))

    def _tell_of_approval(self, origin: Origin, text: str, id: str, until_ms: int) -> None:
        address = origin.address
        surface = None if address is None else self.supervisor.surface(address.channel, address.account)
        if address is None or surface is None:
            return
        group = f"approval-{origin.turn}-{id}"
        parts = make_parts(surface.spec, address, text, group=group, expires_ms=until_ms, markup="plain")
        now_ms = self._parts.clock.wall_ms()
        self._parts.store.write(lambda conn: outbox.add(conn, parts, now_ms=now_ms, first_sending=False))
        # Beside its conversation, whose worker waits for the answer.
        self.lanes.offer(f"approval:{address.lane}", DeliveryTask(self.delivery, group))

    def _ready_to_send(self, account: AccountConfig) -> None:
        slot = self.supervisor.add_if_absent(account, lambda: self._slot(account, receives=False))
        if slot is not None:
            slot.start()

    def _resolve_account(self, spec: ChannelSpec, account: AccountConfig) -> Account:
        opened = resolve_account(spec, account, self._parts.environ)
        for name, value in account.settings.items():
            secret = opened.settings[name]
            if isinstance(value, SecretRef) and isinstance(secret, str):
                self._parts.redactor.register(secret)
        return opened

    def _build_channel(self, account: Account) -> Channel:
        channel: Channel = catalog.channel_class(account.channel)(account, self._parts.egress)
        return channel


def _last_error(supervisor: Supervisor, account: AccountConfig) -> str:
    for state in supervisor.states():
        if (state.channel, state.account) == (account.channel, account.id):
            return state.last_error or ""
    return ""


def _runs_of(engine: Engine, parts: EngineParts, sends: OperatorSends, events: MakeEvents) -> RunTable:
    answers = RunAnswers(
        parts.store,
        sends,
        config=lambda: engine.config,
        asking=engine.answering.asking,
        obey=engine.turns.obey,
        clock=parts.clock,
    )
    return RunTable(
        RunParts(
            store=parts.store,
            lanes=engine.lanes,
            answers=answers,
            turns=engine.turns.runs,
            config=lambda: engine.config,
            events=events,
            metrics=engine.metrics,
            clock=parts.clock,
        )
    )


def _status_line(engine: Engine) -> str:
    lanes = engine.lanes.snapshot()
    states = engine.supervisor.states()
    ready = sum(1 for state in states if state.phase == "ready")
    waiting = max(0, lanes.waiting - lanes.running)
    return (
        f"loong {VERSION}: {ready} of {plural(len(states), 'surface')} ready, "
        f"{plural(max(0, lanes.running - 1), 'other answer')} being written, "
        f"{plural(waiting, 'message')} waiting."
    )
