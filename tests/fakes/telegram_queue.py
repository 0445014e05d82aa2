"""The update queue of one bot, as the Bot API server keeps it.

https://core.telegram.org/bots/api#getupdates
"""

from __future__ import annotations

from collections import OrderedDict

LIFE_S = 24 * 3600
FAR_AHEAD = 10
ALL_TYPES = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "message_reaction",
    "message_reaction_count",
    "inline_query",
    "chosen_inline_result",
    "callback_query",
    "shipping_query",
    "pre_checkout_query",
    "purchased_paid_media",
    "poll",
    "poll_answer",
    "my_chat_member",
    "chat_member",
    "chat_join_request",
    "chat_boost",
    "removed_chat_boost",
)
NOT_BY_DEFAULT = ("chat_member", "message_reaction", "message_reaction_count")


class UpdateQueue:
    """Not thread-safe: the server calls it under its lock."""

    def __init__(self, first_id: int) -> None:
        self.next_id = first_id
        self.confirmed: set[int] = set()
        self.allowed = frozenset(ALL_TYPES) - frozenset(NOT_BY_DEFAULT)
        self._pending: OrderedDict[int, tuple[float, dict[str, object]]] = OrderedDict()

    def allow(self, names: object) -> None:
        """Remember the wanted update types; anything but a list of names changes nothing."""
        if not isinstance(names, list):
            return
        known = frozenset(name for name in names if name in ALL_TYPES)
        self.allowed = known or frozenset(ALL_TYPES) - frozenset(NOT_BY_DEFAULT)

    def push(self, kind: str, payload: dict[str, object], now_s: float) -> int | None:
        """Queue an update; None when the wanted types leave it out (unknown types always come)."""
        if kind in ALL_TYPES and kind not in self.allowed:
            return None
        update_id = self.next_id
        self.next_id += 1
        self._pending[update_id] = (now_s + LIFE_S, {"update_id": update_id, kind: payload})
        return update_id

    def take(self, offset: int, limit: int, now_s: float) -> list[dict[str, object]]:
        """Confirm what the offset confirms and return what waits from there on."""
        for update_id in [key for key, (expires, _) in self._pending.items() if expires <= now_s]:
            del self._pending[update_id]
        if offset < 0:
            offset = list(self._pending)[max(len(self._pending) + offset, 0)] if self._pending else 0
        elif offset > self.next_id + FAR_AHEAD:
            offset = 0
        for update_id in [key for key in self._pending if key < offset]:
            del self._pending[update_id]
            self.confirmed.add(update_id)
        found: list[dict[str, object]] = []
        for _, update in self._pending.values():
            if len(found) >= limit:
                break
            found.append(update)
        return found

    def drop(self) -> None:
        """Forget everything that waits, as deleteWebhook with drop_pending_updates does."""
        self._pending.clear()

    def renumber(self, next_id: int) -> None:
        """Continue with another number, as the server may after a week of silence."""
        self.next_id = next_id

    def __len__(self) -> int:
        return len(self._pending)
