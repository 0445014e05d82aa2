"""Sends the parts of one message without a gateway: kept in the outbox, sent part by part, every outcome recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable

from loong_channels.contract import Address, Channel, Outbound
from loong_channels.faults import Fault, Throttled
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.messaging.sending import send_patiently
from loong_gateway.storage import outbox
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.local import LocalStore

__all__ = ["DirectSend", "Fate"]


@dataclass(frozen=True)
class Fate:
    """What became of a direct send. `fault` is None when every part was taken.

    `sent` of `parts` parts were taken under `message_ids`. `recorded` is False when the last outcome could not be
    written down because a gateway has taken over the store meanwhile or the disk refused.
    """

    id: str
    parts: int
    sent: int
    message_ids: tuple[str, ...]
    fault: Fault | None = None
    recorded: bool = True


class DirectSend:
    """Sends through one channel account. Used from one thread."""

    def __init__(self, channel: Channel, store: LocalStore, clock: Clock) -> None:
        self._channel = channel
        self._store = store
        self._clock = clock
        self._recorded = True

    def send(self, rows: Sequence[outbox.Part], *, deadline: Deadline, stop: StopToken) -> Fate:
        """Keep and send the parts of one group, at least one. Blocks until the deadline at the latest.

        What was not taken when this returns is given up, so that nothing arrives after the caller was told.
        Raises CommandError when the store is held, StoreUnwritable when it cannot keep the parts.
        """
        address = rows[0].outbound.address
        now_ms = self._clock.wall_ms()
        self._store.write(lambda conn: outbox.add(conn, rows, now_ms=now_ms, first_sending=True))
        taken: list[str] = []
        for index, row in enumerate(rows):
            try:
                receipt_ids, address = self._deliver(replace(row.outbound, address=address), deadline, stop)
            except Fault as fault:
                self._record(_give_up(row.group, str(fault)))
                return Fate(row.group, len(rows), index, tuple(taken), fault, self._recorded)
            except BaseException:
                # Ctrl-C: whoever ended this does not expect the next gateway to send the rest.
                self._record(_give_up(row.group, "ended by the operator"))
                raise
            taken += receipt_ids
            following = rows[index + 1].id if index + 1 < len(rows) else None
            self._record(_taken(row.id, receipt_ids, following, self._clock.wall_ms()))
        return Fate(rows[0].group, len(rows), len(rows), tuple(taken), None, self._recorded)

    def _deliver(
        self, outbound: Outbound, deadline: Deadline, stop: StopToken
    ) -> tuple[tuple[str, ...], Address]:
        """Send one part, waiting where the platform asks for less than is left; ids, and where the chat lives now."""
        address = outbound.address

        def moved(_old: str, new: str) -> None:
            nonlocal address
            address = replace(address, conversation=new)

        while True:
            try:
                now = replace(outbound, address=address)
                receipt = send_patiently(self._channel, now, deadline=deadline, stop=stop, moved=moved)
            except Throttled as fault:
                if fault.retry_after_s >= deadline.remaining() or stop.wait(fault.retry_after_s):
                    raise
            else:
                return receipt.message_ids, address

    def _record(self, op: Callable[[Connection], None]) -> None:
        try:
            self._store.write(op)
        except (CommandError, StoreUnwritable):
            # The message is out; not being able to write that down must not look like a failed send.
            self._recorded = False


def _taken(
    part: str, message_ids: Sequence[str], following: str | None, now_ms: int
) -> Callable[[Connection], None]:
    def op(conn: Connection) -> None:
        outbox.mark_sent(conn, part, message_ids)
        if following is not None:
            outbox.mark_sending(conn, following, now_ms)

    return op


def _give_up(group: str, reason: str) -> Callable[[Connection], None]:
    def op(conn: Connection) -> None:
        outbox.end_group(conn, group, "failed", reason)

    return op
