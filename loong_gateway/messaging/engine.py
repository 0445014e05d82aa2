"""Everything between a platform and the model: intake, lanes, turns, delivery and the surfaces, on one open store."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from loong_channels import catalog
from loong_channels.contract import Address, Channel, ChannelSpec
from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway import VERSION
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.ids import new_id
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config import secrets
from loong_gateway.config.outside import resolve_account
from loong_gateway.config.selectors import account_for
from loong_gateway.config.snapshot import AccountConfig, Config, SecretRef
from loong_gateway.control import SendOutcome, SendRequest, TurnRequest, TurnResult
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.delivery import Delivery, DeliveryTask, Fate
from loong_gateway.messaging.intake import Intake
from loong_gateway.messaging.lanes import Lanes
from loong_gateway.messaging.moves import Moves
from loong_gateway.messaging.parking import Parking
from loong_gateway.messaging.parts import make_parts
from loong_gateway.messaging.sessions import session_key
from loong_gateway.messaging.slots import Slot, SlotServices
from loong_gateway.messaging.supervisor import Supervisor
from loong_gateway.messaging.turns import RequestTask, Turns, TurnSources, TurnTask
from loong_gateway.providers.contract import Provider
from loong_gateway.providers.factory import provider_of
from loong_gateway.storage import cursors, inbox, outbox
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.store import Store

__all__ = ["Engine", "EngineParts", "RowCounts"]

logger = logging.getLogger("loong.engine")

FINAL_STATES = frozenset({"sent", "failed", "expired", "cancelled"})


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


@dataclass(frozen=True)
class RowCounts:
    """How many rows are in which state, by (channel, account)."""

    inbox: Mapping[tuple[str, str], Mapping[str, int]]
    outbox: Mapping[tuple[str, str], Mapping[str, int]]


class Engine:
    """Thread-safe. `config` is swapped whole; everything reads it at use."""

    def __init__(self, config: Config, parts: EngineParts) -> None:
        self.config = config
        self.metrics = Metrics()
        self.supervisor = Supervisor()
        self._parts = parts
        self._parking = Parking(parts.clock)
        # Protects the provider while it is built.
        self._guard = threading.Lock()
        self._rows = RowCounts({}, {})
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
            sources=TurnSources(lambda: self.config, self.provider, self._status_line),
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

    # Setting up

    def add_account(self, account: AccountConfig, *, receives: bool = True) -> None:
        """Supervise one account from the next `start` on."""
        slot = Slot(catalog.spec(account.channel), account, self._slot_services, receives=receives)
        self.supervisor.add(account.channel, account.id, slot)

    def attach(self, spec: ChannelSpec, account: AccountConfig, channel: Channel) -> None:
        """Supervise a channel that exists already and is not in the config: the terminal."""
        services = replace(self._slot_services, open_channel=lambda _: channel)
        self.supervisor.add(account.channel, account.id, Slot(spec, account, services, is_attached=True))

    def recover(self) -> int:
        """Take over what an earlier process left: replies first, then messages, in order. Returns how many replies."""
        store = self._parts.store
        limit = self.config.delivery.max_crash_attempts
        idempotent = {spec.name for spec in self.supervisor.specs() if spec.idempotent_send}
        resend = self.config.delivery.ambiguous == "resend"
        store.write(lambda conn: outbox.recover(conn, resend=resend, idempotent_channels=idempotent))
        found = store.write(lambda conn: inbox.recover(conn, max_crashes=limit))
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
        return len(groups)

    def start(self, *, channels: bool) -> None:
        """Start the threads of the surfaces, or start again those that died; without `channels` only the terminal."""
        self.supervisor.start(listed=channels)

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
                lambda conn: RowCounts(inbox=inbox.counts(conn), outbox=outbox.counts(conn))
            )
        except StoreUnwritable as error:
            logger.warning("rows were not counted: %s", error)
        return self._rows

    def provider_line(self) -> str:
        """The provider in words, for the start."""
        profile = self.config.providers.get(self.config.active_provider or "")
        return (
            "none: a message gets an error" if profile is None else f"{profile.kind}, model {profile.model}"
        )

    def provider(self) -> Provider:
        """The active provider, built at first use. Raises ProviderFault when none is configured."""
        with self._guard:
            if self._provider is None:
                self._provider = provider_of(
                    self.config, environ=self._parts.environ, resolve_secret=self._resolve
                )
            return self._provider

    def problems(self) -> list[str]:
        """Machine codes of what is wrong with the engine as a whole, not with one surface."""
        found = []
        if self.config.active_provider is None:
            if self.supervisor.states():
                found.append("provider_missing")
        elif self._provider_fails():
            found.append("provider_unavailable")
        if self._parts.store.unwritable_reason() is not None:
            found.append("store_unwritable")
        if self._parts.store.set_aside is not None:
            found.append("store_set_aside")
        if self.lanes.snapshot().abandoned:
            found.append("turns_abandoned")
        return found

    def _provider_fails(self) -> bool:
        health = {} if self._provider is None else self._provider.health()
        failed, worked = health.get("last_failure_ms"), health.get("last_success_ms")
        return isinstance(failed, int) and failed > (worked if isinstance(worked, int) else 0)

    # Requests from the port

    def turn(self, request: TurnRequest) -> TurnResult:
        """See control.ControlPlane."""
        task = RequestTask(self.turns, request)
        lane = f"session:{session_key(request.session)}"
        if self.lanes.full([lane]):
            return TurnResult("", error="too many questions are waiting", error_code="busy")
        self.lanes.offer(lane, task)
        return task.wait(Deadline(request.timeout_s))

    def send(self, request: SendRequest) -> SendOutcome:
        """See control.ControlPlane."""
        account = account_for(self.config, request.channel, request.account)
        spec = catalog.spec(account.channel)
        if request.target_kind not in spec.target_kinds:
            kinds = " or ".join(spec.target_kinds)
            raise CommandError(
                "channels.target_kind", channel=spec.name, given=request.target_kind, kinds=kinds
            )
        if self.supervisor.surface(account.channel, account.id) is None:
            self.add_account(account, receives=False)
            self.supervisor.start()
        parts = self._send_parts(request, account, spec)
        if not parts:
            raise CommandError("channels.empty_text")
        return self._send_and_wait(request, account, parts)

    def _send_parts(self, request: SendRequest, account: AccountConfig, spec: ChannelSpec) -> list[Part]:
        conversation, _, thread = request.target.partition(":") if spec.threads else (request.target, "", "")
        return make_parts(
            spec,
            Address(account.channel, account.id, conversation, thread or None),
            request.text,
            group=request.idempotency_key or new_id("send"),
            expires_ms=self._parts.clock.wall_ms() + self.config.delivery.push_ttl_s * 1000,
        )

    def _send_and_wait(self, request: SendRequest, account: AccountConfig, parts: list[Part]) -> SendOutcome:
        group = parts[0].group
        fates: queue.SimpleQueue[Fate] = queue.SimpleQueue()
        self.delivery.watch(group, fates.put)
        try:
            now_ms = self._parts.clock.wall_ms()
            added = self._parts.store.write(
                lambda conn: outbox.add(conn, parts, now_ms=now_ms, first_sending=False)
            )
            if added:
                self.lanes.offer(parts[0].outbound.address.lane, DeliveryTask(self.delivery, group))
            elif (known := self._parts.store.read(lambda conn: outbox.state_of(conn, group))) in FINAL_STATES:
                return SendOutcome(group, str(known), account.id)
            try:
                fate = fates.get(timeout=request.wait_s) if request.wait_s > 0 else Fate("queued")
            except queue.Empty:
                # It is on disk and goes out later; the caller is told its id.
                fate = Fate("queued", error=self._why_queued(account))
        finally:
            self.delivery.forget(group)
        return SendOutcome(group, fate.state, account.id, fate.message_ids, fate.error)

    def _why_queued(self, account: AccountConfig) -> str:
        states = {(state.channel, state.account): state for state in self.supervisor.states()}
        state = states.get((account.channel, account.id))
        return "" if state is None or state.last_error is None else state.last_error

    def _resolve(self, ref: SecretRef) -> str:
        value = secrets.resolve(ref, self._parts.environ)
        self._parts.redactor.register(value)
        return value

    def _open_channel(self, account: AccountConfig) -> Channel:
        opened = resolve_account(catalog.spec(account.channel), account, self._parts.environ)
        for name, value in account.settings.items():
            secret = opened.settings[name]
            if isinstance(value, SecretRef) and isinstance(secret, str):
                self._parts.redactor.register(secret)
        channel: Channel = catalog.channel_class(account.channel)(opened, self._parts.egress)
        return channel

    def _status_line(self) -> str:
        lanes = self.lanes.snapshot()
        states = self.supervisor.states()
        ready = sum(1 for state in states if state.phase == "ready")
        waiting = max(0, lanes.waiting - lanes.running)
        return (
            f"loong {VERSION}: {ready} of {len(states)} surfaces ready, {lanes.running} answers being written, "
            f"{waiting} messages waiting."
        )
