"""One slot per account: its state, and the gateway's side of its channel for turns and deliveries."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from loong_channels.aes import CRYPTO_FIX, can_decrypt
from loong_channels.contract import (
    Address,
    Channel,
    ChannelSpec,
    Cursor,
    Inbound,
    Preview,
    WebhookReceiver,
)
from loong_channels.faults import Busy, Conflict, Fault, NotStored, Unreachable
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import AccountConfig
from loong_gateway.messaging.channel_holder import CannotServe, ChannelHolder, OpenChannel
from loong_gateway.messaging.channel_life import ChannelLife, phase_of
from loong_gateway.messaging.full_lanes import FullLanes
from loong_gateway.messaging.moves import Moves
from loong_gateway.messaging.parking import Parking
from loong_gateway.messaging.sessions import session_key
from loong_gateway.messaging.slot_record import SlotRecord
from loong_gateway.messaging.slot_state import WELL, SlotState
from loong_gateway.messaging.trust import TrustPolicy, allows_conversation, policy_of
from loong_gateway.messaging.webhooks import Webhooks

__all__ = ["Slot", "SlotServices"]

ACKNOWLEDGE_S = 5.0
STOP_LOOK_S = 60.0


@dataclass(frozen=True)
class SlotServices:
    """What every slot shares.

    `opening` makes a channel. `accept` takes a batch in. `opened` is told the name of a gate when its account can send
    again. `changed` is told that a state changed; both are called from any thread and return at once. `cursor` reads a
    stored cursor. `recall` gives up a message by channel, account, conversation and message id.
    """

    opening: OpenChannel
    accept: Callable[[ChannelSpec, TrustPolicy, Sequence[Inbound], Cursor | None], int]
    cursor: Callable[[str], str | None]
    opened: Callable[[str], None]
    changed: Callable[[], None]
    recall: Callable[[str, str, str, str], None]
    webhooks: Webhooks
    moves: Moves
    parking: Parking
    threads: ThreadRegistry
    metrics: Metrics
    clock: Clock


class Slot:
    """Implements `contract.Host` for its channel and `surfaces.Surface` for the gateway.

    Thread-safe. `is_attached` marks the terminal of `gateway run --session`; a slot that does not receive only sends,
    for an account that this owner does not serve. Neither is listed as a surface.
    """

    def __init__(
        self,
        spec: ChannelSpec,
        account: AccountConfig,
        services: SlotServices,
        *,
        is_attached: bool = False,
        receives: bool = True,
    ) -> None:
        self.spec = spec
        self.is_attached = is_attached
        self.is_listed = receives and not is_attached
        self._receives = receives
        self.shows_errors = is_attached
        self.gate = f"{account.channel}={account.id}"
        self._account = account
        self._services = services
        self._logger = logging.getLogger(f"loong.channel.{account.channel}.{account.id}")
        self._record = SlotRecord(account.channel, account.id, services.clock, services.changed)
        self._policy = self._read_policy()
        self._holder = ChannelHolder(
            spec, account, opening=services.opening, threads=services.threads, clock=services.clock
        )
        self._life = ChannelLife(
            account,
            self._holder,
            serve=self._serve,
            report=self._record.set,
            reconnect_s=_reconnect_s(account, spec),
            threads=services.threads,
            clock=services.clock,
        )
        self._kept: dict[str, object] = {}
        self._caught_up = False
        self._full_lanes = FullLanes()

    # What the gateway does with a slot

    def start(self) -> None:
        """Start the thread, or start it again after it died; does nothing while it lives or after a stop."""
        self._life.start()

    def stop_receiving(self) -> None:
        """The gateway stops: take nothing more that comes again; what is being sent goes on. Returns at once.

        Where the platform sends nothing again, the channel goes on receiving until `stop`: what comes is stored, and
        answered after the next start.
        """
        self._record.stopping()
        if self.stops_at_once:
            self._life.stop()

    @property
    def stops_at_once(self) -> bool:
        """False while people's messages would be lost if nobody received them during a drain."""
        return self.spec.redelivers or not self._receives

    def stop(self) -> None:
        """Ask the channel to take nothing more, for good. Returns at once."""
        self._record.stopping()
        self._life.stop()

    def close(self) -> None:
        """Wake every blocked call of the channel for good."""
        self._holder.close()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the thread; True when it has ended."""
        return self._life.join(deadline)

    def try_now(self) -> None:
        """End the wait for the next try, after a reload or because an operator asks."""
        self._life.try_now()

    def served_once(self) -> bool:
        """True once a round of receiving was over."""
        return self._caught_up

    def state(self) -> SlotState:
        """The state of this moment."""
        return self._record.state()

    # What an operator does with a slot

    @property
    def is_off(self) -> bool:
        """True while an operator keeps the account off."""
        return self._life.is_off

    def switch_off(self) -> None:
        """Keep the account off until `restart`; what is being sent breaks off and is sent then. Returns at once."""
        self._record.set(phase="stopping", **WELL, started=True, stopped_by="operator")
        self._life.switch_off()

    def restart(self) -> int:
        """Connect anew at once with the secrets read again. Returns at once, with a number for `wait_turn`."""
        turns = self._record.turns
        self._holder.reread()
        self._record.set(phase="starting", stopped_by=None, next_try_ms=None)
        self._life.restart()
        return turns

    def wait_turn(self, turns: int, deadline: Deadline) -> bool:
        """Block until the account became ready or failed after `restart`; False when the deadline came first."""
        return self._record.wait_turn(turns, deadline)

    def has_new_secrets(self) -> bool:
        """Read the secrets now: whether they differ from those in use. May block; raises SecretUnavailable."""
        return self._holder.has_new_secrets()

    def probe(self, deadline: Deadline) -> str:
        """Ask the platform through the channel that runs; returns the public identity. Blocks; raises faults."""
        channel = None if self.is_off else self._holder.channel
        if channel is None:
            raise Unreachable(self.state().last_error or "not connected yet", maybe_processed=False)
        return channel.probe(deadline=deadline)

    # contract.Host

    def accept(self, batch: Sequence[Inbound], cursor: Cursor | None = None) -> None:
        """See contract.Host."""
        now_s = self._services.clock.monotonic_s()
        lanes = {inbound.address.lane for inbound in batch}
        try:
            taken = self._services.accept(self.spec, self._policy, batch, self._own(cursor))
        except Busy as fault:
            if self._full_lanes.refused(lanes, now_s) and not self._record.trouble:
                self._record.set(phase="degraded", trouble="lane_full", last_error=str(fault))
            raise
        if self._full_lanes.taken(lanes, now_s) and self._record.trouble == "lane_full":
            self._record.set(phase="ready", trouble="", last_error=None)
        if taken:
            self._record.stamp("last_inbound_ms")

    def cursor(self, name: str) -> str | None:
        """See contract.Host."""
        try:
            return self._services.cursor(f"{self.gate}:{name}")
        except StoreUnwritable as error:
            raise NotStored(str(error)) from error

    def ready(self, identity: str) -> None:
        """See contract.Host."""
        self._life.worked()
        if not self._life.is_ending and self._record.ready(identity):
            self._logger.info("ready as %s", identity)
            self._services.opened(self.gate)

    def heard(self) -> None:
        """See contract.Host."""
        self._record.stamp("last_heard_ms")

    def caught_up(self) -> None:
        """See contract.Host."""
        self._caught_up = True

    @property
    def kept(self) -> dict[str, object]:
        """See contract.Host."""
        return self._kept

    def moved(self, old_conversation: str, new_conversation: str) -> None:
        """See contract.Host."""
        if not allows_conversation(self._policy, old_conversation):
            return
        account = self._account
        try:
            is_new = self._services.moves.add(account.channel, account.id, old_conversation, new_conversation)
        except StoreUnwritable as error:
            raise NotStored(str(error)) from error
        if is_new:
            self._policy = self._read_policy()
            self._logger.warning(
                "conversation %s goes on as %s; add the new id to %s",
                old_conversation,
                new_conversation,
                self.spec.conversation_setting,
            )

    def recalled(self, conversation: str, message_id: str) -> None:
        """See contract.Host."""
        try:
            self._services.recall(self._account.channel, self._account.id, conversation, message_id)
        except StoreUnwritable as error:
            raise NotStored(str(error)) from error

    def mounted(self, receiver: WebhookReceiver) -> AbstractContextManager[None]:
        """See contract.Host."""
        path = self.spec.webhook_path(self._account.settings)
        assert path is not None, "this account is not called by its platform"
        bind = self._account.settings.get("webhook_bind")
        return self._services.webhooks.mounted(path, receiver, str(bind) if bind else None)

    def note(self, event: str, **details: object) -> None:
        """See contract.Host."""
        self._services.metrics.add(f"noted:{event}:{self.gate}")
        # The name belongs to the template: what repeats often must not hide what happens once.
        template = f"{event} %s"
        self._logger.info(template, " ".join(f"{key}={value}" for key, value in details.items()))

    # surfaces.Surface

    @property
    def channel(self) -> Channel:
        """See surfaces.Surface."""
        channel = self._holder.channel
        assert channel is not None, "asked for before can_send"
        return channel

    def typing(self, address: Address) -> AbstractContextManager[None]:
        """See surfaces.Surface."""
        typing = self._holder.typing
        if typing is None or self._services.parking.wait_s(address) > 0:
            return contextlib.nullcontext()
        return typing.during(address)

    def can_send(self) -> bool:
        """See surfaces.Surface."""
        return self._record.sendable and self._holder.channel is not None

    def allows(self, address: Address) -> bool:
        """See surfaces.Surface."""
        return allows_conversation(self._policy, self.current(address).conversation)

    def current(self, address: Address) -> Address:
        """See surfaces.Surface."""
        new = self._services.moves.current(address.channel, address.account, address.conversation)
        return address if new == address.conversation else replace(address, conversation=new)

    def session(self, inbound: Inbound) -> str:
        """See surfaces.Surface."""
        if self.is_attached:
            return session_key(inbound.address.conversation)
        return session_key(inbound.address, kind=inbound.kind)

    def preview(self, inbound: Inbound) -> Preview | None:
        """See surfaces.Surface."""
        if not self.can_send() or self._services.parking.wait_s(inbound.address) > 0:
            return None
        return self.channel.preview(inbound.address, reply_to=inbound.message_id, extra=inbound.extra)

    def acknowledge(self, inbound: Inbound) -> None:
        """See surfaces.Surface."""
        wanted = self._account.settings.get("ack_reactions") and self.can_send()
        if not wanted or self._services.parking.wait_s(inbound.address) > 0:
            return
        try:
            self.channel.acknowledge(inbound, deadline=Deadline(ACKNOWLEDGE_S))
        except Fault as fault:
            self.note("acknowledgement_failed", message=inbound.message_id, reason=fault)

    def sent(self) -> None:
        """See surfaces.Surface."""
        if self._record.sent():
            self._logger.warning("sends arrive again")
            # What was paused for long because of earlier failures need not wait any more.
            self._services.opened(self.gate)

    def send_failed(self, fault: Fault, began_s: float) -> None:
        """See surfaces.Surface."""
        if self._record.send_failed(fault, began_s):
            self._logger.warning("sends have been failing for some time: %s", fault)

    def trouble(self, fault: Fault) -> None:
        """See surfaces.Surface."""
        if isinstance(fault, Conflict) and self._receives:
            # Whoever receives is told as well, and hears when it is over: here it would be counted once per reply,
            # and by a straggler even after that.
            return
        # The thread counts it, and finds out when it is over: what only waits for calls would never hear of that.
        phase, trouble = phase_of(fault)
        self._record.set(phase=phase, trouble=trouble, last_error=str(fault))
        self._life.end_by(fault)

    def _serve(self, channel: Channel, stop: StopToken) -> None:
        # A surface in trouble keeps saying so until the platform has acknowledged it again.
        self._record.set(phase=None if self._record.trouble else "connecting", started=True)
        if self._receives:
            _require_allow_list(self._policy, self._account, self.spec)
            _require_crypto(self._account, self.spec)
            channel.run(self, stop)
        else:
            self.ready("sending only")
            _wait_for(stop)

    def _own(self, cursor: Cursor | None) -> Cursor | None:
        return None if cursor is None else Cursor(f"{self.gate}:{cursor.name}", cursor.value)

    def _read_policy(self) -> TrustPolicy:
        return policy_of(
            self._account, self.spec, self._services.moves.of(self._account.channel, self._account.id)
        )


def _require_allow_list(policy: TrustPolicy, account: AccountConfig, spec: ChannelSpec) -> None:
    if policy.conversations:
        return
    setting = f"{account.channel}.{spec.conversation_setting}"
    raise CannotServe(
        f"{setting} is empty; configure at least one trusted {spec.conversation_word}",
        trouble="allow_list_empty",
        where=setting,
        fix="list who may talk to it there, then restart the service",
    )


def _require_crypto(account: AccountConfig, spec: ChannelSpec) -> None:
    if spec.needs_crypto(account.settings) and not can_decrypt():
        raise CannotServe(
            "the Python package cryptography is missing, without which no webhook can be read",
            trouble="crypto_missing",
            where=f"{account.channel}.{spec.webhook_when[0]}" if spec.webhook_when else None,
            fix=f"{CRYPTO_FIX}, then restart the service",
        )


def _reconnect_s(account: AccountConfig, spec: ChannelSpec) -> float:
    value = account.settings.get("reconnect_interval_s")
    return float(value) if isinstance(value, (int, float)) else spec.reconnect_s


def _wait_for(stop: StopToken) -> None:
    while not stop.wait(STOP_LOOK_S):
        pass
