"""Removes what is kept no longer: rows of the store, and copies of files that were sent."""

from __future__ import annotations

import logging

from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.messaging.engine import Engine
from loong_gateway.storage import retention
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.store import Store

__all__ = ["Pruning"]

logger = logging.getLogger("loong.runtime")


class Pruning:
    """Used from the main thread; the store's writer says in `has_more` whether there is more to remove."""

    def __init__(self, store: Store, engine: Engine, clock: Clock) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self.has_more = False

    def begin(self) -> None:
        """Have one batch removed, so that messages get in between. Does not wait for it."""
        self.has_more = False
        now_ms = self._clock.wall_ms()
        settings = self._engine.config.delivery

        def prune(conn: Connection) -> None:
            self.has_more = retention.prune(conn, now_ms, settings) > 0

        try:
            self._store.submit(prune)
            self._engine.sweep()
        except StoreUnwritable as error:
            # It comes round again; status shows that the store is unwritable.
            logger.warning("old rows were not removed: %s", error)
