"""Texts that an operator sends through a running gateway: kept in the outbox first, their fate awaited after."""

from __future__ import annotations

import queue
from collections.abc import Callable

from loong_channels import catalog
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError
from loong_gateway.base.ids import new_id
from loong_gateway.config.selectors import account_for
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.control import SendOutcome, SendRequest
from loong_gateway.messaging.delivery import Delivery, DeliveryTask, Fate
from loong_gateway.messaging.lanes import Lanes
from loong_gateway.messaging.parts import (
    address_of,
    check_card,
    check_target_kind,
    make_parts,
    operator_markup,
)
from loong_gateway.storage import outbox
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.store import Store

__all__ = ["OperatorSends"]

FINAL_STATES = frozenset({"sent", "failed", "expired", "cancelled", "unknown"})


class OperatorSends:
    """Thread-safe. `ready_to_send` sees to it that an account can send, also one that this owner does not serve;
    `last_error` tells why one cannot at the moment."""

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        delivery: Delivery,
        *,
        config: Callable[[], Config],
        ready_to_send: Callable[[AccountConfig], None],
        last_error: Callable[[AccountConfig], str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._delivery = delivery
        self._config = config
        self._ready_to_send = ready_to_send
        self._last_error = last_error
        self._clock = clock

    def send(self, request: SendRequest) -> SendOutcome:
        """See control.ControlPlane."""
        config = self._config()
        account = account_for(config, request.channel, request.account)
        spec = catalog.spec(account.channel)
        check_target_kind(spec, request.target_kind or spec.target_kinds[0])
        if request.card:
            check_card(spec)
        parts = make_parts(
            spec,
            address_of(spec, account.id, request.target),
            request.text,
            # The prefix keeps a caller's key out of the way of our own groups.
            group=f"send-{request.idempotency_key}" if request.idempotency_key else new_id("send"),
            expires_ms=self._clock.wall_ms() + config.delivery.push_ttl_s * 1000,
            markup=operator_markup(spec, card=request.card),
            extra={"card": True} if request.card else {},
        )
        if not parts:
            raise CommandError("channels.empty_text")
        self._ready_to_send(account)
        fate = self._fate_of(parts, request.wait_s)
        error = fate.error or (self._last_error(account) if fate.state == "queued" else "")
        return SendOutcome(parts[0].group, fate.state, account.id, fate.message_ids, error)

    def _fate_of(self, parts: list[Part], wait_s: float) -> Fate:
        group = parts[0].group
        fates: queue.SimpleQueue[Fate] = queue.SimpleQueue()
        self._delivery.watch(group, fates.put)
        try:
            now_ms = self._clock.wall_ms()
            added = self._store.write(
                lambda conn: outbox.add(conn, parts, now_ms=now_ms, first_sending=False)
            )
            if added:
                self._lanes.offer(parts[0].outbound.address.lane, DeliveryTask(self._delivery, group))
            else:
                known = self._store.read(lambda conn: outbox.state_of(conn, group))
                if known in FINAL_STATES:
                    return Fate(str(known))
            return fates.get(timeout=wait_s) if wait_s > 0 else Fate("queued")
        except queue.Empty:
            # It is on disk and goes out later; the caller is told its id.
            return Fate("queued")
        finally:
            self._delivery.forget(group, fates.put)
