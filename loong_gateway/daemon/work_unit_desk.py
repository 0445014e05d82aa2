"""The work units of a running gateway: what the port asks for, and leases that ran out."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.wording import plural
from loong_gateway.control.work_units import VERBS, checked
from loong_gateway.storage import work_units
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.store import Store
from loong_gateway.storage.work_unit_rows import oldest_expiry_ms

__all__ = ["WorkUnitDesk"]

logger = logging.getLogger("loong.work")


class WorkUnitDesk:
    """Implements control.work_units.WorkUnits. Stateless, so thread-safe."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def act(self, verb: str, given: Mapping[str, object]) -> Mapping[str, object]:
        """See control.work_units.WorkUnits."""
        found = VERBS[verb]
        request = checked(found, given)
        now_ms = self._clock.wall_ms()
        run = self._store.write if found.changes else self._store.read
        return run(lambda conn: found.act(conn, request, now_ms))

    def tick(self) -> None:
        """Take back leases that ran out, some at a time. Reads one row of an index while there are none."""
        try:
            first_ms = self._store.read(oldest_expiry_ms)
            if first_ms is not None and first_ms <= self._clock.wall_ms():
                self._store.submit(self._recover)
        except StoreUnwritable as error:
            # They stay where they are, and the status says that the store is unwritable.
            logger.debug("leases were not looked at: %s", error)

    def _recover(self, conn: Connection) -> None:
        done = work_units.recover(conn, {"actor": "gateway"}, self._clock.wall_ms())
        ids = done["work_unit_ids"]
        if isinstance(ids, list) and ids:
            logger.info("%s of work units had expired", plural(len(ids), "lease"))
