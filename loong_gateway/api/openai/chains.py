"""Conversations that clients go on with by the id of an answer, for a day and within a bound."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from loong_gateway.providers.contract import Message

__all__ = ["Chain", "Chains"]

KEPT = 512
KEPT_BYTES = 16 << 20
KEPT_S = 24 * 3600.0
# What a message takes besides its text.
MESSAGE_BYTES = 400


@dataclass(frozen=True)
class Chain:
    """A conversation up to and with one answer, in the session it belongs to, None for none."""

    messages: tuple[Message, ...] = field(repr=False)
    session: str | None


class Chains:
    """By the id of the answer. Thread-safe; `_guard` protects the table.

    They are kept in memory, so each answer can be gone on from, also twice; a restart forgets them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._kept_bytes = kept_bytes
        self._guard = threading.Lock()
        self._table: OrderedDict[str, tuple[float, int, Chain]] = OrderedDict()
        self._bytes = 0

    def put(self, response_id: str, chain: Chain) -> None:
        """Keep one; the oldest go where it would be too much."""
        size = sum(_size(message) for message in chain.messages)
        with self._guard:
            self._table[response_id] = (self._clock(), size, chain)
            self._bytes += size
            self._forget()

    def get(self, response_id: str, session: str | None) -> Chain | None:
        """The conversation that ended with this answer in this session; None when it is not kept."""
        with self._guard:
            self._forget()
            entry = self._table.get(response_id)
        return entry[2] if entry is not None and entry[2].session == session else None

    def _forget(self) -> None:
        oldest = self._clock() - KEPT_S
        while self._table:
            at, size, _ = next(iter(self._table.values()))
            if at >= oldest and len(self._table) <= KEPT and self._bytes <= self._kept_bytes:
                return
            self._table.popitem(last=False)
            self._bytes -= size


def _size(message: Message) -> int:
    calls = sum(len(call.arguments) for call in message.tool_calls)
    pictures = sum(len(image.content) for image in message.images)
    # A text with one wide character takes four bytes for each.
    return MESSAGE_BYTES + 4 * (len(message.content) + calls) + pictures
