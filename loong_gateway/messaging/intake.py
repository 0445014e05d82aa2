"""The one way in: trust, budgets, one commit, then the lanes. Called from channel threads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from loong_channels.contract import ChannelSpec, Cursor, Inbound
from loong_channels.faults import Busy, NotStored
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.notices import Notices
from loong_gateway.config.snapshot import Config, LimitSettings
from loong_gateway.messaging.budgets import Budgets
from loong_gateway.messaging.chat_commands import DECISIONS, parse_command
from loong_gateway.messaging.drops import Drops
from loong_gateway.messaging.lanes import Lanes, Task
from loong_gateway.messaging.parts import make_parts
from loong_gateway.messaging.trust import TrustPolicy, judge
from loong_gateway.storage import cursors, inbox, outbox
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.inbox import InboxRow
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.store import Store
from loong_gateway.tools.approvals import ApprovalDesk

__all__ = ["Intake"]

logger = logging.getLogger("loong.intake")

OVER_BUDGET_TEXT = "That was more than I may answer per minute; please wait a little."
TOO_MANY_TEXT = (
    "Too many messages are waiting for me, so I did not take this one. Please send it again later."
)


@dataclass(frozen=True)
class _SortedOut:
    """A trusted batch: what is worked on, what is too much, and what is said about that."""

    allowed: list[Inbound]
    rejected: list[Inbound]
    notices: list[Part]


class Intake:
    """Takes batches of messages in. Thread-safe."""

    def __init__(  # noqa: PLR0913  what it hands messages on to
        self,
        store: Store,
        lanes: Lanes,
        *,
        config: Callable[[], Config],
        turn_task: Callable[[InboxRow], Task],
        delivery_task: Callable[[str], Task],
        approvals: ApprovalDesk,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._config = config
        self._turn_task = turn_task
        self._delivery_task = delivery_task
        self._approvals = approvals
        self._metrics = metrics
        self._clock = clock
        self._drops = Drops(metrics, clock)
        self._budgets = Budgets(clock)
        self._told_over = Notices(clock)

    def accept(
        self, spec: ChannelSpec, policy: TrustPolicy, batch: Sequence[Inbound], cursor: Cursor | None
    ) -> int:
        """Take a batch; returns how many messages were new, once they and the cursor are on disk.

        Blocks for one commit. Raises Busy when a lane is full and the platform sends the batch again, and NotStored
        when the disk refuses; nothing of the batch was taken then.
        """
        # A batch that is not taken comes again: nothing is counted before it is certain to be taken.
        verdicts = [(inbound, judge(policy, inbound)) for inbound in batch]
        trusted = [inbound for inbound, verdict in verdicts if verdict.allowed]
        full = {lane for lane in {inbound.address.lane for inbound in trusted} if self._lanes.full([lane])}
        if full and spec.redelivers:
            raise Busy("a conversation has too many messages waiting")
        reason = self._store.unwritable_reason()
        if reason is not None:
            raise NotStored(reason)
        limits = self._config().limits
        found = self._sort_out(spec, trusted, full, limits)
        rows = self._keep(found, cursor)
        self._budgets.spend([row.inbound for row in rows], limits)
        for inbound, verdict in verdicts:
            if not verdict.allowed:
                self._drops.record(inbound, verdict.reason)
        self._count(batch, len(found.allowed) - len(rows), len(found.rejected))
        for inbound in (*(row.inbound for row in rows), *found.rejected):
            self._obey_at_once(inbound)
        for row in rows:
            self._lanes.offer(row.inbound.address.lane, self._turn_task(row))
        for part in found.notices:
            lane = part.outbound.address.lane
            self._told_over.mark(lane)
            logger.warning("too many messages in %s: the newest are rejected", lane)
            # Beside its conversation, in which so much is waiting.
            self._lanes.offer(f"notice:{lane}", self._delivery_task(part.group))
        return len(rows)

    def _sort_out(
        self, spec: ChannelSpec, trusted: Sequence[Inbound], full: Set[str], limits: LimitSettings
    ) -> _SortedOut:
        roomy = [inbound for inbound in trusted if inbound.address.lane not in full]
        over = self._budgets.over(roomy, limits)
        allowed = [inbound for inbound, is_over in zip(roomy, over) if not is_over]
        rejected = [inbound for inbound, is_over in zip(roomy, over) if is_over]
        rejected += [inbound for inbound in trusted if inbound.address.lane in full]
        # One notice per conversation, however many of its messages are in the batch.
        told = {inbound.address.lane: inbound for inbound in reversed(rejected)}
        notices = [
            self._notice(spec, inbound, TOO_MANY_TEXT if lane in full else OVER_BUDGET_TEXT)
            for lane, inbound in told.items()
            if self._told_over.would_be_due(lane)
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

    def _obey_at_once(self, inbound: Inbound) -> None:
        """Do what may not wait behind the head of its lane: that is what it is about."""
        command = parse_command(inbound.text)
        if command is None:
            return
        lane = inbound.address.lane
        if command.name == "stop":
            self._lanes.interrupt(lane, "user")
        elif command.name in DECISIONS and not (inbound.edited or inbound.forwarded):
            self._approvals.resolve_in_chat(
                command.argument, lane, inbound.sender_id, approved=command.name == "approve"
            )

    def _notice(self, spec: ChannelSpec, inbound: Inbound, text: str) -> list[Part]:
        address = inbound.address
        return make_parts(
            spec,
            address,
            text,
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
