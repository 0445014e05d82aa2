"""Sends what the outbox holds, part by part and in order, and records every outcome. Runs on lane workers.

The rules: a part is `sending` on disk before its first byte leaves; a later part never goes before an earlier one is
`sent`; waiting for an account or for a platform's own time-out costs no attempt; a send whose fate is unknown is
repeated once with the same key (or held, as configured) and counted.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import random
import threading
from collections.abc import Callable

from loong_channels.contract import Address, Outbound, Receipt
from loong_channels.faults import (
    BadCredentials,
    Conflict,
    Fault,
    Moved,
    Overloaded,
    Refused,
    Throttled,
    Unreachable,
)
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.parking import Parking
from loong_gateway.messaging.surfaces import Surface, Surfaces
from loong_gateway.storage import outbox
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.outbox import OutboxRow
from loong_gateway.storage.store import Store

__all__ = ["Delivery", "DeliveryTask", "Fate"]

logger = logging.getLogger("loong.delivery")

SEND_LIMIT_S = 60.0
QUICK_RETRIES_S = (0.5, 2.0)
BACKOFF_BASE_S = 5.0
BACKOFF_CAP_S = 900.0
GATE_WAIT_S = 60.0
STORE_WAIT_S = 5.0


@dataclasses.dataclass(frozen=True)
class Fate:
    """What became of a group: "sent", "failed", "expired", "cancelled" or "unknown"."""

    state: str
    message_ids: tuple[str, ...] = ()
    error: str = ""


class Delivery:
    """Delivers groups of outbox rows. Thread-safe: many workers use it, each for another lane."""

    def __init__(
        self,
        store: Store,
        surfaces: Surfaces,
        *,
        config: Callable[[], Config],
        parking: Parking,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._surfaces = surfaces
        self._config = config
        self._parking = parking
        self._metrics = metrics
        self._clock = clock
        self._guard = threading.Lock()
        self._watchers: dict[str, Callable[[Fate], None]] = {}

    def watch(self, group: str, callback: Callable[[Fate], None]) -> None:
        """Call `callback` once, from a worker, when the fate of a group is settled; `forget` ends the interest."""
        with self._guard:
            self._watchers[group] = callback

    def forget(self, group: str) -> None:
        """End the interest in a group."""
        with self._guard:
            self._watchers.pop(group, None)

    def can_send_now(self, address: Address) -> bool:
        """True when a part for this address may be marked as `sending` at once."""
        surface = self._surfaces.surface(address.channel, address.account)
        return surface is not None and surface.can_send() and self._parking.wait_s(address) <= 0

    def deliver(self, group: str, stop: StopToken) -> Later | None:
        """Send what is left of a group. Blocks; None when its fate is settled, Later when the lane has to wait."""
        try:
            rows = self._store.read(lambda conn: outbox.group(conn, group))
            return self._deliver_rows(group, [row for row in rows if row.state in outbox.UNSENT], stop)
        except _Halted as halted:
            return halted.later
        except StoreUnwritable:
            return Later(DeliveryTask(self, group), STORE_WAIT_S)

    def _deliver_rows(self, group: str, rows: list[OutboxRow], stop: StopToken) -> Later | None:
        message_ids: list[str] = []
        for index, row in enumerate(rows):
            surface = self._way_out(row, stop)
            if row.state != "sending":
                self._store.write(functools.partial(outbox.mark_sending, id=row.id))
            receipt = self._send_row(surface, row, stop)
            message_ids += receipt.message_ids
            surface.sent()
            self._count("sent", row)
            if index + 1 < len(rows):
                rows[index + 1] = self._go_on(row, receipt, rows[index + 1])
            else:
                # Nothing waits for this commit: the lane keeps the order, and the writer keeps it on disk.
                self._store.submit(
                    functools.partial(outbox.mark_sent, id=row.id, message_ids=receipt.message_ids)
                )
        self._settle(group, Fate("sent", tuple(message_ids)))
        return None

    def _way_out(self, row: OutboxRow, stop: StopToken) -> Surface:
        """The surface that can send the row now. Raises _Halted; the group is settled first where that is final."""
        address = row.outbound.address
        surface = self._surfaces.surface(address.channel, address.account)
        if row.expires_ms <= self._clock.wall_ms():
            raise self._end(row, Fate("expired", error="it was not sent before it expired"))
        if surface is None or stop.is_set() or not surface.can_send():
            raise self._wait(row, GATE_WAIT_S, gate=f"{address.channel}={address.account}")
        if row.inbox_seq is not None and not surface.allows(address):
            raise self._end(row, Fate("cancelled", error="the conversation is no longer allowed"))
        wait_s = max(self._parking.wait_s(address), (row.not_before_ms - self._clock.wall_ms()) / 1000)
        if wait_s > 0:
            raise self._wait(row, wait_s)
        return surface

    def _wait(self, row: OutboxRow, wait_s: float, *, gate: str | None = None) -> _Halted:
        """No attempt is counted; a row that was marked as sending in advance is marked back."""
        if row.state == "sending":
            self._requeue(row, 0.0, row.last_error or "", count=False)
        return _Halted(Later(DeliveryTask(self, row.group), wait_s, gate))

    def _send_row(self, surface: Surface, row: OutboxRow, stop: StopToken) -> Receipt:
        """Send, with two quick retries while it is sure that nothing arrived. Raises _Halted."""
        for pause_s in (*QUICK_RETRIES_S, 0.0):
            try:
                return self._send(surface, row.outbound, stop)
            except Fault as fault:
                if not (pause_s and _surely_not_sent(fault)):
                    raise self._failed(surface, row, fault) from fault
            except Exception as error:
                # A bug in a channel must not stop the lane for ever: it counts as a send of unknown fate.
                logger.exception("sending %s failed unexpectedly", row.id)
                raise self._ambiguous(surface, row, "internal error while sending") from error
            if stop.wait(_jittered(pause_s)):
                raise self._wait(dataclasses.replace(row, state="sending"), GATE_WAIT_S)
        raise AssertionError("the last try returns or raises")

    def _send(self, surface: Surface, outbound: Outbound, stop: StopToken) -> Receipt:
        deadline = Deadline(SEND_LIMIT_S)
        address = surface.current(outbound.address)
        try:
            return surface.channel.send(
                dataclasses.replace(outbound, address=address), deadline=deadline, stop=stop
            )
        except Moved as fault:
            surface.moved(address.conversation, fault.conversation)
            address = dataclasses.replace(address, conversation=fault.conversation)
            return surface.channel.send(
                dataclasses.replace(outbound, address=address), deadline=deadline, stop=stop
            )

    def _go_on(self, row: OutboxRow, receipt: Receipt, following: OutboxRow) -> OutboxRow:
        """One commit ends a part and begins the next, so that each part costs one."""

        def both(conn: Connection) -> None:
            outbox.mark_sent(conn, row.id, receipt.message_ids)
            outbox.mark_sending(conn, following.id)

        self._store.write(both)
        return dataclasses.replace(following, state="sending")

    def _failed(self, surface: Surface, row: OutboxRow, fault: Fault) -> _Halted:
        text = str(fault)
        again = DeliveryTask(self, row.group)
        if isinstance(fault, Refused):
            return self._end(row, Fate("failed", error=text))
        if isinstance(fault, (BadCredentials, Conflict)):
            surface.trouble(fault)
            self._requeue(row, 0.0, text, count=False)
            return _Halted(Later(again, GATE_WAIT_S, surface.gate))
        if isinstance(fault, Throttled):
            self._count("rate_limited", row)
            self._parking.park(row.outbound.address, fault.retry_after_s, whole_account=fault.whole_account)
            self._requeue(row, fault.retry_after_s, text, count=False)
            return _Halted(Later(again, fault.retry_after_s))
        if not _surely_not_sent(fault):
            return self._ambiguous(surface, row, text)
        asked_s = fault.retry_after_s if isinstance(fault, Overloaded) else None
        wait_s = max(
            _jittered(min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(row.attempts, 16))), asked_s or 0.0
        )
        self._count("send_failed", row)
        self._requeue(row, wait_s, text, count=True)
        # The gate opens when the account recovers, so nobody waits out a long pause on a line that is back.
        return _Halted(Later(again, wait_s, surface.gate))

    def _ambiguous(self, surface: Surface, row: OutboxRow, text: str) -> _Halted:
        """The platform may or may not have the message: send it once more with the same key, or leave it."""
        self._count("send_unknown", row)
        again = DeliveryTask(self, row.group)
        resend = self._config().delivery.ambiguous == "resend" and row.resends < 1
        if surface.spec.idempotent_send or resend:
            wait_s = _jittered(QUICK_RETRIES_S[0])
            self._requeue(row, wait_s, text, count=True, resend=True)
            return _Halted(Later(again, wait_s))
        self._store.write(lambda conn: outbox.hold(conn, row.id, text))
        logger.warning("part %s to %s may not have arrived: %s", row.id, row.outbound.address.lane, text)
        return _Halted(Later(again, 0.0))

    def _requeue(
        self, row: OutboxRow, wait_s: float, error: str, *, count: bool, resend: bool = False
    ) -> None:
        not_before_ms = self._clock.wall_ms() + int(wait_s * 1000) if wait_s > 0 else row.not_before_ms
        self._store.write(
            lambda conn: outbox.mark_queued(conn, row.id, not_before_ms, error, count=count, resend=resend)
        )

    def _end(self, row: OutboxRow, fate: Fate) -> _Halted:
        self._store.write(lambda conn: outbox.end_group(conn, row.group, fate.state, fate.error))
        self._count(fate.state, row)
        logger.warning("%s to %s %s: %s", row.group, row.outbound.address.lane, fate.state, fate.error)
        self._settle(row.group, fate)
        return _Halted(None)

    def _settle(self, group: str, fate: Fate) -> None:
        with self._guard:
            watcher = self._watchers.pop(group, None)
        if watcher is not None:
            watcher(fate)

    def _count(self, what: str, row: OutboxRow) -> None:
        self._metrics.add(f"{what}:{row.outbound.address.channel}={row.outbound.address.account}")


class DeliveryTask:
    """A lane's handle on one group of the outbox."""

    limit_s = 10 * SEND_LIMIT_S

    def __init__(self, delivery: Delivery, group: str) -> None:
        self._delivery = delivery
        self.group = group

    def run(self, stop: StopToken) -> Later | None:
        """Send what is left of the group."""
        return self._delivery.deliver(self.group, stop)

    def abandoned(self) -> None:
        """Nothing to undo: the row stays `sending` and is settled at the next start."""
        logger.error("the delivery of %s did not end; it is settled at the next start", self.group)


class _Halted(Exception):
    """Raised when a group goes no further in this run; `later` is None when its fate is settled."""

    def __init__(self, later: Later | None) -> None:
        super().__init__()
        self.later = later


def _surely_not_sent(fault: Fault) -> bool:
    return isinstance(fault, Overloaded) or (isinstance(fault, Unreachable) and not fault.maybe_processed)


def _jittered(seconds: float) -> float:
    return float(random.uniform(0.5, 1.0) * seconds)  # noqa: S311  spreads retries, guards nothing
