"""One life of a long-polling connection, in the thread that calls it.

The offset of a poll confirms everything below it, so the next poll is only made when all earlier updates are stored.
https://core.telegram.org/bots/api#getupdates
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Callable

from loong_channels.contract import Cursor, Host, Inbound
from loong_channels.faults import BadAnswer, Busy, Fault, NotAccepted
from loong_channels.waiting import Deadline, StopToken

from .api import BotApi
from .updates import BotIdentity, ChatMoved, Skipped, UpdateReader

__all__ = ["Poller"]

_REQUEST_S = 30.0
# The server answers a quiet poll when its time is over; the network may take that much longer.
_POLL_GRACE_S = 12.0
# A hundred updates may be slow to arrive on a thin line.
_POLL_BODY_S = 45.0
_LAST_POLL_S = 1.0
_BATCH = 100
# How long to wait before a batch that was not taken is offered again, try by try.
_BUSY_WAITS_S = (0.1, 0.2, 0.5, 1.0)
_STORE_WAITS_S = (0.5, 1.0, 2.0, 5.0)

MakeReader = Callable[[BotIdentity], UpdateReader]


class Poller:
    """Polls until stopped. Not thread-safe. `polled` and `webhook_removed` say what the server has answered.

    `on_forum` hears the id of every chat that turns out to have topics.
    """

    def __init__(
        self, api: BotApi, host: Host, stop: StopToken, *, timeout_s: int, on_forum: Callable[[str], None]
    ) -> None:
        self._api = api
        self._host = host
        self._stop = stop
        self._timeout_s = timeout_s
        self._on_forum = on_forum
        self.polled = False
        self.webhook_removed = False

    def run(self, make_reader: MakeReader, *, contested: bool, remove_webhook: bool) -> None:
        """Identify, poll, hand over; returns once stopped. Blocks; raises faults.

        `contested`: the last connection was ended by another poller. Then only a poll that waited its full time
        shows that the other one is gone; else the first poll does not wait, so that readiness shows at once.
        """
        bot = self._api.get_me(deadline=Deadline(_REQUEST_S), stop=self._stop)
        if remove_webhook:
            # While one is set, every poll is refused. What is queued are people's messages: never dropped.
            params = {"drop_pending_updates": False}
            self._api.call("deleteWebhook", params, deadline=Deadline(_REQUEST_S), stop=self._stop)
            self.webhook_removed = True
        reader = make_reader(bot)
        # Offsets belong to the bot, not to the account: with another token they mean nothing.
        cursor = f"offset:{bot.id}"
        offset = self._stored_offset(cursor)
        confirmed = offset
        timeout_s = self._timeout_s
        if offset is None and not contested:
            timeout_s = 0
        elif not contested:
            # Without the offset, and its updates left for the next poll: a short poll that repeats an offset within 3 s
            # is made 3 s long by the server, and after a crash the replies on disk would wait for it.
            self._poll(None, 0, reader, limit=1)
            self._note_answer(bot)
        while not self._stop.is_set():
            updates = self._poll(offset, timeout_s, reader)
            confirmed = offset
            timeout_s = self._timeout_s
            self._note_answer(bot)
            if updates:
                stored = self._hand_over(updates, cursor, offset, reader)
                if stored is not None and stored == offset:
                    # A cache on the way, for one; asking again at once would go on for ever.
                    raise BadAnswer("getUpdates: updates that were confirmed came again")
                offset = offset if stored is None else stored
            self._host.caught_up()
        if offset != confirmed:
            self._confirm(offset, reader)

    def _note_answer(self, bot: BotIdentity) -> None:
        self.polled = True
        self._host.heard()
        self._host.ready(bot.public_name)

    def _stored_offset(self, cursor: str) -> int | None:
        value = self._host.cursor(cursor)
        if value is None:
            return None
        if value.isdecimal():
            return int(value)
        self._host.note("offset_unreadable")
        return None

    def _poll(
        self, offset: int | None, timeout_s: int, reader: UpdateReader, limit: int = _BATCH
    ) -> list[Mapping[str, object]]:
        params: dict[str, object] = {
            "timeout": timeout_s,
            "limit": limit,
            "allowed_updates": reader.allowed_updates,
        }
        if offset is not None:
            params["offset"] = offset
        patience_s = timeout_s + _POLL_GRACE_S
        updates = self._api.call(
            "getUpdates",
            params,
            deadline=Deadline(patience_s + _POLL_BODY_S),
            stop=self._stop,
            first_byte_s=patience_s,
        )
        if not isinstance(updates, list):
            raise BadAnswer("getUpdates: the result is no list")
        return [update for update in updates if isinstance(update, dict)]

    def _hand_over(
        self, updates: list[Mapping[str, object]], cursor: str, offset: int | None, reader: UpdateReader
    ) -> int | None:
        """Store a batch; returns the offset that confirms it, or None when stopped before it was taken."""
        numbers = [
            number for number in (update.get("update_id") for update in updates) if type(number) is int
        ]
        if not numbers:
            raise BadAnswer("getUpdates: updates without update_id")
        following = max(numbers) + 1
        if offset is not None and min(numbers) < offset:
            # The server forgets what is confirmed, so these are new: it has begun to count anew.
            self._host.note("offset_reset", stored=offset, first=min(numbers))
        received_ms = time.time_ns() // 1_000_000
        batch: list[Inbound] = []
        moves: list[ChatMoved] = []
        for update in updates:
            reading = reader.read(update, received_ms)
            if isinstance(reading, Inbound):
                batch.append(reading)
                if reading.extra:
                    self._on_forum(reading.address.conversation)
            elif isinstance(reading, ChatMoved):
                moves.append(reading)
            else:
                self._note_skipped(reading, update)
        return following if self._offer(batch, moves, Cursor(cursor, str(following))) else None

    def _note_skipped(self, skipped: Skipped, update: Mapping[str, object]) -> None:
        self._host.note(
            "update_skipped", reason=skipped.reason, chat=skipped.chat, update_id=update.get("update_id")
        )

    def _offer(self, batch: list[Inbound], moves: list[ChatMoved], cursor: Cursor) -> bool:
        """Offer a batch until it is taken; False when stopped before."""
        tries = 0
        while True:
            try:
                for move in moves:
                    self._host.moved(move.old, move.new)
                self._host.accept(batch, cursor)
            except NotAccepted as fault:
                waits = _BUSY_WAITS_S if isinstance(fault, Busy) else _STORE_WAITS_S
                if self._stop.wait(waits[min(tries, len(waits) - 1)]):
                    return False
                tries += 1
            else:
                return True

    def _confirm(self, offset: int | None, reader: UpdateReader) -> None:
        """Tell the server what is stored, if that is quick; else it serves it once more and it is known again."""
        params = {
            "offset": offset,
            "timeout": 0,
            "limit": 1,
            "allowed_updates": reader.allowed_updates,
        }
        with contextlib.suppress(Fault):
            self._api.call("getUpdates", params, deadline=Deadline(_LAST_POLL_S))
