"""Messages that were taken back by who wrote them: what is not answered yet will not be."""

from __future__ import annotations

import logging

from loong_gateway.base.metrics import Metrics
from loong_gateway.messaging.lanes import Lanes, Task
from loong_gateway.messaging.turns import Turns, TurnTask
from loong_gateway.storage import inbox
from loong_gateway.storage.store import Store

__all__ = ["Recalls"]

logger = logging.getLogger("loong.recalls")


class Recalls:
    """Thread-safe; holds nothing."""

    def __init__(self, store: Store, lanes: Lanes, turns: Turns, metrics: Metrics) -> None:
        self._store = store
        self._lanes = lanes
        self._turns = turns
        self._metrics = metrics

    def recall(self, channel: str, account: str, conversation: str, message_id: str) -> None:
        """Give up a message that waits, or stop the turn that answers it; nothing where there is neither.

        Blocks for a commit. Raises StoreUnwritable, and then the message goes on.
        """
        found = self._store.read(lambda conn: inbox.find(conn, channel, account, conversation, message_id))
        if found is None:
            return
        seq, lane = found

        def is_meant(task: Task) -> bool:
            return isinstance(task, TurnTask) and task.seq == seq

        if self._lanes.interrupt(lane, "user", only=is_meant):
            self._noted(f"{channel}={account}", seq)
            return
        self._turns.forget(seq)
        # A turn that began a moment ago finds its row settled, and what it says is not sent.
        if self._store.write(lambda conn: inbox.finish(conn, seq)):
            self._noted(f"{channel}={account}", seq)

    def _noted(self, surface: str, seq: int) -> None:
        self._metrics.add(f"recalled:{surface}")
        logger.info("message %d was taken back in %s and gets no answer", seq, surface)
