"""Conversations that go on under a new id, kept in memory and in the store."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from loong_gateway.storage import aliases
from loong_gateway.storage.store import Store

__all__ = ["Moves"]


class Moves:
    """Old to new conversation ids by account. Thread-safe; as many entries as conversations ever moved."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._moves: dict[tuple[str, str], dict[str, str]] = {}
        for channel, account, old, new in store.read(aliases.all_aliases):
            self._moves.setdefault((channel, account), {})[old] = new

    def add(self, channel: str, account: str, old: str, new: str) -> bool:
        """Remember a move; False when it was known. It is on disk a moment later."""
        with self._guard:
            known = self._moves.get((channel, account), {})
            if known.get(old) == new or old == new:
                return False
            # Chains are shortened and circles broken, as in the store. A copy, so that a mapping handed out by `of`
            # never changes under its reader.
            shortened = {start: new if end == old else end for start, end in known.items() if start != new}
            self._moves[(channel, account)] = {**shortened, old: new}
        self._store.submit(lambda conn: aliases.add(conn, channel, account, old, new))
        return True

    def of(self, channel: str, account: str) -> Mapping[str, str]:
        """All moves of an account."""
        with self._guard:
            return self._moves.get((channel, account), {})

    def current(self, channel: str, account: str, conversation: str) -> str:
        """The id under which a conversation goes on now."""
        return self.of(channel, account).get(conversation, conversation)
