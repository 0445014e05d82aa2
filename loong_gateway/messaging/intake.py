"""The one way in: trust, budgets, one commit, then the lanes. Called from channel threads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loong_channels import catalog
from loong_channels.contract import Cursor, Inbound
from loong_channels.faults import Busy, NotStored
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.notices import Notices
from loong_gateway.config.snapshot import Config, LimitSettings
from loong_gateway.messaging.budgets import Budgets
from loong_gateway.messaging.chat_commands import parse_command
from loong_gateway.messaging.drops import Drops
from loong_gateway.messaging.lanes import Lanes, Task
from loong_gateway.messaging.parts import make_parts
from loong_gateway.messaging.trust import TrustPolicy, judge
from loong_gateway.storage import cursors, inbox, outbox
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.inbox import InboxRow
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.store import Store

__all__ = ["Intake"]

logger = logging.getLogger("loong.intake")

OVER_BUDGET_TEXT = "That was more than I may answer per minute; please wait a little."


@dataclass(frozen=True)
class _SortedOut:
    """A trusted batch: what is worked on, what is over budget, and what is said about that."""

    allowed: list[Inbound]
    rejected: list[Inbound]
    notices: list[Part]


class Intake:
    """Takes batches of messages in. Thread-safe."""

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        *,
        config: Callable[[], Config],
        turn_task: Callable[[InboxRow], Task],
        delivery_task: Callable[[str], Task],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._config = config
        self._turn_task = turn_task
        self._delivery_task = delivery_task
        self._metrics = metrics
        self._clock = clock
        self._drops = Drops(metrics, clock)
        self._budgets = Budgets(clock)
        self._told_over = Notices(clock)

    def accept(self, policy: TrustPolicy, batch: Sequence[Inbound], cursor: Cursor | None) -> int:
        """Take a batch; returns how many messages were new, once they and the cursor are on disk.

        Blocks for one commit. Raises Busy when a lane is full and NotStored when the disk refuses; nothing of the
        batch was taken then.
        """
        # A batch that is not taken comes again: nothing is counted before it is certain to be taken.
        verdicts = [(inbound, judge(policy, inbound)) for inbound in batch]
        trusted = [inbound for inbound, verdict in verdicts if verdict.allowed]
        if self._lanes.full({inbound.address.lane for inbound in trusted}):
            raise Busy("a conversation has too many messages waiting")
        reason = self._store.unwritable_reason()
        if reason is not None:
            raise NotStored(reason)
        limits = self._config().limits
        found = self._sort_out(trusted, limits)
        rows = self._keep(found, cursor)
        self._budgets.spend([row.inbound for row in rows], limits)
        for inbound, verdict in verdicts:
            if not verdict.allowed:
                self._drops.record(inbound, verdict.reason)
        self._count(batch, len(found.allowed) - len(rows), len(found.rejected))
        for row in rows:
            self._hand_over(row)
        for part in found.notices:
            self._told_over.mark(part.outbound.address.lane)
            self._lanes.offer(part.outbound.address.lane, self._delivery_task(part.group))
        return len(rows)

    def _sort_out(self, trusted: Sequence[Inbound], limits: LimitSettings) -> _SortedOut:
        over = self._budgets.over(trusted, limits)
        allowed = [inbound for inbound, is_over in zip(trusted, over) if not is_over]
        rejected = [inbound for inbound, is_over in zip(trusted, over) if is_over]
        # One notice per conversation, however many of its messages are in the batch.
        told = {inbound.address.lane: inbound for inbound in reversed(rejected)}
        notices = [
            self._over_budget(inbound) for lane, inbound in told.items() if self._told_over.would_be_due(lane)
        ]
        return _SortedOut(allowed, rejected, [part for parts in notices for part in parts])

    def _keep(self, found: _SortedOut, cursor: Cursor | None) -> list[InboxRow]:
        now_ms = self._clock.wall_ms()

        def keep(conn: Connection) -> list[InboxRow]:
            rows = inbox.add(conn, found.allowed, now_ms)
            inbox.add(conn, found.rejected, now_ms, state="rejected")
            outbox.add(conn, found.notices, now_ms=now_ms, first_sending=False)
            if cursor is not None:
                cursors.put(conn, cursor.name, cursor.value)
            return rows

        try:
            return self._store.write(keep)
        except StoreUnwritable as error:
            raise NotStored(str(error)) from error

    def _hand_over(self, row: InboxRow) -> None:
        lane = row.inbound.address.lane
        command = parse_command(row.inbound.text)
        if command is not None and command.name == "stop":
            self._lanes.interrupt(lane, "user")
        self._lanes.offer(lane, self._turn_task(row))

    def _over_budget(self, inbound: Inbound) -> list[Part]:
        address = inbound.address
        return make_parts(
            catalog.spec(address.channel),
            address,
            OVER_BUDGET_TEXT,
            group=f"budget-{address.channel}-{address.account}-{inbound.event_id}",
            expires_ms=self._clock.wall_ms() + self._config().delivery.reply_ttl_s * 1000,
            markup="plain",
            extra=inbound.extra,
        )

    def _count(self, batch: Sequence[Inbound], seen_before: int, rejected: int) -> None:
        if not batch:
            return
        name = batch[0].address.surface
        self._metrics.add(f"received:{name}", len(batch))
        if seen_before:
            self._metrics.add(f"duplicates:{name}", seen_before)
        if rejected:
            self._metrics.add(f"rejected:{name}", rejected)
