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
from sqlite3 import Connection

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
from loong_gateway import outbox
from loong_gateway.clock import Clock
from loong_gateway.metrics import Metrics
from loong_gateway.faults import StoreUnwritable
from loong_gateway.lanes import Later
from loong_gateway.outbox import OutboxRow
from loong_gateway.parking import Parking
from loong_gateway.snapshot import Config
from loong_gateway.store import Store
from loong_gateway.surfaces import Surface, Surfaces

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
        except StoreUnwritable:
            return Later(DeliveryTask(self, group), STORE_WAIT_S)

    def _deliver_rows(self, group: str, rows: list[OutboxRow], stop: StopToken) -> Later | None:
        message_ids: list[str] = []
        for index, row in enumerate(rows):
            halt = self._obstacle(row, stop)
            if halt is not None:
                return halt.later
            following = rows[index + 1] if index + 1 < len(rows) else None
            outcome = self._send_row(row, stop)
            if isinstance(outcome, _Halt):
                return outcome.later
            message_ids += outcome.message_ids
            if following is not None:
                rows[index + 1] = self._record_sent(row, outcome, following)
            else:
                # Nothing waits for this commit: the lane keeps the order, and the writer keeps it on disk.
                self._store.submit(functools.partial(outbox.mark_sent, id=row.id, message_ids=outcome.message_ids))
        self._settle(group, Fate("sent", tuple(message_ids)))
        return None

    def _obstacle(self, row: OutboxRow, stop: StopToken) -> _Halt | None:
        """What keeps a row from being sent now; settles the group when that is final."""
        if row.expires_ms <= self._clock.wall_ms():
            self._store.write(lambda conn: outbox.expire_group(conn, row.group))
            return self._end(row, Fate("expired", error="it was not sent before it expired"))
        address = row.outbound.address
        surface = self._surfaces.surface(address.channel, address.account)
        again = DeliveryTask(self, row.group)
        if surface is None or stop.is_set():
            return _Halt(self._requeue(row, again, GATE_WAIT_S, f"{address.channel}={address.account}", ""))
        if row.inbox_seq is not None and not surface.allows(address):
            self._store.write(lambda conn: outbox.cancel_group(conn, row.group, "conversation_not_allowed"))
            return self._end(row, Fate("cancelled", error="the conversation is no longer allowed"))
        if not surface.can_send():
            return _Halt(self._requeue(row, again, GATE_WAIT_S, surface.gate, ""))
        wait_s = max(self._parking.wait_s(address), (row.not_before_ms - self._clock.wall_ms()) / 1000)
        return _Halt(self._requeue(row, again, wait_s, None, "")) if wait_s > 0 else None

    def _requeue(self, row: OutboxRow, task: DeliveryTask, wait_s: float, gate: str | None, error: str) -> Later:
        """Wait without an attempt being counted; a row that was marked as sending in advance is marked back."""
        if row.state == "sending":
            not_before_ms = row.not_before_ms
            self._store.submit(lambda conn: outbox.mark_queued(conn, row.id, not_before_ms, error, count=False))
        return Later(task, wait_s, gate)

    def _send_row(self, row: OutboxRow, following: OutboxRow | None, stop: StopToken) -> Receipt | _Halt:
        surface = self._surfaces.surface(row.outbound.address.channel, row.outbound.address.account)
        assert surface is not None
        if row.state != "sending":
            self._store.write(lambda conn: outbox.mark_sending(conn, row.id))
        for pause_s in (*QUICK_RETRIES_S, None):
            try:
                receipt = self._send(surface, row.outbound, stop)
            except Fault as fault:
                if pause_s is not None and _surely_not_sent(fault):
                    if stop.wait(random.uniform(pause_s / 2, pause_s)):  # noqa: S311  jitter, not a secret
                        return _Halt(self._requeue(row, DeliveryTask(self, row.group), 0.0, None, str(fault)))
                    continue
                return self._failed(surface, row, fault)
            except StoreUnwritable:
                raise
            except Exception:
                # A bug in a channel must not stop the lane for ever: it counts as an attempt like any other failure.
                logger.exception("sending %s failed unexpectedly", row.id)
                return self._failed(surface, row, Unreachable("internal error while sending", maybe_processed=True))
            self._record_sent(surface, row, following, receipt)
            return receipt
        raise AssertionError("the last try always returns")

    def _send(self, surface: Surface, outbound: Outbound, stop: StopToken) -> Receipt:
        address = surface.current(outbound.address)
        deadline = Deadline(SEND_LIMIT_S)
        try:
            return surface.channel.send(dataclasses.replace(outbound, address=address), deadline=deadline, stop=stop)
        except Moved as fault:
            surface.moved(address.conversation, fault.conversation)
            moved = dataclasses.replace(address, conversation=fault.conversation)
            return surface.channel.send(dataclasses.replace(outbound, address=moved), deadline=deadline, stop=stop)

    def _record_sent(self, row: OutboxRow, receipt: Receipt, following: OutboxRow) -> OutboxRow:
        """One commit ends a part and begins the next, so that each part costs one."""

        def both(conn: Connection) -> None:
            outbox.mark_sent(conn, row.id, receipt.message_ids)
            outbox.mark_sending(conn, following.id)

        self._store.write(both)
        return dataclasses.replace(following, state="sending")

    def _failed(self, surface: Surface, row: OutboxRow, fault: Fault) -> _Halt:
        text = str(fault)
        again = DeliveryTask(self, row.group)
        if isinstance(fault, Refused):
            self._store.write(lambda conn: outbox.fail_group(conn, row.group, text))
            self._count("refused", row)
            return self._end(row, Fate("failed", error=text))
        if isinstance(fault, (BadCredentials, Conflict)):
            surface.trouble(fault)
            self._mark_queued(row, 0.0, text, count=False)
            return _Halt(Later(again, GATE_WAIT_S, surface.gate))
        if isinstance(fault, Throttled):
            self._count("rate_limited", row)
            self._parking.park(row.outbound.address, fault.retry_after_s, whole_account=fault.whole_account)
            self._mark_queued(row, fault.retry_after_s, text, count=False)
            return _Halt(Later(again, fault.retry_after_s))
        if not _surely_not_sent(fault):
            return self._ambiguous(surface, row, text)
        wait_s = _backoff_s(row.attempts)
        if isinstance(fault, Overloaded) and fault.retry_after_s is not None:
            wait_s = max(wait_s, fault.retry_after_s)
        self._mark_queued(row, wait_s, text, count=True)
        self._count("send_failed", row)
        # The gate opens when the account recovers, so nobody waits out a long pause on a line that is back.
        return _Halt(Later(again, wait_s, surface.gate))

    def _ambiguous(self, surface: Surface, row: OutboxRow, text: str) -> _Halt:
        """The platform may or may not have the message."""
        self._count("send_unknown", row)
        again = DeliveryTask(self, row.group)
        if surface.spec.idempotent_send or (self._config().delivery.ambiguous == "resend" and row.resends < 1):
            wait_s = random.uniform(QUICK_RETRIES_S[0] / 2, QUICK_RETRIES_S[0])  # noqa: S311  jitter, not a secret
            not_before_ms = self._clock.wall_ms() + int(wait_s * 1000)
            self._store.write(lambda conn: outbox.mark_queued(conn, row.id, not_before_ms, text, resend=True))
            return _Halt(Later(again, wait_s))
        self._store.write(lambda conn: outbox.hold(conn, row.id, text))
        logger.warning("a reply to %s may not have arrived: %s", row.outbound.address.lane, text)
        return _Halt(Later(again, 0.0))

    def _mark_queued(self, row: OutboxRow, wait_s: float, error: str, *, count: bool) -> None:
        not_before_ms = self._clock.wall_ms() + int(wait_s * 1000)
        self._store.write(lambda conn: outbox.mark_queued(conn, row.id, not_before_ms, error, count=count))

    def _end(self, row: OutboxRow, fate: Fate) -> _Halt:
        address = row.outbound.address
        self._metrics.add(f"{fate.state}:{address.channel}={address.account}")
        logger.warning("reply %s to %s %s: %s", row.group, address.lane, fate.state, fate.error)
        self._settle(row.group, fate)
        return _Halt(None)

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


@dataclasses.dataclass(frozen=True)
class _Halt:
    """The group goes no further in this run; `later` is None when its fate is settled."""

    later: Later | None


def _surely_not_sent(fault: Fault) -> bool:
    return isinstance(fault, Overloaded) or (isinstance(fault, Unreachable) and not fault.maybe_processed)


def _backoff_s(attempts: int) -> float:
    return random.uniform(0.5, 1.0) * min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2**attempts)  # noqa: S311  jitter
