"""Sends what the outbox holds, part by part and in order, and records every outcome. Runs on lane workers.

The rules: a part is `sending` on disk before its first byte leaves; a later part never goes before an earlier one is
`sent`; waiting for an account or for a platform's own time-out costs no attempt. A send whose fate is unknown is
repeated with the same key: once when the platform was silent or garbled its answer, with growing pauses while
connections break, because then it rarely arrived. After that it is held (or at once, as configured), and with it
the rest of its group ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
from collections.abc import Callable, Sequence

from loong_channels.contract import Address, Receipt
from loong_channels.faults import (
    BadAnswer,
    BadCredentials,
    Conflict,
    Fault,
    Overloaded,
    Refused,
    Throttled,
    TimedOut,
    Unreachable,
)
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.parking import Parking
from loong_gateway.messaging.sending import jittered, send_patiently, surely_not_sent
from loong_gateway.messaging.surfaces import Surface, Surfaces
from loong_gateway.storage import outbox
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.outbox import OutboxRow
from loong_gateway.storage.outgoing import discard
from loong_gateway.storage.store import Store

__all__ = ["STORE_GATE", "Delivery", "DeliveryTask", "Fate"]

logger = logging.getLogger("loong.delivery")

SEND_LIMIT_S = 60.0
FILE_LIMIT_S = 300.0
RESEND_AFTER_S = 0.5
RESEND_GROWTH = 4.0
RESEND_CAP_S = 60.0
BACKOFF_BASE_S = 5.0
BACKOFF_CAP_S = 900.0
GATE_WAIT_S = 60.0
STORE_WAIT_S = 5.0
STORE_GATE = "store"


@dataclasses.dataclass(frozen=True)
class Fate:
    """What became of a group: "sent", "failed", "expired", "cancelled" or "unknown"."""

    state: str
    message_ids: tuple[str, ...] = ()
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Halt:
    """Why a part goes no further in this run.

    With a `fate` the group ends. Otherwise its lane waits `wait_s`, or until `gate` opens. `not_before_s` is what the
    platform itself asked for: it holds across restarts and no gate shortens it. `attempt` says that this was a try
    that failed, `resend` that the next one may be a second copy.
    """

    wait_s: float = 0.0
    gate: str | None = None
    fate: Fate | None = None
    error: str = ""
    not_before_s: float = 0.0
    attempt: bool = False
    resend: bool = False


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
        self._watchers: dict[str, list[Callable[[Fate], None]]] = {}

    def watch(self, group: str, callback: Callable[[Fate], None]) -> None:
        """Call `callback` once, from a worker, when the fate of a group is settled; `forget` ends the interest."""
        with self._guard:
            self._watchers.setdefault(group, []).append(callback)

    def forget(self, group: str, callback: Callable[[Fate], None]) -> None:
        """End one interest in a group."""
        with self._guard:
            watchers = self._watchers.get(group, [])
            if callback in watchers:
                watchers.remove(callback)
            if not watchers:
                self._watchers.pop(group, None)

    def can_send_now(self, address: Address) -> bool:
        """True when a part for this address may be marked as `sending` at once."""
        surface = self._surfaces.surface(address.channel, address.account)
        return surface is not None and surface.can_send() and self._parking.wait_s(address) <= 0

    def deliver(
        self, group: str, stop: StopToken, *, fresh: Sequence[OutboxRow] = (), again: bool = False
    ) -> Later | None:
        """Send what is left of a group. Blocks; None when its fate is settled, Later when the lane has to wait.

        `fresh` are its rows when they were stored this moment, so that nobody needs to read them. `again` says that
        an earlier run may have left outcomes on their way to the disk: they are waited for.
        """
        try:
            rows = list(fresh) or self._rows(group, again=again)
            unsent = [row for row in rows if row.state in outbox.UNSENT]
            if unsent:
                return self._send_rows(unsent, stop)
            state = self._store.read(lambda conn: outbox.state_of(conn, group))
            self._settled(group, Fate(state or "failed"))
        except StoreUnwritable:
            return Later(DeliveryTask(self, group, again=True), STORE_WAIT_S, STORE_GATE)
        return None

    def _rows(self, group: str, *, again: bool) -> list[OutboxRow]:
        # A write stands in line behind what was submitted before, a plain read does not.
        look = self._store.write if again else self._store.read
        return look(lambda conn: outbox.group(conn, group))

    def _send_rows(self, rows: list[OutboxRow], stop: StopToken) -> Later | None:
        message_ids: list[str] = []
        for index, row in enumerate(rows):
            way = self._way_out(row, stop)
            if isinstance(way, Halt):
                return self._halt(row, way, rows[index:])
            sending = row if row.state == "sending" else self._mark_sending(row)
            result = self._send(way, sending, stop)
            if isinstance(result, Halt):
                return self._halt(sending, result, rows[index:])
            message_ids += result.message_ids
            way.sent()
            self._count("sent", row)
            self._record_sent(row, result)
            if index + 1 < len(rows):
                rows[index + 1] = self._mark_sending(rows[index + 1])
        self._settled(rows[0].group, Fate("sent", tuple(message_ids)))
        return None

    def _record_sent(self, row: OutboxRow, receipt: Receipt) -> None:
        record = functools.partial(outbox.mark_sent, id=row.id, message_ids=receipt.message_ids)
        # Nothing waits for this commit: it is kept until it is on disk, and what is stored later stands behind it.
        self._store.submit(record)
        if row.outbound.file is not None:
            # A row that may have to be sent again needs its file; later somebody else removes it.
            with contextlib.suppress(StoreUnwritable):
                self._store.write(_nothing)
                discard(row.outbound.file.path)

    def _mark_sending(self, row: OutboxRow) -> OutboxRow:
        now_ms = self._clock.wall_ms()
        self._store.write(functools.partial(outbox.mark_sending, id=row.id, now_ms=now_ms))
        return dataclasses.replace(row, state="sending", tried_ms=row.tried_ms or now_ms)

    def _way_out(self, row: OutboxRow, stop: StopToken) -> Surface | Halt:
        """The surface that can send the row now."""
        address = row.outbound.address
        surface = self._surfaces.surface(address.channel, address.account)
        if row.expires_ms <= self._clock.wall_ms():
            return Halt(fate=Fate("expired", error="it was not sent before it expired"))
        if surface is None or stop.is_set() or not surface.can_send():
            return Halt(GATE_WAIT_S, address.surface)
        if row.inbox_seq is not None and not surface.allows(address):
            return Halt(fate=Fate("cancelled", error="the conversation is no longer allowed"))
        wait_s = max(self._parking.wait_s(address), (row.not_before_ms - self._clock.wall_ms()) / 1000)
        if wait_s > 0:
            return Halt(wait_s, not_before_s=wait_s)
        if row.resends and not self._may_resend(surface, row, most=outbox.MAX_RESENDS + 1):
            # What made a repetition harmless has run out while it waited.
            return Halt(fate=Fate("unknown", error=row.last_error or "it may have been sent before"))
        return surface

    def _may_resend(self, surface: Surface, row: OutboxRow, *, most: int) -> bool:
        """Whether a part that may have arrived may be sent once more; `most` times where it can appear twice."""
        if outbox.is_harmless(row.tried_ms, self._clock.wall_ms(), surface.spec.idempotent_s):
            return True
        return self._config().delivery.ambiguous == "resend" and row.resends < most

    def _send(self, surface: Surface, row: OutboxRow, stop: StopToken) -> Receipt | Halt:
        outbound = dataclasses.replace(row.outbound, address=surface.current(row.outbound.address))
        began_s = self._clock.monotonic_s()
        deadline = Deadline(SEND_LIMIT_S if outbound.file is None else FILE_LIMIT_S)
        try:
            return send_patiently(
                surface.channel, outbound, deadline=deadline, stop=stop, moved=surface.moved
            )
        except Fault as fault:
            if isinstance(fault, (BadAnswer, Overloaded, Unreachable)):
                surface.send_failed(fault, began_s)
            return self._about(fault, surface, row)
        except Exception:
            # A bug in a channel must not stop the lane for ever: it counts as a send of unknown fate.
            logger.exception("sending %s failed unexpectedly", row.id)
            return self._about_unknown(surface, row, "internal error while sending", resends=1)

    def _about(self, fault: Fault, surface: Surface, row: OutboxRow) -> Halt:
        """What a fault means for a part and its lane."""
        text = str(fault)
        if isinstance(fault, Refused):
            return Halt(fate=Fate("failed", error=text))
        if isinstance(fault, (BadCredentials, Conflict)):
            surface.trouble(fault)
            return Halt(GATE_WAIT_S, surface.gate, error=text)
        if isinstance(fault, Throttled):
            self._count("rate_limited", row)
            self._parking.park(row.outbound.address, fault.retry_after_s, whole_account=fault.whole_account)
            return Halt(fault.retry_after_s, error=text, not_before_s=fault.retry_after_s)
        if not surely_not_sent(fault):
            broken = isinstance(fault, Unreachable) and not isinstance(fault, TimedOut)
            return self._about_unknown(surface, row, text, resends=outbox.MAX_RESENDS if broken else 1)
        self._count("send_failed", row)
        asked_s = fault.retry_after_s if isinstance(fault, Overloaded) else None
        if asked_s is not None:
            return Halt(asked_s, error=text, not_before_s=asked_s, attempt=True)
        wait_s = jittered(min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(row.attempts, 16)))
        # The gate opens when the account recovers, so nobody waits out a long pause on a line that is back.
        return Halt(wait_s, surface.gate, error=text, attempt=True)

    def _about_unknown(self, surface: Surface, row: OutboxRow, text: str, *, resends: int) -> Halt:
        """The platform may or may not have the message: again with the same key, or leave it to a person."""
        self._count("send_unknown", row)
        if self._may_resend(surface, row, most=resends):
            wait_s = min(RESEND_CAP_S, RESEND_AFTER_S * RESEND_GROWTH ** min(row.resends, 8))
            return Halt(jittered(wait_s), error=text, attempt=True, resend=True)
        return Halt(fate=Fate("unknown", error=text))

    def _halt(self, row: OutboxRow, halt: Halt, left: Sequence[OutboxRow]) -> Later | None:
        """Record why a part goes no further; the one place where that is written. `left` are it and those after it."""
        if halt.fate is not None:
            self._store.write(functools.partial(_end, row=row, fate=halt.fate))
            self._count(halt.fate.state, row)
            logger.warning(
                "%s to %s %s: %s", row.group, row.outbound.address.lane, halt.fate.state, halt.fate.error
            )
            for ended in left[1:] if halt.fate.state == "unknown" else left:
                if ended.outbound.file is not None:
                    discard(ended.outbound.file.path)
            self._settled(row.group, halt.fate)
            return None
        if row.state == "sending":
            not_before_ms = self._clock.wall_ms() + int(halt.not_before_s * 1000) if halt.not_before_s else 0
            self._store.submit(
                functools.partial(
                    outbox.mark_queued,
                    id=row.id,
                    not_before_ms=not_before_ms,
                    error=halt.error,
                    count=halt.attempt,
                    resend=halt.resend,
                )
            )
        return Later(DeliveryTask(self, row.group, again=True), halt.wait_s, halt.gate)

    def _settled(self, group: str, fate: Fate) -> None:
        with self._guard:
            watchers = self._watchers.pop(group, [])
        for watcher in watchers:
            watcher(fate)

    def _count(self, what: str, row: OutboxRow) -> None:
        self._metrics.add(f"{what}:{row.outbound.address.surface}")


class DeliveryTask:
    """A lane's handle on one group of the outbox."""

    limit_s = 10 * SEND_LIMIT_S
    user_may_stop = False

    def __init__(
        self, delivery: Delivery, group: str, *, fresh: Sequence[OutboxRow] = (), again: bool = False
    ) -> None:
        self._delivery = delivery
        self._fresh = fresh
        self._again = again
        self.group = group

    def run(self, stop: StopToken) -> Later | None:
        """Send what is left of the group."""
        return self._delivery.deliver(self.group, stop, fresh=self._fresh, again=self._again)

    def abandoned(self) -> None:
        """Nothing to undo: the row stays `sending` and is settled at the next start."""


def _nothing(conn: Connection) -> None:
    """Waiting for it means waiting for everything before it."""


def _end(conn: Connection, *, row: OutboxRow, fate: Fate) -> None:
    if fate.state == "unknown":
        outbox.hold(conn, row.id, fate.error)
        outbox.end_group(conn, row.group, "failed", "an earlier part may not have arrived")
    else:
        outbox.end_group(conn, row.group, fate.state, fate.error)
